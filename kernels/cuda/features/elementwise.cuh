// Affine maps with activations, sums of two tensors, other storage types: kernels in which each
// element of the result is made of the same element of the operands.
#pragma once
#include "activation.cuh"

KERNEL affine(Rows<const Element> x, Rows<Element> y, int64_t rows, int channels, Affine of) {
    auto body = [=](auto width, int64_t row, int channel) {
        auto pack = load<Element, decltype(width)::value>(x.at(row, channel));
#pragma unroll
        for (int e = 0; e < width.value; ++e) {
            pack.elements[e] = Dtype::store(of.activation.apply<decltype(width)::value>(of.inner(Dtype::load(pack.elements[e]), channel + e)));
        }
        store(y.at(row, channel), pack);
    };
    walk_activated(of.activation, rows, channels, body, x, y);
}

KERNEL affine_backward(Rows<const Element> x, Rows<const Element> grad_y, Rows<Element> grad_x, int64_t rows, int channels,
                       Affine of) {
    auto body = [=](auto width, int64_t row, int channel) {
        auto pack = load<Element, decltype(width)::value>(x.at(row, channel));
        const auto grad = load<Element, decltype(width)::value>(grad_y.at(row, channel));
#pragma unroll
        for (int e = 0; e < width.value; ++e) {
            const float slope = of.activation.slope<decltype(width)::value>(of.inner(Dtype::load(pack.elements[e]), channel + e));
            pack.elements[e] = Dtype::store(Dtype::load(grad.elements[e]) * slope * of.factor(channel + e));
        }
        store(grad_x.at(row, channel), pack);
    };
    walk_activated(of.activation, rows, channels, body, x, grad_y, grad_x);
}

KERNEL add(Rows<const Element> a, Rows<const Element> b, Rows<Element> y, int64_t rows, int channels, Activation activation) {
    auto body = [=](auto width, int64_t row, int channel) {
        auto pack = load<Element, decltype(width)::value>(a.at(row, channel));
        const auto other = load<Element, decltype(width)::value>(b.at(row, channel));
#pragma unroll
        for (int e = 0; e < width.value; ++e) {
            pack.elements[e] = Dtype::store(activation.apply<decltype(width)::value>(Dtype::load(pack.elements[e]) + Dtype::load(other.elements[e])));
        }
        store(y.at(row, channel), pack);
    };
    walk_activated(activation, rows, channels, body, a, b, y);
}

KERNEL add_backward(Rows<const Element> a, Rows<const Element> b, Rows<const Element> grad_y, Rows<Element> grad, int64_t rows,
                    int channels, Activation activation) {
    auto body = [=](auto width, int64_t row, int channel) {
        auto pack = load<Element, decltype(width)::value>(a.at(row, channel));
        const auto other = load<Element, decltype(width)::value>(b.at(row, channel));
        const auto of_y = load<Element, decltype(width)::value>(grad_y.at(row, channel));
#pragma unroll
        for (int e = 0; e < width.value; ++e) {
            const float slope = activation.slope<decltype(width)::value>(Dtype::load(pack.elements[e]) + Dtype::load(other.elements[e]));
            pack.elements[e] = Dtype::store(Dtype::load(of_y.elements[e]) * slope);
        }
        store(grad.at(row, channel), pack);
    };
    walk_activated(activation, rows, channels, body, a, b, grad_y, grad);
}

// Four elements at a time, where channels, addresses and pitches allow that.
template <typename From, typename To>
__device__ __forceinline__ void cast(Rows<const typename From::type> from, Rows<typename To::type> to, int64_t rows, int channels) {
    using R = typename To::type;
    auto body = [=](auto width, int64_t row, int channel) {
        const auto pack = load<typename From::type, decltype(width)::value>(from.at(row, channel));
        Pack<R, decltype(width)::value> rounded;
#pragma unroll
        for (int e = 0; e < width.value; ++e) rounded.elements[e] = To::store(From::load(pack.elements[e]));
        store(to.at(row, channel), rounded);
    };
    if (channels % 4 == 0 && from.is_aligned(4) && to.is_aligned(4)) {
        walk<4>(rows, channels, body);
    } else {
        walk<1>(rows, channels, body);
    }
}

// Into any other storage type.
KERNEL cast_to_float16(Rows<const Element> from, Rows<Float16> to, int64_t rows, int channels) {
    cast<Dtype, Storage<0>>(from, to, rows, channels);
}
KERNEL cast_to_bfloat16(Rows<const Element> from, Rows<BFloat16> to, int64_t rows, int channels) {
    cast<Dtype, Storage<1>>(from, to, rows, channels);
}
KERNEL cast_to_float32(Rows<const Element> from, Rows<float> to, int64_t rows, int channels) {
    cast<Dtype, Storage<2>>(from, to, rows, channels);
}
