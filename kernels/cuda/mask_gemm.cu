// mask_gemm: output-stationary implicit GEMM on tensor cores, forward and dgrad.
//
//   forward  y[o]  = sum over k of  x[map[k][o]] * w[k]
//   dgrad    dx[i] = sum over k of  g[map[k][i]] * w[k']^T     k' = k, or volume-1-k over a
//                                                              mirrored forward map (`mirror`)
//
// Layouts: gathered (rows, c_gathered), weights (volume, c_in, c_out), result (n, c_result), all
// row-major, any base address. Rows of gathered and result lie a pitch apart, weights are dense.
// table (volume, table_pitch) holds, for launch position p, the gathered row or -1; positions from
// n to table_pitch, a multiple of 256, hold -1. masks (n, MASK_WORDS) the offsets that position p
// has; row_of_position (n), or null, the result row of position p.
//
// A block owns ROWS positions x COLS result channels. It ORs its rows' masks, lists the offsets
// present, and walks the flat list of (offset, block of DEPTH gathered channels). cp.async fills a
// ring of STAGES shared-memory stages, which never drains between offsets. Row numbers travel
// through the same ring, STAGES-1 offsets ahead.
//
//   mask_gemm_stages.cuh      a block's tile, its stages, and all places in shared memory
//   mask_gemm_offsets.cuh     the masks of a block's rows and the list of its offsets
//   mask_gemm_gather.cuh      the copying side: row numbers, rows and weights into the ring
//   mask_gemm_multiply.cuh    the products of a stage
//   mask_gemm_store.cuh       sums to the result, through the epilogue, or to parts
//
// Invariants
// * Exactly one commit group a step, empty ones included, so wait<STAGES-2> always means "this
//   step's data is here".
// * An absent row is never loaded: the lane's ldmatrix address points at a line of zeros in its own
//   bank group instead.
// * A warp skips a fragment of 16 rows in which no row has the offset.
// * Channels past c_gathered are filled with zeros in both operands (0 * stale NaN is NaN).
//   Channels past c_result are computed and never stored.
// * Every row of the result is written, with the epilogue of zeros where a row has no pair. Sums
//   run in a fixed order: bitwise repeatable.
//
// Architecture: sm_80 and later. Shared memory is dynamic; the host reads its size from
// voxtune_launch.
//
// Defines: VOXTUNE_DTYPE 0|1; DGRAD 0|1; ROWS, COLS, DEPTH, STAGES; WARP_ROWS, WARP_COLS;
// MASK_WORDS; VEC_A, VEC_B, VEC_Y: elements of one copy of the gathered rows, the weights and the
// result: 8, 4, 2, or 1 for elementwise copies. MIN_BLOCKS: blocks per SM that the register budget
// is cut for. SPLIT 1, or absent: whether blocks are cut into parts, see splits.cuh; the grid's y
// is the part.
// expected: spills on sm_80 sm_86 sm_89 sm_90 sm_100 sm_120 where DGRAD=0 ROWS=128 COLS=48 DEPTH=48 MASK_WORDS=1 VEC_A=8 VEC_B=8 SPLIT=0: 128 registers by MIN_BLOCKS
// expected: spills on sm_80 sm_86 sm_89 sm_90 sm_100 sm_120 where DGRAD=1 ROWS=128 COLS=48 DEPTH=48 MASK_WORDS=1 VEC_A=8 VEC_B=8 SPLIT=0: 128 registers by MIN_BLOCKS
// expected: spills on sm_90 where DGRAD=0 ROWS=128 COLS=48 DEPTH=48 MASK_WORDS=1 VEC_A=4 VEC_B=4 SPLIT=0: 128 registers by MIN_BLOCKS
// expected: spills on sm_90 where DGRAD=0 ROWS=128 COLS=48 DEPTH=48 MASK_WORDS=1 VEC_A=8 VEC_B=4 SPLIT=0: 128 registers by MIN_BLOCKS
// expected: spills on sm_90 where DGRAD=0 ROWS=128 COLS=48 DEPTH=48 MASK_WORDS=1 VEC_A=4 VEC_B=8: 128 registers by MIN_BLOCKS
// expected: spills on sm_90 where DGRAD=1 ROWS=128 COLS=48 DEPTH=48 MASK_WORDS=1 VEC_A=4 VEC_B=4 SPLIT=0: 128 registers by MIN_BLOCKS
// expected: spills on sm_80 where DGRAD=0 ROWS=64 COLS=64 DEPTH=32 MASK_WORDS=1 VEC_A=8 VEC_B=8 SPLIT=0: 128 registers by MIN_BLOCKS
// expected: spills on sm_80 where DGRAD=0 ROWS=64 COLS=128 DEPTH=32 MASK_WORDS=1 VEC_A=8 VEC_B=8: 128 registers by MIN_BLOCKS
// expected: spills on sm_80 where DGRAD=0 ROWS=128 COLS=64 DEPTH=32 MASK_WORDS=1 VEC_A=8 VEC_B=8: 128 registers by MIN_BLOCKS
// expected: spills on sm_80 where DGRAD=0 ROWS=128 COLS=64 DEPTH=64 MASK_WORDS=1 VEC_A=8 VEC_B=8: 128 registers by MIN_BLOCKS
// expected: spills on sm_90 where DGRAD=0 ROWS=128 COLS=64 DEPTH=64 MASK_WORDS=1 VEC_A=8 VEC_B=8 SPLIT=0: 128 registers by MIN_BLOCKS
// expected: spills on sm_90 where DGRAD=0 ROWS=128 COLS=64 DEPTH=64 MASK_WORDS=1 VEC_A=4 VEC_B=8: 128 registers by MIN_BLOCKS
// expected: spills on sm_80 where DGRAD=1 ROWS=128 COLS=64 DEPTH=64 MASK_WORDS=1 VEC_A=8 VEC_B=8 SPLIT=0: 128 registers by MIN_BLOCKS
// expected: spills on sm_80 where DGRAD=1 ROWS=128 COLS=64 DEPTH=16 MASK_WORDS=1 VEC_A=4 VEC_B=4 SPLIT=0: 128 registers by MIN_BLOCKS
// expected: spills on sm_80 where DGRAD=0 ROWS=128 COLS=128 DEPTH=32 MASK_WORDS=1 VEC_A=8 VEC_B=8: 128 registers by MIN_BLOCKS
// expected: spills on sm_80 sm_90 where DGRAD=0 ROWS=128 COLS=128 DEPTH=64 WARP_ROWS=32 MASK_WORDS=1 VEC_A=8 VEC_B=8 SPLIT=0: 128 registers by MIN_BLOCKS
// expected: spills on sm_80 where DGRAD=1 ROWS=128 COLS=128 DEPTH=64 WARP_ROWS=32 MASK_WORDS=1 VEC_A=8 VEC_B=8 SPLIT=0: 128 registers by MIN_BLOCKS
// expected: spills on sm_80 where DGRAD=1 ROWS=128 COLS=128 DEPTH=16 MASK_WORDS=1 VEC_A=4 VEC_B=4 SPLIT=0: 128 registers by MIN_BLOCKS
// expected: spills on sm_80 where DGRAD=0 ROWS=256 COLS=64 DEPTH=32 MASK_WORDS=1 VEC_A=8 VEC_B=8 SPLIT=0: 128 registers by MIN_BLOCKS
#include "tile_gemm.cuh"

#ifdef SPLIT
#include "splits.cuh"
#else
#define SPLIT 0
#endif

#include "mask_gemm_gather.cuh"
#include "mask_gemm_multiply.cuh"
#include "mask_gemm_offsets.cuh"
#include "mask_gemm_store.cuh"

using namespace voxtune;

// What the host needs to launch this instance: threads per block, dynamic shared memory in bytes.
extern "C" __constant__ int voxtune_launch[2] = {THREADS, SHARED_BYTES};

// The walk over the flat list.
template <bool FAST_A, bool FAST_B>
__device__ __forceinline__ void walk(float (&acc)[FRAGS_M][FRAGS_N][4], const TileGemmParams& p, const Shared& s, int first, int column,
                                     int warp_m, int warp_n) {
    const int lane = threadIdx.x % 32;
    const int count = *s.count;
    Producer<FAST_A, FAST_B> producer(p, s, first, column, count);
    const int total = count * producer.blocks_k;

    // Row numbers of the first STAGES - 1 offsets; later ones come through the ring.
    for (int ordinal = 0; ordinal < STAGES - 1 && ordinal < count; ++ordinal) producer.copy_index(ordinal, ordinal);
    commit_copies();
    wait_copies<0>();
    __syncthreads();

    uint32_t row_bits[FRAGS_M], group_bits[FRAGS_M];
#pragma unroll
    for (int m = 0; m < FRAGS_M; ++m) {
        const int row = warp_m * WARP_ROWS + m * 16 + lane % 16;
        row_bits[m] = s.mask[row * MASK_WORDS];
        group_bits[m] = s.group[row / 16 * MASK_WORDS];
    }
    LanePlaces places(warp_m, warp_n);
    int ordinal = 0, block = 0, stage = 0;
    int offset = count > 0 ? s.list[0] : 0;
    for (int step = 1 - STAGES; step < total; ++step) {
        if (step >= 0) {
            wait_copies<STAGES - 2>();
            __syncthreads();  // this step's copies have landed, and the next stage is free
        }
        if (step + STAGES - 1 < total) producer.step();
        commit_copies();
        if (step >= 0) {
            multiply(acc, s, shared_address(s.ring) + stage * STAGE_BYTES, offset, warp_m, places, row_bits, group_bits);
            if (++block == producer.blocks_k) {
                block = 0;
                ++ordinal;
                if (ordinal < count) offset = s.list[ordinal];
            }
            if (++stage == STAGES) stage = 0;
        }
    }
    wait_copies<0>();
    __syncthreads();
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) mask_gemm(const __grid_constant__ TileGemmParams p
#if SPLIT
                                                                              ,
                                                                              const __grid_constant__ SplitParams split
#endif
) {
    extern __shared__ __align__(128) char shared_base[];
    Shared s = carve(shared_base);
    const int c_result = DGRAD ? p.c_in : p.c_out;
    // Blocks of the same rows are neighbours, so that their gathers meet in L2. The last rows start
    // first: an order by masks puts the rows with most offsets last, and long blocks at the end
    // would leave SMs idle.
    const int col_tiles = ceil_div(c_result, COLS);
    const int first = (gridDim.x - 1 - blockIdx.x) / col_tiles * ROWS;
    const int column = blockIdx.x % col_tiles * COLS;
    const int warp = threadIdx.x / 32;
    const int warp_m = warp / WARPS_N, warp_n = warp % WARPS_N;

    const int n = p.rows.load();
    if (first >= n) return;
    gather_masks(p, s, first, n);
#if SPLIT
    s.list += s.count[1];
#endif
    float acc[FRAGS_M][FRAGS_N][4] = {};
    if (p.copies_aligned) walk<(VEC_A > 1), (VEC_B > 1)>(acc, p, s, first, column, warp_m, warp_n);
    else walk<false, false>(acc, p, s, first, column, warp_m, warp_n);
#if SPLIT
    store_partial(acc, split.partial + int64_t(blockIdx.y) * p.rows.capacity * c_result, first, n, column, c_result, warp_m, warp_n);
#else
    if (!DGRAD && p.epilogue.present) finish(p, acc, s.ring, first, n, column, warp_m, warp_n);
    else store(p, acc, s.ring, first, n, column, c_result, warp_m, warp_n);
#endif
}
