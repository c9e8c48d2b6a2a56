// grouped over rows: forward and dgrad.
//
// Architecture: sm_80 and later.
//
// Expects the defines of grouped.cu.
#pragma once

#include "list_pairs.cuh"
#include "store.cuh"
#include "sums.cuh"

namespace voxtune {

extern "C" __constant__ int voxtune_launch[2] = {THREADS, SHARED_BYTES};

template <bool ALIGNED>
__device__ __forceinline__ void walk(const TileGemmParams& p, const GroupParams& group, char* base) {
    const Shared shared(base);
    const int c_result = DIRECTION == 1 ? p.c_in : p.c_out, col_tiles = ceil_div(c_result, COLS);
    const int first = blockIdx.x / col_tiles * ROWS, column = blockIdx.x % col_tiles * COLS;
    const int n = p.rows.load();
    if (first >= n) return;
    if constexpr (HELD) bring_weights<ALIGNED>(p, group, shared, column);
    list_pairs(p, shared, first, n);
    const int lane = threadIdx.x % LANES, channel = column + lane * WIDTH;
    if (channel >= c_result) return;
    for (int i = threadIdx.x / LANES; i < ROWS; i += AT_ONCE) {
        const int row = shared.order[i];
        if (first + row >= n) continue;
        float sums[PIECES][WIDTH] = {};
        if constexpr (DEPTHWISE) sum_depthwise<ALIGNED>(p, shared, sums, row, lane, channel);
        else sum_groups<ALIGNED>(p, group, shared, sums[0], row, column, channel);
        const int target = p.row_of_position ? __ldg(p.row_of_position + first + row) : first + row;
#pragma unroll
        for (int s = 0; s < PIECES; ++s) {
            const int from = channel + s * STRIDE;
            if (from >= c_result) break;
            if (p.result_aligned) store<VEC_Y>(p, sums[s], target, from, c_result - from);
            else store<1>(p, sums[s], target, from, c_result - from);
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) grouped(const __grid_constant__ TileGemmParams p,
                                                              const __grid_constant__ GroupParams group) {
    extern __shared__ __align__(128) char shared[];
    if (p.copies_aligned) walk<true>(p, group, shared);
    else walk<false>(p, group, shared);
}

}  // namespace voxtune
