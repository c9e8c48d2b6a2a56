// A multiplying warpgroup of cluster_gemm: the products of the stages, item after item.
//
// Few blocks of an SM hide little of each other's latencies, so a stage is one group of products:
// all of its rows are loaded, then all is multiplied, and one wait stands between stages.
// Multiplier, of wgmma_gemm, goes a fragment of rows at a time and leaves out empty ones.
//
// Layouts: stages as in wgmma_gemm_stages.cuh. A slot past an item's offsets has weights, and no
// row.
//
// Invariants
// * As Multiplier, it fences between a stage's arrival and reading it where weights come by
//   ordinary writes or copies.
// * Registers of A are loaded behind a wait for all products. So nothing is committed where nothing
//   is multiplied, which Multiplier has to.
//
// Architecture: sm_90a.
#pragma once

#include "../wgmma_gemm_multiply.cuh"
#include "places.cuh"

namespace voxtune {

struct ItemMultiplier : Multiplier {
    // Steps of a slot that are loaded together: as many as registers take of all rows of a stage.
    static constexpr int SETS = OFFSETS * FRAGS_M, MOST = FRAGS_M * COLS < 256 ? 8 : 4;
    static constexpr int PIECES = SETS * STEPS <= MOST ? 1 : STEPS % 2 == 0 && SETS * STEPS <= 2 * MOST ? 2 : STEPS;
    static constexpr int PIECE = STEPS / PIECES;

    using Multiplier::Multiplier;

    // A stage is not read any more: to its own block, and to those that bring weights to it.
    __device__ __forceinline__ void release(uint32_t stage) const {
        if (lane < RELEASING_LANES) barrier_arrive(stage);
        if (LOCKSTEP && lane > 0 && lane < CLUSTER) arrive_in_cluster(place_in(stage, (blockIdx.x + lane) % CLUSTER), 1);
    }
    __device__ __forceinline__ void release_before() {
        if (before != 0) release(before);
        before = ring.empty();
    }

    // The first TAKEN steps of each slot.
    template <int TAKEN>
    __device__ __forceinline__ void multiply_steps() {
        constexpr int TOGETHER = TAKEN < PIECE ? TAKEN : PIECE;
        uint32_t from[SETS], panel_bytes[SETS], rows = 0;
#pragma unroll
        for (int slot = 0; slot < OFFSETS; ++slot) {
            uint32_t words[FRAGS_M * 2];
            load_words(ring.words(slot) + group * FRAGS_M * 8, words);
#pragma unroll
            for (int m = 0; m < FRAGS_M; ++m) {
                const int set = slot * FRAGS_M + m;
                const uint32_t low = words[m * 2], high = words[m * 2 + 1];
                const bool present = ((warp < 2 ? low : high) & own_bit) != 0;
                from[set] = present ? ring.slot(slot) + place + m * 64 * WIDTH_A * 2 : absent;
                panel_bytes[set] = present ? PANEL_BYTES_A : 0;
                rows |= low | high;
            }
        }
        const bool any = __any_sync(0xffffffffu, rows != 0);
#pragma unroll
        for (int piece = 0; piece < TAKEN / TOGETHER; ++piece) {
            warpgroup_wait<0>();
            if (piece == 0) release_before();
            if (any) {
                uint32_t own[SETS][TOGETHER][4];
#pragma unroll
                for (int set = 0; set < SETS; ++set) {
#pragma unroll
                    for (int i = 0; i < TOGETHER; ++i) {
                        const int k = (piece * TOGETHER + i) * 16;
                        ldmatrix(own[set][i], (from[set] ^ (k % WIDTH_A * 2)) + k / WIDTH_A * panel_bytes[set]);
                    }
                }
                warpgroup_arrive();
#pragma unroll
                for (int set = 0; set < SETS; ++set) {
#pragma unroll
                    for (int i = 0; i < TOGETHER; ++i) {
                        const int k = (piece * TOGETHER + i) * 16;
                        const uint32_t along = DGRAD ? k / WIDTH_B * PANEL_BYTES_B + k % WIDTH_B * 2 : k * WIDTH_B * 2;
                        const uint32_t b = ring.slot(set / FRAGS_M) + A_BYTES + along;
                        Wgmma<COLS>::template product<DGRAD>(acc[set % FRAGS_M], own[set][i], described(LAYOUT_B, b));
                    }
                }
                warpgroup_commit();
            }
        }
    }

    __device__ __forceinline__ void multiply_stage(int word) {
        if constexpr (HALF_STAGES) {
            if (word & HALF) return multiply_steps<STEPS / 2>();
        }
        multiply_steps<STEPS>();
    }

    // The stages of an item, the first of which is here.
    __device__ __forceinline__ void multiply_item(int word) {
        clear(acc[0]);
        if constexpr (FRAGS_M > 1) clear(acc[1]);
        while (true) {
            if (SMALL_WEIGHTS || !p.copies_aligned) fence_proxy_async();
            multiply_stage(word);
            ring.advance();
            if (word & 1) break;
            word = wait_stage();
        }
        warpgroup_wait<0>();
        fence_accumulators(acc[0]);
        if constexpr (FRAGS_M > 1) fence_accumulators(acc[1]);
        release(before);
        before = 0;
    }
};

}  // namespace voxtune
