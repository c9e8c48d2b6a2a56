// The gathering warpgroup of wgmma_gemm: rows, weights and words into the stages of the ring, tile after tile.
//
// Rows come by cp.async, weights by the copy engine, which a single thread calls; where operands are not aligned to 16 bytes, both come
// by ordinary writes. The gathering runs ahead across the ends of tiles as far as the ring goes, and row numbers are asked for
// four offsets before that.
//
// Layouts: table (volume, table_pitch), padded with -1 to a multiple of 256 positions; stages as in wgmma_gemm_stages.cuh.
//
// Invariants
// * An absent row is not copied; the stage's words say so.
// * full[stage] takes FULL_ARRIVALS: each thread arrives once when its copies have landed, one lane of each warp after writing the
//   stage's words, and thread 0 for the weights.
// * Channels past c_gathered meet weights that are zeros, and are zeros themselves (0 * stale NaN is NaN).
//
// Architecture: sm_90a.
//
// Expects the defines of wgmma_gemm.cu.
#pragma once

#include "wgmma_gemm_stages.cuh"
#include "wgmma_gemm_tiles.cuh"

namespace voxtune {

constexpr int FULL_ARRIVALS = GATHER_THREADS + GATHER_WARPS + 1;
constexpr int ROWS_A_WARP = ROWS / GATHER_WARPS;
constexpr int ROW_NUMBERS = ROWS_A_WARP / 32;  // a lane's
static_assert(ROWS_A_WARP % 32 == 0, "a lane holds whole row numbers");

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
        if (threadIdx.x == 0 && taken < 0) taken = claim_tile();
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
        if (threadIdx.x == 0) claim_no_more();
    }
};

}  // namespace voxtune
