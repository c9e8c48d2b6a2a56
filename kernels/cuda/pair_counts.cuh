// Pairs of a map by offset: counted by the blocks that make its masks, reported by the last of
// them.
//
// Architecture: any.
#pragma once

#include "common.cuh"

namespace voxtune {

constexpr int PAIR_COUNTS = 127;  // counts of offsets; the word behind them says how many blocks have counted

// Adds what a block has counted to `counts`, zeros at first. The last of so many blocks tells the
// host: `report` is page-locked memory. For a whole block, whose threads have counted in shared
// memory.
__device__ __forceinline__ void report_pairs(const int* of_block, int volume, unsigned blocks, int* counts, int* report) {
    __shared__ bool is_last;
    __syncthreads();
    for (int k = threadIdx.x; k < volume; k += blockDim.x) {
        if (of_block[k] > 0) atomicAdd(counts + k, of_block[k]);
    }
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) is_last = static_cast<unsigned>(atomicAdd(counts + PAIR_COUNTS, 1)) == blocks - 1;
    __syncthreads();
    if (!is_last) return;
    __threadfence();
    for (int k = threadIdx.x; k < volume; k += blockDim.x) report[k] = *const_cast<volatile int*>(counts + k);
}

}  // namespace voxtune
