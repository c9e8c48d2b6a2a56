// cluster_gemm: output-stationary implicit GEMM of small clouds by Hopper's warpgroup instructions,
// forward and dgrad. Equations, layouts and the ring of stages are those of wgmma_gemm.cu.
//
// Few rows run at once, and then the tile with most offsets is what a product waits for. A plan
// (tile_plan.cuh) cuts such tiles into parts, which are blocks of one cluster: each multiplies its
// own offsets, and they add their sums up in order through each other's shared memory, a share of
// the rows each. Nothing is written but the result.
//
// In lockstep, tiles stay whole, and a cluster has as many neighbouring ones as blocks. All walk
// the offsets that any of them has, each brings a share of an offset's weights to all, and each
// gathers, multiplies and stores rows of its own: weights leave L2 once a cluster. A cluster of one
// block has of this that the longest tiles come first.
//
// A block takes the plan's items from that of its own number on, forth and back over the grid's
// clusters: parts of a tile meet in one cluster, and who has had a long item gets a short one. Row
// numbers of an item come by one asynchronous copy while the item before is gathered. Weights of a
// block's first stages are asked for before any row number is there.
//
//   tile_plan.cuh              what a plan is; tile_plans.cuh makes it
//   wgmma_gemm_stages.cuh      what a stage holds
//   cluster_gemm/places.cuh    what else lies in shared memory
//   cluster_gemm/gather.cuh    the gathering warpgroup: items into stages
//   cluster_gemm/multiply.cuh  the multiplying warpgroups: products of the stages
//   cluster_gemm/add.cuh       sums of the parts to the result
//   cluster_gemm/lockstep.cuh  sums of whole tiles to the result
//
// Layouts. Grid (blocks, tiles of result channels), blocks a multiple of CLUSTER and no more than
// the plan has room for items, times CLUSTER in lockstep. A stage's tile word is an item's `place`,
// plus 1 where the item ends there; a negative one ends the block.
//
// Invariants
// * Sums of a part run in the order of its offsets, and parts are added in order: bitwise
//   repeatable.
// * Every row of the result is written, with the epilogue of zeros where a row has no pair.
// * A block's sums are not overwritten, and the block does not end, before all parts have read
//   them.
// * In lockstep, a stage is empty when all blocks of the cluster have released theirs, and the
//   block does not end before all have released the stages that it brought weights to.
//
// Architecture: sm_90a. Shared memory is dynamic; the host reads its size from voxtune_launch.
//
// Defines: VOXTUNE_DTYPE 0|1; DGRAD 0|1; ROWS (64 or 128), COLS, DEPTH, STAGES; MIN_BLOCKS: blocks
// per SM; CLUSTER: blocks of a cluster, 2, which is the most parts of a tile; SUMS_IN_RING 0|1:
// whether sums take the place of stages, so that tiles are larger or rings deeper, and no item is
// gathered while the one before it is multiplied; LOCKSTEP 1, or absent: whether a cluster's
// blocks, 1, 2 or 4, have a tile each, with SUMS_IN_RING 1, since no sums of float32 lie anywhere;
// OFFSETS: offsets a stage, 2, 4 or absent for 1; GROUPS: multiplying warpgroups, 2 or absent for
// 1; FOURS 1, or absent: c_in is a multiple of four alone.
#ifndef GROUPS
#define GROUPS 1
#endif
#ifndef OFFSETS
#define OFFSETS 1
#endif
#ifndef LOCKSTEP
#define LOCKSTEP 0
#endif
#define SPLIT 0
#define MASK_WORDS 1
#ifndef FOURS
#define FOURS 0
#endif

#include "tile_gemm.cuh"
#include "tile_plan.cuh"
#include "wgmma.cuh"

#include "cluster_gemm/gather.cuh"
#if LOCKSTEP
#include "cluster_gemm/lockstep.cuh"
#else
#include "cluster_gemm/add.cuh"
#endif

using namespace voxtune;

// What the host needs to launch this instance: threads a block, dynamic shared memory in bytes.
extern "C" __constant__ int voxtune_launch[2] = {THREADS, CLUSTER_SHARED_BYTES};

extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS, MIN_BLOCKS)
    cluster_gemm(const __grid_constant__ TileGemmParams p, const __grid_constant__ TensorMap weights_map, const uint4* plan) {
    extern __shared__ __align__(1024) char shared[];
    const auto* items = reinterpret_cast<const uint2*>(plan + 1);
    uint2 item = make_uint2(0, 0);
    int count = 0;
    if (threadIdx.x < GATHER_THREADS) {
        item = load_now(items + (LOCKSTEP ? blockIdx.x / CLUSTER : blockIdx.x));
        count = load_now(reinterpret_cast<const int*>(plan));
    }
    if (threadIdx.x == 0) {
        for (Ring ring(shared); ring.parity == 0; ring.advance()) {
            barrier_init(ring.full(), FULL_ARRIVALS);
            barrier_init(ring.empty(), RELEASES);
        }
        barrier_init(shared_address(shared) + WRITTEN_AT, PEER_ARRIVALS);
        barrier_init(shared_address(shared) + READ_AT, PEER_ARRIVALS);
        barrier_init(shared_address(shared) + FREE_AT, MULTIPLY_WARPS * RELEASING_LANES);
        asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
    }
    if (threadIdx.x == 32) asm volatile("prefetch.tensormap [%0];\n" ::"l"(&weights_map) : "memory");
    if (threadIdx.x < 32) store_word(shared_address(shared) + ZEROS_AT + threadIdx.x * 4, 0);
    __syncthreads();
    cluster_arrive();
    if (threadIdx.x < GATHER_THREADS) {
        warpgroup_reg_dealloc<GATHER_REGISTERS>();
        const Tiles tiles(0, COLS, 1);
        // A row of 256 bytes and more is all needed soon: its other blocks of channels are the next
        // stages.
        const bool wide = (DGRAD ? p.c_out : p.c_in) >= 128;
        if (!p.copies_aligned) ItemGatherer<false, 128>(p, weights_map, tiles, shared).run(items, item, count);
        else if (DEPTH < 64 || !wide) ItemGatherer<true, 128>(p, weights_map, tiles, shared).run(items, item, count);
        else ItemGatherer<true, 256>(p, weights_map, tiles, shared).run(items, item, count);
        wait_copies<0>();
        if (!GATHERERS_WAIT_FIRST) cluster_wait();
    } else {
        warpgroup_reg_alloc<MULTIPLY_REGISTERS>();
        const Tiles tiles(p.rows.load(), COLS, 1);
        ItemMultiplier multiplier(p, tiles, shared);
#if LOCKSTEP
        cluster_wait();
        run_in_lockstep(multiplier, p, shared);
#else
        Adder adder(p, shared);
        cluster_wait();
        int word;
        while ((word = multiplier.wait_stage()) >= 0) {
            const int row = adder.row_of_lane(word, tiles.n);
            multiplier.multiply_item(word);
            adder.add(multiplier.acc, word, row);
        }
        adder.end();
#endif
    }
    if constexpr (FOR_RACE_DETECTOR) end_together();
}
