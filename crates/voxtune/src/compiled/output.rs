//! What a compiled network may return.

use crate::{SparseTensor, Tensor};

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::SparseTensor {}
    impl Sealed for crate::Tensor {}
}

/// What a [`CompiledNetwork`](crate::CompiledNetwork) returns: tensors that every frame overwrites.
pub trait FrameOutput: sealed::Sealed + Send + Sync + 'static {
    /// The tensors.
    #[doc(hidden)]
    fn tensors(&self) -> Vec<&Tensor>;
}

impl FrameOutput for SparseTensor {
    fn tensors(&self) -> Vec<&Tensor> {
        vec![self.features()]
    }
}

impl FrameOutput for Tensor {
    fn tensors(&self) -> Vec<&Tensor> {
        vec![self]
    }
}
