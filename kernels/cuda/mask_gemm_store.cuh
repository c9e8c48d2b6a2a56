// Where mask_gemm's sums go: to rows of the result as they are, through the epilogue, or to parts
// that are added up later.
//
// Layouts: accumulators as in mask_gemm_multiply.cuh. The block's results pass through the ring's
// memory, ROWS lines padded so that neither side meets conflicts, so that rows are written in
// pieces of VEC_Y elements. partial (parts, n, c_result) float32, see splits.cuh.
//
// Invariants
// * No thread reads the ring any more when a block stores.
// * Sums are rounded to the storage type once, after everything is added.
// * Channels past c_result and positions past n are never stored.
//
// Architecture: sm_80 and later.
//
// Expects the defines of mask_gemm.cu, with SPLIT 0|1.
#pragma once

#include "mask_gemm_stages.cuh"
#include "tile_gemm.cuh"

namespace voxtune {

// Accumulators through shared memory to the result rows, in 16-byte stores where channels and base
// allow.
__device__ __forceinline__ void store(const TileGemmParams& p, float (&acc)[FRAGS_M][FRAGS_N][4], char* ring, int first,
                                      int n, int column, int c_result, int warp_m, int warp_n) {
    const int lane = threadIdx.x % 32;
    Element* staged = reinterpret_cast<Element*>(ring);
#pragma unroll
    for (int m = 0; m < FRAGS_M; ++m) {
#pragma unroll
        for (int n = 0; n < FRAGS_N; ++n) {
            const int row = warp_m * WARP_ROWS + m * 16 + lane / 4;
            const int col = warp_n * WARP_COLS + n * 8 + lane % 4 * 2;
            *reinterpret_cast<uint32_t*>(staged + row * Y_PITCH + col) = pack(acc[m][n][0], acc[m][n][1]);
            *reinterpret_cast<uint32_t*>(staged + (row + 8) * Y_PITCH + col) = pack(acc[m][n][2], acc[m][n][3]);
        }
    }
    __syncthreads();
    constexpr int PER_ROW = COLS / VEC_Y;
#pragma unroll 2
    for (int i = threadIdx.x; i < ROWS * PER_ROW; i += THREADS) {
        const int row = i / PER_ROW, col = i % PER_ROW * VEC_Y;
        const int position = first + row;
        if (position >= n || column + col >= c_result) continue;
        const int target_row = p.row_of_position ? __ldg(p.row_of_position + position) : position;
        Element* target = p.result + int64_t(target_row) * p.result_pitch + column + col;
        const Element* source = staged + row * Y_PITCH + col;
        if (VEC_Y == 8 && p.result_aligned) {
            *reinterpret_cast<uint4*>(target) = *reinterpret_cast<const uint4*>(source);
        } else if (VEC_Y == 4 && p.result_aligned) {
            *reinterpret_cast<uint2*>(target) = *reinterpret_cast<const uint2*>(source);
        } else if (VEC_Y == 2 && p.result_aligned) {
            *reinterpret_cast<uint32_t*>(target) = *reinterpret_cast<const uint32_t*>(source);
        } else {
#pragma unroll
            for (int e = 0; e < VEC_Y; ++e) target[e] = source[e];
        }
    }
}

#if SPLIT
// Accumulators as they are to where reduce_splits adds them up.
__device__ __forceinline__ void store_partial(const float (&acc)[FRAGS_M][FRAGS_N][4], float* partial, int first,
                                              int n, int column, int c_result, int warp_m, int warp_n) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int m = 0; m < FRAGS_M; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int position = first + warp_m * WARP_ROWS + m * 16 + lane / 4 + half * 8;
            if (position >= n) continue;
            float* line = partial + int64_t(position) * c_result;
#pragma unroll
            for (int n = 0; n < FRAGS_N; ++n) {
                const int col = column + warp_n * WARP_COLS + n * 8 + lane % 4 * 2;
                const float low = acc[m][n][half * 2], high = acc[m][n][half * 2 + 1];
                if (VEC_Y > 1) {
                    if (col < c_result) *reinterpret_cast<float2*>(line + col) = make_float2(low, high);
                } else {
                    if (col < c_result) line[col] = low;
                    if (col + 1 < c_result) line[col + 1] = high;
                }
            }
        }
    }
}
#else
// The same with an epilogue, half of each warp's columns at a time: sums stay float32 until
// everything is added. One copy of the code serves both halves, so that instances stay small; it
// costs two barriers and stores of eight bytes instead of sixteen.
__device__ __forceinline__ void finish(const TileGemmParams& p, const float (&acc)[FRAGS_M][FRAGS_N][4], char* ring, int first,
                                       int n, int column, int warp_m, int warp_n) {
    constexpr int VEC = VEC_Y < 4 ? VEC_Y : 4;
    constexpr int HALF_COLS = COLS / 2, HALF_WARP = WARP_COLS / 2;
    constexpr int SUM_PITCH = HALF_COLS + 4;  // floats; half the columns in float32 take no more than all of them in 16 bits
    static_assert(ROWS * SUM_PITCH * 4 <= RING_BYTES, "the ring holds the sums");
    const int lane = threadIdx.x % 32;
    float* staged = reinterpret_cast<float*>(ring);
    const auto row_of = [&](int line) {
        const int position = first + line;
        return position >= n ? -1 : p.row_of_position ? __ldg(p.row_of_position + position) : position;
    };
#pragma unroll 1
    for (int half = 0; half < 2; ++half) {
        if (half > 0) __syncthreads();  // all have read the first half
#pragma unroll
        for (int n = 0; n < FRAGS_N; ++n) {
            if (n / (FRAGS_N / 2) != half) continue;
#pragma unroll
            for (int m = 0; m < FRAGS_M; ++m) {
                const int row = warp_m * WARP_ROWS + m * 16 + lane / 4;
                const int col = warp_n * HALF_WARP + n % (FRAGS_N / 2) * 8 + lane % 4 * 2;
                *reinterpret_cast<float2*>(staged + row * SUM_PITCH + col) = make_float2(acc[m][n][0], acc[m][n][1]);
                *reinterpret_cast<float2*>(staged + (row + 8) * SUM_PITCH + col) = make_float2(acc[m][n][2], acc[m][n][3]);
            }
        }
        __syncthreads();
        const auto channel_of = [&](int col) { return column + col / HALF_WARP * WARP_COLS + half * HALF_WARP + col % HALF_WARP; };
        if (VEC > 1 && p.result_aligned && p.epilogue.is_aligned<VEC>()) {
            store_finished<VEC, 4, ROWS, HALF_COLS, SUM_PITCH, THREADS>(p.epilogue, staged, threadIdx.x, p.result, p.result_pitch, p.c_out, channel_of, row_of);
        } else {
            store_finished<1, 1, ROWS, HALF_COLS, SUM_PITCH, THREADS>(p.epilogue, staged, threadIdx.x, p.result, p.result_pitch, p.c_out, channel_of, row_of);
        }
    }
}
#endif

}  // namespace voxtune
