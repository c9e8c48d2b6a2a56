// Storage types, chosen by VOXTUNE_DTYPE: 0 float16, 1 bfloat16, 2 float32. Accumulation is always
// float32.
//
// Architecture: sm_80 and later.
//
// The toolkit's own headers of these types (cuda_fp16.h, cuda_bf16.h) are a quarter of what
// compiling an instance takes, for five conversions, which are one instruction each.
#pragma once

#include <stdint.h>

namespace voxtune {

#ifndef VOXTUNE_DTYPE
#define VOXTUNE_DTYPE 0
#endif

struct Float16 {
    uint16_t bits;
};
struct BFloat16 {
    uint16_t bits;
};

template <int DTYPE>
struct Storage;

template <>
struct Storage<0> {
    using type = Float16;
    static __device__ __forceinline__ float load(type value) {
        float wide;
        asm("{  cvt.f32.f16 %0, %1;}\n" : "=f"(wide) : "h"(value.bits));
        return wide;
    }
    static __device__ __forceinline__ type store(float value) {
        type rounded;
        asm("{  cvt.rn.f16.f32 %0, %1;}\n" : "=h"(rounded.bits) : "f"(value));
        return rounded;
    }
};

template <>
struct Storage<1> {
    using type = BFloat16;
    static __device__ __forceinline__ float load(type value) {
        float wide;
#if __CUDA_ARCH__ >= 900
        asm("{ cvt.f32.bf16 %0, %1;}\n" : "=f"(wide) : "h"(value.bits));
#else
        asm("{ mov.b32 %0, {0,%1};}\n" : "=f"(wide) : "h"(value.bits));
#endif
        return wide;
    }
    static __device__ __forceinline__ type store(float value) {
        type rounded;
        asm("{  cvt.rn.bf16.f32 %0, %1;}\n" : "=h"(rounded.bits) : "f"(value));
        return rounded;
    }
};

template <>
struct Storage<2> {
    using type = float;
    static __device__ __forceinline__ float load(type value) { return value; }
    static __device__ __forceinline__ type store(float value) { return value; }
};

using Dtype = Storage<VOXTUNE_DTYPE>;
using Element = Dtype::type;

// Two accumulators rounded to a storage type of 16 bits, the first in the lower half.
__device__ __forceinline__ uint32_t pack(float low, float high) {
    uint32_t both;
#if VOXTUNE_DTYPE == 1
    asm("{ cvt.rn.bf16x2.f32 %0, %2, %1;}\n" : "=r"(both) : "f"(low), "f"(high));
#else
    asm("{ cvt.rn.f16x2.f32 %0, %2, %1; }\n" : "=r"(both) : "f"(low), "f"(high));
#endif
    return both;
}

}  // namespace voxtune
