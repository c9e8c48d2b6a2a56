// Everything that a network makes of its voxels, in a handful of launches: the outputs of a chain
// of strided layers, and the maps, orders and tables of all levels side by side.
//
//   network_insert   the input's rows into bricks (map_bricks.cuh)
//   network_owners   the keys of bricks that others have made of rows
//   network_reach    the bricks of a level's outputs, once a level
//   network_totals   outputs of each brick, all levels
//   network_starts   where each brick's outputs begin, and their number, for the host
//   network_write    the outputs with their places and ranks, all levels
//   network_masks    masks and pairs, all maps
//   network_orders   rows sorted by mask, all maps
//   network_tables   tables of all maps in each order, and plans of tiles
//
// Layouts: as in kernel_map.cu and coordinates.cu; masks have one word. Level 0 is the input.
//
// A level is made of the bricks of the one before, not of its rows, so that levels follow each
// other without a sort, a scan or a count in between. A brick's key is the least row of the input
// that it comes from, and the parities of its coordinates: the host only asks for levels whose
// bricks that come from one row are neighbours. So each brick has a key of its own, which does not
// depend on the schedule, and outputs are in the order of the keys, then of the cells: bitwise
// repeatable, and the same whether levels are made at once or one by one.
//
// A level with too little room leaves all levels without rows that are made with it, and those that
// are made of it, and tells how many it needs.
//
// Levels are made together or one by one; launches that may run at the same time have a control
// each.
//
// Architecture: any. Block sizes are fixed and named here; the host mirrors them.
// expected: spills on sm_120: network_orders has 64 registers, so that two blocks run on an SM; 16 bytes
#include <limits.h>

#include "common.cuh"
#include "map_bricks.cuh"
#include "pair_counts.cuh"
#include "row_order.cuh"
#include "tile_plans.cuh"
#include "warp_bits.cuh"

using namespace voxtune;

constexpr int ROW_THREADS = 256;    // threads of kernels that take a row or a slot each
constexpr int TABLE_THREADS = 128;  // threads of network_tables
constexpr int RESIDENT = 768;       // threads per SM: registers enough that nothing is spilled
constexpr int TABLE_RESIDENT = 640;  // the same of network_tables
constexpr int SCAN_ROWS = 1024;     // rows of a block of network_starts, four a thread
constexpr uint32_t PROBES = 256;    // slots looked at before a table counts as full

constexpr int MOST_LEVELS = 8;  // the input included
constexpr int MOST_JOBS = 24;   // of masks, orders or tables

// ---- levels -------------------------------------------------------------------------------------

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

// The cells of a brick whose neighbour one step up an axis, or down, is in the brick and set.
__device__ __forceinline__ unsigned long long up_z(unsigned long long cells) { return cells >> 1 & 0x7777777777777777ull; }
__device__ __forceinline__ unsigned long long down_z(unsigned long long cells) { return cells << 1 & 0xeeeeeeeeeeeeeeeeull; }
__device__ __forceinline__ unsigned long long up_y(unsigned long long cells) { return cells >> 4 & 0x0fff0fff0fff0fffull; }
__device__ __forceinline__ unsigned long long down_y(unsigned long long cells) { return cells << 4 & 0xfff0fff0fff0fff0ull; }

// Adds the neighbours within the bricks of a warp.
__device__ __forceinline__ void tally_neighbours(unsigned long long cells, int* neighbours) {
    const unsigned long long x = cells >> 16, y = up_y(cells), xy = up_y(x), x_back_y = down_y(x);
    const auto met = [cells](unsigned long long others) { return __popcll(cells & others); };
    const int counts[7] = {
        met(up_z(cells)),
        met(y),
        met(up_z(y)) + met(down_z(y)),
        met(x),
        met(up_z(x)) + met(down_z(x)),
        met(xy) + met(x_back_y),
        met(up_z(xy)) + met(down_z(xy)) + met(up_z(x_back_y)) + met(down_z(x_back_y)),
    };
#pragma unroll
    for (int i = 0; i < 7; ++i) {
        const int sum = __reduce_add_sync(ALL_LANES, counts[i]);
        if (threadIdx.x % 32 == 0 && sum > 0) atomicAdd(neighbours + i, sum);
    }
}

// Says how many outputs each brick has, at its key; gives the bricks of the input their places
// among the ranks.
extern "C" __global__ void __launch_bounds__(ROW_THREADS) network_totals(const __grid_constant__ Levels levels) {
    int block = blockIdx.x;
    const int number = level_of(levels, levels.first, block);
    if (number < 0) return;
    const Level& level = levels.at[number];
    const uint32_t at = block * ROW_THREADS + threadIdx.x;
    const unsigned long long cells = at < level.capacity ? cells_of(header(level.slots + at)) : 0;
    const int rows = __popcll(cells);
    if (number > 0) {
        if (rows > 0) level.totals[owner_of(level.owners[at])] = static_cast<unsigned char>(rows);
        if (levels.tallies && __any_sync(ALL_LANES, rows > 0)) tally_neighbours(cells, levels.control->neighbours);
        return;
    }
    const int lane = threadIdx.x % 32, through = inclusive_sum(rows);
    int start = 0;
    if (lane == 31 && through > 0) start = atomicAdd(&levels.control->cursor, through);
    start = __shfl_sync(ALL_LANES, start, 31);
    if (rows > 0) level.slots[at].first = start + through - rows;
}

// Sum of eight bytes.
__device__ __forceinline__ int sum_of(unsigned long long bytes) {
    constexpr unsigned ONES = 0x01010101u;
    return __dp4a(static_cast<unsigned>(bytes >> 32), ONES, __dp4a(static_cast<unsigned>(bytes), ONES, 0u));
}

// What a tile has said: its own sum, or that of all up to and with it.
constexpr unsigned long long TILE_OWN = 1ull << 62, TILE_THROUGH = 2ull << 62, TILE_SUM = TILE_OWN - 1;

// The sum of all tiles before this one (decoupled look-back, as in row_order.cuh). For a whole
// warp.
__device__ __forceinline__ unsigned long long sum_of_tiles(const volatile unsigned long long* status, int tile) {
    const int lane = threadIdx.x % 32;
    unsigned long long sum = 0;
    for (int last = tile - 1; last >= 0; last -= 32) {
        unsigned long long said;
        uint32_t through, needed;
        do {
            said = last >= lane ? status[last - lane] : TILE_THROUGH;
            through = __ballot_sync(ALL_LANES, (said & TILE_THROUGH) != 0);
            needed = through == 0 ? ALL_LANES : (through & -through) | ((through & -through) - 1);
        } while ((__ballot_sync(ALL_LANES, said != 0) & needed) != needed);
        unsigned long long mine = needed >> lane & 1 ? said & TILE_SUM : 0;
#pragma unroll
        for (int step = 16; step > 0; step /= 2) mine += __shfl_xor_sync(ALL_LANES, mine, step);
        sum += mine;
        if (through != 0) break;
    }
    return sum;
}

// Once all levels are counted: tells the host, and leaves the numbers of rows, or zero everywhere
// if a level has too little room: nothing that is made of too few rows would be right.
__device__ __forceinline__ void report_levels(const Levels& levels) {
    const volatile Control* control = levels.control;
    bool fits = true;
    for (int l = levels.further(); l < levels.count; ++l) fits &= control->rows[l] <= static_cast<unsigned>(levels.at[l].room) && !control->full[l];
    for (int l = levels.further(); l < levels.count; ++l) {
        const Level& level = levels.at[l];
        const unsigned long long rows = control->rows[l];
        level.report[0] = control->full[l];
        level.report[1] = rows <= INT_MAX ? static_cast<int>(rows) : -1;
        level.report[2] = static_cast<int>(min(control->meetings, static_cast<unsigned long long>(INT_MAX)));
        for (int i = 0; i < 7; ++i) level.report[3 + i] = control->neighbours[i];
        *level.counted = fits ? static_cast<int>(rows) : 0;
    }
}

// Turns totals into where the outputs of each row of the input begin. A tile of rows a block.
extern "C" __global__ void __launch_bounds__(ROW_THREADS) network_starts(const __grid_constant__ Levels levels) {
    static_assert(SCAN_ROWS == 4 * ROW_THREADS, "four rows a thread");
    constexpr int WARPS = ROW_THREADS / 32;
    __shared__ int sums[WARPS];
    __shared__ int taken;
    __shared__ unsigned long long earlier;
    // Tiles are taken in order, so that a tile waits only for tiles that run.
    if (threadIdx.x == 0) taken = atomicAdd(&levels.control->ticket, 1);
    __syncthreads();
    const int number = levels.further() + taken / levels.tiles, tile = taken % levels.tiles;
    const Level& level = levels.at[number];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int64_t row = int64_t(tile) * SCAN_ROWS + threadIdx.x * 4;
    const auto* totals = reinterpret_cast<const ulonglong2*>(level.totals) + row / 2;
    const ulonglong2 first = totals[0], second = totals[1];
    const int of_row[4] = {sum_of(first.x), sum_of(first.y), sum_of(second.x), sum_of(second.y)};
    const int own = of_row[0] + of_row[1] + of_row[2] + of_row[3];
    const int through = inclusive_sum(own);
    if (lane == 31) sums[warp] = through;
    __syncthreads();
    int before = through - own;
    for (int w = 0; w < warp; ++w) before += sums[w];
    if (warp == 0) {
        unsigned long long all = 0;
        for (int w = 0; w < WARPS; ++w) all += sums[w];
        volatile unsigned long long* status = levels.status + int64_t(number - 1) * levels.tiles;
        if (lane == 0) status[tile] = all | (tile == 0 ? TILE_THROUGH : TILE_OWN);
        const unsigned long long sum = sum_of_tiles(status, tile);
        if (lane == 0) {
            if (tile > 0) status[tile] = (sum + all) | TILE_THROUGH;
            earlier = sum;
        }
        if (lane == 0 && tile == levels.tiles - 1) {
            *const_cast<volatile unsigned long long*>(&levels.control->rows[number]) = sum + all;
            __threadfence();
            if (atomicAdd(&levels.control->finished, 1) == levels.count - levels.further() - 1) {
                __threadfence();
                report_levels(levels);
            }
        }
    }
    __syncthreads();
    const int start = static_cast<int>(earlier) + before;
    reinterpret_cast<int4*>(level.starts)[row / 4] =
        make_int4(start, start + of_row[0], start + of_row[0] + of_row[1], start + of_row[0] + of_row[1] + of_row[2]);
}

// Lists the rows of the input by brick and cell, and tells the host of it.
__device__ __forceinline__ void rank_input(const Levels& levels, int block) {
    const Level& input = levels.at[0];
    const int row = block * ROW_THREADS + threadIdx.x, n = levels.input.load();
    if (row == 0) input.report[0] = levels.control->duplicate, input.report[1] = n;
    if (row >= n) return;
    const uint2 place = input.places[row];
    const Slot* slot = input.slots + place.x;
    const Half half = half_of<true>({slot->low, slot->high, slot->first}, (place.y & 32) != 0);
    input.ranks[column_base(half, place.y % 32)] = row;
}

// Writes the outputs with their places and ranks: the row of an output is its rank. A warp looks
// through 32 slots and writes the cells of one after the other.
__device__ __forceinline__ void write_outputs(const Level& level, uint32_t at) {
    const int lane = threadIdx.x % 32;
    const unsigned long long own = at < level.capacity ? cells_of(header(level.slots + at)) : 0;
    // A level that did not fit may have left no slot empty, at which a search would end.
    const bool fits = *level.counted != 0;
    if (own != 0 && !fits) level.slots[at] = Slot{};
    uint32_t occupied = __ballot_sync(ALL_LANES, own != 0 && fits);
    Brick own_brick = {0, 0, 0, 0};
    int own_first = 0;
    if (own != 0 && fits) {
        own_brick = brick_in(level.slots + at);
        const int key = owner_of(level.owners[at]);
        const unsigned long long totals = reinterpret_cast<const unsigned long long*>(level.totals)[key / 8];
        own_first = level.starts[key / 8] + sum_of(totals & ((1ull << (key % 8 * 8)) - 1));
        level.slots[at].first = own_first;
    }
    while (occupied != 0) {
        const int source = __ffs(occupied) - 1;
        occupied &= occupied - 1;
        const unsigned long long cells = __shfl_sync(ALL_LANES, own, source);
        const int first = __shfl_sync(ALL_LANES, own_first, source);
        const Brick brick = {__shfl_sync(ALL_LANES, own_brick.batch, source), __shfl_sync(ALL_LANES, own_brick.x, source),
                             __shfl_sync(ALL_LANES, own_brick.y, source), __shfl_sync(ALL_LANES, own_brick.z, source)};
#pragma unroll
        for (int cell = lane; cell < 64; cell += 32) {
            if ((cells >> cell & 1) == 0) continue;
            const int place = first + __popcll(cells & ((1ull << cell) - 1));
            level.coords[place] = make_int4(brick.batch, brick.x * 4 + (cell >> 4), brick.y * 4 + (cell >> 2 & 3), brick.z * 4 + (cell & 3));
            level.places[place] = make_uint2(at - lane + source, cell);
            level.ranks[place] = place;
        }
    }
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS) network_write(const __grid_constant__ Levels levels) {
    const int of_input = ceil_div(levels.input.capacity, ROW_THREADS);
    int block = blockIdx.x;
    if (block < of_input) {
        rank_input(levels, block);
        return;
    }
    block -= of_input;
    const int number = level_of(levels, levels.further(), block);
    if (number > 0) write_outputs(levels.at[number], block * ROW_THREADS + threadIdx.x);
}

// ---- maps ---------------------------------------------------------------------------------------

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
