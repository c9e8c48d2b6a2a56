//! What arithmetic does not give: a few constants a family.
//!
//! They were fitted to the H100's timings in `caches/sm_90.evidence.msgpack` by `cargo run
//! --release -p voxtune --example fit_cost_model`. It also says how well they predict a cloud that
//! they were not fitted to. The tests of `crates/voxtune/src/cost` hold them to the same file.
//!
//! That was before version 14 of `wgmma_gemm`. Of today's timings they put a winner first, or one
//! 3.6 % slower on average, 17.1 at the 95th percentile; fitted anew, 3.2 and 18.9. That is no
//! reason to change them. The best of all that they see within 1.4 of their first is 0.03 % from
//! the winner on average, with those others 0.02.

/// Constants of a family. On a GPU that was not measured they are taken as they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constants {
    /// Cycles of an SM that 32 copies take: addresses, predicates, the copies.
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

/// Of families without fitted constants: a launch and nothing else, so that what was learned of
/// them says the rest.
pub(crate) const UNFITTED: Constants = Constants { launch_ns: 8000.0, ..TILES };

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
    copy_clocks: 4.0,
    stage_ns: 647.0,
    thread_copy_ns: 14.4,
    block_ns: 4362.0,
    launch_ns: 7100.0,
    ..TILES
};

/// `wgmma_gemm`: warps of their own copy, so copies take nothing from those that multiply.
pub(crate) const WGMMA: Constants = Constants {
    stage_ns: 380.0,
    thread_copy_ns: 17.8,
    block_ns: 504.0,
    launch_ns: 8000.0,
    ..TILES
};

/// `pair_gemm`, with the kernel that adds up partial results.
pub(crate) const PAIR: Constants = Constants {
    copy_clocks: 8.8,
    thread_copy_ns: 81.9,
    block_ns: 3015.0,
    launch_ns: 9000.0,
    ..TILES
};

/// `implicit_gemm`, forward and dgrad: copies widen to float32 on their way.
pub(crate) const IMPLICIT: Constants =
    Constants { copy_clocks: 49.8, thread_copy_ns: 1.4, launch_ns: 3000.0, ..TILES };

/// `implicit_gemm`, wgrad.
pub(crate) const IMPLICIT_WGRAD: Constants =
    Constants { copy_clocks: 45.0, stage_ns: 15.0, launch_ns: 9000.0, ..TILES };

/// `explicit_gemm`, forward and dgrad: gather, product and scatter of an offset.
pub(crate) const EXPLICIT: Constants = Constants { launch_ns: 10_337.0, traffic: 2.07, ..TILES };

/// `explicit_gemm`, wgrad.
pub(crate) const EXPLICIT_WGRAD: Constants =
    Constants { launch_ns: 13_500.0, traffic: 3.0, ..TILES };

/// `resident_gemm`.
pub(crate) const RESIDENT: Constants = Constants {
    stage_ns: 128.0,
    thread_copy_ns: 26.5,
    block_ns: 4404.0,
    launch_ns: 9000.0,
    ..TILES
};

/// `packed_gemm`.
pub(crate) const PACKED: Constants = Constants {
    copy_clocks: 5.1,
    thread_copy_ns: 103.6,
    block_ns: 1491.0,
    launch_ns: 6000.0,
    ..TILES
};

/// `wgmma_wgrad`, with the kernel that adds up partial results.
pub(crate) const WGMMA_WGRAD: Constants =
    Constants { stage_ns: 4.0, thread_copy_ns: 0.2, block_ns: 965.0, launch_ns: 9000.0, ..TILES };
