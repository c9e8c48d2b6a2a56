// Outputs of strided and transposed layers: every voxel that an input meets, each once.
//
//   down  output c of an input f:  f = c * stride + low + r * dilation, for an r of each axis
//   up    output f of an input c:  the same, the other way
//
// Layouts: coords (n) of {batch, x, y, z} int32; slots as in map_bricks.cuh, zeros at first; owners
// (slots) int32, more than any row at first; totals (n) and blocks int32; outputs (count) as coords.
//
// Bricks of outputs are made in a hash table, each with the least row that reaches it, its owner. The
// order of the outputs is that of their bricks' owners, then that in which an owner reaches its
// bricks, then that of the cells: it follows from the order of the inputs and not from the schedule.
// So results are bitwise repeatable, and neighbours stay near.
//
// A row is a thread. Coordinates are 64-bit where they may leave int32: what has no int32
// coordinates, or lies outside the box, does not exist.
//
// Architecture: any. Block sizes are fixed and named here; the host mirrors them.
#include <limits.h>

#include "common.cuh"
#include "map_bricks.cuh"
#include "warp_bits.cuh"

using namespace voxtune;

constexpr int ROW_THREADS = 256;    // threads of kernels that take a row each
constexpr int SCAN_THREADS = 1024;  // threads of reached_scan, a single block
constexpr int RESIDENT = 768;       // threads per SM: registers enough that nothing is spilled

// Which outputs an input meets. Mirrored by the host.
struct Reach {
    int low[3];    // the first offset along each axis
    int first[3];  // the box of outputs that exist, ends included
    int last[3];
    unsigned char extent[3];
    unsigned char stride[3];
    unsigned char dilation[3];
    unsigned char up;
};

// The output along an axis that an input meets at an offset, if there is one.
__device__ __forceinline__ bool meets(const Reach& reach, int axis, int own, int r, int& cell) {
    const int64_t step = int64_t(reach.low[axis]) + r * reach.dilation[axis];
    const int stride = reach.stride[axis];
    int64_t at;
    if (reach.up) {
        at = int64_t(own) * stride + step;
    } else {
        const int64_t from = int64_t(own) - step;
        at = from >= 0 ? from / stride : -((stride - 1 - from) / stride);
        if (at * stride != from) return false;
    }
    cell = static_cast<int>(at);
    return at >= reach.first[axis] && at <= reach.last[axis];
}

// Calls visit(brick, cell of the brick) for each output of an input.
template <class Visit>
__device__ __forceinline__ void each_output(int4 c, const Reach& reach, Visit visit) {
    for (int i = 0; i < reach.extent[0]; ++i) {
        int x;
        if (!meets(reach, 0, c.y, i, x)) continue;
        for (int j = 0; j < reach.extent[1]; ++j) {
            int y;
            if (!meets(reach, 1, c.z, j, y)) continue;
            for (int k = 0; k < reach.extent[2]; ++k) {
                int z;
                if (!meets(reach, 2, c.w, k, z)) continue;
                visit(Brick{c.x, x >> 2, y >> 2, z >> 2}, (x & 3) * 16 + (y & 3) * 4 + (z & 3));
            }
        }
    }
}

// The slot of a brick that is in the table.
__device__ __forceinline__ uint32_t slot_of(const Slot* slots, uint32_t capacity, Brick brick) {
    const Key key(brick, capacity);
    for (uint32_t at = key.home;; at = next(at, capacity)) {
        const uint4 found = header(slots + at);
        if (found.x != key.low || found.y != key.high) continue;
        const int4 rest = body(slots + at);
        if (!(key.high & WIDE) || same({brick.batch, rest.y, rest.z, rest.w}, brick)) return at;
    }
}

// Calls visit(slot) for each brick that a row reaches, mostly once.
template <class Visit>
__device__ __forceinline__ void each_slot(int4 c, const Reach& reach, const Slot* slots, uint32_t capacity, Visit visit) {
    Brick held = {c.x, INT_MIN, 0, 0};  // no brick: coordinates of bricks have 30 bits
    each_output(c, reach, [&](Brick brick, int) {
        if (same(brick, held)) return;
        held = brick;
        visit(slot_of(slots, capacity, brick));
    });
}

// Makes the bricks of outputs.
extern "C" __global__ void __launch_bounds__(ROW_THREADS, RESIDENT / ROW_THREADS) reached_insert(const int4* coords, int n, const __grid_constant__ Reach reach, Slot* slots,
                                                                         uint32_t capacity, int* owners) {
    const int row = blockIdx.x * ROW_THREADS + threadIdx.x;
    if (row >= n) return;
    Brick held = {0, INT_MIN, 0, 0};
    uint32_t at = 0;
    unsigned long long cells = 0;
    const auto send = [&] {
        if (cells == 0) return;
        auto* target = reinterpret_cast<unsigned long long*>(&slots[at].low);
        // Neighbours have set most of them.
        if ((*const_cast<volatile unsigned long long*>(target) & cells) != cells) atomicOr(target, cells);
        if (*const_cast<volatile int*>(owners + at) > row) atomicMin(owners + at, row);
    };
    each_output(coords[row], reach, [&](Brick brick, int cell) {
        if (!same(brick, held)) {
            send();
            bool made = false;
            held = brick, cells = 0, at = claim(slots, capacity, brick, made);
        }
        cells |= 1ull << cell;
    });
    send();
}

// Outputs in the bricks that a row owns, for each row, and for each block of rows. A brick's place
// among those of its owner is left in `first`, as -1 less it.
extern "C" __global__ void __launch_bounds__(ROW_THREADS, RESIDENT / ROW_THREADS) reached_count(const int4* coords, int n, const __grid_constant__ Reach reach, Slot* slots,
                                                                        uint32_t capacity, const int* owners, int* totals, int* blocks) {
    __shared__ int sums[ROW_THREADS / 32];
    const int row = blockIdx.x * ROW_THREADS + threadIdx.x;
    int total = 0;
    if (row < n) {
        each_slot(coords[row], reach, slots, capacity, [&](uint32_t at) {
            // The walk may come back to a brick; nobody but its owner writes a place.
            if (owners[at] != row || slots[at].first < 0) return;
            slots[at].first = -1 - total;
            total += __popc(slots[at].low) + __popc(slots[at].high);
        });
        totals[row] = total;
    }
    const int through = inclusive_sum(total);
    if (threadIdx.x % 32 == 31) sums[threadIdx.x / 32] = through;
    __syncthreads();
    if (threadIdx.x == 0) {
        int all = 0;
        for (int warp = 0; warp < ROW_THREADS / 32; ++warp) all += sums[warp];
        blocks[blockIdx.x] = all;
    }
}

// Turns the blocks' totals into where their outputs begin; `report` gets a 0 and the number of all,
// or -1 for more than int32 counts.
extern "C" __global__ void __launch_bounds__(SCAN_THREADS) reached_scan(int* blocks, int count, int* report) {
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
    if (threadIdx.x == 0) report[0] = 0, report[1] = carried <= INT_MAX ? static_cast<int>(carried) : -1;
}

// Writes the outputs, as many as there is room for.
extern "C" __global__ void __launch_bounds__(ROW_THREADS, RESIDENT / ROW_THREADS) reached_write(const int4* coords, int n, const __grid_constant__ Reach reach, const Slot* slots,
                                                                        uint32_t capacity, int* owners, const int* totals, const int* blocks,
                                                                        int4* outputs, int room) {
    __shared__ int sums[ROW_THREADS / 32];
    const int row = blockIdx.x * ROW_THREADS + threadIdx.x, warp = threadIdx.x / 32;
    const int total = row < n ? totals[row] : 0;
    const int through = inclusive_sum(total);
    if (threadIdx.x % 32 == 31) sums[warp] = through;
    __syncthreads();
    if (total == 0) return;
    int64_t begin = int64_t(blocks[blockIdx.x]) + through - total;
    for (int w = 0; w < warp; ++w) begin += sums[w];
    each_slot(coords[row], reach, slots, capacity, [&](uint32_t at) {
        if (owners[at] != row) return;
        owners[at] = INT_MAX;  // written: the walk may come back
        const Slot slot = slots[at];
        const Brick brick = brick_in(slots + at);
        int64_t place = begin + (-1 - slot.first);
        for (unsigned long long cells = slot.low | static_cast<unsigned long long>(slot.high) << 32; cells != 0; cells &= cells - 1, ++place) {
            const int cell = __ffsll(cells) - 1;
            if (place >= room) return;
            outputs[place] = make_int4(brick.batch, brick.x * 4 + (cell >> 4), brick.y * 4 + (cell >> 2 & 3), brick.z * 4 + (cell & 3));
        }
    });
}
