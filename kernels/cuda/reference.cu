// The convolution in float64, and the worst error of a result against it. For verification; plain on purpose.
//
// Layouts as in mask_gemm.cu and pair_gemm.cu; the reference is float64. One thread an element of the result; products and sums
// in float64 of the stored (already rounded) inputs.
//
// Architecture: any. 256 threads a block.
//
// Defines: VOXTUNE_DTYPE 0|1|2.
#include "common.cuh"

using namespace voxtune;

// direction 0 forward, 1 dgrad. `table` and `mirror` as in mask_gemm.cu, natural order.
extern "C" __global__ void __launch_bounds__(256) reference_rows(const Element* gathered, const Element* weights, double* result,
                                                                 const int* table, int64_t pitch, int n, int c_in, int c_out, int volume,
                                                                 int dgrad, int mirror) {
    const int c_gathered = dgrad ? c_out : c_in, c_result = dgrad ? c_in : c_out;
    const int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x;
    if (i >= int64_t(n) * c_result) return;
    const int row = static_cast<int>(i / c_result), c = static_cast<int>(i % c_result);
    double sum = 0;
    for (int k = 0; k < volume; ++k) {
        const int source = __ldg(table + k * pitch + row);
        if (source < 0) continue;
        const Element* x = gathered + int64_t(source) * c_gathered;
        const Element* w = weights + int64_t(mirror ? volume - 1 - k : k) * c_in * c_out + (dgrad ? int64_t(c) * c_out : c);
        const int step = dgrad ? 1 : c_out;
        for (int d = 0; d < c_gathered; ++d) sum += double(Dtype::load(x[d])) * double(Dtype::load(w[int64_t(d) * step]));
    }
    result[i] = sum;
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

// Grid (elements, volume).
extern "C" __global__ void __launch_bounds__(256) reference_wgrad(const Element* x, const Element* g, double* dw, const int* in_rows,
                                                                  const int* out_rows, const int* pair_offset, int c_in, int c_out) {
    const int element = blockIdx.x * 256 + threadIdx.x, k = blockIdx.y;
    if (element >= c_in * c_out) return;
    const int in = element / c_out, out = element % c_out;
    double sum = 0;
#pragma unroll 4
    for (int pair = pair_offset[k]; pair < pair_offset[k + 1]; ++pair) {
        sum += double(Dtype::load(x[int64_t(__ldg(in_rows + pair)) * c_in + in])) *
               double(Dtype::load(g[int64_t(__ldg(out_rows + pair)) * c_out + out]));
    }
    dw[int64_t(k) * c_in * c_out + element] = sum;
}

// found {sum of squares, bits of the worst error as a double}. Run square_sum over the reference, then a comparison.
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

// ---- a stored result as the reference of others: no float64 copy of it ----------------------------------------------

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

// As worst_error, of two results of one storage type. `squares` is what add_squares made of the expected one. Most elements are
// equal or as near as others before them, so the division is rare.
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
