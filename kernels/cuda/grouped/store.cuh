// A row's channels through the epilogue to the result.
//
// Architecture: sm_80 and later.
//
// Expects the defines of grouped.cu.
#pragma once

#include "threads.cuh"

namespace voxtune {

// Stores a row's channels by copies of VEC, behind the epilogue.
template <int VEC>
__device__ __forceinline__ void store(const TileGemmParams& p, float (&sums)[WIDTH], int row, int channel, int inside) {
    if (DIRECTION == 0 && p.epilogue.present) {
        if (p.epilogue.residual) {
            const Element* source = p.epilogue.residual + int64_t(row) * p.epilogue.residual_pitch + channel;
            // Written by the thread that reads it, if by anybody: no read-only load.
#pragma unroll
            for (int e = 0; e < WIDTH; ++e) {
                if (e < inside) sums[e] = p.epilogue.apply(sums[e], p.epilogue.affine(channel + e), Dtype::load(source[e]));
            }
        } else {
#pragma unroll
            for (int e = 0; e < WIDTH; ++e) {
                if (e < inside) sums[e] = p.epilogue.apply(sums[e], p.epilogue.affine(channel + e), 0.0f);
            }
        }
    }
    Element* target = p.result + int64_t(row) * p.result_pitch + channel;
    struct alignas(VEC * sizeof(Element)) Copy {
        Element e[VEC];
    };
#pragma unroll
    for (int e = 0; e < WIDTH; e += VEC) {
        if (e >= inside) continue;
        Copy copy;
#pragma unroll
        for (int i = 0; i < VEC; ++i) copy.e[i] = Dtype::store(sums[e + i]);
        *reinterpret_cast<Copy*>(target + e) = copy;
    }
}

}  // namespace voxtune
