// packed_gemm: output-stationary implicit GEMM of at most eight gathered channels, offsets packed
// along the inner dimension; forward and dgrad.
//
//   forward  y[o]  = sum over k of  x[map[k][o]] * w[k]
//   dgrad    dx[i] = sum over k of  g[map[k][i]] * w[k']^T     k' = k, or volume-1-k over a
//                                                              mirrored forward map (`mirror`)
//
// Layouts: gathered (rows, c_gathered), weights (volume, c_in, c_out), result (n, c_result), all
// row-major, any base address. Rows of gathered and result lie a pitch apart, weights are dense.
// table (volume, table_pitch) holds, for position p, the gathered row or -1; positions from n to
// table_pitch, a multiple of 256, hold -1. Natural order: position p is result row p. masks are not
// read.
//
// Three channels padded to a product's depth of 16 would multiply zeros four times out of five.
// Here the inner dimension is (offset, PACK channels), PACK 4 or 8: 108 of 128 elements for 27
// offsets of 3 channels. A row of the operand is then all neighbours of a voxel, absent ones as
// zeros, so rows need no order, no mask and no list of offsets.
//
// Invariants
// * An absent row is never loaded; its lanes hold zeros.
// * Channels past c_gathered and offsets past the volume are zeros in both operands (0 * stale NaN
//   is NaN).
// * Every row of the result is written, with the epilogue of zeros where a row has no pair. Sums
//   run in a fixed order: bitwise repeatable.
//
// Architecture: sm_80 and later. Shared memory is dynamic; the host reads its size from
// voxtune_launch.
//
// Defines: VOXTUNE_DTYPE 0|1; DGRAD 0|1; VOLUME; PACK 4|8: gathered channels padded; COLS: result
// channels padded to 8; WARPS per block; MIN_BLOCKS: blocks per SM; VEC_A, VEC_Y: elements of one
// copy of the gathered rows and the result: 8, 4, 2, or 1 for elementwise copies.
// expected: spills on sm_80 sm_86 sm_89 sm_90 sm_100 sm_120 where DGRAD=0 VOLUME=27 PACK=8 COLS=32 MIN_BLOCKS=3 VEC_A=2: 80 registers by MIN_BLOCKS
// expected: spills on sm_100 where DGRAD=0 VOLUME=27 PACK=4 COLS=32 MIN_BLOCKS=3 VEC_A=1: 80 registers by MIN_BLOCKS
// expected: spills on sm_90 where DGRAD=0 VOLUME=125 PACK=4 COLS=32 MIN_BLOCKS=3 VEC_A=1: 80 registers by MIN_BLOCKS
// expected: spills on sm_90 where DGRAD=0 VOLUME=125 PACK=8 COLS=32 MIN_BLOCKS=2 VEC_A=2: 128 registers by MIN_BLOCKS
#include "resident.cuh"

using namespace voxtune;

constexpr int THREADS = WARPS * 32;
constexpr int ROWS = 16;                      // positions a warp
constexpr int OFFSETS_A_LANE = 8 / PACK;      // of a slice
constexpr int OFFSETS = SLICE / PACK;         // of a slice
constexpr int SLICES = ceil_div(VOLUME, OFFSETS);
constexpr int SLICE_BYTES = COLS * SLICE * 2;
constexpr int SHARED_BYTES = SLICES * SLICE_BYTES;
// Slices gathered at a time: what the registers hold.
constexpr int BATCH = SLICES < 8 ? SLICES : 4;

static_assert((PACK == 4 || PACK == 8) && COLS % 8 == 0, "shape");

// What the host needs to launch this instance: threads per block, dynamic shared memory in bytes.
extern "C" __constant__ int voxtune_launch[2] = {THREADS, SHARED_BYTES};

// Weights as (slice, column, 32), the offsets as the table has them.
__device__ __forceinline__ void bring_weights(const TileGemmParams& p, char* shared) {
    const int c_gathered = DGRAD ? p.c_out : p.c_in, c_result = DGRAD ? p.c_in : p.c_out;
    for (int i = threadIdx.x; i < SLICES * SLICE * COLS; i += THREADS) {
        const int column = i % COLS, inner = i / COLS, offset = inner / PACK, channel = inner % PACK;
        Element value = Dtype::store(0.0f);
        if (offset < VOLUME && channel < c_gathered && column < c_result) {
            const int from = p.mirror ? VOLUME - 1 - offset : offset;
            const int in = DGRAD ? column : channel, out = DGRAD ? channel : column;
            value = p.weights[(int64_t(from) * p.c_in + in) * p.c_out + out];
        }
        reinterpret_cast<Element*>(shared)[(inner / SLICE * COLS + column) * SLICE + inner % SLICE] = value;
    }
}

// The rows that a lane gathers for a slice: of positions first + g and first + g + 8, -1 where
// there is none.
struct Rows {
    int row[2][OFFSETS_A_LANE];
    __device__ __forceinline__ void ask(const TileGemmParams& p, int first, int slice) {
        const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
        for (int i = 0; i < OFFSETS_A_LANE; ++i) {
            const int offset = slice * OFFSETS + t * OFFSETS_A_LANE + i;
            const int* table = p.table + offset * p.table_pitch + first + g;
#pragma unroll
            for (int half = 0; half < 2; ++half) row[half][i] = offset < VOLUME ? __ldg(table + half * 8) : -1;
        }
    }
};

// PACK channels of a row, zeros where there is none.
template <bool ALIGNED>
__device__ __forceinline__ uint4 gather(const TileGemmParams& p, const int (&row)[OFFSETS_A_LANE]) {
    const int c_gathered = DGRAD ? p.c_out : p.c_in;
    uint4 value = {};
#pragma unroll
    for (int i = 0; i < OFFSETS_A_LANE; ++i) {
        const Element* source = p.gathered + uint64_t(uint32_t(row[i])) * uint32_t(p.gathered_pitch);
        const uint4 eight = load_eight<VEC_A, ALIGNED>(source, row[i] >= 0 ? min(c_gathered, PACK) : 0);
        if (PACK == 8) {
            value = eight;
        } else if (i == 0) {
            value.x = eight.x;
            value.y = eight.y;
        } else {
            value.z = eight.x;
            value.w = eight.y;
        }
    }
    return value;
}

template <bool ALIGNED>
__device__ __forceinline__ void walk(const TileGemmParams& p, char* shared) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, c_result = DGRAD ? p.c_in : p.c_out;
    const uint32_t weights = shared_address(shared);
    const ColumnGroups<COLS> columns;
    bring_weights(p, shared);
    __syncthreads();
    const int n = p.rows.load(), units = ceil_div(n, ROWS);
    for (int unit = blockIdx.x * WARPS + warp; unit < units; unit += gridDim.x * WARPS) {
        const int first = unit * ROWS;
        float acc[COLS / 8][4] = {};
#pragma unroll
        for (int batch = 0; batch < SLICES; batch += BATCH) {
            Rows rows[BATCH];
            uint4 a[BATCH][2];
#pragma unroll
            for (int i = 0; i < BATCH; ++i) rows[i].ask(p, first, batch + i);
#pragma unroll
            for (int i = 0; i < BATCH; ++i) {
#pragma unroll
                for (int half = 0; half < 2; ++half) a[i][half] = gather<ALIGNED>(p, rows[i].row[half]);
            }
#pragma unroll
            for (int i = 0; i < BATCH; ++i) {
                if (batch + i < SLICES) multiply_slice<COLS>(acc, a[i], weights + (batch + i) * SLICE_BYTES, columns);
            }
        }
        const int low = first + lane / 4, high = low + 8;
        Element* low_row = low < n ? p.result + int64_t(low) * p.result_pitch : nullptr;
        Element* high_row = high < n ? p.result + int64_t(high) * p.result_pitch : nullptr;
        if (!DGRAD && p.epilogue.present) {
            finish_rows<COLS, VEC_Y>(acc, p.epilogue, low < n ? low : -1, high < n ? high : -1, c_result);
        }
        store_rows<COLS, VEC_Y>(acc, low_row, high_row, c_result, p.result_aligned);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) packed_gemm(const __grid_constant__ TileGemmParams p) {
    extern __shared__ __align__(128) char shared[];
    if (p.copies_aligned) walk<true>(p, shared);
    else walk<false>(p, shared);
}
