// resident_gemm: output-stationary implicit GEMM of few channels, its weights resident in shared
// memory; forward and dgrad.
//
//   forward  y[o]  = sum over k of  x[map[k][o]] * w[k]
//   dgrad    dx[i] = sum over k of  g[map[k][i]] * w[k']^T     k' = k, or volume-1-k over a
//                                                              mirrored forward map (`mirror`)
//
// Layouts: gathered (rows, c_gathered), weights (volume, c_in, c_out), result (n, c_result), all
// row-major, any base address. Rows of gathered and result lie a pitch apart, weights are dense.
// table (volume, table_pitch) holds, for launch position p, the gathered row or -1; positions from
// n to table_pitch, a multiple of 256, hold -1. masks (n) the offsets that position p has;
// row_of_position (n), or null, the result row of position p.
//
// One block per SM brings all weights into shared memory once, transposed to (volume, DEPTH / 32,
// COLS, 32). From then on its warps are on their own. Each takes 16 positions at a time and asks
// for the row numbers of the offsets that any of them has. It gathers their rows into a ring of its
// own, and multiplies them with resident weights. What bounds the kernel is bytes in flight, so the
// ring runs ahead across the ends of units, and what is left of shared memory is all rings.
//
// Invariants
// * An absent row is never loaded; its lanes hold zeros.
// * Channels past c_gathered are zeros in both operands (0 * stale NaN is NaN). Channels past
//   c_result are never stored.
// * Every row of the result is written, with the epilogue of zeros where a row has no pair. Sums
//   run in ascending order of offsets: bitwise repeatable.
//
// Architecture: sm_80 and later. Shared memory is dynamic; the host reads its size from
// voxtune_launch.
//
// Defines: VOXTUNE_DTYPE 0|1; DGRAD 0|1; VOLUME, at most 32; DEPTH: gathered channels padded to 32;
// COLS: result channels padded to 8; WARPS per block; STAGES: steps of a warp's ring; VEC_A, VEC_B,
// VEC_Y: elements of one copy of the gathered rows, the weights and the result: 8, 4, 2, or 1 for
// elementwise copies.
// expected: spills on sm_90 where DGRAD=0 VOLUME=8 DEPTH=32 COLS=32 WARPS=24 VEC_A=8 VEC_B=8: 80 registers by WARPS
// expected: spills on sm_90 where DGRAD=0 VOLUME=27 DEPTH=32 COLS=32 WARPS=24 VEC_A=1 VEC_B=8: 80 registers by WARPS
// expected: spills on sm_90 where DGRAD=0 VOLUME=27 DEPTH=32 COLS=32 WARPS=24 VEC_A=2 VEC_B=8: 80 registers by WARPS
// expected: spills on sm_90 where DGRAD=0 VOLUME=27 DEPTH=32 COLS=32 WARPS=24 VEC_A=8 VEC_B=8: 80 registers by WARPS
// expected: spills on sm_90 where DGRAD=0 VOLUME=27 DEPTH=32 COLS=40 WARPS=24 VEC_A=4 VEC_B=8: 80 registers by WARPS
// expected: spills on sm_90 where DGRAD=0 VOLUME=27 DEPTH=32 COLS=48 WARPS=24 VEC_A=2 VEC_B=8: 80 registers by WARPS
// expected: spills on sm_90 sm_100 where DGRAD=0 VOLUME=27 DEPTH=32 COLS=64 WARPS=24 VEC_A=8 VEC_B=8: 80 registers by WARPS
#include "resident.cuh"

using namespace voxtune;

constexpr int THREADS = WARPS * 32;
constexpr int ROWS = 16;  // positions a warp
constexpr int SLICES = DEPTH / SLICE;
constexpr int SLICE_BYTES = COLS * SLICE * 2;
constexpr int WEIGHT_BYTES = VOLUME * SLICES * SLICE_BYTES;

// A step of the ring: one or two offsets of 16 rows, a slice after the other, and its words.
constexpr int OFFSETS = SLICES < 3 ? 2 : 1;
constexpr int STEP_BYTES = OFFSETS * SLICES * ROWS * SLICE * 2;
constexpr int STEP_WORDS = 4;
constexpr int RING_BYTES = STAGES * (STEP_BYTES + STEP_WORDS * 4);
constexpr int SHARED_BYTES = WEIGHT_BYTES + WARPS * RING_BYTES;

static_assert(VOLUME <= 32 && DEPTH % SLICE == 0 && COLS % 8 == 0, "shape");

// What the host needs to launch this instance: threads per block, dynamic shared memory in bytes.
extern "C" __constant__ int voxtune_launch[2] = {THREADS, SHARED_BYTES};

// Weights as (offset, slice, column, 32), the offsets as the table has them.
template <bool ALIGNED>
__device__ __forceinline__ void bring_weights(const TileGemmParams& p, char* shared) {
    if constexpr (DGRAD) {
        // A column is a row of weights.
        for (int i = threadIdx.x; i < VOLUME * SLICES * COLS * 4; i += THREADS) {
            const int chunk = i % 4, column = i / 4 % COLS, slice = i / 4 / COLS % SLICES, offset = i / 4 / COLS / SLICES;
            const int from = p.mirror ? p.volume - 1 - offset : offset, channel = slice * SLICE + chunk * 8;
            const int count = column < p.c_in ? p.c_out - channel : 0;
            const Element* source = p.weights + (int64_t(from) * p.c_in + column) * p.c_out + channel;
            *reinterpret_cast<uint4*>(shared + i * 16) = load_eight<VEC_B, ALIGNED>(source, count);
        }
    } else {
        // Two gathered channels of eight columns at a time, transposed on their way.
        constexpr int PAIRS = SLICE / 2;
        for (int i = threadIdx.x; i < VOLUME * SLICES * (COLS / 8) * PAIRS; i += THREADS) {
            const int pair = i % PAIRS, eight = i / PAIRS % (COLS / 8), slice = i / PAIRS / (COLS / 8) % SLICES;
            const int offset = i / PAIRS / (COLS / 8) / SLICES, channel = slice * SLICE + pair * 2;
            const Element* source = p.weights + (int64_t(offset) * p.c_in + channel) * p.c_out + eight * 8;
            const int count = p.c_out - eight * 8;
            const uint4 even = load_eight<VEC_B, ALIGNED>(source, channel < p.c_in ? count : 0);
            const uint4 odd = load_eight<VEC_B, ALIGNED>(source + p.c_out, channel + 1 < p.c_in ? count : 0);
            const uint32_t evens[4] = {even.x, even.y, even.z, even.w}, odds[4] = {odd.x, odd.y, odd.z, odd.w};
            char* line = shared + ((offset * SLICES + slice) * COLS + eight * 8) * SLICE * 2 + pair * 4;
#pragma unroll
            for (int n = 0; n < 8; ++n) {
                *reinterpret_cast<uint32_t*>(line + n * SLICE * 2) = __byte_perm(evens[n / 2], odds[n / 2], n % 2 ? 0x7632 : 0x5410);
            }
        }
    }
}

// Offsets of a unit, -1 for none, and their rows: lanes 0 to 15 have those of the first.
struct Asked {
    int offset[OFFSETS], row, unit;
    bool last;  // whether the unit ends here
};

// The side of a warp that runs ahead: which rows of which units it needs.
struct Asker {
    const TileGemmParams& p;
    const int n, units, stride;
    int unit;
    uint32_t left;  // offsets of the unit not yet asked for
    uint32_t bits;  // of this lane's position in the unit after it

    // Neighbouring units go to different SMs, the last first: an order by masks puts the rows with
    // most offsets last.
    __device__ __forceinline__ explicit Asker(const TileGemmParams& p)
        : p(p), n(p.rows.load()), units(ceil_div(n, ROWS)), stride(gridDim.x * WARPS), unit(threadIdx.x / 32 * gridDim.x + blockIdx.x) {
        left = __reduce_or_sync(0xffffffffu, masks(unit));
        bits = masks(unit + stride);
    }
    __device__ __forceinline__ int first(int of) const { return (units - 1 - of) * ROWS; }
    __device__ __forceinline__ uint32_t masks(int of) const {
        const int position = first(of) + int(threadIdx.x % ROWS);
        return of < units && position < n ? __ldg(p.masks + position) : 0;
    }

    __device__ __forceinline__ Asked ask() {
        Asked asked;
        asked.unit = unit;
#pragma unroll
        for (int i = 0; i < OFFSETS; ++i) {
            asked.offset[i] = __ffs(left) - 1;
            left &= left - 1;
        }
        const int mine = threadIdx.x % 32 < ROWS ? asked.offset[0] : asked.offset[OFFSETS - 1];
        asked.row = mine < 0 ? -1 : __ldg(p.table + first(unit) + threadIdx.x % ROWS + mine * p.table_pitch);
        asked.last = left == 0;
        if (asked.last && unit < units) {
            unit += stride;
            left = __reduce_or_sync(0xffffffffu, bits);
            bits = masks(unit + stride);
        }
        return asked;
    }
};

// A warp's ring. A lane copies, and later reads, the eight channels of two rows that fragments of
// eight channels want of it.
struct Ring {
    uint32_t steps, words;  // of the first stage: this lane's first copy, the words
    __device__ __forceinline__ explicit Ring(char* shared) {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        const uint32_t base = shared_address(shared) + WEIGHT_BYTES + warp * RING_BYTES;
        steps = base + lane / 4 * SLICE * 2 + lane % 4 * 16;
        words = base + STAGES * STEP_BYTES;
    }
    __device__ __forceinline__ uint32_t rows(int stage, int offset, int slice, int half) const {
        return steps + stage * STEP_BYTES + ((offset * SLICES + slice) * ROWS + half * 8) * SLICE * 2;
    }
    __device__ __forceinline__ uint32_t word(int stage) const { return words + stage * STEP_WORDS * 4; }
};

template <bool ALIGNED>
__device__ __forceinline__ void fill(const TileGemmParams& p, const Ring& ring, int stage, const Asked& asked) {
    const int lane = threadIdx.x % 32, c_gathered = DGRAD ? p.c_out : p.c_in, channel = lane % 4 * 8;
    if (lane == 0) {
        asm volatile("st.shared.v4.s32 [%0], {%1, %2, %3, %4};" ::"r"(ring.word(stage)), "r"(asked.offset[0]), "r"(OFFSETS > 1 ? asked.offset[OFFSETS - 1] : -1),
                     "r"(asked.unit), "r"(int(asked.last))
                     : "memory");
    }
#pragma unroll
    for (int i = 0; i < OFFSETS; ++i) {
        if (asked.offset[i] < 0) break;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int row = __shfl_sync(0xffffffffu, asked.row, i * ROWS + half * 8 + lane / 4);
            const Element* source = p.gathered + uint64_t(uint32_t(max(row, 0))) * uint32_t(p.gathered_pitch) + channel;
#pragma unroll
            for (int slice = 0; slice < SLICES; ++slice) {
                const int count = row >= 0 ? c_gathered - channel - slice * SLICE : 0;
                const uint32_t place = ring.rows(stage, i, slice, half);
                if constexpr (ALIGNED && VEC_A == 8) {
                    copy_async_l2(place, count > 0 ? source + slice * SLICE : p.gathered, count > 0);
                } else {
                    const uint4 value = load_eight<VEC_A, ALIGNED>(source + slice * SLICE, count);
                    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(place), "r"(value.x), "r"(value.y), "r"(value.z), "r"(value.w)
                                 : "memory");
                }
            }
        }
    }
    commit_copies();
}

// The side of a warp that follows: sums, and where they go.
struct Multiplier {
    const TileGemmParams& p;
    const uint32_t weights;
    const ColumnGroups<COLS> columns;
    float acc[COLS / 8][4] = {};

    __device__ __forceinline__ Multiplier(const TileGemmParams& p, const char* shared) : p(p), weights(shared_address(shared)) {}

    __device__ __forceinline__ void multiply(const Ring& ring, int stage, int which, int offset) {
#pragma unroll
        for (int slice = 0; slice < SLICES; ++slice) {
            const uint4 a[2] = {load_shared(ring.rows(stage, which, slice, 0)), load_shared(ring.rows(stage, which, slice, 1))};
            multiply_slice<COLS>(acc, a, weights + (offset * SLICES + slice) * SLICE_BYTES, columns);
        }
    }

    __device__ __forceinline__ void store(int first, int n) {
        const int c_result = DGRAD ? p.c_in : p.c_out;
        Element* rows[2];
        int numbers[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int position = first + int(threadIdx.x % 32 / 4) + half * 8;
            const int row = position < n && p.row_of_position ? __ldg(p.row_of_position + position) : position;
            numbers[half] = position < n ? row : -1;
            rows[half] = position < n ? p.result + int64_t(row) * p.result_pitch : nullptr;
        }
        if (!DGRAD && p.epilogue.present) finish_rows<COLS, VEC_Y>(acc, p.epilogue, numbers[0], numbers[1], c_result);
        store_rows<COLS, VEC_Y>(acc, rows[0], rows[1], c_result, p.result_aligned);
#pragma unroll
        for (int n = 0; n < COLS / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) acc[n][i] = 0.0f;
        }
    }
};

template <bool ALIGNED>
__device__ __forceinline__ void walk(const TileGemmParams& p, char* shared) {
    Asker asker(p);
    const Ring ring(shared);
    Asked near = asker.ask(), far = asker.ask();
#pragma unroll 1
    for (int stage = 0; stage < STAGES - 1; ++stage) {
        fill<ALIGNED>(p, ring, stage, near);
        near = far;
        far = asker.ask();
    }
    bring_weights<ALIGNED>(p, shared);
    __syncthreads();
    Multiplier multiplier(p, shared);
    int stage = 0, filling = STAGES - 1;
    while (true) {
        __syncwarp();  // all lanes are done with the stage filled next
        fill<ALIGNED>(p, ring, filling, near);
        near = far;
        far = asker.ask();
        wait_copies<STAGES - 1>();
        __syncwarp();  // all copies and the words are there
        const uint4 words = load_shared(ring.word(stage));
        if (int(words.z) >= asker.units) break;
        if (int(words.x) >= 0) multiplier.multiply(ring, stage, 0, words.x);
        if (OFFSETS > 1 && int(words.y) >= 0) multiplier.multiply(ring, stage, 1, words.y);
        if (words.w) multiplier.store(asker.first(words.z), asker.n);
        filling = stage;
        if (++stage == STAGES) stage = 0;
    }
    wait_copies<0>();
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) resident_gemm(const __grid_constant__ TileGemmParams p) {
    extern __shared__ __align__(128) char shared[];
    if (p.copies_aligned) walk<true>(p, shared);
    else walk<false>(p, shared);
}
