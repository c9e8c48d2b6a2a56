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

// Rows of elements that lie `pitch` elements apart. Mirrored by the host.
template <typename E>
struct Rows {
    E* first;
    int64_t pitch;

    __device__ __forceinline__ E* at(int64_t row, int channel) const { return first + row * pitch + channel; }
    __device__ __forceinline__ E& operator()(int64_t row, int channel) const { return *at(row, channel); }

    // Whether packs of `width` elements begin where one access can move them, in every row.
    __device__ __forceinline__ bool is_aligned(int width) const {
        return reinterpret_cast<uintptr_t>(first) % 16 == 0 && pitch % width == 0;
    }
};

// Calls body(Constant<width>, row, channel) for every `width` neighbours. The only division is that
// of a thread's first element.
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
        body(Constant<WIDTH>{}, row, static_cast<int>(pack * WIDTH));
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

// The same, sixteen bytes at a time where channels, addresses and pitches allow that.
template <typename Body, typename... Operands>
__device__ __forceinline__ void walk_packs(int64_t rows, int channels, Body body, const Operands&... operands) {
    if (channels % MOST == 0 && (operands.is_aligned(MOST) && ...)) {
        walk<MOST>(rows, channels, body);
    } else {
        walk<1>(rows, channels, body);
    }
}

// The larger; what is not a number wins.
__device__ __forceinline__ float larger(float a, float b) { return b > a || b != b ? b : a; }
