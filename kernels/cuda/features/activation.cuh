// Activations and affine maps of channels, as numbers of one element.
#pragma once
#include "walk.cuh"

// Mirrored by the host: 0 identity, 1 ReLU, 2 leaky ReLU, 3 GELU, 4 SiLU, 5 sigmoid.
struct Activation {
    int kind;
    float slope_below;

    static __device__ __forceinline__ float sigmoid(float z) { return __fdiv_rn(1.0f, 1.0f + expf(-z)); }

    // Whether it is no more than a factor. The others are computed one element at a time: their
    // code, once for each of several elements, would be most of a cubin.
    __device__ __forceinline__ bool is_linear() const { return kind < 3; }

    template <int WIDTH>
    __device__ __forceinline__ float apply(float z) const {
        if (kind == 1) return z < 0.0f ? 0.0f : z;
        if (kind == 2) return z < 0.0f ? slope_below * z : z;
        if (WIDTH > 1) return z;
        switch (kind) {
            case 3: return z * normcdff(z);
            case 4: return z * sigmoid(z);
            case 5: return sigmoid(z);
            default: return z;
        }
    }

    template <int WIDTH>
    __device__ __forceinline__ float slope(float z) const {
        if (kind == 1) return z > 0.0f ? 1.0f : 0.0f;
        if (kind == 2) return z <= 0.0f ? slope_below : 1.0f;
        if (WIDTH > 1) return 1.0f;
        switch (kind) {
            case 3: {
                // 1 / sqrt(2 pi). Far out the density is 0, and infinity times 0 would not be a
                // number.
                const float density = expf(-0.5f * z * z) * 0.3989422804014327f;
                return normcdff(z) + fminf(fmaxf(z, -20.0f), 20.0f) * density;
            }
            case 4: {
                const float value = sigmoid(z);
                return value * (1.0f + z * (1.0f - value));
            }
            case 5: {
                const float value = sigmoid(z);
                return value * (1.0f - value);
            }
            default: return 1.0f;
        }
    }
};

// (x - mean) / sqrt(variance + epsilon) * scale + shift, each part neutral where null. Mirrored by
// the host.
struct Affine {
    const float* mean;
    const float* variance;
    const float* scale;
    const float* shift;
    float epsilon;
    Activation activation;

    __device__ __forceinline__ float inverse(int channel) const {
        return variance ? rsqrtf(__ldg(variance + channel) + epsilon) : 1.0f;
    }
    __device__ __forceinline__ float factor(int channel) const {
        const float factor = scale ? __ldg(scale + channel) : 1.0f;
        return variance ? __fmul_rn(inverse(channel), factor) : factor;
    }
    __device__ __forceinline__ float centred(float x, int channel) const { return mean ? x - __ldg(mean + channel) : x; }
    __device__ __forceinline__ float inner(float x, int channel) const {
        const float scaled = __fmul_rn(centred(x, channel), factor(channel));
        return shift ? __fadd_rn(scaled, __ldg(shift + channel)) : scaled;
    }
};

template <typename Body, typename... Operands>
__device__ __forceinline__ void walk_activated(const Activation& activation, int64_t rows, int channels, Body body,
                                               const Operands&... operands) {
    if (activation.is_linear()) {
        walk_packs(rows, channels, body, operands...);
    } else {
        walk<1>(rows, channels, body);
    }
}
