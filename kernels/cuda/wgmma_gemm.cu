// wgmma_gemm: output-stationary implicit GEMM by Hopper's warpgroup instructions, forward and dgrad.
//
//   forward  y[o]  = sum over k of  x[map[k][o]] * w[k]
//   dgrad    dx[i] = sum over k of  g[map[k][i]] * w[k']^T     k' = k, or volume-1-k where the map is the forward map of
//                                                              a submanifold convolution read backwards (`mirror`)
//
// Layouts: as in mask_gemm.cu. gathered (rows, c_gathered), weights (volume, c_in, c_out), result (n, c_result), row-major and
// densely packed, channels in multiples of eight, any base address. table (volume, table_pitch), padded with -1 to a multiple
// of 256 positions; masks (n, MASK_WORDS); row_of_position (n) or null. weights_map describes weights as (c_out, c_in, volume), a box of it
// being a panel of B.
//
// A block stays on its multiprocessor and takes tiles of ROWS positions x COLS result channels from a counter. One warpgroup
// gathers, GROUPS warpgroups multiply; they meet only at the barriers of a ring of STAGES stages, so that the next tile's
// gathers run while the last one is still multiplied and stored. A stage is DEPTH gathered channels of one offset: the rows
// that have it, by cp.async, the weights, by the copy engine, and a bit a row that says which rows are there. A is multiplied
// out of registers: ldmatrix takes an absent row from a line of zeros, so that absent rows cost no copy, and a group of 64
// rows of which none is there costs nothing.
//
// Invariants
// * full[stage]: each gathering thread arrives once when its copies have landed, one lane of each gathering warp after writing the
//   stage's words, and thread 0 for the weights. empty[stage]: each multiplying warp arrives once its products that read the stage are complete.
// * A stage's word names its tile and says whether the tile ends there; a negative one ends the block.
// * Where operands are not aligned to 16 bytes, weights come by ordinary writes; wgmma reads them through the asynchronous proxy, so
//   each multiplying thread fences between waiting for a stage and reading it.
// * scheduler is {tiles taken past the first of each block, blocks done} and zero between launches: the last block resets it.
//   Launches of one loaded instance must not overlap; a device's launches are all on one stream.
// * Channels past c_gathered meet weights that are zeros, and are zeros themselves (0 * stale NaN is NaN).
// * Every row of the result is written, with the epilogue of zeros where a row has no pair. Sums run in a fixed order, whichever block
//   takes a tile: bitwise repeatable.
//
// Architecture: sm_90a. Shared memory is dynamic; the host reads its size from voxtune_launch.
//
// Defines: VOXTUNE_DTYPE 0|1; DGRAD 0|1; ROWS (128 or 256), COLS, DEPTH, STAGES; GROUPS: multiplying warpgroups; MIN_BLOCKS:
// blocks a multiprocessor; MASK_WORDS; SPLIT 1, or absent: whether tiles are cut into parts, see splits.cuh.
#include "tile_gemm.cuh"
#include "wgmma.cuh"

#ifdef SPLIT
#include "splits.cuh"
#else
#define SPLIT 0
#endif

using namespace voxtune;

constexpr int GATHER_WARPS = 4;
constexpr int GATHER_THREADS = GATHER_WARPS * 32;
constexpr int THREADS = GATHER_THREADS * (1 + GROUPS);
constexpr int FRAGS_M = ROWS / 64 / GROUPS;  // of 64 rows, a warpgroup
constexpr int ROWS_A_WARP = ROWS / GATHER_WARPS;
constexpr int ROW_NUMBERS = ROWS_A_WARP / 32;  // a lane's

static_assert(ROWS % (64 * GROUPS) == 0 && FRAGS_M <= 2 && ROWS_A_WARP % 32 == 0, "block tile");
static_assert(DEPTH % 16 == 0 && COLS % 16 == 0 && STAGES >= 2, "block tile");

// A: panels of rows. B forward: panels of columns, a line a gathered channel; dgrad: panels of the depth, a line a column.
constexpr int WIDTH_A = panel_width(DEPTH);
constexpr int WIDTH_B = DGRAD ? WIDTH_A : panel_width(COLS);
constexpr int LINES_B = DGRAD ? COLS : DEPTH;
constexpr int PANELS_A = DEPTH / WIDTH_A;
constexpr int PANELS_B = (DGRAD ? DEPTH : COLS) / WIDTH_B;
constexpr int PANEL_BYTES_A = ROWS * WIDTH_A * 2;
constexpr int PANEL_BYTES_B = LINES_B * WIDTH_B * 2;
using LinesA = Tile<WIDTH_A / 8>;
using LinesB = Tile<WIDTH_B / 8>;

constexpr int A_BYTES = PANELS_A * PANEL_BYTES_A;
constexpr int B_BYTES = PANELS_B * PANEL_BYTES_B;
constexpr int STAGE_BYTES = (A_BYTES + B_BYTES + 1023) / 1024 * 1024;
static_assert(A_BYTES % 1024 == 0 && PANEL_BYTES_B % 256 == 0, "panels begin where their swizzle does");

// Sixteen rows of a warp's results on their way out, a strip of columns at a time.
constexpr int STRIP = COLS % 64 == 0 ? 64 : COLS % 48 == 0 ? 48 : COLS % 32 == 0 ? 32 : 16;
constexpr int STRIP_PITCH = STRIP + 8;
constexpr int STRIP_BYTES = 16 * STRIP_PITCH * 2;

// The same in float32 for an epilogue: half a strip's columns take no more.
constexpr int PART = STRIP / 2, PARTS = COLS / PART;
constexpr int PART_PITCH = PART + 4;

// A stage's words: its tile, then a bit a row.
constexpr int STAGE_WORDS = 1 + ROWS / 32;

constexpr int STRIPS_AT = STAGES * STAGE_BYTES;
constexpr int ZEROS_AT = STRIPS_AT + GROUPS * 4 * STRIP_BYTES;
constexpr int WORDS_AT = ZEROS_AT + 128;
constexpr int NEXT_TILE_AT = WORDS_AT + STAGES * STAGE_WORDS * 4;
constexpr int BARRIERS_AT = (NEXT_TILE_AT + 2 * 4 + 7) / 8 * 8;
constexpr int SHARED_BYTES = BARRIERS_AT + 2 * STAGES * 8;
static_assert(ZEROS_AT % 128 == 0, "an exclusive-or of a place stays within the zeros");

// Registers a thread: an equal share by the launch bounds, then moved from gathering to multiplying.
constexpr int EQUAL_SHARE = 65536 / (THREADS * MIN_BLOCKS) / 8 * 8;
constexpr int GATHER_REGISTERS = EQUAL_SHARE < 72 ? EQUAL_SHARE : 72;
constexpr int MULTIPLY_SHARE = (EQUAL_SHARE * (1 + GROUPS) - GATHER_REGISTERS) / GROUPS / 8 * 8;
constexpr int MULTIPLY_REGISTERS = MULTIPLY_SHARE > 240 ? 240 : MULTIPLY_SHARE;
// Lines of a part that an epilogue asks for at a time: what registers are left for beside the accumulators.
constexpr int PART_AHEAD = MULTIPLY_REGISTERS < FRAGS_M * COLS / 2 + 64 ? 1 : 4;

// What the host needs to launch this instance: threads a block, dynamic shared memory in bytes.
extern "C" __constant__ int voxtune_launch[2] = {THREADS, SHARED_BYTES};

__device__ int scheduler[2];

// The stage that one side of the ring is at.
struct Ring {
    uint32_t base;  // of shared memory
    int stage = 0, parity = 0;
    __device__ __forceinline__ explicit Ring(const char* shared) : base(shared_address(shared)) {}
    __device__ __forceinline__ uint32_t tile() const { return base + stage * STAGE_BYTES; }
    __device__ __forceinline__ uint32_t words() const { return base + WORDS_AT + stage * STAGE_WORDS * 4; }
    __device__ __forceinline__ uint32_t full() const { return base + BARRIERS_AT + stage * 8; }
    __device__ __forceinline__ uint32_t empty() const { return base + BARRIERS_AT + (STAGES + stage) * 8; }
    __device__ __forceinline__ void advance() {
        if (++stage == STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }
};

// Tiles by number. Tiles of the same rows are neighbours, so that their gathers meet in L2. The last rows start first: an order by
// masks puts the rows with most offsets last. Parts of a tile are tiles, too.
struct Tiles {
    int total, columns, parts;
    __device__ __forceinline__ Tiles(int n, int c_result, int parts) : columns(ceil_div(c_result, COLS)), parts(parts) {
        total = ceil_div(n, ROWS) * columns * parts;
    }
    __device__ __forceinline__ int first_row(int tile) const { return (total - 1 - tile) / (columns * parts) * ROWS; }
    __device__ __forceinline__ int first_column(int tile) const { return tile % columns * COLS; }
    __device__ __forceinline__ int part(int tile) const { return tile / columns % parts; }
};

// The masks of a tile's rows, a lane's share of them. Nothing waits for them before they are united.
struct Masks {
    uint32_t bits[MASK_WORDS][ROWS / 32];

    __device__ __forceinline__ void load(const TileGemmParams& p, int first) {
#pragma unroll
        for (int i = 0; i < ROWS / 32; ++i) {
            const int row = first + i * 32 + int(threadIdx.x % 32);
#pragma unroll
            for (int w = 0; w < MASK_WORDS; ++w) bits[w][i] = row < p.n ? __ldg(p.masks + int64_t(row) * MASK_WORDS + w) : 0;
        }
    }
};

// The offsets of a tile, or of a part of it, in ascending order.
struct Offsets {
    uint32_t left[MASK_WORDS];
    int count;  // of a part: how many of those left are its own

    __device__ __forceinline__ explicit Offsets(const Masks& masks) {
#pragma unroll
        for (int w = 0; w < MASK_WORDS; ++w) {
            uint32_t any = 0;
#pragma unroll
            for (int i = 0; i < ROWS / 32; ++i) any |= masks.bits[w][i];
            left[w] = __reduce_or_sync(0xffffffffu, any);
        }
    }
#if SPLIT
    __device__ __forceinline__ void keep(int part, int parts) {
        int all = 0;
#pragma unroll
        for (int w = 0; w < MASK_WORDS; ++w) all += __popc(left[w]);
        int begin, end;
        range_of_part(all, part, parts, begin, end);
        count = begin;
        for (int i = 0; i < begin; ++i) pop();
        count = end - begin;
    }
#endif
    // The next one, or -1.
    __device__ __forceinline__ int pop() {
        if (SPLIT && --count < 0) return -1;
#pragma unroll
        for (int w = 0; w < MASK_WORDS; ++w) {
            if (left[w]) {
                const int bit = __ffs(left[w]) - 1;
                left[w] &= left[w] - 1;
                return w * 32 + bit;
            }
        }
        return -1;
    }
};

__device__ __forceinline__ void store_word(uint32_t shared, int value) {
    asm volatile("st.shared.s32 [%0], %1;\n" ::"r"(shared), "r"(value) : "memory");
}
__device__ __forceinline__ int load_word(uint32_t shared) {
    int value;
    asm volatile("ld.shared.s32 %0, [%1];\n" : "=r"(value) : "r"(shared) : "memory");
    return value;
}

// The gathering warpgroup. Each warp takes a quarter of the rows, and waits for another only between tiles.
template <bool ALIGNED, int L2_LINE>
struct Gatherer {
    static constexpr int CHUNKS_A = WIDTH_A / 8, LINES_A_PASS = 32 / CHUNKS_A, PASSES_A = ROWS_A_WARP / LINES_A_PASS;

    const TileGemmParams& p;
    const TensorMap& weights_map;
    const Tiles& tiles;
    Ring ring;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int c_gathered, blocks_k;
    uint32_t place;  // of this thread's first copy of a row
    int taken = 0;   // thread 0: the next tile, or -1

    __device__ __forceinline__ Gatherer(const TileGemmParams& p, const TensorMap& weights_map, const Tiles& tiles, const char* shared)
        : p(p), weights_map(weights_map), tiles(tiles), ring(shared), c_gathered(DGRAD ? p.c_out : p.c_in),
          blocks_k(ceil_div(c_gathered, DEPTH)) {
        place = LinesA::at(warp * ROWS_A_WARP + lane / CHUNKS_A, lane % CHUNKS_A);
        pin(place);
    }

    // This warp's present rows of one block of channels.
    __device__ __forceinline__ void copy_rows(const int (&rows)[ROW_NUMBERS], int channel) const {
        const uint32_t row_bytes = c_gathered * 2;
#pragma unroll
        for (int panel = 0; panel < PANELS_A; ++panel) {
            const int c = channel + panel * WIDTH_A + lane % CHUNKS_A * 8;
            const char* source = reinterpret_cast<const char*>(p.gathered + c);
            const uint32_t target = ring.tile() + panel * PANEL_BYTES_A;
            const bool inside = c < c_gathered;
#pragma unroll
            for (int pass = 0; pass < PASSES_A; ++pass) {
                const int line = pass * LINES_A_PASS;
                const int row = __shfl_sync(0xffffffffu, rows[line / 32], line % 32 + lane / CHUNKS_A);
                // A pass of four lines flips the swizzle's third bit, longer ones keep it.
                const uint32_t to = target + (LINES_A_PASS == 4 && pass % 2 == 1 ? place ^ 64 : place) + line * WIDTH_A * 2;
                const char* from = source + uint64_t(uint32_t(row)) * row_bytes;
                if constexpr (ALIGNED) copy_async_row_l2<L2_LINE>(to, from, row, inside ? 16 : 0);
                else if (row >= 0) copy_elements(generic(to), reinterpret_cast<const Element*>(from), inside ? 8 : 0);
            }
        }
    }

    static __device__ __forceinline__ char* generic(uint32_t shared) { return static_cast<char*>(__cvta_shared_to_generic(shared)); }

    // The weights of one block of channels, by the copy engine.
    __device__ __forceinline__ void copy_weights(int offset, int channel, int column) const {
#pragma unroll
        for (int panel = 0; panel < PANELS_B; ++panel) {
            const int out = (DGRAD ? channel : column) + panel * WIDTH_B, in = DGRAD ? column : channel;
            copy_box(ring.tile() + A_BYTES + panel * PANEL_BYTES_B, weights_map, out, in, offset, ring.full());
        }
    }

    // The same element by element.
    __device__ __forceinline__ void copy_weights_slowly(int offset, int channel, int column) const {
        constexpr int CHUNKS = WIDTH_B / 8;
        const Element* base = p.weights + int64_t(offset) * p.c_in * p.c_out;
#pragma unroll 1
        for (int i = threadIdx.x; i < PANELS_B * LINES_B * CHUNKS; i += GATHER_THREADS) {
            const int panel = i / (LINES_B * CHUNKS), line = i / CHUNKS % LINES_B, chunk = i % CHUNKS;
            const int out = (DGRAD ? channel : column) + panel * WIDTH_B + chunk * 8, in = (DGRAD ? column : channel) + line;
            const bool inside = in < p.c_in && out < p.c_out;
            copy_elements(generic(ring.tile() + A_BYTES + panel * PANEL_BYTES_B + LinesB::at(line, chunk)),
                          base + (inside ? int64_t(in) * p.c_out + out : 0), inside ? 8 : 0);
        }
    }

    // One offset of a tile: a stage for each block of channels.
    __device__ __forceinline__ void gather(int offset, const int (&rows)[ROW_NUMBERS], int tile, int column, bool last) {
        const int weights = p.mirror ? p.volume - 1 - offset : offset;
        for (int block = 0; block < blocks_k; ++block) {
            barrier_wait(ring.empty(), ring.parity ^ 1);
            if constexpr (!ALIGNED) {
                copy_weights_slowly(weights, block * DEPTH, column);
            } else if (threadIdx.x == 0) {
                barrier_arrive_expecting(ring.full(), B_BYTES);
                copy_weights(weights, block * DEPTH, column);
            }
            copy_rows(rows, block * DEPTH);
            finish(rows, tile * 2 + (last && block == blocks_k - 1), ALIGNED);
        }
    }

    // A stage without rows: a tile of which no row has a pair, or the end.
    __device__ __forceinline__ void gather_nothing(int word) {
        barrier_wait(ring.empty(), ring.parity ^ 1);
        int rows[ROW_NUMBERS];
#pragma unroll
        for (int i = 0; i < ROW_NUMBERS; ++i) rows[i] = -1;
        finish(rows, word, false);
    }

    // Writes the stage's words and arrives. `expecting`: whether the copy engine has been called, which has thread 0 arrive.
    __device__ __forceinline__ void finish(const int (&rows)[ROW_NUMBERS], int word, bool expecting) {
#pragma unroll
        for (int i = 0; i < ROW_NUMBERS; ++i) {
            const int present = __ballot_sync(0xffffffffu, rows[i] >= 0);
            if (lane == 0) store_word(ring.words() + 4 + (warp * ROW_NUMBERS + i) * 4, present);
        }
        if (threadIdx.x == 0) {
            store_word(ring.words(), word);
            if (!expecting) barrier_arrive(ring.full());
        }
        if (lane == 0) barrier_arrive(ring.full());
        if constexpr (ALIGNED) barrier_arrive_after_copies(ring.full());
        else barrier_arrive(ring.full());
        ring.advance();
    }

    // An offset of a tile whose row numbers have been asked for.
    struct Asked {
        int offset;  // or -1: the tile has no more
        int rows[ROW_NUMBERS];
    };

    __device__ __forceinline__ void ask(Asked& next, Offsets& offsets, const int* table) {
        next.offset = offsets.pop();
        if (next.offset < 0) return take_tile();
        const int* line = table + int64_t(next.offset) * p.table_pitch;
#pragma unroll
        for (int i = 0; i < ROW_NUMBERS; ++i) next.rows[i] = __ldg(line + i * 32);
    }

    // Gathers one offset and asks for another in its place. Returns whether the tile is done.
    __device__ __forceinline__ bool turn(Asked& now, const Asked& next, Offsets& offsets, const int* table, int tile, int column) {
        const bool last = next.offset < 0;
        gather(now.offset, now.rows, tile, column, last);
        ask(now, offsets, table);
        return last;
    }

    // Row numbers are asked for four offsets before they are needed; each of the four has its own registers.
    __device__ __forceinline__ void gather_tile(Offsets offsets, int tile) {
        const int column = tiles.first_column(tile);
        const int* table = p.table + tiles.first_row(tile) + warp * ROWS_A_WARP + lane;
        Asked a, b, c, d;
        ask(a, offsets, table);
        ask(b, offsets, table);
        ask(c, offsets, table);
        ask(d, offsets, table);
        if (a.offset < 0) return gather_nothing(tile * 2 + 1);
        while (true) {
            if (turn(a, b, offsets, table, tile, column)) return;
            if (turn(b, c, offsets, table, tile, column)) return;
            if (turn(c, d, offsets, table, tile, column)) return;
            if (turn(d, a, offsets, table, tile, column)) return;
        }
    }

    // Thread 0 takes the next tile when this one has nothing left to ask for: late, since a tile taken early is one that an idle block does
    // not get, and yet some stages before it is needed.
    __device__ __forceinline__ void take_tile() {
        if (threadIdx.x == 0 && taken < 0) taken = gridDim.x + atomicAdd(&scheduler[0], 1);
    }

    __device__ __forceinline__ void run() {
        for (int tile = blockIdx.x, slot = 0; tile < tiles.total; slot ^= 1) {
            Masks masks;
            masks.load(p, tiles.first_row(tile));
            taken = -1;
            Offsets offsets(masks);
#if SPLIT
            offsets.keep(tiles.part(tile), tiles.parts);
#endif
            gather_tile(offsets, tile);
            const uint32_t next_at = ring.base + NEXT_TILE_AT + slot * 4;
            if (threadIdx.x == 0) store_word(next_at, taken);
            asm volatile("bar.sync 1, %0;\n" ::"n"(GATHER_THREADS) : "memory");
            tile = load_word(next_at);
        }
        gather_nothing(-1);
        if (threadIdx.x == 0 && atomicAdd(&scheduler[1], 1) == int(gridDim.x) - 1) scheduler[0] = scheduler[1] = 0;
    }
};

// A multiplying warpgroup: FRAGS_M fragments of 64 rows of each tile.
struct Multiplier {
    // B's descriptor without its address. Forward: lines of columns; the leading offset is to the next panel of columns, the stride to
    // the next eight channels. dgrad: lines along the depth, eight of them a stride.
    static constexpr uint64_t LAYOUT_B =
        DGRAD ? descriptor<WIDTH_B>(16, 8 * WIDTH_B * 2) : descriptor<WIDTH_B>(PANEL_BYTES_B, 8 * WIDTH_B * 2);

    // Products are queued in units, each with its own registers for A: a unit is loaded while the others are multiplied.
    static constexpr int STEPS = DEPTH / 16;
    static constexpr int HALVES = FRAGS_M == 1 && STEPS % 2 == 0 ? 2 : 1;
    static constexpr int UNITS = FRAGS_M * HALVES, UNIT_STEPS = STEPS / HALVES;

    const TileGemmParams& p;
    const Tiles& tiles;
    Ring ring;
    char* strip;  // this warp's
    const int lane = threadIdx.x % 32, group = threadIdx.x / 128 - 1, warp = threadIdx.x / 32 % 4;
    uint32_t place;       // where this lane's ldmatrix reads its row in the first fragment of a stage
    uint32_t before = 0;  // the barrier of the stage that may still be read, or 0
    float acc[FRAGS_M][COLS / 2];
    uint32_t a[UNITS][UNIT_STEPS][4];

    __device__ __forceinline__ Multiplier(const TileGemmParams& p, const Tiles& tiles, char* shared)
        : p(p), tiles(tiles), ring(shared), strip(shared + STRIPS_AT + (threadIdx.x / 32 - GATHER_WARPS) * STRIP_BYTES) {
        place = LinesA::at(group * FRAGS_M * 64 + warp * 16 + lane % 16, lane / 16);
        pin(place);
    }

    // Whether the stage has any of a fragment's rows, and where this lane reads its own of it: a line of zeros if it is absent.
    __device__ __forceinline__ bool find(int m, uint32_t& from, uint32_t& panel_bytes) const {
        const uint32_t words = ring.words() + 4 + (group * FRAGS_M + m) * 8;
        const uint32_t low = load_word(words), high = load_word(words + 4);
        const bool present = (warp < 2 ? low : high) >> (warp % 2 * 16 + lane % 16) & 1;
        from = present ? ring.tile() + place + m * 64 * WIDTH_A * 2 : ring.base + ZEROS_AT + (place & 0x70);
        panel_bytes = present ? PANEL_BYTES_A : 0;
        return __any_sync(0xffffffffu, (low | high) != 0);
    }

    // The products of one fragment in one stage, queued.
    template <int M>
    __device__ __forceinline__ void multiply_fragment() {
        const uint32_t b = ring.tile() + A_BYTES;
        uint32_t from, panel_bytes;
        const bool any = find(M, from, panel_bytes);
#pragma unroll
        for (int half = 0; half < HALVES; ++half) {
            const int unit = M * HALVES + half;
            warpgroup_wait<UNITS - 1>();  // what this unit's registers held has been multiplied
            if (unit == UNITS - 1) release_before();
            if (any) {
#pragma unroll
                for (int i = 0; i < UNIT_STEPS; ++i) {
                    const int k = (half * UNIT_STEPS + i) * 16;
                    ldmatrix(a[unit][i], (from ^ (k % WIDTH_A * 2)) + k / WIDTH_A * panel_bytes);
                }
                warpgroup_arrive();
#pragma unroll
                for (int i = 0; i < UNIT_STEPS; ++i) {
                    const int k = (half * UNIT_STEPS + i) * 16;
                    const uint32_t along = DGRAD ? k / WIDTH_B * PANEL_BYTES_B + k % WIDTH_B * 2 : k * WIDTH_B * 2;
                    Wgmma<COLS>::template product<DGRAD>(acc[M], a[unit][i], described(LAYOUT_B, b + along));
                }
            }
            warpgroup_commit();
        }
    }

    __device__ __forceinline__ void multiply() {
        multiply_fragment<0>();
        if constexpr (FRAGS_M > 1) multiply_fragment<1>();
    }

    __device__ __forceinline__ void release_before() {
        if (before != 0 && lane == 0) barrier_arrive(before);
        before = ring.empty();
    }

    static __device__ __forceinline__ void clear(float (&of)[COLS / 2]) {
#pragma unroll
        for (int i = 0; i < COLS / 2; ++i) of[i] = 0.0f;
        fence_accumulators(of);
    }

    // The stages of one tile, the first of which is here. Returns its columns' start and, a lane each, where the warp's sixteen rows of each
    // fragment go; those are asked for long before they are needed.
    __device__ __forceinline__ int multiply_tile(int word, int (&rows)[FRAGS_M]) {
        const int first = tiles.first_row(word >> 1) + group * FRAGS_M * 64 + warp * 16 + lane % 16;
#pragma unroll
        for (int m = 0; m < FRAGS_M; ++m) {
            if (SPLIT) break;  // parts are stored by position
            const int position = first + m * 64;
            rows[m] = position >= p.n ? -1 : p.row_of_position ? __ldg(p.row_of_position + position) : position;
        }
        clear(acc[0]);
        if constexpr (FRAGS_M > 1) clear(acc[1]);
        while (true) {
            if (!p.copies_aligned) fence_proxy_async();
            multiply();
            ring.advance();
            if (word & 1) break;
            word = wait_stage();
        }
        warpgroup_wait<0>();
        fence_accumulators(acc[0]);
        if constexpr (FRAGS_M > 1) fence_accumulators(acc[1]);
        if (lane == 0) barrier_arrive(before);
        before = 0;
        return tiles.first_column(word >> 1);
    }

    // The word of the next stage, when it is here.
    __device__ __forceinline__ int wait_stage() const {
        barrier_wait(ring.full(), ring.parity);
        return load_word(ring.words());
    }

    // A fragment's accumulators to the rows of the result, through this warp's strip so that rows are written in pieces of 16 bytes.
    __device__ __forceinline__ void store(const float (&sums)[COLS / 2], int own_row, int column) const {
        const int c_result = DGRAD ? p.c_in : p.c_out;
        Element* staged = reinterpret_cast<Element*>(strip);
#pragma unroll
        for (int first = 0; first < COLS; first += STRIP) {
            __syncwarp();
#pragma unroll
            for (int f = 0; f < STRIP / 8; ++f) {
                const int at = (first / 8 + f) * 4, line = lane / 4, along = f * 8 + lane % 4 * 2;
                *reinterpret_cast<uint32_t*>(staged + line * STRIP_PITCH + along) = pack(sums[at], sums[at + 1]);
                *reinterpret_cast<uint32_t*>(staged + (line + 8) * STRIP_PITCH + along) = pack(sums[at + 2], sums[at + 3]);
            }
            __syncwarp();
#pragma unroll
            for (int i = 0; i < STRIP / 16; ++i) {
                const int item = i * 32 + lane, line = item / (STRIP / 8), along = item % (STRIP / 8) * 8;
                const int row = __shfl_sync(0xffffffffu, own_row, line), c = column + first + along;
                if (row < 0 || c >= c_result) continue;
                Element* target = p.result + int64_t(row) * c_result + c;
                const Element* source = staged + line * STRIP_PITCH + along;
                if (p.result_aligned) {
                    *reinterpret_cast<uint4*>(target) = *reinterpret_cast<const uint4*>(source);
                } else {
#pragma unroll
                    for (int e = 0; e < 8; ++e) target[e] = source[e];
                }
            }
        }
    }

    // A fragment's accumulators as they are: four lanes write 32 bytes of a line. `line`: the fragment's first line of the warp's.
    __device__ __forceinline__ void store_partial(const float (&sums)[COLS / 2], float* partial, int line, int column) const {
        const int c_result = DGRAD ? p.c_in : p.c_out;
        const int upper = line + lane / 4, lower = upper + 8;
        float* target = partial + int64_t(upper) * c_result + column + lane % 4 * 2;
#pragma unroll
        for (int f = 0; f < COLS / 8; ++f) {
            if (column + f * 8 >= c_result) continue;
            if (upper < p.n) *reinterpret_cast<float2*>(target + f * 8) = make_float2(sums[f * 4], sums[f * 4 + 1]);
            if (lower < p.n) *reinterpret_cast<float2*>(target + f * 8 + int64_t(8) * c_result) = make_float2(sums[f * 4 + 2], sums[f * 4 + 3]);
        }
    }

    // Parts of tiles to where reduce_splits adds them up.
    __device__ __forceinline__ void run_parts(float* partial) {
        int word, rows[FRAGS_M];
        while ((word = wait_stage()) >= 0) {
            const int column = multiply_tile(word, rows), tile = word >> 1;
            float* own = partial + int64_t(tiles.part(tile)) * p.n * (DGRAD ? p.c_in : p.c_out);
            const int line = tiles.first_row(tile) + group * FRAGS_M * 64 + warp * 16;
            store_partial(acc[0], own, line, column);
            if constexpr (FRAGS_M > 1) store_partial(acc[1], own, line + 64, column);
        }
    }

    // The same with an epilogue, of all fragments: sums stay float32 until everything is added. One copy of the code serves all parts, so
    // that instances stay small; a residual is read in pieces of eight bytes, its latency met once a part.
    __device__ __forceinline__ void finish(const int (&rows)[FRAGS_M], int column) const {
        float* staged = reinterpret_cast<float*>(strip);
        int lane = threadIdx.x % 32;
        pin(lane);  // here, or addresses would be held in registers throughout the loop over tiles
        const bool aligned = p.result_aligned && p.epilogue.is_aligned<4>();
#pragma unroll 1
        for (int part = 0; part < FRAGS_M * PARTS; ++part) {
            __syncwarp();
#pragma unroll
            for (int f = 0; f < FRAGS_M * PARTS * (PART / 8); ++f) {
                if (f / (PART / 8) != part) continue;
                const float* sums = acc[f / (COLS / 8)] + f % (COLS / 8) * 4;
                float* line = staged + lane / 4 * PART_PITCH + f % (PART / 8) * 8 + lane % 4 * 2;
                *reinterpret_cast<float2*>(line) = make_float2(sums[0], sums[1]);
                *reinterpret_cast<float2*>(line + 8 * PART_PITCH) = make_float2(sums[2], sums[3]);
            }
            __syncwarp();
            const int own_row = part < PARTS ? rows[0] : rows[FRAGS_M - 1];
            const auto row_of = [&](int line) { return __shfl_sync(0xffffffffu, own_row, line); };
            const auto channel_of = [&](int along) { return column + part % PARTS * PART + along; };
            if (aligned) store_finished<4, PART_AHEAD, 16, PART, PART_PITCH, 32>(p.epilogue, staged, lane, p.result, p.c_out, channel_of, row_of);
            else store_finished<1, 1, 16, PART, PART_PITCH, 32>(p.epilogue, staged, lane, p.result, p.c_out, channel_of, row_of);
        }
    }

    __device__ __forceinline__ void run() {
        int word, rows[FRAGS_M];
        while ((word = wait_stage()) >= 0) {
            const int column = multiply_tile(word, rows);
            if (!DGRAD && p.epilogue.present) {
                finish(rows, column);
                continue;
            }
            store(acc[0], rows[0], column);
            if constexpr (FRAGS_M > 1) store(acc[1], rows[1], column);
        }
    }
};

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
#if SPLIT
    wgmma_gemm(const __grid_constant__ TileGemmParams p, const __grid_constant__ TensorMap weights_map,
               const __grid_constant__ SplitParams split) {
    const int parts = split.parts;
#else
    wgmma_gemm(const __grid_constant__ TileGemmParams p, const __grid_constant__ TensorMap weights_map) {
    constexpr int parts = 1;
#endif
    extern __shared__ __align__(1024) char shared[];
    if (threadIdx.x == 0) {
        for (Ring ring(shared); ring.parity == 0; ring.advance()) {
            barrier_init(ring.full(), GATHER_THREADS + GATHER_WARPS + 1);
            barrier_init(ring.empty(), GROUPS * 4);
        }
        asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
    }
    if (threadIdx.x < 32) store_word(shared_address(shared) + ZEROS_AT + threadIdx.x * 4, 0);
    __syncthreads();
    const Tiles tiles(p.n, DGRAD ? p.c_in : p.c_out, parts);
    if (threadIdx.x < GATHER_THREADS) {
        give_registers<GATHER_REGISTERS>();
        // A row of 256 bytes and more is all needed soon: its other blocks of channels are the next stages.
        const bool wide = (DGRAD ? p.c_out : p.c_in) >= 128;
        if (!p.copies_aligned) Gatherer<false, 128>(p, weights_map, tiles, shared).run();
        else if (DEPTH < 64 || !wide) Gatherer<true, 128>(p, weights_map, tiles, shared).run();
        else Gatherer<true, 256>(p, weights_map, tiles, shared).run();
        wait_copies<0>();
    } else {
        take_registers<MULTIPLY_REGISTERS>();
        Multiplier multiplier(p, tiles, shared);
#if SPLIT
        multiplier.run_parts(split.partial);
#else
        multiplier.run();
#endif
    }
}
