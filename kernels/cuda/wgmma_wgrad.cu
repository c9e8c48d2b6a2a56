// wgmma_wgrad: wgrad as a grouped GEMM over compact pair lists by Hopper's warpgroup instructions.
//
//   dw[k] = sum over the pairs (i, o) of offset k of  x[i]^T * g[o]
//
// Layouts: x (rows_in, c_in), g (rows_out, c_out), row-major, rows a pitch apart, channels in
// multiples of eight, any base address; partial (units, c_in, c_out) float32, added up by
// reduce_partials of pair_units.cuh in a fixed order.
//
// Units are interleaved. An offset's list is cut into steps of DEPTH pairs, and unit s of the
// offset's S takes the steps s, s + S, s + 2 S and so on. Lists ascend in the output row, so all
// units of all offsets, each on its own SM, walk through the rows side by side. A row comes from
// memory once, and the other offsets that need it find it in L2. No unit has to be short for that,
// which keeps the partial results few. A unit that is ahead waits for memory, and those that follow
// do not.
//
// A block owns one unit's ROWS x COLS tile of (c_in, c_out). One warpgroup gathers rows by cp.async
// into a ring of STAGES stages of DEPTH pairs, GROUPS warpgroups multiply; they meet only at the
// ring's barriers. A gathered row is a line of 128-byte pieces with the pairs across. wgmma takes
// that as a transposed operand, so neither operand is ever moved again.
//
// Invariants
// * full[stage]: each gathering thread arrives once when its copies have landed. empty[stage]: each
//   multiplying warp arrives once its products that read the stage are complete.
// * Rows come by cp.async or by ordinary writes. wgmma reads them through the asynchronous proxy,
//   so each multiplying thread fences between waiting for a stage and reading it.
// * A unit has at least one step, and writes all of its tile.
// * Pairs past the end of a list are zeros in both operands. Channels past c_in or c_out hold
//   anything (a channel's products meet only its own row or column of the result) and are never
//   stored.
//
// Architecture: sm_90a. Shared memory is dynamic; the host reads its size from voxtune_launch.
//
// Defines: VOXTUNE_DTYPE 0|1; ROWS, COLS, DEPTH, STAGES; GROUPS: multiplying warpgroups, each with
// ROWS / GROUPS rows; MIN_BLOCKS: blocks per SM.
#include "pair_units.cuh"

namespace voxtune {
constexpr int MOST_GATHER_REGISTERS = 72;
}  // namespace voxtune

#include "warp_specialization.cuh"

using namespace voxtune;

constexpr int FRAGS_M = ROWS / 64 / GROUPS;      // of 64 rows, a warpgroup
constexpr int LINES_A_WARP = DEPTH / GATHER_WARPS;  // that a gathering warp brings, of each operand

static_assert(ROWS % (64 * GROUPS) == 0 && FRAGS_M <= 2 && COLS % 16 == 0, "block tile");
static_assert(LINES_A_WARP == 16, "a gathering warp holds the row numbers of both operands, one a lane");

// An operand's part of a stage: panels of WIDTH channels, a line a pair.
template <int CHANNELS>
struct Panels {
    static constexpr int WIDTH = panel_width(CHANNELS);
    static constexpr int COUNT = CHANNELS / WIDTH;
    static constexpr int PANEL_BYTES = DEPTH * WIDTH * 2;
    static constexpr int BYTES = COUNT * PANEL_BYTES;
    static constexpr int CHUNKS = WIDTH / 8;       // of 16 bytes, a line
    static constexpr int LINES_A_PASS = 32 / CHUNKS;  // that a warp copies at once
    static constexpr int PASSES = LINES_A_WARP / LINES_A_PASS;
    using Lines = Tile<CHUNKS>;
    // A descriptor without its address. Channels are contiguous: the leading offset is to the next
    // panel, the stride to the next eight pairs. A product of sixteen pairs begins sixteen lines
    // after the one before, a whole number of swizzle patterns.
    static constexpr uint64_t LAYOUT = descriptor<WIDTH>(PANEL_BYTES, 8 * WIDTH * 2);
    static constexpr int STEP_BYTES = 16 * WIDTH * 2;
};
// Most steps of one sum in registers. The tensor cores cut their sums off where float32 would
// round. Each sixteen pairs take up to 2^-23 off the magnitude of a sum, and always downwards:
// 900,000 pairs in one sum were measured to lose 6e-3. Sums of more steps are continued in the
// partial result, which only this block touches.
constexpr int RUN = 256;

using A = Panels<ROWS>;
using B = Panels<COLS>;
static_assert(A::WIDTH == 64, "a fragment of 64 rows is one panel");

constexpr int STAGE_BYTES = (A::BYTES + B::BYTES + 1023) / 1024 * 1024;
static_assert(A::BYTES % 1024 == 0 && B::PANEL_BYTES % 1024 == 0, "panels begin where their swizzle does");

constexpr int BARRIERS_AT = STAGES * STAGE_BYTES;
constexpr int SHARED_BYTES = BARRIERS_AT + 2 * STAGES * 8;

// What the host needs to launch this instance: threads per block, dynamic shared memory in bytes.
extern "C" __constant__ int voxtune_launch[2] = {THREADS, SHARED_BYTES};

using Ring = StageRing<STAGE_BYTES, BARRIERS_AT>;

// A block's share of the work: a unit's steps, and its tile of the result.
struct Share {
    int unit;
    int first, end;  // pairs: where the unit's first step begins, where the offset's list ends
    int stride;      // pairs from one step of the unit to its next
    int steps;
    int first_in, first_out;  // channels

    // Blocks of the same unit are neighbours, so that their gathers meet in L2.
    __device__ __forceinline__ explicit Share(const PairGemmParams& p) {
        const int col_tiles = ceil_div(p.c_out, COLS);
        const int tiles = ceil_div(p.c_in, ROWS) * col_tiles;
        const int tile = blockIdx.x % tiles;
        unit = blockIdx.x / tiles;
        first_in = tile / col_tiles * ROWS;
        first_out = tile % col_tiles * COLS;
        int k = 0;
        while (unit >= p.units.unit_offset[k + 1]) ++k;
        const int begin = p.units.unit_offset[k];
        first = p.units.pair_offset[k] + (unit - begin) * DEPTH;
        end = p.units.pair_offset[k + 1];
        stride = (p.units.unit_offset[k + 1] - begin) * DEPTH;
        steps = ceil_div(end - first, stride);
    }
};

// The gathering warpgroup. Each warp brings a quarter of a stage's lines, of both operands.
template <bool ALIGNED>
struct Gatherer {
    // Steps from asking for row numbers to needing them, each with a register of its own: moving a
    // number on would wait for it.
    static constexpr int AHEAD = ALIGNED ? 3 : 1;

    // What a lane needs to copy rows of one operand.
    template <typename Operand>
    struct Rows {
        const char* corner;  // this lane's chunk of row 0
        uint32_t row_bytes;
        uint32_t place;  // of this lane's first copy, in the operand's part of a stage
        int left;        // channels of the tensor from this lane's chunk on

        __device__ __forceinline__ Rows(const Element* base, int channels, int pitch, int first, uint32_t part) {
            const int lane = threadIdx.x % 32, chunk = lane % Operand::CHUNKS;
            corner = reinterpret_cast<const char*>(base + first + chunk * 8);
            row_bytes = pitch * 2;
            place = part + Operand::Lines::at(threadIdx.x / 32 * LINES_A_WARP + lane / Operand::CHUNKS, chunk);
            left = channels - first - chunk * 8;
            pin(corner);
            pin(place);
        }

        // This warp's lines of a stage. `number`: lane source + i holds the row of line i, or -1
        // past the end of the list.
        __device__ __forceinline__ void copy(uint32_t stage, int number, int source) const {
#pragma unroll
            for (int pass = 0; pass < Operand::PASSES; ++pass) {
                const int line = pass * Operand::LINES_A_PASS;
                const int row = __shfl_sync(0xffffffffu, number, source + line + int(threadIdx.x % 32) / Operand::CHUNKS);
                const char* from = corner + uint64_t(uint32_t(max(row, 0))) * row_bytes;
                // A pass of four lines flips the swizzle's third bit, longer ones keep it.
                const uint32_t to =
                    stage + (Operand::LINES_A_PASS == 4 && pass % 2 == 1 ? place ^ 64 : place) + line * Operand::WIDTH * 2;
#pragma unroll
                for (int panel = 0; panel < Operand::COUNT; ++panel) {
                    const int along = panel * Operand::WIDTH;
                    if constexpr (ALIGNED) {
                        copy_async_row_l2<(Operand::COUNT * Operand::WIDTH >= 128 ? 256 : 128)>(
                            to + panel * Operand::PANEL_BYTES, from + along * 2, left - 1 - along, row >= 0 ? 16 : 0);
                    } else if (left > along) {
                        copy_elements(static_cast<char*>(__cvta_shared_to_generic(to + panel * Operand::PANEL_BYTES)),
                                      reinterpret_cast<const Element*>(from) + along, row >= 0 ? 8 : 0);
                    }
                }
            }
        }
    };

    const Share& share;
    Ring ring;
    const Rows<A> x;
    const Rows<B> g;
    const int* numbers;  // the list that this lane reads, at its line of the unit's first step
    int left;            // pairs of the offset's list from there on
    int asked[AHEAD];    // row numbers of the next steps

    __device__ __forceinline__ Gatherer(const PairGemmParams& p, const Share& share, const char* shared)
        : share(share), ring(shared), x(p.x, p.c_in, p.x_pitch, share.first_in, 0),
          g(p.g, p.c_out, p.g_pitch, share.first_out, A::BYTES) {
        const int lane = threadIdx.x % 32;
        const int pair = share.first + threadIdx.x / 32 * LINES_A_WARP + lane % LINES_A_WARP;
        numbers = (lane < LINES_A_WARP ? p.in_rows : p.out_rows) + pair;
        left = share.end - pair;
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) asked[i] = ask();
    }

    // This lane's row number in the next step that has not been asked for, or -1.
    __device__ __forceinline__ int ask() {
        const int number = left > 0 ? __ldg(numbers) : -1;
        numbers += share.stride;
        left -= share.stride;
        return number;
    }

    // One stage.
    __device__ __forceinline__ void gather(int number) {
        barrier_wait(ring.empty(), ring.parity ^ 1);
        x.copy(ring.tile(), number, 0);
        g.copy(ring.tile(), number, LINES_A_WARP);
        if constexpr (ALIGNED) barrier_arrive_after_copies(ring.full());
        else barrier_arrive(ring.full());
        ring.advance();
    }

    __device__ __forceinline__ void run() {
        for (int step = 0; step < share.steps; step += AHEAD) {
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                if (step + i == share.steps) return;
                gather(asked[i]);
                asked[i] = ask();
            }
        }
    }
};

// A multiplying warpgroup: FRAGS_M fragments of 64 rows of the tile.
struct Multiplier {
    const PairGemmParams& p;
    const Share& share;
    Ring ring;
    const int lane = threadIdx.x % 32, group = threadIdx.x / 128 - 1, warp = threadIdx.x / 32 % 4;
    float acc[FRAGS_M][COLS / 2];

    __device__ __forceinline__ Multiplier(const PairGemmParams& p, const Share& share, const char* shared)
        : p(p), share(share), ring(shared) {}

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int m = 0; m < FRAGS_M; ++m) {
#pragma unroll
            for (int i = 0; i < COLS / 2; ++i) acc[m][i] = 0.0f;
        }
    }

    // The products of a stage, queued.
    __device__ __forceinline__ void multiply() {
        const uint64_t a = described(A::LAYOUT, ring.tile() + group * FRAGS_M * A::PANEL_BYTES);
        const uint64_t b = described(B::LAYOUT, ring.tile() + A::BYTES);
        warpgroup_arrive();
#pragma unroll
        for (int k = 0; k < DEPTH / 16; ++k) {
            const uint64_t b_step = b + (k * B::STEP_BYTES >> 4);
#pragma unroll
            for (int m = 0; m < FRAGS_M; ++m) {
                WgmmaOfLines<COLS>::product(acc[m], a + (m * A::PANEL_BYTES + k * A::STEP_BYTES >> 4), b_step);
            }
        }
        warpgroup_commit();
    }

    // The fragments' accumulators to the unit's partial result, or onto it. Additions are left to
    // L2, so that no thread waits for what was there. An element belongs to one thread, whose
    // additions to it keep their order.
    template <bool ONTO>
    __device__ __forceinline__ void store() const {
        float* partial = p.partial + int64_t(share.unit) * p.c_in * p.c_out;
        const int out = share.first_out + lane % 4 * 2;
#pragma unroll
        for (int m = 0; m < FRAGS_M; ++m) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int in = share.first_in + (group * FRAGS_M + m) * 64 + warp * 16 + lane / 4 + half * 8;
                if (in >= p.c_in) continue;
                float* target = partial + int64_t(in) * p.c_out + out;
#pragma unroll
                for (int f = 0; f < COLS / 8; ++f) {
                    if (out + f * 8 >= p.c_out) break;
                    const float low = acc[m][f * 4 + half * 2], high = acc[m][f * 4 + half * 2 + 1];
                    if constexpr (ONTO) {
                        asm volatile("red.relaxed.gpu.global.add.v2.f32 [%0], {%1, %2};\n" ::"l"(target + f * 8), "f"(low), "f"(high)
                                     : "memory");
                    } else {
                        *reinterpret_cast<float2*>(target + f * 8) = make_float2(low, high);
                    }
                }
            }
        }
    }

    // Steps into the accumulators, which then hold all of their products.
    __device__ __forceinline__ void accumulate(int steps) {
        uint32_t before = 0;  // the barrier of the stage that may still be read, or 0
        clear();
        for (int step = 0; step < steps; ++step) {
            barrier_wait(ring.full(), ring.parity);
            fence_proxy_async();
            multiply();
            warpgroup_wait<1>();
            if (before != 0 && lane < RELEASING_LANES) barrier_arrive(before);
            before = ring.empty();
            ring.advance();
        }
        warpgroup_wait<0>();
#pragma unroll
        for (int m = 0; m < FRAGS_M; ++m) fence_accumulators(acc[m]);
        if (lane < RELEASING_LANES) barrier_arrive(before);
    }

    __device__ __forceinline__ void run() {
        const int steps = ceil_div(share.steps, ceil_div(share.steps, RUN));
        accumulate(steps);
        store<false>();
        for (int left = share.steps - steps; left > 0; left -= steps) {
            accumulate(min(left, steps));
            store<true>();
        }
    }
};

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) wgmma_wgrad(const __grid_constant__ PairGemmParams p) {
    extern __shared__ __align__(1024) char shared[];
    if (threadIdx.x == 0) {
        for (Ring ring(shared); ring.parity == 0; ring.advance()) {
            barrier_init(ring.full(), GATHER_THREADS);
            barrier_init(ring.empty(), EMPTY_ARRIVALS);
        }
        asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
    }
    __syncthreads();
    const Share share(p);
    if (threadIdx.x < GATHER_THREADS) {
        warpgroup_reg_dealloc<GATHER_REGISTERS>();
        if (p.copies_aligned) Gatherer<true>(p, share, shared).run();
        else Gatherer<false>(p, share, shared).run();
        wait_copies<0>();
    } else {
        warpgroup_reg_alloc<MULTIPLY_REGISTERS>();
        Multiplier(p, share, shared).run();
    }
}
