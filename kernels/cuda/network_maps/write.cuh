// Outputs written with their places and ranks, and the ranks of the input's rows.
//
// Architecture: any.
#pragma once

#include "levels.cuh"

namespace voxtune {

// Lists the rows of the input by brick and cell, and tells the host of it.
__device__ __forceinline__ void rank_input(const Levels& levels, int block) {
    const Level& input = levels.at[0];
    const int row = block * ROW_THREADS + threadIdx.x, n = levels.input.load();
    if (row == 0) input.report[0] = levels.control->duplicate, input.report[1] = n;
    if (row >= n) return;
    const uint2 place = input.places[row];
    const Slot* slot = input.slots + place.x;
    const Half half = half_of<true>({slot->low, slot->high, slot->first}, (place.y & 32) != 0);
    input.ranks[column_base(half, place.y % 32)] = row;
}

// Writes the outputs with their places and ranks: the row of an output is its rank. A warp looks
// through 32 slots and writes the cells of one after the other.
__device__ __forceinline__ void write_outputs(const Level& level, uint32_t at) {
    const int lane = threadIdx.x % 32;
    const unsigned long long own = at < level.capacity ? cells_of(header(level.slots + at)) : 0;
    // A level that did not fit may have left no slot empty, at which a search would end.
    const bool fits = *level.counted != 0;
    if (own != 0 && !fits) level.slots[at] = Slot{};
    uint32_t occupied = __ballot_sync(ALL_LANES, own != 0 && fits);
    Brick own_brick = {0, 0, 0, 0};
    int own_first = 0;
    if (own != 0 && fits) {
        own_brick = brick_in(level.slots + at);
        const int key = owner_of(level.owners[at]);
        const unsigned long long totals = reinterpret_cast<const unsigned long long*>(level.totals)[key / 8];
        own_first = level.starts[key / 8] + sum_of(totals & ((1ull << (key % 8 * 8)) - 1));
        level.slots[at].first = own_first;
    }
    while (occupied != 0) {
        const int source = __ffs(occupied) - 1;
        occupied &= occupied - 1;
        const unsigned long long cells = __shfl_sync(ALL_LANES, own, source);
        const int first = __shfl_sync(ALL_LANES, own_first, source);
        const Brick brick = {__shfl_sync(ALL_LANES, own_brick.batch, source), __shfl_sync(ALL_LANES, own_brick.x, source),
                             __shfl_sync(ALL_LANES, own_brick.y, source), __shfl_sync(ALL_LANES, own_brick.z, source)};
#pragma unroll
        for (int cell = lane; cell < 64; cell += 32) {
            if ((cells >> cell & 1) == 0) continue;
            const int place = first + __popcll(cells & ((1ull << cell) - 1));
            level.coords[place] = make_int4(brick.batch, brick.x * 4 + (cell >> 4), brick.y * 4 + (cell >> 2 & 3), brick.z * 4 + (cell & 3));
            level.places[place] = make_uint2(at - lane + source, cell);
            level.ranks[place] = place;
        }
    }
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS) network_write(const __grid_constant__ Levels levels) {
    const int of_input = ceil_div(levels.input.capacity, ROW_THREADS);
    int block = blockIdx.x;
    if (block < of_input) {
        rank_input(levels, block);
        return;
    }
    block -= of_input;
    const int number = level_of(levels, levels.further(), block);
    if (number > 0) write_outputs(levels.at[number], block * ROW_THREADS + threadIdx.x);
}

}  // namespace voxtune
