// What a forward product does to its sums before they are stored, for inference.
//
//   y[row][c] = relu(sum * scale[c] + bias[c] + residual[row][c])
//
// Each part may be absent. A batch normalisation with fixed statistics is a scale and a bias.
// Everything is float32 on the accumulators, and the only rounding to the storage type is that of
// the store behind it. Families branch once on `present`: a plain product executes what it would
// without any of this.
//
// Layouts: scale and bias (channels) float32; residual (n, channels), row-major, rows
// `residual_pitch` elements apart, of the storage type, any base address that fits one element. The
// residual may be the result itself, at the same address: the thread that writes an element is the
// one that reads it before. So residuals are read by ordinary loads, not by those for constant
// data.
//
// Architecture: sm_80 and later. Mirrored by the host, field by field.
#pragma once

#include "common.cuh"

namespace voxtune {

// What is done to one channel, neutral where absent.
struct Affine {
    float scale, bias;
};

struct Epilogue {
    const float* scale;       // (channels), or null
    const float* bias;        // (channels), or null
    const Element* residual;  // (n, channels), or null
    int residual_pitch;       // elements
    int relu;                 // whether negative results become zero
    int present;              // whether there is any part at all

    __device__ __forceinline__ Affine affine(int channel) const {
        return {scale ? __ldg(scale + channel) : 1.0f, bias ? __ldg(bias + channel) : 0.0f};
    }

    // What is not a number stays so.
    __device__ __forceinline__ float apply(float sum, const Affine& of, float added) const {
        float value = fmaf(sum, of.scale, of.bias) + added;
        const float least = relu ? 0.0f : -INFINITY;
        asm("max.NaN.f32 %0, %0, %1;" : "+f"(value) : "f"(least));
        return value;
    }

    // The result of one sum, for who has no channel's numbers at hand. Row and channel are those of
    // the result.
    __device__ __forceinline__ float apply(float sum, int64_t row, int channel) const {
        return apply(sum, affine(channel), residual ? Dtype::load(residual[row * residual_pitch + channel]) : 0.0f);
    }

    // Whether V elements of the residual are one load, in every row.
    template <int V>
    __device__ __forceinline__ bool is_aligned() const {
        return reinterpret_cast<uintptr_t>(residual) % (V * sizeof(Element)) == 0 && residual_pitch % V == 0;
    }
};

// V elements of 16 bits that are moved at once, two a register.
template <int V>
struct alignas(V * 2) Elements {
    uint32_t words[V / 2];

    __device__ __forceinline__ float at(int e) const {
        const unsigned short bits = static_cast<unsigned short>(words[e / 2] >> e % 2 * 16);
        return Dtype::load(*reinterpret_cast<const Element*>(&bits));
    }
};
template <>
struct Elements<1> {
    unsigned short bits;

    __device__ __forceinline__ float at(int) const { return Dtype::load(*reinterpret_cast<const Element*>(&bits)); }
};

// Stores LINES lines of WIDTH sums that lie in shared memory, PITCH floats apart, V channels a copy
// by each of THREADS threads. All of them call it. `channel_of` names the channel of a column,
// `row_of` the result row of a line, negative for none, and is called by whole warps. The rows and
// residuals of AHEAD lines are asked for before the first is needed.
template <int V, int AHEAD, int LINES, int WIDTH, int PITCH, int THREADS, typename ChannelOf, typename RowOf>
__device__ __forceinline__ void store_finished(const Epilogue& epilogue, const float* staged, int thread, Element* result,
                                               int result_pitch, int channels, ChannelOf channel_of, RowOf row_of) {
    constexpr int PER_LINE = WIDTH / V, STEP = THREADS / PER_LINE;
    static_assert(WIDTH % V == 0 && STEP >= 1 && PITCH % 4 == 0, "a copy a thread");
    const int column = thread % PER_LINE * V, channel = channel_of(column);
    const bool inside = thread < STEP * PER_LINE && channel < channels;
    Affine affine[V];
#pragma unroll
    for (int e = 0; e < V; ++e) affine[e] = inside ? epilogue.affine(channel + e) : Affine{};
#pragma unroll 1
    for (int line = thread / PER_LINE; line < LINES + thread / PER_LINE; line += AHEAD * STEP) {
        int rows[AHEAD];
        Elements<V> values[AHEAD] = {};
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            const int row = row_of(min(line + i * STEP, LINES - 1));
            rows[i] = inside && line + i * STEP < LINES ? row : -1;
        }
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            if (epilogue.residual && rows[i] >= 0) {
                values[i] = *reinterpret_cast<const Elements<V>*>(epilogue.residual + int64_t(rows[i]) * epilogue.residual_pitch + channel);
            }
        }
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            if (rows[i] < 0) continue;
            const float* sums = staged + (line + i * STEP) * PITCH + column;
            Element* target = result + int64_t(rows[i]) * result_pitch + channel;
            if constexpr (V == 1) {
                *target = Dtype::store(epilogue.apply(sums[0], affine[0], values[i].at(0)));
            } else {
#pragma unroll
                for (int e = 0; e < V; e += 2) {
                    const float low = epilogue.apply(sums[e], affine[e], values[i].at(e));
                    values[i].words[e / 2] = pack(low, epilogue.apply(sums[e + 1], affine[e + 1], values[i].at(e + 1)));
                }
                *reinterpret_cast<Elements<V>*>(target) = values[i];
            }
        }
    }
}

}  // namespace voxtune
