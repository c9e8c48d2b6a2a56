// Plans: which blocks a product over tiles of rows has, and which offsets each of them takes.
//
// A tile of few rows is a chain of as many stages as its rows have offsets between them. Where all
// tiles run at once, the longest chain is the product's time. A plan cuts the long ones, and those
// alone, into parts of nearly equal length. Parts of a tile are blocks of one cluster, which add
// their sums up through each other's shared memory (cluster_gemm.cu).
//
// Layouts. A plan is a header of 16 bytes, {items, longest part, 0, 0}, then the items, those of
// most offsets first. Parts of a tile follow each other from a multiple of their number; items of
// nothing fill what lies before it.
//
// Invariants
// * Part s of a tile with u offsets takes those from s * u / parts to (s + 1) * u / parts of its
//   ascending list, as in splits.cuh.
// * Every tile of the rows there are is in the plan, also one without offsets.
//
// Architecture: any. Masks have one word.
#pragma once

#include "common.cuh"

namespace voxtune {

constexpr int MOST_OFFSETS = 27;  // of a map that plans are made of: 3 x 3 x 3
constexpr int PLAN_HEADER_BYTES = 16;

// An item of a plan. Mirrored by the host.
struct PlanItem {
    uint32_t offsets;  // a bit each
    uint32_t place;    // tile << 6 | part << 3 | log2 of the parts << 1; all ones: nothing to do

    __device__ __forceinline__ static PlanItem of(int tile, uint32_t offsets, int part, int log_parts) {
        return {offsets, static_cast<uint32_t>(tile << 6 | part << 3 | log_parts << 1)};
    }
    __device__ __forceinline__ static PlanItem none() { return {0, ~0u}; }
};

// The parts of a list of so many offsets: a power of two, at most `most`.
__device__ __forceinline__ int log_parts_of(int count, int longest, int most) {
    int log_parts = 0;
    while ((1 << log_parts) < most && longest << log_parts < count) ++log_parts;
    return log_parts;
}

// The first `count` of a list of offsets, in ascending order.
__device__ __forceinline__ uint32_t first_offsets(uint32_t offsets, int count) {
    int bits = 0;  // the most bits below which there are no more than `count`
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
        if (__popc(offsets & ((1u << (bits + step)) - 1)) <= count) bits += step;
    }
    return offsets & ((1u << bits) - 1);
}

// A part's own of a tile's offsets.
__device__ __forceinline__ uint32_t offsets_of_part(uint32_t offsets, int part, int log_parts) {
    const int all = __popc(offsets);
    return first_offsets(offsets, all * (part + 1) >> log_parts) & ~first_offsets(offsets, all * part >> log_parts);
}

}  // namespace voxtune
