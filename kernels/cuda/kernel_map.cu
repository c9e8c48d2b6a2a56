// Kernel map of a submanifold convolution: which input row an output row meets at each offset.
//
// Layouts: coords (n) of {batch, x, y, z} int32; places (n) of {slot, cell}; ranks (n) int32; masks
// (n, words) of 32 offsets each; table (volume, pitch) int32, the input row of position p at offset
// k or -1, also past the rows up to `pitch`; pair lists in_rows, out_rows (pairs) int32, sorted by
// offset, then by output row.
//
// Rows are found by bricks of cells (map_bricks.cuh). One kernel inserts them, the next makes masks
// and gives each brick its place in `ranks`, a third lists the rows there. That is done once for
// voxels, however many maps are made of them: a further map makes its masks alone. Tables and pair
// lists look rows up again, in whatever order they are to have.
//
// Where a brick's rows lie in `ranks` depends on the schedule; nothing that leaves this file does.
// Tables are written by position, pair lists at places from prefix sums: bitwise repeatable.
//
// The number of rows, n, may be in device memory (RowCount): launches and buffers are then sized by
// a capacity. A row past the count is in no brick and has no place, mask or pair; the table holds
// -1.
//
// Architecture: any. Block sizes are fixed and named here; the host mirrors them.
// expected: spills on sm_86 sm_89 sm_120: map_table or map_masks, for windows wider than 3; nvcc's own choice of registers, 64 bytes at most
#include "common.cuh"
#include "map_bricks.cuh"
#include "pair_counts.cuh"
#include "row_order.cuh"
#include "tile_plans.cuh"

using namespace voxtune;

constexpr int ROW_THREADS = 256;    // threads of kernels that take a row each
constexpr int TABLE_THREADS = 128;  // threads of map_table
constexpr int PAIR_ROWS = 256;      // rows and threads of a block that counts or writes pairs
constexpr int PLAN_THREADS = 256;   // threads of tile_plans

// ---- building -----------------------------------------------------------------------------------

// Gives every row its place. `slots` starts as zeros; *duplicate is set where two rows share a
// cell.
extern "C" __global__ void __launch_bounds__(ROW_THREADS) map_insert(const int4* coords, RowCount count, Slot* slots, uint32_t capacity,
                                                                     uint2* places, int* duplicate) {
    const int row = blockIdx.x * ROW_THREADS + threadIdx.x;
    insert_row<ROW_THREADS>(coords, row, row < count.load(), slots, capacity, places, duplicate, [](uint32_t) {});
}

// Masks of all rows. Where `cursor` is given, also every brick's place in `ranks`, taken from the
// cursor. Where `counts` is, the rows' pairs by offset, added to it and then reported.
template <class Surroundings>
__device__ __forceinline__ void masks_of_rows(Slot* slots, uint32_t capacity, const uint2* places, int n, int words, Window window,
                                              uint32_t* masks, int* cursor, int* counts, int* report) {
    __shared__ int block_counts[MAX_MASK_WORDS * 32];
    const int lane = threadIdx.x % 32;
    if (threadIdx.x < MAX_MASK_WORDS * 32) block_counts[threadIdx.x] = 0;
    __syncthreads();
    int pairs[MAX_MASK_WORDS] = {};
    for (int64_t first = int64_t(blockIdx.x) * ROW_THREADS; first < n; first += int64_t(gridDim.x) * ROW_THREADS) {
        const int64_t row = first + threadIdx.x;
        const bool active = row < n;
        const uint2 place = active ? places[row] : make_uint2(0, 0);
        const Mask mask = mask_of(Surroundings(slots, capacity, place, active, window), window);
#pragma unroll
        for (int w = 0; w < MAX_MASK_WORDS; ++w) {
            if (w >= words) break;
            const uint32_t bits = mask.word(w);
            if (active) masks[row * words + w] = bits;
            if (counts) pairs[w] += __popc(transpose(bits));
        }
        if (cursor) {
            const bool claimed = active && (place.y & CLAIMED);
            const int rows = claimed ? __popc(slots[place.x].low) + __popc(slots[place.x].high) : 0;
            const int through = inclusive_sum(rows);
            int start = 0;
            if (lane == 31 && through > 0) start = atomicAdd(cursor, through);
            start = __shfl_sync(ALL_LANES, start, 31);
            if (claimed) slots[place.x].first = start + through - rows;
        }
    }
    if (counts) {
        for (int w = 0; w < words; ++w) atomicAdd(block_counts + w * 32 + lane, pairs[w]);
        report_pairs(block_counts, window.volume, gridDim.x, counts, report);
    }
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS) map_masks_3(Slot* slots, uint32_t capacity, const uint2* places, RowCount count, int words,
                                                                      const __grid_constant__ Window window, uint32_t* masks, int* cursor,
                                                                      int* counts, int* report) {
    masks_of_rows<Near<false>>(slots, capacity, places, count.load(), words, window, masks, cursor, counts, report);
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS) map_masks(Slot* slots, uint32_t capacity, const uint2* places, RowCount count, int words,
                                                                    const __grid_constant__ Window window, uint32_t* masks, int* cursor,
                                                                    int* counts, int* report) {
    masks_of_rows<Far<false>>(slots, capacity, places, count.load(), words, window, masks, cursor, counts, report);
}

// Lists the rows by brick and cell, and tells the host whether two share a cell and how many there
// are: `report` is page-locked memory.
extern "C" __global__ void __launch_bounds__(ROW_THREADS) map_ranks(const Slot* slots, const uint2* places, RowCount count, int* ranks,
                                                                    const int* duplicate, int* report) {
    const int row = blockIdx.x * ROW_THREADS + threadIdx.x;
    const int n = count.load();
    if (row == 0) report[0] = *duplicate, report[1] = n;
    if (row >= n) return;
    const uint2 place = places[row];
    const Slot* slot = slots + place.x;
    const Half half = half_of<true>({slot->low, slot->high, slot->first}, (place.y & 32) != 0);
    ranks[column_base(half, place.y % 32)] = row;
}

// ---- plans --------------------------------------------------------------------------------------

// Plans of tiles, one job after the other.
extern "C" __global__ void __launch_bounds__(PLAN_THREADS) tile_plans(const __grid_constant__ PlanJobs jobs) {
    make_plan<PLAN_THREADS>(jobs, blockIdx.x);
}

// ---- tables -------------------------------------------------------------------------------------

// The table in launch order, and the masks: position p holds row rows[p], or p where `rows` is
// null; masks_out may be null.
template <class Surroundings>
__device__ __forceinline__ void table_of_rows(const Slot* slots, uint32_t capacity, const uint2* __restrict__ places,
                                              const int* __restrict__ ranks, int n, int words, Window window,
                                              const int* __restrict__ rows, int64_t pitch, int* __restrict__ table,
                                              uint32_t* __restrict__ masks_out) {
    const int64_t position = int64_t(blockIdx.x) * TABLE_THREADS + threadIdx.x;
    if (position >= pitch) return;
    const bool active = position < n;
    const int64_t row = active && rows ? __ldg(rows + position) : position;
    const uint2 place = active ? __ldg(places + row) : make_uint2(0, 0);
    const Surroundings around(slots, capacity, place, active, window);
    // Lines of the table are a step apart, from the last one down for a flipped window.
    char* const line = reinterpret_cast<char*>(table + position + (window.flip ? (window.volume - 1) * pitch : 0));
    const int64_t step = (window.flip ? -pitch : pitch) * 4;
    Mask mask;
    around.columns([&](int k, int extent, int from, auto column) {
        mask.put(k, extent, column.cells >> from & ((1u << extent) - 1));
        walk(column, from, extent, [&](int z, bool present, int rank) {
            // Written once and far larger than what is read here: it should not push that out of
            // the cache.
            __stcs(reinterpret_cast<int*>(line + (k + z) * step), load_if(present, ranks + rank));
        });
    });
    if (masks_out && active) {
        if (window.flip) mask.flip(window.volume);
        for (int w = 0; w < words; ++w) masks_out[position * words + w] = mask.word(w);
    }
}

extern "C" __global__ void __launch_bounds__(TABLE_THREADS) map_table_3(const Slot* slots, uint32_t capacity, const uint2* places,
                                                                        const int* ranks, RowCount count, int words,
                                                                        const __grid_constant__ Window window, const int* rows,
                                                                        int64_t pitch, int* table, uint32_t* masks_out) {
    table_of_rows<Near<true>>(slots, capacity, places, ranks, count.load(), words, window, rows, pitch, table, masks_out);
}

extern "C" __global__ void __launch_bounds__(TABLE_THREADS) map_table(const Slot* slots, uint32_t capacity, const uint2* places,
                                                                      const int* ranks, RowCount count, int words,
                                                                      const __grid_constant__ Window window, const int* rows, int64_t pitch,
                                                                      int* table, uint32_t* masks_out) {
    table_of_rows<Far<true>>(slots, capacity, places, ranks, count.load(), words, window, rows, pitch, table, masks_out);
}

// ---- orders -------------------------------------------------------------------------------------

// The row of each position, sorted by key within segments. A tile a block, for a capacity of rows;
// items (2, n) and tile_counts (tiles, DIGITS) of any content; ticket and arrived (segments, 2
// MAX_PASSES) start as zeros.
extern "C" __global__ void __launch_bounds__(SORT_THREADS) order_segments(const uint32_t* masks, RowCount count, int words, int volume,
                                                                          const int* counts, int passes, uint2* items, int* tile_counts,
                                                                          int* ticket, int* arrived, int* rows) {
    __shared__ int scratch[KEY_BITS];
    __shared__ int taken;
    // Tiles are taken in order by blocks that run, so that the blocks of the first unfinished
    // segment all run or will.
    if (threadIdx.x == 0) taken = atomicAdd(ticket, 1);
    const int offset = offset_of_bit(counts, volume, scratch);
    const int tile = taken, segment = tile / SEGMENT_TILES, first_tile = segment * SEGMENT_TILES;
    const int tiles = min(SEGMENT_TILES, static_cast<int>(gridDim.x) - first_tile);
    sort_segment(masks, count.load(), words, offset, passes, tile, first_tile, tiles, items, tile_counts, arrived + segment * 2 * MAX_PASSES,
                 rows);
}

// Keys of all rows, a tile a block, and how often each digit occurs: histogram (passes, DIGITS),
// from zero.
extern "C" __global__ void __launch_bounds__(SORT_THREADS) order_keys(const uint32_t* masks, RowCount count, int words, int volume,
                                                                      const int* counts, int passes, uint32_t* keys, int* histogram) {
    const int n = count.load();
    __shared__ int seen[MAX_PASSES][DIGITS];
    __shared__ int scratch[KEY_BITS];
#pragma unroll
    for (int pass = 0; pass < MAX_PASSES; ++pass) seen[pass][threadIdx.x] = 0;
    const int offset = offset_of_bit(counts, volume, scratch);
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < SORT_ITEMS; ++i) {
        const int64_t row = Tile2048::at(blockIdx.x, i);
        const bool inside = row < n;
        const uint32_t key = key_of(masks, row, inside, words, offset);
        if (inside) keys[row] = key;
        for (int pass = 0; pass < passes; ++pass) {
            const int digit = key >> (pass * DIGIT_BITS) & (DIGITS - 1);
            const uint32_t peers = peers_of(digit, inside);
            if (inside && (peers & ((1u << lane) - 1)) == 0) atomicAdd(&seen[pass][digit], __popc(peers));
        }
    }
    __syncthreads();
    for (int pass = 0; pass < passes; ++pass) {
        const int count = seen[pass][threadIdx.x];
        if (count > 0) atomicAdd(histogram + pass * DIGITS + threadIdx.x, count);
    }
}

// One pass over all rows. The first reads `keys`, later ones `items` of {key, row}; the last writes
// `rows`, earlier ones `items_out`. `histogram` is that of this pass; status (tiles, DIGITS) and
// *ticket start as zeros.
extern "C" __global__ void __launch_bounds__(SORT_THREADS) order_pass(const uint32_t* keys, const uint2* items, RowCount count, int shift,
                                                                      const int* histogram, uint32_t* status, int* ticket,
                                                                      uint2* items_out, int* rows) {
    const int n = count.load();
    __shared__ int next[SORT_WARPS][DIGITS];
    __shared__ int place[DIGITS];
    __shared__ int warp_sums[SORT_WARPS];
    __shared__ int taken;
    // Tiles are taken in order, so that a tile waits only for tiles that run.
    if (threadIdx.x == 0) taken = atomicAdd(ticket, 1);
    __syncthreads();
    const int tile = taken;
    Tile2048 mine;
#pragma unroll
    for (int i = 0; i < SORT_ITEMS; ++i) {
        const int64_t at = Tile2048::at(tile, i);
        mine.key[i] = 0, mine.row[i] = static_cast<int>(at);
        if (at < n && keys) mine.key[i] = keys[at];
        if (at < n && !keys) {
            const uint2 item = items[at];
            mine.key[i] = item.x, mine.row[i] = static_cast<int>(item.y);
        }
    }
    const int own = mine.count(tile, n, shift, next);
    volatile uint32_t* said = status + int64_t(tile) * DIGITS + threadIdx.x;
    *said = own | (tile == 0 ? THROUGH : OWN);
    const int smaller = sum_before(histogram[threadIdx.x], warp_sums);
    const int earlier = look_back(status + threadIdx.x, tile);
    if (tile > 0) *said = (earlier + own) | THROUGH;
    place[threadIdx.x] = smaller + earlier;
    __syncthreads();
    mine.scatter(tile, n, shift, next, place, items_out, rows);
}

// ---- pair lists ---------------------------------------------------------------------------------

// Pairs of each offset in each block of PAIR_ROWS rows: (volume, blocks).
extern "C" __global__ void __launch_bounds__(PAIR_ROWS) pair_count(const uint32_t* masks, RowCount rows, int words, int volume, int* blocks) {
    __shared__ int counts[MAX_MASK_WORDS * 32];
    const int n = rows.load();
    const int row = blockIdx.x * PAIR_ROWS + threadIdx.x;
    if (threadIdx.x < MAX_MASK_WORDS * 32) counts[threadIdx.x] = 0;
    __syncthreads();
    for (int w = 0; w < words; ++w) {
        const uint32_t bits = row < n ? masks[int64_t(row) * words + w] : 0;
        atomicAdd(counts + w * 32 + threadIdx.x % 32, __popc(transpose(bits)));
    }
    __syncthreads();
    for (int k = threadIdx.x; k < volume; k += PAIR_ROWS) blocks[int64_t(k) * gridDim.x + blockIdx.x] = counts[k];
}

// Turns those counts into places, and the counts of whole offsets into pair_offset (volume + 1). A
// block of 1024 threads an offset.
extern "C" __global__ void __launch_bounds__(1024) pair_scan(int* blocks, int length, const int* counts, int volume, int* pair_offset) {
    __shared__ int warp_sums[32];
    const int k = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int start = 0;
    for (int i = 0; i < k; ++i) start += counts[i];
    if (threadIdx.x == 0) {
        pair_offset[k] = start;
        if (k == volume - 1) pair_offset[volume] = start + counts[k];
    }
    blocks += int64_t(k) * length;
    for (int first = 0; first < length; first += 1024) {
        const int i = first + threadIdx.x;
        const int value = i < length ? blocks[i] : 0;
        const int through = inclusive_sum(value);
        if (lane == 31) warp_sums[warp] = through;
        __syncthreads();
        const int sum = warp_sums[lane];
        const int before = __reduce_add_sync(ALL_LANES, lane < warp ? sum : 0);
        if (i < length) blocks[i] = start + before + through - value;
        start += __reduce_add_sync(ALL_LANES, sum);
        __syncthreads();
    }
}

// Writes the pair lists at the places that pair_scan made.
template <class Surroundings>
__device__ __forceinline__ void pairs_of_rows(const Slot* slots, uint32_t capacity, const uint2* __restrict__ places,
                                              const int* __restrict__ ranks, const uint32_t* __restrict__ masks, int n, int words,
                                              Window window, const int* __restrict__ blocks, int* __restrict__ in_rows,
                                              int* __restrict__ out_rows) {
    constexpr int WARPS = PAIR_ROWS / 32;
    __shared__ int starts[WARPS][MAX_MASK_WORDS * 32];
    const int row = blockIdx.x * PAIR_ROWS + threadIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const bool active = row < n;
    for (int w = 0; w < words; ++w) {
        starts[warp][w * 32 + lane] = __popc(transpose(active ? masks[int64_t(row) * words + w] : 0));
    }
    __syncthreads();
    for (int k = threadIdx.x; k < window.volume; k += PAIR_ROWS) {
        int running = blocks[int64_t(k) * gridDim.x + blockIdx.x];
        for (int w = 0; w < WARPS; ++w) {
            const int count = starts[w][k];
            starts[w][k] = running;
            running += count;
        }
    }
    __syncthreads();
    const Surroundings around(slots, capacity, active ? places[row] : make_uint2(0, 0), active, window);
    around.columns([&](int k, int extent, int from, auto column) {
        walk(column, from, extent, [&](int z, bool present, int rank) {
            const uint32_t all = __ballot_sync(ALL_LANES, present);
            if (present) {
                const int at = starts[warp][k + z] + __popc(all & ((1u << lane) - 1));
                __stcs(in_rows + at, __ldg(ranks + rank));
                __stcs(out_rows + at, row);
            }
        });
    });
}

extern "C" __global__ void __launch_bounds__(PAIR_ROWS) pair_lists_3(const Slot* slots, uint32_t capacity, const uint2* places,
                                                                     const int* ranks, const uint32_t* masks, RowCount count, int words,
                                                                     const __grid_constant__ Window window, const int* blocks, int* in_rows,
                                                                     int* out_rows) {
    pairs_of_rows<Near<true>>(slots, capacity, places, ranks, masks, count.load(), words, window, blocks, in_rows, out_rows);
}

extern "C" __global__ void __launch_bounds__(PAIR_ROWS) pair_lists(const Slot* slots, uint32_t capacity, const uint2* places,
                                                                   const int* ranks, const uint32_t* masks, RowCount count, int words,
                                                                   const __grid_constant__ Window window, const int* blocks, int* in_rows,
                                                                   int* out_rows) {
    pairs_of_rows<Far<true>>(slots, capacity, places, ranks, masks, count.load(), words, window, blocks, in_rows, out_rows);
}
