// The stages of wgmma_gemm's ring, and what else lies in shared memory.
//
// Layouts. A stage has a slot for each of OFFSETS offsets. A slot is DEPTH gathered channels of one
// offset: panels of A, then panels of B, in the swizzled layouts of wgmma.cuh. A is a line a row of
// the tile, present or not; B a line a gathered channel (forward) or a line a result channel
// (dgrad). Behind the stages lie
//   strips     one each multiplying warp, see wgmma_gemm_store.cuh
//   zeros      128 bytes, which stand for absent rows
//   words      of each stage: for each slot a bit a row that says which rows are there, then the
//              stage's tile
//   next tiles two, written and read in turn by the gathering warps
//   barriers   of the ring, see warp_specialization.cuh
//
// Invariants
// * Lines of absent rows hold anything and are never read; nor is a slot without rows, as a tile's
//   last one may be.
// * A stage's tile word is tile * 2 + whether the tile ends there; a negative one ends the block.
//
// Architecture: sm_90a. The host mirrors SHARED_BYTES, and WIDTH_B and LINES_B as the box of the
// weights' tensor map.
//
// Expects the defines of wgmma_gemm.cu.
#pragma once

namespace voxtune {
// Addresses of copies stay in registers until the copies have read them: fewer registers, and
// copies wait for each other.
#ifdef CLUSTER
constexpr int MOST_GATHER_REGISTERS = MIN_BLOCKS == 1 ? 104 : MIN_BLOCKS == 2 ? 72 : MIN_BLOCKS == 3 ? 64 : 56;
#else
constexpr int MOST_GATHER_REGISTERS = MIN_BLOCKS == 1 ? 104 : 72;
#endif
}  // namespace voxtune

#include "warp_specialization.cuh"

namespace voxtune {

constexpr int FRAGS_M = ROWS / 64 / GROUPS;  // of 64 rows, a warpgroup
static_assert(ROWS % (64 * GROUPS) == 0 && FRAGS_M <= 2 && DEPTH % 16 == 0 && COLS % 16 == 0, "block tile");

// ---- operands -----------------------------------------------------------------------------------

#ifdef CLUSTER
// Columns in panels of 64, the last of which they fill in part: the TMA takes as long for a line of
// 32 bytes as for one of 128.
constexpr bool WIDE_PANELS = COLS == 80 || COLS == 160;
#else
constexpr bool WIDE_PANELS = false;
#endif

// A: panels of rows. B forward: panels of columns, a line a gathered channel; dgrad: panels of the
// depth, a line a column.
constexpr int WIDTH_A = panel_width(DEPTH);
constexpr int WIDTH_B = DGRAD ? WIDTH_A : WIDE_PANELS ? 64 : panel_width(COLS);
constexpr int LINES_B = DGRAD ? COLS : DEPTH;
constexpr int PANELS_A = DEPTH / WIDTH_A;
constexpr int PANELS_B = ceil_div(DGRAD ? DEPTH : COLS, WIDTH_B);
constexpr int PANEL_BYTES_A = ROWS * WIDTH_A * 2;
constexpr int PANEL_BYTES_B = LINES_B * WIDTH_B * 2;
using LinesA = Tile<WIDTH_A / 8>;
using LinesB = Tile<WIDTH_B / 8>;

constexpr int A_BYTES = PANELS_A * PANEL_BYTES_A;
constexpr int B_BYTES = PANELS_B * PANEL_BYTES_B;
constexpr int SLOT_BYTES = (A_BYTES + B_BYTES + 1023) / 1024 * 1024;
constexpr int STAGE_BYTES = OFFSETS * SLOT_BYTES;
static_assert(A_BYTES % 1024 == 0 && PANEL_BYTES_B % 256 == 0, "panels begin where their swizzle does");

// ---- places in shared memory --------------------------------------------------------------------

#ifdef CLUSTER
// All sums of a warp in float32, for blocks of the cluster: see cluster_gemm.cu.
constexpr int STRIP_PITCH = COLS + 8;
constexpr int STRIP_BYTES = FRAGS_M * 16 * STRIP_PITCH * 4;
#else
// Sixteen rows of a warp's results on their way out, a strip of columns at a time.
constexpr int STRIP = COLS % 64 == 0 ? 64 : COLS % 48 == 0 ? 48 : COLS % 32 == 0 ? 32 : 16;
constexpr int STRIP_PITCH = STRIP + 8;
constexpr int STRIP_BYTES = 16 * STRIP_PITCH * 2;
#endif

// A stage's words: a bit a row of each slot, then its tile. Stages are 16 bytes apart, or a
// multiple, so that what a warpgroup wants of a slot is one load.
constexpr int SLOT_WORDS = ROWS / 32;
constexpr int TILE_WORD = OFFSETS * SLOT_WORDS;
constexpr int STAGE_WORDS = (TILE_WORD + 1 + 3) / 4 * 4;

#if defined(CLUSTER) && SUMS_IN_RING
constexpr int STRIPS_AT = 0;
constexpr int ZEROS_AT = STAGES * STAGE_BYTES;
static_assert(GROUPS * 4 * STRIP_BYTES <= ZEROS_AT, "sums fit in the ring");
#else
constexpr int STRIPS_AT = STAGES * STAGE_BYTES;
constexpr int ZEROS_AT = STRIPS_AT + GROUPS * 4 * STRIP_BYTES;
#endif
constexpr int WORDS_AT = ZEROS_AT + 128;
constexpr int NEXT_TILE_AT = WORDS_AT + STAGES * STAGE_WORDS * 4;
constexpr int BARRIERS_AT = (NEXT_TILE_AT + 2 * 4 + 7) / 8 * 8;
constexpr int SHARED_BYTES = BARRIERS_AT + 2 * STAGES * 8;
static_assert(WORDS_AT % 16 == 0, "words are loaded by four");
static_assert(ZEROS_AT % 128 == 0, "an exclusive-or of a place stays within the zeros");

// ---- the ring -----------------------------------------------------------------------------------

// The stage that one side is at, with its words.
struct Ring : StageRing<STAGE_BYTES, BARRIERS_AT> {
    using StageRing::StageRing;
    __device__ __forceinline__ uint32_t slot(int i) const { return tile() + i * SLOT_BYTES; }
    __device__ __forceinline__ uint32_t words(int slot) const { return base + WORDS_AT + (stage * STAGE_WORDS + slot * SLOT_WORDS) * 4; }
    __device__ __forceinline__ uint32_t tile_word() const { return words(OFFSETS); }
};

__device__ __forceinline__ void store_word(uint32_t shared, int value) {
    asm volatile("st.shared.s32 [%0], %1;\n" ::"r"(shared), "r"(value) : "memory");
}
__device__ __forceinline__ void store_half_word(uint32_t shared, int value) {
    asm volatile("st.shared.u16 [%0], %1;\n" ::"r"(shared), "h"(static_cast<unsigned short>(value)) : "memory");
}
__device__ __forceinline__ int load_word(uint32_t shared) {
    int value;
    asm volatile("ld.shared.s32 %0, [%1];\n" : "=r"(value) : "r"(shared) : "memory");
    return value;
}

// Two or four words at a time.
__device__ __forceinline__ void load_words(uint32_t shared, uint32_t (&words)[2]) {
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];\n" : "=r"(words[0]), "=r"(words[1]) : "r"(shared) : "memory");
}
__device__ __forceinline__ void load_words(uint32_t shared, uint32_t (&words)[4]) {
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(shared)
                 : "memory");
}

}  // namespace voxtune
