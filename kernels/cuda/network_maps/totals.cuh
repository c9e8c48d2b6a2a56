// How many outputs each brick has, and how many of them are neighbours within it.
//
// Architecture: any.
#pragma once

#include "levels.cuh"

namespace voxtune {

// The cells of a brick whose neighbour one step up an axis, or down, is in the brick and set.
__device__ __forceinline__ unsigned long long up_z(unsigned long long cells) { return cells >> 1 & 0x7777777777777777ull; }
__device__ __forceinline__ unsigned long long down_z(unsigned long long cells) { return cells << 1 & 0xeeeeeeeeeeeeeeeeull; }
__device__ __forceinline__ unsigned long long up_y(unsigned long long cells) { return cells >> 4 & 0x0fff0fff0fff0fffull; }
__device__ __forceinline__ unsigned long long down_y(unsigned long long cells) { return cells << 4 & 0xfff0fff0fff0fff0ull; }

// Adds the neighbours within the bricks of a warp.
__device__ __forceinline__ void tally_neighbours(unsigned long long cells, int* neighbours) {
    const unsigned long long x = cells >> 16, y = up_y(cells), xy = up_y(x), x_back_y = down_y(x);
    const auto met = [cells](unsigned long long others) { return __popcll(cells & others); };
    const int counts[7] = {
        met(up_z(cells)),
        met(y),
        met(up_z(y)) + met(down_z(y)),
        met(x),
        met(up_z(x)) + met(down_z(x)),
        met(xy) + met(x_back_y),
        met(up_z(xy)) + met(down_z(xy)) + met(up_z(x_back_y)) + met(down_z(x_back_y)),
    };
#pragma unroll
    for (int i = 0; i < 7; ++i) {
        const int sum = __reduce_add_sync(ALL_LANES, counts[i]);
        if (threadIdx.x % 32 == 0 && sum > 0) atomicAdd(neighbours + i, sum);
    }
}

// Says how many outputs each brick has, at its key; gives the bricks of the input their places
// among the ranks.
extern "C" __global__ void __launch_bounds__(ROW_THREADS) network_totals(const __grid_constant__ Levels levels) {
    int block = blockIdx.x;
    const int number = level_of(levels, levels.first, block);
    if (number < 0) return;
    const Level& level = levels.at[number];
    const uint32_t at = block * ROW_THREADS + threadIdx.x;
    const unsigned long long cells = at < level.capacity ? cells_of(header(level.slots + at)) : 0;
    const int rows = __popcll(cells);
    if (number > 0) {
        if (rows > 0) level.totals[owner_of(level.owners[at])] = static_cast<unsigned char>(rows);
        if (levels.tallies && __any_sync(ALL_LANES, rows > 0)) tally_neighbours(cells, levels.control->neighbours);
        return;
    }
    const int lane = threadIdx.x % 32, through = inclusive_sum(rows);
    int start = 0;
    if (lane == 31 && through > 0) start = atomicAdd(&levels.control->cursor, through);
    start = __shfl_sync(ALL_LANES, start, 31);
    if (rows > 0) level.slots[at].first = start + through - rows;
}

}  // namespace voxtune
