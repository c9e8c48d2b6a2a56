// What layers do to features beside convolutions, forward and backward: affine maps with activations,
// normalisations, sums of columns, pooling, gathering, dense grids.
//
// Layouts: features are (rows, channels), row-major and dense, of the storage type, at any address
// that fits one element. Numbers of channels are float32, or null
// where neutral. A table of a kernel map is (volume, pitch) int32, -1 where no row is; a negative
// pitch walks its offsets backwards.
//
// Arithmetic is float32, multiplications and additions apart, so that the host computes the same.
// Every sum has an order that sizes alone decide: runs repeat to the bit.
//
// Architecture: any. 256 threads a block, any number of blocks but where it says otherwise. Parameters:
// VOXTUNE_DTYPE.
#include "row_count.cuh"
#include "storage.cuh"

using namespace voxtune;

constexpr int THREADS = 256;

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)

// ---- walking over elements ----------------------------------------------------------------------

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

// ---- activations --------------------------------------------------------------------------------

// Mirrored by the host: 0 identity, 1 ReLU, 2 leaky ReLU, 3 GELU, 4 SiLU, 5 sigmoid.
struct Activation {
    int kind;
    float slope_below;

    static __device__ __forceinline__ float sigmoid(float z) { return __fdiv_rn(1.0f, 1.0f + expf(-z)); }

    // Whether it is no more than a factor. The others are computed one element at a time: their code,
    // once for each of several elements, would be most of a cubin.
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
                // 1 / sqrt(2 pi). Far out the density is 0, and infinity times 0 would not be a number.
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

template <typename Body, typename... Addresses>
__device__ __forceinline__ void walk_activated(const Activation& activation, int64_t rows, int channels, Body body,
                                               const Addresses*... addresses) {
    if (activation.is_linear()) {
        walk_packs(rows, channels, body, addresses...);
    } else {
        walk<1>(rows, channels, body);
    }
}

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

// The gradients of scale and shift are the sums over rows of grad_y * normalised and of grad_y.
KERNEL batch_norm_backward(const Element* x, const Element* grad_y, Element* grad_x, int64_t rows, int channels, Affine of,
                           const float* grad_scale, const float* grad_shift) {
    const float inverse_count = __fdiv_rn(1.0f, static_cast<float>(rows));
    auto body = [=](auto width, int64_t i, int64_t, int channel) {
        auto pack = load<Element, decltype(width)::value>(x + i);
        const auto grad = load<Element, decltype(width)::value>(grad_y + i);
#pragma unroll
        for (int e = 0; e < width.value; ++e) {
            const int c = channel + e;
            const float normalised = of.centred(Dtype::load(pack.elements[e]), c) * of.inverse(c);
            const float along = normalised * (__ldg(grad_scale + c) * inverse_count);
            const float rest = Dtype::load(grad.elements[e]) - __ldg(grad_shift + c) * inverse_count - along;
            pack.elements[e] = Dtype::store(rest * of.factor(c));
        }
        store(grad_x + i, pack);
    };
    walk_packs(rows, channels, body, x, grad_y, grad_x);
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

// ---- sums of columns ----------------------------------------------------------------------------

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

KERNEL column_sums(const Element* x, int64_t rows, int channels, int lanes, int64_t part_rows, float* partial) {
    add_columns<1>(rows, channels, lanes, part_rows, partial,
                   [=](int64_t row, int channel, float* sums) { sums[0] += Dtype::load(x[row * channels + channel]); });
}

KERNEL column_squares(const Element* x, const float* mean, int64_t rows, int channels, int lanes, int64_t part_rows,
                                               float* partial) {
    add_columns<1>(rows, channels, lanes, part_rows, partial, [=](int64_t row, int channel, float* sums) {
        const float difference = Dtype::load(x[row * channels + channel]) - __ldg(mean + channel);
        sums[0] += difference * difference;
    });
}

KERNEL batch_norm_sums(const Element* x, const Element* grad_y, int64_t rows, int channels, Affine of, int lanes,
                                                int64_t part_rows, float* partial) {
    const int own = blockIdx.y * lanes + threadIdx.x % lanes;
    const float inverse = own < channels ? of.inverse(own) : 0.0f;
    add_columns<2>(rows, channels, lanes, part_rows, partial, [=](int64_t row, int channel, float* sums) {
        const float grad = Dtype::load(grad_y[row * channels + channel]);
        sums[0] += grad * (of.centred(Dtype::load(x[row * channels + channel]), channel) * inverse);
        sums[1] += grad;
    });
}

// `statistics`: (rows) of mean and one over the standard deviation.
KERNEL layer_norm_sums(const Element* x, const Element* grad_y, const float2* statistics, int64_t rows, int channels, int lanes,
                                                int64_t part_rows, float* partial) {
    add_columns<2>(rows, channels, lanes, part_rows, partial, [=](int64_t row, int channel, float* sums) {
        const float2 of_row = __ldg(statistics + row);
        const float grad = Dtype::load(grad_y[row * channels + channel]);
        sums[0] += grad * ((Dtype::load(x[row * channels + channel]) - of_row.x) * of_row.y);
        sums[1] += grad;
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

// ---- layer normalisation ------------------------------------------------------------------------

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
__device__ __forceinline__ float2 row_statistics(const Element* x, int64_t row, int lane, int lanes, int channels, float epsilon) {
    const float inverse_count = __fdiv_rn(1.0f, static_cast<float>(channels));
    float sum = 0.0f, squares = 0.0f;
    if (row >= 0) {
        for (int c = lane; c < channels; c += lanes) sum += Dtype::load(x[row * channels + c]);
    }
    const float mean = sum_of_lanes(sum, lanes) * inverse_count;
    if (row >= 0) {
        for (int c = lane; c < channels; c += lanes) {
            const float difference = Dtype::load(x[row * channels + c]) - mean;
            squares += difference * difference;
        }
    }
    const float variance = sum_of_lanes(squares, lanes) * inverse_count;
    return make_float2(mean, rsqrtf(variance + epsilon));
}

KERNEL layer_norm(const Element* x, Element* y, int64_t rows, int channels, int lanes, const float* gamma, const float* beta,
                                           float epsilon) {
    walk_rows(rows, lanes, [=](int64_t row, int lane) {
        const float2 of_row = row_statistics(x, row, lane, lanes, channels, epsilon);
        if (row < 0) return;
        for (int c = lane; c < channels; c += lanes) {
            const float scaled = (Dtype::load(x[row * channels + c]) - of_row.x) * of_row.y * (gamma ? __ldg(gamma + c) : 1.0f);
            y[row * channels + c] = Dtype::store(scaled + (beta ? __ldg(beta + c) : 0.0f));
        }
    });
}

// Also writes the statistics, (rows) of mean and one over the standard deviation.
KERNEL layer_norm_backward(const Element* x, const Element* grad_y, Element* grad_x, int64_t rows, int channels, int lanes,
                                                    const float* gamma, float epsilon, float2* statistics) {
    walk_rows(rows, lanes, [=](int64_t row, int lane) {
        const float2 of_row = row_statistics(x, row, lane, lanes, channels, epsilon);
        const auto inner = [=](int c) { return Dtype::load(grad_y[row * channels + c]) * (gamma ? __ldg(gamma + c) : 1.0f); };
        const auto normalised = [=](int c) { return (Dtype::load(x[row * channels + c]) - of_row.x) * of_row.y; };
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
            grad_x[row * channels + c] = Dtype::store((inner(c) - plain - normalised(c) * along) * of_row.y);
        }
    });
}

// ---- pooling ------------------------------------------------------------------------------------

// The larger; what is not a number wins.
__device__ __forceinline__ float larger(float a, float b) { return b > a || b != b ? b : a; }

// Over a kernel map. Mirrored by the host: 0 the largest, 1 the largest and 0, 2 the mean.
KERNEL map_pool(const Element* x, Element* y, const int* table, int64_t pitch, int volume, int64_t rows, int channels,
                                         int pooling) {
    auto body = [=](auto width, int64_t i, int64_t row, int channel) {
        constexpr int WIDTH = decltype(width)::value;
        float totals[WIDTH];
#pragma unroll
        for (int e = 0; e < WIDTH; ++e) totals[e] = pooling == 0 ? -INFINITY : 0.0f;
        int count = 0;
        for (int k = 0; k < volume; ++k) {
            const int64_t from = __ldg(table + k * pitch + row);
            if (from < 0) continue;
            ++count;
            const auto pack = load<Element, WIDTH>(x + from * channels + channel);
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
        store(y + i, pack);
    };
    walk_packs(rows, channels, body, x, y);
}

// Rows are those of x; the table names the rows of y that each one meets.
KERNEL map_max_backward(const Element* x, const Element* y, const Element* grad_y, Element* grad_x, const int* table, int64_t pitch,
                                                 int volume, int64_t rows, int channels) {
    auto body = [=](auto width, int64_t i, int64_t row, int channel) {
        constexpr int WIDTH = decltype(width)::value;
        auto own = load<Element, WIDTH>(x + i);
        float totals[WIDTH] = {};
#pragma unroll 2
        for (int k = 0; k < volume; ++k) {
            const int64_t to = __ldg(table + k * pitch + row);
            if (to < 0) continue;
            const auto largest = load<Element, WIDTH>(y + to * channels + channel);
            const auto grad = load<Element, WIDTH>(grad_y + to * channels + channel);
#pragma unroll
            for (int e = 0; e < WIDTH; ++e) {
                if (Dtype::load(own.elements[e]) == Dtype::load(largest.elements[e])) totals[e] += Dtype::load(grad.elements[e]);
            }
        }
#pragma unroll
        for (int e = 0; e < WIDTH; ++e) own.elements[e] = Dtype::store(totals[e]);
        store(grad_x + i, own);
    };
    walk_packs(rows, channels, body, x, y, grad_y, grad_x);
}

// `weights`: of each row of y, from map_average_weights.
KERNEL map_average_backward(const Element* grad_y, Element* grad_x, const float* weights, const int* table, int64_t pitch,
                                                     int volume, int64_t rows, int channels) {
    auto body = [=](auto width, int64_t i, int64_t row, int channel) {
        constexpr int WIDTH = decltype(width)::value;
        float totals[WIDTH] = {};
        for (int k = 0; k < volume; ++k) {
            const int64_t to = __ldg(table + k * pitch + row);
            if (to < 0) continue;
            const float weight = __ldg(weights + to);
            const auto grad = load<Element, WIDTH>(grad_y + to * channels + channel);
#pragma unroll
            for (int e = 0; e < WIDTH; ++e) totals[e] = __fadd_rn(totals[e], __fmul_rn(Dtype::load(grad.elements[e]), weight));
        }
        Pack<Element, WIDTH> pack;
#pragma unroll
        for (int e = 0; e < WIDTH; ++e) pack.elements[e] = Dtype::store(totals[e]);
        store(grad_x + i, pack);
    };
    walk_packs(rows, channels, body, grad_y, grad_x);
}

// What the gradient of a mean is multiplied by: one over how many rows each row meets, or, as spconv
// has it, their number.
KERNEL map_average_weights(const int* table, int64_t pitch, int volume, int64_t rows, float* weights, int divides) {
    for (int64_t row = int64_t(blockIdx.x) * THREADS + threadIdx.x; row < rows; row += int64_t(gridDim.x) * THREADS) {
        int count = 0;
        for (int k = 0; k < volume; ++k) count += __ldg(table + k * pitch + row) >= 0;
        weights[row] = divides ? __fdiv_rn(1.0f, static_cast<float>(count)) : static_cast<float>(count);
    }
}

// Over groups: item i of the result is made of the rows order[starts[i]] up to order[starts[i + 1]],
// of those places themselves where `order` is null. Mirrored by the host: 0 sum, 1 mean, 2 largest.
// `counted`: where each item's rows begin that a mean is of; null leaves it a sum. Of nothing comes
// `nothing`.
template <typename From, typename To>
__device__ __forceinline__ void reduce_groups(const typename From::type* x, typename To::type* y, const int* order, const int* starts,
                                             const int* counted, int64_t items, int channels, int reduction) {
    auto body = [=](auto, int64_t i, int64_t item, int channel) {
        const int begin = __ldg(starts + item), end = __ldg(starts + item + 1);
        float total = reduction == 2 ? -INFINITY : 0.0f;
#pragma unroll 4
        for (int place = begin; place < end; ++place) {
            const int64_t row = order ? __ldg(order + place) : place;
            const float value = From::load(x[row * channels + channel]);
            total = reduction == 2 ? larger(total, value) : total + value;
        }
        if (reduction == 1 && counted) total = __fdiv_rn(total, static_cast<float>(__ldg(counted + item + 1) - __ldg(counted + item)));
        y[i] = To::store(begin == end ? 0.0f : total);
    };
    walk<1>(items, channels, body);
}

// All of a group at once; its pieces; and the pieces together.
KERNEL group_reduce(const Element* x, Element* y, const int* order, const int* starts, const int* counted, int64_t items, int channels,
                    int reduction) {
    reduce_groups<Dtype, Dtype>(x, y, order, starts, counted, items, channels, reduction);
}
KERNEL group_pieces(const Element* x, float* y, const int* order, const int* starts, const int* counted, int64_t items, int channels,
                    int reduction) {
    reduce_groups<Dtype, Storage<2>>(x, y, order, starts, counted, items, channels, reduction);
}
KERNEL group_whole(const float* x, Element* y, const int* order, const int* starts, const int* counted, int64_t items, int channels,
                   int reduction) {
    reduce_groups<Storage<2>, Dtype>(x, y, order, starts, counted, items, channels, reduction);
}

// The gradient of a mean: `starts` says where each group's rows begin.
KERNEL spread_mean(const Element* grad_y, Element* grad_x, const int* group_of_row, const int* starts, int groups, int64_t rows,
                                            int channels) {
    auto body = [=](auto, int64_t i, int64_t row, int channel) {
        const int group = __ldg(group_of_row + row);
        float value = 0.0f;
        if (group >= 0 && group < groups) {
            const float count = static_cast<float>(__ldg(starts + group + 1) - __ldg(starts + group));
            value = __fdiv_rn(Dtype::load(grad_y[int64_t(group) * channels + channel]), count);
        }
        grad_x[i] = Dtype::store(value);
    };
    walk<1>(rows, channels, body);
}

KERNEL spread_max(const Element* x, const Element* y, const Element* grad_y, Element* grad_x, const int* group_of_row, int groups,
                                           int64_t rows, int channels) {
    auto body = [=](auto, int64_t i, int64_t row, int channel) {
        const int group = __ldg(group_of_row + row);
        float value = 0.0f;
        if (group >= 0 && group < groups) {
            const int64_t place = int64_t(group) * channels + channel;
            if (Dtype::load(x[i]) == Dtype::load(y[place])) value = Dtype::load(grad_y[place]);
        }
        grad_x[i] = Dtype::store(value);
    };
    walk<1>(rows, channels, body);
}

// ---- moving elements ----------------------------------------------------------------------------

// Columns of `width` from one matrix into another, whose rows lie so many units apart.
template <typename Unit>
__device__ __forceinline__ void copy_columns(const Unit* from, Unit* to, int64_t rows, int width, int64_t from_pitch, int64_t to_pitch) {
    walk<1>(rows, width, [=](auto, int64_t, int64_t row, int unit) { to[row * to_pitch + unit] = from[row * from_pitch + unit]; });
}

// The row of its group for each row, zeros where it has none or one that there is not.
template <typename Unit>
__device__ __forceinline__ void spread(const Unit* x, Unit* y, const int* group_of_row, int groups, int64_t rows, int width) {
    walk<1>(rows, width, [=](auto, int64_t i, int64_t row, int unit) {
        const int group = __ldg(group_of_row + row);
        y[i] = group >= 0 && group < groups ? x[int64_t(group) * width + unit] : Unit{};
    });
}

#define OF_BYTES(BYTES, UNIT)                                                                                                              \
    KERNEL copy_columns_##BYTES(const UNIT* from, UNIT* to, int64_t rows, int width, int64_t from_pitch, int64_t to_pitch) {               \
        copy_columns(from, to, rows, width, from_pitch, to_pitch);                                                                         \
    }                                                                                                                                      \
    KERNEL spread_##BYTES(const UNIT* x, UNIT* y, const int* group_of_row, int groups, int64_t rows, int width) {                          \
        spread(x, y, group_of_row, groups, rows, width);                                                                                   \
    }

OF_BYTES(2, uint16_t)
OF_BYTES(4, uint32_t)
OF_BYTES(8, uint2)
OF_BYTES(16, uint4)

// Samples and cells of a dense grid. Mirrored by the host.
struct DenseGrid {
    int batches, shape[3];

    __device__ __forceinline__ int64_t cells() const { return int64_t(shape[0]) * shape[1] * shape[2]; }

    // Where the first channel of a voxel (batch, x, y, z) lies; negative outside.
    __device__ __forceinline__ int64_t place(const int* voxel, int channels) const {
        const int batch = voxel[0], x = voxel[1], y = voxel[2], z = voxel[3];
        const bool inside = batch >= 0 && batch < batches && x >= 0 && x < shape[0] && y >= 0 && y < shape[1] && z >= 0 && z < shape[2];
        if (!inside) return -1;
        const int64_t cell = (int64_t(x) * shape[1] + y) * shape[2] + z;
        return int64_t(batch) * channels * cells() + cell;
    }
};

// Moves tiles of 32 rows by 32 channels, through shared memory: rows lie side by side in features,
// and neighbouring voxels side by side in a dense tensor. Voxels outside are left out when written,
// and zeros when read.
template <bool TO_DENSE>
__device__ __forceinline__ void move_dense(Element* features, Element* dense, const int* voxels, RowCount count, int channels, const DenseGrid& grid) {
    const int64_t rows = count.load();
    constexpr int TILE = 32, LINES = THREADS / TILE;
    __shared__ Element tile[TILE][TILE + 1];
    const int lane = threadIdx.x % TILE, line = threadIdx.x / TILE;
    const int64_t cells = grid.cells();
    for (int64_t first = int64_t(blockIdx.x) * TILE; first < rows; first += int64_t(gridDim.x) * TILE) {
        const int64_t place = first + lane < rows ? grid.place(voxels + (first + lane) * 4, channels) : -1;
        for (int channel = 0; channel < channels; channel += TILE) {
            const auto by_row = [&](auto move) {
                for (int l = line; l < TILE; l += LINES) {
                    if (first + l < rows && channel + lane < channels) {
                        move(tile[l][lane], features[(first + l) * channels + channel + lane]);
                    }
                }
            };
            const auto by_cell = [&](auto move) {
                for (int l = line; l < TILE && channel + l < channels; l += LINES) move(tile[lane][l], int64_t(channel + l) * cells);
            };
            if constexpr (TO_DENSE) {
                by_row([](Element& staged, Element& feature) { staged = feature; });
                __syncthreads();
                by_cell([&](Element& staged, int64_t at) {
                    if (place >= 0) dense[place + at] = staged;
                });
            } else {
                by_cell([&](Element& staged, int64_t at) { staged = place >= 0 ? dense[place + at] : Element{}; });
                __syncthreads();
                by_row([](Element& staged, Element& feature) { feature = staged; });
            }
            __syncthreads();
        }
    }
}

KERNEL to_dense(Element* features, Element* dense, const int* voxels, RowCount rows, int channels, DenseGrid grid) {
    move_dense<true>(features, dense, voxels, rows, channels, grid);
}
KERNEL from_dense(Element* features, Element* dense, const int* voxels, RowCount rows, int channels, DenseGrid grid) {
    move_dense<false>(features, dense, voxels, rows, channels, grid);
}
