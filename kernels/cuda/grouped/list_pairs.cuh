// The pairs of a block's rows, listed in shared memory, and the rows by their number of pairs.
//
// Architecture: sm_80 and later.
//
// Expects the defines of grouped.cu.
#pragma once

#include "shared.cuh"

namespace voxtune {

constexpr int PARTS = THREADS / ROWS;  // threads that list a row's pairs
static_assert(PARTS >= 2 && PARTS <= 32 && THREADS % ROWS == 0 && ROWS % 32 == 0, "threads for the rows");

// Lists the pairs of a block's rows, and orders the rows.
__device__ __forceinline__ void list_pairs(const TileGemmParams& p, const Shared& shared, int first, int n) {
    const int row = threadIdx.x % ROWS, part = threadIdx.x / ROWS;
    const bool inside = first + row < n;
    uint32_t mask[MASK_WORDS];
    int pairs = 0, rank = 0;
#pragma unroll
    for (int w = 0; w < MASK_WORDS; ++w) {
        mask[w] = inside ? __ldg(p.masks + int64_t(first + row) * MASK_WORDS + w) : 0;
        pairs += __popc(mask[w]);
    }
    if (threadIdx.x < BINS / 4) reinterpret_cast<int4*>(shared.bins)[threadIdx.x] = int4{};
    __syncthreads();
    if (part == 0) {
        shared.pairs[row] = static_cast<uint16_t>(pairs);
        rank = atomicAdd(shared.bins + pairs, 1);
    }
    // All entries of a batch are asked for before the first is needed, the first offset's in place
    // of those that there are not: a branch around each load would wait for each.
    constexpr int EACH = 32 / PARTS;                        // offsets of a word that a thread looks at
    constexpr int ENTRIES = MASK_WORDS == 1 ? EACH : EACH / 2;  // as registers allow
    const int* table = p.table + first + row;
    int before = 0;
#pragma unroll
    for (int w = 0; w < MASK_WORDS; ++w) {
        const int* entry = table + (w * 32 + part * EACH) * p.table_pitch;
        uint32_t bits = mask[w] >> part * EACH;
        int at = (before + __popc(mask[w] & ((1u << part * EACH) - 1))) * ROWS + row;
#pragma unroll 1
        for (int batch = 0; batch < EACH; batch += ENTRIES, bits >>= ENTRIES) {
            int source[ENTRIES];
#pragma unroll
            for (int i = 0; i < ENTRIES; ++i) {
                source[i] = __ldg(bits >> i & 1 ? entry : table);
                entry += p.table_pitch;
            }
#pragma unroll
            for (int i = 0; i < ENTRIES; ++i) {
                if (!(bits >> i & 1)) continue;
                shared.sources[at] = source[i];
                shared.offsets[at] = static_cast<uint8_t>(w * 32 + part * EACH + batch + i);
                at += ROWS;
            }
        }
        before += __popc(mask[w]);
    }
    __syncthreads();
    if (threadIdx.x < BINS / 4) {
        // The first place of each number of pairs.
        const int4 own = reinterpret_cast<int4*>(shared.bins)[threadIdx.x];
        const int all = own.x + own.y + own.z + own.w;
        int end = all;
#pragma unroll
        for (int step = 1; step < 32; step *= 2) {
            const int up = __shfl_up_sync(0xffffffffu, end, step);
            if (threadIdx.x >= step) end += up;
        }
        const int begin = end - all;
        reinterpret_cast<int4*>(shared.bins)[threadIdx.x] = int4{begin, begin + own.x, begin + own.x + own.y, end - own.w};
    }
    __syncthreads();
    if (part == 0) shared.order[shared.bins[pairs] + rank] = static_cast<uint16_t>(row);
    __syncthreads();
}

}  // namespace voxtune
