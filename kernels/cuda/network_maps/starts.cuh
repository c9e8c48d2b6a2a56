// Where each brick's outputs begin: a scan over the rows of the input, all levels in one launch.
//
// Architecture: any.
#pragma once

#include "levels.cuh"

namespace voxtune {

constexpr int SCAN_ROWS = 1024;  // rows of a block of network_starts, four per thread

// What a tile has said: its own sum, or that of all up to and with it.
constexpr unsigned long long TILE_OWN = 1ull << 62, TILE_THROUGH = 2ull << 62, TILE_SUM = TILE_OWN - 1;

// The sum of all tiles before this one (decoupled look-back, as in row_order.cuh). For a whole
// warp.
__device__ __forceinline__ unsigned long long sum_of_tiles(const volatile unsigned long long* status, int tile) {
    const int lane = threadIdx.x % 32;
    unsigned long long sum = 0;
    for (int last = tile - 1; last >= 0; last -= 32) {
        unsigned long long said;
        uint32_t through, needed;
        do {
            said = last >= lane ? status[last - lane] : TILE_THROUGH;
            through = __ballot_sync(ALL_LANES, (said & TILE_THROUGH) != 0);
            needed = through == 0 ? ALL_LANES : (through & -through) | ((through & -through) - 1);
        } while ((__ballot_sync(ALL_LANES, said != 0) & needed) != needed);
        unsigned long long mine = needed >> lane & 1 ? said & TILE_SUM : 0;
#pragma unroll
        for (int step = 16; step > 0; step /= 2) mine += __shfl_xor_sync(ALL_LANES, mine, step);
        sum += mine;
        if (through != 0) break;
    }
    return sum;
}

// Once all levels are counted: tells the host, and leaves the numbers of rows, or zero everywhere
// if a level has too little room: nothing that is made of too few rows would be right.
__device__ __forceinline__ void report_levels(const Levels& levels) {
    const volatile Control* control = levels.control;
    bool fits = true;
    for (int l = levels.further(); l < levels.count; ++l) fits &= control->rows[l] <= static_cast<unsigned>(levels.at[l].room) && !control->full[l];
    for (int l = levels.further(); l < levels.count; ++l) {
        const Level& level = levels.at[l];
        const unsigned long long rows = control->rows[l];
        level.report[0] = control->full[l];
        level.report[1] = rows <= INT_MAX ? static_cast<int>(rows) : -1;
        level.report[2] = static_cast<int>(min(control->meetings, static_cast<unsigned long long>(INT_MAX)));
        for (int i = 0; i < 7; ++i) level.report[3 + i] = control->neighbours[i];
        *level.counted = fits ? static_cast<int>(rows) : 0;
    }
}

// Turns totals into where the outputs of each row of the input begin. A tile of rows per block.
extern "C" __global__ void __launch_bounds__(ROW_THREADS) network_starts(const __grid_constant__ Levels levels) {
    static_assert(SCAN_ROWS == 4 * ROW_THREADS, "four rows per thread");
    constexpr int WARPS = ROW_THREADS / 32;
    __shared__ int sums[WARPS];
    __shared__ int taken;
    __shared__ unsigned long long earlier;
    // Tiles are taken in order, so that a tile waits only for tiles that run.
    if (threadIdx.x == 0) taken = atomicAdd(&levels.control->ticket, 1);
    __syncthreads();
    const int number = levels.further() + taken / levels.tiles, tile = taken % levels.tiles;
    const Level& level = levels.at[number];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int64_t row = int64_t(tile) * SCAN_ROWS + threadIdx.x * 4;
    const auto* totals = reinterpret_cast<const ulonglong2*>(level.totals) + row / 2;
    const ulonglong2 first = totals[0], second = totals[1];
    const int of_row[4] = {sum_of(first.x), sum_of(first.y), sum_of(second.x), sum_of(second.y)};
    const int own = of_row[0] + of_row[1] + of_row[2] + of_row[3];
    const int through = inclusive_sum(own);
    if (lane == 31) sums[warp] = through;
    __syncthreads();
    int before = through - own;
    for (int w = 0; w < warp; ++w) before += sums[w];
    if (warp == 0) {
        unsigned long long all = 0;
        for (int w = 0; w < WARPS; ++w) all += sums[w];
        volatile unsigned long long* status = levels.status + int64_t(number - 1) * levels.tiles;
        if (lane == 0) status[tile] = all | (tile == 0 ? TILE_THROUGH : TILE_OWN);
        const unsigned long long sum = sum_of_tiles(status, tile);
        if (lane == 0) {
            if (tile > 0) status[tile] = (sum + all) | TILE_THROUGH;
            earlier = sum;
        }
        if (lane == 0 && tile == levels.tiles - 1) {
            *const_cast<volatile unsigned long long*>(&levels.control->rows[number]) = sum + all;
            __threadfence();
            if (atomicAdd(&levels.control->finished, 1) == levels.count - levels.further() - 1) {
                __threadfence();
                report_levels(levels);
            }
        }
    }
    __syncthreads();
    const int start = static_cast<int>(earlier) + before;
    reinterpret_cast<int4*>(level.starts)[row / 4] =
        make_int4(start, start + of_row[0], start + of_row[0] + of_row[1], start + of_row[0] + of_row[1] + of_row[2]);
}

}  // namespace voxtune
