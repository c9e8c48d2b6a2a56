// Affine maps with activations, sums of two tensors, other storage types: kernels in which each
// element of the result is made of the same element of the operands.
#pragma once
#include "activation.cuh"

KERNEL affine(const Element* x, Element* y, int64_t rows, int channels, Affine of) {
    auto body = [=](auto width, int64_t i, int64_t, int channel) {
        auto pack = load<Element, decltype(width)::value>(x + i);
#pragma unroll
        for (int e = 0; e < width.value; ++e) {
            pack.elements[e] = Dtype::store(of.activation.apply<decltype(width)::value>(of.inner(Dtype::load(pack.elements[e]), channel + e)));
        }
        store(y + i, pack);
    };
    walk_activated(of.activation, rows, channels, body, x, y);
}

KERNEL affine_backward(const Element* x, const Element* grad_y, Element* grad_x, int64_t rows, int channels, Affine of) {
    auto body = [=](auto width, int64_t i, int64_t, int channel) {
        auto pack = load<Element, decltype(width)::value>(x + i);
        const auto grad = load<Element, decltype(width)::value>(grad_y + i);
#pragma unroll
        for (int e = 0; e < width.value; ++e) {
            const float slope = of.activation.slope<decltype(width)::value>(of.inner(Dtype::load(pack.elements[e]), channel + e));
            pack.elements[e] = Dtype::store(Dtype::load(grad.elements[e]) * slope * of.factor(channel + e));
        }
        store(grad_x + i, pack);
    };
    walk_activated(of.activation, rows, channels, body, x, grad_y, grad_x);
}

KERNEL add(const Element* a, const Element* b, Element* y, int64_t rows, int channels, Activation activation) {
    auto body = [=](auto width, int64_t i, int64_t, int) {
        auto pack = load<Element, decltype(width)::value>(a + i);
        const auto other = load<Element, decltype(width)::value>(b + i);
#pragma unroll
        for (int e = 0; e < width.value; ++e) {
            pack.elements[e] = Dtype::store(activation.apply<decltype(width)::value>(Dtype::load(pack.elements[e]) + Dtype::load(other.elements[e])));
        }
        store(y + i, pack);
    };
    walk_activated(activation, rows, channels, body, a, b, y);
}

KERNEL add_backward(const Element* a, const Element* b, const Element* grad_y, Element* grad, int64_t rows, int channels,
                                             Activation activation) {
    auto body = [=](auto width, int64_t i, int64_t, int) {
        auto pack = load<Element, decltype(width)::value>(a + i);
        const auto other = load<Element, decltype(width)::value>(b + i);
        const auto of_y = load<Element, decltype(width)::value>(grad_y + i);
#pragma unroll
        for (int e = 0; e < width.value; ++e) {
            const float slope = activation.slope<decltype(width)::value>(Dtype::load(pack.elements[e]) + Dtype::load(other.elements[e]));
            pack.elements[e] = Dtype::store(Dtype::load(of_y.elements[e]) * slope);
        }
        store(grad + i, pack);
    };
    walk_activated(activation, rows, channels, body, a, b, grad_y, grad);
}

// Four elements at a time, where addresses allow eight bytes.
template <typename From, typename To>
__device__ __forceinline__ void cast(const typename From::type* from, typename To::type* to, int64_t rows, int channels) {
    using R = typename To::type;
    auto body = [=](auto width, int64_t i, int64_t, int) {
        const auto pack = load<typename From::type, decltype(width)::value>(from + i);
        Pack<R, decltype(width)::value> rounded;
#pragma unroll
        for (int e = 0; e < width.value; ++e) rounded.elements[e] = To::store(From::load(pack.elements[e]));
        store(to + i, rounded);
    };
    if (channels % 4 == 0 && is_aligned(from) && is_aligned(to)) {
        walk<4>(rows, channels, body);
    } else {
        walk<1>(rows, channels, body);
    }
}

// Into any other storage type.
KERNEL cast_to_float16(const Element* from, Float16* to, int64_t rows, int channels) { cast<Dtype, Storage<0>>(from, to, rows, channels); }
KERNEL cast_to_bfloat16(const Element* from, BFloat16* to, int64_t rows, int channels) { cast<Dtype, Storage<1>>(from, to, rows, channels); }
KERNEL cast_to_float32(const Element* from, float* to, int64_t rows, int channels) { cast<Dtype, Storage<2>>(from, to, rows, channels); }
