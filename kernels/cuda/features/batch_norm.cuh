// The gradients of a batch normalisation whose mean and variance are those of its input.
#pragma once
#include "activation.cuh"
#include "column_sums.cuh"

KERNEL batch_norm_sums(Rows<const Element> x, Rows<const Element> grad_y, int64_t rows, int channels, Affine of, int lanes,
                       int64_t part_rows, float* partial) {
    const int own = blockIdx.y * lanes + threadIdx.x % lanes;
    const float inverse = own < channels ? of.inverse(own) : 0.0f;
    add_columns<2>(rows, channels, lanes, part_rows, partial, [=](int64_t row, int channel, float* sums) {
        const float grad = Dtype::load(grad_y(row, channel));
        sums[0] += grad * (of.centred(Dtype::load(x(row, channel)), channel) * inverse);
        sums[1] += grad;
    });
}

// The gradients of scale and shift are the sums over rows of grad_y * normalised and of grad_y.
KERNEL batch_norm_backward(Rows<const Element> x, Rows<const Element> grad_y, Rows<Element> grad_x, int64_t rows, int channels,
                           Affine of, const float* grad_scale, const float* grad_shift) {
    const float inverse_count = __fdiv_rn(1.0f, static_cast<float>(rows));
    auto body = [=](auto width, int64_t row, int channel) {
        auto pack = load<Element, decltype(width)::value>(x.at(row, channel));
        const auto grad = load<Element, decltype(width)::value>(grad_y.at(row, channel));
#pragma unroll
        for (int e = 0; e < width.value; ++e) {
            const int c = channel + e;
            const float normalised = of.centred(Dtype::load(pack.elements[e]), c) * of.inverse(c);
            const float along = normalised * (__ldg(grad_scale + c) * inverse_count);
            const float rest = Dtype::load(grad.elements[e]) - __ldg(grad_shift + c) * inverse_count - along;
            pack.elements[e] = Dtype::store(rest * of.factor(c));
        }
        store(grad_x.at(row, channel), pack);
    };
    walk_packs(rows, channels, body, x, grad_y, grad_x);
}
