// A row's sums over its pairs, of a depthwise layer and of any other.
//
// Architecture: sm_80 and later.
//
// Expects the defines of grouped.cu.
#pragma once

#include "copies.cuh"
#include "shared.cuh"
#include "weights.cuh"

namespace voxtune {

// Gathered rows in flight per thread, as registers allow: few where a row is many copies.
template <bool ALIGNED>
constexpr int BATCH = !ALIGNED ? 2 : IN_FLIGHT;

// A condition that is known when a template is made.
template <bool VALUE>
struct Always {
    __device__ __forceinline__ constexpr operator bool() const { return VALUE; }
};

// A row's sums of a thread's channels, whose first piece begins at `channel`.
template <bool ALIGNED>
__device__ __forceinline__ void sum_depthwise(const TileGemmParams& p, const Shared& shared, float (&sums)[PIECES][WIDTH], int row, int lane,
                                              int channel) {
    constexpr int COUNT = BATCH<ALIGNED>, WORDS = Packed<WIDTH>::WORDS;
    const Element* gathered = p.gathered + channel;
    const Element* weights = shared.weights + lane * WIDTH;
    const int inside = p.c_out - channel;
    int left = shared.pairs[row], at = row;
    // Whole batches without a question, then what is left.
    auto add = [&](auto whole) {
        Packed<WIDTH> x[COUNT][PIECES];
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            if (whole || i < left) {
                const Element* source = row_of(gathered, shared.sources[at + i * ROWS], p.gathered_pitch);
                x[i][0] = load_part<ALIGNED, WIDTH, VEC_A, true>(source, inside);
#pragma unroll
                for (int s = 1; s < PIECES; ++s) x[i][s] = load_part<ALIGNED, WIDTH, VEC_A>(source + s * STRIDE, inside - s * STRIDE);
            }
        }
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            if (!whole && i >= left) break;
            struct alignas(WORDS * 4) Line {
                Packed<WIDTH> packed;
            };
            const Element* own = weights + shared.offsets[at + i * ROWS] * COLS;
#pragma unroll
            for (int s = 0; s < PIECES; ++s) {
                const Line of = *reinterpret_cast<const Line*>(own + s * STRIDE);
#pragma unroll
                for (int e = 0; e < WIDTH; ++e) sums[s][e] = fmaf(x[i][s].at(e), of.packed.at(e), sums[s][e]);
            }
        }
    };
    for (; left >= COUNT; left -= COUNT, at += COUNT * ROWS) add(Always<true>{});
    if (left > 0) add(Always<false>{});
}

template <bool ALIGNED>
__device__ __forceinline__ void sum_groups(const TileGemmParams& p, const GroupParams& group, const Shared& shared, float (&sums)[WIDTH],
                                           int row, int column, int channel) {
    const int c_result = DIRECTION == 1 ? p.c_in : p.c_out, gathered = GATHERED ? GATHERED : group.gathered;
    constexpr int COUNT = BATCH<ALIGNED>;
    int own[SUBS];
#pragma unroll
    for (int s = 0; s < SUBS; ++s) own[s] = (channel + s * RUN) / group.result * gathered;
    for (int left = shared.pairs[row], at = row; left > 0; left -= COUNT, at += COUNT * ROWS) {
        // The pairs at hand are summed by themselves where they may be long sums: one running sum
        // of all would lose a float32 result's last digits.
        float own_sums[WIDTH] = {};
        const Element* source[COUNT];
#pragma unroll
        for (int i = 0; i < COUNT; ++i) source[i] = row_of(p.gathered, i < left ? shared.sources[at + i * ROWS] : 0, p.gathered_pitch);
#pragma unroll 1
        for (int d = 0; d < gathered; d += CHUNK) {
            Packed<CHUNK> x[COUNT][SUBS];
#pragma unroll
            for (int i = 0; i < COUNT; ++i) {
#pragma unroll
                for (int s = 0; s < SUBS; ++s) {
                    const bool present = i < left && channel + s * RUN < c_result;
                    x[i][s] = load_part<ALIGNED, CHUNK, CHUNK>(source[i] + own[s] + d, present ? CHUNK : 0);
                }
            }
#pragma unroll
            for (int i = 0; i < COUNT; ++i) {
                if (i >= left) break;
                const int k = shared.offsets[at + i * ROWS];
#pragma unroll
                for (int s = 0; s < SUBS; ++s) {
                    const int c = channel + s * RUN;
                    if (c >= c_result) break;
                    float of[CHUNK][RUN];
                    load_weights<ALIGNED>(p, group, shared, k, d, column, c, of);
#pragma unroll
                    for (int e = 0; e < CHUNK; ++e) {
#pragma unroll
                        for (int j = 0; j < RUN; ++j) {
                            float& sum = GATHERED ? sums[s * RUN + j] : own_sums[s * RUN + j];
                            sum = fmaf(x[i][s].at(e), of[e][j], sum);
                        }
                    }
                }
            }
        }
        if constexpr (GATHERED == 0) {
#pragma unroll
            for (int e = 0; e < WIDTH; ++e) sums[e] += own_sums[e];
        }
    }
}

}  // namespace voxtune
