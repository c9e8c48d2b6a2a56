// Weights: where they lie in memory, and their way into shared memory and registers.
//
// Architecture: sm_80 and later.
//
// Expects the defines of grouped.cu.
#pragma once

#include "copies.cuh"
#include "shared.cuh"

namespace voxtune {

// The weight of offset k of the table, gathered channel d of a group, result channel c.
__device__ __forceinline__ const Element* weight(const TileGemmParams& p, const GroupParams& group, int k, int d, int c) {
    const int offset = p.mirror ? p.volume - 1 - k : k;
    if constexpr (DIRECTION == 0) {
        return p.weights + (int64_t(offset) * group.gathered + d) * p.c_out + c;
    } else {
        const int own = c / group.result * group.gathered;
        return p.weights + (int64_t(offset) * group.result + c % group.result) * p.c_out + own + d;
    }
}

template <bool ALIGNED>
__device__ __forceinline__ void bring_weights(const TileGemmParams& p, const GroupParams& group, const Shared& shared, int column) {
    const int c_result = DIRECTION == 1 ? p.c_in : p.c_out;
    if constexpr (DEPTHWISE) {
        constexpr int VECTORS = COLS / WIDTH;
        for (int i = threadIdx.x; i < p.volume * VECTORS; i += THREADS) {
            const int k = i / VECTORS, c = i % VECTORS * WIDTH;
            const int offset = p.mirror ? p.volume - 1 - k : k;
            const Element* source = p.weights + int64_t(offset) * c_result + column + c;
            const auto packed = load_part<ALIGNED, WIDTH, VEC_A>(source, c_result - column - c);
            uint32_t* target = reinterpret_cast<uint32_t*>(shared.weights + k * COLS + c);
#pragma unroll
            for (int w = 0; w < Packed<WIDTH>::WORDS; ++w) target[w] = packed.words[w];
        }
    } else {
        for (int i = threadIdx.x; i < p.volume * PER_OFFSET * COLS; i += THREADS) {
            const int c = i % COLS, d = i / COLS % max_of(PER_OFFSET, 1), k = i / (COLS * max_of(PER_OFFSET, 1));
            if (column + c < c_result) shared.weights[i] = *weight(p, group, k, d, column + c);
        }
    }
}

// The weights of an offset between CHUNK gathered channels from d on and RUN result channels from c
// on, which are of one group.
template <bool ALIGNED>
__device__ __forceinline__ void load_weights(const TileGemmParams& p, const GroupParams& group, const Shared& shared, int k, int d,
                                             int column, int c, float (&of)[CHUNK][RUN]) {
    if constexpr (HELD) {
        const Element* source = shared.weights + (k * PER_OFFSET + d) * COLS + c - column;
#pragma unroll
        for (int i = 0; i < CHUNK; ++i) {
#pragma unroll
            for (int j = 0; j < RUN; ++j) of[i][j] = Dtype::load(source[i * COLS + j]);
        }
    } else if constexpr (DIRECTION == 0) {
#pragma unroll
        for (int i = 0; i < CHUNK; ++i) {
            const auto line = load_part<ALIGNED, RUN, RUN>(weight(p, group, k, d + i, c), RUN);
#pragma unroll
            for (int j = 0; j < RUN; ++j) of[i][j] = line.at(j);
        }
    } else {
#pragma unroll
        for (int j = 0; j < RUN; ++j) {
            const auto line = load_part<ALIGNED, CHUNK, CHUNK>(weight(p, group, k, d, c + j), CHUNK);
#pragma unroll
            for (int i = 0; i < CHUNK; ++i) of[i][j] = line.at(i);
        }
    }
}

}  // namespace voxtune
