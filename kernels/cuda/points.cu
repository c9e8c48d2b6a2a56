// Points to voxels. They are the cells of a fixed grid that points lie in, in the order of their
// first points, with the mean of each cell's points.
//
// Layouts: points (n, columns) float32, x, y and z first; batches (n) int32, or null where all are
// of batch 0; coords (rows) of {batch, first, second, third} int32. Slots are zeros at first, at
// least one more than there are points. `index` (n) is where each point's slot lies, then its row,
// then -1 for none.
//
// Cells are slots of a hash table, each with the least point in it, its owner. A row's number is
// how many owners lie before its own. Points are then sorted by row, and stay in order within one.
// So rows, their order and their sums follow from the points and not from the schedule.
//
// Sums are float64, and the quotients of a cell's number float32, each operation rounded by itself,
// so that the host computes the same.
//
// Architecture: any. Block sizes are fixed and named here; the host mirrors them.
#include <limits.h>

#include "common.cuh"
#include "warp_bits.cuh"

using namespace voxtune;

constexpr int THREADS = 256;        // threads of all blocks but those of a single one
constexpr int WARPS = THREADS / 32;
constexpr int SCAN_THREADS = 1024;  // threads of points_scan and points_samples, single blocks
constexpr int EACH = 8;             // points of a thread that sorts
constexpr int TILE = THREADS * EACH;
constexpr int DIGITS = 256;  // of a pass of the sort
static_assert(DIGITS == THREADS, "a thread has a digit");

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)

// Mirrored by the host.
struct VoxelGrid {
    float low[3];   // where the first cell begins, along x, y and z
    float size[3];  // of a cell
    int cells[3];   // at most 2^24: float32 tells no more apart
    int reversed;   // whether coordinates are written z, y, x
};

// Mirrored by the host.
struct alignas(16) Slot {
    unsigned long long key;  // 0: empty
    int early;               // INT_MAX less the least point
    int tally;               // how many points; from points_rows on the row, or -1
};

// The cell along an axis; false outside and for what is no number.
__device__ __forceinline__ bool cell_along(const VoxelGrid& grid, int axis, float at, int& cell) {
    const float place = floorf(__fdiv_rn(__fsub_rn(at, grid.low[axis]), grid.size[axis]));
    const bool inside = place >= 0.0f && place < static_cast<float>(grid.cells[axis]);
    cell = inside ? static_cast<int>(place) : 0;
    return inside;
}

__device__ __forceinline__ bool cell_of(const VoxelGrid& grid, const float* point, int cell[3]) {
    bool inside = true;
#pragma unroll
    for (int axis = 0; axis < 3; ++axis) inside &= cell_along(grid, axis, point[axis], cell[axis]);
    return inside;
}

// ---- cells --------------------------------------------------------------------------------------

// Where the search for a key begins.
__device__ __forceinline__ uint32_t home(unsigned long long key, uint32_t capacity) {
    // The finaliser of MurmurHash3 (64 bit).
    key ^= key >> 33;
    key *= 0xff51afd7ed558ccdull;
    key ^= key >> 33;
    key *= 0xc4ceb9fe1a85ec53ull;
    return __umulhi(static_cast<uint32_t>(key >> 32), capacity);
}

// The slot of a key, made if there is none.
__device__ __forceinline__ int claim(Slot* slots, uint32_t capacity, unsigned long long key) {
    for (uint32_t at = home(key, capacity);; at = at + 1 < capacity ? at + 1 : 0) {
        unsigned long long found = *const_cast<volatile unsigned long long*>(&slots[at].key);
        if (found == 0) found = atomicCAS(&slots[at].key, 0ull, key);
        if (found == 0 || found == key) return static_cast<int>(at);
    }
}

// Makes the slots, and says in which one each point lies. A point whose batch is not below
// `batch_count`, and one with a column that is no finite number, lies in none. All lanes of a warp
// take part.
KERNEL points_insert(const float* points, const int* batches, int n, int columns, int batch_count, const __grid_constant__ VoxelGrid grid,
                     Slot* slots, uint32_t capacity, int* index) {
    const int point = blockIdx.x * THREADS + threadIdx.x;
    unsigned long long key = 0;
    if (point < n) {
        const float* own = points + int64_t(point) * columns;
        const int batch = batches ? batches[point] : 0;
        int cell[3];
        bool there = cell_of(grid, own, cell) && batch >= 0 && batch < batch_count;
        for (int column = 3; column < columns && there; ++column) there = isfinite(own[column]);
        // What fits 63 bits, the host has found.
        const auto wide = [](int value) { return static_cast<unsigned long long>(value); };
        if (there) key = 1 + ((wide(batch) * grid.cells[0] + cell[0]) * grid.cells[1] + cell[1]) * grid.cells[2] + cell[2];
    }
    // One lane speaks for all in its cell: the first, so the least.
    const unsigned peers = __match_any_sync(ALL_LANES, key);
    const int leader = __ffs(peers) - 1;
    int at = -1;
    if (key != 0 && threadIdx.x % 32 == leader) {
        at = claim(slots, capacity, key);
        const int early = INT_MAX - point;
        if (*const_cast<volatile int*>(&slots[at].early) < early) atomicMax(&slots[at].early, early);
        atomicAdd(&slots[at].tally, __popc(peers));
    }
    at = __shfl_sync(ALL_LANES, at, leader);
    if (point < n) index[point] = at;
}

__device__ __forceinline__ bool is_owner(const Slot* slots, const int* index, int n, int point) {
    if (point >= n) return false;
    const int at = index[point];
    return at >= 0 && slots[at].early == INT_MAX - point;
}

// ---- rows ---------------------------------------------------------------------------------------

// Owners of each block of points, and the most points of a cell.
KERNEL points_count(const Slot* slots, const int* index, int n, int* blocks, int* most) {
    const int point = blockIdx.x * THREADS + threadIdx.x;
    const bool owner = is_owner(slots, index, n, point);
    const int tally = __reduce_max_sync(ALL_LANES, owner ? slots[index[point]].tally : 0);
    if (threadIdx.x % 32 == 0 && *const_cast<volatile int*>(most) < tally) atomicMax(most, tally);
    const int owners = __syncthreads_count(owner);
    if (threadIdx.x == 0) blocks[blockIdx.x] = owners;
}

// Calls take(i, the sum of values before i) for all i of `count`, and returns the sum of all. A
// single block of SCAN_THREADS.
template <class Value, class Take>
__device__ __forceinline__ int scan(int count, Value value, Take take) {
    __shared__ int sums[SCAN_THREADS / 32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int carried = 0;
    for (int first = 0; first < count; first += SCAN_THREADS) {
        const int at = first + threadIdx.x;
        const int own = at < count ? value(at) : 0;
        const int through = inclusive_sum(own);
        if (lane == 31) sums[warp] = through;
        __syncthreads();
        int before = carried;
        for (int w = 0; w < SCAN_THREADS / 32; ++w) {
            before += w < warp ? sums[w] : 0;
            carried += sums[w];
        }
        if (at < count) take(at, before + through - own);
        __syncthreads();
    }
    return carried;
}

// Turns the blocks' owners into those before each block.
extern "C" __global__ void __launch_bounds__(SCAN_THREADS) points_scan(int* blocks, int count) {
    scan(count, [=](int i) { return blocks[i]; }, [=](int i, int before) { blocks[i] = before; });
}

// The sum of a block's values before that of a thread. All threads take part.
__device__ __forceinline__ int sum_before(int own, int (&sums)[WARPS]) {
    const int through = inclusive_sum(own);
    if (threadIdx.x % 32 == 31) sums[threadIdx.x / 32] = through;
    __syncthreads();
    int before = through - own;
    for (int warp = 0; warp < WARPS; ++warp) before += warp < threadIdx.x / 32 ? sums[warp] : 0;
    return before;
}

// Owners before each point, (n + 1): the last are all.
KERNEL points_before(const Slot* slots, const int* index, int n, const int* blocks, int* before) {
    __shared__ int sums[WARPS];
    const int point = blockIdx.x * THREADS + threadIdx.x;
    const int own = is_owner(slots, index, n, point);
    const int earlier = blocks[blockIdx.x] + sum_before(own, sums);
    if (point < n) before[point] = earlier;
    if (point == n - 1) before[n] = earlier + own;
}

// The row of each sample's first cell, of which at most `cap` have one. `begins` (samples + 1): the
// first point of each sample; null for one sample of all points. `report` gets a 0, the number of
// rows, and the most points of a cell.
extern "C" __global__ void __launch_bounds__(SCAN_THREADS) points_samples(const int* before, int n, const int* begins, int samples, int cap,
                                                                          const int* most, int* bases, int* report) {
    const auto kept = [=](int sample) {
        const int first = begins ? begins[sample] : 0, end = begins ? begins[sample + 1] : n;
        return min(before[end] - before[first], cap);
    };
    const int rows = scan(samples, kept, [=](int sample, int earlier) { bases[sample] = earlier; });
    if (threadIdx.x == 0) report[0] = 0, report[1] = rows, report[2] = *most;
}

// Gives each cell its row, -1 past the cap.
KERNEL points_rows(Slot* slots, const int* index, int n, const int* before, const int* batches, const int* begins, const int* bases, int cap) {
    const int point = blockIdx.x * THREADS + threadIdx.x;
    if (!is_owner(slots, index, n, point)) return;
    const int sample = begins ? batches[point] : 0;
    const int place = before[point] - (begins ? before[begins[sample]] : 0);
    slots[index[point]].tally = place < cap ? bases[sample] + place : -1;
}

// Turns each point's slot into its row.
KERNEL points_index(const Slot* slots, int n, int* index) {
    const int point = blockIdx.x * THREADS + threadIdx.x;
    if (point < n && index[point] >= 0) index[point] = slots[index[point]].tally;
}

// ---- points by row ------------------------------------------------------------------------------
//
// A stable radix sort of pairs of row and point. What has no row comes last.

// The first pass reads the index, where `from` is null.
__device__ __forceinline__ int2 pair_at(const int* index, const int2* from, int n, int at) {
    if (from) return from[at];
    const int row = index[at];
    return make_int2(row < 0 ? n : row, at);
}

// A pair's digit; DIGITS past the last pair.
__device__ __forceinline__ int digit_of(int2 pair, bool there, int shift) { return there ? pair.x >> shift & (DIGITS - 1) : DIGITS; }

// How often each digit occurs in each tile: counts (DIGITS, tiles).
KERNEL points_sort_count(const int* index, const int2* from, int n, int shift, int* counts) {
    __shared__ int own[DIGITS];
    own[threadIdx.x] = 0;
    __syncthreads();
    for (int e = 0; e < EACH; ++e) {
        const int at = blockIdx.x * TILE + e * THREADS + threadIdx.x;
        const bool there = at < n;
        const int digit = digit_of(there ? pair_at(index, from, n, at) : int2{}, there, shift);
        const unsigned peers = __match_any_sync(ALL_LANES, digit);
        if (there && threadIdx.x % 32 == __ffs(peers) - 1) atomicAdd(own + digit, __popc(peers));
    }
    __syncthreads();
    counts[int64_t(threadIdx.x) * gridDim.x + blockIdx.x] = own[threadIdx.x];
}

// Turns a digit's counts into those before each tile, and `totals` into how often it occurs. A
// block is a digit.
KERNEL points_sort_scan(int* counts, int tiles, int* totals) {
    __shared__ int sums[WARPS];
    int* of_digit = counts + int64_t(blockIdx.x) * tiles;
    int carried = 0;
    for (int first = 0; first < tiles; first += THREADS) {
        const int at = first + threadIdx.x;
        const int own = at < tiles ? of_digit[at] : 0;
        const int before = sum_before(own, sums);
        if (at < tiles) of_digit[at] = carried + before;
        for (int warp = 0; warp < WARPS; ++warp) carried += sums[warp];
        __syncthreads();
    }
    if (threadIdx.x == 0) totals[blockIdx.x] = carried;
}

// Moves the pairs of each tile to where they belong. A warp has a part of the tile, 32 pairs a
// round.
KERNEL points_sort_move(const int* index, const int2* from, int n, int shift, const int* counts, const int* totals, int2* to) {
    __shared__ int places[WARPS][DIGITS];
    __shared__ int sums[WARPS];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int w = 0; w < WARPS; ++w) places[w][threadIdx.x] = 0;
    __syncthreads();
    const int first = blockIdx.x * TILE + warp * 32 * EACH + lane;
    int2 pairs[EACH];
#pragma unroll
    for (int e = 0; e < EACH; ++e) {
        const bool there = first + e * 32 < n;
        pairs[e] = there ? pair_at(index, from, n, first + e * 32) : int2{};
        const int digit = digit_of(pairs[e], there, shift);
        const unsigned peers = __match_any_sync(ALL_LANES, digit);
        if (there && lane == __ffs(peers) - 1) places[warp][digit] += __popc(peers);
        __syncwarp();
    }
    __syncthreads();
    int place = sum_before(totals[threadIdx.x], sums) + counts[int64_t(threadIdx.x) * gridDim.x + blockIdx.x];
#pragma unroll
    for (int w = 0; w < WARPS; ++w) {
        const int own = places[w][threadIdx.x];
        places[w][threadIdx.x] = place;
        place += own;
    }
    __syncthreads();
#pragma unroll
    for (int e = 0; e < EACH; ++e) {
        const bool there = first + e * 32 < n;
        const int digit = digit_of(pairs[e], there, shift);
        const unsigned peers = __match_any_sync(ALL_LANES, digit);
        const int begin = there ? places[warp][digit] : 0;
        __syncwarp();
        if (there && lane == __ffs(peers) - 1) places[warp][digit] = begin + __popc(peers);
        __syncwarp();
        if (there) to[begin + __popc(peers & ((1u << lane) - 1))] = pairs[e];
    }
}

// The points by row, and where each row's begin among them: starts (rows + 1). Threads for n + 1.
KERNEL points_starts(const int2* pairs, int n, int* order, int* starts) {
    const int at = blockIdx.x * THREADS + threadIdx.x;
    if (at > n) return;
    const int2 own = at < n ? pairs[at] : make_int2(n, 0);
    const int before = at > 0 ? pairs[at - 1].x : -1;
    if (at < n) order[at] = own.y;
    // No row is empty: what differs is the next one, or the end of all.
    if (own.x != before) starts[before + 1] = at;
}

// ---- what comes out -----------------------------------------------------------------------------

// The voxel of each row and the mean of its first `most` points, (rows, columns). A row is a warp,
// whose lanes take several points at once; their sums are added up in order.
KERNEL points_mean(const float* points, const int* batches, int columns, const __grid_constant__ VoxelGrid grid, const int* order,
                   const int* starts, int rows, int most, int4* coords, float* means) {
    const int row = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    const int begin = starts[row], count = min(starts[row + 1] - begin, most);
    if (lane == 0) {
        const int point = order[begin];
        int cell[3];
        cell_of(grid, points + int64_t(point) * columns, cell);
        const int batch = batches ? batches[point] : 0;
        coords[row] = grid.reversed ? make_int4(batch, cell[2], cell[1], cell[0]) : make_int4(batch, cell[0], cell[1], cell[2]);
    }
    const int width = min(columns, 32), together = 32 / width;
    const int own = lane / width;
    for (int first = 0; first < columns; first += width) {
        const int column = first + lane % width;
        const bool takes = own < together && column < columns;
        double sum = 0.0;
        if (takes) {
#pragma unroll 4
            for (int place = own; place < count; place += together) {
                sum = __dadd_rn(sum, points[int64_t(order[begin + place]) * columns + column]);
            }
        }
        double total = sum;
        for (int other = 1; other < together; ++other) {
            total = __dadd_rn(total, __shfl_sync(ALL_LANES, sum, (other * width + lane % width) % 32));
        }
        if (takes && own == 0) means[int64_t(row) * columns + column] = __double2float_rn(__ddiv_rn(total, count));
    }
}

// Cuts the rows' points into pieces: begins (pieces + 1), piece_starts (rows + 1). Those of a row
// have about the same length, below 2 * `length`, and none is empty but those behind the last
// row's.
KERNEL points_pieces(const int* starts, int rows, int length, int pieces, int* piece_starts, int* begins) {
    const int row = blockIdx.x * THREADS + threadIdx.x;
    // A row has a piece, and one more each time that the points which are not first in a row fill
    // one.
    const auto first_of = [=](int r) { return r + (starts[r] - r) / length; };
    if (row < rows) {
        const int begin = starts[row], first = first_of(row), count = first_of(row + 1) - first;
        const int64_t points = starts[row + 1] - begin;
        piece_starts[row] = first;
        for (int piece = 0; piece < count; ++piece) begins[first + piece] = begin + static_cast<int>(piece * points / count);
    }
    if (row == rows) piece_starts[rows] = first_of(rows);
    const int64_t step = int64_t(gridDim.x) * THREADS;
    for (int64_t piece = int64_t(first_of(rows)) + row; piece <= pieces; piece += step) begins[piece] = starts[rows];
}

// ---- rows by sample -----------------------------------------------------------------------------
//
// Voxels sorted by their batch, for pooling of whole samples. `length` is that of the index: at
// least as many as rows and as samples, so that no sample's number is that of what has none.

// The sample of each row, -1 past the last and of a batch that is no sample. `outside` gets INT_MAX
// less the first such row: 0 at first.
KERNEL points_batches(const int4* coords, RowCount count, int samples, int length, int* index, int* outside) {
    const int row = blockIdx.x * THREADS + threadIdx.x;
    if (row >= length) return;
    int batch = -1;
    if (row < count.load()) {
        batch = coords[row].x;
        if (batch < 0 || batch >= samples) {
            atomicMax(outside, INT_MAX - row);
            batch = -1;
        }
    }
    index[row] = batch;
}

// The rows by sample, and where each sample's begin among them: starts (samples + 1). `report` gets
// whether a row is of no sample, the first such row, and its batch. Threads for length + 1.
KERNEL points_sample_starts(const int2* pairs, int length, int samples, const int4* coords, const int* outside, int* order, int* starts,
                            int* report) {
    const int at = blockIdx.x * THREADS + threadIdx.x;
    if (at > length) return;
    const int2 own = at < length ? pairs[at] : make_int2(samples, 0);
    const int before = at > 0 ? min(pairs[at - 1].x, samples) : -1;
    if (at < length) order[at] = own.y;
    for (int sample = before + 1; sample <= min(own.x, samples); ++sample) starts[sample] = at;
    if (at == length) {
        const int refused = *outside, row = refused > 0 ? INT_MAX - refused : 0;
        report[0] = refused > 0;
        report[1] = row;
        report[2] = refused > 0 ? coords[row].x : 0;
    }
}

// Cuts the samples' rows into pieces of `length`, the last of a sample's shorter: begins (pieces +
// 1), piece_starts (samples + 1). A sample without rows has none. A single block.
extern "C" __global__ void __launch_bounds__(SCAN_THREADS) points_sample_pieces(const int* starts, int samples, int length, int pieces,
                                                                                int* piece_starts, int* begins) {
    const auto pieces_of = [=](int sample) { return ceil_div(starts[sample + 1] - starts[sample], length); };
    const int all = scan(samples, pieces_of, [=](int sample, int before) { piece_starts[sample] = before; });
    if (threadIdx.x == 0) piece_starts[samples] = all;
    __syncthreads();
    for (int piece = threadIdx.x; piece <= pieces; piece += SCAN_THREADS) {
        // The last sample that begins with this piece or before: those without pieces lie before
        // it.
        int sample = 0;
        for (int end = samples; end - sample > 1;) {
            const int middle = sample + (end - sample) / 2;
            (piece_starts[middle] <= piece ? sample : end) = middle;
        }
        begins[piece] = piece < all ? starts[sample] + (piece - piece_starts[sample]) * length : starts[samples];
    }
}
