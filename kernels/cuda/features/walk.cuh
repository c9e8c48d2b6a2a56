// What the kernels of features share: rows that lie a pitch apart, and walks over their elements.
#pragma once
#include "../storage.cuh"

using namespace voxtune;

constexpr int THREADS = 256;

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)

// WIDTH neighbouring elements that are moved at once.
template <typename E, int WIDTH>
struct alignas(sizeof(E) * WIDTH) Pack {
    E elements[WIDTH];
};

// A number that a type knows.
template <int VALUE>
struct Constant {
    static constexpr int value = VALUE;
};

// Elements in sixteen bytes.
constexpr int MOST = 16 / int(sizeof(Element));

template <typename E, int WIDTH>
__device__ __forceinline__ Pack<E, WIDTH> load(const E* from) {
    return *reinterpret_cast<const Pack<E, WIDTH>*>(from);
}

template <typename E, int WIDTH>
__device__ __forceinline__ void store(E* to, const Pack<E, WIDTH>& pack) {
    *reinterpret_cast<Pack<E, WIDTH>*>(to) = pack;
}

// Calls body(Constant<width>, element, row, channel) for every `width` neighbours. The only division
// is that of a thread's first element.
template <int WIDTH, typename Body>
__device__ __forceinline__ void walk(int64_t rows, int channels, Body body) {
    const uint32_t packs = channels / WIDTH;
    const int64_t count = rows * packs, stride = int64_t(gridDim.x) * THREADS;
    int64_t i = int64_t(blockIdx.x) * THREADS + threadIdx.x;
    if (i >= count) return;
    int64_t row = i / packs;
    uint32_t pack = static_cast<uint32_t>(i - row * packs);
    const int64_t row_step = stride / packs;
    const uint32_t pack_step = static_cast<uint32_t>(stride - row_step * packs);
    while (true) {
        body(Constant<WIDTH>{}, i * WIDTH, row, static_cast<int>(pack * WIDTH));
        i += stride;
        if (i >= count) break;
        row += row_step;
        pack += pack_step;
        if (pack >= packs) {
            pack -= packs;
            ++row;
        }
    }
}

__device__ __forceinline__ bool is_aligned(const void* address) { return reinterpret_cast<uintptr_t>(address) % 16 == 0; }

// The same, sixteen bytes at a time where channels and all addresses allow that.
template <typename Body, typename... Addresses>
__device__ __forceinline__ void walk_packs(int64_t rows, int channels, Body body, const Addresses*... addresses) {
    if (channels % MOST == 0 && (is_aligned(addresses) && ...)) {
        walk<MOST>(rows, channels, body);
    } else {
        walk<1>(rows, channels, body);
    }
}

// The larger; what is not a number wins.
__device__ __forceinline__ float larger(float a, float b) { return b > a || b != b ? b : a; }
