// Copies of a thread's part of a row, as wide as the row's address allows.
//
// Architecture: sm_80 and later.
#pragma once

#include "../common.cuh"
#include "../storage.cuh"

namespace voxtune {

// COUNT elements of a storage type, packed.
template <int COUNT>
struct Packed {
    static constexpr int WORDS = ceil_div(COUNT * sizeof(Element), 4);
    uint32_t words[WORDS];

    __device__ __forceinline__ float at(int e) const {
        if constexpr (sizeof(Element) == 4) {
            return __uint_as_float(words[e]);
        } else {
            const unsigned short bits = static_cast<unsigned short>(words[e / 2] >> e % 2 * 16);
            return Dtype::load(*reinterpret_cast<const Element*>(&bits));
        }
    }
};

// Words of one copy from an address that is aligned to it; anything where not `valid`, without a
// read: a predicate, where the assembler agrees, and no branch.
template <int BYTES>
__device__ __forceinline__ void copy(uint32_t* words, const void* source, bool valid) {
    const int present = valid;
    if constexpr (BYTES == 16) {
        asm("{\n.reg .pred present;\nsetp.ne.s32 present, %5, 0;\n@present ld.global.nc.v4.u32 {%0,%1,%2,%3}, [%4];\n}\n"
            : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
            : "l"(source), "r"(present));
    } else if constexpr (BYTES == 8) {
        asm("{\n.reg .pred present;\nsetp.ne.s32 present, %3, 0;\n@present ld.global.nc.v2.u32 {%0,%1}, [%2];\n}\n"
            : "=r"(words[0]), "=r"(words[1])
            : "l"(source), "r"(present));
    } else if constexpr (BYTES == 4) {
        asm("{\n.reg .pred present;\nsetp.ne.s32 present, %2, 0;\n@present ld.global.nc.u32 %0, [%1];\n}\n"
            : "=r"(words[0])
            : "l"(source), "r"(present));
    } else {
        words[0] = valid ? __ldg(static_cast<const unsigned short*>(source)) : 0;
    }
}

// The same that is certainly valid.
template <int BYTES>
__device__ __forceinline__ void copy(uint32_t* words, const void* source) {
    if constexpr (BYTES == 16) {
        const uint4 four = __ldg(static_cast<const uint4*>(source));
        words[0] = four.x, words[1] = four.y, words[2] = four.z, words[3] = four.w;
    } else if constexpr (BYTES == 8) {
        const uint2 two = __ldg(static_cast<const uint2*>(source));
        words[0] = two.x, words[1] = two.y;
    } else if constexpr (BYTES == 4) {
        words[0] = __ldg(static_cast<const uint32_t*>(source));
    } else {
        words[0] = __ldg(static_cast<const unsigned short*>(source));
    }
}

// COUNT elements by copies of VEC: those below `inside`, a multiple of VEC unless COUNT is one
// copy; anything in the others. SURE: `inside` is more than none.
template <int COUNT, int VEC, bool SURE>
__device__ __forceinline__ Packed<COUNT> load(const Element* source, int inside) {
    constexpr int BYTES = VEC * sizeof(Element);
    Packed<COUNT> packed;
#pragma unroll
    for (int e = 0; e < COUNT; e += VEC) {
        if constexpr (BYTES >= 4) {
            uint32_t* words = packed.words + e * sizeof(Element) / 4;
            if (SURE && e == 0) copy<BYTES>(words, source);
            else copy<BYTES>(words, source + e, e < inside);
        } else {
            uint32_t half;
            copy<BYTES>(&half, source + e, e < inside);
            if (e % 2 == 0) packed.words[e / 2] = half;
            else packed.words[e / 2] |= half << 16;
        }
    }
    return packed;
}

// What a thread has of a row, by its widest copies.
template <bool ALIGNED, int COUNT, int VEC, bool SURE = false>
__device__ __forceinline__ Packed<COUNT> load_part(const Element* source, int inside) {
    return load<COUNT, ALIGNED ? VEC : 1, SURE>(source, inside);
}

__device__ __forceinline__ const Element* row_of(const Element* rows, int row, int pitch) {
    return rows + uint64_t(uint32_t(row)) * uint32_t(pitch);
}

}  // namespace voxtune
