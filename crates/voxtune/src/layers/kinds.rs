//! Which convolution a layer is.

use voxtune_types::LayerKind;

mod sealed {
    pub trait Sealed {}
}

/// A kind of convolution, known when the program is compiled.
pub trait ConvKind: sealed::Sealed + Send + Sync + 'static {
    /// Which rows its layers make.
    const KIND: LayerKind;
    /// What its layers are called.
    const NAME: &'static str;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $marker:ident = $kind:ident, $name:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub enum $marker {}
        impl sealed::Sealed for $marker {}
        impl ConvKind for $marker {
            const KIND: LayerKind = LayerKind::$kind;
            const NAME: &'static str = $name;
        }
    )+};
}

kinds! {
    /// That of [`SubmConv3d`](crate::SubmConv3d).
    Submanifold = Submanifold, "SubmConv3d";
    /// That of [`SparseConv3d`](crate::SparseConv3d).
    Sparse = Sparse, "SparseConv3d";
    /// That of [`SparseInverseConv3d`](crate::SparseInverseConv3d).
    Inverse = Inverse, "SparseInverseConv3d";
    /// That of [`SparseConvTranspose3d`](crate::SparseConvTranspose3d).
    Transposed = Transposed, "SparseConvTranspose3d";
}
