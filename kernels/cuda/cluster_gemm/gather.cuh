// The gathering warpgroup of cluster_gemm: the items of a plan into the stages of the ring.
//
// Copies are those of wgmma_gemm_gather.cuh. What is asked for, and when:
//   numbers of an item's rows    with the first stage of the item before, or with SUMS_IN_RING behind
//                                its last; of the first item, at once
//   weights of the first item    before its row numbers are there, as many stages as the ring has
//   all else                     as the ring has room
//
// Layouts: numbers of an item are ROWS a line, a line an offset; a warp reads what it has written.
//
// Architecture: sm_90a.
#pragma once

#include "../tile_plan.cuh"
#include "../wgmma_gemm_gather.cuh"
#include "places.cuh"

namespace voxtune {

template <bool ALIGNED, int L2_LINE>
struct ItemGatherer : Gatherer<ALIGNED, L2_LINE> {
    using Base = Gatherer<ALIGNED, L2_LINE>;
    using Base::blocks_k;
    using Base::lane;
    using Base::p;
    using Base::ring;
    using Base::warp;
    static_assert(ROW_NUMBERS == 1, "a row number a lane");

    // Pieces of 16 bytes of a warp's row numbers of an offset, and offsets that a warp copies at once.
    static constexpr int PIECES = ROWS_A_WARP / 4, AT_ONCE = 32 / PIECES;

    Ring filled;  // the stage that weights are asked for next
    const int column = blockIdx.y * COLS;

    __device__ __forceinline__ ItemGatherer(const TileGemmParams& p, const TensorMap& weights_map, const Tiles& tiles, const char* shared)
        : Base(p, weights_map, tiles, shared), filled(shared) {}

    __device__ __forceinline__ uint32_t numbers(int which) const { return ring.base + NUMBERS_AT + which * NUMBERS_BYTES + warp * ROWS_A_WARP * 4; }

    __device__ __forceinline__ void ask(const uint2& item, int which) const {
        const int piece = lane % PIECES;
        const int* from = p.table + int64_t(tile_of(item.y)) * ROWS + warp * ROWS_A_WARP + piece * 4;
        uint32_t to = numbers(which) + lane / PIECES * (ROWS * 4) + piece * 16;
        uint32_t left = item.x;
        for (int i = 0; i < lane / PIECES; ++i) left &= left - 1;
#pragma unroll 1
        while (left != 0) {
            const int offset = __ffs(left) - 1;
            copy_async_l2(to, from + uint64_t(uint32_t(offset)) * uint32_t(p.table_pitch), true);
#pragma unroll
            for (int i = 0; i < AT_ONCE; ++i) left &= left - 1;
            to += AT_ONCE * ROWS * 4;
        }
        commit_copies();
        __syncwarp();
    }

    // This warp's present rows of one block of channels. Rows of multiples of four elements come by
    // eight bytes.
    __device__ __forceinline__ void copy_rows(const int (&rows)[ROW_NUMBERS], uint32_t slot, int channel) const {
        if constexpr (DGRAD || !FOURS) {
            Base::copy_rows(rows, slot, channel);
            return;
        }
        const int first = channel + lane % Base::CHUNKS_A * 8;
#pragma unroll
        for (int pass = 0; pass < Base::PASSES_A; ++pass) {
            const int line = pass * Base::LINES_A_PASS;
            const int row = __shfl_sync(0xffffffffu, rows[0], line + lane / Base::CHUNKS_A);
            const uint32_t to = slot + LinesA::at(warp * ROWS_A_WARP + line + lane / Base::CHUNKS_A, lane % Base::CHUNKS_A);
            const Element* from = p.gathered + int64_t(row) * p.gathered_pitch + first;
#pragma unroll
            for (int panel = 0; panel < PANELS_A; ++panel) {
                const int along = panel * WIDTH_A, left = p.c_in - first - along;
                const uint32_t target = to + panel * PANEL_BYTES_A;
                if constexpr (ALIGNED) {
                    copy_async_row<8>(target, from + along, row, left > 0);
                    copy_async_row<8>(target + 8, from + along + 4, row, left > 4);
                } else if (row >= 0) {
                    copy_elements(this->generic(target), from + along, max(min(left, 8), 0));
                }
            }
        }
    }

    // Asks for the weights of one stage: `ahead` and `block` say of which, and move on.
    __device__ __forceinline__ void bring_weights(uint32_t& ahead, int& block) {
        const int offset = __ffs(ahead) - 1, weights = p.mirror ? p.volume - 1 - offset : offset, channel = block * DEPTH;
        if constexpr (ALIGNED) {
            if (threadIdx.x == 0) barrier_arrive_expecting(filled.full(), B_BYTES);
            if (warp < PANELS_B && lane == 0) {
#pragma unroll
                for (int i = 0; i < PANELS_B; i += GATHER_WARPS) {
                    const int panel = i + warp;
                    if (panel >= PANELS_B) break;
                    const int out = (DGRAD ? channel : column) + panel * WIDTH_B, in = DGRAD ? column : channel;
                    copy_box(filled.slot(0) + A_BYTES + panel * PANEL_BYTES_B, this->weights_map, out, in, weights, filled.full());
                }
            }
        } else {
            this->copy_weights_slowly(weights, filled.slot(0), channel, column);
        }
        filled.advance();
        if (++block == blocks_k) {
            block = 0;
            ahead &= ahead - 1;
        }
    }

    __device__ __forceinline__ void run(const uint4* plan) {
        const auto* items = reinterpret_cast<const uint2*>(plan + 1);
        uint2 item = __ldg(items + blockIdx.x);
        const int count = __ldg(reinterpret_cast<const int*>(plan));
        bool first = true;
        int which = 0, parity = 0;
        if (int(blockIdx.x) < count) ask(item, which);
#pragma unroll 1
        for (int at = blockIdx.x; at < count; at += gridDim.x) {
            const int following = at + gridDim.x;
            uint2 next = make_uint2(0, 0);
            if (following < count) next = __ldg(items + following);
            const int total = __popc(item.x) * blocks_k;
            uint32_t ahead = item.x;
            int block_ahead = 0, brought = 0;
            filled = ring;
            if (ALIGNED && first) {
                brought = min(total, STAGES);
#pragma unroll 1
                for (int s = 0; s < brought; ++s) bring_weights(ahead, block_ahead);
            }
            if (SUMS_IN_RING && !first) {
                barrier_wait(ring.base + FREE_AT, parity);
                parity ^= 1;
            }
            first = false;
            wait_copies<0>();
            __syncwarp();
            uint32_t number = numbers(which) + lane % ROWS_A_WARP * 4;
            int block = 0;
#pragma unroll 1
            for (int s = 0; s < total; ++s) {
                if (s >= brought) {
                    barrier_wait(ring.empty(), ring.parity ^ 1);
                    bring_weights(ahead, block_ahead);
                }
                int rows[BATCH][ROW_NUMBERS];
                rows[0][0] = load_word(number);
                copy_rows(rows[0], ring.slot(0), block * DEPTH);
                this->finish(rows, item.y | (s == total - 1), ALIGNED);
                if (++block == blocks_k) {
                    block = 0;
                    number += ROWS * 4;
                }
                if (!SUMS_IN_RING && s == 0 && following < count) ask(next, which ^ 1);
            }
            if (total == 0) this->gather_nothing(item.y | 1);
            if (SUMS_IN_RING) __syncwarp();
            else which ^= 1;
            if ((SUMS_IN_RING || total == 0) && following < count) ask(next, which);
            item = next;
        }
        this->gather_nothing(-1);
    }
};

}  // namespace voxtune
