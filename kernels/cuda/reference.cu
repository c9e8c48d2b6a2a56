// The convolution in float64, and the worst error of a result against it. For verification; plain
// on purpose.
//
// Layouts as in mask_gemm.cu and pair_gemm.cu; the reference is float64. Products and sums in
// float64 of the stored (already rounded) inputs, each sum in an order that depends on the shape
// alone.
//
// Architecture: any. 256 threads per block but where a kernel says otherwise.
//
// Defines: VOXTUNE_DTYPE 0|1|2.
#include "common.cuh"

using namespace voxtune;

// The product in float64. That of two 16-bit numbers has at most 22 binary digits, so float32 holds
// it as it is (bfloat16's within float32's range). One conversion then does for two: on a GPU made
// for float64 conversions have a quarter of its sums' rate.
__device__ __forceinline__ double product(float x, float w) {
    if constexpr (sizeof(Element) == 2) {
        return double(x * w);
    } else {
        return double(x) * double(w);
    }
}

// One thread an element. Forward: rows of x, weights (volume, c_in / groups, c_out). Dgrad: rows of
// the gradient, weights transposed to (volume, c_out / groups, c_in). own_gathered and own_result
// are channels of a group. `table` and `mirror` as in mask_gemm.cu, natural order.
extern "C" __global__ void __launch_bounds__(256) reference_rows(const Element* gathered, const Element* weights, double* result,
                                                                 const int* table, int64_t pitch, int n, int c_gathered, int c_result,
                                                                 int own_gathered, int own_result, int volume, int mirror) {
    const int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x;
    if (i >= int64_t(n) * c_result) return;
    const int row = static_cast<int>(i / c_result), c = static_cast<int>(i % c_result);
    double sum = 0;
    for (int k = 0; k < volume; ++k) {
        const int source = __ldg(table + k * pitch + row);
        if (source < 0) continue;
        const Element* x = gathered + int64_t(source) * c_gathered + c / own_result * own_gathered;
        const Element* w = weights + int64_t(mirror ? volume - 1 - k : k) * own_gathered * c_result + c;
        for (int d = 0; d < own_gathered; ++d) sum += product(Dtype::load(x[d]), Dtype::load(w[int64_t(d) * c_result]));
    }
    result[i] = sum;
}

// Weights (volume, c_in / groups, c_out) to (volume, c_out / groups, c_in), `length` elements in
// all.
extern "C" __global__ void __launch_bounds__(256) transpose_weights(const Element* weights, Element* transposed, int64_t length, int c_in,
                                                                    int c_out, int own_in, int own_out) {
    const int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x;
    if (i >= length) return;
    const int64_t k = i / (int64_t(own_out) * c_in);
    const int out = static_cast<int>(i / c_in % own_out), in = static_cast<int>(i % c_in);
    transposed[i] = weights[(k * own_in + in % own_in) * c_out + in / own_in * own_out + out];
}

// The epilogue of epilogue.cuh on a reference in place. Absent parts are null.
extern "C" __global__ void __launch_bounds__(256) reference_epilogue(double* reference, int64_t length, int channels, const float* scale,
                                                                     const float* bias, const Element* residual, int relu) {
    const int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x;
    if (i >= length) return;
    const int c = static_cast<int>(i % channels);
    double value = reference[i];
    if (scale) value *= double(scale[c]);
    if (bias) value += double(bias[c]);
    if (residual) value += double(Dtype::load(residual[i]));
    reference[i] = relu && value < 0 ? 0 : value;
}

// Grid (tiles, volume), a tile INS x OUTS elements of an offset. Each of PARTS warps adds the
// products of every PARTS-th pair for a whole tile: a small layer has few elements and many pairs.
// Then the parts are added in their order.
constexpr int INS = 8, OUTS = 32, PARTS = 16;
static_assert(INS <= PARTS, "a warp adds the parts of one row of a tile");

extern "C" __global__ void __launch_bounds__(PARTS * OUTS) reference_wgrad(const Element* x, const Element* g, double* dw, const int* in_rows,
                                                                           const int* out_rows, const int* pair_offset, int c_in, int c_out) {
    __shared__ double sums[PARTS][INS][OUTS];
    const int lane = threadIdx.x % OUTS, part = threadIdx.x / OUTS, k = blockIdx.y;
    const int across = ceil_div(c_out, OUTS);
    const int in = static_cast<int>(blockIdx.x) / across * INS, out = static_cast<int>(blockIdx.x) % across * OUTS + lane;
    const int begin = pair_offset[k], end = pair_offset[k + 1];
    double sum[INS] = {};
#pragma unroll 4
    for (int pair = begin + part; pair < end; pair += PARTS) {
        // The first lanes read a row for all.
        const int64_t row = int64_t(__ldg(in_rows + pair)) * c_in + in, gradient_row = int64_t(__ldg(out_rows + pair)) * c_out;
        const float own = lane < INS && in + lane < c_in ? Dtype::load(x[row + lane]) : 0;
        const float gradient = out < c_out ? Dtype::load(g[gradient_row + out]) : 0;
#pragma unroll
        for (int i = 0; i < INS; ++i) sum[i] += product(__shfl_sync(0xffffffffu, own, i), gradient);
    }
#pragma unroll
    for (int i = 0; i < INS; ++i) sums[part][i][lane] = sum[i];
    __syncthreads();
    if (part >= INS || in + part >= c_in || out >= c_out) return;
    double total = 0;
    for (int other = 0; other < PARTS; ++other) total += sums[other][part][lane];
    dw[(int64_t(k) * c_in + in + part) * c_out + out] = total;
}

// The same of several groups, whose outputs read inputs of their own: grid (own_in * ceil(c_out /
// OUTS), volume).
extern "C" __global__ void __launch_bounds__(PARTS * OUTS) reference_wgrad_groups(const Element* x, const Element* g, double* dw,
                                                                                  const int* in_rows, const int* out_rows,
                                                                                  const int* pair_offset, int c_in, int c_out, int own_in,
                                                                                  int own_out) {
    __shared__ double sums[PARTS][OUTS];
    const int lane = threadIdx.x % OUTS, part = threadIdx.x / OUTS, k = blockIdx.y;
    const int across = ceil_div(c_out, OUTS);
    const int in = static_cast<int>(blockIdx.x) / across, out = static_cast<int>(blockIdx.x) % across * OUTS + lane;
    double sum = 0;
    for (int pair = pair_offset[k] + part; out < c_out && pair < pair_offset[k + 1]; pair += PARTS) {
        const Element own = x[int64_t(__ldg(in_rows + pair)) * c_in + out / own_out * own_in + in];
        sum += product(Dtype::load(own), Dtype::load(g[int64_t(__ldg(out_rows + pair)) * c_out + out]));
    }
    sums[part][lane] = sum;
    __syncthreads();
    if (part > 0 || out >= c_out) return;
    double total = 0;
    for (int other = 0; other < PARTS; ++other) total += sums[other][lane];
    dw[(int64_t(k) * own_in + in) * c_out + out] = total;
}

// found {sum of squares, bits of the worst error as a double}. Run square_sum over the reference,
// then a comparison.
extern "C" __global__ void __launch_bounds__(256) square_sum(const double* reference, int64_t length, double* found) {
    double sum = 0;
    for (int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x; i < length; i += int64_t(gridDim.x) * 256) sum += reference[i] * reference[i];
    for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, d);
    if (threadIdx.x % 32 == 0) atomicAdd(found, sum);
}

template <typename Load>
__device__ __forceinline__ void worst_error(const double* reference, int64_t length, double* found, Load load) {
    const double rms = sqrt(found[0] / double(length));
    double worst = 0;
    for (int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x; i < length; i += int64_t(gridDim.x) * 256) {
        const double scale = fmax(fabs(reference[i]), rms), difference = fabs(load(i) - reference[i]);
        double error = difference == 0 ? 0 : difference / scale;
        if (!(error <= 1e300)) error = 1e300;  // not a number, or infinite: certainly the worst
        worst = fmax(worst, error);
    }
    for (int d = 16; d > 0; d /= 2) worst = fmax(worst, __shfl_xor_sync(0xffffffffu, worst, d));
    // Doubles that are not negative are ordered as their bits.
    if (threadIdx.x % 32 == 0) atomicMax(reinterpret_cast<unsigned long long*>(found + 1), (unsigned long long)__double_as_longlong(worst));
}

extern "C" __global__ void __launch_bounds__(256) compare_rows(const Element* result, const double* reference, int64_t length, double* found) {
    worst_error(reference, length, found, [=](int64_t i) { return double(Dtype::load(result[i])); });
}

extern "C" __global__ void __launch_bounds__(256) compare_float32(const float* result, const double* reference, int64_t length, double* found) {
    worst_error(reference, length, found, [=](int64_t i) { return double(result[i]); });
}

// ---- a stored result as the reference of others: no float64 copy of it --------------------------

template <typename Load>
__device__ __forceinline__ void add_squares(int64_t length, double* sum, Load load) {
    double own = 0;
#pragma unroll 4
    for (int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x; i < length; i += int64_t(gridDim.x) * 256) {
        const float value = load(i);
        own += double(value) * double(value);
    }
    for (int d = 16; d > 0; d /= 2) own += __shfl_xor_sync(0xffffffffu, own, d);
    if (threadIdx.x % 32 == 0) atomicAdd(sum, own);
}

// As worst_error, of two results of one storage type. `squares` is what add_squares made of the
// expected one. Most elements are equal or as near as others before them, so the division is rare.
template <typename Load>
__device__ __forceinline__ void worst_difference(int64_t length, const double* squares, double* found, Load load_found, Load load_expected) {
    const double rms = sqrt(squares[0] / double(length));
    double worst = 0;
#pragma unroll 4
    for (int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x; i < length; i += int64_t(gridDim.x) * 256) {
        const float own = load_found(i), other = load_expected(i);
        if (own == other && isfinite(own)) continue;
        const double difference = fabs(double(own) - double(other)), scale = fmax(fabs(double(other)), rms);
        if (difference <= worst * scale) continue;
        const double error = difference / scale;
        worst = error <= 1e300 ? fmax(worst, error) : 1e300;  // not a number, or infinite: certainly the worst
    }
    for (int d = 16; d > 0; d /= 2) worst = fmax(worst, __shfl_xor_sync(0xffffffffu, worst, d));
    if (threadIdx.x % 32 == 0) atomicMax(reinterpret_cast<unsigned long long*>(found), (unsigned long long)__double_as_longlong(worst));
}

struct LoadElement {
    const Element* values;
    __device__ __forceinline__ float operator()(int64_t i) const { return Dtype::load(values[i]); }
};
struct LoadFloat {
    const float* values;
    __device__ __forceinline__ float operator()(int64_t i) const { return values[i]; }
};

extern "C" __global__ void __launch_bounds__(256) squares_rows(const Element* expected, int64_t length, double* sum) {
    add_squares(length, sum, LoadElement{expected});
}

extern "C" __global__ void __launch_bounds__(256) squares_float32(const float* expected, int64_t length, double* sum) {
    add_squares(length, sum, LoadFloat{expected});
}

extern "C" __global__ void __launch_bounds__(256) differ_rows(const Element* result, const Element* expected, int64_t length, const double* squares, double* found) {
    worst_difference(length, squares, found, LoadElement{result}, LoadElement{expected});
}

extern "C" __global__ void __launch_bounds__(256) differ_float32(const float* result, const float* expected, int64_t length, const double* squares, double* found) {
    worst_difference(length, squares, found, LoadFloat{result}, LoadFloat{expected});
}

// A verified result as the reference of a larger one.
extern "C" __global__ void __launch_bounds__(256) widen_rows(const Element* result, int64_t length, double* reference) {
    const int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x;
    if (i < length) reference[i] = double(Dtype::load(result[i]));
}

extern "C" __global__ void __launch_bounds__(256) widen_float32(const float* result, int64_t length, double* reference) {
    const int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x;
    if (i < length) reference[i] = double(result[i]);
}
