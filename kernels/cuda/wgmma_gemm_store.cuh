// Where wgmma_gemm's sums go: to rows of the result as they are, through the epilogue, or to parts
// that are added up later.
//
// Layouts. A multiplying warp holds sixteen rows of each fragment: acc[4 f] to acc[4 f + 3] of a
// lane are fragment f of eight columns, as in wgmma.cuh. Its strip in shared memory holds those
// rows, STRIP columns at a time in the storage type or PART columns in float32, padded so that
// neither side meets conflicts. partial (parts, n, c_result) float32, see splits.cuh.
//
// Invariants
// * A strip belongs to one warp: no barrier but the warp's own.
// * Sums are rounded to the storage type once, after everything is added.
// * Channels past c_result and positions past n are never stored.
//
// Architecture: sm_90a.
//
// Expects the defines of wgmma_gemm.cu.
#pragma once

#include "wgmma_gemm_multiply.cuh"

namespace voxtune {

// Half a strip's columns in float32, for an epilogue: they take no more.
constexpr int PART = STRIP / 2, PARTS = COLS / PART;
constexpr int PART_PITCH = PART + 4;
// Lines of a part that an epilogue asks for at a time: what registers are left for beside the
// accumulators.
constexpr int PART_AHEAD = MULTIPLY_REGISTERS < FRAGS_M * COLS / 2 + 64 ? 1 : 4;

// A fragment's accumulators to the rows of the result, through this warp's strip so that rows are
// written in pieces of 16 bytes. `own_row`: where a lane's row of the sixteen goes, negative for
// nowhere.
__device__ __forceinline__ void Multiplier::store(const float (&sums)[COLS / 2], int own_row, int column) const {
    const int c_result = DGRAD ? p.c_in : p.c_out;
    Element* staged = reinterpret_cast<Element*>(strip);
#pragma unroll
    for (int first = 0; first < COLS; first += STRIP) {
        __syncwarp();
#pragma unroll
        for (int f = 0; f < STRIP / 8; ++f) {
            const int at = (first / 8 + f) * 4, line = lane / 4, along = f * 8 + lane % 4 * 2;
            *reinterpret_cast<uint32_t*>(staged + line * STRIP_PITCH + along) = pack(sums[at], sums[at + 1]);
            *reinterpret_cast<uint32_t*>(staged + (line + 8) * STRIP_PITCH + along) = pack(sums[at + 2], sums[at + 3]);
        }
        __syncwarp();
#pragma unroll
        for (int i = 0; i < STRIP / 16; ++i) {
            const int item = i * 32 + lane, line = item / (STRIP / 8), along = item % (STRIP / 8) * 8;
            const int row = __shfl_sync(0xffffffffu, own_row, line), c = column + first + along;
            if (row < 0 || c >= c_result) continue;
            Element* target = p.result + int64_t(row) * p.result_pitch + c;
            const Element* source = staged + line * STRIP_PITCH + along;
            if (p.result_aligned) {
                *reinterpret_cast<uint4*>(target) = *reinterpret_cast<const uint4*>(source);
            } else {
#pragma unroll
                for (int e = 0; e < 8; ++e) target[e] = source[e];
            }
        }
    }
}

// A fragment's accumulators as they are: four lanes write 32 bytes of a line. `line`: the
// fragment's first line of the warp's.
__device__ __forceinline__ void Multiplier::store_partial(const float (&sums)[COLS / 2], float* partial, int line, int column) const {
    const int c_result = DGRAD ? p.c_in : p.c_out;
    const int upper = line + lane / 4, lower = upper + 8;
    float* target = partial + int64_t(upper) * c_result + column + lane % 4 * 2;
#pragma unroll
    for (int f = 0; f < COLS / 8; ++f) {
        if (column + f * 8 >= c_result) continue;
        if (upper < tiles.n) *reinterpret_cast<float2*>(target + f * 8) = make_float2(sums[f * 4], sums[f * 4 + 1]);
        if (lower < tiles.n) *reinterpret_cast<float2*>(target + f * 8 + int64_t(8) * c_result) = make_float2(sums[f * 4 + 2], sums[f * 4 + 3]);
    }
}

// The rows of all fragments, with an epilogue: sums stay float32 until everything is added. One
// copy of the code serves all parts, so that instances stay small. A residual is read in pieces of
// eight bytes, its latency met once a part.
__device__ __forceinline__ void Multiplier::finish(const int (&rows)[FRAGS_M], int column) const {
    float* staged = reinterpret_cast<float*>(strip);
    int lane = threadIdx.x % 32;
    pin(lane);  // here, or addresses would be held in registers throughout the loop over tiles
    const bool aligned = p.result_aligned && p.epilogue.is_aligned<4>();
#pragma unroll 1
    for (int part = 0; part < FRAGS_M * PARTS; ++part) {
        __syncwarp();
#pragma unroll
        for (int f = 0; f < FRAGS_M * PARTS * (PART / 8); ++f) {
            if (f / (PART / 8) != part) continue;
            const float* sums = acc[f / (COLS / 8)] + f % (COLS / 8) * 4;
            float* line = staged + lane / 4 * PART_PITCH + f % (PART / 8) * 8 + lane % 4 * 2;
            *reinterpret_cast<float2*>(line) = make_float2(sums[0], sums[1]);
            *reinterpret_cast<float2*>(line + 8 * PART_PITCH) = make_float2(sums[2], sums[3]);
        }
        __syncwarp();
        const int own_row = part < PARTS ? rows[0] : rows[FRAGS_M - 1];
        const auto row_of = [&](int line) { return __shfl_sync(0xffffffffu, own_row, line); };
        const auto channel_of = [&](int along) { return column + part % PARTS * PART + along; };
        if (aligned) store_finished<4, PART_AHEAD, 16, PART, PART_PITCH, 32>(p.epilogue, staged, lane, p.result, p.result_pitch, p.c_out, channel_of, row_of);
        else store_finished<1, 1, 16, PART, PART_PITCH, 32>(p.epilogue, staged, lane, p.result, p.result_pitch, p.c_out, channel_of, row_of);
    }
}

}  // namespace voxtune
