// Sums of columns, and of squared differences from a mean: parts of the rows first, in float32, and
// the parts together, in float64.
#pragma once
#include "walk.cuh"

// Adds up COUNT values of each column over a part of the rows: part blockIdx.x, columns
// blockIdx.y * lanes on; `lanes` divides the block. Writes (COUNT, parts, channels).
template <int COUNT, typename Value>
__device__ __forceinline__ void add_columns(int64_t rows, int channels, int lanes, int64_t part_rows, float* partial, Value value) {
    __shared__ float shared[COUNT][THREADS];
    const int channel = blockIdx.y * lanes + threadIdx.x % lanes, line = threadIdx.x / lanes, lines = THREADS / lanes;
    const int64_t begin = int64_t(blockIdx.x) * part_rows, end = begin + part_rows < rows ? begin + part_rows : rows;
    float sums[COUNT] = {};
    if (channel < channels) {
#pragma unroll 4
        for (int64_t row = begin + line; row < end; row += lines) value(row, channel, sums);
    }
#pragma unroll
    for (int k = 0; k < COUNT; ++k) shared[k][threadIdx.x] = sums[k];
    for (int step = lines / 2; step > 0; step /= 2) {
        __syncthreads();
        if (line < step) {
#pragma unroll
            for (int k = 0; k < COUNT; ++k) shared[k][threadIdx.x] += shared[k][threadIdx.x + step * lanes];
        }
    }
    if (line == 0 && channel < channels) {
#pragma unroll
        for (int k = 0; k < COUNT; ++k) partial[(int64_t(k) * gridDim.x + blockIdx.x) * channels + channel] = shared[k][threadIdx.x];
    }
}

KERNEL column_sums(Rows<const Element> x, int64_t rows, int channels, int lanes, int64_t part_rows, float* partial) {
    add_columns<1>(rows, channels, lanes, part_rows, partial,
                   [=](int64_t row, int channel, float* sums) { sums[0] += Dtype::load(x(row, channel)); });
}

KERNEL column_squares(Rows<const Element> x, const float* mean, int64_t rows, int channels, int lanes, int64_t part_rows,
                      float* partial) {
    add_columns<1>(rows, channels, lanes, part_rows, partial, [=](int64_t row, int channel, float* sums) {
        const float difference = Dtype::load(x(row, channel)) - __ldg(mean + channel);
        sums[0] += difference * difference;
    });
}

// Adds up the parts in float64 and divides: columns blockIdx.x * lanes on.
KERNEL finish_columns(const float* partial, int parts, int channels, int lanes, double divisor, float* sums) {
    __shared__ double shared[THREADS];
    const int channel = blockIdx.x * lanes + threadIdx.x % lanes, line = threadIdx.x / lanes, lines = THREADS / lanes;
    double sum = 0.0;
    if (channel < channels) {
#pragma unroll 4
        for (int part = line; part < parts; part += lines) sum += partial[int64_t(part) * channels + channel];
    }
    shared[threadIdx.x] = sum;
    for (int step = lines / 2; step > 0; step /= 2) {
        __syncthreads();
        if (line < step) shared[threadIdx.x] += shared[threadIdx.x + step * lanes];
    }
    if (line == 0 && channel < channels) sums[channel] = static_cast<float>(shared[threadIdx.x] / divisor);
}
