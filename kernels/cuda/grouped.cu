// grouped: products whose channels are in groups that do not meet, depthwise layers among them;
// forward, dgrad and wgrad.
//
//   forward  y[o][c]  = sum over k, d of  x[map[k][o]][own(c) + d] * w[k][d][c]
//   dgrad    dx[i][c] = sum over k, d of  g[map[k][i]][own(c) + d] * w[k'][c % inputs][own(c) + d]
//   wgrad    dw[k][d][c] = sum over pairs (i, o) of offset k of  x[i][own(c) + d] * g[o][c]
//
// where own(c) is the first channel that the group of result channel c reads, d counts those
// channels, and k' = k, or volume-1-k where the map is the forward map of a submanifold convolution
// read backwards (`mirror`).
//
// Layouts: gathered (rows, c_gathered), weights (volume, c_in / groups, c_out), result (n,
// c_result), all row-major, any base address; rows of gathered and result lie a pitch apart,
// weights are dense. table (volume, table_pitch) holds, for position p, the gathered row or -1;
// masks say where. wgrad: pairs, units and partial results as in pair_units.cuh, a partial result
// (c_in / groups, c_out).
//
// Forward and dgrad: a block owns ROWS positions and COLS result channels, LANES threads a row,
// PIECES of WIDTH channels each. It lists each row's pairs in shared memory, out of the table
// entries that the masks name, and takes the rows by their number of pairs, so that the rows of a
// warp end together. A thread has several gathered rows in flight. A depthwise layer's weights lie
// in shared memory, as do others that are few. Nothing is reused but through L1: neighbouring rows
// gather the same ones, so blocks of many rows in the natural order read L2 least.
//
// wgrad: LANES threads a pair; a block adds up the pairs of a unit, and its threads' sums in a
// fixed order.
//
// Invariants
// * An absent row is never loaded, and adds nothing.
// * Every row of the result is written, with the epilogue of zeros where a row has no pair.
// * Each sum runs in a fixed order, whichever thread has it: bitwise repeatable.
//
// expected: spills on sm_100 sm_120 where VOXTUNE_DTYPE=2 DIRECTION=1 DEPTHWISE=1 COLS=64 OWNED=4 BLOCK_THREADS=128 VEC_A=4 VEC_Y=4 RUN=1 CHUNK=1 GATHERED=1 HELD=1 PIECES=1 ROWS=64 MASK_WORDS=1 IN_FLIGHT=4 MIN_BLOCKS=8: 64 registers by MIN_BLOCKS, 12 bytes at most
// Architecture: sm_80 and later; plain float32 units. Shared memory is dynamic; the host reads its
// size from voxtune_launch.
//
// Defines: VOXTUNE_DTYPE 0|1|2; DIRECTION 0 forward, 1 dgrad, 2 wgrad; DEPTHWISE 0|1; ROWS (of
// positions; half of BLOCK_THREADS or less; not in wgrad), COLS; OWNED: channels of a piece;
// PIECES: pieces a thread (1 unless DEPTHWISE); BLOCK_THREADS; MASK_WORDS (not in wgrad). VEC_A,
// VEC_Y: elements of one copy of depthwise gathered rows and of the result (g in wgrad); RUN:
// channels of a thread that are certainly of one group; CHUNK: gathered channels of a group that
// are one copy; GATHERED: all of a group, or 0 where they are counted at run time; HELD: whether
// weights lie in shared memory; IN_FLIGHT: gathered rows in flight a thread; MIN_BLOCKS: blocks per
// SM.
#include "tile_gemm.cuh"
#if DIRECTION == 2
#include "pair_units.cuh"
#endif

using namespace voxtune;

// Channels of a group: those that are summed over and those of the result; inputs and outputs in
// wgrad. Mirrored by the host.
struct GroupParams {
    int gathered;
    int result;
};

constexpr int WIDTH = OWNED, THREADS = BLOCK_THREADS;
constexpr int STRIDE = COLS / PIECES;     // channels from a thread's piece to its next
constexpr int LANES = STRIDE / WIDTH;     // threads a row
constexpr int AT_ONCE = THREADS / LANES;  // rows in work
[[maybe_unused]] constexpr int SUBS = WIDTH / RUN;  // parts of a thread's channels that are of one group each
static_assert(STRIDE % WIDTH == 0 && THREADS % LANES == 0 && (DEPTHWISE || PIECES == 1) && WIDTH % RUN == 0 && WIDTH * sizeof(Element) >= 4, "shape");

// COUNT elements of a storage type, packed.
template <int COUNT>
struct Packed {
    static constexpr int WORDS = ceil_div(COUNT * sizeof(Element), 4);
    uint32_t words[WORDS];

    __device__ __forceinline__ float at(int e) const {
        if constexpr (sizeof(Element) == 4) {
            return __uint_as_float(words[e]);
        } else {
            const unsigned short bits = static_cast<unsigned short>(words[e / 2] >> e % 2 * 16);
            return Dtype::load(*reinterpret_cast<const Element*>(&bits));
        }
    }
};

// Words of one copy from an address that is aligned to it; anything where not `valid`, without a
// read: a predicate, where the assembler agrees, and no branch.
template <int BYTES>
__device__ __forceinline__ void copy(uint32_t* words, const void* source, bool valid) {
    const int present = valid;
    if constexpr (BYTES == 16) {
        asm("{\n.reg .pred present;\nsetp.ne.s32 present, %5, 0;\n@present ld.global.nc.v4.u32 {%0,%1,%2,%3}, [%4];\n}\n"
            : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
            : "l"(source), "r"(present));
    } else if constexpr (BYTES == 8) {
        asm("{\n.reg .pred present;\nsetp.ne.s32 present, %3, 0;\n@present ld.global.nc.v2.u32 {%0,%1}, [%2];\n}\n"
            : "=r"(words[0]), "=r"(words[1])
            : "l"(source), "r"(present));
    } else if constexpr (BYTES == 4) {
        asm("{\n.reg .pred present;\nsetp.ne.s32 present, %2, 0;\n@present ld.global.nc.u32 %0, [%1];\n}\n"
            : "=r"(words[0])
            : "l"(source), "r"(present));
    } else {
        words[0] = valid ? __ldg(static_cast<const unsigned short*>(source)) : 0;
    }
}

// The same that is certainly valid.
template <int BYTES>
__device__ __forceinline__ void copy(uint32_t* words, const void* source) {
    if constexpr (BYTES == 16) {
        const uint4 four = __ldg(static_cast<const uint4*>(source));
        words[0] = four.x, words[1] = four.y, words[2] = four.z, words[3] = four.w;
    } else if constexpr (BYTES == 8) {
        const uint2 two = __ldg(static_cast<const uint2*>(source));
        words[0] = two.x, words[1] = two.y;
    } else if constexpr (BYTES == 4) {
        words[0] = __ldg(static_cast<const uint32_t*>(source));
    } else {
        words[0] = __ldg(static_cast<const unsigned short*>(source));
    }
}

// COUNT elements by copies of VEC: those below `inside`, a multiple of VEC unless COUNT is one
// copy; anything in the others. SURE: `inside` is more than none.
template <int COUNT, int VEC, bool SURE>
__device__ __forceinline__ Packed<COUNT> load(const Element* source, int inside) {
    constexpr int BYTES = VEC * sizeof(Element);
    Packed<COUNT> packed;
#pragma unroll
    for (int e = 0; e < COUNT; e += VEC) {
        if constexpr (BYTES >= 4) {
            uint32_t* words = packed.words + e * sizeof(Element) / 4;
            if (SURE && e == 0) copy<BYTES>(words, source);
            else copy<BYTES>(words, source + e, e < inside);
        } else {
            uint32_t half;
            copy<BYTES>(&half, source + e, e < inside);
            if (e % 2 == 0) packed.words[e / 2] = half;
            else packed.words[e / 2] |= half << 16;
        }
    }
    return packed;
}

// What a thread has of a row, by its widest copies.
template <bool ALIGNED, int COUNT, int VEC, bool SURE = false>
__device__ __forceinline__ Packed<COUNT> load_part(const Element* source, int inside) {
    return load<COUNT, ALIGNED ? VEC : 1, SURE>(source, inside);
}

// A condition that is known when a template is made.
template <bool VALUE>
struct Always {
    __device__ __forceinline__ constexpr operator bool() const { return VALUE; }
};

__device__ __forceinline__ const Element* row_of(const Element* rows, int row, int pitch) {
    return rows + uint64_t(uint32_t(row)) * uint32_t(pitch);
}

#if DIRECTION != 2

constexpr int OFFSETS = 32 * MASK_WORDS;  // room for so many
constexpr int PAIR_BYTES = ROWS * OFFSETS * 5;
constexpr int BINS = 128;  // rows by their number of pairs, at most MAX_VOLUME
constexpr int PER_OFFSET = DEPTHWISE ? 1 : GATHERED;
constexpr int WEIGHT_BYTES = HELD ? OFFSETS * PER_OFFSET * COLS * int(sizeof(Element)) : 0;
constexpr int SHARED_BYTES = WEIGHT_BYTES + BINS * 4 + PAIR_BYTES + ROWS * 4;
// Gathered rows in flight a thread, as registers allow: few where a row is many copies.
template <bool ALIGNED>
constexpr int BATCH = !ALIGNED ? 2 : IN_FLIGHT;
constexpr int PARTS = THREADS / ROWS;  // threads that list a row's pairs
static_assert(PARTS >= 2 && PARTS <= 32 && THREADS % ROWS == 0 && ROWS % 32 == 0, "threads for the rows");
static_assert(!HELD || PER_OFFSET > 0, "weights of unknown number");

extern "C" __constant__ int voxtune_launch[2] = {THREADS, SHARED_BYTES};

struct Shared {
    Element* weights;  // (OFFSETS, PER_OFFSET, COLS), the offsets as the table has them
    int* bins;         // (BINS)
    int* sources;      // (OFFSETS, ROWS): the gathered row of a row's n-th pair
    uint16_t* order;   // (ROWS): rows by their number of pairs
    uint16_t* pairs;   // (ROWS): their numbers
    uint8_t* offsets;  // (OFFSETS, ROWS): the offset of a row's n-th pair

    __device__ __forceinline__ explicit Shared(char* base) {
        weights = reinterpret_cast<Element*>(base);
        bins = reinterpret_cast<int*>(base + WEIGHT_BYTES);
        sources = bins + BINS;
        order = reinterpret_cast<uint16_t*>(sources + OFFSETS * ROWS);
        pairs = order + ROWS;
        offsets = reinterpret_cast<uint8_t*>(pairs + ROWS);
    }
};

// The weight of offset k of the table, gathered channel d of a group, result channel c.
__device__ __forceinline__ const Element* weight(const TileGemmParams& p, const GroupParams& group, int k, int d, int c) {
    const int offset = p.mirror ? p.volume - 1 - k : k;
    if constexpr (DIRECTION == 0) {
        return p.weights + (int64_t(offset) * group.gathered + d) * p.c_out + c;
    } else {
        const int own = c / group.result * group.gathered;
        return p.weights + (int64_t(offset) * group.result + c % group.result) * p.c_out + own + d;
    }
}

template <bool ALIGNED>
__device__ __forceinline__ void bring_weights(const TileGemmParams& p, const GroupParams& group, const Shared& shared, int column) {
    const int c_result = DIRECTION == 1 ? p.c_in : p.c_out;
    if constexpr (DEPTHWISE) {
        constexpr int VECTORS = COLS / WIDTH;
        for (int i = threadIdx.x; i < p.volume * VECTORS; i += THREADS) {
            const int k = i / VECTORS, c = i % VECTORS * WIDTH;
            const int offset = p.mirror ? p.volume - 1 - k : k;
            const Element* source = p.weights + int64_t(offset) * c_result + column + c;
            const auto packed = load_part<ALIGNED, WIDTH, VEC_A>(source, c_result - column - c);
            uint32_t* target = reinterpret_cast<uint32_t*>(shared.weights + k * COLS + c);
#pragma unroll
            for (int w = 0; w < Packed<WIDTH>::WORDS; ++w) target[w] = packed.words[w];
        }
    } else {
        for (int i = threadIdx.x; i < p.volume * PER_OFFSET * COLS; i += THREADS) {
            const int c = i % COLS, d = i / COLS % max_of(PER_OFFSET, 1), k = i / (COLS * max_of(PER_OFFSET, 1));
            if (column + c < c_result) shared.weights[i] = *weight(p, group, k, d, column + c);
        }
    }
}

// Lists the pairs of a block's rows, and orders the rows.
__device__ __forceinline__ void list_pairs(const TileGemmParams& p, const Shared& shared, int first, int n) {
    const int row = threadIdx.x % ROWS, part = threadIdx.x / ROWS;
    const bool inside = first + row < n;
    uint32_t mask[MASK_WORDS];
    int pairs = 0, rank = 0;
#pragma unroll
    for (int w = 0; w < MASK_WORDS; ++w) {
        mask[w] = inside ? __ldg(p.masks + int64_t(first + row) * MASK_WORDS + w) : 0;
        pairs += __popc(mask[w]);
    }
    if (threadIdx.x < BINS / 4) reinterpret_cast<int4*>(shared.bins)[threadIdx.x] = int4{};
    __syncthreads();
    if (part == 0) {
        shared.pairs[row] = static_cast<uint16_t>(pairs);
        rank = atomicAdd(shared.bins + pairs, 1);
    }
    // All entries of a batch are asked for before the first is needed, the first offset's in place
    // of those that there are not: a branch around each load would wait for each.
    constexpr int EACH = 32 / PARTS;                        // offsets of a word that a thread looks at
    constexpr int ENTRIES = MASK_WORDS == 1 ? EACH : EACH / 2;  // as registers allow
    const int* table = p.table + first + row;
    int before = 0;
#pragma unroll
    for (int w = 0; w < MASK_WORDS; ++w) {
        const int* entry = table + (w * 32 + part * EACH) * p.table_pitch;
        uint32_t bits = mask[w] >> part * EACH;
        int at = (before + __popc(mask[w] & ((1u << part * EACH) - 1))) * ROWS + row;
#pragma unroll 1
        for (int batch = 0; batch < EACH; batch += ENTRIES, bits >>= ENTRIES) {
            int source[ENTRIES];
#pragma unroll
            for (int i = 0; i < ENTRIES; ++i) {
                source[i] = __ldg(bits >> i & 1 ? entry : table);
                entry += p.table_pitch;
            }
#pragma unroll
            for (int i = 0; i < ENTRIES; ++i) {
                if (!(bits >> i & 1)) continue;
                shared.sources[at] = source[i];
                shared.offsets[at] = static_cast<uint8_t>(w * 32 + part * EACH + batch + i);
                at += ROWS;
            }
        }
        before += __popc(mask[w]);
    }
    __syncthreads();
    if (threadIdx.x < BINS / 4) {
        // The first place of each number of pairs.
        const int4 own = reinterpret_cast<int4*>(shared.bins)[threadIdx.x];
        const int all = own.x + own.y + own.z + own.w;
        int end = all;
#pragma unroll
        for (int step = 1; step < 32; step *= 2) {
            const int up = __shfl_up_sync(0xffffffffu, end, step);
            if (threadIdx.x >= step) end += up;
        }
        const int begin = end - all;
        reinterpret_cast<int4*>(shared.bins)[threadIdx.x] = int4{begin, begin + own.x, begin + own.x + own.y, end - own.w};
    }
    __syncthreads();
    if (part == 0) shared.order[shared.bins[pairs] + rank] = static_cast<uint16_t>(row);
    __syncthreads();
}

// A row's sums of a thread's channels, whose first piece begins at `channel`.
template <bool ALIGNED>
__device__ __forceinline__ void sum_depthwise(const TileGemmParams& p, const Shared& shared, float (&sums)[PIECES][WIDTH], int row, int lane,
                                              int channel) {
    constexpr int COUNT = BATCH<ALIGNED>, WORDS = Packed<WIDTH>::WORDS;
    const Element* gathered = p.gathered + channel;
    const Element* weights = shared.weights + lane * WIDTH;
    const int inside = p.c_out - channel;
    int left = shared.pairs[row], at = row;
    // Whole batches without a question, then what is left.
    auto add = [&](auto whole) {
        Packed<WIDTH> x[COUNT][PIECES];
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            if (whole || i < left) {
                const Element* source = row_of(gathered, shared.sources[at + i * ROWS], p.gathered_pitch);
                x[i][0] = load_part<ALIGNED, WIDTH, VEC_A, true>(source, inside);
#pragma unroll
                for (int s = 1; s < PIECES; ++s) x[i][s] = load_part<ALIGNED, WIDTH, VEC_A>(source + s * STRIDE, inside - s * STRIDE);
            }
        }
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            if (!whole && i >= left) break;
            struct alignas(WORDS * 4) Line {
                Packed<WIDTH> packed;
            };
            const Element* own = weights + shared.offsets[at + i * ROWS] * COLS;
#pragma unroll
            for (int s = 0; s < PIECES; ++s) {
                const Line of = *reinterpret_cast<const Line*>(own + s * STRIDE);
#pragma unroll
                for (int e = 0; e < WIDTH; ++e) sums[s][e] = fmaf(x[i][s].at(e), of.packed.at(e), sums[s][e]);
            }
        }
    };
    for (; left >= COUNT; left -= COUNT, at += COUNT * ROWS) add(Always<true>{});
    if (left > 0) add(Always<false>{});
}

// The weights of an offset between CHUNK gathered channels from d on and RUN result channels from c
// on, which are of one group.
template <bool ALIGNED>
__device__ __forceinline__ void load_weights(const TileGemmParams& p, const GroupParams& group, const Shared& shared, int k, int d,
                                             int column, int c, float (&of)[CHUNK][RUN]) {
    if constexpr (HELD) {
        const Element* source = shared.weights + (k * PER_OFFSET + d) * COLS + c - column;
#pragma unroll
        for (int i = 0; i < CHUNK; ++i) {
#pragma unroll
            for (int j = 0; j < RUN; ++j) of[i][j] = Dtype::load(source[i * COLS + j]);
        }
    } else if constexpr (DIRECTION == 0) {
#pragma unroll
        for (int i = 0; i < CHUNK; ++i) {
            const auto line = load_part<ALIGNED, RUN, RUN>(weight(p, group, k, d + i, c), RUN);
#pragma unroll
            for (int j = 0; j < RUN; ++j) of[i][j] = line.at(j);
        }
    } else {
#pragma unroll
        for (int j = 0; j < RUN; ++j) {
            const auto line = load_part<ALIGNED, CHUNK, CHUNK>(weight(p, group, k, d, c + j), CHUNK);
#pragma unroll
            for (int i = 0; i < CHUNK; ++i) of[i][j] = line.at(i);
        }
    }
}

template <bool ALIGNED>
__device__ __forceinline__ void sum_groups(const TileGemmParams& p, const GroupParams& group, const Shared& shared, float (&sums)[WIDTH],
                                           int row, int column, int channel) {
    const int c_result = DIRECTION == 1 ? p.c_in : p.c_out, gathered = GATHERED ? GATHERED : group.gathered;
    constexpr int COUNT = BATCH<ALIGNED>;
    int own[SUBS];
#pragma unroll
    for (int s = 0; s < SUBS; ++s) own[s] = (channel + s * RUN) / group.result * gathered;
    for (int left = shared.pairs[row], at = row; left > 0; left -= COUNT, at += COUNT * ROWS) {
        // The pairs at hand are summed by themselves where they may be long sums: one running sum
        // of all would lose a float32 result's last digits.
        float own_sums[WIDTH] = {};
        const Element* source[COUNT];
#pragma unroll
        for (int i = 0; i < COUNT; ++i) source[i] = row_of(p.gathered, i < left ? shared.sources[at + i * ROWS] : 0, p.gathered_pitch);
#pragma unroll 1
        for (int d = 0; d < gathered; d += CHUNK) {
            Packed<CHUNK> x[COUNT][SUBS];
#pragma unroll
            for (int i = 0; i < COUNT; ++i) {
#pragma unroll
                for (int s = 0; s < SUBS; ++s) {
                    const bool present = i < left && channel + s * RUN < c_result;
                    x[i][s] = load_part<ALIGNED, CHUNK, CHUNK>(source[i] + own[s] + d, present ? CHUNK : 0);
                }
            }
#pragma unroll
            for (int i = 0; i < COUNT; ++i) {
                if (i >= left) break;
                const int k = shared.offsets[at + i * ROWS];
#pragma unroll
                for (int s = 0; s < SUBS; ++s) {
                    const int c = channel + s * RUN;
                    if (c >= c_result) break;
                    float of[CHUNK][RUN];
                    load_weights<ALIGNED>(p, group, shared, k, d, column, c, of);
#pragma unroll
                    for (int e = 0; e < CHUNK; ++e) {
#pragma unroll
                        for (int j = 0; j < RUN; ++j) {
                            float& sum = GATHERED ? sums[s * RUN + j] : own_sums[s * RUN + j];
                            sum = fmaf(x[i][s].at(e), of[e][j], sum);
                        }
                    }
                }
            }
        }
        if constexpr (GATHERED == 0) {
#pragma unroll
            for (int e = 0; e < WIDTH; ++e) sums[e] += own_sums[e];
        }
    }
}

// Stores a row's channels by copies of VEC, behind the epilogue.
template <int VEC>
__device__ __forceinline__ void store(const TileGemmParams& p, float (&sums)[WIDTH], int row, int channel, int inside) {
    if (DIRECTION == 0 && p.epilogue.present) {
        if (p.epilogue.residual) {
            const Element* source = p.epilogue.residual + int64_t(row) * p.epilogue.residual_pitch + channel;
            // Written by the thread that reads it, if by anybody: no read-only load.
#pragma unroll
            for (int e = 0; e < WIDTH; ++e) {
                if (e < inside) sums[e] = p.epilogue.apply(sums[e], p.epilogue.affine(channel + e), Dtype::load(source[e]));
            }
        } else {
#pragma unroll
            for (int e = 0; e < WIDTH; ++e) {
                if (e < inside) sums[e] = p.epilogue.apply(sums[e], p.epilogue.affine(channel + e), 0.0f);
            }
        }
    }
    Element* target = p.result + int64_t(row) * p.result_pitch + channel;
    struct alignas(VEC * sizeof(Element)) Copy {
        Element e[VEC];
    };
#pragma unroll
    for (int e = 0; e < WIDTH; e += VEC) {
        if (e >= inside) continue;
        Copy copy;
#pragma unroll
        for (int i = 0; i < VEC; ++i) copy.e[i] = Dtype::store(sums[e + i]);
        *reinterpret_cast<Copy*>(target + e) = copy;
    }
}

template <bool ALIGNED>
__device__ __forceinline__ void walk(const TileGemmParams& p, const GroupParams& group, char* base) {
    const Shared shared(base);
    const int c_result = DIRECTION == 1 ? p.c_in : p.c_out, col_tiles = ceil_div(c_result, COLS);
    const int first = blockIdx.x / col_tiles * ROWS, column = blockIdx.x % col_tiles * COLS;
    const int n = p.rows.load();
    if (first >= n) return;
    if constexpr (HELD) bring_weights<ALIGNED>(p, group, shared, column);
    list_pairs(p, shared, first, n);
    const int lane = threadIdx.x % LANES, channel = column + lane * WIDTH;
    if (channel >= c_result) return;
    for (int i = threadIdx.x / LANES; i < ROWS; i += AT_ONCE) {
        const int row = shared.order[i];
        if (first + row >= n) continue;
        float sums[PIECES][WIDTH] = {};
        if constexpr (DEPTHWISE) sum_depthwise<ALIGNED>(p, shared, sums, row, lane, channel);
        else sum_groups<ALIGNED>(p, group, shared, sums[0], row, column, channel);
        const int target = p.row_of_position ? __ldg(p.row_of_position + first + row) : first + row;
#pragma unroll
        for (int s = 0; s < PIECES; ++s) {
            const int from = channel + s * STRIDE;
            if (from >= c_result) break;
            if (p.result_aligned) store<VEC_Y>(p, sums[s], target, from, c_result - from);
            else store<1>(p, sums[s], target, from, c_result - from);
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) grouped(const __grid_constant__ TileGemmParams p,
                                                              const __grid_constant__ GroupParams group) {
    extern __shared__ __align__(128) char shared[];
    if (p.copies_aligned) walk<true>(p, group, shared);
    else walk<false>(p, group, shared);
}

#else

constexpr int INS = DEPTHWISE ? 1 : 4;  // input channels of a group that a block takes; mirrored by the host
constexpr int SHARED_BYTES = AT_ONCE * INS * COLS * 4;
// Pairs in flight a thread.
template <bool ALIGNED>
constexpr int BATCH = !ALIGNED ? 1 : IN_FLIGHT;

extern "C" __constant__ int voxtune_launch[2] = {THREADS, SHARED_BYTES};

template <bool ALIGNED>
__device__ __forceinline__ void add_pairs(const PairGemmParams& p, float (&sums)[INS][WIDTH], const int (&own)[SUBS], int ins, int channel,
                                          int begin, int end) {
    constexpr int COUNT = BATCH<ALIGNED>;
    const int inside = p.c_out - channel;
    for (int pair = begin + int(threadIdx.x) / LANES; pair < end; pair += COUNT * AT_ONCE) {
        Packed<WIDTH> g[COUNT];
        Packed<DEPTHWISE ? WIDTH : INS> x[COUNT][DEPTHWISE ? 1 : SUBS];
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            const int at = pair + i * AT_ONCE;
            if (at >= end) continue;
            const Element* from = row_of(p.x, __ldg(p.in_rows + at), p.x_pitch);
            g[i] = load_part<ALIGNED, WIDTH, VEC_Y>(row_of(p.g, __ldg(p.out_rows + at), p.g_pitch) + channel, inside);
            if constexpr (DEPTHWISE) {
                x[i][0] = load_part<ALIGNED, WIDTH, VEC_A>(from + channel, inside);
            } else {
#pragma unroll
                for (int s = 0; s < SUBS; ++s) {
                    x[i][s] = load_part<ALIGNED, INS, CHUNK>(from + own[s], s * RUN < inside ? ins : 0);
                }
            }
        }
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            if (pair + i * AT_ONCE >= end) break;
#pragma unroll
            for (int e = 0; e < WIDTH; ++e) {
#pragma unroll
                for (int d = 0; d < INS; ++d) {
                    if (!DEPTHWISE && (e >= inside || d >= ins)) continue;
                    const float factor = DEPTHWISE ? x[i][0].at(e) : x[i][DEPTHWISE ? 0 : e / RUN].at(d);
                    sums[d][e] = fmaf(factor, g[i].at(e), sums[d][e]);
                }
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) grouped(const __grid_constant__ PairGemmParams p,
                                                              const __grid_constant__ GroupParams group) {
    extern __shared__ __align__(16) float parts[];  // (AT_ONCE, INS, COLS)
    const int col_tiles = ceil_div(p.c_out, COLS), tiles = ceil_div(group.gathered, INS) * col_tiles;
    const int unit = blockIdx.x / tiles, tile = blockIdx.x % tiles;
    const int first_in = tile / col_tiles * INS, column = tile % col_tiles * COLS;
    const int lane = threadIdx.x % LANES, channel = column + lane * WIDTH;
    int begin, end, own[SUBS];
    p.units.range(unit, begin, end);
#pragma unroll
    for (int s = 0; s < SUBS; ++s) own[s] = (channel + s * RUN) / group.result * group.gathered + first_in;
    float sums[INS][WIDTH] = {};
    const int ins = group.gathered - first_in;
    if (channel < p.c_out) {
        if (p.copies_aligned) add_pairs<true>(p, sums, own, ins, channel, begin, end);
        else add_pairs<false>(p, sums, own, ins, channel, begin, end);
    }
#pragma unroll
    for (int d = 0; d < INS; ++d) {
#pragma unroll
        for (int e = 0; e < WIDTH; ++e) parts[(threadIdx.x / LANES * INS + d) * COLS + lane * WIDTH + e] = sums[d][e];
    }
    __syncthreads();
    float* partial = p.partial + (int64_t(unit) * group.gathered + first_in) * p.c_out + column;
    for (int i = threadIdx.x; i < INS * COLS; i += THREADS) {
        if (column + i % COLS >= p.c_out || i / COLS >= ins) continue;
        float sum = 0;
        for (int other = 0; other < AT_ONCE; ++other) sum += parts[other * INS * COLS + i];
        partial[int64_t(i / COLS) * p.c_out + i % COLS] = sum;
    }
}

#endif
