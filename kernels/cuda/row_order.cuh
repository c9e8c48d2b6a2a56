// Row orders: positions sorted by a Gray code of the rows' masks, so that neighbours differ in few
// offsets.
//
// A stable radix sort by digits of 9 bits, so that 27 offsets take three passes. A segment of 16
// tiles is sorted by 16 blocks in one kernel. In each pass they count their digits, wait for each
// other, place their items and wait again. All rows are sorted by a kernel that makes the keys and
// counts their digits, and one more a pass. Its tiles learn from their predecessors where their
// digits go (decoupled look-back, Merrill and Garland 2016, as in Adinets and Merrill's onesweep
// 2022).
//
// Equal keys keep the order of the rows, and sums of integers do not depend on the schedule:
// bitwise repeatable.
#pragma once

#include "common.cuh"
#include "warp_bits.cuh"

namespace voxtune {

constexpr int SORT_THREADS = 512;
constexpr int SORT_ITEMS = 4;  // items a thread
constexpr int SORT_TILE = SORT_THREADS * SORT_ITEMS;
constexpr int SORT_WARPS = SORT_THREADS / 32;
constexpr int SEGMENT_TILES = 16;
constexpr int DIGIT_BITS = 9;
constexpr int DIGITS = 1 << DIGIT_BITS;
constexpr int KEY_BITS = 32;
constexpr int MAX_PASSES = (KEY_BITS + DIGIT_BITS - 1) / DIGIT_BITS;
static_assert(DIGITS == SORT_THREADS, "each thread looks after one digit");

// What a tile has said about a digit: its own count, or that of the segment up to and with it.
constexpr uint32_t OWN = 1u << 30, THROUGH = 2u << 30, COUNT = OWN - 1;

// ---- keys ---------------------------------------------------------------------------------------

// The offset whose bit is a key's bit `lane`, in every warp; -1 for none. The most frequent offset
// is bit 0, the earlier one among equals. Past KEY_BITS offsets, the most frequent count. For a
// whole block; `scratch` holds KEY_BITS values.
__device__ __forceinline__ int offset_of_bit(const int* counts, int volume, int* scratch) {
    if (threadIdx.x < KEY_BITS) scratch[threadIdx.x] = -1;
    __syncthreads();
    const int k = threadIdx.x;
    if (k < volume) {
        const int mine = counts[k];
        int bit = 0;
        for (int i = 0; i < volume; ++i) {
            const int other = counts[i];
            bit += other > mine || (other == mine && i < k);
        }
        if (bit < KEY_BITS) scratch[bit] = k;
    }
    __syncthreads();
    return scratch[threadIdx.x % 32];
}

// Keys of a warp's rows: the place of the permuted mask in a Gray code. `offset` is
// offset_of_bit's.
__device__ __forceinline__ uint32_t key_of(const uint32_t* masks, int64_t row, bool inside, int words, int offset) {
    uint32_t rows_with = 0;  // the rows that have the offset
    for (int w = 0; w < words; ++w) {
        const uint32_t column = transpose(inside ? masks[row * words + w] : 0);
        const uint32_t wanted = __shfl_sync(ALL_LANES, column, offset & 31);
        if (offset >> 5 == w) rows_with = wanted;
    }
    uint32_t code = transpose(rows_with);
#pragma unroll
    for (int shift = 16; shift > 0; shift /= 2) code ^= code >> shift;
    return code;
}

// ---- tiles --------------------------------------------------------------------------------------

// The lanes inside that hold the same digit.
__device__ __forceinline__ uint32_t peers_of(int digit, bool inside) { return __match_any_sync(ALL_LANES, inside ? digit : DIGITS); }

// A tile's items. A warp owns consecutive ones and takes 32 at a time, so that ranks follow the
// order of the items.
struct Tile2048 {
    uint32_t key[SORT_ITEMS];
    int row[SORT_ITEMS];
    int rank[SORT_ITEMS];  // among the items of the warp with the same digit

    static __device__ __forceinline__ int64_t at(int tile, int i) {
        return int64_t(tile) * SORT_TILE + threadIdx.x / 32 * (SORT_ITEMS * 32) + i * 32 + threadIdx.x % 32;
    }

    // Ranks by digit. `next` becomes the tile's items of a digit in earlier warps; returns those of
    // digit threadIdx.x in all.
    __device__ __forceinline__ int count(int tile, int n, int shift, int (*next)[DIGITS]) {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
        for (int w = 0; w < SORT_WARPS; ++w) next[w][threadIdx.x] = 0;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < SORT_ITEMS; ++i) {
            const bool inside = at(tile, i) < n;
            const int digit = key[i] >> shift & (DIGITS - 1);
            const uint32_t peers = peers_of(digit, inside);
            const int before = __popc(peers & ((1u << lane) - 1));
            rank[i] = inside ? next[warp][digit] + before : 0;
            __syncwarp();
            if (inside && before == 0) next[warp][digit] += __popc(peers);
            __syncwarp();
        }
        __syncthreads();
        int running = 0;
#pragma unroll
        for (int w = 0; w < SORT_WARPS; ++w) {
            const int items = next[w][threadIdx.x];
            next[w][threadIdx.x] = running;
            running += items;
        }
        return running;
    }

    // Writes the items: to `rows` their rows alone, else to `items`. place[d] is where the tile's
    // first item of digit d goes.
    __device__ __forceinline__ void scatter(int tile, int n, int shift, const int (*next)[DIGITS], const int* place, uint2* items,
                                            int* rows) const {
#pragma unroll
        for (int i = 0; i < SORT_ITEMS; ++i) {
            if (at(tile, i) >= n) continue;
            const int digit = key[i] >> shift & (DIGITS - 1);
            const int to = place[digit] + next[threadIdx.x / 32][digit] + rank[i];
            if (rows) {
                rows[to] = row[i];
            } else {
                items[to] = make_uint2(key[i], static_cast<uint32_t>(row[i]));
            }
        }
    }
};

// Sum of `value` over the threads before this one, in a block of SORT_THREADS.
__device__ __forceinline__ int sum_before(int value, int* warp_sums) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int through = inclusive_sum(value);
    if (lane == 31) warp_sums[warp] = through;
    __syncthreads();
    const int sum = lane < SORT_WARPS ? warp_sums[lane] : 0;
    return through - value + __reduce_add_sync(ALL_LANES, lane < warp ? sum : 0);
}

// ---- sorting segments ---------------------------------------------------------------------------

// Waits until `target` blocks have come here; what they wrote before is visible after.
__device__ __forceinline__ void meet(int* arrived, int target) {
    __syncthreads();
    if (threadIdx.x == 0) {
        asm volatile("red.release.gpu.global.add.s32 [%0], 1;\n" ::"l"(arrived) : "memory");
        int now;
        do {
            asm volatile("ld.acquire.gpu.global.s32 %0, [%1];\n" : "=r"(now) : "l"(arrived) : "memory");
        } while (now < target);
    }
    __syncthreads();
}

// Sorts the rows of a segment by key: `tiles` tiles of as many blocks, of which this is one, and
// all of which run or will. `offset` is offset_of_bit's. items (2, n) and tile_counts (tiles of all
// segments, DIGITS) of any content; arrived (2 MAX_PASSES) starts as zeros.
__device__ __forceinline__ void sort_segment(const uint32_t* masks, int n, int words, int offset, int passes, int tile, int first_tile,
                                             int tiles, uint2* items, int* tile_counts, int* arrived, int* rows) {
    __shared__ int next[SORT_WARPS][DIGITS];
    __shared__ int place[DIGITS];
    __shared__ int warp_sums[SORT_WARPS];
    Tile2048 mine;
#pragma unroll
    for (int i = 0; i < SORT_ITEMS; ++i) {
        const int64_t at = Tile2048::at(tile, i);
        mine.key[i] = key_of(masks, at, at < n, words, offset);
        mine.row[i] = static_cast<int>(at);
    }
    for (int pass = 0; pass < passes; ++pass) {
        const int shift = pass * DIGIT_BITS;
        const bool last = pass == passes - 1;
        tile_counts[int64_t(tile) * DIGITS + threadIdx.x] = mine.count(tile, n, shift, next);
        meet(arrived + 2 * pass, tiles);
        int earlier = 0, all = 0;
#pragma unroll 8
        for (int t = 0; t < tiles; ++t) {
            const int count = __ldcg(tile_counts + int64_t(first_tile + t) * DIGITS + threadIdx.x);
            earlier += first_tile + t < tile ? count : 0;
            all += count;
        }
        place[threadIdx.x] = first_tile * SORT_TILE + earlier + sum_before(all, warp_sums);
        __syncthreads();
        uint2* target = items + (pass % 2 ? int64_t(n) : 0);
        mine.scatter(tile, n, shift, next, place, target, last ? rows : nullptr);
        if (last) break;
        meet(arrived + 2 * pass + 1, tiles);
#pragma unroll
        for (int i = 0; i < SORT_ITEMS; ++i) {
            const int64_t at = Tile2048::at(tile, i);
            const uint2 item = at < n ? __ldcg(target + at) : make_uint2(0, 0);
            mine.key[i] = item.x, mine.row[i] = static_cast<int>(item.y);
        }
    }
}

// ---- sorting all rows ---------------------------------------------------------------------------

// The digit's count in all tiles before this one.
__device__ __forceinline__ int look_back(const volatile uint32_t* status, int tile) {
    constexpr int WINDOW = 8;  // loads in flight
    int sum = 0;
    for (int last = tile - 1; last >= 0; last -= WINDOW) {
        uint32_t said[WINDOW];
        bool all;
        do {
            all = true;
#pragma unroll
            for (int i = 0; i < WINDOW; ++i) said[i] = last >= i ? status[int64_t(last - i) * DIGITS] : THROUGH;
#pragma unroll
            for (int i = WINDOW - 1; i >= 0; --i) all = (said[i] & THROUGH) != 0 || ((said[i] & OWN) != 0 && all);
        } while (!all);
        for (int i = 0; i < WINDOW; ++i) {
            sum += said[i] & COUNT;
            if (said[i] & THROUGH) return sum;
        }
    }
    return sum;
}

}  // namespace voxtune
