// The copying side of mask_gemm: row numbers, gathered rows and weights into the ring, STAGES - 1
// steps ahead of the products.
//
// A step is one block of DEPTH gathered channels of one offset. Its rows and weights go to the next
// stage, and with an offset's first step go the row numbers of the offset STAGES - 1 later.
//
// Layouts: table (volume, table_pitch), padded with -1 to whole blocks; in shared memory row
// numbers are (INDEX_SLOTS, ROWS).
//
// Invariants
// * An absent row is not copied.
// * Channels past c_gathered are filled with zeros in both operands (0 * stale NaN is NaN).
//
// Architecture: sm_80 and later.
//
// Expects the defines of mask_gemm.cu.
#pragma once

#include "mask_gemm_stages.cuh"
#include "tile_gemm.cuh"

namespace voxtune {

using PlanA = CopyPlan<TileA, ROWS, DEPTH, VEC_A, THREADS>;
using PlanB = CopyPlan<TileB, B_LINES, B_LENGTH, VEC_B, THREADS>;

// The copying side: its place in the flat list of (offset, block of channels), and the addresses
// that advance with it.
template <bool FAST_A, bool FAST_B>
struct Producer {
    const TileGemmParams& p;
    const Shared& s;
    const int column, c_gathered, count, blocks_k;
    PlanA plan_a;
    PlanB plan_b;
    const char* table;    // of this thread's row numbers, at offset 0
    const char* rows;     // of this thread's first channel, of gathered row 0, in this block of channels
    const char* weights;  // of this thread's first line, in this block of channels
    uint32_t index;       // of this thread's first row number, in this slot
    int left;             // channels of the gathered side from this thread's first along A
    int ordinal = 0, block = 0, slot = 0, stage = 0, offset = 0;

    __device__ __forceinline__ Producer(const TileGemmParams& p, const Shared& s, int first, int column, int count)
        : p(p), s(s), column(column), c_gathered(DGRAD ? p.c_out : p.c_in), count(count), blocks_k(ceil_div(c_gathered, DEPTH)) {
        table = reinterpret_cast<const char*>(p.table + first + threadIdx.x * 4);
        pin(table);
        start_offset();
    }

    // Row numbers of one offset, four a copy. The table is padded with -1 to whole blocks.
    __device__ __forceinline__ void copy_index(int ahead, int into) {
        static_assert(ROWS / 4 <= THREADS, "one copy a thread");
        if (threadIdx.x < ROWS / 4) {
            copy_async_l2(shared_address(s.index) + (into * ROWS + threadIdx.x * 4) * 4, table + uint64_t(s.list[ahead]) * uint32_t(p.table_pitch) * 4, true);
        }
    }

    __device__ __forceinline__ void start_offset() {
        if (ordinal >= count) return;
        const int present = s.list[ordinal];
        offset = p.mirror ? p.volume - 1 - present : present;
        rows = reinterpret_cast<const char*>(p.gathered + plan_a.element);
        const int in = DGRAD ? column + plan_b.line : plan_b.line, out = DGRAD ? plan_b.element : column + plan_b.element;
        weights = reinterpret_cast<const char*>(p.weights + (int64_t(offset) * p.c_in + in) * p.c_out + out);
        index = shared_address(s.index) + (slot * ROWS + plan_a.line) * 4;
        left = c_gathered - plan_a.element;
    }

    __device__ __forceinline__ void advance() {
        rows += DEPTH * 2;
        weights += DGRAD ? DEPTH * 2 : int64_t(DEPTH) * p.c_out * 2;
        left -= DEPTH;
        if (++block == blocks_k) {
            block = 0;
            ++ordinal;
            if (++slot == INDEX_SLOTS) slot = 0;
            start_offset();
        }
        if (++stage == STAGES) stage = 0;
    }

    // Copies what the next step needs.
    __device__ __forceinline__ void step() {
        if (block == 0 && ordinal + STAGES - 1 < count) {
            const int ahead = slot + STAGES - 1;
            copy_index(ordinal + STAGES - 1, ahead < INDEX_SLOTS ? ahead : ahead - INDEX_SLOTS);
        }
        copy_rows();
        copy_weights();
        advance();
    }

    // The present rows' channels of this block.
    __device__ __forceinline__ void copy_rows() {
        char* tile = s.ring + stage * STAGE_BYTES;
        if constexpr (FAST_A) {
            const uint32_t target = shared_address(tile);
            const uint32_t row_bytes = p.gathered_pitch * 2;
            plan_a.each([&](int line, int element, uint32_t place) {
                int row;
                asm volatile("ld.shared.s32 %0, [%1];" : "=r"(row) : "r"(index + line * 4));
                copy_async_row<VEC_A * 2>(target + place, rows + uint64_t(uint32_t(row)) * row_bytes + element * 2, row, element < left);
            });
        } else {
            const int* numbers = s.index + slot * ROWS;
#pragma unroll 1
            for (int i = threadIdx.x; i < ROWS * (DEPTH / 8); i += THREADS) {
                const int line = i / (DEPTH / 8), chunk = i % (DEPTH / 8);
                const int c = block * DEPTH + chunk * 8, row = numbers[line];
                if (row >= 0) copy_elements(tile + TileA::at(line, chunk), p.gathered + int64_t(row) * p.gathered_pitch + c, c_gathered - c);
            }
        }
    }

    // The weights of this block: channels of the gathered side by COLS channels of the result.
    __device__ __forceinline__ void copy_weights() {
        char* tile = s.ring + stage * STAGE_BYTES + A_BYTES;
        const int first_in = DGRAD ? column : block * DEPTH;   // line
        const int first_out = DGRAD ? block * DEPTH : column;  // along the line
        if constexpr (FAST_B) {
            const uint32_t target = shared_address(tile);
            const int line_bytes = p.c_out * 2;
            const int lines_left = p.c_in - first_in - plan_b.line, elements_left = p.c_out - first_out - plan_b.element;
            plan_b.each([&](int line, int element, uint32_t place) {
                const bool valid = line < lines_left && element < elements_left;
                const char* source = weights + int64_t(line) * line_bytes + element * 2;
                if (VEC_B == 8) copy_async_l2(target + place, source, valid);
                else copy_async<VEC_B * 2>(target + place, source, valid);
            });
        } else {
            const Element* base = p.weights + int64_t(offset) * p.c_in * p.c_out;
#pragma unroll 1
            for (int i = threadIdx.x; i < B_LINES * (B_LENGTH / 8); i += THREADS) {
                const int line = i / (B_LENGTH / 8), chunk = i % (B_LENGTH / 8);
                const int in = first_in + line, out = first_out + chunk * 8;
                const int elements = in < p.c_in ? p.c_out - out : 0;
                copy_elements(tile + TileB::at(line, chunk), base + (elements > 0 ? int64_t(in) * p.c_out + out : 0), elements);
            }
        }
    }
};

}  // namespace voxtune
