// The making of plans (tile_plan.cuh) of rows in some order, those of several maps side by side.
//
// Blocks unite the masks of tiles; the last one that has done so for a plan lists the plan's items. It
// counts tiles by their number of offsets, and takes the shortest longest part by which all items
// run at once: more items than that would wait for others, fewer would be longer chains. Where not
// even whole tiles run at once, none is cut.
//
// Layouts: masks (n) of 32 offsets, by row where `row_of_position` is given, else by position; unions
// (tiles of the capacity).
//
// Items are listed in the order of tiles, last ones first, by prefix sums: a plan does not depend on
// the schedule.
//
// Architecture: any.
#pragma once

#include "tile_plan.cuh"
#include "warp_bits.cuh"

namespace voxtune {

constexpr int PLAN_WARP_TILES = 2;  // tiles whose masks a warp unites
constexpr int MOST_PLANS = 20;
constexpr int HELD_TILES = 1024;  // whose offsets are in shared memory while they are listed

// A plan to be made. Mirrored by the host.
struct PlanJob {
    const uint32_t* masks;
    const int* row_of_position;  // null: masks are by position
    RowCount count;
    uint4* plan;
    uint32_t* unions;
    int* ticket;    // 0, also behind
    int rows;       // of a tile: a multiple of 32
    int most;       // parts of a tile: 1, 2 or 4
    int blocks;     // that run at once
    int shortest;   // least length of a longest part
};
struct PlanJobs {
    PlanJob at[MOST_PLANS];
    int count;
    int blocks;  // of all jobs: each has ceil(tiles of its capacity / tiles of a block), at least one
};

// The sum over the threads before this one; `all` becomes that over the block.
template <int THREADS>
__device__ __forceinline__ unsigned long long plan_sum_before(unsigned long long value, unsigned long long& all) {
    __shared__ unsigned long long of_warps[THREADS / 32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    unsigned long long through = value;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
        const unsigned long long up = __shfl_up_sync(ALL_LANES, through, step);
        if (lane >= step) through += up;
    }
    if (lane == 31) of_warps[warp] = through;
    __syncthreads();
    unsigned long long before = through - value;
    all = 0;
#pragma unroll
    for (int w = 0; w < THREADS / 32; ++w) {
        before += w < warp ? of_warps[w] : 0;
        all += of_warps[w];
    }
    return before;
}

// The offsets of tiles.
struct Unions {
    const uint32_t* held;
    const uint32_t* all;

    __device__ __forceinline__ uint32_t of(int tile) const { return tile < HELD_TILES ? held[tile] : __ldcg(all + tile); }
};

// Holds offsets of tiles, and finds the longest part: the shortest one by which all items run at once.
// For a whole block.
template <int THREADS>
__device__ __forceinline__ int longest_part(const PlanJob& job, int tiles, uint32_t* held) {
    __shared__ int tiles_with[MOST_OFFSETS + 1];
    __shared__ int longest;
    if (threadIdx.x <= MOST_OFFSETS) tiles_with[threadIdx.x] = 0;
    __syncthreads();
#pragma unroll 4
    for (int tile = threadIdx.x; tile < tiles; tile += THREADS) {
        const uint32_t offsets = __ldcg(job.unions + tile);
        if (tile < HELD_TILES) held[tile] = offsets;
        atomicAdd(tiles_with + __popc(offsets), 1);
    }
    __syncthreads();
    if (threadIdx.x < 32) {
        const int length = threadIdx.x + 1;
        int items = 0;
        for (int count = 0; count <= MOST_OFFSETS; ++count) items += tiles_with[count] << log_parts_of(count, length, job.most);
        const uint32_t fits = __ballot_sync(ALL_LANES, items <= job.blocks && length >= job.shortest);
        if (threadIdx.x == 0) longest = fits ? __ffs(fits) : MOST_OFFSETS;
    }
    __syncthreads();
    return longest;
}

// Lists the items of a plan. For a whole block.
template <int THREADS>
__device__ __forceinline__ void list_items(const PlanJob& job, int tiles) {
    constexpr int FIELD = 21;  // bits of a number of tiles
    __shared__ uint32_t held[HELD_TILES];
    const int longest = longest_part<THREADS>(job, tiles, held);
    const Unions unions = {held, job.unions};
    // A thread has consecutive tiles, counted by parts: whole ones lowest.
    const int each = ceil_div(tiles, THREADS), first = threadIdx.x * each, end = min(first + each, tiles);
    unsigned long long own = 0, all;
    for (int i = first; i < end; ++i) {
        const int log_parts = log_parts_of(__popc(unions.of(tiles - 1 - i)), longest, job.most);
        own += 1ull << FIELD * log_parts;
    }
    const unsigned long long before = plan_sum_before<THREADS>(own, all);
    const auto field = [](unsigned long long of, int log_parts) { return static_cast<int>(of >> FIELD * log_parts & ((1 << FIELD) - 1)); };
    const int in_four = 4 * field(all, 2), in_two = 2 * field(all, 1), items = in_four + in_two + field(all, 0);
    int next[3] = {in_four + in_two + field(before, 0), in_four + 2 * field(before, 1), 4 * field(before, 2)};
    auto* to = reinterpret_cast<PlanItem*>(job.plan + 1);
    for (int i = first; i < end; ++i) {
        const int tile = tiles - 1 - i;
        const uint32_t offsets = unions.of(tile);
        const int log_parts = log_parts_of(__popc(offsets), longest, job.most), parts = 1 << log_parts;
        const int at = log_parts == 0 ? next[0] : log_parts == 1 ? next[1] : next[2];
        next[0] += log_parts == 0, next[1] += log_parts == 1 ? 2 : 0, next[2] += log_parts == 2 ? 4 : 0;
        for (int part = 0; part < parts; ++part) to[at + part] = PlanItem::of(tile, offsets_of_part(offsets, part, log_parts), part, log_parts);
    }
    if (threadIdx.x == 0) *job.plan = make_uint4(items, longest, 0, 0);
}

// One of the blocks that make plans.
template <int THREADS>
__device__ __forceinline__ void make_plan(const PlanJobs& jobs, int block) {
    constexpr int WARPS = THREADS / 32, BLOCK_TILES = WARPS * PLAN_WARP_TILES;
    __shared__ int arrived;
    int number = 0, blocks = 0;
    for (; number < jobs.count; ++number) {
        blocks = max(ceil_div(ceil_div(jobs.at[number].count.capacity, jobs.at[number].rows), BLOCK_TILES), 1);
        if (block < blocks) break;
        block -= blocks;
    }
    if (number >= jobs.count) return;
    const PlanJob& job = jobs.at[number];
    const int n = job.count.load(), tiles = ceil_div(n, job.rows);
    const int lane = threadIdx.x % 32, first = block * BLOCK_TILES + threadIdx.x / 32;
    uint32_t bits[PLAN_WARP_TILES] = {};
#pragma unroll
    for (int i = 0; i < PLAN_WARP_TILES; ++i) {
        const int64_t from = int64_t(first + i * WARPS) * job.rows;
        for (int at = lane; at < job.rows && from + at < n; at += 32) {
            const int64_t row = job.row_of_position ? __ldg(job.row_of_position + from + at) : from + at;
            bits[i] |= __ldg(job.masks + row);
        }
    }
#pragma unroll
    for (int i = 0; i < PLAN_WARP_TILES; ++i) {
        const int tile = first + i * WARPS;
        const uint32_t offsets = __reduce_or_sync(ALL_LANES, bits[i]);
        if (lane == 0 && tile < tiles) job.unions[tile] = offsets;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        arrived = atomicAdd(job.ticket, 1);
        __threadfence();
    }
    __syncthreads();
    if (arrived != blocks - 1) return;
    list_items<THREADS>(job, tiles);
    if (threadIdx.x == 0) *job.ticket = 0;
}

}  // namespace voxtune
