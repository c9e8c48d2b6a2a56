// Maximum and mean over the rows that a kernel map gathers, forward and backward.
#pragma once
#include "walk.cuh"

// Over a kernel map. Mirrored by the host: 0 the largest, 1 the largest and 0, 2 the mean.
KERNEL map_pool(Rows<const Element> x, Rows<Element> y, const int* table, int64_t pitch, int volume, int64_t rows, int channels,
                int pooling) {
    auto body = [=](auto width, int64_t row, int channel) {
        constexpr int WIDTH = decltype(width)::value;
        float totals[WIDTH];
#pragma unroll
        for (int e = 0; e < WIDTH; ++e) totals[e] = pooling == 0 ? -INFINITY : 0.0f;
        int count = 0;
        for (int k = 0; k < volume; ++k) {
            const int64_t from = __ldg(table + k * pitch + row);
            if (from < 0) continue;
            ++count;
            const auto pack = load<Element, WIDTH>(x.at(from, channel));
#pragma unroll
            for (int e = 0; e < WIDTH; ++e) {
                const float value = Dtype::load(pack.elements[e]);
                totals[e] = pooling == 2 ? totals[e] + value : larger(totals[e], value);
            }
        }
        const float factor = pooling == 2 ? __fdiv_rn(1.0f, static_cast<float>(count)) : 1.0f;
        Pack<Element, WIDTH> pack;
#pragma unroll
        for (int e = 0; e < WIDTH; ++e) pack.elements[e] = Dtype::store(count == 0 ? 0.0f : totals[e] * factor);
        store(y.at(row, channel), pack);
    };
    walk_packs(rows, channels, body, x, y);
}

// Rows are those of x; the table names the rows of y that each one meets.
KERNEL map_max_backward(Rows<const Element> x, Rows<const Element> y, Rows<const Element> grad_y, Rows<Element> grad_x,
                        const int* table, int64_t pitch, int volume, int64_t rows, int channels) {
    auto body = [=](auto width, int64_t row, int channel) {
        constexpr int WIDTH = decltype(width)::value;
        auto own = load<Element, WIDTH>(x.at(row, channel));
        float totals[WIDTH] = {};
#pragma unroll 2
        for (int k = 0; k < volume; ++k) {
            const int64_t to = __ldg(table + k * pitch + row);
            if (to < 0) continue;
            const auto largest = load<Element, WIDTH>(y.at(to, channel));
            const auto grad = load<Element, WIDTH>(grad_y.at(to, channel));
#pragma unroll
            for (int e = 0; e < WIDTH; ++e) {
                if (Dtype::load(own.elements[e]) == Dtype::load(largest.elements[e])) totals[e] += Dtype::load(grad.elements[e]);
            }
        }
#pragma unroll
        for (int e = 0; e < WIDTH; ++e) own.elements[e] = Dtype::store(totals[e]);
        store(grad_x.at(row, channel), own);
    };
    walk_packs(rows, channels, body, x, y, grad_y, grad_x);
}

// `weights`: of each row of y, from map_average_weights.
KERNEL map_average_backward(Rows<const Element> grad_y, Rows<Element> grad_x, const float* weights, const int* table,
                            int64_t pitch, int volume, int64_t rows, int channels) {
    auto body = [=](auto width, int64_t row, int channel) {
        constexpr int WIDTH = decltype(width)::value;
        float totals[WIDTH] = {};
        for (int k = 0; k < volume; ++k) {
            const int64_t to = __ldg(table + k * pitch + row);
            if (to < 0) continue;
            const float weight = __ldg(weights + to);
            const auto grad = load<Element, WIDTH>(grad_y.at(to, channel));
#pragma unroll
            for (int e = 0; e < WIDTH; ++e) totals[e] = __fadd_rn(totals[e], __fmul_rn(Dtype::load(grad.elements[e]), weight));
        }
        Pack<Element, WIDTH> pack;
#pragma unroll
        for (int e = 0; e < WIDTH; ++e) pack.elements[e] = Dtype::store(totals[e]);
        store(grad_x.at(row, channel), pack);
    };
    walk_packs(rows, channels, body, grad_y, grad_x);
}

// What the gradient of a mean is multiplied by: one over how many rows each row meets, or, as
// spconv has it, their number.
KERNEL map_average_weights(const int* table, int64_t pitch, int volume, int64_t rows, float* weights, int divides) {
    for (int64_t row = int64_t(blockIdx.x) * THREADS + threadIdx.x; row < rows; row += int64_t(gridDim.x) * THREADS) {
        int count = 0;
        for (int k = 0; k < volume; ++k) count += __ldg(table + k * pitch + row) >= 0;
        weights[row] = divides ? __fdiv_rn(1.0f, static_cast<float>(count)) : static_cast<float>(count);
    }
}
