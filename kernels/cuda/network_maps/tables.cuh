// Tables of all maps in each order, and the plans of tiles beside them.
//
// Architecture: any.
#pragma once

#include "../tile_plans.cuh"
#include "lookup.cuh"

namespace voxtune {

constexpr int TABLE_THREADS = 128;   // threads of network_tables
constexpr int TABLE_RESIDENT = 640;  // threads per SM: registers enough that nothing is spilled

// A table to be made: position p holds row rows[p], or p where `rows` is null; masks by position,
// if they are asked for.
struct TableJob {
    Lookup lookup;
    const int* rows;
    int* table;
    uint32_t* masks;
    int64_t pitch;
};
struct TableJobs {
    TableJob at[MOST_JOBS];
    int count;
};

// The table's line at a position of a row; returns the row's mask.
template <bool RANKED>
__device__ __forceinline__ uint32_t write_line(const TableJob& job, int64_t position, uint2 place, bool active) {
    char* line = reinterpret_cast<char*>(job.table + position);
    const int64_t step = job.pitch * 4;
    uint32_t mask = 0;
    around<true>(job.lookup, place, active, [&](int k, bool present, int rank) {
        mask |= uint32_t(present) << k;
        int row;
        if constexpr (RANKED) {
            row = load_if(present, job.lookup.ranks + rank);
        } else {
            row = present ? rank : -1;
        }
        // Written once and far larger than what is read here: it should not push that out of the
        // cache.
        __stcs(reinterpret_cast<int*>(line + k * step), row);
    });
    return mask;
}

// Blocks of plans come first: their last ones take longest.
extern "C" __global__ void __launch_bounds__(TABLE_THREADS, TABLE_RESIDENT / TABLE_THREADS)
    network_tables(const __grid_constant__ TableJobs jobs, const __grid_constant__ PlanJobs plans) {
    int block = blockIdx.x;
    if (block < plans.blocks) {
        make_plan<TABLE_THREADS>(plans, block);
        return;
    }
    block -= plans.blocks;
    const int number = job_of(jobs, block, [](const TableJob& job) { return static_cast<int>(ceil_div(job.pitch, TABLE_THREADS)); });
    if (number < 0) return;
    const TableJob& job = jobs.at[number];
    const int n = job.lookup.count.load();
    const int64_t position = int64_t(block) * TABLE_THREADS + threadIdx.x;
    if (position >= job.pitch) return;
    const bool active = position < n;
    const int64_t row = active && job.rows ? __ldg(job.rows + position) : position;
    const uint2 place = active ? __ldg(job.lookup.places + row) : make_uint2(0, 0);
    const uint32_t mask = job.lookup.ranks ? write_line<true>(job, position, place, active) : write_line<false>(job, position, place, active);
    if (job.masks && active) job.masks[position] = mask;
}

}  // namespace voxtune
