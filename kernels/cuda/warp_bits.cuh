// What the lanes of a warp tell each other while maps are built.
//
// Architecture: any.
#pragma once

#include "common.cuh"

namespace voxtune {

constexpr uint32_t ALL_LANES = 0xffffffffu;

// Bit b of lane l goes to bit l of lane b.
__device__ __forceinline__ uint32_t transpose(uint32_t bits) {
    const int lane = threadIdx.x % 32;
    uint32_t keep = 0x0000ffffu;
#pragma unroll
    for (int step = 16; step > 0; step /= 2, keep ^= keep << step) {
        const uint32_t other = __shfl_xor_sync(ALL_LANES, bits, step);
        bits = lane & step ? (bits & ~keep) | (other & ~keep) >> step : (bits & keep) | (other & keep) << step;
    }
    return bits;
}

__device__ __forceinline__ int inclusive_sum(int value) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
        const int up = __shfl_up_sync(ALL_LANES, value, step);
        if (lane >= step) value += up;
    }
    return value;
}

}  // namespace voxtune
