// Rows and columns moved as they are, in units of 2 to 16 bytes.
#pragma once
#include "walk.cuh"

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
