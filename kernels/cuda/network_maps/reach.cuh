// The bricks of a level's outputs, out of the bricks of its inputs.
//
// Architecture: any.
#pragma once

#include "levels.cuh"

namespace voxtune {

constexpr uint32_t PROBES = 256;  // slots looked at before a table counts as full

// Which outputs an input meets along each axis, and the box of those that exist, ends included.
// Mirrored by the host.
struct Reach {
    int low[3];
    int first[3], last[3];
    unsigned char extent[3], stride[3], dilation[3];
    unsigned char shift[3];  // log2 of the stride, or 255

    // The first brick of outputs that inputs of a brick may meet.
    __device__ __forceinline__ int first_brick(int axis, int source) const {
        const int64_t from = int64_t(source) * 4 - low[axis] - (extent[axis] - 1) * dilation[axis] + stride[axis] - 1;
        if (shift[axis] != 255) return static_cast<int>(from >> (shift[axis] + 2));
        const int64_t cell = from >= 0 ? from / stride[axis] : -((stride[axis] - 1 - from) / stride[axis]);
        return static_cast<int>(cell >> 2);
    }
    // Bit 4 c + s: whether output c of brick `target` meets input s of brick `source`.
    __device__ __forceinline__ uint32_t meetings(int axis, int source, int target) const {
        uint32_t met = 0;
        int base = static_cast<int>(int64_t(target) * 4 * stride[axis] + low[axis] - int64_t(source) * 4);
#pragma unroll
        for (int c = 0; c < 4; ++c, base += stride[axis]) {
            const int64_t cell = int64_t(target) * 4 + c;
            if (cell < first[axis] || cell > last[axis]) continue;
            int at = base;
            for (int r = 0; r < extent[axis]; ++r, at += dilation[axis]) {
                if (at >= 0 && at < 4) met |= 1u << (4 * c + at);
            }
        }
        return met;
    }
};

// The cells of a brick of outputs that meet a cell of a brick of inputs: one axis after the other.
__device__ __forceinline__ unsigned long long reached(unsigned long long cells, uint32_t x, uint32_t y, uint32_t z) {
    unsigned long long along_z = 0, along_y = 0, along_x = 0;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
        unsigned long long met = 0;
#pragma unroll
        for (int s = 0; s < 4; ++s) met |= z >> (4 * c + s) & 1 ? cells >> s & 0x1111111111111111ull : 0;
        along_z |= met << c;
    }
#pragma unroll
    for (int c = 0; c < 4; ++c) {
        unsigned long long met = 0;
#pragma unroll
        for (int s = 0; s < 4; ++s) met |= y >> (4 * c + s) & 1 ? along_z >> 4 * s & 0x000f000f000f000full : 0;
        along_y |= met << 4 * c;
    }
#pragma unroll
    for (int c = 0; c < 4; ++c) {
        unsigned long long met = 0;
#pragma unroll
        for (int s = 0; s < 4; ++s) met |= x >> (4 * c + s) & 1 ? along_y >> 16 * s & 0xffffull : 0;
        along_x |= met << 16 * c;
    }
    return along_x;
}

// How often a cell of inputs meets one of outputs.
__device__ __forceinline__ int meetings_of(unsigned long long cells, uint32_t x, uint32_t y, uint32_t z) {
    constexpr uint32_t OF_INPUT = 0x1111u;  // its bits, one an output
    int met = 0;
    for (; cells != 0; cells &= cells - 1) {
        const int cell = __ffsll(cells) - 1;
        met += __popc(x >> (cell >> 4) & OF_INPUT) * __popc(y >> (cell >> 2 & 3) & OF_INPUT) * __popc(z >> (cell & 3) & OF_INPUT);
    }
    return met;
}

// Makes the bricks of a level of those of another. A warp looks through 32 slots; eight lanes take
// a brick, one each of the two bricks along each axis that its cells may meet.
extern "C" __global__ void __launch_bounds__(ROW_THREADS) network_reach(const __grid_constant__ Level from, const __grid_constant__ Level to,
                                                                        const __grid_constant__ Reach reach, int* full,
                                                                        unsigned long long* meetings) {
    const uint32_t at = blockIdx.x * ROW_THREADS + threadIdx.x;
    const int lane = threadIdx.x % 32, eight = lane & ~7;
    const unsigned long long own = at < from.capacity ? cells_of(header(from.slots + at)) : 0;
    uint32_t occupied = __ballot_sync(ALL_LANES, own != 0);
    int pairs = 0;
    while (occupied != 0) {
        uint32_t rest = occupied;
        int source = -1;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if (i == lane / 8 && rest != 0) source = __ffs(rest) - 1;
            rest &= rest - 1;
        }
        occupied = rest;
        const unsigned long long cells = __shfl_sync(ALL_LANES, own, max(source, 0));
        const uint32_t slot = at - lane + max(source, 0);
        const Brick brick = brick_in(from.slots + slot);
        const int owner_of_source = from.owners[slot];
        // A lane works an axis and a brick out, for all eight.
        const int axis = min(lane % 8 / 2, 2), along = axis == 0 ? brick.x : axis == 1 ? brick.y : brick.z;
        const int one = reach.first_brick(axis, along) + (lane & 1);
        const uint32_t met_along = reach.meetings(axis, along, one);
        const int of_x = eight + (lane >> 2 & 1), of_y = eight + 2 + (lane >> 1 & 1), of_z = eight + 4 + (lane & 1);
        const uint32_t met_x = __shfl_sync(ALL_LANES, met_along, of_x), met_y = __shfl_sync(ALL_LANES, met_along, of_y),
                       met_z = __shfl_sync(ALL_LANES, met_along, of_z);
        const Brick target = {brick.batch, __shfl_sync(ALL_LANES, one, of_x), __shfl_sync(ALL_LANES, one, of_y), __shfl_sync(ALL_LANES, one, of_z)};
        const unsigned long long met = source < 0 ? 0 : reached(cells, met_x, met_y, met_z);
        if (met == 0) continue;
        if (meetings) pairs += meetings_of(cells, met_x, met_y, met_z);
        bool made = false;
        const uint32_t found = claim<PROBES>(to.slots, to.capacity, target, made);
        if (found == to.capacity) {
            *full = 1;
            continue;
        }
        auto* bits = reinterpret_cast<unsigned long long*>(&to.slots[found].low);
        const int row = owner_of(owner_of_source) / 8;
        const int owner = owner_of(row * 8 + parity(target.x, target.y, target.z));
        const unsigned long long there = *const_cast<volatile unsigned long long*>(bits);
        const int owner_there = *const_cast<volatile int*>(to.owners + found);
        // Neighbours have set most of them.
        if ((there & met) != met) atomicOr(bits, met);
        if (owner_there < owner) atomicMax(to.owners + found, owner);
    }
    if (!meetings) return;
    pairs = __reduce_add_sync(ALL_LANES, pairs);
    if (lane == 0 && pairs > 0) atomicAdd(meetings, static_cast<unsigned long long>(pairs));
}

}  // namespace voxtune
