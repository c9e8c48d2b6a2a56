// explicit_gemm: what surrounds the dense products of gather-GEMM-scatter.
//
// Layouts: features and result (rows, channels) row-major, rows `pitch` elements apart, any base
// address; gathered rows (padded, channels), zero from `count` to `padded`; sums (rows, channels)
// float32. The rows of one offset are distinct, so adding needs no atomics.
//
// Architecture: any. 256 threads per block, one thread per element.
//
// Defines: VOXTUNE_DTYPE 0|1|2.
#include "epilogue.cuh"

using namespace voxtune;

extern "C" __global__ void __launch_bounds__(256) gather_rows(const Element* features, const int* rows, int count, int padded,
                                                              int channels, int pitch, Element* gathered) {
    const int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x;
    if (i >= int64_t(padded) * channels) return;
    const int row = static_cast<int>(i / channels), c = static_cast<int>(i % channels);
    gathered[i] = row < count ? features[int64_t(__ldg(rows + row)) * pitch + c] : Dtype::store(0.0f);
}

extern "C" __global__ void __launch_bounds__(256) scatter_add(const float* products, const int* rows, int count, int channels, float* sums) {
    const int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x;
    if (i >= int64_t(count) * channels) return;
    const int row = static_cast<int>(i / channels), c = static_cast<int>(i % channels);
    sums[int64_t(__ldg(rows + row)) * channels + c] += products[i];
}

extern "C" __global__ void __launch_bounds__(256) round_rows(const float* sums, int64_t length, int channels, int pitch, Element* result) {
    const int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x;
    if (i < length) result[i / channels * pitch + i % channels] = Dtype::store(sums[i]);
}

// The same with an epilogue.
extern "C" __global__ void __launch_bounds__(256) finish_rows(const float* sums, int64_t length, int channels, int pitch,
                                                              const __grid_constant__ Epilogue epilogue, Element* result) {
    const int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x;
    const int64_t row = i / channels;
    const int channel = static_cast<int>(i % channels);
    if (i < length) result[row * pitch + channel] = Dtype::store(epilogue.apply(sums[i], row, channel));
}
