// A block of mask_gemm, and what lies in its shared memory.
//
// Layouts. A stage of the ring is a tile of A, then a tile of B, in the layouts of common.cuh. A is
// a line a row of the block, DEPTH gathered channels; B a line a gathered channel (forward) or a
// line a result channel (dgrad). The result takes the ring's place when all stages have been
// multiplied. `Shared` says what follows the ring.
//
// Invariants
// * Lines of absent rows hold anything and are never read.
//
// Architecture: sm_80 and later. The host mirrors THREADS and SHARED_BYTES.
//
// Expects the defines of mask_gemm.cu.
#pragma once

#include "common.cuh"

namespace voxtune {

constexpr int WARPS_M = ROWS / WARP_ROWS;
constexpr int WARPS_N = COLS / WARP_COLS;
constexpr int THREADS = WARPS_M * WARPS_N * 32;
constexpr int FRAGS_M = WARP_ROWS / 16;
constexpr int FRAGS_N = WARP_COLS / 8;
constexpr int GROUPS = ROWS / 16;
constexpr int STEPS = DEPTH / 16;
constexpr int INDEX_SLOTS = 2 * STAGES;

static_assert(ROWS % WARP_ROWS == 0 && COLS % WARP_COLS == 0 && WARP_ROWS % 16 == 0 && WARP_COLS % 16 == 0, "warp tile");
static_assert(DEPTH % 16 == 0 && STAGES >= 2 && ROWS % 32 == 0 && GROUPS <= 32, "block tile");

// A: a line a row, DEPTH channels. B forward: a line a gathered channel, COLS result channels. B
// dgrad: a line a result channel, DEPTH gathered channels (a row of w is contiguous in c_out in
// both).
using TileA = Tile<DEPTH / 8>;
constexpr int B_LINES = DGRAD ? COLS : DEPTH;
constexpr int B_LENGTH = DGRAD ? DEPTH : COLS;
using TileB = Tile<B_LENGTH / 8>;

constexpr int A_BYTES = TileA::bytes(ROWS);
constexpr int B_BYTES = TileB::bytes(B_LINES);
constexpr int STAGE_BYTES = A_BYTES + B_BYTES;
constexpr int Y_PITCH = COLS + 8;  // elements; 16 bytes of padding keep the staged result free of conflicts
constexpr int RING_BYTES = max_of(STAGES * STAGE_BYTES, ROWS * Y_PITCH * 2);
constexpr int ZERO_BYTES = 256;  // a padded line may start anywhere in the first half
constexpr int SHARED_BYTES = RING_BYTES + ZERO_BYTES + INDEX_SLOTS * ROWS * 4 + ROWS * MASK_WORDS * 4 + GROUPS * MASK_WORDS * 4 +
                             MASK_WORDS * 4 + 16 + 128;

struct Shared {
    char* ring;
    char* zeros;
    int* index;        // (INDEX_SLOTS, ROWS)
    uint32_t* mask;    // (ROWS, MASK_WORDS)
    uint32_t* group;   // (GROUPS, MASK_WORDS)
    uint32_t* united;  // (MASK_WORDS)
    int* count;        // of offsets; of a part's, then where they begin in the list
    uint8_t* list;     // (MAX_VOLUME), padded to 128
};

__device__ __forceinline__ Shared carve(char* base) {
    Shared s;
    s.ring = base;
    s.zeros = base + RING_BYTES;
    s.index = reinterpret_cast<int*>(s.zeros + ZERO_BYTES);
    s.mask = reinterpret_cast<uint32_t*>(s.index + INDEX_SLOTS * ROWS);
    s.group = s.mask + ROWS * MASK_WORDS;
    s.united = s.group + GROUPS * MASK_WORDS;
    s.count = reinterpret_cast<int*>(s.united + MASK_WORDS);
    s.list = reinterpret_cast<uint8_t*>(s.count + 4);
    return s;
}

}  // namespace voxtune
