// What lies in shared memory of cluster_gemm behind the ring of wgmma_gemm_stages.cuh, and how the
// blocks of a cluster wait for each other.
//
//   strips     one each multiplying warp: its sums in float32, FRAGS_M x 16 lines of STRIP_PITCH;
//              with SUMS_IN_RING they lie where stages lie between items
//   numbers    row numbers of one item, or of two: for each offset ROWS of them
//   affine     scale, then bias, of the block's columns
//   written    barrier: the parts of a tile have written their sums
//   read       barrier: they have read this block's
//   free       barrier: the ring holds no sums; with SUMS_IN_RING alone
//
// Architecture: sm_90a. The host mirrors CLUSTER_SHARED_BYTES.
#pragma once

#include "../wgmma_gemm_stages.cuh"

namespace voxtune {

static_assert(CLUSTER == 2 || CLUSTER == 4 || CLUSTER == 8, "blocks of a cluster");

// Weights of a slot that are small come by ordinary copies: a call of the TMA takes longer.
constexpr bool SMALL_WEIGHTS = B_BYTES <= 2048;

constexpr int MULTIPLY_THREADS = GROUPS * 128, MULTIPLY_WARPS = GROUPS * 4;

// Items whose row numbers are there: with sums in the ring, an item is gathered when the one before
// it is stored.
constexpr int ITEMS_AHEAD = SUMS_IN_RING ? 1 : 2;

constexpr int NUMBERS_AT = (SHARED_BYTES + 15) / 16 * 16;
constexpr int NUMBERS_BYTES = MOST_OFFSETS * ROWS * 4;
constexpr int AFFINE_AT = NUMBERS_AT + ITEMS_AHEAD * NUMBERS_BYTES;
constexpr int WRITTEN_AT = AFFINE_AT + 2 * COLS * 4;
constexpr int READ_AT = WRITTEN_AT + 8;
constexpr int FREE_AT = READ_AT + 8;
constexpr int CLUSTER_SHARED_BYTES = FREE_AT + 8;
static_assert(STRIPS_AT % 16 == 0 && STRIP_BYTES % 16 == 0 && AFFINE_AT % 16 == 0, "four floats at a time");

// Each multiplying warp of each part arrives as often as makes this number.
constexpr int PEER_ARRIVALS = MULTIPLY_WARPS * CLUSTER * RELEASING_LANES;
// Waits for all multiplying warps of the block.
__device__ __forceinline__ void wait_multiplying_warps() { asm volatile("bar.sync 2, %0;\n" ::"n"(MULTIPLY_THREADS) : "memory"); }

// Behind the fence of barriers that have been initialised, which is all that blocks must see of
// each other then: an arrival that released more would wait for loads.
__device__ __forceinline__ void cluster_arrive() { asm volatile("barrier.cluster.arrive.relaxed.aligned;\n" ::: "memory"); }
__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;\n" ::: "memory"); }

// The same place in the shared memory of a block of the cluster.
__device__ __forceinline__ uint32_t place_in(uint32_t own, int rank) {
    uint32_t place;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;\n" : "=r"(place) : "r"(own), "r"(rank));
    return place;
}
// Arrivals that release nothing: a fence before several costs what one arrival with its own would.
__device__ __forceinline__ void fence_cluster() { asm volatile("fence.acq_rel.cluster;\n" ::: "memory"); }
__device__ __forceinline__ void arrive_in_cluster(uint32_t place, int count) {
    asm volatile("mbarrier.arrive.relaxed.cluster.shared::cluster.b64 _, [%0], %1;\n" ::"r"(place), "r"(count) : "memory");
}
__device__ __forceinline__ void wait_for_cluster(uint32_t barrier, int parity) {
    asm volatile(
        "{\n.reg .pred done;\n"
        "again:\n"
        "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
        "@done bra over;\n"
        "bra again;\n"
        "over:\n}\n" ::"r"(barrier),
        "r"(parity)
        : "memory");
}
__device__ __forceinline__ float4 load_from_cluster(uint32_t place) {
    float4 four;
    asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];\n" : "=f"(four.x), "=f"(four.y), "=f"(four.z), "=f"(four.w) : "r"(place) : "memory");
    return four;
}
__device__ __forceinline__ float4 load_floats(uint32_t shared) {
    float4 four;
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];\n" : "=f"(four.x), "=f"(four.y), "=f"(four.z), "=f"(four.w) : "r"(shared) : "memory");
    return four;
}

// What an item's place says.
__device__ __forceinline__ int tile_of(int place) { return place >> 6; }
__device__ __forceinline__ int part_of(int place) { return place >> 3 & 7; }
__device__ __forceinline__ int log_parts_in(int place) { return place >> 1 & 3; }

}  // namespace voxtune
