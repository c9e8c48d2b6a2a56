// Kernel map between two clouds: which row of one cloud a row of the other gathers at each offset.
//
//   multiplied  the gathered row lies at  own * stride + offset    coarse: a layer's outputs
//   divided     the gathered row lies at (own - offset) / stride  fine: where nothing is left over
//
// Offset r of an axis is low + r * dilation.
//
// Layouts: as in kernel_map.cu. Both clouds are in brick tables (map_bricks.cuh) that map_insert
// made and map_ranks completes; between the two, map_bases gives every brick its place in `ranks`.
// Those of a strided layer's outputs are left by the kernels that find these (coordinates.cu). A
// row's coordinates are those of its place in its own cloud's table.
//
// A row is a thread. It walks the offsets in the order of the weights; consecutive ones lie in one
// brick mostly, which is then looked up once. Coordinates are 64-bit: products past the ends of
// int32 are cells that no row has.
//
// Tables are written by position, pair lists at places from prefix sums: bitwise repeatable.
//
// Architecture: any. Block sizes are fixed and named here; the host mirrors them.
#include "common.cuh"
#include "map_bricks.cuh"
#include "pair_counts.cuh"
#include "warp_bits.cuh"

using namespace voxtune;

constexpr int ROW_THREADS = 256;    // threads of kernels that take a row each
constexpr int TABLE_THREADS = 128;  // threads of across_table
constexpr int PAIR_ROWS = 256;      // rows and threads of a block that writes pairs
constexpr int RESIDENT = 1024;      // threads per SM: registers enough that nothing is spilled

// The cells that a row gathers from.
struct Steps {
    int low[3];  // the first offset along each axis
    unsigned char extent[3];
    unsigned char stride[3];
    unsigned char dilation[3];
    unsigned char volume;
    unsigned char divided;
};

// A walk along an axis: the cell of each offset in turn, where there is one.
struct Axis {
    int64_t at;
    int rest;  // what the division leaves
    int step, step_rest, stride;

    __device__ __forceinline__ Axis(int own, int low, int stride, int dilation, bool divided) : rest(0), step_rest(0), stride(stride) {
        if (divided) {
            const int64_t from = int64_t(own) - low;
            at = from >= 0 ? from / stride : -((stride - 1 - from) / stride);
            rest = static_cast<int>(from - at * stride);
            step = -(dilation / stride), step_rest = dilation % stride;
        } else {
            at = int64_t(own) * stride + low, step = dilation;
        }
    }
    __device__ __forceinline__ bool present() const { return rest == 0 && at == static_cast<int>(at); }
    __device__ __forceinline__ int cell() const { return static_cast<int>(at); }
    __device__ __forceinline__ void next() {
        at += step, rest -= step_rest;
        if (rest < 0) rest += stride, --at;
    }
};

// Calls visit(offset, whether there is a row, its place in `ranks`) for all offsets, also for a row
// that is not `active`.
template <class Visit>
__device__ __forceinline__ void across(const Slot* slots, uint32_t capacity, const Slot* own_slots, uint2 place, bool active, Steps steps,
                                       Visit visit) {
    const Brick own = active ? brick_in(own_slots + place.x) : Brick{0, 0, 0, 0};
    const int cell = place.y % 64;
    const bool divided = steps.divided != 0;
    Axis x(own.x * 4 + (cell >> 4), steps.low[0], steps.stride[0], steps.dilation[0], divided);
    const Axis first_y(own.y * 4 + (cell >> 2 & 3), steps.low[1], steps.stride[1], steps.dilation[1], divided);
    const Axis first_z(own.z * 4 + (cell & 3), steps.low[2], steps.stride[2], steps.dilation[2], divided);
    Brick held = {own.batch, INT_MIN, 0, 0};  // no brick: coordinates of bricks have 30 bits
    Cells cells = {0, 0, 0};
    int k = 0;
    for (int i = 0; i < steps.extent[0]; ++i, x.next()) {
        Axis y = first_y;
        for (int j = 0; j < steps.extent[1]; ++j, y.next()) {
            Axis z = first_z;
            const bool column = active && x.present() && y.present();
            for (int l = 0; l < steps.extent[2]; ++l, ++k, z.next()) {
                bool present = false;
                int rank = 0;
                if (column && z.present()) {
                    const Brick wanted = {own.batch, x.cell() >> 2, y.cell() >> 2, z.cell() >> 2};
                    if (!same(wanted, held)) held = wanted, cells = find(slots, capacity, wanted);
                    const int shift = (x.cell() & 1) * 16 + (y.cell() & 3) * 4 + (z.cell() & 3);
                    const Half half = half_of<true>(cells, (x.cell() & 2) != 0);
                    present = half.cells >> shift & 1;
                    rank = column_base(half, shift);
                }
                visit(k, present, rank);
            }
        }
    }
}

// Gives every brick its place in `ranks`, taken from the cursor.
extern "C" __global__ void __launch_bounds__(ROW_THREADS) map_bases(Slot* slots, const uint2* places, RowCount count, int* cursor) {
    const int n = count.load();
    const int row = blockIdx.x * ROW_THREADS + threadIdx.x, lane = threadIdx.x % 32;
    const uint2 place = row < n ? places[row] : make_uint2(0, 0);
    const bool claimed = row < n && (place.y & CLAIMED);
    const int rows = claimed ? __popc(slots[place.x].low) + __popc(slots[place.x].high) : 0;
    const int through = inclusive_sum(rows);
    int start = 0;
    if (lane == 31 && through > 0) start = atomicAdd(cursor, through);
    start = __shfl_sync(ALL_LANES, start, 31);
    if (claimed) slots[place.x].first = start + through - rows;
}

// Masks of all rows; where `counts` is given, also the rows' pairs by offset, added to it and then
// reported.
extern "C" __global__ void __launch_bounds__(ROW_THREADS, RESIDENT / ROW_THREADS) across_masks(const Slot* slots, uint32_t capacity, const Slot* own_slots,
                                                                       const uint2* places, RowCount count, int words,
                                                                       const __grid_constant__ Steps steps, uint32_t* masks, int* counts,
                                                                       int* report) {
    const int n = count.load();
    __shared__ int block_counts[MAX_MASK_WORDS * 32];
    const int lane = threadIdx.x % 32;
    if (threadIdx.x < MAX_MASK_WORDS * 32) block_counts[threadIdx.x] = 0;
    __syncthreads();
    int pairs[MAX_MASK_WORDS] = {};
    for (int64_t first = int64_t(blockIdx.x) * ROW_THREADS; first < n; first += int64_t(gridDim.x) * ROW_THREADS) {
        const int64_t row = first + threadIdx.x;
        const bool active = row < n;
        Mask mask;
        across(slots, capacity, own_slots, active ? places[row] : make_uint2(0, 0), active, steps,
               [&](int k, bool present, int) { mask.put(k, 1, present); });
#pragma unroll
        for (int w = 0; w < MAX_MASK_WORDS; ++w) {
            if (w >= words) break;
            const uint32_t bits = mask.word(w);
            if (active) masks[row * words + w] = bits;
            pairs[w] += __popc(transpose(bits));
        }
    }
    if (!counts) return;
#pragma unroll
    for (int w = 0; w < MAX_MASK_WORDS; ++w) {
        if (w < words) atomicAdd(block_counts + w * 32 + lane, pairs[w]);
    }
    report_pairs(block_counts, steps.volume, gridDim.x, counts, report);
}

// The table in launch order, and the masks: position p holds row rows[p], or p where `rows` is
// null; masks_out may be null.
extern "C" __global__ void __launch_bounds__(TABLE_THREADS, RESIDENT / TABLE_THREADS) across_table(const Slot* slots, uint32_t capacity, const int* __restrict__ ranks,
                                                                         const Slot* own_slots, const uint2* __restrict__ places, RowCount count,
                                                                         int words, const __grid_constant__ Steps steps,
                                                                         const int* __restrict__ rows, int64_t pitch,
                                                                         int* __restrict__ table, uint32_t* __restrict__ masks_out) {
    const int n = count.load();
    const int64_t position = int64_t(blockIdx.x) * TABLE_THREADS + threadIdx.x;
    if (position >= pitch) return;
    const bool active = position < n;
    const int64_t row = active && rows ? __ldg(rows + position) : position;
    Mask mask;
    across(slots, capacity, own_slots, active ? __ldg(places + row) : make_uint2(0, 0), active, steps,
           [&](int k, bool present, int rank) {
               mask.put(k, 1, present);
               // Written once and far larger than what is read here: it should not push that out of
               // the cache.
               __stcs(table + k * pitch + position, present ? __ldg(ranks + rank) : -1);
           });
    if (masks_out && active) {
        for (int w = 0; w < words; ++w) masks_out[position * words + w] = mask.word(w);
    }
}

// Writes the pair lists at the places that pair_scan made of the rows' masks.
extern "C" __global__ void __launch_bounds__(PAIR_ROWS, RESIDENT / PAIR_ROWS) across_pairs(const Slot* slots, uint32_t capacity, const int* __restrict__ ranks,
                                                                     const Slot* own_slots, const uint2* __restrict__ places,
                                                                     const uint32_t* __restrict__ masks, RowCount count, int words,
                                                                     const __grid_constant__ Steps steps, const int* __restrict__ blocks,
                                                                     int* __restrict__ in_rows, int* __restrict__ out_rows) {
    const int n = count.load();
    constexpr int WARPS = PAIR_ROWS / 32;
    __shared__ int starts[WARPS][MAX_MASK_WORDS * 32];
    const int row = blockIdx.x * PAIR_ROWS + threadIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const bool active = row < n;
    for (int w = 0; w < words; ++w) {
        starts[warp][w * 32 + lane] = __popc(transpose(active ? masks[int64_t(row) * words + w] : 0));
    }
    __syncthreads();
    for (int k = threadIdx.x; k < steps.volume; k += PAIR_ROWS) {
        int running = blocks[int64_t(k) * gridDim.x + blockIdx.x];
        for (int w = 0; w < WARPS; ++w) {
            const int count = starts[w][k];
            starts[w][k] = running;
            running += count;
        }
    }
    __syncthreads();
    across(slots, capacity, own_slots, active ? places[row] : make_uint2(0, 0), active, steps, [&](int k, bool present, int rank) {
        const uint32_t all = __ballot_sync(ALL_LANES, present);
        if (present) {
            const int at = starts[warp][k] + __popc(all & ((1u << lane) - 1));
            __stcs(in_rows + at, __ldg(ranks + rank));
            __stcs(out_rows + at, row);
        }
    });
}
