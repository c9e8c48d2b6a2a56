// Work units of a split-K wgrad: each offset's pair list cut into chunks, one unit a chunk.
//
// The list of pairs is sorted by offset, then by output row. Unit u of offset k covers the pairs
// [pair_offset[k] + (u - unit_offset[k]) * chunk, ...) up to `chunk` of them. Each unit writes one
// partial (c_in, c_out) float32 matrix; reduce_partials adds an offset's partials in ascending
// order, so the result is bitwise repeatable.
#pragma once

#include "common.cuh"

namespace voxtune {

struct PairUnits {
    int chunk;
    int pair_offset[MAX_VOLUME + 1];
    int unit_offset[MAX_VOLUME + 1];

    __device__ __forceinline__ void range(int unit, int& begin, int& end) const {
        int k = 0;
        while (unit >= unit_offset[k + 1]) ++k;
        begin = pair_offset[k] + (unit - unit_offset[k]) * chunk;
        end = min(begin + chunk, pair_offset[k + 1]);
    }
};

struct PairGemmParams {
    const Element* x;       // (rows_in, c_in), rows x_pitch elements apart
    const Element* g;       // (rows_out, c_out), rows g_pitch elements apart
    float* partial;         // (units, c_in, c_out), 16-byte aligned
    const int* in_rows;     // (pairs)
    const int* out_rows;    // (pairs)
    int c_in;
    int c_out;
    int x_pitch;
    int g_pitch;
    int copies_aligned;
    PairUnits units;
};

struct ReduceParams {
    const float* partial;  // (units, elements)
    float* dw;             // (volume, elements), 4-byte aligned
    int elements;          // c_in * c_out
    PairUnits units;
};

}  // namespace voxtune

// Grid (ceil(elements / 256), volume), 256 threads.
extern "C" __global__ void __launch_bounds__(256) reduce_partials(const __grid_constant__ voxtune::ReduceParams p) {
    const int element = blockIdx.x * 256 + threadIdx.x;
    if (element >= p.elements) return;
    const int k = blockIdx.y;
    const int begin = p.units.unit_offset[k], end = p.units.unit_offset[k + 1];
    const float* source = p.partial + int64_t(begin) * p.elements + element;
    float sum = 0;
    int unit = begin;
    for (; unit + 8 <= end; unit += 8, source += int64_t(8) * p.elements) {
        float part[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) part[i] = __ldg(source + int64_t(i) * p.elements);
#pragma unroll
        for (int i = 0; i < 8; ++i) sum += part[i];
    }
    for (; unit < end; ++unit, source += p.elements) sum += __ldg(source);
    p.dw[int64_t(k) * p.elements + element] = sum;
}
