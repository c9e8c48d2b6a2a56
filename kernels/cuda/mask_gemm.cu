// mask_gemm: output-stationary implicit GEMM on tensor cores, forward and dgrad.
//
//   forward  y[o]  = sum over k of  x[map[k][o]] * w[k]
//   dgrad    dx[i] = sum over k of  g[map[k][i]] * w[k']^T     k' = k, or volume-1-k where the map is the forward map of
//                                                              a submanifold convolution read backwards (`mirror`)
//
// Layouts: gathered (rows, c_gathered), weights (volume, c_in, c_out), result (n, c_result), all row-major and densely
// packed, any base address. table (volume, table_pitch) holds, for launch position p, the gathered row or -1; positions from n
// to table_pitch, a multiple of 256, hold -1. masks (n, MASK_WORDS) the offsets that position p has; row_of_position (n), or null, the result row of position p.
//
// A block owns ROWS positions x COLS result channels. It ORs its rows' masks, lists the offsets present, and walks the flat
// list of (offset, block of DEPTH gathered channels) with a ring of STAGES shared-memory stages filled by cp.async, so
// that the pipeline never drains between offsets. Row numbers travel through the same ring, STAGES-1 offsets ahead.
//
// Invariants
// * Exactly one commit group a step, empty ones included, so wait<STAGES-2> always means "this step's data is here".
// * An absent row is never loaded: the lane's ldmatrix address points at a line of zeros in its own bank group instead.
// * A warp skips a fragment of 16 rows in which no row has the offset.
// * Channels past c_gathered are filled with zeros in both operands (0 * stale NaN is NaN). Channels past c_result are
//   computed and never stored.
// * Every row of the result is written, with the epilogue of zeros where a row has no pair. Sums run in a fixed order: bitwise
//   repeatable.
//
// Architecture: sm_80 and later. Shared memory is dynamic; the host reads its size from voxtune_launch.
//
// Defines: VOXTUNE_DTYPE 0|1; DGRAD 0|1; ROWS, COLS, DEPTH, STAGES; WARP_ROWS, WARP_COLS; MASK_WORDS;
// VEC_A, VEC_B, VEC_Y: elements of one copy of the gathered rows, the weights and the result: 8, 4, 2, or 1 for
// elementwise copies. MIN_BLOCKS: blocks a multiprocessor that the register budget is cut for. SPLIT 1, or absent: whether blocks
// are cut into parts, see splits.cuh; the grid's y is the part.
#include "tile_gemm.cuh"

#ifdef SPLIT
#include "splits.cuh"
#else
#define SPLIT 0
#endif

using namespace voxtune;

constexpr int WARPS_M = ROWS / WARP_ROWS;
constexpr int WARPS_N = COLS / WARP_COLS;
constexpr int THREADS = WARPS_M * WARPS_N * 32;
constexpr int FRAGS_M = WARP_ROWS / 16;
constexpr int FRAGS_N = WARP_COLS / 8;
constexpr int GROUPS = ROWS / 16;
constexpr int STEPS = DEPTH / 16;
constexpr int INDEX_SLOTS = 2 * STAGES;

static_assert(ROWS % WARP_ROWS == 0 && COLS % WARP_COLS == 0 && WARP_ROWS % 16 == 0 && WARP_COLS % 16 == 0, "warp tile");
static_assert(DEPTH % 16 == 0 && STAGES >= 2 && ROWS % 32 == 0 && GROUPS <= 32, "block tile");

// A: a line a row, DEPTH channels. B forward: a line a gathered channel, COLS result channels. B dgrad: a line a result
// channel, DEPTH gathered channels (a row of w is contiguous in c_out in both).
using TileA = Tile<DEPTH / 8>;
constexpr int B_LINES = DGRAD ? COLS : DEPTH;
constexpr int B_LENGTH = DGRAD ? DEPTH : COLS;
using TileB = Tile<B_LENGTH / 8>;

constexpr int A_BYTES = TileA::bytes(ROWS);
constexpr int B_BYTES = TileB::bytes(B_LINES);
constexpr int STAGE_BYTES = A_BYTES + B_BYTES;
constexpr int Y_PITCH = COLS + 8;  // elements; 16 bytes of padding keep the staged result free of conflicts
constexpr int RING_BYTES = max_of(STAGES * STAGE_BYTES, ROWS * Y_PITCH * 2);
constexpr int ZERO_BYTES = 256;  // a padded line may start anywhere in the first half
constexpr int SHARED_BYTES = RING_BYTES + ZERO_BYTES + INDEX_SLOTS * ROWS * 4 + ROWS * MASK_WORDS * 4 + GROUPS * MASK_WORDS * 4 +
                             MASK_WORDS * 4 + 16 + 128;

// What the host needs to launch this instance: threads a block, dynamic shared memory in bytes.
extern "C" __constant__ int voxtune_launch[2] = {THREADS, SHARED_BYTES};

struct Shared {
    char* ring;
    char* zeros;
    int* index;        // (INDEX_SLOTS, ROWS)
    uint32_t* mask;    // (ROWS, MASK_WORDS)
    uint32_t* group;   // (GROUPS, MASK_WORDS)
    uint32_t* united;  // (MASK_WORDS)
    int* count;        // of offsets; of a part's, then where they begin in the list
    uint8_t* list;     // (MAX_VOLUME), padded to 128
};

__device__ __forceinline__ Shared carve(char* base) {
    Shared s;
    s.ring = base;
    s.zeros = base + RING_BYTES;
    s.index = reinterpret_cast<int*>(s.zeros + ZERO_BYTES);
    s.mask = reinterpret_cast<uint32_t*>(s.index + INDEX_SLOTS * ROWS);
    s.group = s.mask + ROWS * MASK_WORDS;
    s.united = s.group + GROUPS * MASK_WORDS;
    s.count = reinterpret_cast<int*>(s.united + MASK_WORDS);
    s.list = reinterpret_cast<uint8_t*>(s.count + 4);
    return s;
}

// Masks of the block's rows, of their groups of 16 and of the block; the list of offsets present.
__device__ __forceinline__ void gather_masks(const TileGemmParams& p, const Shared& s, int first) {
    const int lane = threadIdx.x % 32;
    for (int row = threadIdx.x; row < ROWS; row += THREADS) {
        const int position = first + row;
#pragma unroll
        for (int w = 0; w < MASK_WORDS; ++w) {
            const uint32_t bits = position < p.n ? __ldg(p.masks + int64_t(position) * MASK_WORDS + w) : 0;
            s.mask[row * MASK_WORDS + w] = bits;
            const uint32_t half = lane < 16 ? 0x0000ffffu : 0xffff0000u;
            const uint32_t any = __reduce_or_sync(half, bits);
            if (lane % 16 == 0) s.group[row / 16 * MASK_WORDS + w] = any;
        }
    }
    for (int i = threadIdx.x; i < ZERO_BYTES / 4; i += THREADS) reinterpret_cast<int*>(s.zeros)[i] = 0;
    __syncthreads();
    if (threadIdx.x < 32) {
#pragma unroll
        for (int w = 0; w < MASK_WORDS; ++w) {
            const uint32_t bits = lane < GROUPS ? s.group[lane * MASK_WORDS + w] : 0;
            const uint32_t any = __reduce_or_sync(0xffffffffu, bits);
            if (lane == 0) s.united[w] = any;
        }
        __syncwarp();
        const int count = list_offsets<MASK_WORDS>(s.united, s.list);
#if SPLIT
        int begin, end;
        range_of_part(count, blockIdx.y, gridDim.y, begin, end);
        if (lane == 0) s.count[0] = end - begin, s.count[1] = begin;
#else
        if (lane == 0) *s.count = count;
#endif
    }
    __syncthreads();
}

using PlanA = CopyPlan<TileA, ROWS, DEPTH, VEC_A, THREADS>;
using PlanB = CopyPlan<TileB, B_LINES, B_LENGTH, VEC_B, THREADS>;

// The copying side: its place in the flat list of (offset, block of channels), and the addresses that advance with it.
template <bool FAST_A, bool FAST_B>
struct Producer {
    const TileGemmParams& p;
    const Shared& s;
    const int column, c_gathered, count, blocks_k;
    PlanA plan_a;
    PlanB plan_b;
    const char* table;    // of this thread's row numbers, at offset 0
    const char* rows;     // of this thread's first channel, of gathered row 0, in this block of channels
    const char* weights;  // of this thread's first line, in this block of channels
    uint32_t index;       // of this thread's first row number, in this slot
    int left;             // channels of the gathered side from this thread's first along A
    int ordinal = 0, block = 0, slot = 0, stage = 0, offset = 0;

    __device__ __forceinline__ Producer(const TileGemmParams& p, const Shared& s, int first, int column, int count)
        : p(p), s(s), column(column), c_gathered(DGRAD ? p.c_out : p.c_in), count(count), blocks_k(ceil_div(c_gathered, DEPTH)) {
        table = reinterpret_cast<const char*>(p.table + first + threadIdx.x * 4);
        pin(table);
        start_offset();
    }

    // Row numbers of one offset, four a copy. The table is padded with -1 to whole blocks.
    __device__ __forceinline__ void copy_index(int ahead, int into) {
        static_assert(ROWS / 4 <= THREADS, "one copy a thread");
        if (threadIdx.x < ROWS / 4) {
            copy_async_l2(shared_address(s.index) + (into * ROWS + threadIdx.x * 4) * 4, table + uint64_t(s.list[ahead]) * uint32_t(p.table_pitch) * 4, true);
        }
    }

    __device__ __forceinline__ void start_offset() {
        if (ordinal >= count) return;
        const int present = s.list[ordinal];
        offset = p.mirror ? p.volume - 1 - present : present;
        rows = reinterpret_cast<const char*>(p.gathered + plan_a.element);
        const int in = DGRAD ? column + plan_b.line : plan_b.line, out = DGRAD ? plan_b.element : column + plan_b.element;
        weights = reinterpret_cast<const char*>(p.weights + (int64_t(offset) * p.c_in + in) * p.c_out + out);
        index = shared_address(s.index) + (slot * ROWS + plan_a.line) * 4;
        left = c_gathered - plan_a.element;
    }

    __device__ __forceinline__ void advance() {
        rows += DEPTH * 2;
        weights += DGRAD ? DEPTH * 2 : int64_t(DEPTH) * p.c_out * 2;
        left -= DEPTH;
        if (++block == blocks_k) {
            block = 0;
            ++ordinal;
            if (++slot == INDEX_SLOTS) slot = 0;
            start_offset();
        }
        if (++stage == STAGES) stage = 0;
    }

    // Copies what the next step needs.
    __device__ __forceinline__ void step() {
        if (block == 0 && ordinal + STAGES - 1 < count) {
            const int ahead = slot + STAGES - 1;
            copy_index(ordinal + STAGES - 1, ahead < INDEX_SLOTS ? ahead : ahead - INDEX_SLOTS);
        }
        copy_rows();
        copy_weights();
        advance();
    }

    // The present rows' channels of this block.
    __device__ __forceinline__ void copy_rows() {
        char* tile = s.ring + stage * STAGE_BYTES;
        if constexpr (FAST_A) {
            const uint32_t target = shared_address(tile);
            const uint32_t row_bytes = c_gathered * 2;
            plan_a.each([&](int line, int element, uint32_t place) {
                int row;
                asm volatile("ld.shared.s32 %0, [%1];" : "=r"(row) : "r"(index + line * 4));
                copy_async_row<VEC_A * 2>(target + place, rows + uint64_t(uint32_t(row)) * row_bytes + element * 2, row, element < left);
            });
        } else {
            const int* numbers = s.index + slot * ROWS;
#pragma unroll 1
            for (int i = threadIdx.x; i < ROWS * (DEPTH / 8); i += THREADS) {
                const int line = i / (DEPTH / 8), chunk = i % (DEPTH / 8);
                const int c = block * DEPTH + chunk * 8, row = numbers[line];
                if (row >= 0) copy_elements(tile + TileA::at(line, chunk), p.gathered + int64_t(row) * c_gathered + c, c_gathered - c);
            }
        }
    }

    // The weights of this block: channels of the gathered side by COLS channels of the result.
    __device__ __forceinline__ void copy_weights() {
        char* tile = s.ring + stage * STAGE_BYTES + A_BYTES;
        const int first_in = DGRAD ? column : block * DEPTH;   // line
        const int first_out = DGRAD ? block * DEPTH : column;  // along the line
        if constexpr (FAST_B) {
            const uint32_t target = shared_address(tile);
            const int line_bytes = p.c_out * 2;
            const int lines_left = p.c_in - first_in - plan_b.line, elements_left = p.c_out - first_out - plan_b.element;
            plan_b.each([&](int line, int element, uint32_t place) {
                const bool valid = line < lines_left && element < elements_left;
                const char* source = weights + int64_t(line) * line_bytes + element * 2;
                if (VEC_B == 8) copy_async_l2(target + place, source, valid);
                else copy_async<VEC_B * 2>(target + place, source, valid);
            });
        } else {
            const Element* base = p.weights + int64_t(offset) * p.c_in * p.c_out;
#pragma unroll 1
            for (int i = threadIdx.x; i < B_LINES * (B_LENGTH / 8); i += THREADS) {
                const int line = i / (B_LENGTH / 8), chunk = i % (B_LENGTH / 8);
                const int in = first_in + line, out = first_out + chunk * 8;
                const int elements = in < p.c_in ? p.c_out - out : 0;
                copy_elements(tile + TileB::at(line, chunk), base + (elements > 0 ? int64_t(in) * p.c_out + out : 0), elements);
            }
        }
    }
};

// Where a lane's ldmatrix reads in a stage: the first fragment's place; others lie a fixed step or a fixed exclusive-or away, because
// a swizzle repeats every eight lines and fragments start at multiples of sixteen.
struct LanePlaces {
    uint32_t a, b;
    __device__ __forceinline__ LanePlaces(int warp_m, int warp_n) {
        const int lane = threadIdx.x % 32;
        a = TileA::at(warp_m * WARP_ROWS + lane % 16, lane / 16);
        if (DGRAD) b = A_BYTES + TileB::at(warp_n * WARP_COLS + lane % 8 + lane / 16 * 8, lane / 8 % 2);
        else b = A_BYTES + TileB::at(lane % 16, warp_n * (WARP_COLS / 8) + lane / 16);
        pin(a);
        pin(b);
    }
};

// One stage's products into the accumulators of this warp.
__device__ __forceinline__ void multiply(float (&acc)[FRAGS_M][FRAGS_N][4], const Shared& s, uint32_t stage, int offset, int warp_m,
                                         const LanePlaces& places, const uint32_t (&row_bits)[FRAGS_M],
                                         const uint32_t (&group_bits)[FRAGS_M]) {
    const int lane = threadIdx.x % 32;
    const uint32_t zeros = shared_address(s.zeros);
    uint32_t a_base[FRAGS_M];
    bool active[FRAGS_M];
    bool any = false;
#pragma unroll
    for (int m = 0; m < FRAGS_M; ++m) {
        bool present;
        if (MASK_WORDS == 1) {
            present = row_bits[m] >> offset & 1;
            active[m] = group_bits[m] >> offset & 1;
        } else {
            const int row = warp_m * WARP_ROWS + m * 16 + lane % 16;
            present = s.mask[row * MASK_WORDS + offset / 32] >> (offset % 32) & 1;
            active[m] = s.group[row / 16 * MASK_WORDS + offset / 32] >> (offset % 32) & 1;
        }
        const uint32_t place = stage + places.a + m * 16 * TileA::PITCH * 16;
        a_base[m] = present ? place : zeros + (place & 0x70);
        any |= active[m];
    }
    if (!any) return;
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
        uint32_t b[FRAGS_N / 2][4];
#pragma unroll
        for (int n = 0; n < FRAGS_N / 2; ++n) {
            if (DGRAD) ldmatrix(b[n], along<TileB>(stage + places.b, step) + n * 16 * TileB::PITCH * 16);
            else ldmatrix_trans(b[n], along<TileB>(stage + places.b, n) + step * 16 * TileB::PITCH * 16);
        }
        // All loads first, those of skipped fragments included (they read zeros): one wait instead of one a fragment.
        uint32_t a[FRAGS_M][4];
#pragma unroll
        for (int m = 0; m < FRAGS_M; ++m) ldmatrix(a[m], along<TileA>(a_base[m], step));
#pragma unroll
        for (int m = 0; m < FRAGS_M; ++m) {
            if (!active[m]) continue;
#pragma unroll
            for (int n = 0; n < FRAGS_N; ++n) mma(acc[m][n], a[m], b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
        }
    }
}

// Accumulators through shared memory to the result rows, in 16-byte stores where channels and base allow.
__device__ __forceinline__ void store(const TileGemmParams& p, float (&acc)[FRAGS_M][FRAGS_N][4], char* ring, int first,
                                      int column, int c_result, int warp_m, int warp_n) {
    const int lane = threadIdx.x % 32;
    Element* staged = reinterpret_cast<Element*>(ring);
#pragma unroll
    for (int m = 0; m < FRAGS_M; ++m) {
#pragma unroll
        for (int n = 0; n < FRAGS_N; ++n) {
            const int row = warp_m * WARP_ROWS + m * 16 + lane / 4;
            const int col = warp_n * WARP_COLS + n * 8 + lane % 4 * 2;
            *reinterpret_cast<uint32_t*>(staged + row * Y_PITCH + col) = pack(acc[m][n][0], acc[m][n][1]);
            *reinterpret_cast<uint32_t*>(staged + (row + 8) * Y_PITCH + col) = pack(acc[m][n][2], acc[m][n][3]);
        }
    }
    __syncthreads();
    constexpr int PER_ROW = COLS / VEC_Y;
#pragma unroll 2
    for (int i = threadIdx.x; i < ROWS * PER_ROW; i += THREADS) {
        const int row = i / PER_ROW, col = i % PER_ROW * VEC_Y;
        const int position = first + row;
        if (position >= p.n || column + col >= c_result) continue;
        const int target_row = p.row_of_position ? __ldg(p.row_of_position + position) : position;
        Element* target = p.result + int64_t(target_row) * c_result + column + col;
        const Element* source = staged + row * Y_PITCH + col;
        if (VEC_Y == 8 && p.result_aligned) {
            *reinterpret_cast<uint4*>(target) = *reinterpret_cast<const uint4*>(source);
        } else if (VEC_Y == 4 && p.result_aligned) {
            *reinterpret_cast<uint2*>(target) = *reinterpret_cast<const uint2*>(source);
        } else if (VEC_Y == 2 && p.result_aligned) {
            *reinterpret_cast<uint32_t*>(target) = *reinterpret_cast<const uint32_t*>(source);
        } else {
#pragma unroll
            for (int e = 0; e < VEC_Y; ++e) target[e] = source[e];
        }
    }
}

#if SPLIT
// Accumulators as they are to where reduce_splits adds them up.
__device__ __forceinline__ void store_partial(const TileGemmParams& p, const float (&acc)[FRAGS_M][FRAGS_N][4], float* partial, int first,
                                              int column, int c_result, int warp_m, int warp_n) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int m = 0; m < FRAGS_M; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int position = first + warp_m * WARP_ROWS + m * 16 + lane / 4 + half * 8;
            if (position >= p.n) continue;
            float* line = partial + int64_t(position) * c_result;
#pragma unroll
            for (int n = 0; n < FRAGS_N; ++n) {
                const int col = column + warp_n * WARP_COLS + n * 8 + lane % 4 * 2;
                const float low = acc[m][n][half * 2], high = acc[m][n][half * 2 + 1];
                if (VEC_Y > 1) {
                    if (col < c_result) *reinterpret_cast<float2*>(line + col) = make_float2(low, high);
                } else {
                    if (col < c_result) line[col] = low;
                    if (col + 1 < c_result) line[col + 1] = high;
                }
            }
        }
    }
}
#else
// The same with an epilogue, half of each warp's columns at a time: sums stay float32 until everything is added. One copy of the code
// serves both halves, so that instances stay small; it costs two barriers and stores of eight bytes instead of sixteen.
__device__ __forceinline__ void finish(const TileGemmParams& p, const float (&acc)[FRAGS_M][FRAGS_N][4], char* ring, int first,
                                       int column, int warp_m, int warp_n) {
    constexpr int VEC = VEC_Y < 4 ? VEC_Y : 4;
    constexpr int HALF_COLS = COLS / 2, HALF_WARP = WARP_COLS / 2;
    constexpr int SUM_PITCH = HALF_COLS + 4;  // floats; half the columns in float32 take no more than all of them in 16 bits
    static_assert(ROWS * SUM_PITCH * 4 <= RING_BYTES, "the ring holds the sums");
    const int lane = threadIdx.x % 32;
    float* staged = reinterpret_cast<float*>(ring);
    const auto row_of = [&](int line) {
        const int position = first + line;
        return position >= p.n ? -1 : p.row_of_position ? __ldg(p.row_of_position + position) : position;
    };
#pragma unroll 1
    for (int half = 0; half < 2; ++half) {
        if (half > 0) __syncthreads();  // everyone has read the first half
#pragma unroll
        for (int n = 0; n < FRAGS_N; ++n) {
            if (n / (FRAGS_N / 2) != half) continue;
#pragma unroll
            for (int m = 0; m < FRAGS_M; ++m) {
                const int row = warp_m * WARP_ROWS + m * 16 + lane / 4;
                const int col = warp_n * HALF_WARP + n % (FRAGS_N / 2) * 8 + lane % 4 * 2;
                *reinterpret_cast<float2*>(staged + row * SUM_PITCH + col) = make_float2(acc[m][n][0], acc[m][n][1]);
                *reinterpret_cast<float2*>(staged + (row + 8) * SUM_PITCH + col) = make_float2(acc[m][n][2], acc[m][n][3]);
            }
        }
        __syncthreads();
        const auto channel_of = [&](int col) { return column + col / HALF_WARP * WARP_COLS + half * HALF_WARP + col % HALF_WARP; };
        if (VEC > 1 && p.result_aligned && p.epilogue.is_aligned<VEC>()) {
            store_finished<VEC, 4, ROWS, HALF_COLS, SUM_PITCH, THREADS>(p.epilogue, staged, threadIdx.x, p.result, p.c_out, channel_of, row_of);
        } else {
            store_finished<1, 1, ROWS, HALF_COLS, SUM_PITCH, THREADS>(p.epilogue, staged, threadIdx.x, p.result, p.c_out, channel_of, row_of);
        }
    }
}
#endif

// The walk over the flat list.
template <bool FAST_A, bool FAST_B>
__device__ __forceinline__ void walk(float (&acc)[FRAGS_M][FRAGS_N][4], const TileGemmParams& p, const Shared& s, int first, int column,
                                     int warp_m, int warp_n) {
    const int lane = threadIdx.x % 32;
    const int count = *s.count;
    Producer<FAST_A, FAST_B> producer(p, s, first, column, count);
    const int total = count * producer.blocks_k;

    // Row numbers of the first STAGES - 1 offsets; later ones come through the ring.
    for (int ordinal = 0; ordinal < STAGES - 1 && ordinal < count; ++ordinal) producer.copy_index(ordinal, ordinal);
    commit_copies();
    wait_copies<0>();
    __syncthreads();

    uint32_t row_bits[FRAGS_M], group_bits[FRAGS_M];
#pragma unroll
    for (int m = 0; m < FRAGS_M; ++m) {
        const int row = warp_m * WARP_ROWS + m * 16 + lane % 16;
        row_bits[m] = s.mask[row * MASK_WORDS];
        group_bits[m] = s.group[row / 16 * MASK_WORDS];
    }
    LanePlaces places(warp_m, warp_n);
    int ordinal = 0, block = 0, stage = 0;
    int offset = count > 0 ? s.list[0] : 0;
    for (int step = 1 - STAGES; step < total; ++step) {
        if (step >= 0) {
            wait_copies<STAGES - 2>();
            __syncthreads();  // everyone's copies of this step have landed; everyone is done with the stage refilled next
        }
        if (step + STAGES - 1 < total) producer.step();
        commit_copies();
        if (step >= 0) {
            multiply(acc, s, shared_address(s.ring) + stage * STAGE_BYTES, offset, warp_m, places, row_bits, group_bits);
            if (++block == producer.blocks_k) {
                block = 0;
                ++ordinal;
                if (ordinal < count) offset = s.list[ordinal];
            }
            if (++stage == STAGES) stage = 0;
        }
    }
    wait_copies<0>();
    __syncthreads();
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) mask_gemm(const __grid_constant__ TileGemmParams p
#if SPLIT
                                                                              ,
                                                                              const __grid_constant__ SplitParams split
#endif
) {
    extern __shared__ __align__(128) char shared_base[];
    Shared s = carve(shared_base);
    const int c_result = DGRAD ? p.c_in : p.c_out;
    // Blocks of the same rows are neighbours, so that their gathers meet in L2. The last rows start first: an order by masks puts
    // the rows with most offsets last, and long blocks at the end would leave multiprocessors idle.
    const int col_tiles = ceil_div(c_result, COLS);
    const int first = (gridDim.x - 1 - blockIdx.x) / col_tiles * ROWS;
    const int column = blockIdx.x % col_tiles * COLS;
    const int warp = threadIdx.x / 32;
    const int warp_m = warp / WARPS_N, warp_n = warp % WARPS_N;

    gather_masks(p, s, first);
#if SPLIT
    s.list += s.count[1];
#endif
    float acc[FRAGS_M][FRAGS_N][4] = {};
    if (p.copies_aligned) walk<(VEC_A > 1), (VEC_B > 1)>(acc, p, s, first, column, warp_m, warp_n);
    else walk<false, false>(acc, p, s, first, column, warp_m, warp_n);
#if SPLIT
    store_partial(p, acc, split.partial + int64_t(blockIdx.y) * p.n * c_result, first, column, c_result, warp_m, warp_n);
#else
    if (!DGRAD && p.epilogue.present) finish(p, acc, s.ring, first, column, warp_m, warp_n);
    else store(p, acc, s.ring, first, column, c_result, warp_m, warp_n);
#endif
}
