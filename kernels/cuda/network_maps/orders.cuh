// Rows sorted by mask, all maps.
//
// Architecture: any.
#pragma once

#include "../row_order.cuh"
#include "lookup.cuh"

namespace voxtune {

// Rows to be sorted by mask, all of a map as one segment.
struct OrderJob {
    const uint32_t* masks;
    const int* counts;
    RowCount count;
    uint2* items;      // (2, rows)
    int* tile_counts;  // (tiles, DIGITS)
    int* arrived;      // (2 MAX_PASSES): 0
    int* rows;
    int volume, passes;
};
struct OrderJobs {
    OrderJob at[MOST_JOBS];
    int* ticket;  // 0
    int count;
};

// A tile a block. The host sees to it that as many blocks as a job has can run at once: two an SM.
extern "C" __global__ void __launch_bounds__(SORT_THREADS, 2) network_orders(const __grid_constant__ OrderJobs jobs) {
    __shared__ int scratch[KEY_BITS];
    __shared__ int taken;
    // Tiles are taken in order by blocks that run, so that the blocks of the first unfinished job
    // all run or will.
    if (threadIdx.x == 0) taken = atomicAdd(jobs.ticket, 1);
    __syncthreads();
    int tile = taken;
    const int number = job_of(jobs, tile, [](const OrderJob& job) { return ceil_div(job.count.capacity, SORT_TILE); });
    if (number < 0) return;
    const OrderJob& job = jobs.at[number];
    const int n = job.count.load(), tiles = ceil_div(n, SORT_TILE);
    if (tile >= tiles) return;
    const int offset = offset_of_bit(job.counts, job.volume, scratch);
    sort_segment(job.masks, n, 1, offset, job.passes, tile, 0, tiles, job.items, job.tile_counts, job.arrived, job.rows);
}

}  // namespace voxtune
