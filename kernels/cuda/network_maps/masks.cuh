// Masks of rows and pairs by offset, all maps.
//
// Architecture: any.
#pragma once

#include "../pair_counts.cuh"
#include "levels.cuh"
#include "lookup.cuh"

namespace voxtune {

constexpr int RESIDENT = 768;  // threads per SM: registers enough that nothing is spilled

// Masks to be made, and pairs by offset: counts (PAIR_COUNTS + 1) start as zeros, report is
// page-locked.
struct MaskJob {
    Lookup lookup;
    uint32_t* masks;
    int* counts;
    int* report;
};
struct MaskJobs {
    MaskJob at[MOST_JOBS];
    int count;
};

extern "C" __global__ void __launch_bounds__(ROW_THREADS, RESIDENT / ROW_THREADS) network_masks(const __grid_constant__ MaskJobs jobs) {
    __shared__ int block_counts[32];
    const auto blocks = [](const MaskJob& job) { return max(ceil_div(job.lookup.count.capacity, ROW_THREADS), 1); };
    int block = blockIdx.x;
    const int number = job_of(jobs, block, blocks);
    if (number < 0) return;
    const MaskJob& job = jobs.at[number];
    if (threadIdx.x < 32) block_counts[threadIdx.x] = 0;
    __syncthreads();
    const int n = job.lookup.count.load(), row = block * ROW_THREADS + threadIdx.x;
    if (block * ROW_THREADS < n) {
        const bool active = row < n;
        uint32_t mask = 0;
        around<false>(job.lookup, active ? job.lookup.places[row] : make_uint2(0, 0), active,
                      [&](int k, bool present, int) { mask |= uint32_t(present) << k; });
        if (active) job.masks[row] = mask;
        const int pairs = __popc(transpose(mask));
        if (pairs > 0) atomicAdd(block_counts + threadIdx.x % 32, pairs);
    }
    report_pairs(block_counts, job.lookup.box.volume, blocks(job), job.counts, job.report);
}

}  // namespace voxtune
