// Normalisation of rows over their channels, forward and backward.
#pragma once
#include "column_sums.cuh"

// The sum over `lanes` neighbouring threads, a power of two up to 32, in every one of them.
__device__ __forceinline__ float sum_of_lanes(float value, int lanes) {
    for (int step = lanes / 2; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffff, value, step);
    return value;
}

// Calls body(row, lane) by `lanes` threads for each row, all threads alike: `row` may be past the
// last one, and is negative then.
template <typename Body>
__device__ __forceinline__ void walk_rows(int64_t rows, int lanes, Body body) {
    const int together = THREADS / lanes;
    for (int64_t first = int64_t(blockIdx.x) * together; first < rows; first += int64_t(gridDim.x) * together) {
        const int64_t row = first + threadIdx.x / lanes;
        body(row < rows ? row : -1, threadIdx.x % lanes);
    }
}

// Mean and one over the standard deviation of a row.
__device__ __forceinline__ float2 row_statistics(Rows<const Element> x, int64_t row, int lane, int lanes, int channels, float epsilon) {
    const float inverse_count = __fdiv_rn(1.0f, static_cast<float>(channels));
    float sum = 0.0f, squares = 0.0f;
    if (row >= 0) {
        for (int c = lane; c < channels; c += lanes) sum += Dtype::load(x(row, c));
    }
    const float mean = sum_of_lanes(sum, lanes) * inverse_count;
    if (row >= 0) {
        for (int c = lane; c < channels; c += lanes) {
            const float difference = Dtype::load(x(row, c)) - mean;
            squares += difference * difference;
        }
    }
    const float variance = sum_of_lanes(squares, lanes) * inverse_count;
    return make_float2(mean, rsqrtf(variance + epsilon));
}

KERNEL layer_norm(Rows<const Element> x, Rows<Element> y, int64_t rows, int channels, int lanes, const float* gamma,
                  const float* beta, float epsilon) {
    walk_rows(rows, lanes, [=](int64_t row, int lane) {
        const float2 of_row = row_statistics(x, row, lane, lanes, channels, epsilon);
        if (row < 0) return;
        for (int c = lane; c < channels; c += lanes) {
            const float scaled = (Dtype::load(x(row, c)) - of_row.x) * of_row.y * (gamma ? __ldg(gamma + c) : 1.0f);
            y(row, c) = Dtype::store(scaled + (beta ? __ldg(beta + c) : 0.0f));
        }
    });
}

// Also writes the statistics, (rows) of mean and one over the standard deviation.
KERNEL layer_norm_backward(Rows<const Element> x, Rows<const Element> grad_y, Rows<Element> grad_x, int64_t rows, int channels,
                           int lanes, const float* gamma, float epsilon, float2* statistics) {
    walk_rows(rows, lanes, [=](int64_t row, int lane) {
        const float2 of_row = row_statistics(x, row, lane, lanes, channels, epsilon);
        const auto inner = [=](int c) { return Dtype::load(grad_y(row, c)) * (gamma ? __ldg(gamma + c) : 1.0f); };
        const auto normalised = [=](int c) { return (Dtype::load(x(row, c)) - of_row.x) * of_row.y; };
        float plain = 0.0f, along = 0.0f;
        if (row >= 0) {
            for (int c = lane; c < channels; c += lanes) {
                plain += inner(c);
                along += inner(c) * normalised(c);
            }
        }
        const float inverse_count = __fdiv_rn(1.0f, static_cast<float>(channels));
        plain = sum_of_lanes(plain, lanes) * inverse_count;
        along = sum_of_lanes(along, lanes) * inverse_count;
        if (row < 0) return;
        if (lane == 0) statistics[row] = of_row;
        for (int c = lane; c < channels; c += lanes) {
            grad_x(row, c) = Dtype::store((inner(c) - plain - normalised(c) * along) * of_row.y);
        }
    });
}

// `statistics`: (rows) of mean and one over the standard deviation.
KERNEL layer_norm_sums(Rows<const Element> x, Rows<const Element> grad_y, const float2* statistics, int64_t rows, int channels,
                       int lanes, int64_t part_rows, float* partial) {
    add_columns<2>(rows, channels, lanes, part_rows, partial, [=](int64_t row, int channel, float* sums) {
        const float2 of_row = __ldg(statistics + row);
        const float grad = Dtype::load(grad_y(row, channel));
        sums[0] += grad * ((Dtype::load(x(row, channel)) - of_row.x) * of_row.y);
        sums[1] += grad;
    });
}
