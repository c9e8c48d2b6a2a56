// The multiplying side of mask_gemm: the products of one stage.
//
// Layouts: stages as in mask_gemm_stages.cuh. A warp owns WARP_ROWS x WARP_COLS of the block's
// tile: acc[m][n] is the fragment of 16 rows m and eight columns n, as mma of common.cuh holds it.
//
// Invariants
// * An absent row is never loaded: the lane's ldmatrix address points at a line of zeros in its own
//   bank group instead.
// * A warp skips a fragment of 16 rows in which no row has the offset.
//
// Architecture: sm_80 and later.
//
// Expects the defines of mask_gemm.cu.
#pragma once

#include "mask_gemm_stages.cuh"

namespace voxtune {

// Where a lane's ldmatrix reads in a stage: the first fragment's place. Others lie a fixed step or
// a fixed exclusive-or away, because a swizzle repeats every eight lines and fragments start at
// multiples of sixteen.
struct LanePlaces {
    uint32_t a, b;
    __device__ __forceinline__ LanePlaces(int warp_m, int warp_n) {
        const int lane = threadIdx.x % 32;
        a = TileA::at(warp_m * WARP_ROWS + lane % 16, lane / 16);
        if (DGRAD) b = A_BYTES + TileB::at(warp_n * WARP_COLS + lane % 8 + lane / 16 * 8, lane / 8 % 2);
        else b = A_BYTES + TileB::at(lane % 16, warp_n * (WARP_COLS / 8) + lane / 16);
        pin(a);
        pin(b);
    }
};

// One stage's products into the accumulators of this warp.
__device__ __forceinline__ void multiply(float (&acc)[FRAGS_M][FRAGS_N][4], const Shared& s, uint32_t stage, int offset, int warp_m,
                                         const LanePlaces& places, const uint32_t (&row_bits)[FRAGS_M],
                                         const uint32_t (&group_bits)[FRAGS_M]) {
    const int lane = threadIdx.x % 32;
    const uint32_t zeros = shared_address(s.zeros);
    uint32_t a_base[FRAGS_M];
    bool active[FRAGS_M];
    bool any = false;
#pragma unroll
    for (int m = 0; m < FRAGS_M; ++m) {
        bool present;
        if (MASK_WORDS == 1) {
            present = row_bits[m] >> offset & 1;
            active[m] = group_bits[m] >> offset & 1;
        } else {
            const int row = warp_m * WARP_ROWS + m * 16 + lane % 16;
            present = s.mask[row * MASK_WORDS + offset / 32] >> (offset % 32) & 1;
            active[m] = s.group[row / 16 * MASK_WORDS + offset / 32] >> (offset % 32) & 1;
        }
        const uint32_t place = stage + places.a + m * 16 * TileA::PITCH * 16;
        a_base[m] = present ? place : zeros + (place & 0x70);
        any |= active[m];
    }
    if (!any) return;
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
        uint32_t b[FRAGS_N / 2][4];
#pragma unroll
        for (int n = 0; n < FRAGS_N / 2; ++n) {
            if (DGRAD) ldmatrix(b[n], along<TileB>(stage + places.b, step) + n * 16 * TileB::PITCH * 16);
            else ldmatrix_trans(b[n], along<TileB>(stage + places.b, n) + step * 16 * TileB::PITCH * 16);
        }
        // All loads first, those of skipped fragments included (they read zeros): one wait instead
        // of one a fragment.
        uint32_t a[FRAGS_M][4];
#pragma unroll
        for (int m = 0; m < FRAGS_M; ++m) ldmatrix(a[m], along<TileA>(a_base[m], step));
#pragma unroll
        for (int m = 0; m < FRAGS_M; ++m) {
            if (!active[m]) continue;
#pragma unroll
            for (int n = 0; n < FRAGS_N; ++n) mma(acc[m][n], a[m], b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
        }
    }
}

}  // namespace voxtune
