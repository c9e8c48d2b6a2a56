// The tiles of wgmma_gemm: which rows, columns and offsets each has, and how blocks share them out.
//
// A tile is ROWS positions x COLS result channels, or with SPLIT a part of its offsets
// (splits.cuh). A block begins with the tile of its own number and takes further ones from a
// counter.
//
// Layouts: masks (n, MASK_WORDS) as in tile_gemm.cuh; offset k is bit k % 32 of word k / 32.
//
// Invariants
// * `scheduler` is {tiles taken past the first of each block, blocks done} and zero between
//   launches: the last block resets it. Launches that share a scheduler must not overlap: it
//   belongs to the execution context, whose launches are in one stream.
// * Offsets are taken in ascending order: sums run in a fixed order, whichever block takes a tile.
//
// Architecture: sm_80 and later.
//
// Expects the defines ROWS, COLS, MASK_WORDS and SPLIT 0|1, and splits.cuh before it where SPLIT is
// 1.
#pragma once

#include "tile_gemm.cuh"

namespace voxtune {

// Tiles by number. Tiles of the same rows are neighbours, so that their gathers meet in L2. The
// last rows start first: an order by masks puts the rows with most offsets last. Parts of a tile
// are tiles, too.
struct Tiles {
    int n, total, columns, parts;
    __device__ __forceinline__ Tiles(int n, int c_result, int parts) : n(n), columns(ceil_div(c_result, COLS)), parts(parts) {
        total = ceil_div(n, ROWS) * columns * parts;
    }
    __device__ __forceinline__ int first_row(int tile) const { return (total - 1 - tile) / (columns * parts) * ROWS; }
    __device__ __forceinline__ int first_column(int tile) const { return tile % columns * COLS; }
    __device__ __forceinline__ int part(int tile) const { return tile / columns % parts; }
};

// ---- who takes which ----------------------------------------------------------------------------

// Asks for a tile that no block has taken: `claimed` becomes its number less the number of blocks,
// where `mine` says so. A predicate and not a branch, behind which the compiler would no longer
// know that a warp's lanes are together.
__device__ __forceinline__ void claim_tile(int* scheduler, bool mine, int& claimed) {
    asm volatile(
        "{\n.reg .pred mine;\nsetp.ne.s32 mine, %2, 0;\n"
        "@mine atom.relaxed.gpu.global.add.s32 %0, [%1], 1;\n}\n"
        : "+r"(claimed)
        : "l"(scheduler), "r"(int(mine))
        : "memory");
}
__device__ __forceinline__ int claimed_tile(int claimed) { return gridDim.x + claimed; }
// The block's last word, by one thread.
__device__ __forceinline__ void claim_no_more(int* scheduler) {
    if (atomicAdd(&scheduler[1], 1) == int(gridDim.x) - 1) scheduler[0] = scheduler[1] = 0;
}

// ---- offsets ------------------------------------------------------------------------------------

// The masks of a tile's rows, a lane's share of them. Nothing waits for them before they are
// united.
struct Masks {
    uint32_t bits[MASK_WORDS][ROWS / 32];

    __device__ __forceinline__ void load(const TileGemmParams& p, int n, int first) {
#pragma unroll
        for (int i = 0; i < ROWS / 32; ++i) {
            const int row = first + i * 32 + int(threadIdx.x % 32);
#pragma unroll
            for (int w = 0; w < MASK_WORDS; ++w) bits[w][i] = row < n ? __ldg(p.masks + int64_t(row) * MASK_WORDS + w) : 0;
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
    __device__ __forceinline__ bool empty() const {
        if (SPLIT) return count <= 0;
        uint32_t any = 0;
#pragma unroll
        for (int w = 0; w < MASK_WORDS; ++w) any |= left[w];
        return any == 0;
    }
    // How many there are, at most `most`.
    __device__ __forceinline__ int at_most(int most) const {
        int all = SPLIT ? max(count, 0) : 0;
#pragma unroll
        for (int w = 0; w < MASK_WORDS && !SPLIT; ++w) all += __popc(left[w]);
        return min(all, most);
    }
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

}  // namespace voxtune
