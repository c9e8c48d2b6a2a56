// The gathering warpgroup of wgmma_gemm: rows, weights and words into the stages of the ring, tile
// after tile.
//
// Rows come by cp.async, weights by the TMA, which a lane a warp calls. Where operands are not
// aligned to 16 bytes, both come by ordinary writes. The gathering runs ahead across the ends of
// tiles as far as the ring goes, and row numbers are asked for a batch of offsets before that.
//
// Layouts: table (volume, table_pitch), padded with -1 to a multiple of 256 positions; stages as in
// wgmma_gemm_stages.cuh.
//
// Invariants
// * An absent row is not copied; the stage's words say so.
// * full[stage] takes FULL_ARRIVALS: each thread arrives once when its copies have landed, one lane
//   of each warp after writing the stage's words, and thread 0 for the weights.
// * Channels past c_gathered meet weights that are zeros, and are zeros themselves (0 * stale NaN
//   is NaN).
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
constexpr int ROW_NUMBERS = ROWS_A_WARP < 32 ? 1 : ROWS_A_WARP / 32;  // a lane's; of 16 rows, two lanes have each
constexpr int BATCH = 4;                       // most offsets whose row numbers are asked for together
static_assert(ROWS_A_WARP % 32 == 0 || ROWS_A_WARP == 16, "a lane holds whole row numbers");
static_assert(BATCH % OFFSETS == 0, "a stage's offsets are of one batch");

// The gathering warpgroup. Each warp takes a quarter of the rows, and waits for another only
// between tiles.
template <bool ALIGNED, int L2_LINE>
struct Gatherer {
    static constexpr int CHUNKS_A = WIDTH_A / 8, LINES_A_PASS = 32 / CHUNKS_A, PASSES_A = ROWS_A_WARP / LINES_A_PASS;

    const TileGemmParams& p;
    const TensorMap& weights_map;
    const Tiles& tiles;
    Ring ring;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int c_gathered, blocks_k;
    const int batch_size;  // less where an offset takes many stages: a tile is claimed a batch or two before the one before it ends
    const bool are_more;   // tiles than blocks
    uint32_t place;        // of this thread's first copy of a row
    int claimed = 0;       // thread 0: the next tile, as claim_tile has it
    int slot = 0;          // of the two next tiles

    __device__ __forceinline__ Gatherer(const TileGemmParams& p, const TensorMap& weights_map, const Tiles& tiles, const char* shared)
        : p(p), weights_map(weights_map), tiles(tiles), ring(shared), c_gathered(DGRAD ? p.c_out : p.c_in),
          blocks_k(ceil_div(c_gathered, DEPTH)), batch_size(blocks_k < 4 ? BATCH : max_of(OFFSETS, BATCH / 2)),
          are_more(tiles.total > int(gridDim.x)) {
        place = LinesA::at(warp * ROWS_A_WARP + lane / CHUNKS_A, lane % CHUNKS_A);
        hold(place);
    }

    // Offsets of a tile whose row numbers are asked for together, while the batch before them is
    // gathered. A warp has six scoreboards, and loads that share one are waited for together. Asked
    // for one by one, the numbers needed next would wait for those asked for last.
    struct Batch {
        uint32_t offsets = 0;  // a byte each, the next one lowest
        int count = 0;
        int rows[BATCH][ROW_NUMBERS];
    };

    // This warp's present rows of one block of channels.
    __device__ __forceinline__ void copy_rows(const int (&rows)[ROW_NUMBERS], uint32_t slot, int channel) const {
        const int first = channel + lane % CHUNKS_A * 8;
        const uint32_t row_bytes = p.gathered_pitch * 2;
        const char* source = reinterpret_cast<const char*>(p.gathered + first);
#pragma unroll
        for (int pass = 0; pass < PASSES_A; ++pass) {
            const int line = pass * LINES_A_PASS;
            const int row = __shfl_sync(0xffffffffu, rows[line / 32], line % 32 + lane / CHUNKS_A);
            // A pass of four lines flips the swizzle's third bit, longer ones keep it.
            const uint32_t to = slot + (LINES_A_PASS == 4 && pass % 2 == 1 ? place ^ 64 : place) + line * WIDTH_A * 2;
            const char* from = source + uint64_t(uint32_t(row)) * row_bytes;
#pragma unroll
            for (int panel = 0; panel < PANELS_A; ++panel) {
                const int along = panel * WIDTH_A;
                const bool inside = first + along < c_gathered;
                const uint32_t target = to + panel * PANEL_BYTES_A;
                if constexpr (ALIGNED) copy_async_row_l2<L2_LINE>(target, from + along * 2, row, inside ? 16 : 0);
                else if (row >= 0) copy_elements(generic(target), reinterpret_cast<const Element*>(from) + along, inside ? 8 : 0);
            }
        }
    }

    static __device__ __forceinline__ char* generic(uint32_t shared) { return static_cast<char*>(__cvta_shared_to_generic(shared)); }

    // This warp's panels of the weights of one block of channels, by the TMA. A call takes some 50
    // cycles, so that warps share them.
    __device__ __forceinline__ void copy_weights(int offset, uint32_t slot, int channel, int column) const {
#pragma unroll
        for (int i = 0; i < PANELS_B; i += GATHER_WARPS) {
            const int panel = i + warp;
            if (panel >= PANELS_B) break;
            const int out = (DGRAD ? channel : column) + panel * WIDTH_B, in = DGRAD ? column : channel;
            copy_box(slot + A_BYTES + panel * PANEL_BYTES_B, weights_map, out, in, offset, ring.full());
        }
    }

    // The same element by element.
    __device__ __forceinline__ void copy_weights_slowly(int offset, uint32_t slot, int channel, int column) const {
        constexpr int CHUNKS = WIDTH_B / 8;
        const Element* base = p.weights + int64_t(offset) * p.c_in * p.c_out;
#pragma unroll 1
        for (int i = threadIdx.x; i < PANELS_B * LINES_B * CHUNKS; i += GATHER_THREADS) {
            const int panel = i / (LINES_B * CHUNKS), line = i / CHUNKS % LINES_B, chunk = i % CHUNKS;
            const int out = (DGRAD ? channel : column) + panel * WIDTH_B + chunk * 8, in = (DGRAD ? column : channel) + line;
            const bool inside = in < p.c_in && out < p.c_out;
            copy_elements(generic(slot + A_BYTES + panel * PANEL_BYTES_B + LinesB::at(line, chunk)),
                          base + (inside ? int64_t(in) * p.c_out + out : 0), inside ? 8 : 0);
        }
    }

    // The next offsets of a batch, as many as a stage takes: a stage for each block of channels.
    __device__ __forceinline__ void gather(const Batch& batch, int tile, int column, bool last) {
#pragma unroll 1
        for (int block = 0; block < blocks_k; ++block) {
            barrier_wait(ring.empty(), ring.parity ^ 1);
            const int channel = block * DEPTH;
            // The engine may count bytes off before they are announced: the stage is not full
            // before thread 0 arrives.
            if (ALIGNED && threadIdx.x == 0) {
                barrier_arrive_expecting(ring.full(), (OFFSETS == 1 ? 1 : min(batch.count, OFFSETS)) * B_BYTES);
            }
#pragma unroll
            for (int i = 0; i < OFFSETS; ++i) {
                if (i > 0 && batch.count <= i) break;
                const int offset = batch.offsets >> 8 * i & 0xff, weights = p.mirror ? p.volume - 1 - offset : offset;
                if constexpr (!ALIGNED) copy_weights_slowly(weights, ring.slot(i), channel, column);
                else if (warp < PANELS_B && lane == 0) copy_weights(weights, ring.slot(i), channel, column);
                copy_rows(batch.rows[i], ring.slot(i), channel);
            }
            finish(batch.rows, tile * 2 + (last && block == blocks_k - 1), ALIGNED);
        }
    }

    // A stage without rows: a tile of which no row has a pair, or the end.
    __device__ __forceinline__ void gather_nothing(int word) {
        barrier_wait(ring.empty(), ring.parity ^ 1);
        int rows[BATCH][ROW_NUMBERS];
#pragma unroll
        for (int i = 0; i < OFFSETS * ROW_NUMBERS; ++i) rows[i / ROW_NUMBERS][i % ROW_NUMBERS] = -1;
        finish(rows, word, false);
    }

    // Writes the stage's words and arrives. `expecting`: whether the TMA has been called, which has
    // thread 0 arrive.
    __device__ __forceinline__ void finish(const int (&rows)[BATCH][ROW_NUMBERS], int word, bool expecting) {
#pragma unroll
        for (int i = 0; i < OFFSETS * ROW_NUMBERS; ++i) {
            const int number = i % ROW_NUMBERS, present = __ballot_sync(0xffffffffu, rows[i / ROW_NUMBERS][number] >= 0);
            if (ROWS_A_WARP == 16) {
                if (lane == 0) store_half_word(ring.words(i) + warp * 2, present);
            } else if (lane == 0) {
                store_word(ring.words(i / ROW_NUMBERS) + (warp * ROW_NUMBERS + number) * 4, present);
            }
        }
        if (threadIdx.x == 0) {
            store_word(ring.tile_word(), word);
            if (!expecting) barrier_arrive(ring.full());
        }
        if (lane == 0) barrier_arrive(ring.full());
        if constexpr (ALIGNED) barrier_arrive_after_copies(ring.full());
        else barrier_arrive(ring.full());
        ring.advance();
    }

    __device__ __forceinline__ void ask(Batch& batch, Offsets& offsets, int tile) {
        const int* table = p.table + tiles.first_row(tile) + warp * ROWS_A_WARP + (ROWS_A_WARP < 32 ? lane % ROWS_A_WARP : lane);
        batch.count = offsets.at_most(batch_size);
        batch.offsets = 0;
#pragma unroll
        for (int i = 0; i < BATCH; ++i) {
            // A stage that is not full has an offset without rows.
            if (OFFSETS > 1 && i % OFFSETS > 0) {
#pragma unroll
                for (int j = 0; j < ROW_NUMBERS; ++j) batch.rows[i][j] = -1;
            }
            const int offset = i < batch_size ? offsets.pop() : -1;
            if (offset < 0) continue;
            batch.offsets |= offset << 8 * i;
            const int* line = table + uint64_t(uint32_t(offset)) * uint32_t(p.table_pitch);
#pragma unroll
            for (int j = 0; j < ROW_NUMBERS; ++j) batch.rows[i][j] = __ldg(line + j * 32);
        }
        // The next tile is claimed when the last batch of this one is asked for, so that no thread
        // waits for it. It is claimed no earlier: a tile claimed early is one that an idle block
        // does not get.
        claim_tile(p.scheduler, threadIdx.x == 0 && offsets.empty() && tile < tiles.total && are_more, claimed);
    }

    // Gathers a stage's offsets of a batch and moves the others up.
    __device__ __forceinline__ void gather_next(Batch& batch, int tile, int column, bool last) {
        gather(batch, tile, column, last);
        batch.offsets = OFFSETS < 4 ? batch.offsets >> 8 * OFFSETS : 0;
        batch.count -= OFFSETS;
#pragma unroll
        for (int i = 0; i + OFFSETS < BATCH; ++i) {
#pragma unroll
            for (int j = 0; j < ROW_NUMBERS; ++j) batch.rows[i][j] = batch.rows[i + OFFSETS][j];
        }
    }

    __device__ __forceinline__ Offsets offsets_of(const Masks& masks, int tile) const {
        Offsets offsets(masks);
#if SPLIT
        offsets.keep(tiles.part(tile), tiles.parts);
#endif
        return offsets;
    }

    // The tile that thread 0 has claimed, for all threads.
    __device__ __forceinline__ int next_tile() {
        if (!are_more) return tiles.total;
        const uint32_t at = ring.base + NEXT_TILE_AT + slot * 4;
        slot ^= 1;
        if (threadIdx.x == 0) store_word(at, claimed_tile(claimed));
        asm volatile("bar.sync 1, %0;\n" ::"n"(GATHER_THREADS) : "memory");
        return __reduce_max_sync(0xffffffffu, load_word(at));  // the same in every lane, and known to be
    }

    // Tile after tile. What is asked for while a batch is gathered: the tile's next batch, or the
    // next tile's masks and, before the last stage, its first batch.
    __device__ __forceinline__ void run() {
        int tile = blockIdx.x;
        Masks masks;
        masks.load(p, tiles.n, tile < tiles.total ? tiles.first_row(tile) : tiles.n);
        Offsets offsets = offsets_of(masks, tile);
        Batch next;
        ask(next, offsets, tile);
        while (tile < tiles.total) {
            Batch now = next;
            const int column = tiles.first_column(tile);
            const bool last = offsets.empty();
            int following = tile;
            if (last) {
                following = next_tile();
                masks.load(p, tiles.n, following < tiles.total ? tiles.first_row(following) : tiles.n);
            } else {
                ask(next, offsets, tile);
            }
            do {
                if (last && now.count <= OFFSETS) {
                    offsets = offsets_of(masks, following);
                    ask(next, offsets, following);
                }
                if (now.count == 0) gather_nothing(tile * 2 + 1);
                else gather_next(now, tile, column, last && now.count <= OFFSETS);
            } while (now.count > 0);
            tile = following;
        }
        gather_nothing(-1);
        if (threadIdx.x == 0) claim_no_more(p.scheduler);
    }
};

}  // namespace voxtune
