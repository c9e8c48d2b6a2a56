//! What arithmetic does not give: a few constants a family.
//!
//! They were fitted to the H100's timings in `caches/sm_90.evidence.msgpack` by
//! `cargo run --release -p voxtune --example fit_cost_model`, which also says how well they predict a
//! cloud that they were not fitted to. The tests of `crates/voxtune/src/model` hold them to the
//! same file.

/// Constants of a family. On a GPU that was not measured they are taken as they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constants {
    /// Cycles of a multiprocessor that 32 copies take: addresses, predicates, the copies.
    pub copy_clocks: f64,
    /// A pipeline stage from its barrier to the next, with nothing to copy. Nanoseconds.
    pub stage_ns: f64,
    /// What each copy of a thread adds to a stage. Nanoseconds.
    pub thread_copy_ns: f64,
    /// A block's beginning and end. Nanoseconds.
    pub block_ns: f64,
    /// What a launch takes with nothing to do, on a cold cache: for families that launch once an
    /// offset, of one offset. Nanoseconds.
    pub launch_ns: f64,
    /// How often memory's traffic happens: 1 but for what rereads it.
    pub traffic: f64,
}

const TILES: Constants = Constants {
    copy_clocks: 0.0,
    stage_ns: 0.0,
    thread_copy_ns: 0.0,
    block_ns: 0.0,
    launch_ns: 0.0,
    traffic: 1.0,
};

/// `mask_gemm`.
pub(crate) const MASK: Constants = Constants {
    copy_clocks: 4.4,
    stage_ns: 563.0,
    thread_copy_ns: 36.0,
    block_ns: 2420.0,
    launch_ns: 7100.0,
    ..TILES
};

/// `wgmma_gemm`: warps of their own copy, so copies take nothing from those that multiply.
pub(crate) const WGMMA: Constants = Constants {
    stage_ns: 361.0,
    thread_copy_ns: 19.5,
    block_ns: 565.0,
    launch_ns: 8000.0,
    ..TILES
};

/// `pair_gemm`, with the kernel that adds up partial results.
pub(crate) const PAIR: Constants = Constants {
    copy_clocks: 7.1,
    stage_ns: 114.0,
    thread_copy_ns: 69.0,
    block_ns: 5470.0,
    launch_ns: 9000.0,
    ..TILES
};

/// `implicit_gemm`, forward and dgrad: copies widen to float32 on their way.
pub(crate) const IMPLICIT: Constants =
    Constants { copy_clocks: 42.8, thread_copy_ns: 1.4, launch_ns: 3000.0, ..TILES };

/// `implicit_gemm`, wgrad.
pub(crate) const IMPLICIT_WGRAD: Constants =
    Constants { copy_clocks: 40.9, stage_ns: 31.0, block_ns: 350.0, launch_ns: 9000.0, ..TILES };

/// `explicit_gemm`, forward and dgrad: gather, product and scatter of an offset.
pub(crate) const EXPLICIT: Constants = Constants { launch_ns: 9400.0, traffic: 1.8, ..TILES };

/// `explicit_gemm`, wgrad.
pub(crate) const EXPLICIT_WGRAD: Constants =
    Constants { launch_ns: 13_500.0, traffic: 3.0, ..TILES };
