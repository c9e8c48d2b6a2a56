// Weights of few channels, all of them in shared memory, and products of a warp with them: what
// resident_gemm and packed_gemm share.
//
// A warp multiplies rows that its lanes hold in registers, straight from global memory: no ring, no
// barrier. The order of a product's inner dimension is free as long as both operands agree, and so
// is that of its columns. Both are chosen so that what a lane needs is contiguous:
//
//   inner    of 32 elements, lane (g, t) = (lane / 4, lane % 4) holds 8t .. 8t+7 of row g: one
//            16-byte load. Two products of depth 16 take elements 8t + {0,1 | 2,3} and
//            8t + {4,5 | 6,7}.
//   columns  of 32, accumulator pair b of a lane is columns 8t + 2b and 8t + 2b + 1: one 16-byte
//            store. A narrower group of 8q columns has 2qt + 2b and 2qt + 2b + 1.
//
// Weights lie as (slices, COLS, 32): a slice is 32 elements of the inner dimension, a line of 64
// bytes a column. Eight lanes read two adjacent lines, which is free of bank conflicts.
//
// Architecture: sm_80 and later.
#pragma once

#include "tile_gemm.cuh"

namespace voxtune {

// Elements of the inner dimension that a warp multiplies at a time.
constexpr int SLICE = 32;

// Up to eight elements, in copies of VEC where ALIGNED, zeros past `count`. Reads nothing beyond
// `count`.
template <int VEC, bool ALIGNED>
__device__ __forceinline__ uint4 load_eight(const Element* source, int count) {
    uint32_t words[4] = {};
    if constexpr (!ALIGNED || VEC == 1) {
        const unsigned short* elements = reinterpret_cast<const unsigned short*>(source);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            if (i < count) words[i / 2] |= uint32_t(__ldg(elements + i)) << i % 2 * 16;
        }
    } else if constexpr (VEC == 2) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if (2 * i < count) words[i] = __ldg(reinterpret_cast<const uint32_t*>(source) + i);
        }
    } else if constexpr (VEC == 4) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            if (4 * i < count) {
                const uint2 half = __ldg(reinterpret_cast<const uint2*>(source) + i);
                words[2 * i] = half.x;
                words[2 * i + 1] = half.y;
            }
        }
    } else {
        if (count > 0) return __ldg(reinterpret_cast<const uint4*>(source));
    }
    return make_uint4(words[0], words[1], words[2], words[3]);
}

// Where a lane's columns lie in the weights: of a whole group of 32 columns, and of the narrower
// last one.
template <int COLUMNS>
struct ColumnGroups {
    static constexpr int WHOLE = COLUMNS / 32;
    static constexpr int REST = COLUMNS % 32 / 8;  // accumulator pairs of the last group
    static constexpr int COUNT = WHOLE + (REST > 0);
    static __host__ __device__ constexpr int pairs(int group) { return group < WHOLE ? 4 : REST; }

    uint32_t whole, rest;  // bytes from a slice
    __device__ __forceinline__ ColumnGroups() {
        const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        whole = (8 * (g / 2) + g % 2) * SLICE * 2 + t * 16;
        rest = (WHOLE * 32 + 2 * REST * (g / 2) + g % 2) * SLICE * 2 + t * 16;
        pin(whole);
        if (REST > 0) pin(rest);
    }
    // Of accumulator pair b of a group.
    __device__ __forceinline__ uint32_t at(int group, int b) const {
        return group < WHOLE ? whole + (group * 32 + 2 * b) * SLICE * 2 : rest + 2 * b * SLICE * 2;
    }
};

__device__ __forceinline__ uint4 load_shared(uint32_t address) {
    uint4 value;
    asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w) : "r"(address));
    return value;
}

// acc += a slice of 16 rows * a slice of weights. a[0] is a lane's eight elements of row g, a[1] of
// row g + 8.
template <int COLUMNS>
__device__ __forceinline__ void multiply_slice(float (&acc)[COLUMNS / 8][4], const uint4 (&a)[2], uint32_t slice,
                                               const ColumnGroups<COLUMNS>& columns) {
    using Groups = ColumnGroups<COLUMNS>;
    const uint32_t first[4] = {a[0].x, a[1].x, a[0].y, a[1].y};
    const uint32_t second[4] = {a[0].z, a[1].z, a[0].w, a[1].w};
#pragma unroll
    for (int group = 0; group < Groups::COUNT; ++group) {
#pragma unroll
        for (int b = 0; b < Groups::pairs(group); ++b) {
            const uint4 w = load_shared(slice + columns.at(group, b));
            mma(acc[group * 4 + b], first, w.x, w.y);
            mma(acc[group * 4 + b], second, w.z, w.w);
        }
    }
}

// The epilogue on a warp's 16 rows in place, before they are rounded. Row g is `low` of the result,
// row g + 8 `high`, each negative past the end. Eight channels of a residual are one load where
// they can be, else eight.
template <int COLUMNS, int VEC>
__device__ __forceinline__ void finish_rows(float (&acc)[COLUMNS / 8][4], const Epilogue& epilogue, int low, int high, int c_result) {
    using Groups = ColumnGroups<COLUMNS>;
    const bool aligned = epilogue.is_aligned<8>();
    int t = threadIdx.x % 4;
    pin(t);  // here, or addresses would be held in registers throughout the loop over units
#pragma unroll
    for (int group = 0; group < Groups::COUNT; ++group) {
        const int pairs = Groups::pairs(group), column = group * 32 + 2 * pairs * t;
        Elements<8> added[2] = {};
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int row = half ? high : low;
            if (!epilogue.residual || row < 0) continue;
            const Element* source = epilogue.residual + int64_t(row) * epilogue.residual_pitch + column;
            if (VEC == 8 && pairs == 4 && aligned) {
                if (column < c_result) added[half] = *reinterpret_cast<const Elements<8>*>(source);
            } else {
#pragma unroll
                for (int e = 0; e < 2 * pairs; ++e) {
                    const unsigned short* bits = reinterpret_cast<const unsigned short*>(source) + e;
                    if (column + e < c_result) added[half].words[e / 2] |= uint32_t(*bits) << e % 2 * 16;
                }
            }
        }
#pragma unroll
        for (int e = 0; e < 2 * pairs; ++e) {
            const Affine affine = epilogue.affine(min(column + e, c_result - 1));
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                float& sum = acc[group * 4 + e / 2][2 * half + e % 2];
                sum = epilogue.apply(sum, affine, added[half].at(e));
            }
        }
    }
}

// A warp's 16 rows of the result: row g to `low`, row g + 8 to `high`, each null past the end.
template <int COLUMNS, int VEC>
__device__ __forceinline__ void store_rows(const float (&acc)[COLUMNS / 8][4], Element* low, Element* high, int c_result, bool aligned) {
    using Groups = ColumnGroups<COLUMNS>;
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        Element* row = half ? high : low;
        if (!row) continue;
#pragma unroll
        for (int group = 0; group < Groups::COUNT; ++group) {
            const int pairs = Groups::pairs(group);
            const int column = group * 32 + 2 * pairs * t;
            uint32_t words[4];
#pragma unroll
            for (int b = 0; b < pairs; ++b) words[b] = pack(acc[group * 4 + b][2 * half], acc[group * 4 + b][2 * half + 1]);
            if (VEC == 8 && pairs == 4 && aligned) {
                if (column < c_result) *reinterpret_cast<uint4*>(row + column) = make_uint4(words[0], words[1], words[2], words[3]);
                continue;
            }
#pragma unroll
            for (int b = 0; b < pairs; ++b) {
                const int c = column + 2 * b;
                if (VEC > 1 && aligned) {
                    if (c < c_result) *reinterpret_cast<uint32_t*>(row + c) = words[b];
                } else {
                    unsigned short* elements = reinterpret_cast<unsigned short*>(row);
                    if (c < c_result) elements[c] = static_cast<unsigned short>(words[b]);
                    if (c + 1 < c_result) elements[c + 1] = static_cast<unsigned short>(words[b] >> 16);
                }
            }
        }
    }
}

}  // namespace voxtune
