// What lies in shared memory of cluster_gemm behind the ring of wgmma_gemm_stages.cuh, and how the
// blocks of a cluster wait for each other.
//
//   strips     one each multiplying warp: its sums in float32, FRAGS_M x 16 lines of STRIP_PITCH;
//              with SUMS_IN_RING they lie where stages lie between items
//   numbers    row numbers of one item, or of two: for each offset ROWS of them
//   affine     scale, then bias, of the block's columns; in lockstep, instead of them, strips as
//              those of wgmma_gemm
//   written    barrier: the parts of a tile have written their sums
//   read       barrier: they have read this block's
//   free       barrier: the ring holds no sums; with SUMS_IN_RING alone
//
// Architecture: sm_90a. The host mirrors CLUSTER_SHARED_BYTES.
#pragma once

#include "../wgmma_gemm_stages.cuh"

namespace voxtune {

// What is the same in every lane, and known to be: places that come of it need no vector registers.
__device__ __forceinline__ uint32_t uniform(uint32_t value) { return __reduce_or_sync(0xffffffffu, value); }
__device__ __forceinline__ uint2 uniform(const uint2& value) { return make_uint2(uniform(value.x), uniform(value.y)); }

// Where a tile has fewer parts than the cluster blocks, a block that is done would arrive for the
// next tile at a barrier that waits for this one.
static_assert(LOCKSTEP ? CLUSTER == 1 || CLUSTER == 2 || CLUSTER == 4 : CLUSTER == 2, "blocks of a cluster");

// Rows of an item: blocks in lockstep have a tile each.
constexpr int ITEM_ROWS = LOCKSTEP ? CLUSTER * ROWS : ROWS;

// Weights of a slot that are small come by ordinary copies: a call of the TMA takes longer.
constexpr bool SMALL_WEIGHTS = B_BYTES <= 2048;

constexpr int MULTIPLY_THREADS = GROUPS * 128, MULTIPLY_WARPS = GROUPS * 4;

// Items whose row numbers are there: with sums in the ring, an item is gathered when the one before
// it is stored. In lockstep nothing but stages lies in the ring, which take the room of another's
// numbers.
constexpr int ITEMS_AHEAD = SUMS_IN_RING ? 1 : 2;
static_assert(SUMS_IN_RING || !LOCKSTEP, "in lockstep, no sums of float32 lie behind the ring");

constexpr int NUMBERS_AT = (SHARED_BYTES + 15) / 16 * 16;
constexpr int NUMBERS_BYTES = MOST_OFFSETS * ROWS * 4;
constexpr int AFFINE_AT = NUMBERS_AT + ITEMS_AHEAD * NUMBERS_BYTES;
#if LOCKSTEP
// Sixteen rows of a warp's results on their way out, a strip of columns at a time.
constexpr int STRIP = COLS % 64 == 0 ? 64 : COLS % 48 == 0 ? 48 : COLS % 32 == 0 ? 32 : 16;
constexpr int RESULT_PITCH = STRIP + 8;
constexpr int RESULT_STRIP_BYTES = 16 * RESULT_PITCH * 2;
constexpr int WRITTEN_AT = AFFINE_AT + MULTIPLY_WARPS * RESULT_STRIP_BYTES;
#else
constexpr int WRITTEN_AT = AFFINE_AT + 2 * COLS * 4;
#endif
constexpr int READ_AT = WRITTEN_AT + 8;
constexpr int FREE_AT = READ_AT + 8;
constexpr int CLUSTER_SHARED_BYTES = FREE_AT + 8;
static_assert(STRIPS_AT % 16 == 0 && STRIP_BYTES % 16 == 0 && AFFINE_AT % 16 == 0, "four floats at a time");

// Each multiplying warp of each part arrives as often as makes this number.
constexpr int PEER_ARRIVALS = MULTIPLY_WARPS * CLUSTER * RELEASING_LANES;
// What releases a stage: in lockstep, also the other blocks, whose weights it gets.
constexpr int RELEASES = EMPTY_ARRIVALS + (LOCKSTEP ? (CLUSTER - 1) * MULTIPLY_WARPS : 0);

// What a race detector takes for wrong and is not: it lets no warp of a block pass a wait for the
// cluster before all of them have come to it, and knows nothing but such a wait that keeps a block
// there for those that read from it.
constexpr bool FOR_RACE_DETECTOR = RELEASING_LANES > 1;
// Whether those that gather wait for the cluster first, as they must where they reach other blocks'
// barriers, or last.
constexpr bool GATHERERS_WAIT_FIRST = LOCKSTEP || FOR_RACE_DETECTOR;

// Waits for all multiplying warps of the block.
__device__ __forceinline__ void wait_multiplying_warps() { asm volatile("bar.sync 2, %0;\n" ::"n"(MULTIPLY_THREADS) : "memory"); }

// Behind the fence of barriers that have been initialised, which is all that blocks must see of
// each other then: an arrival that released more would wait for loads.
__device__ __forceinline__ void cluster_arrive() { asm volatile("barrier.cluster.arrive.relaxed.aligned;\n" ::: "memory"); }
__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;\n" ::: "memory"); }

__device__ __forceinline__ void end_together() {
    asm volatile("barrier.cluster.arrive.release.aligned;\n" ::: "memory");
    cluster_wait();
}

// The same place in the shared memory of a block of the cluster.
__device__ __forceinline__ uint32_t place_in(uint32_t own, int rank) {
    uint32_t place;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;\n" : "=r"(place) : "r"(own), "r"(rank));
    return place;
}
// One lane of a whole warp.
__device__ __forceinline__ bool elect() {
    uint32_t elected;
    asm volatile("{\n.reg .pred mine;\nelect.sync _|mine, 0xffffffff;\nselp.u32 %0, 1, 0, mine;\n}\n" : "=r"(elected));
    return elected != 0;
}
// copy_box into the same place of all blocks of the cluster. The barrier of each counts the bytes
// that come to it.
__device__ __forceinline__ void copy_box_to_all(uint32_t shared, const TensorMap& map, int x, int y, int z, uint32_t barrier) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, %3, %4}], [%5], "
        "%6;\n" ::"r"(shared),
        "l"(&map), "r"(x), "r"(y), "r"(z), "r"(barrier), "h"(static_cast<unsigned short>((1 << CLUSTER) - 1))
        : "memory");
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

// In a stage's tile word, in lockstep: only the first half of the stage's channels is there. No
// part of a tile is then named in this bit.
constexpr int HALF = 2;
constexpr bool HALF_STAGES = LOCKSTEP && DEPTH % 32 == 0;

// What an item's place says.
__device__ __forceinline__ int tile_of(int place) { return place >> 6; }
__device__ __forceinline__ int part_of(int place) { return place >> 3 & 7; }
__device__ __forceinline__ int log_parts_in(int place) { return place >> 1 & 3; }

}  // namespace voxtune
