// What the kernels of maps share: the rows around a row, and blocks that several jobs share.
//
// Architecture: any.
#pragma once

#include "../map_bricks.cuh"

namespace voxtune {

constexpr int MOST_JOBS = 24;  // of masks, orders or tables

// The cells that a row gathers from: a box of at most 3 x 3 x 3 from  own * stride + low  on.
// Mirrored by the host.
struct Box {
    int low[3];
    unsigned char extent[3], stride[3], volume, unused;
};

// Rows, and where those are that they gather.
struct Lookup {
    const Slot* slots;
    const int* ranks;  // null: a row is its rank
    const Slot* own_slots;
    const uint2* places;
    RowCount count;
    Box box;
    uint32_t capacity;  // slots
};

// Calls visit(offset, whether there is a row, its place in `ranks`) for all offsets, also for a row
// that is not `active`.
template <bool RANKS, class Visit>
__device__ __forceinline__ void around(const Lookup& lookup, uint2 place, bool active, Visit visit) {
    const Brick own = active ? brick_in(lookup.own_slots + place.x) : Brick{0, 0, 0, 0};
    const int cell = place.y % 64;
    const Box& box = lookup.box;
    const int64_t from[3] = {(int64_t(own.x) * 4 + (cell >> 4)) * box.stride[0] + box.low[0],
                             (int64_t(own.y) * 4 + (cell >> 2 & 3)) * box.stride[1] + box.low[1],
                             (int64_t(own.z) * 4 + (cell & 3)) * box.stride[2] + box.low[2]};
    const Near<RANKS> near(lookup.slots, lookup.capacity, own.batch, from, box.extent, active);
    near.columns_of(box.extent[0], box.extent[1], box.extent[2], [&](int k, int extent, int first, auto column) {
        walk(column, first, extent, [&](int z, bool present, int rank) { visit(k + z, present, rank); });
    });
}

// Which of the jobs a block is of, each with so many items for its own blocks. What is left of
// `block` is the one among them. -1 past the last.
template <class Jobs, class Blocks>
__device__ __forceinline__ int job_of(const Jobs& jobs, int& block, Blocks blocks) {
    for (int job = 0; job < jobs.count; ++job) {
        const int own = blocks(jobs.at[job]);
        if (block < own) return job;
        block -= own;
    }
    return -1;
}

}  // namespace voxtune
