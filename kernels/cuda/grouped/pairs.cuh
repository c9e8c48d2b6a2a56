// grouped over pairs: wgrad. A partial result of each unit, as in pair_units.cuh.
//
// Architecture: sm_80 and later. The host mirrors INS and SHARED_BYTES.
//
// Expects the defines of grouped.cu.
#pragma once

#include "../pair_units.cuh"
#include "copies.cuh"
#include "threads.cuh"

namespace voxtune {

constexpr int INS = DEPTHWISE ? 1 : 4;  // input channels of a group that a block takes; mirrored by the host
constexpr int SHARED_BYTES = AT_ONCE * INS * COLS * 4;
// Pairs in flight per thread.
template <bool ALIGNED>
constexpr int BATCH = !ALIGNED ? 1 : IN_FLIGHT;

extern "C" __constant__ int voxtune_launch[2] = {THREADS, SHARED_BYTES};

template <bool ALIGNED>
__device__ __forceinline__ void add_pairs(const PairGemmParams& p, float (&sums)[INS][WIDTH], const int (&own)[SUBS], int ins, int channel,
                                          int begin, int end) {
    constexpr int COUNT = BATCH<ALIGNED>;
    const int inside = p.c_out - channel;
    for (int pair = begin + int(threadIdx.x) / LANES; pair < end; pair += COUNT * AT_ONCE) {
        Packed<WIDTH> g[COUNT];
        Packed<DEPTHWISE ? WIDTH : INS> x[COUNT][DEPTHWISE ? 1 : SUBS];
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            const int at = pair + i * AT_ONCE;
            if (at >= end) continue;
            const Element* from = row_of(p.x, __ldg(p.in_rows + at), p.x_pitch);
            g[i] = load_part<ALIGNED, WIDTH, VEC_Y>(row_of(p.g, __ldg(p.out_rows + at), p.g_pitch) + channel, inside);
            if constexpr (DEPTHWISE) {
                x[i][0] = load_part<ALIGNED, WIDTH, VEC_A>(from + channel, inside);
            } else {
#pragma unroll
                for (int s = 0; s < SUBS; ++s) {
                    x[i][s] = load_part<ALIGNED, INS, CHUNK>(from + own[s], s * RUN < inside ? ins : 0);
                }
            }
        }
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            if (pair + i * AT_ONCE >= end) break;
#pragma unroll
            for (int e = 0; e < WIDTH; ++e) {
#pragma unroll
                for (int d = 0; d < INS; ++d) {
                    if (!DEPTHWISE && (e >= inside || d >= ins)) continue;
                    const float factor = DEPTHWISE ? x[i][0].at(e) : x[i][DEPTHWISE ? 0 : e / RUN].at(d);
                    sums[d][e] = fmaf(factor, g[i].at(e), sums[d][e]);
                }
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) grouped(const __grid_constant__ PairGemmParams p,
                                                              const __grid_constant__ GroupParams group) {
    extern __shared__ __align__(16) float parts[];  // (AT_ONCE, INS, COLS)
    const int col_tiles = ceil_div(p.c_out, COLS), tiles = ceil_div(group.gathered, INS) * col_tiles;
    const int unit = blockIdx.x / tiles, tile = blockIdx.x % tiles;
    const int first_in = tile / col_tiles * INS, column = tile % col_tiles * COLS;
    const int lane = threadIdx.x % LANES, channel = column + lane * WIDTH;
    int begin, end, own[SUBS];
    p.units.range(unit, begin, end);
#pragma unroll
    for (int s = 0; s < SUBS; ++s) own[s] = (channel + s * RUN) / group.result * group.gathered + first_in;
    float sums[INS][WIDTH] = {};
    const int ins = group.gathered - first_in;
    if (channel < p.c_out) {
        if (p.copies_aligned) add_pairs<true>(p, sums, own, ins, channel, begin, end);
        else add_pairs<false>(p, sums, own, ins, channel, begin, end);
    }
#pragma unroll
    for (int d = 0; d < INS; ++d) {
#pragma unroll
        for (int e = 0; e < WIDTH; ++e) parts[(threadIdx.x / LANES * INS + d) * COLS + lane * WIDTH + e] = sums[d][e];
    }
    __syncthreads();
    float* partial = p.partial + (int64_t(unit) * group.gathered + first_in) * p.c_out + column;
    for (int i = threadIdx.x; i < INS * COLS; i += THREADS) {
        if (column + i % COLS >= p.c_out || i / COLS >= ins) continue;
        float sum = 0;
        for (int other = 0; other < AT_ONCE; ++other) sum += parts[other * INS * COLS + i];
        partial[int64_t(i / COLS) * p.c_out + i % COLS] = sum;
    }
}

}  // namespace voxtune
