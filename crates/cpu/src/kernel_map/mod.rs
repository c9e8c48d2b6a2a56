//! Which input rows meet which output rows, for each offset of a kernel.

mod build;
mod distinct;
mod keys;
mod lists;
mod outputs;

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;
use voxtune_types::{Geometry, GeometryError, KernelSize, LayerKind, Voxel};

pub use distinct::check_distinct;
use lists::PairLists;
pub use outputs::{downsampled, layer_outputs};

/// One meeting of an input row and an output row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct Pair {
    /// Row of the input features.
    pub in_row: u32,
    /// Row of the output features.
    pub out_row: u32,
}

impl Pair {
    /// The pair in the other direction.
    #[must_use]
    pub const fn swapped(self) -> Self {
        Self { in_row: self.out_row, out_row: self.in_row }
    }
}

/// Why a kernel map cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelMapError {
    /// Two rows hold one cell, so a neighbour is not a single row.
    #[error(
        "rows {first_row} and {second_row} are both the voxel {voxel}: expected distinct voxels; \
         merge the rows of a cell first"
    )]
    Duplicate {
        /// The cell.
        voxel: Voxel,
        /// The lower of the rows.
        first_row: usize,
        /// The higher of the rows.
        second_row: usize,
    },
    /// Two output rows are one cell, so an input meets both at one offset.
    #[error(
        "output rows {first_row} and {second_row} are both the voxel {voxel}: expected distinct \
         output voxels"
    )]
    DuplicateOutput {
        /// The cell.
        voxel: Voxel,
        /// The lower of the rows.
        first_row: usize,
        /// The higher of the rows.
        second_row: usize,
    },
    /// No layer has this geometry.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// Row numbers are 32-bit, and one of them is kept free.
    #[error("{rows} rows are too many: a kernel map holds at most {max}", max = u32::MAX - 1)]
    TooManyRows {
        /// Rows that were asked for.
        rows: usize,
    },
    /// A pair points past the rows.
    #[error(
        "pair {pair:?} of offset {offset} is out of bounds: expected an input row below {n_in} and \
         an output row below {n_out}"
    )]
    OutOfBounds {
        /// Index of the offset.
        offset: usize,
        /// The pair.
        pair: Pair,
        /// Input rows.
        n_in: usize,
        /// Output rows.
        n_out: usize,
    },
    /// A list is not strictly ascending by output row, or meets an input row twice.
    #[error(
        "pair {pair:?} of offset {offset} is out of order: expected each list sorted by output \
         row, and each row at most once in it"
    )]
    OutOfOrder {
        /// Index of the offset.
        offset: usize,
        /// The pair.
        pair: Pair,
    },
}

/// For each offset of a kernel, the pairs of rows that meet (synonyms: rulebook, indice pairs).
///
/// A list is sorted by output row, and each row occurs in it at most once. The order of the offsets
/// is that of [`Geometry::offsets`] and so of the weights.
#[derive(Debug)]
pub struct KernelMap {
    n_in: usize,
    n_out: usize,
    lists: Arc<PairLists>,
    symmetric: bool,
    /// The lists seen from the input rows; symmetric maps never need them.
    transposed: OnceLock<Arc<PairLists>>,
}

impl KernelMap {
    /// The map of a submanifold convolution: outputs where inputs are, and output row `o` meets the
    /// input row at `o + offset`, for each of [`Geometry::offsets`].
    ///
    /// Cells become integer keys, sorted unless they already are. Each column of the kernel is then
    /// one merge of the sorted keys with themselves, in which the neighbours along z follow each
    /// other. Only half of the columns are walked, since the other half mirrors them. Runs on
    /// rayon's current pool; a cloud sorted by [`Voxel`] is the fastest.
    ///
    /// # Errors
    /// If two rows are the same voxel, the kernel has no centre, or there are too many rows.
    pub fn submanifold(voxels: &[Voxel], kernel: KernelSize) -> Result<Self, KernelMapError> {
        Self::dilated(voxels, kernel, [1; 3])
    }

    /// [`Self::submanifold`] with offsets further apart.
    ///
    /// # Errors
    /// As [`Self::submanifold`], and if a dilation is zero.
    pub fn dilated(
        voxels: &[Voxel],
        kernel: KernelSize,
        dilation: [u8; 3],
    ) -> Result<Self, KernelMapError> {
        let geometry = Geometry::submanifold(kernel, dilation);
        geometry.check()?;
        check_rows(voxels.len())?;
        let lists = build::submanifold(voxels, &geometry)?;
        Ok(Self {
            n_in: voxels.len(),
            n_out: voxels.len(),
            lists: Arc::new(lists),
            symmetric: true,
            transposed: OnceLock::new(),
        })
    }

    /// The map between two sets of voxels: for each of [`Geometry::offsets`] the rows that meet.
    ///
    /// Any distinct outputs will do: those of [`layer_outputs`], or [`downsampled`], or a program's
    /// own, in any order. Built as [`Self::submanifold`], of two clouds instead of one, and without
    /// a mirror image.
    ///
    /// # Errors
    /// If two rows of a side are the same voxel, a stride or dilation is zero, or there are too
    /// many rows.
    pub fn between(
        inputs: &[Voxel],
        outputs: &[Voxel],
        geometry: &Geometry,
    ) -> Result<Self, KernelMapError> {
        if geometry.kind.is_upsampling() {
            let downwards = geometry.with_kind(LayerKind::Sparse);
            let swapped = Self::between(outputs, inputs, &downwards);
            return Ok(swapped.map_err(KernelMapError::seen_from_the_other_side)?.to_transposed());
        }
        geometry.check()?;
        check_rows(inputs.len())?;
        check_rows(outputs.len())?;
        let lists = Arc::new(build::strided(inputs, outputs, geometry)?);
        let (n_in, n_out) = (inputs.len(), outputs.len());
        Ok(Self { n_in, n_out, lists, symmetric: false, transposed: OnceLock::new() })
    }

    /// The map of layers of a geometry: [`Self::dilated`] of a submanifold one, whose inputs are
    /// its outputs, and otherwise [`Self::between`].
    ///
    /// # Errors
    /// As those.
    pub fn of(
        inputs: &[Voxel],
        outputs: &[Voxel],
        geometry: &Geometry,
    ) -> Result<Self, KernelMapError> {
        match geometry.kind {
            LayerKind::Submanifold => Self::dilated(inputs, geometry.kernel, geometry.dilation),
            _ => Self::between(inputs, outputs, geometry),
        }
    }

    /// A map from its lists, one an offset, each sorted by output row.
    ///
    /// # Errors
    /// If a pair is out of bounds or out of order, or a row occurs twice in a list.
    pub fn from_pairs(
        n_in: usize,
        n_out: usize,
        lists: Vec<Vec<Pair>>,
    ) -> Result<Self, KernelMapError> {
        check_rows(n_in)?;
        check_rows(n_out)?;
        lists.par_iter().enumerate().try_for_each(|(offset, list)| {
            let mut seen = vec![false; n_in];
            let mut next_out_row = 0;
            for &pair in list {
                let (in_row, out_row) = (pair.in_row as usize, pair.out_row as usize);
                if in_row >= n_in || out_row >= n_out {
                    return Err(KernelMapError::OutOfBounds { offset, pair, n_in, n_out });
                }
                if out_row < next_out_row || std::mem::replace(&mut seen[in_row], true) {
                    return Err(KernelMapError::OutOfOrder { offset, pair });
                }
                next_out_row = out_row + 1;
            }
            Ok(())
        })?;
        let lens: Vec<usize> = lists.iter().map(Vec::len).collect();
        let lists = PairLists::fill(n_out, &lens, &|offset, pairs| {
            pairs.copy_from_slice(&lists[offset]);
        });
        let lists = Arc::new(lists);
        Ok(Self { n_in, n_out, lists, symmetric: false, transposed: OnceLock::new() })
    }

    /// The map of the transposed convolution: for each offset the same pairs with the rows swapped.
    /// Of the map of an encoder's strided layer it is that of the decoder's layer which undoes it.
    /// Both share their lists.
    #[must_use]
    pub fn to_transposed(&self) -> Self {
        Self {
            n_in: self.n_out,
            n_out: self.n_in,
            lists: Arc::clone(self.swapped()),
            symmetric: self.symmetric,
            transposed: OnceLock::from(Arc::clone(&self.lists)),
        }
    }

    /// The lists sorted by input row. Built by the first call and kept.
    fn swapped(&self) -> &Arc<PairLists> {
        self.transposed.get_or_init(|| Arc::new(self.lists.transposed(self.n_in)))
    }

    /// Input rows.
    #[must_use]
    pub const fn n_in(&self) -> usize {
        self.n_in
    }

    /// Output rows.
    #[must_use]
    pub const fn n_out(&self) -> usize {
        self.n_out
    }

    /// Number of offsets.
    #[must_use]
    pub fn kernel_volume(&self) -> usize {
        self.lists.volume()
    }

    /// Number of pairs over all offsets.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.lists.pairs()
    }

    /// The pairs of an offset, sorted by output row.
    ///
    /// # Panics
    /// If there is no such offset.
    #[must_use]
    pub fn pair_list(&self, offset: usize) -> &[Pair] {
        self.lists.list(offset)
    }

    /// Whether the list of offset `volume - 1 - i` is that of `i` with the rows swapped, as for
    /// every submanifold convolution. Then nothing has to be built for dgrad.
    #[must_use]
    pub const fn is_symmetric(&self) -> bool {
        self.symmetric
    }

    /// The map as it is.
    #[must_use]
    pub fn view(&self) -> MapView<'_> {
        MapView { n_in: self.n_in, n_out: self.n_out, lists: &self.lists, mirrored: false }
    }

    /// The map in the other direction: for each offset the same pairs with the rows swapped, sorted
    /// by the new output row. Free for symmetric maps; otherwise built by the first call and kept.
    #[must_use]
    pub fn transposed(&self) -> MapView<'_> {
        let lists = if self.symmetric { &self.lists } else { self.swapped() };
        MapView { n_in: self.n_out, n_out: self.n_in, lists, mirrored: self.symmetric }
    }

    /// Memory that the first call of [`Self::transposed`] will take.
    pub(crate) fn unbuilt_transposed_bytes(&self) -> usize {
        if self.symmetric || self.transposed.get().is_some() {
            return 0;
        }
        self.pairs() * size_of::<Pair>()
            + self.kernel_volume() * self.n_in.div_ceil(SEGMENT_ROWS) * size_of::<u32>()
    }
}

fn check_rows(rows: usize) -> Result<(), KernelMapError> {
    // The largest row number marks "none" while a map is built.
    if rows >= u32::MAX as usize { Err(KernelMapError::TooManyRows { rows }) } else { Ok(()) }
}

impl KernelMapError {
    /// The error of the map whose inputs are this one's outputs.
    fn seen_from_the_other_side(self) -> Self {
        match self {
            Self::Duplicate { voxel, first_row, second_row } => {
                Self::DuplicateOutput { voxel, first_row, second_row }
            }
            Self::DuplicateOutput { voxel, first_row, second_row } => {
                Self::Duplicate { voxel, first_row, second_row }
            }
            other => other,
        }
    }
}

/// A kernel map seen in one of its two directions.
#[derive(Clone, Copy, Debug)]
pub struct MapView<'a> {
    n_in: usize,
    n_out: usize,
    lists: &'a PairLists,
    /// Whether list `i` is stored as list `volume - 1 - i`.
    mirrored: bool,
}

impl<'a> MapView<'a> {
    /// Input rows.
    #[must_use]
    pub const fn n_in(self) -> usize {
        self.n_in
    }

    /// Output rows.
    #[must_use]
    pub const fn n_out(self) -> usize {
        self.n_out
    }

    /// Number of offsets.
    #[must_use]
    pub fn kernel_volume(self) -> usize {
        self.lists.volume()
    }

    /// The pairs of an offset, sorted by output row.
    ///
    /// # Panics
    /// If there is no such offset.
    #[must_use]
    pub fn pair_list(self, offset: usize) -> &'a [Pair] {
        self.lists.list(self.stored(offset))
    }

    /// The pairs of an offset whose output rows lie in a range, which begins and ends at multiples
    /// of [`SEGMENT_ROWS`] or past the last row.
    pub(crate) fn block(self, offset: usize, out_rows: Range<usize>) -> &'a [Pair] {
        self.lists.block(self.stored(offset), out_rows)
    }

    fn stored(self, offset: usize) -> usize {
        if self.mirrored { self.lists.volume() - 1 - offset } else { offset }
    }
}

pub(crate) use lists::SEGMENT_ROWS;

#[cfg(test)]
mod geometry_tests;
#[cfg(test)]
mod strided_tests;
#[cfg(test)]
mod tests;
