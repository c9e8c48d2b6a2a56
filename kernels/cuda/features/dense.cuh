// Dense grids: rows written to the cells that their voxels lie in, and read from them. Their
// tensors have no pitch: other libraries read them.
#pragma once
#include "../row_count.cuh"
#include "walk.cuh"

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
__device__ __forceinline__ void move_dense(Rows<Element> features, Element* dense, const int* voxels, RowCount count, int channels,
                                           const DenseGrid& grid) {
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
                        move(tile[l][lane], features(first + l, channel + lane));
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

KERNEL to_dense(Rows<Element> features, Element* dense, const int* voxels, RowCount rows, int channels, DenseGrid grid) {
    move_dense<true>(features, dense, voxels, rows, channels, grid);
}
KERNEL from_dense(Rows<Element> features, Element* dense, const int* voxels, RowCount rows, int channels, DenseGrid grid) {
    move_dense<false>(features, dense, voxels, rows, channels, grid);
}
