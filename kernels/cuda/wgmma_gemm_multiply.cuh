// A multiplying warpgroup of wgmma_gemm: the products of the stages, tile after tile.
//
// A is multiplied out of registers. ldmatrix takes an absent row from a line of zeros, so absent
// rows cost no copy. A fragment of 64 rows of which none is there costs nothing. B is multiplied
// where it lies.
//
// Layouts: stages as in wgmma_gemm_stages.cuh, registers as in wgmma.cuh.
//
// Invariants
// * empty[stage]: each warp arrives once its products that read the stage are complete: while it
//   multiplies the next, or at the tile's end.
// * Where operands are not aligned to 16 bytes, weights come by ordinary writes. wgmma reads them
//   through the asynchronous proxy, so each thread fences between waiting for a stage and reading
//   it.
// * A tile has at least one stage, be it without rows: every row of the result is written.
// * Registers of A are loaded only behind a wait for all products that read them
//   (the commit in multiply_fragment).
//
// Architecture: sm_90a.
//
// Expects the defines of wgmma_gemm.cu.
#pragma once

#include "tile_gemm.cuh"
#include "wgmma_gemm_stages.cuh"
#include "wgmma_gemm_tiles.cuh"

namespace voxtune {

// A multiplying warpgroup: FRAGS_M fragments of 64 rows of each tile.
struct Multiplier {
    // B's descriptor without its address. Forward: lines of columns; the leading offset is to the
    // next panel of columns, the stride to the next eight channels. dgrad: lines along the depth,
    // eight of them a stride.
    static constexpr uint64_t LAYOUT_B =
        DGRAD ? descriptor<WIDTH_B>(16, 8 * WIDTH_B * 2) : descriptor<WIDTH_B>(PANEL_BYTES_B, 8 * WIDTH_B * 2);

    // Products are queued in units of at most four steps. Two units have registers for A, in turn:
    // one is loaded while the other is multiplied.
    static constexpr int STEPS = DEPTH / 16;
    static constexpr int HALVES = STEPS % 2 == 0 && (FRAGS_M == 1 || STEPS > 4) ? 2 : 1;
    static constexpr int UNITS = OFFSETS * FRAGS_M * HALVES, UNIT_STEPS = STEPS / HALVES;
    static constexpr int BUFFERS = UNITS > 1 ? 2 : 1;

    const TileGemmParams& p;
    const Tiles& tiles;
    Ring ring;
    char* strip;  // this warp's
    const int lane = threadIdx.x % 32, group = threadIdx.x / 128 - 1, warp = threadIdx.x / 32 % 4;
    uint32_t place;       // where this lane's ldmatrix reads its row in the first fragment of a stage
    uint32_t own_bit;     // of that row, in one of a fragment's two words
    uint32_t absent;      // where it reads zeros instead
    uint32_t before = 0;  // the barrier of the stage that may still be read, or 0
    float acc[FRAGS_M][COLS / 2];
    uint32_t a[BUFFERS][UNIT_STEPS][4];

    __device__ __forceinline__ Multiplier(const TileGemmParams& p, const Tiles& tiles, char* shared)
        : p(p), tiles(tiles), ring(shared), strip(shared + STRIPS_AT + (threadIdx.x / 32 - GATHER_WARPS) * STRIP_BYTES) {
        place = LinesA::at(group * FRAGS_M * 64 + warp * 16 + lane % 16, lane / 16);
        own_bit = 1u << (warp % 2 * 16 + lane % 16);
        absent = ring.base + ZEROS_AT + (place & 0x70);
        hold(place);
        hold(own_bit);
        hold(absent);
    }

    // Whether a slot has any of a fragment's rows, and where this lane reads its own of it: a line
    // of zeros if it is absent.
    __device__ __forceinline__ bool find(uint32_t slot, int m, const uint32_t (&words)[FRAGS_M * 2], uint32_t& from,
                                         uint32_t& panel_bytes) const {
        const uint32_t low = words[m * 2], high = words[m * 2 + 1];
        const bool present = ((warp < 2 ? low : high) & own_bit) != 0;
        from = present ? slot + place + m * 64 * WIDTH_A * 2 : absent;
        panel_bytes = present ? PANEL_BYTES_A : 0;
        return __any_sync(0xffffffffu, (low | high) != 0);
    }

    // The products of one fragment in one slot, queued.
    template <int SLOT, int M>
    __device__ __forceinline__ void multiply_fragment(const uint32_t (&words)[FRAGS_M * 2]) {
        const uint32_t b = ring.slot(SLOT) + A_BYTES;
        uint32_t from, panel_bytes;
        const bool any = find(ring.slot(SLOT), M, words, from, panel_bytes);
#pragma unroll
        for (int half = 0; half < HALVES; ++half) {
            const int unit = (SLOT * FRAGS_M + M) * HALVES + half, buffer = unit % BUFFERS;
            warpgroup_wait<BUFFERS - 1>();  // what this unit's registers held has been multiplied, and so has the stage before
            if (unit == BUFFERS - 1) release_before();
            if (any) {
#pragma unroll
                for (int i = 0; i < UNIT_STEPS; ++i) {
                    const int k = (half * UNIT_STEPS + i) * 16;
                    ldmatrix(a[buffer][i], (from ^ (k % WIDTH_A * 2)) + k / WIDTH_A * panel_bytes);
                }
                warpgroup_arrive();
#pragma unroll
                for (int i = 0; i < UNIT_STEPS; ++i) {
                    const int k = (half * UNIT_STEPS + i) * 16;
                    const uint32_t along = DGRAD ? k / WIDTH_B * PANEL_BYTES_B + k % WIDTH_B * 2 : k * WIDTH_B * 2;
                    Wgmma<COLS>::template product<DGRAD>(acc[M], a[buffer][i], described(LAYOUT_B, b + along));
                }
            }
            // One commit for both paths, and no other in this loop: it makes the wait above total,
            // and the kernel is right by that alone. For it nvcc ends the products' group within
            // `if (any)` and issues a product of nothing here, a group of its own. A wait for all
            // but one group then leaves that dummy, and is a wait for every product that reads
            // registers. nvcc gives both buffers of A the same registers. With a commit in each
            // path there is no dummy, the wait leaves a unit of products in flight, and ldmatrix
            // overwrites what they still read: results are NaN. No constraint on an asm operand
            // prevents it. `cargo xtask kernels` refuses such machine code. Run it on every change
            // here.
            warpgroup_commit();
        }
    }

    template <int SLOT>
    __device__ __forceinline__ void multiply_slot() {
        uint32_t words[FRAGS_M * 2];
        load_words(ring.words(SLOT) + group * FRAGS_M * 8, words);
        multiply_fragment<SLOT, 0>(words);
        if constexpr (FRAGS_M > 1) multiply_fragment<SLOT, 1>(words);
    }

    __device__ __forceinline__ void multiply() {
        multiply_slot<0>();
        if constexpr (OFFSETS > 1) multiply_slot<1>();
    }

    __device__ __forceinline__ void release_before() {
        if (before != 0 && lane < RELEASING_LANES) barrier_arrive(before);
        before = ring.empty();
    }

    static __device__ __forceinline__ void clear(float (&of)[COLS / 2]) {
#pragma unroll
        for (int i = 0; i < COLS / 2; ++i) of[i] = 0.0f;
        fence_accumulators(of);
    }

    // The stages of one tile, the first of which is here. Returns its columns' start and, a lane
    // each, where the warp's sixteen rows of each fragment go. Those are asked for long before they
    // are needed.
    __device__ __forceinline__ int multiply_tile(int word, int (&rows)[FRAGS_M]) {
        const int first = tiles.first_row(word >> 1) + group * FRAGS_M * 64 + warp * 16 + lane % 16;
#pragma unroll
        for (int m = 0; m < FRAGS_M; ++m) {
            if (SPLIT) break;  // parts are stored by position
            const int position = first + m * 64;
            rows[m] = position >= tiles.n ? -1 : p.row_of_position ? __ldg(p.row_of_position + position) : position;
        }
        word = multiply_stages(word);
        return tiles.first_column(word >> 1);
    }

    // The stages from the first one, which is here, to the one that says that it is the last, whose
    // word it returns.
    __device__ __forceinline__ int multiply_stages(int word) {
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
        if (lane < RELEASING_LANES) barrier_arrive(before);
        before = 0;
        return word;
    }

    // The word of the next stage, when it is here.
    __device__ __forceinline__ int wait_stage() const {
        barrier_wait(ring.full(), ring.parity);
        return load_word(ring.tile_word());
    }

    // Where sums go: wgmma_gemm_store.cuh.
    __device__ void store(const float (&sums)[COLS / 2], int own_row, int column) const;
    __device__ void store_partial(const float (&sums)[COLS / 2], float* partial, int line, int column) const;
    __device__ void finish(const int (&rows)[FRAGS_M], int column) const;

    // Parts of tiles to where reduce_splits adds them up.
    __device__ __forceinline__ void run_parts(float* partial) {
        int word, rows[FRAGS_M];
        while ((word = wait_stage()) >= 0) {
            const int column = multiply_tile(word, rows), tile = word >> 1;
            float* own = partial + int64_t(tiles.part(tile)) * p.rows.capacity * (DGRAD ? p.c_in : p.c_out);
            const int line = tiles.first_row(tile) + group * FRAGS_M * 64 + warp * 16;
            store_partial(acc[0], own, line, column);
            if constexpr (FRAGS_M > 1) store_partial(acc[1], own, line + 64, column);
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

}  // namespace voxtune
