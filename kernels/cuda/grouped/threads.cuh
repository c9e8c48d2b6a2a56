// Which channels and rows a thread of grouped has.
//
// Architecture: sm_80 and later.
//
// Expects the defines of grouped.cu.
#pragma once

#include "../tile_gemm.cuh"

namespace voxtune {

// Channels of a group: those that are summed over and those of the result; inputs and outputs in
// wgrad. Mirrored by the host.
struct GroupParams {
    int gathered;
    int result;
};

constexpr int WIDTH = OWNED, THREADS = BLOCK_THREADS;
constexpr int STRIDE = COLS / PIECES;     // channels from a thread's piece to its next
constexpr int LANES = STRIDE / WIDTH;     // threads per row
constexpr int AT_ONCE = THREADS / LANES;  // rows in work
[[maybe_unused]] constexpr int SUBS = WIDTH / RUN;  // parts of a thread's channels that are of one group each
static_assert(STRIDE % WIDTH == 0 && THREADS % LANES == 0 && (DEPTHWISE || PIECES == 1) && WIDTH % RUN == 0 && WIDTH * sizeof(Element) >= 4, "shape");

}  // namespace voxtune
