//! The inner loops, on the vector instructions that this processor has.
//!
//! This is the only unsafe module of the crate, for two reasons: vector loads and stores take raw
//! pointers, and instructions may only run where they exist. Both are settled at its edge. A
//! [`Simd`] can be had only for detected instructions, and its methods are safe functions that
//! check every index against the slices they are given. Behind the edge, [`kernel`] states the
//! loops once over [`vector::Vector`]. [`avx512`] and [`avx2`] fill in the instructions, and
//! [`scalar`] is a separate safe implementation for any other processor.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod dense;
#[cfg(target_arch = "x86_64")]
mod kernel;
mod scalar;
mod storage;
#[cfg(target_arch = "x86_64")]
mod vector;

use std::sync::LazyLock;

use voxtune_types::CpuIsa;

use crate::kernel_map::Pair;

pub(crate) use dense::{DenseLhs, accumulate_dense};
pub(crate) use storage::Storage;

/// Rows ahead of the current one at which [`prefetch`] hides the way to main memory.
pub(crate) const PREFETCH_ROWS: usize = 12;

/// Asks for the first cache lines of a row. Rows found through a kernel map are scattered, out of
/// reach of the processor's own prefetchers.
#[inline(always)]
pub(crate) fn prefetch<T>(row: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

        /// Bytes of a cache line.
        const LINE_BYTES: usize = 64;
        /// Most lines of a row that are asked for ahead of their use; the processor itself follows
        /// up.
        const PREFETCH_LINES: usize = 4;

        let lines = size_of_val(row).div_ceil(LINE_BYTES).min(PREFETCH_LINES);
        for line in 0..lines {
            let at = row.as_ptr().cast::<i8>().wrapping_add(line * LINE_BYTES);
            // SAFETY: every x86-64 processor has the instruction, and it takes any address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = row;
}

/// Instructions that this processor has been seen to support.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Simd(Path);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Scalar,
}

/// Rows of one matrix times a panel of another, added to scattered rows of a third:
/// `acc[pair.out_row - acc_first_row] += rows[pair] · panel` for each pair.
pub(crate) struct RowProduct<'a> {
    /// Which rows meet. An output row occurs at most once.
    pub(crate) pairs: &'a [Pair],
    /// The left rows.
    pub(crate) rows: Rows<'a>,
    /// Length of a left row, and rows of the panel.
    pub(crate) depth: usize,
    /// The right matrix, `depth` rows of `width` columns.
    pub(crate) panel: &'a [f32],
    /// Columns of the panel: [`Simd::lanes`] or twice that.
    pub(crate) width: usize,
    /// Accumulators, row-major.
    pub(crate) acc: &'a mut [f32],
    /// Length of a row of accumulators.
    pub(crate) acc_stride: usize,
    /// The column of the accumulators that the panel's first one goes to.
    pub(crate) acc_col: usize,
    /// The output row that the accumulators' first one stands for.
    pub(crate) acc_first_row: u32,
}

/// Where the left rows of a [`RowProduct`] are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rows<'a> {
    /// All input rows, found by `pair.in_row`.
    Indexed(&'a [f32]),
    /// One row a pair, in the order of the pairs.
    Packed(&'a [f32]),
}

/// A sum of outer products: `acc += xᵀ · g`, where `x` and `g` have a row a pair.
pub(crate) struct OuterProduct<'a> {
    /// The left rows, each [`Simd::strip`] long.
    pub(crate) x: &'a [f32],
    /// The right rows, each `width` long.
    pub(crate) g: &'a [f32],
    /// Number of rows.
    pub(crate) pairs: usize,
    /// Length of a right row: [`Simd::lanes`] or twice that.
    pub(crate) width: usize,
    /// Accumulators, row-major; the first [`Simd::strip`] rows take part.
    pub(crate) acc: &'a mut [f32],
    /// Length of a row of accumulators.
    pub(crate) acc_stride: usize,
    /// The column of the accumulators that the first right column goes to.
    pub(crate) acc_col: usize,
}

impl Simd {
    /// The text of everything that the kernels share, to tell one version from another.
    pub(crate) const SOURCES: &[&str] = &[
        include_str!("mod.rs"),
        include_str!("avx2.rs"),
        include_str!("avx512.rs"),
        include_str!("dense.rs"),
        include_str!("kernel.rs"),
        include_str!("scalar.rs"),
        include_str!("storage.rs"),
        include_str!("vector.rs"),
    ];

    /// The widest instructions of this processor.
    pub(crate) fn best() -> Self {
        static BEST: LazyLock<Simd> = LazyLock::new(|| Simd::supported()[0]);
        *BEST
    }

    /// All instructions of this processor, the widest first. The last is the scalar path.
    pub(crate) fn supported() -> Vec<Self> {
        let mut paths = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let has_avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            if has_avx2 && is_x86_feature_detected!("avx512f") {
                paths.push(Self(Path::Avx512));
            }
            if has_avx2 {
                paths.push(Self(Path::Avx2));
            }
        }
        paths.push(Self(Path::Scalar));
        paths
    }

    /// The architecture under which measurements on these instructions are filed.
    pub(crate) const fn isa(self) -> CpuIsa {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => CpuIsa::X86Avx512,
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => CpuIsa::X86Avx2,
            Path::Scalar if cfg!(target_arch = "x86_64") => CpuIsa::X86Baseline,
            Path::Scalar if cfg!(target_arch = "aarch64") => CpuIsa::Aarch64Neon,
            Path::Scalar => CpuIsa::Portable,
        }
    }

    /// Values in a vector.
    pub(crate) const fn lanes(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => avx512::LANES,
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => avx2::LANES,
            Path::Scalar => scalar::LANES,
        }
    }

    /// Columns of a full panel: two vectors.
    pub(crate) const fn panel_cols(self) -> usize {
        2 * self.lanes()
    }

    /// Rows of accumulators that an [`OuterProduct`] keeps in registers.
    pub(crate) const fn strip(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => avx512::STRIP,
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => avx2::STRIP,
            Path::Scalar => scalar::STRIP,
        }
    }

    /// Adds the products of rows and a panel to their accumulators.
    ///
    /// # Panics
    /// If a slice is shorter than the pairs and sizes ask for.
    pub(crate) fn row_product(self, product: &mut RowProduct<'_>) {
        product.check(self.lanes());
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the path exists only where the instructions do, and the sizes were checked.
            Path::Avx512 => unsafe { avx512::row_product(product) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the path exists only where the instructions do, and the sizes were checked.
            Path::Avx2 => unsafe { avx2::row_product(product) },
            Path::Scalar => scalar::row_product(product),
        }
    }

    /// Adds a sum of outer products to its accumulators.
    ///
    /// # Panics
    /// If a slice is shorter than the sizes ask for.
    pub(crate) fn outer_product(self, product: &mut OuterProduct<'_>) {
        product.check(self.lanes(), self.strip());
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the path exists only where the instructions do, and the sizes were checked.
            Path::Avx512 => unsafe { avx512::outer_product(product) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the path exists only where the instructions do, and the sizes were checked.
            Path::Avx2 => unsafe { avx2::outer_product(product) },
            Path::Scalar => scalar::outer_product(product),
        }
    }
}

impl RowProduct<'_> {
    /// Whatever a kernel may touch lies within the slices. The products cannot overflow: each is
    /// compared by division.
    fn check(&self, lanes: usize) {
        let Self { pairs, depth, panel, width, acc, acc_stride, acc_col, .. } = self;
        assert!(*width == lanes || *width == 2 * lanes, "width {width} of {lanes} lanes");
        assert!(*depth > 0 && panel.len() / depth >= *width, "panel of {depth} × {width}");
        assert!(acc_col + width <= *acc_stride, "columns {acc_col} + {width} of {acc_stride}");
        let acc_rows = acc.len() / acc_stride;
        let (mut last_in, mut first_out, mut last_out) = (0, u32::MAX, 0);
        for pair in *pairs {
            last_in = pair.in_row.max(last_in);
            first_out = pair.out_row.min(first_out);
            last_out = pair.out_row.max(last_out);
        }
        if pairs.is_empty() {
            return;
        }
        assert!(first_out >= self.acc_first_row, "row {first_out} before the accumulators");
        let last_acc = (last_out - self.acc_first_row) as usize;
        assert!(last_acc < acc_rows, "row {last_acc} of {acc_rows} accumulators");
        match self.rows {
            Rows::Indexed(rows) => {
                assert!((last_in as usize) < rows.len() / depth, "row {last_in}")
            }
            Rows::Packed(rows) => assert!(pairs.len() <= rows.len() / depth, "a row a pair"),
        }
    }
}

impl OuterProduct<'_> {
    fn check(&self, lanes: usize, strip: usize) {
        let Self { x, g, pairs, width, acc, acc_stride, acc_col } = self;
        assert!(*width == lanes || *width == 2 * lanes, "width {width} of {lanes} lanes");
        assert!(x.len() / strip >= *pairs && g.len() / width >= *pairs, "a row a pair");
        assert!(acc_col + width <= *acc_stride, "columns {acc_col} + {width} of {acc_stride}");
        assert!(acc.len() / acc_stride >= strip, "{strip} rows of accumulators");
    }
}

#[cfg(test)]
mod tests;
