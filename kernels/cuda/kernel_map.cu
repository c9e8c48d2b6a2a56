// Kernel map of a submanifold convolution, and what the convolutions derive from it.
//
// Layouts: coords (n) of {batch, x, y, z} int32; table (volume, pitch) int32, the input row of output row p at offset k or -1;
// masks (n, words) of 32 offsets each; pair lists in_rows, out_rows (pairs) int32, sorted by offset, then by output row.
//
// Coordinates are hashed into an open-addressing table of 64-bit slots {fingerprint, row}; a fingerprint that agrees is checked
// against the coordinates themselves, so any int32 coordinates work and the result does not depend on hash or schedule.
// Everything that leaves this file is ordered by prefix sums, never by atomics: bitwise repeatable.
//
// Architecture: any. Block sizes are fixed and named here; the host mirrors them.
#include "common.cuh"

using namespace voxtune;

constexpr unsigned long long EMPTY = ~0ull;
constexpr int COUNT_ROWS = 1024;   // rows a block of map_count and map_pairs
constexpr int SORT_THREADS = 256;  // threads a block of the sort
constexpr int SORT_ITEMS = 4096;   // items a block of the sort
constexpr int DIGITS = 256;

struct Offsets {
    signed char d[MAX_VOLUME][3];
};

__device__ __forceinline__ unsigned long long mix(unsigned long long h) {
    // The finaliser of MurmurHash3 (64 bit).
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdull;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53ull;
    return h ^ h >> 33;
}

__device__ __forceinline__ unsigned long long hash(int4 c) {
    const unsigned long long low = static_cast<unsigned>(c.y) | static_cast<unsigned long long>(static_cast<unsigned>(c.z)) << 32;
    const unsigned long long high = static_cast<unsigned>(c.w) | static_cast<unsigned long long>(static_cast<unsigned>(c.x)) << 32;
    return mix(low ^ mix(high + 0x9e3779b97f4a7c15ull));
}

__device__ __forceinline__ bool same(int4 a, int4 b) { return a.x == b.x && a.y == b.y && a.z == b.z && a.w == b.w; }

// Inserts every row. duplicate[0] becomes the least later row of a pair of equal rows; it starts as INT32_MAX.
extern "C" __global__ void map_insert(const int4* coords, int n, unsigned long long* slots, unsigned capacity_mask, int* duplicate) {
    const int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= n) return;
    const int4 c = coords[row];
    const unsigned long long h = hash(c);
    const unsigned long long mine = (h & 0xffffffff00000000ull) | static_cast<unsigned>(row);
    for (unsigned at = static_cast<unsigned>(h) & capacity_mask;; at = (at + 1) & capacity_mask) {
        const unsigned long long found = atomicCAS(slots + at, EMPTY, mine);
        if (found == EMPTY) return;
        if (found >> 32 == mine >> 32) {
            const int other = static_cast<int>(found & 0xffffffffu);
            if (same(coords[other], c)) {
                atomicMin(duplicate, max(row, other));
                return;
            }
        }
    }
}

__device__ __forceinline__ int find(const int4* coords, const unsigned long long* slots, unsigned capacity_mask, int4 c) {
    const unsigned long long h = hash(c);
    for (unsigned at = static_cast<unsigned>(h) & capacity_mask;; at = (at + 1) & capacity_mask) {
        const unsigned long long found = __ldg(slots + at);
        if (found == EMPTY) return -1;
        if (found >> 32 == h >> 32) {
            const int row = static_cast<int>(found & 0xffffffffu);
            if (same(__ldg(coords + row), c)) return row;
        }
    }
}

// Fills table and masks: one thread an output row. A neighbour past the range of int32 does not exist.
extern "C" __global__ void __launch_bounds__(128) map_probe(const int4* coords, int n, const unsigned long long* slots,
                                                            unsigned capacity_mask, const __grid_constant__ Offsets offsets,
                                                            int volume, int words, int64_t pitch, int* table, uint32_t* masks) {
    const int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= n) return;
    const int4 c = __ldg(coords + row);
    for (int w = 0; w < words; ++w) {
        uint32_t bits = 0;
        const int last = min(volume, (w + 1) * 32);
#pragma unroll 4
        for (int k = w * 32; k < last; ++k) {
            const int64_t x = int64_t(c.y) + offsets.d[k][0], y = int64_t(c.z) + offsets.d[k][1], z = int64_t(c.w) + offsets.d[k][2];
            const bool exists = x == int(x) && y == int(y) && z == int(z);
            const int found = exists ? find(coords, slots, capacity_mask, make_int4(c.x, int(x), int(y), int(z))) : -1;
            table[k * pitch + row] = found;
            if (found >= 0) bits |= 1u << (k - w * 32);
        }
        masks[int64_t(row) * words + w] = bits;
    }
}

// Pairs of each offset in each block of COUNT_ROWS rows: counts (volume, blocks). 1024 threads.
extern "C" __global__ void __launch_bounds__(COUNT_ROWS) map_count(const uint32_t* masks, int n, int words, int volume, int* counts) {
    const int row = blockIdx.x * COUNT_ROWS + threadIdx.x;
    for (int k = 0; k < volume; ++k) {
        const bool has = row < n && (__ldg(masks + int64_t(row) * words + k / 32) >> (k % 32) & 1);
        const int count = __syncthreads_count(has);
        if (threadIdx.x == 0) counts[k * gridDim.x + blockIdx.x] = count;
    }
}

// Exclusive sums of each segment of `length` values, in place; totals (segments) gets the sums. One block of 1024 threads a segment.
extern "C" __global__ void __launch_bounds__(1024) exclusive_scan(int* values, int length, int* totals) {
    __shared__ int warp_sums[32];
    values += int64_t(blockIdx.x) * length;
    const int each = ceil_div(length, 1024);
    const int begin = min(int(threadIdx.x) * each, length), end = min(begin + each, length);
    int sum = 0;
    for (int i = begin; i < end; ++i) sum += values[i];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int inclusive = sum;
    for (int d = 1; d < 32; d *= 2) {
        const int up = __shfl_up_sync(0xffffffffu, inclusive, d);
        if (lane >= d) inclusive += up;
    }
    if (lane == 31) warp_sums[warp] = inclusive;
    __syncthreads();
    if (warp == 0) {
        int total = warp_sums[lane];
        for (int d = 1; d < 32; d *= 2) {
            const int up = __shfl_up_sync(0xffffffffu, total, d);
            if (lane >= d) total += up;
        }
        warp_sums[lane] = total;
    }
    __syncthreads();
    int running = inclusive - sum + (warp > 0 ? warp_sums[warp - 1] : 0);
    for (int i = begin; i < end; ++i) {
        const int value = values[i];
        values[i] = running;
        running += value;
    }
    if (threadIdx.x == 1023) totals[blockIdx.x] = running;
}

// Writes the pair lists at the places that exclusive_scan made of the counts. 1024 threads.
extern "C" __global__ void __launch_bounds__(COUNT_ROWS) map_pairs(const int* table, int64_t pitch, int n, int volume, const int* places,
                                                                   int* in_rows, int* out_rows) {
    __shared__ int warp_counts[2][32];
    const int row = blockIdx.x * COUNT_ROWS + threadIdx.x;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int k = 0; k < volume; ++k) {
        const int in = row < n ? __ldg(table + k * pitch + row) : -1;
        const uint32_t ballot = __ballot_sync(0xffffffffu, in >= 0);
        int* counts = warp_counts[k % 2];  // two, so that one barrier an offset is enough
        if (lane == 0) counts[warp] = __popc(ballot);
        __syncthreads();
        const int before = __reduce_add_sync(0xffffffffu, lane < warp ? counts[lane] : 0);
        if (in >= 0) {
            const int at = places[k * gridDim.x + blockIdx.x] + before + __popc(ballot & ((1u << lane) - 1));
            in_rows[at] = in;
            out_rows[at] = row;
        }
    }
}

// The map read backwards, for kernels without the symmetry of a submanifold one: table_back (volume, pitch_back) holds the
// output row of an input row at an offset; it starts as -1 and masks_back as 0. Grid (blocks of 256 pairs, volume).
extern "C" __global__ void map_reverse(const int* in_rows, const int* out_rows, const int* pair_offset, int words, int64_t pitch_back,
                                       int* table_back, uint32_t* masks_back) {
    const int k = blockIdx.y;
    const int pair = pair_offset[k] + blockIdx.x * 256 + threadIdx.x;
    if (pair >= pair_offset[k + 1]) return;
    const int in = in_rows[pair];
    table_back[k * pitch_back + in] = out_rows[pair];
    atomicOr(masks_back + int64_t(in) * words + k / 32, 1u << (k % 32));
}

// ---- row orders ---------------------------------------------------------------------------------------------------

// Where the bit of each offset goes in a sort key: the rarest offset is the most significant. 255: in no key.
struct KeyBits {
    unsigned char place[MAX_VOLUME];
};

// Keys whose order is a Gray code over the permuted masks: neighbours in the order differ in few offsets.
extern "C" __global__ void order_keys(const uint32_t* masks, int n, int words, int volume, const __grid_constant__ KeyBits bits,
                                      uint32_t* keys, int* rows) {
    const int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= n) return;
    uint32_t code = 0;
    for (int k = 0; k < volume; ++k) {
        const uint32_t bit = __ldg(masks + int64_t(row) * words + k / 32) >> (k % 32) & 1;
        if (bits.place[k] < 32) code |= bit << bits.place[k];
    }
    for (int shift = 16; shift > 0; shift /= 2) code ^= code >> shift;
    keys[row] = code;
    rows[row] = row;
}

// One pass of a stable radix sort over segments of whole blocks. Histogram: (segments, DIGITS, blocks a segment).
extern "C" __global__ void __launch_bounds__(SORT_THREADS) sort_histogram(const uint32_t* keys, int n, int shift, int blocks_a_segment,
                                                                          int* histogram) {
    __shared__ int counts[DIGITS];
    counts[threadIdx.x] = 0;
    __syncthreads();
    const int first = blockIdx.x * SORT_ITEMS, last = min(first + SORT_ITEMS, n);
    for (int i = first + threadIdx.x; i < last; i += SORT_THREADS) atomicAdd(counts + (keys[i] >> shift & 255), 1);
    __syncthreads();
    const int segment = blockIdx.x / blocks_a_segment, block = blockIdx.x % blocks_a_segment;
    histogram[(int64_t(segment) * DIGITS + threadIdx.x) * blocks_a_segment + block] = counts[threadIdx.x];
}

extern "C" __global__ void __launch_bounds__(SORT_THREADS) sort_scatter(const uint32_t* keys, const int* rows, int n, int shift,
                                                                        int blocks_a_segment, const int* places, uint32_t* keys_out,
                                                                        int* rows_out) {
    constexpr int WARPS = SORT_THREADS / 32, EACH = SORT_ITEMS / WARPS;
    __shared__ int next[WARPS][DIGITS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int w = 0; w < WARPS; ++w) next[w][threadIdx.x] = 0;
    __syncthreads();
    // A warp owns EACH consecutive items, so counting by warp and walking in order keeps the sort stable.
    const int first = blockIdx.x * SORT_ITEMS + warp * EACH, last = min(first + EACH, n);
    for (int i = first + lane; i < last; i += 32) atomicAdd(&next[warp][keys[i] >> shift & 255], 1);
    __syncthreads();
    const int segment = blockIdx.x / blocks_a_segment, block = blockIdx.x % blocks_a_segment;
    int running = places[(int64_t(segment) * DIGITS + threadIdx.x) * blocks_a_segment + block] + segment * blocks_a_segment * SORT_ITEMS;
    for (int w = 0; w < WARPS; ++w) {
        const int count = next[w][threadIdx.x];
        next[w][threadIdx.x] = running;
        running += count;
    }
    __syncthreads();
    for (int start = first; start < last; start += 32) {
        const int i = start + lane;
        const bool inside = i < last;
        const uint32_t key = inside ? keys[i] : 0;
        const int digit = inside ? int(key >> shift & 255) : DIGITS + 1;
        const uint32_t peers = __match_any_sync(0xffffffffu, digit);
        const int rank = __popc(peers & ((1u << lane) - 1));
        const int base = inside ? next[warp][digit] : 0;
        __syncwarp();
        if (inside && rank == 0) next[warp][digit] = base + __popc(peers);
        __syncwarp();
        if (inside) {
            keys_out[base + rank] = key;
            rows_out[base + rank] = rows[i];
        }
    }
}

// The table and the masks in launch order: position p holds row rows[p].
extern "C" __global__ void order_apply(const int* rows, int n, int volume, int words, int64_t pitch, const int* table, const uint32_t* masks,
                                       int* table_out, uint32_t* masks_out) {
    const int position = blockIdx.x * blockDim.x + threadIdx.x;
    if (position >= n) return;
    const int row = rows[position];
#pragma unroll 4
    for (int k = 0; k < volume; ++k) table_out[k * pitch + position] = __ldg(table + k * pitch + row);
    for (int w = 0; w < words; ++w) masks_out[int64_t(position) * words + w] = __ldg(masks + int64_t(row) * words + w);
}
