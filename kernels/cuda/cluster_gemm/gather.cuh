// The gathering warpgroup of cluster_gemm: the items of a plan into the stages of the ring.
//
// Copies are those of wgmma_gemm_gather.cuh, but for weights that are small. What is asked for, and
// when:
//   numbers of an item's rows    with the first stage of the item before, or with SUMS_IN_RING
//                                behind its last; of the first item, at once
//   weights of the first item    of its first stages before its row numbers are there
//   all else                     as the ring has room
//
// What says which stage, item and channels it is about is the same in every lane, and the compiler
// knows: it comes of `uniform`. Otherwise each barrier and each call of the TMA is a loop over
// lanes that might differ.
//
// Layouts: numbers of an item are ROWS a line, a line an offset; a warp reads what it has written.
//
// Architecture: sm_90a.
#pragma once

#include "../tile_plan.cuh"
#include "../wgmma_gemm_gather.cuh"
#include "places.cuh"

namespace voxtune {

// Loads of constant data, which stay in front of barriers.
__device__ __forceinline__ int load_now(const int* from) {
    int value;
    asm volatile("ld.global.nc.s32 %0, [%1];\n" : "=r"(value) : "l"(from));
    return value;
}
__device__ __forceinline__ uint2 load_now(const uint2* from) {
    uint2 value;
    asm volatile("ld.global.nc.v2.u32 {%0, %1}, [%2];\n" : "=r"(value.x), "=r"(value.y) : "l"(from));
    return value;
}

template <bool ALIGNED, int L2_LINE>
struct ItemGatherer : Gatherer<ALIGNED, L2_LINE> {
    using Base = Gatherer<ALIGNED, L2_LINE>;
    using Base::blocks_k;
    using Base::lane;
    using Base::p;
    using Base::ring;
    using Base::warp;
    static_assert(ROW_NUMBERS == 1, "a row number a lane");
    static constexpr bool BY_TMA = ALIGNED && !SMALL_WEIGHTS;

    // Pieces of 16 bytes of a warp's row numbers of an offset, and offsets that a warp copies at
    // once. Stages whose weights are asked for while the first row numbers come: each takes its
    // time.
    static constexpr int FIRST_STAGES = STAGES < 3 ? STAGES : 3;

    static constexpr int PIECES = ROWS_A_WARP / 4, AT_ONCE = 32 / PIECES;

    Ring filled;  // the stage that weights are asked for next
    const int column = blockIdx.y * COLS;
    const int own_warp = uniform(threadIdx.x / 32);

    __device__ __forceinline__ ItemGatherer(const TileGemmParams& p, const TensorMap& weights_map, const Tiles& tiles, const char* shared)
        : Base(p, weights_map, tiles, shared), filled(shared) {}

    __device__ __forceinline__ uint32_t numbers(int which) const { return ring.base + NUMBERS_AT + which * NUMBERS_BYTES + warp * ROWS_A_WARP * 4; }

    __device__ __forceinline__ void ask(const uint2& item, int which) const {
        const int piece = lane % PIECES;
        const int* from = p.table + int64_t(tile_of(item.y)) * ITEM_ROWS + (LOCKSTEP ? blockIdx.x % CLUSTER * ROWS : 0) + warp * ROWS_A_WARP + piece * 4;
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

    // The lowest offsets of a list, as many as a stage takes: its last one again where there are
    // fewer. Returns those that are left.
    static __device__ __forceinline__ uint32_t take(uint32_t left, int (&offsets)[OFFSETS]) {
#pragma unroll
        for (int i = 0; i < OFFSETS; ++i) {
            offsets[i] = i == 0 || left != 0 ? __ffs(left) - 1 : offsets[max_of(i - 1, 0)];
            left &= left - 1;
        }
        return left;
    }

    // The weights of one slot by copies of 16 bytes, a warp for every 32.
    __device__ __forceinline__ void copy_small_weights(int offset, int slot, int channel) const {
        constexpr int CHUNKS = WIDTH_B / 8, ALL = PANELS_B * LINES_B * CHUNKS;
        static_assert(ALL <= GATHER_THREADS || !SMALL_WEIGHTS, "a copy a thread");
        const int i = (threadIdx.x + GATHER_THREADS - slot * ALL % GATHER_THREADS) % GATHER_THREADS;
        if (i >= ALL) return;
        const int panel = i / (LINES_B * CHUNKS), line = i / CHUNKS % LINES_B, chunk = i % CHUNKS;
        const int out = (DGRAD ? channel : column) + panel * WIDTH_B + chunk * 8, in = (DGRAD ? column : channel) + line;
        const bool inside = in < p.c_in && out < p.c_out;
        const Element* from = p.weights + (int64_t(offset) * p.c_in + (inside ? in : 0)) * p.c_out + (inside ? out : 0);
        copy_async_l2(filled.slot(slot) + A_BYTES + panel * PANEL_BYTES_B + LinesB::at(line, chunk), from, inside);
    }

    // Whether a stage has half of its channels only. dgrad's boxes bring all of them.
    __device__ __forceinline__ bool is_half(int block) const {
        return HALF_STAGES && !DGRAD && BY_TMA && this->c_gathered - block * DEPTH <= DEPTH / 2;
    }

    // The boxes of a stage that this warp brings, every fourth one; warps take turns, since a call
    // takes its time. In lockstep, this block's lines of each, to all. One call in a loop of the
    // whole warp: unrolled calls, each behind a question for its lane, cost every warp as much as
    // the calls of all.
    __device__ __forceinline__ void copy_boxes(const int (&weights)[OFFSETS], int channel, bool half) const {
        constexpr int BOXES = OFFSETS * PANELS_B, LINES = LINES_B / (LOCKSTEP ? CLUSTER : 1);
        static_assert(!LOCKSTEP || LINES % 8 == 0, "a block's lines are whole swizzles");
        const int rank = LOCKSTEP ? blockIdx.x % CLUSTER : 0;
        if (half && rank * LINES >= DEPTH / 2) return;
#pragma unroll 1
        for (int box = (own_warp + filled.stage) % GATHER_WARPS; box < BOXES; box += GATHER_WARPS) {
            const int slot = box / PANELS_B, panel = box % PANELS_B;
            int offset = weights[0];
#pragma unroll
            for (int i = 1; i < OFFSETS; ++i) offset = slot == i ? weights[i] : offset;
            const int out = (DGRAD ? channel : column) + panel * WIDTH_B, in = (DGRAD ? column : channel) + rank * LINES;
            const uint32_t to = filled.slot(slot) + A_BYTES + panel * PANEL_BYTES_B + rank * LINES * WIDTH_B * 2;
            if (!elect()) continue;
            if constexpr (LOCKSTEP && CLUSTER > 1) copy_box_to_all(to, this->weights_map, out, in, offset, filled.full());
            else copy_box(to, this->weights_map, out, in, offset, filled.full());
        }
    }

    // Asks for the weights of one stage: `ahead` and `block` say of which, and move on.
    __device__ __forceinline__ void bring_weights(uint32_t& ahead, int& block) {
        const int channel = block * DEPTH;
        const bool half = is_half(block);
        int offsets[OFFSETS];
        const uint32_t left = take(ahead, offsets);
        const int bytes = half && CLUSTER > 1 ? OFFSETS * B_BYTES / 2 : OFFSETS * B_BYTES;
        if (BY_TMA && threadIdx.x == 0) barrier_arrive_expecting(filled.full(), bytes);
#pragma unroll
        for (int i = 0; i < OFFSETS; ++i) offsets[i] = p.mirror ? p.volume - 1 - offsets[i] : offsets[i];
        if constexpr (BY_TMA) {
            copy_boxes(offsets, channel, half);
        } else {
#pragma unroll
            for (int i = 0; i < OFFSETS; ++i) {
                if constexpr (ALIGNED) copy_small_weights(offsets[i], i, channel);
                else this->copy_weights_slowly(offsets[i], filled.slot(i), channel, column);
            }
        }
        filled.advance();
        if (++block == blocks_k) {
            block = 0;
            ahead = left;
        }
    }

    // Where a block's item of a round is: forth and back over clusters, so that who has had a long
    // one gets a short one.
    static __device__ __forceinline__ int item_of_round(int round) {
        const int rank = blockIdx.x % CLUSTER, forth = blockIdx.x - rank, back = gridDim.x - CLUSTER - forth;
        if (LOCKSTEP) return (round * gridDim.x + (round % 2 == 0 ? forth : back)) / CLUSTER;
        return round * gridDim.x + (round % 2 == 0 ? forth : back) + rank;
    }

    // The block's next item that there is anything to do for; false for none.
    static __device__ __forceinline__ bool next_item(const uint2* items, int count, int& round, uint2& item) {
        while (true) {
            const int at = item_of_round(++round);
            if (at >= count) return false;
            item = uniform(__ldg(items + at));
            if (item.y != ~0u) return true;
        }
    }

    // `item` is the first one's, `count` the plan's.
    __device__ __forceinline__ void run(const uint2* items, uint2 item, int count) {
        item = uniform(item), count = uniform(count);
        bool first = true, follows = item_of_round(0) < count;
        int which = 0, parity = 0, round = 0;
        if (follows && item.y == ~0u) follows = next_item(items, count, round, item);
        if (follows) ask(item, which);
        if (GATHERERS_WAIT_FIRST) cluster_wait();  // for barriers of the others
#pragma unroll 1
        while (follows) {
            uint2 next = make_uint2(0, 0);
            follows = next_item(items, count, round, next);
            int left = __popc(item.x);  // offsets of the stages to come
            const int total = ceil_div(left, OFFSETS) * blocks_k;
            uint32_t ahead = item.x;
            int block_ahead = 0, brought = 0;
            filled = ring;
            if (ALIGNED && first) {
                brought = min(total, FIRST_STAGES);
#pragma unroll 1
                for (int s = 0; s < brought; ++s) bring_weights(ahead, block_ahead);
            }
            if (SUMS_IN_RING && !LOCKSTEP && !first) {
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
                int rows[BATCH][ROW_NUMBERS];
#pragma unroll
                for (int i = 0; i < OFFSETS; ++i) {
                    rows[i][0] = i == 0 || i < left ? load_word(number + i * (ROWS * 4)) : -1;
                }
                if (s >= brought) {
                    barrier_wait(ring.empty(), ring.parity ^ 1);
                    bring_weights(ahead, block_ahead);
                }
#pragma unroll
                for (int i = 0; i < OFFSETS; ++i) copy_rows(rows[i], ring.slot(i), block * DEPTH);
                this->finish(rows, item.y | (s == total - 1) | (is_half(block) ? HALF : 0), BY_TMA);
                if (++block == blocks_k) {
                    block = 0;
                    number += OFFSETS * ROWS * 4;
                    left -= OFFSETS;
                }
                if (!SUMS_IN_RING && s == 0 && follows) ask(next, which ^ 1);
            }
            if (total == 0) this->gather_nothing(item.y | 1);
            if (SUMS_IN_RING) __syncwarp();
            else which ^= 1;
            if ((SUMS_IN_RING || total == 0) && follows) ask(next, which);
            item = next;
        }
        this->gather_nothing(-1);
        if (LOCKSTEP) drain();
    }

    // Waits until all stages but the last one, which nobody releases, have been released by all
    // blocks: nothing comes to this one any more.
    __device__ __forceinline__ void drain() {
#pragma unroll 1
        for (int i = 0; i < STAGES - 1; ++i) {
            barrier_wait(ring.empty(), ring.parity ^ 1);
            ring.advance();
        }
    }
};

}  // namespace voxtune
