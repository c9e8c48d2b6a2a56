// Vocabulary of every kernel: asynchronous copies, tensor-core fragments, shared-memory layouts.
//
// Architecture: sm_80 and later. Nothing here is specific to one generation after that.
//
// Row numbers are int32 (a kernel map has fewer than 2^31 rows). Element offsets are 64-bit, since
// 2 M rows of 512 float32 channels are past 2^31 bytes.
#pragma once

#include <stdint.h>

#include "row_count.cuh"
#include "storage.cuh"

namespace voxtune {

// Most offsets that a kernel may have (5 x 5 x 5), and the words of a row's pair mask.
constexpr int MAX_VOLUME = 125;
constexpr int MAX_MASK_WORDS = 4;

constexpr __host__ __device__ int ceil_div(int a, int b) { return (a + b - 1) / b; }
constexpr __host__ __device__ bool is_pow2(int a) { return (a & (a - 1)) == 0; }
constexpr __host__ __device__ int max_of(int a, int b) { return a > b ? a : b; }

// ---- shared-memory tiles ------------------------------------------------------------------------
//
// A tile is LINES lines of CHUNKS 16-byte chunks. ldmatrix reads the same chunk of eight
// consecutive lines, which must lie in eight different groups of four banks. A power-of-two line is
// XOR-swizzled; any other is padded to an odd number of chunks, which has the same effect.
template <int CHUNKS>
struct Tile {
    static constexpr bool SWIZZLED = is_pow2(CHUNKS);
    static constexpr int PITCH = SWIZZLED || CHUNKS % 2 == 1 ? CHUNKS : CHUNKS + 1;  // chunks a line
    static constexpr int LINES_PER_128B = CHUNKS >= 8 ? 1 : 8 / CHUNKS;
    static constexpr int MASK = CHUNKS >= 8 ? 7 : CHUNKS - 1;

    // Byte offset of a chunk.
    static __device__ __forceinline__ uint32_t at(int line, int chunk) {
        if constexpr (SWIZZLED) {
            return (line * PITCH + (chunk ^ ((line / LINES_PER_128B) & MASK))) * 16;
        } else {
            return (line * PITCH + chunk) * 16;
        }
    }
    static constexpr __host__ __device__ int bytes(int lines) { return lines * PITCH * 16; }
};

// Keeps a value in a register: the compiler would compute it again in every step of a loop.
__device__ __forceinline__ void pin(uint32_t& value) { asm volatile("" : "+r"(value)); }
__device__ __forceinline__ void pin(int& value) { asm volatile("" : "+r"(value)); }
__device__ __forceinline__ void pin(const char*& value) { asm volatile("" : "+l"(value)); }

// The place `sixteens` x 16 elements further along a line. The start must be a multiple of the
// fragments read through it, so that a swizzled place differs by an exclusive-or. A tile begins at
// a multiple of 128 bytes.
template <typename Lines>
__device__ __forceinline__ uint32_t along(uint32_t place, int sixteens) {
    return Lines::SWIZZLED ? place ^ (sixteens * 32) : place + sixteens * 32;
}

// Which chunks of a tile a thread copies: LINES lines of LENGTH elements, VEC elements a copy,
// spread over THREADS threads. Where the shape allows, a thread's copies lie in one column, a fixed
// number of lines apart. So line, place and address are computed once a kernel and not once a copy.
template <typename Lines, int LINES, int LENGTH, int VEC, int THREADS>
struct CopyPlan {
    static constexpr int PER_LINE = LENGTH / VEC;
    static constexpr int COUNT = LINES * PER_LINE;
    static constexpr int EACH = ceil_div(COUNT, THREADS);
    static constexpr int LINE_STEP = THREADS / PER_LINE;
    static constexpr bool REGULAR = THREADS % PER_LINE == 0 && (!Lines::SWIZZLED || LINE_STEP % 8 == 0);

    int line;         // of the first copy
    int element;      // along the line
    uint32_t shared;  // byte offset in the tile

    static __device__ __forceinline__ uint32_t place(int line, int element) {
        return Lines::at(line, element / 8) + element % 8 * 2;
    }
    __device__ __forceinline__ CopyPlan() {
        line = threadIdx.x / PER_LINE;
        element = threadIdx.x % PER_LINE * VEC;
        shared = place(line, element);
        if (REGULAR) pin(shared);
    }
    // Calls copy(lines past the first, elements past the first, byte offset) for each of the
    // thread's copies.
    template <typename Copy>
    __device__ __forceinline__ void each(Copy copy) const {
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            if (COUNT % THREADS != 0 && i == EACH - 1 && i * THREADS + int(threadIdx.x) >= COUNT) break;
            if constexpr (REGULAR) {
                copy(i * LINE_STEP, 0, shared + i * LINE_STEP * Lines::PITCH * 16);
            } else {
                const int at = i * THREADS + threadIdx.x;
                const int l = at / PER_LINE, e = at % PER_LINE * VEC;
                copy(l - line, e - element, place(l, e));
            }
        }
    }
};

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// ---- asynchronous copies ------------------------------------------------------------------------

// Copies BYTES (4, 8 or 16) from global to shared memory; writes zeros where `valid` is false,
// without reading.
template <int BYTES>
__device__ __forceinline__ void copy_async(uint32_t shared, const void* global, bool valid) {
    const int size = valid ? BYTES : 0;
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;\n" ::"r"(shared), "l"(global), "n"(BYTES), "r"(size)
                 : "memory");
}

// The same, and nothing at all where `row` is negative. A predicate and not a branch: branches
// between copies cost more than the copies.
template <int BYTES>
__device__ __forceinline__ void copy_async_row(uint32_t shared, const void* global, int row, bool valid) {
    const int size = valid ? BYTES : 0;
    asm volatile(
        "{\n.reg .pred present;\nsetp.ge.s32 present, %4, 0;\n"
        "@present cp.async.ca.shared.global [%0], [%1], %2, %3;\n}\n" ::"r"(shared),
        "l"(global), "n"(BYTES), "r"(size), "r"(row)
        : "memory");
}

// The same of 16 bytes past L1, for rows that are read once a block. L2_LINE: bytes that a miss
// brings into L2, 128 or 256.
template <int L2_LINE>
__device__ __forceinline__ void copy_async_row_l2(uint32_t shared, const void* global, int row, int bytes) {
    if constexpr (L2_LINE == 256) {
        asm volatile(
            "{\n.reg .pred present;\nsetp.ge.s32 present, %3, 0;\n"
            "@present cp.async.cg.shared.global.L2::256B [%0], [%1], 16, %2;\n}\n" ::"r"(shared),
            "l"(global), "r"(bytes), "r"(row)
            : "memory");
    } else {
        asm volatile(
            "{\n.reg .pred present;\nsetp.ge.s32 present, %3, 0;\n"
            "@present cp.async.cg.shared.global [%0], [%1], 16, %2;\n}\n" ::"r"(shared),
            "l"(global), "r"(bytes), "r"(row)
            : "memory");
    }
}

// The same past L1, for operands that the next block on this SM does not need.
__device__ __forceinline__ void copy_async_l2(uint32_t shared, const void* global, bool valid) {
    const int size = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared), "l"(global), "r"(size) : "memory");
}

__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }

template <int PENDING>
__device__ __forceinline__ void wait_copies() {
    asm volatile("cp.async.wait_group %0;\n" ::"n"(PENDING) : "memory");
}

// Up to eight 16-bit elements of any alignment into one chunk, zeros past `count`.
__device__ __forceinline__ void copy_elements(char* shared, const Element* global, int count) {
    if constexpr (sizeof(Element) == 2) {
        const unsigned short* source = reinterpret_cast<const unsigned short*>(global);
        uint32_t words[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const uint32_t low = 2 * i < count ? __ldg(source + 2 * i) : 0;
            const uint32_t high = 2 * i + 1 < count ? __ldg(source + 2 * i + 1) : 0;
            words[i] = low | high << 16;
        }
        *reinterpret_cast<uint4*>(shared) = make_uint4(words[0], words[1], words[2], words[3]);
    }
}

// ---- tensor cores -------------------------------------------------------------------------------

__device__ __forceinline__ void ldmatrix(uint32_t (&r)[4], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

__device__ __forceinline__ void ldmatrix_trans(uint32_t (&r)[4], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

// d += a * b, (16, 16) x (16, 8), float32 accumulators.
__device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if VOXTUNE_DTYPE == 1
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
#endif
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// ---- active offsets -----------------------------------------------------------------------------

// Lists the set bits of a block's union mask in ascending order. Called by one whole warp; `words`
// lies in shared memory. Returns their number in every lane.
template <int WORDS>
__device__ __forceinline__ int list_offsets(const uint32_t* words, uint8_t* list) {
    const int lane = threadIdx.x % 32;
    int count = 0;
#pragma unroll
    for (int w = 0; w < WORDS; ++w) {
        const uint32_t bits = words[w];
        if (bits >> lane & 1) {
            list[count + __popc(bits & ((1u << lane) - 1))] = static_cast<uint8_t>(w * 32 + lane);
        }
        count += __popc(bits);
    }
    __syncwarp();
    return count;
}

}  // namespace voxtune
