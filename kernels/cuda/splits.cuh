// Splits of an output-stationary product: each tile's list of offsets cut into parts, one work item
// a part.
//
// A tile of few rows is a long chain of stages, and few tiles leave most of a device idle. Parts
// shorten the chain and are as many more tiles. Part s of a tile with u offsets takes those from s
// * u / parts to (s + 1) * u / parts of its ascending list, and writes its sums in float32, by
// position, whether it has an offset or not. reduce_splits adds the parts in ascending order,
// applies the epilogue and rounds once, so the result is bitwise repeatable.
//
// Architecture: sm_80 and later. Included by instances with SPLIT 1 alone: the others' machine code
// does not know of it.
#pragma once

#include "common.cuh"
#include "epilogue.cuh"

namespace voxtune {

// Most parts of a tile. Mirrored by the host.
constexpr int MAX_PARTS = 8;

// Elements of a row that a thread adds up: as many as results are stored at a time, four at most.
// Threads along a row.
#ifdef VEC_Y
constexpr int REDUCE_WIDTH = VEC_Y < 4 ? VEC_Y : 4;
#else
constexpr int REDUCE_WIDTH = 4;
#endif
constexpr int REDUCE_LANES = 32;

// Mirrored by the host.
struct SplitParams {
    float* partial;  // (parts, capacity of n, c_result), 16-byte aligned
    int parts;       // at most MAX_PARTS
};

// Mirrored by the host.
struct ReduceSplitsParams {
    const float* partial;        // as above
    Element* result;             // (n, c_result)
    const int* row_of_position;  // (n): where a position's result goes; null: to its own row
    RowCount rows;  // n
    int c_result;   // a multiple of REDUCE_WIDTH
    int result_pitch;
    int parts;
    int result_aligned;  // whether rows of the result take writes of REDUCE_WIDTH elements
    Epilogue epilogue;
};

// The part of a list of so many offsets.
__device__ __forceinline__ void range_of_part(int count, int part, int parts, int& begin, int& end) {
    begin = count * part / parts;
    end = count * (part + 1) / parts;
}

__device__ __forceinline__ void load_sums(float (&to)[REDUCE_WIDTH], const float* from) {
    if constexpr (REDUCE_WIDTH == 4) {
        const float4 four = __ldcs(reinterpret_cast<const float4*>(from));
        to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
    } else {
#pragma unroll
        for (int e = 0; e < REDUCE_WIDTH; ++e) to[e] = __ldcs(from + e);
    }
}

}  // namespace voxtune

// Grid (ceil(n / 8), ceil(c_result / (REDUCE_LANES * REDUCE_WIDTH))), 256 threads: a warp a row.
extern "C" __global__ void __launch_bounds__(256) reduce_splits(const __grid_constant__ voxtune::ReduceSplitsParams p) {
    using namespace voxtune;
    const int position = blockIdx.x * (256 / REDUCE_LANES) + threadIdx.x / REDUCE_LANES;
    const int column = (blockIdx.y * REDUCE_LANES + threadIdx.x % REDUCE_LANES) * REDUCE_WIDTH;
    if (position >= p.rows.load() || column >= p.c_result) return;
    const int row = p.row_of_position ? __ldg(p.row_of_position + position) : position;
    const float* source = p.partial + int64_t(position) * p.c_result + column;
    const int64_t a_part = int64_t(p.rows.capacity) * p.c_result;
    float of[MAX_PARTS][REDUCE_WIDTH];  // all asked for before one is needed
#pragma unroll
    for (int s = 0; s < MAX_PARTS; ++s) {
        if (s < p.parts) load_sums(of[s], source + s * a_part);
    }
#pragma unroll
    for (int s = 1; s < MAX_PARTS; ++s) {
#pragma unroll
        for (int e = 0; e < REDUCE_WIDTH; ++e) {
            if (s < p.parts) of[0][e] += of[s][e];
        }
    }
    if (!DGRAD && p.epilogue.present) {
#pragma unroll
        for (int e = 0; e < REDUCE_WIDTH; ++e) of[0][e] = p.epilogue.apply(of[0][e], row, column + e);
    }
    Element* target = p.result + int64_t(row) * p.result_pitch + column;
    if (REDUCE_WIDTH == 4 && p.result_aligned) {
        *reinterpret_cast<uint2*>(target) = make_uint2(pack(of[0][0], of[0][1 % REDUCE_WIDTH]), pack(of[0][2 % REDUCE_WIDTH], of[0][3 % REDUCE_WIDTH]));
    } else {
#pragma unroll
        for (int e = 0; e < REDUCE_WIDTH; ++e) target[e] = Dtype::store(of[0][e]);
    }
}
