// Shared memory of forward and dgrad: weights, and the pairs of a block's rows.
//
// Architecture: sm_80 and later. The host mirrors SHARED_BYTES.
//
// Expects the defines of grouped.cu.
#pragma once

#include "threads.cuh"

namespace voxtune {

constexpr int OFFSETS = 32 * MASK_WORDS;  // room for so many
constexpr int PAIR_BYTES = ROWS * OFFSETS * 5;
constexpr int BINS = 128;  // rows by their number of pairs, at most MAX_VOLUME
constexpr int PER_OFFSET = DEPTHWISE ? 1 : GATHERED;
constexpr int WEIGHT_BYTES = HELD ? OFFSETS * PER_OFFSET * COLS * int(sizeof(Element)) : 0;
constexpr int SHARED_BYTES = WEIGHT_BYTES + BINS * 4 + PAIR_BYTES + ROWS * 4;

static_assert(!HELD || PER_OFFSET > 0, "weights of unknown number");

struct Shared {
    Element* weights;  // (OFFSETS, PER_OFFSET, COLS), the offsets as the table has them
    int* bins;         // (BINS)
    int* sources;      // (OFFSETS, ROWS): the gathered row of a row's n-th pair
    uint16_t* order;   // (ROWS): rows by their number of pairs
    uint16_t* pairs;   // (ROWS): their numbers
    uint8_t* offsets;  // (OFFSETS, ROWS): the offset of a row's n-th pair

    __device__ __forceinline__ explicit Shared(char* base) {
        weights = reinterpret_cast<Element*>(base);
        bins = reinterpret_cast<int*>(base + WEIGHT_BYTES);
        sources = bins + BINS;
        order = reinterpret_cast<uint16_t*>(sources + OFFSETS * ROWS);
        pairs = order + ROWS;
        offsets = reinterpret_cast<uint8_t*>(pairs + ROWS);
    }
};

}  // namespace voxtune
