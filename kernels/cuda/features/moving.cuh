// Rows and columns moved as they are, in units of 2 to 16 bytes. Pitches are in units.
#pragma once
#include "walk.cuh"

// Columns of `width` from one matrix into another.
template <typename Unit>
__device__ __forceinline__ void copy_columns(Rows<const Unit> from, Rows<Unit> to, int64_t rows, int width) {
    walk<1>(rows, width, [=](auto, int64_t row, int unit) { to(row, unit) = from(row, unit); });
}

// The row of its group for each row, zeros where it has none or one that there is not.
template <typename Unit>
__device__ __forceinline__ void spread(Rows<const Unit> x, Rows<Unit> y, const int* group_of_row, int groups, int64_t rows, int width) {
    walk<1>(rows, width, [=](auto, int64_t row, int unit) {
        const int group = __ldg(group_of_row + row);
        y(row, unit) = group >= 0 && group < groups ? x(group, unit) : Unit{};
    });
}

#define OF_BYTES(BYTES, UNIT)                                                                                     \
    KERNEL copy_columns_##BYTES(Rows<const UNIT> from, Rows<UNIT> to, int64_t rows, int width) {                  \
        copy_columns(from, to, rows, width);                                                                      \
    }                                                                                                             \
    KERNEL spread_##BYTES(Rows<const UNIT> x, Rows<UNIT> y, const int* group_of_row, int groups, int64_t rows,    \
                          int width) {                                                                            \
        spread(x, y, group_of_row, groups, rows, width);                                                          \
    }

OF_BYTES(2, uint16_t)
OF_BYTES(4, uint32_t)
OF_BYTES(8, uint2)
OF_BYTES(16, uint4)
