// Hopper's warpgroup tensor-core instructions, the barriers that feed them, and the shared-memory
// layouts that they read.
//
// Architecture: sm_90a only.
//
// Layouts. A tile for wgmma is cut into panels of WIDTH elements (64, 32 or 16: 128, 64 or 32
// bytes), each of which is stored line after line with the 16-byte chunks of a line exclusive-ored
// by the line's number, as the instruction's swizzle modes of the same sizes expect (PTX ISA,
// "Strides" and "Shared memory matrix layout" of wgmma). Tile<WIDTH / 8> of common.cuh is that very
// exclusive-or. A panel begins at a multiple of eight lines' bytes.
#pragma once

#include "common.cuh"

namespace voxtune {

// Keeps a value in a register. The assembler, unlike the compiler, looks through `pin`, and would
// compute the value again wherever it is needed; what a shuffle gave it cannot. For whole warps.
__device__ __forceinline__ void hold(uint32_t& value) { value = __shfl_sync(0xffffffffu, value, threadIdx.x % 32); }

// ---- matrix descriptors -------------------------------------------------------------------------

// The widest panel, in elements, that divides a tile's contiguous extent.
constexpr __host__ __device__ int panel_width(int extent) { return extent % 64 == 0 ? 64 : extent % 32 == 0 ? 32 : 16; }

// All of a descriptor but its address: leading and stride byte offsets, and the swizzle of panels
// of WIDTH elements.
template <int WIDTH>
constexpr __host__ __device__ uint64_t descriptor(uint32_t leading_bytes, uint32_t stride_bytes) {
    constexpr uint64_t SWIZZLE = WIDTH == 64 ? 1 : WIDTH == 32 ? 2 : 3;
    return SWIZZLE << 62 | uint64_t(stride_bytes >> 4) << 32 | uint64_t(leading_bytes >> 4) << 16;
}

// The same with the address of the first element.
__device__ __forceinline__ uint64_t described(uint64_t layout, uint32_t shared) { return layout | (shared & 0x3ffff) >> 4; }

// ---- warpgroup matrix products ------------------------------------------------------------------

__device__ __forceinline__ void warpgroup_arrive() { asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory"); }
__device__ __forceinline__ void warpgroup_commit() { asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory"); }
template <int PENDING>
__device__ __forceinline__ void warpgroup_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(PENDING) : "memory");
}
// Keeps the compiler from moving uses of accumulators across the asynchronous products that write
// them.
template <int COUNT>
__device__ __forceinline__ void fence_accumulators(float (&acc)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) asm volatile("" : "+f"(acc[i])::"memory");
}
// Ordinary writes to shared memory, ordered before this thread's later reads by the tensor cores.
__device__ __forceinline__ void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory"); }

// Operands of an instruction: text and constraints of runs of accumulators.
#define VOXTUNE_R0 "%0,%1,%2,%3,%4,%5,%6,%7"
#define VOXTUNE_R1 "%8,%9,%10,%11,%12,%13,%14,%15"
#define VOXTUNE_R2 "%16,%17,%18,%19,%20,%21,%22,%23"
#define VOXTUNE_R3 "%24,%25,%26,%27,%28,%29,%30,%31"
#define VOXTUNE_R4 "%32,%33,%34,%35,%36,%37,%38,%39"
#define VOXTUNE_R5 "%40,%41,%42,%43,%44,%45,%46,%47"
#define VOXTUNE_R6 "%48,%49,%50,%51,%52,%53,%54,%55"
#define VOXTUNE_R7 "%56,%57,%58,%59,%60,%61,%62,%63"
#define VOXTUNE_R8 "%64,%65,%66,%67,%68,%69,%70,%71"
#define VOXTUNE_R9 "%72,%73,%74,%75,%76,%77,%78,%79"
#define VOXTUNE_R10 "%80,%81,%82,%83,%84,%85,%86,%87"
#define VOXTUNE_R11 "%88,%89,%90,%91,%92,%93,%94,%95"
#define VOXTUNE_R12 "%96,%97,%98,%99,%100,%101,%102,%103"
#define VOXTUNE_R13 "%104,%105,%106,%107,%108,%109,%110,%111"
#define VOXTUNE_R14 "%112,%113,%114,%115,%116,%117,%118,%119"
#define VOXTUNE_R15 "%120,%121,%122,%123,%124,%125,%126,%127"
#define VOXTUNE_TEXT_8 VOXTUNE_R0
#define VOXTUNE_TEXT_16 VOXTUNE_TEXT_8 "," VOXTUNE_R1
#define VOXTUNE_TEXT_24 VOXTUNE_TEXT_16 "," VOXTUNE_R2
#define VOXTUNE_TEXT_32 VOXTUNE_TEXT_24 "," VOXTUNE_R3
#define VOXTUNE_TEXT_40 VOXTUNE_TEXT_32 "," VOXTUNE_R4
#define VOXTUNE_TEXT_48 VOXTUNE_TEXT_32 "," VOXTUNE_R4 "," VOXTUNE_R5
#define VOXTUNE_TEXT_64 VOXTUNE_TEXT_48 "," VOXTUNE_R6 "," VOXTUNE_R7
#define VOXTUNE_TEXT_80 VOXTUNE_TEXT_64 "," VOXTUNE_R8 "," VOXTUNE_R9
#define VOXTUNE_TEXT_96 VOXTUNE_TEXT_64 "," VOXTUNE_R8 "," VOXTUNE_R9 "," VOXTUNE_R10 "," VOXTUNE_R11
#define VOXTUNE_TEXT_128 VOXTUNE_TEXT_96 "," VOXTUNE_R12 "," VOXTUNE_R13 "," VOXTUNE_R14 "," VOXTUNE_R15
#define VOXTUNE_ACC(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define VOXTUNE_ACC_8(d, i) VOXTUNE_ACC(d, i), VOXTUNE_ACC(d, i + 4)
#define VOXTUNE_ACC_16(d, i) VOXTUNE_ACC_8(d, i), VOXTUNE_ACC_8(d, i + 8)
#define VOXTUNE_ACC_32(d, i) VOXTUNE_ACC_16(d, i), VOXTUNE_ACC_16(d, i + 16)
#define VOXTUNE_ACC_64(d, i) VOXTUNE_ACC_32(d, i), VOXTUNE_ACC_32(d, i + 32)
#define VOXTUNE_ACC_128(d, i) VOXTUNE_ACC_64(d, i), VOXTUNE_ACC_64(d, i + 64)
#define VOXTUNE_ACC_24(d, i) VOXTUNE_ACC_16(d, i), VOXTUNE_ACC_8(d, i + 16)
#define VOXTUNE_ACC_40(d, i) VOXTUNE_ACC_32(d, i), VOXTUNE_ACC_8(d, i + 32)
#define VOXTUNE_ACC_48(d, i) VOXTUNE_ACC_32(d, i), VOXTUNE_ACC_16(d, i + 32)
#define VOXTUNE_ACC_80(d, i) VOXTUNE_ACC_64(d, i), VOXTUNE_ACC_16(d, i + 64)
#define VOXTUNE_ACC_96(d, i) VOXTUNE_ACC_64(d, i), VOXTUNE_ACC_32(d, i + 64)
#if VOXTUNE_DTYPE == 1
#define VOXTUNE_WGMMA_TYPES "f32.bf16.bf16"
#else
#define VOXTUNE_WGMMA_TYPES "f32.f16.f16"
#endif

// d += A (64, 16) * B (16, WIDE). A in registers as mma.m16n8k16 takes it, warp w of the group
// holding rows 16 w to 16 w + 15. B in lines of the depth or, B_BY_COLUMNS, in lines of columns
// with the depth along them. d[4 f] to d[4 f + 3] are fragment f of eight columns as in
// mma.m16n8k16.
template <int WIDE>
struct Wgmma;

#define VOXTUNE_WGMMA(WIDE, COUNT, A, B, TRANSPOSED)                                                                           \
    template <>                                                                                                               \
    struct Wgmma<WIDE> {                                                                                                      \
        template <bool B_BY_COLUMNS>                                                                                          \
        static __device__ __forceinline__ void product(float (&d)[COUNT], const uint32_t (&a)[4], uint64_t b) {               \
            asm volatile("{\n.reg .pred accumulate;\nsetp.eq.u32 accumulate, 0, 0;\n"                                         \
                         "wgmma.mma_async.sync.aligned.m64n" #WIDE "k16." VOXTUNE_WGMMA_TYPES " {" VOXTUNE_TEXT_##COUNT "}, " \
                         "{" A "}, " B ", accumulate, 1, 1, " TRANSPOSED ";\n}\n"                                             \
                         : VOXTUNE_ACC_##COUNT(d, 0)                                                                          \
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(B_BY_COLUMNS ? 0 : 1));                    \
        }                                                                                                                     \
    };
VOXTUNE_WGMMA(16, 8, "%8,%9,%10,%11", "%12", "%13")
VOXTUNE_WGMMA(32, 16, "%16,%17,%18,%19", "%20", "%21")
VOXTUNE_WGMMA(48, 24, "%24,%25,%26,%27", "%28", "%29")
VOXTUNE_WGMMA(64, 32, "%32,%33,%34,%35", "%36", "%37")
VOXTUNE_WGMMA(80, 40, "%40,%41,%42,%43", "%44", "%45")
VOXTUNE_WGMMA(96, 48, "%48,%49,%50,%51", "%52", "%53")
VOXTUNE_WGMMA(128, 64, "%64,%65,%66,%67", "%68", "%69")
VOXTUNE_WGMMA(160, 80, "%80,%81,%82,%83", "%84", "%85")
VOXTUNE_WGMMA(192, 96, "%96,%97,%98,%99", "%100", "%101")
VOXTUNE_WGMMA(256, 128, "%128,%129,%130,%131", "%132", "%133")
#undef VOXTUNE_WGMMA

// d += A^T (64, 16) * B (16, WIDE), both in shared memory in lines of the depth: a line of A holds
// the 64 rows' elements at one depth, a line of B the columns'. d as above.
template <int WIDE>
struct WgmmaOfLines;

#define VOXTUNE_WGMMA_OF_LINES(WIDE, COUNT, A, B)                                                                              \
    template <>                                                                                                               \
    struct WgmmaOfLines<WIDE> {                                                                                               \
        static __device__ __forceinline__ void product(float (&d)[COUNT], uint64_t a, uint64_t b) {                           \
            asm volatile("{\n.reg .pred accumulate;\nsetp.eq.u32 accumulate, 0, 0;\n"                                         \
                         "wgmma.mma_async.sync.aligned.m64n" #WIDE "k16." VOXTUNE_WGMMA_TYPES " {" VOXTUNE_TEXT_##COUNT "}, " \
                         A ", " B ", accumulate, 1, 1, 1, 1;\n}\n"                                                            \
                         : VOXTUNE_ACC_##COUNT(d, 0)                                                                          \
                         : "l"(a), "l"(b));                                                                                   \
        }                                                                                                                     \
    };
VOXTUNE_WGMMA_OF_LINES(64, 32, "%32", "%33")
VOXTUNE_WGMMA_OF_LINES(96, 48, "%48", "%49")
VOXTUNE_WGMMA_OF_LINES(128, 64, "%64", "%65")
VOXTUNE_WGMMA_OF_LINES(192, 96, "%96", "%97")
VOXTUNE_WGMMA_OF_LINES(256, 128, "%128", "%129")
#undef VOXTUNE_WGMMA_OF_LINES

// ---- barriers in shared memory ------------------------------------------------------------------

__device__ __forceinline__ void barrier_init(uint32_t barrier, int count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(barrier), "r"(count) : "memory");
}
__device__ __forceinline__ void barrier_arrive(uint32_t barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(barrier) : "memory");
}
// An arrival that happens when this thread's asynchronous copies so far have landed; it is one of
// the expected arrivals.
__device__ __forceinline__ void barrier_arrive_after_copies(uint32_t barrier) {
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];\n" ::"r"(barrier) : "memory");
}
// An arrival that also announces bytes, which the TMA counts off as they land.
__device__ __forceinline__ void barrier_arrive_expecting(uint32_t barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(barrier), "r"(bytes) : "memory");
}
// Waits for the completion of the phase of this parity.
__device__ __forceinline__ void barrier_wait(uint32_t barrier, int parity) {
    asm volatile(
        "{\n.reg .pred done;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@done bra over;\n"
        "bra again;\n"
        "over:\n}\n" ::"r"(barrier),
        "r"(parity)
        : "memory");
}

// ---- the Tensor Memory Accelerator (TMA) -------------------------------------------------------

// CUtensorMap of the driver.
struct alignas(64) TensorMap {
    uint64_t words[16];
};

// A box of a three-dimensional tensor into shared memory, swizzled as the map says, zeros outside
// the tensor; `barrier` counts its bytes.
__device__ __forceinline__ void copy_box(uint32_t shared, const TensorMap& map, int x, int y, int z, uint32_t barrier) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];\n" ::"r"(shared),
        "l"(&map), "r"(x), "r"(y), "r"(z), "r"(barrier)
        : "memory");
}

// ---- registers ----------------------------------------------------------------------------------

template <int REGISTERS>
__device__ __forceinline__ void warpgroup_reg_dealloc() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(REGISTERS));
}
template <int REGISTERS>
__device__ __forceinline__ void warpgroup_reg_alloc() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(REGISTERS));
}

}  // namespace voxtune
