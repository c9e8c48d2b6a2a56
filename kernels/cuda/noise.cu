// Values that depend on a seed and an element's place alone: operands for measuring and verifying.
//
// The counter-based form of SplitMix64 (Steele, Lea and Flood 2014): element i is the mix of seed +
// (i + 1) * golden. The host computes the same values, to the bit in every storage type. 24 bits of
// the mix give a multiple of 2^-23 in [-1, 1) without rounding. Storing it rounds to the nearest
// even on both sides.
//
// Architecture: any. 256 threads per block, any number of blocks.
#include "common.cuh"

using namespace voxtune;

__device__ __forceinline__ float noise(uint64_t seed, uint64_t index) {
    uint64_t bits = seed + (index + 1) * 0x9E3779B97F4A7C15ull;
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9ull;
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBull;
    bits ^= bits >> 31;
    return static_cast<float>(static_cast<uint32_t>(bits >> 40)) * (1.0f / (1 << 23)) - 1.0f;
}

// One in eight is 1 or -1 and the rest is 0.
__device__ __forceinline__ float small_integer(uint64_t seed, uint64_t index) {
    const float value = noise(seed, index);
    return value < -0.875f ? -1.0f : value >= 0.875f ? 1.0f : 0.0f;
}

template <typename To, typename Value>
__device__ __forceinline__ void fill(typename To::type* target, int64_t length, Value value) {
    for (int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x; i < length; i += int64_t(gridDim.x) * 256) target[i] = To::store(value(i));
}

#define FILL(NAME, VALUE, DTYPE)                                                                                                   \
    extern "C" __global__ void __launch_bounds__(256) NAME(Storage<DTYPE>::type* target, int64_t length, uint64_t seed) {          \
        fill<Storage<DTYPE>>(target, length, [=](int64_t i) { return VALUE(seed, static_cast<uint64_t>(i)); });                    \
    }

FILL(uniform_float16, noise, 0)
FILL(uniform_bfloat16, noise, 1)
FILL(uniform_float32, noise, 2)
FILL(integers_float16, small_integer, 0)
FILL(integers_bfloat16, small_integer, 1)
FILL(integers_float32, small_integer, 2)
