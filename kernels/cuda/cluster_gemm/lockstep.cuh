// A multiplying warpgroup of cluster_gemm where tiles are whole: their sums go to rows of the
// result as those of wgmma_gemm do, while the next item is gathered.
//
// Architecture: sm_90a.
#pragma once

#include "multiply.cuh"
#include "places.cuh"

// The strips of float32 sums, which other tiles of this family have, are wider.
#define STRIP_PITCH RESULT_PITCH
#include "../wgmma_gemm_store.cuh"
#undef STRIP_PITCH

namespace voxtune {

__device__ __forceinline__ void run_in_lockstep(ItemMultiplier& multiplier, const TileGemmParams& p, char* shared) {
    multiplier.strip = shared + AFFINE_AT + (threadIdx.x / 32 - GATHER_WARPS) * RESULT_STRIP_BYTES;
    const int first = blockIdx.x % CLUSTER * ROWS + multiplier.group * FRAGS_M * 64 + multiplier.warp * 16 + multiplier.lane % 16;
    const int column = blockIdx.y * COLS;
    int word;
    while ((word = multiplier.wait_stage()) >= 0) {
        int rows[FRAGS_M];
#pragma unroll
        for (int m = 0; m < FRAGS_M; ++m) {
            const int position = tile_of(word) * ITEM_ROWS + first + m * 64;
            rows[m] = position >= multiplier.tiles.n ? -1 : p.row_of_position ? __ldg(p.row_of_position + position) : position;
        }
        multiplier.multiply_item(word);
        if (!DGRAD && p.epilogue.present) {
            multiplier.finish(rows, column);
            continue;
        }
        multiplier.store(multiplier.acc[0], rows[0], column);
        if constexpr (FRAGS_M > 1) multiplier.store(multiplier.acc[1], rows[1], column);
    }
}

}  // namespace voxtune
