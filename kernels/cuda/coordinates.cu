// Outputs of strided and transposed layers: every voxel that an input meets, each once.
//
//   down  output c of an input f:  f = c * stride + low + r * dilation, for an r of each axis
//   up    output f of an input c:  the same, the other way
//
// Layouts: coords (n) of {batch, x, y, z} int32; slots as in map_bricks.cuh, zeros at first; owners
// (slots) int32, more than any key at first; totals (n * bricks) int32, zeros at first; blocks
// int32; outputs (room) as coords; Tally, zeros at first; report (10) int32 in page-locked memory.
//
// The number of inputs, n, may be in device memory (RowCount), and that of outputs is written
// there. Where the host has made room without knowing it, later kernels are given that address.
//
// When all is done, the table is that of a kernel map of the outputs. Their places and ranks are
// written with them (map_bricks.cuh), so they are not hashed again.
//
// Bricks of outputs are made in a hash table, each with the least key that reaches it, its owner. A
// key is a row and which of the bricks around it is meant, so each brick has one of its own. The
// order of the outputs is that of their bricks' owners, then that of the cells. It follows from the
// order of the inputs and not from the schedule. So results are bitwise repeatable, and neighbours
// stay near.
//
// A row, or a slot, is a thread. Coordinates are 64-bit where they may leave int32: what has no
// int32 coordinates, or lies outside the box, does not exist.
//
// Architecture: any. Block sizes are fixed and named here; the host mirrors them.
#include <limits.h>

#include "common.cuh"
#include "map_bricks.cuh"
#include "warp_bits.cuh"

using namespace voxtune;

constexpr int ROW_THREADS = 256;    // threads of all kernels but the scan
constexpr int SCAN_THREADS = 1024;  // threads of reached_scan, a single block
constexpr int RESIDENT = 768;       // threads per SM: registers enough that nothing is spilled
constexpr uint32_t PROBES = 256;    // slots looked at before a table counts as full

// Which outputs an input meets. Mirrored by the host.
struct Reach {
    int low[3];    // the first offset along each axis
    int first[3];  // the box of outputs that exist, ends included
    int last[3];
    int bricks_of_a_row;       // that the outputs of an input lie in at most
    unsigned short bricks[2];  // the same along y and z
    unsigned char extent[3];
    unsigned char stride[3];
    unsigned char dilation[3];
    unsigned char up;
};

// The outputs along an axis that an input meets, in ascending order: `at`, then every `step`.
struct Line {
    int64_t at;
    int count, step;

    __device__ __forceinline__ Line(const Reach& reach, int axis, int own) : at(0), count(0), step(1) {
        const int stride = reach.stride[axis], dilation = reach.dilation[axis], extent = reach.extent[axis];
        if (reach.up) {
            at = int64_t(own) * stride + reach.low[axis], count = extent, step = dilation;
        } else {
            // Offset r has an output where own - low - r * dilation is a multiple of the stride.
            const int64_t from = int64_t(own) - reach.low[axis];
            int64_t cell = from >= 0 ? from / stride : -((stride - 1 - from) / stride);
            int rest = static_cast<int>(from - cell * stride);
            const int cells = dilation / stride, rests = dilation % stride;
            for (int r = 0; r < extent; ++r) {
                if (rest == 0) {
                    if (count == 1) step = static_cast<int>(at - cell);
                    at = cell, ++count;
                }
                cell -= cells, rest -= rests;
                if (rest < 0) rest += stride, --cell;
            }
        }
        const int64_t first = reach.first[axis], last = reach.last[axis];
        while (count > 0 && at < first) at += step, --count;
        while (count > 0 && at + int64_t(count - 1) * step > last) --count;
    }
    __device__ __forceinline__ int cell(int i) const { return static_cast<int>(at) + i * step; }
};

// What is counted on the way. Mirrored by the host.
struct Tally {
    // How often an input meets an output: the pairs of the layer's map.
    unsigned long long meetings;
    // Pairs of neighbouring outputs that lie in one brick, each once, by the axes on which they
    // differ: z, y, y and z, x, x and z, x and y, all. From these the host estimates the pairs of a
    // submanifold map of the outputs.
    int neighbours[7];
    int full;  // the table had no room
};

// Adds the sum of a block's values to *total. For a whole block of ROW_THREADS.
template <class T>
__device__ __forceinline__ void add_of_block(int value, T* total) {
    __shared__ int sums[ROW_THREADS / 32];
    const int sum = __reduce_add_sync(ALL_LANES, value);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        int all = 0;
        for (int w = 0; w < ROW_THREADS / 32; ++w) all += sums[w];
        if (all != 0) atomicAdd(total, static_cast<T>(all));
    }
    __syncthreads();
}

// Makes the bricks of outputs.
extern "C" __global__ void __launch_bounds__(ROW_THREADS, RESIDENT / ROW_THREADS) reached_insert(const int4* coords, RowCount count,
                                                                                                 const __grid_constant__ Reach reach, Slot* slots,
                                                                                                 uint32_t capacity, int* owners, Tally* tally) {
    const int row = blockIdx.x * ROW_THREADS + threadIdx.x;
    const bool active = row < count.load();
    const int4 c = active ? coords[row] : make_int4(0, 0, 0, 0);
    const Line x(reach, 0, c.y), y(reach, 1, c.z), z(reach, 2, c.w);
    const int meetings = active ? x.count * y.count * z.count : 0;
    add_of_block(meetings, &tally->meetings);
    if (meetings == 0) return;
    const int first_x = x.cell(0) >> 2, first_y = y.cell(0) >> 2, first_z = z.cell(0) >> 2;
    const int bricks_y = reach.bricks[0], bricks_z = reach.bricks[1];
    Brick held = {0, INT_MIN, 0, 0};
    unsigned long long cells = 0;
    const auto send = [&] {
        if (cells == 0) return;
        bool made = false;
        const uint32_t at = claim<PROBES>(slots, capacity, held, made);
        if (at == capacity) {
            tally->full = 1;
            return;
        }
        const int which = ((held.x - first_x) * bricks_y + held.y - first_y) * bricks_z + held.z - first_z;
        const int key = row * reach.bricks_of_a_row + which;
        auto* target = reinterpret_cast<unsigned long long*>(&slots[at].low);
        // Neighbours have set most of them.
        if ((*const_cast<volatile unsigned long long*>(target) & cells) != cells) atomicOr(target, cells);
        if (*const_cast<volatile int*>(owners + at) > key) atomicMin(owners + at, key);
    };
    for (int i = 0; i < x.count; ++i) {
        for (int j = 0; j < y.count; ++j) {
            for (int k = 0; k < z.count; ++k) {
                const int at_x = x.cell(i), at_y = y.cell(j), at_z = z.cell(k);
                const Brick brick = {c.x, at_x >> 2, at_y >> 2, at_z >> 2};
                if (!same(brick, held)) send(), held = brick, cells = 0;
                cells |= 1ull << ((at_x & 3) * 16 + (at_y & 3) * 4 + (at_z & 3));
            }
        }
    }
    send();
}

// The cells of a brick whose neighbour one step up an axis, or down, is in the brick and set.
__device__ __forceinline__ unsigned long long up_z(unsigned long long cells) { return cells >> 1 & 0x7777777777777777ull; }
__device__ __forceinline__ unsigned long long down_z(unsigned long long cells) { return cells << 1 & 0xeeeeeeeeeeeeeeeeull; }
__device__ __forceinline__ unsigned long long up_y(unsigned long long cells) { return cells >> 4 & 0x0fff0fff0fff0fffull; }
__device__ __forceinline__ unsigned long long down_y(unsigned long long cells) { return cells << 4 & 0xfff0fff0fff0fff0ull; }

// The number of outputs in each brick, at its owner's place.
extern "C" __global__ void __launch_bounds__(ROW_THREADS) reached_count(const Slot* slots, uint32_t capacity, const int* owners, int* totals,
                                                                        Tally* tally) {
    const uint32_t at = blockIdx.x * ROW_THREADS + threadIdx.x;
    uint4 found = make_uint4(0, 0, 0, 0);
    if (at < capacity) found = header(slots + at);
    const unsigned long long cells = found.z | static_cast<unsigned long long>(found.w) << 32;
    if (cells != 0) totals[owners[at]] = __popcll(cells);
    if (__syncthreads_or(cells != 0) == 0) return;
    const unsigned long long x = cells >> 16, y = up_y(cells), xy = up_y(x), x_back_y = down_y(x);
    const auto met = [cells](unsigned long long others) { return __popcll(cells & others); };
    const int neighbours[7] = {
        met(up_z(cells)),
        met(y),
        met(up_z(y)) + met(down_z(y)),
        met(x),
        met(up_z(x)) + met(down_z(x)),
        met(xy) + met(x_back_y),
        met(up_z(xy)) + met(down_z(xy)) + met(up_z(x_back_y)) + met(down_z(x_back_y)),
    };
#pragma unroll
    for (int i = 0; i < 7; ++i) add_of_block(neighbours[i], tally->neighbours + i);
}

// Turns totals into where the outputs of each begin among those of their block, and sums blocks up.
extern "C" __global__ void __launch_bounds__(ROW_THREADS) reached_sums(int* totals, int count, int* blocks) {
    __shared__ int sums[ROW_THREADS / 32];
    const int at = blockIdx.x * ROW_THREADS + threadIdx.x, warp = threadIdx.x / 32;
    const int own = at < count ? totals[at] : 0;
    const int through = inclusive_sum(own);
    if (threadIdx.x % 32 == 31) sums[warp] = through;
    __syncthreads();
    int before = 0;
    for (int w = 0; w < warp; ++w) before += sums[w];
    if (at < count && own > 0) totals[at] = before + through - own;
    if (threadIdx.x == ROW_THREADS - 1) blocks[blockIdx.x] = before + through;
}

// Turns the blocks' sums into where their outputs begin. The number of all, or -1 for more than
// int32 counts, is reported with what was counted. It is left at `counted`, if that is given, or
// zero where there is too little room: nothing that is made of too few outputs would be right.
extern "C" __global__ void __launch_bounds__(SCAN_THREADS) reached_scan(int* blocks, int count, const Tally* tally, int room, int* counted,
                                                                        int* report) {
    __shared__ int64_t sums[SCAN_THREADS / 32];
    __shared__ int64_t carried;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (threadIdx.x == 0) carried = 0;
    __syncthreads();
    for (int first = 0; first < count; first += SCAN_THREADS) {
        const int at = first + threadIdx.x;
        const int64_t own = at < count ? blocks[at] : 0;
        int64_t through = own;
#pragma unroll
        for (int step = 1; step < 32; step *= 2) {
            const int64_t up = __shfl_up_sync(ALL_LANES, through, step);
            if (lane >= step) through += up;
        }
        if (lane == 31) sums[warp] = through;
        __syncthreads();
        int64_t before = carried;
        for (int w = 0; w < warp; ++w) before += sums[w];
        if (at < count) blocks[at] = static_cast<int>(before + through - own);
        __syncthreads();
        if (threadIdx.x == SCAN_THREADS - 1) carried = before + through;
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        const bool countable = carried <= INT_MAX;
        report[0] = tally->full;
        report[1] = countable ? static_cast<int>(carried) : -1;
        report[2] = static_cast<int>(min(tally->meetings, static_cast<unsigned long long>(INT_MAX)));
        for (int i = 0; i < 7; ++i) report[3 + i] = tally->neighbours[i];
        if (counted) *counted = carried <= room && !tally->full ? static_cast<int>(carried) : 0;
    }
}

// Writes the outputs, as many as there is room for, with their places and ranks. Cells of those
// that there is no room for leave the table. Where `counted` is given and says that they do not
// fit, all do.
extern "C" __global__ void __launch_bounds__(ROW_THREADS) reached_write(Slot* slots, uint32_t capacity, const int* owners, const int* totals,
                                                                        const int* blocks, const int* counted, int4* outputs, int room,
                                                                        uint2* places, int* ranks) {
    const uint32_t at = blockIdx.x * ROW_THREADS + threadIdx.x;
    if (at >= capacity) return;
    const uint4 found = header(slots + at);
    unsigned long long cells = found.z | static_cast<unsigned long long>(found.w) << 32;
    if (cells == 0) return;
    // Outputs that did not fit may have left no slot empty, at which a search would end.
    if (counted && *counted == 0) {
        slots[at] = Slot{};
        return;
    }
    const Brick brick = brick_in(slots + at);
    const int key = owners[at];
    const int64_t first = int64_t(blocks[key / ROW_THREADS]) + totals[key];
    unsigned long long kept = 0;
    for (int64_t place = first; cells != 0 && place < room; cells &= cells - 1, ++place) {
        const int cell = __ffsll(cells) - 1;
        kept |= 1ull << cell;
        outputs[place] = make_int4(brick.batch, brick.x * 4 + (cell >> 4), brick.y * 4 + (cell >> 2 & 3), brick.z * 4 + (cell & 3));
        places[place] = make_uint2(at, cell);
        ranks[place] = static_cast<int>(place);
    }
    if (cells != 0) slots[at].low = static_cast<uint32_t>(kept), slots[at].high = static_cast<uint32_t>(kept >> 32);
    slots[at].first = kept != 0 ? static_cast<int>(first) : 0;
}
