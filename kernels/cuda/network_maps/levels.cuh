// Levels of a network's voxels: what the kernels of levels are given, and what they tell.
//
// Architecture: any.
#pragma once

#include <limits.h>

#include "../map_bricks.cuh"

namespace voxtune {

constexpr int ROW_THREADS = 256;  // threads of kernels that take a row or a slot each

constexpr int MOST_LEVELS = 8;  // the input included

// A level and what is made of it. What the host leaves as zeros is marked 0. Mirrored by the host.
struct Level {
    Slot* slots;            // 0
    int* owners;            // (capacity) INT_MAX less the key of the slot's brick: 0
    unsigned char* totals;  // (rows of the input, 8) outputs in the brick of each key: 0
    int* starts;            // (rows of the input) outputs before those of the row
    int4* coords;
    uint2* places;
    int* ranks;
    int* counted;  // how many rows: 0
    int* report;   // page-locked
    uint32_t capacity;  // slots
    int room;           // rows
};

// Zeros at first. Mirrored by the host.
struct Control {
    unsigned long long rows[MOST_LEVELS];
    unsigned long long meetings;  // how often an input meets an output: the pairs of the layer's map
    // Pairs of neighbouring outputs that lie in one brick, each once, by the axes on which they
    // differ: z, y, y and z, x, x and z, x and y, all. From these the host estimates the pairs of a
    // submanifold map of the outputs.
    int neighbours[8];
    int full[MOST_LEVELS];  // whether the level's table had no room
    int cursor;             // in the ranks of the input
    int duplicate;          // whether two rows of the input share a cell
    int ticket;             // of network_starts
    int finished;           // levels whose rows are counted
    int order_ticket;       // of network_orders
    int unused;
};

struct Levels {
    Level at[MOST_LEVELS];
    Control* control;
    unsigned long long* status;  // (levels but the input, tiles): 0
    RowCount input;
    int count;   // of levels
    int tiles;   // of the input's rows in network_starts
    int first;   // level that is made first: not 0 where the input is there

    // The first level that is made of another one.
    __device__ __forceinline__ int further() const { return max(first, 1); }
    int tallies;  // whether meetings and neighbours are counted: of a single level
};

__device__ __forceinline__ int owner_of(int key) { return INT_MAX - key; }
__device__ __forceinline__ int parity(int x, int y, int z) { return (x & 1) * 4 + (y & 1) * 2 + (z & 1); }
__device__ __forceinline__ unsigned long long cells_of(uint4 found) { return found.z | static_cast<unsigned long long>(found.w) << 32; }

// Finds which of the levels, from `level` on, a block is of, each of which has blocks for its
// slots. What is left of `block` is the one among them. -1 past the last.
__device__ __forceinline__ int level_of(const Levels& levels, int level, int& block) {
    for (; level < levels.count; ++level) {
        const int blocks = ceil_div(levels.at[level].capacity, ROW_THREADS);
        if (block < blocks) return level;
        block -= blocks;
    }
    return -1;
}

// Sum of eight bytes.
__device__ __forceinline__ int sum_of(unsigned long long bytes) {
    constexpr unsigned ONES = 0x01010101u;
    return __dp4a(static_cast<unsigned>(bytes >> 32), ONES, __dp4a(static_cast<unsigned>(bytes), ONES, 0u));
}

}  // namespace voxtune
