// Which offsets a block of mask_gemm has: the masks of its rows, and the list that it walks.
//
// Layouts: masks (n, MASK_WORDS) as in tile_gemm.cuh; offset k is bit k % 32 of word k / 32. In
// shared memory they stay a row, and are united for each group of 16 rows and for the block.
//
// Invariants
// * The list ascends: sums run in a fixed order. With SPLIT the block walks its own part of it
//   alone, see splits.cuh.
//
// Architecture: sm_80 and later.
//
// Expects the defines of mask_gemm.cu, with SPLIT 0|1, and splits.cuh before it where SPLIT is 1.
#pragma once

#include "mask_gemm_stages.cuh"
#include "tile_gemm.cuh"

namespace voxtune {

// Masks of the block's rows, of their groups of 16 and of the block; the list of offsets present.
__device__ __forceinline__ void gather_masks(const TileGemmParams& p, const Shared& s, int first, int n) {
    const int lane = threadIdx.x % 32;
    for (int row = threadIdx.x; row < ROWS; row += THREADS) {
        const int position = first + row;
#pragma unroll
        for (int w = 0; w < MASK_WORDS; ++w) {
            const uint32_t bits = position < n ? __ldg(p.masks + int64_t(position) * MASK_WORDS + w) : 0;
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

}  // namespace voxtune
