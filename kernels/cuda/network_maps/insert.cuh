// The keys of bricks that rows lie in: those of the input's, and those of rows that others have
// made.
//
// Architecture: any.
#pragma once

#include "levels.cuh"

namespace voxtune {

// Gives every row of the input its place, and every brick its key.
extern "C" __global__ void __launch_bounds__(ROW_THREADS) network_insert(const __grid_constant__ Levels levels) {
    const Level& input = levels.at[0];
    const int row = blockIdx.x * ROW_THREADS + threadIdx.x;
    insert_row<ROW_THREADS>(input.coords, row, row < levels.input.load(), input.slots, input.capacity, input.places, &levels.control->duplicate,
                            [&](uint32_t at) { atomicMax(input.owners + at, owner_of(row * 8)); });
}

// Gives every brick of rows that have their places its key.
extern "C" __global__ void __launch_bounds__(ROW_THREADS) network_owners(const uint2* places, RowCount count, int* owners) {
    const int row = blockIdx.x * ROW_THREADS + threadIdx.x;
    if (row < count.load()) atomicMax(owners + places[row].x, owner_of(row * 8));
}

}  // namespace voxtune
