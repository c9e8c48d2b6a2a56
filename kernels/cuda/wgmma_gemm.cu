// wgmma_gemm: output-stationary implicit GEMM by Hopper's warpgroup instructions, forward and
// dgrad.
//
//   forward  y[o]  = sum over k of  x[map[k][o]] * w[k]
//   dgrad    dx[i] = sum over k of  g[map[k][i]] * w[k']^T     k' = k, or volume-1-k over a
//                                                              mirrored forward map (`mirror`)
//
// Layouts: as in mask_gemm.cu. gathered (rows, c_gathered), weights (volume, c_in, c_out), result
// (n, c_result), row-major, channels in multiples of eight, any base address. Rows of gathered and
// result lie a pitch apart, weights are dense. table (volume, table_pitch), padded with -1 to a
// multiple of 256 positions; masks (n, MASK_WORDS); row_of_position (n) or null. weights_map
// describes weights as (c_out, c_in, volume), a box of it being a panel of B.
//
// A block stays on its SM and takes tiles of ROWS positions x COLS result channels from a counter.
// One warpgroup gathers, GROUPS warpgroups multiply. They meet only at the barriers of a ring of
// STAGES stages, so that the next tile's gathers run while the last one is still multiplied and
// stored.
//
//   warp_specialization.cuh    roles of a block's warpgroups, and the ring between them
//   wgmma_gemm_stages.cuh      what a stage holds, and all places in shared memory
//   wgmma_gemm_tiles.cuh       tiles, their masks and offsets, and the counter
//   wgmma_gemm_gather.cuh      the gathering warpgroup: rows, weights and words into stages
//   wgmma_gemm_multiply.cuh    the multiplying warpgroups: products of the stages
//   wgmma_gemm_store.cuh       sums to the result, through the epilogue, or to parts
//
// Invariants
// * full[stage] completes when all copies of a stage have landed and its words are written,
//   empty[stage] when all products that read it are complete.
// * A stage's first word names its tile and says whether the tile ends there; a negative one ends
//   the block.
// * The scheduler's counters are zero between launches; launches that share them must not overlap.
// * Channels past c_gathered meet weights that are zeros, and are zeros themselves (0 * stale NaN
//   is NaN).
// * Every row of the result is written, with the epilogue of zeros where a row has no pair. Sums
//   run in a fixed order, whichever block takes a tile: bitwise repeatable.
//
// Architecture: sm_90a. Shared memory is dynamic; the host reads its size from voxtune_launch.
//
// Defines: VOXTUNE_DTYPE 0|1; DGRAD 0|1; ROWS (64, 128 or 256), COLS, DEPTH, STAGES; GROUPS:
// multiplying warpgroups; MIN_BLOCKS: blocks per SM; MASK_WORDS; OFFSETS: offsets per stage, 2 or
// absent for 1; SPLIT 1, or absent: whether tiles are cut into parts, see splits.cuh.
// expected: serialised on sm_90 where ROWS=256 COLS=32 DEPTH=32 GROUPS=2 MASK_WORDS=1 SPLIT=0 OFFSETS=2: 80 registers by MIN_BLOCKS; forms with more were slower
// expected: spills on sm_90 where DGRAD=0 ROWS=256 COLS=32 DEPTH=32 GROUPS=2 MASK_WORDS=1 SPLIT=0: 80 registers by MIN_BLOCKS; one block was slower
// expected: spills on sm_90 where DGRAD=0 ROWS=128 COLS=64 DEPTH=64 GROUPS=2 MASK_WORDS=1 SPLIT=0 OFFSETS=0: 80 registers by MIN_BLOCKS; a few bytes
#include "tile_gemm.cuh"
#include "wgmma.cuh"

#ifndef OFFSETS
#define OFFSETS 1
#endif
#ifdef SPLIT
#include "splits.cuh"
#else
#define SPLIT 0
#endif

#include "wgmma_gemm_gather.cuh"
#include "wgmma_gemm_multiply.cuh"
#include "wgmma_gemm_store.cuh"

using namespace voxtune;

// What the host needs to launch this instance: threads per block, dynamic shared memory in bytes.
extern "C" __constant__ int voxtune_launch[2] = {THREADS, SHARED_BYTES};

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
#if SPLIT
    wgmma_gemm(const __grid_constant__ TileGemmParams p, const __grid_constant__ TensorMap weights_map,
               const __grid_constant__ SplitParams split) {
    const int parts = split.parts;
#else
    wgmma_gemm(const __grid_constant__ TileGemmParams p, const __grid_constant__ TensorMap weights_map) {
    constexpr int parts = 1;
#endif
    extern __shared__ __align__(1024) char shared[];
    if (threadIdx.x == 0) {
        for (Ring ring(shared); ring.parity == 0; ring.advance()) {
            barrier_init(ring.full(), FULL_ARRIVALS);
            barrier_init(ring.empty(), EMPTY_ARRIVALS);
        }
        asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
    }
    if (threadIdx.x < 32) store_word(shared_address(shared) + ZEROS_AT + threadIdx.x * 4, 0);
    __syncthreads();
    const Tiles tiles(p.rows.load(), DGRAD ? p.c_in : p.c_out, parts);
    if (threadIdx.x < GATHER_THREADS) {
        warpgroup_reg_dealloc<GATHER_REGISTERS>();
        // A row of 256 bytes and more is all needed soon: its other blocks of channels are the next
        // stages.
        const bool wide = (DGRAD ? p.c_out : p.c_in) >= 128;
        if (!p.copies_aligned) Gatherer<false, 128>(p, weights_map, tiles, shared).run();
        else if (DEPTH < 64 || !wide) Gatherer<true, 128>(p, weights_map, tiles, shared).run();
        else Gatherer<true, 256>(p, weights_map, tiles, shared).run();
        wait_copies<0>();
    } else {
        warpgroup_reg_alloc<MULTIPLY_REGISTERS>();
        Multiplier multiplier(p, tiles, shared);
#if SPLIT
        multiplier.run_parts(split.partial);
#else
        multiplier.run();
#endif
    }
}
