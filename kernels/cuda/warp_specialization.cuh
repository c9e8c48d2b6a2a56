// Warp specialisation: a block in which one warpgroup gathers, GROUPS warpgroups multiply, and a
// ring of stages lies between them.
//
// What wgmma_gemm and wgmma_wgrad share. What a stage holds, who arrives how often at its `full`,
// and the two roles are each family's own.
//
// Layouts: stages of STAGE_BYTES follow each other from the start of shared memory, which is
// aligned to 1,024 bytes; at BARRIERS_AT, a multiple of eight, the barriers: full[STAGES], then
// empty[STAGES].
//
// Invariants
// * Both sides take the stages in turn. full[stage] completes when a stage may be read,
//   empty[stage] when it may be written. Each multiplying warp releases a stage once, by its first
//   lane, behind a wait for products that every lane has read for.
// * The multiplying side waits for its own parity, the gathering side for the other: all stages are
//   empty at first.
// * The multiplying warps take the registers that the gathering ones give up, and wait for them:
//   both sides switch first of all.
//
// Architecture: sm_90a.
//
// Expects MOST_GATHER_REGISTERS, what a gathering thread has use for, and the defines STAGES,
// GROUPS and MIN_BLOCKS. With EVERY_LANE_RELEASES all lanes of a warp arrive instead of the first:
// a race detector takes an arrival for that of its own lane alone.
#pragma once

#include "wgmma.cuh"

namespace voxtune {

constexpr int GATHER_WARPS = 4;
constexpr int GATHER_THREADS = GATHER_WARPS * 32;
constexpr int THREADS = GATHER_THREADS * (1 + GROUPS);
static_assert(STAGES >= 2, "a stage is written while another is read");

#ifdef EVERY_LANE_RELEASES
constexpr int RELEASING_LANES = 32;
#else
constexpr int RELEASING_LANES = 1;
#endif
// Arrivals that release a stage: of every multiplying warp's releasing lanes.
constexpr int EMPTY_ARRIVALS = GROUPS * 4 * RELEASING_LANES;

// Registers a thread: an equal share by the launch bounds, then moved from gathering to
// multiplying.
constexpr int EQUAL_SHARE = 65536 / (THREADS * MIN_BLOCKS) / 8 * 8;
constexpr int GATHER_REGISTERS = EQUAL_SHARE < MOST_GATHER_REGISTERS ? EQUAL_SHARE : MOST_GATHER_REGISTERS;
constexpr int MULTIPLY_SHARE = (EQUAL_SHARE * (1 + GROUPS) - GATHER_REGISTERS) / GROUPS / 8 * 8;
constexpr int MULTIPLY_REGISTERS = MULTIPLY_SHARE > 240 ? 240 : MULTIPLY_SHARE;

// The stage that one side of the ring is at.
template <int STAGE_BYTES, int BARRIERS_AT>
struct StageRing {
    uint32_t base;  // of shared memory
    int stage = 0, parity = 0;
    __device__ __forceinline__ explicit StageRing(const char* shared) : base(shared_address(shared)) {}
    __device__ __forceinline__ uint32_t tile() const { return base + stage * STAGE_BYTES; }
    __device__ __forceinline__ uint32_t full() const { return base + BARRIERS_AT + stage * 8; }
    __device__ __forceinline__ uint32_t empty() const { return base + BARRIERS_AT + (STAGES + stage) * 8; }
    __device__ __forceinline__ void advance() {
        if (++stage == STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }
};

}  // namespace voxtune
