// The making of plans (tile_plan.cuh) of rows in some order, those of several maps side by side.
//
// Blocks unite the masks of tiles; the last one that has done so for a plan lists the plan's items.
// It counts tiles by their number of offsets, and takes the longest part by which the last block is
// expected to end first. Shorter parts are more items, each of which costs as much as `fixed`
// offsets.
//
// Layouts: masks (n) of 32 offsets, by row where `row_of_position` is given, else by position;
// unions (tiles of the capacity).
//
// Tiles of as many offsets are a bin. Prefix sums list bins by the length of their parts, longest
// first, and last tiles first within one. So a plan does not depend on the schedule.
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
    int most;       // parts of a tile: 1, 2, 4 or 8
    int blocks;     // that run at once
    int fixed;      // offsets that take as long as what an item costs besides
};
struct PlanJobs {
    PlanJob at[MOST_PLANS];
    int count;
    int blocks;  // of all jobs: each has ceil(tiles of its capacity / tiles of a block), at least one
};

// Tiles of as many offsets as the lane has number, under some longest part.
struct Bin {
    int log_parts;
    int items;
    int length;  // of its longest part
    int key;     // bins of greater ones are listed before it

    __device__ __forceinline__ Bin(int tiles, int longest, int most) {
        const int count = threadIdx.x % 32;
        log_parts = log_parts_of(count, longest, most);
        items = tiles << log_parts;
        length = (count + (1 << log_parts) - 1) >> log_parts;
        key = length << 10 | log_parts << 5 | count;
    }
    // Items that are listed before it, but for what stands between bins. For whole warps.
    __device__ __forceinline__ int items_before() const {
        int before = 0;
#pragma unroll
        for (int i = 0; i <= MOST_OFFSETS; ++i) {
            const int other = __shfl_sync(ALL_LANES, key, i), of_other = __shfl_sync(ALL_LANES, items, i);
            before += other > key ? of_other : 0;
        }
        return before;
    }
};

// When the last block ends, in offsets times blocks: no sooner than an even share of all items, nor
// than any that has as many of the longest items as it must. `tiles` have as many offsets as the
// lane has number. For whole warps.
__device__ __forceinline__ int expected_end(const PlanJob& job, int tiles, int longest) {
    constexpr int MOST_ROUNDS = 6;
    const Bin bin(tiles, longest, job.most);
    const int before = bin.items_before(), all = __reduce_add_sync(ALL_LANES, tiles * int(threadIdx.x % 32) + bin.items * job.fixed);
    int end = 0;
#pragma unroll
    for (int rounds = 0; rounds < MOST_ROUNDS; ++rounds) {
        const int first = rounds * job.blocks;
        if (before <= first && first < before + bin.items) end = (rounds + 1) * (bin.length + job.fixed) * job.blocks;
    }
    return max(all, __reduce_max_sync(ALL_LANES, end));
}

// Lists the items of a plan. For a whole block.
template <int THREADS>
__device__ __forceinline__ void list_items(const PlanJob& job, int tiles) {
    constexpr int WARPS = THREADS / 32, BINS = 32;
    constexpr uint32_t LATE = (1u << 26) - 1;
    __shared__ uint32_t held[HELD_TILES];
    __shared__ int next[WARPS][BINS];  // tiles of a bin that a warp has, then which of them it lists next
    __shared__ uint32_t best;          // expected end << 5 | 31 - longest part
    __shared__ int first_item[BINS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    auto* to = reinterpret_cast<PlanItem*>(job.plan + 1);
    // A warp has consecutive tiles, counted from the last one.
    const int each = ceil_div(ceil_div(tiles, WARPS), 32) * 32, begin = warp * each, end = min(begin + each, tiles);
    next[warp][lane] = 0;
    if (threadIdx.x == 0) best = ~0u;
    __syncthreads();
#pragma unroll 4
    for (int i = begin + lane; i < end; i += 32) {
        const uint32_t offsets = __ldcg(job.unions + tiles - 1 - i);
        if (i < HELD_TILES) held[i] = offsets;
        atomicAdd(&next[warp][__popc(offsets)], 1);
    }
    __syncthreads();
    int own = 0;  // tiles with as many offsets as the lane has number
    for (int w = 0; w < WARPS; ++w) own += next[w][lane];
    for (int longest = max(2 * job.fixed, 1) + warp; longest <= MOST_OFFSETS; longest += WARPS) {
        const uint32_t expected = min(uint32_t(expected_end(job, own, longest)), LATE);
        if (lane == 0) atomicMin(&best, expected << 5 | uint32_t(31 - longest));
    }
    __syncthreads();
    const int longest = best == ~0u ? MOST_OFFSETS : 31 - int(best & 31);
    if (warp == 0) {
        // Bins in the order of the list, a lane each, and where each begins.
        const Bin bin(own, longest, job.most);
        int place = 0, at = 0, first = 0;
#pragma unroll
        for (int i = 0; i < BINS; ++i) place += __shfl_sync(ALL_LANES, bin.key, i) > bin.key;
#pragma unroll
        for (int i = 0; i < BINS; ++i) {
            const int which = __ffs(__ballot_sync(ALL_LANES, place == i)) - 1;
            const int items = __shfl_sync(ALL_LANES, bin.items, which), log_parts = __shfl_sync(ALL_LANES, bin.log_parts, which);
            if (items == 0) continue;
            const int start = ceil_div(at, 1 << log_parts) << log_parts;
            if (at + lane < start) to[at + lane] = PlanItem::none();
            if (lane == which) first = start;
            at = start + items;
        }
        first_item[lane] = first;
        if (lane == 0) *job.plan = make_uint4(at, longest, 0, 0);
    }
    if (warp == WARPS - 1) {
        int before = 0;
        for (int w = 0; w < WARPS; ++w) {
            const int of = next[w][lane];
            next[w][lane] = before;
            before += of;
        }
    }
    __syncthreads();
    for (int from = begin; from < end; from += 32) {
        const int i = from + lane;
        const bool inside = i < end;
        const uint32_t offsets = !inside ? 0 : i < HELD_TILES ? held[i] : __ldcg(job.unions + tiles - 1 - i);
        const int count = __popc(offsets);
        const uint32_t alike = __match_any_sync(ALL_LANES, inside ? count : BINS);
        const int earlier = __popc(alike & ((1u << lane) - 1));
        const int rank = next[warp][count] + earlier;
        __syncwarp();
        if (inside) {
            const int log_parts = log_parts_of(count, longest, job.most), parts = 1 << log_parts;
            const int at = first_item[count] + (rank << log_parts);
            for (int part = 0; part < parts; ++part) {
                to[at + part] = PlanItem::of(tiles - 1 - i, offsets_of_part(offsets, part, log_parts), part, log_parts);
            }
            if (earlier == 0) next[warp][count] = rank + __popc(alike);
        }
        __syncwarp();
    }
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
