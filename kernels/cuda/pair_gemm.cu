// pair_gemm: wgrad as a grouped GEMM over compact pair lists on tensor cores, split along the
// pairs.
//
//   dw[k] = sum over the pairs (i, o) of offset k of  x[i]^T * g[o]
//
// Layouts: x (rows_in, c_in), g (rows_out, c_out), row-major, rows a pitch apart, any base address;
// partial (units, c_in, c_out) float32. See pair_units.cuh for units and for the deterministic
// reduction that follows.
//
// A block owns one unit's ROWS x COLS tile of (c_in, c_out). The inner dimension is the list of
// pairs: no padding but the tail of a unit. Both operands are gathered row by row into (DEPTH
// pairs, channels) tiles by cp.async and read transposed by ldmatrix. Row numbers travel through a
// ring of their own, STAGES-1 steps ahead. WARPS_K warps share a tile by taking turns along the
// pairs, which keeps warp tiles large where the channels are few. Their sums meet in shared memory
// in a fixed order.
//
// Invariants
// * Exactly one commit group a step, empty ones included.
// * Pairs past the end of a unit are zeros in both operands. Channels past c_in or c_out hold
//   anything and are never stored.
//
// Architecture: sm_80 and later. Dynamic shared memory; the host reads its size from
// voxtune_launch.
//
// Defines: VOXTUNE_DTYPE 0|1; ROWS, COLS, DEPTH, STAGES; WARP_ROWS, WARP_COLS, WARPS_K; VEC_A,
// VEC_B: elements of one copy of x and g: 8, 4, 2, or 1 for elementwise copies. MIN_BLOCKS as in
// mask_gemm.cu.
// expected: spills on sm_80 sm_89 sm_90 where ROWS=48 COLS=48 DEPTH=64 VEC_A=8 VEC_B=2: 168 registers by MIN_BLOCKS; 8 bytes in all
#include "pair_units.cuh"

using namespace voxtune;

constexpr int WARPS_M = ROWS / WARP_ROWS;
constexpr int WARPS_N = COLS / WARP_COLS;
constexpr int WARPS_MN = WARPS_M * WARPS_N;
constexpr int THREADS = WARPS_MN * WARPS_K * 32;
constexpr int FRAGS_M = WARP_ROWS / 16;
constexpr int FRAGS_N = WARP_COLS / 8;
constexpr int STEPS = DEPTH / 16;
constexpr int INDEX_SLOTS = 2 * STAGES;

static_assert(ROWS % WARP_ROWS == 0 && COLS % WARP_COLS == 0 && WARP_ROWS % 16 == 0 && WARP_COLS % 16 == 0, "warp tile");
static_assert(DEPTH % 16 == 0 && STEPS % WARPS_K == 0 && STAGES >= 2, "block tile");

using TileA = Tile<ROWS / 8>;
using TileB = Tile<COLS / 8>;
constexpr int A_BYTES = TileA::bytes(DEPTH);
constexpr int B_BYTES = TileB::bytes(DEPTH);
constexpr int STAGE_BYTES = A_BYTES + B_BYTES;
constexpr int FRAGMENT_FLOATS = FRAGS_M * FRAGS_N * 4;
constexpr int RING_BYTES = max_of(STAGES * STAGE_BYTES, (WARPS_K - 1) * WARPS_MN * FRAGMENT_FLOATS * 32 * 4);
constexpr int SHARED_BYTES = RING_BYTES + INDEX_SLOTS * DEPTH * 2 * 4;

extern "C" __constant__ int voxtune_launch[2] = {THREADS, SHARED_BYTES};

using PlanA = CopyPlan<TileA, DEPTH, ROWS, VEC_A, THREADS>;
using PlanB = CopyPlan<TileB, DEPTH, COLS, VEC_B, THREADS>;

// Rows of one operand for a step: channels [first, first + CHANNELS). `count`: pairs of this step
// that exist. `corner`: this thread's first channel of row 0; `left`: channels from there on.
template <typename Lines, int CHANNELS, int VEC, bool FAST, typename Plan>
__device__ __forceinline__ void copy_rows(const Plan& plan, char* stage, const Element* base, const char* corner, const int* index,
                                          int count, int first, int channels, int pitch) {
    if constexpr (FAST) {
        const uint32_t tile = shared_address(stage), numbers = shared_address(index) + plan.line * 4;
        const uint32_t row_bytes = pitch * 2;
        const int left = channels - first - plan.element, lines = count - plan.line;
        plan.each([&](int line, int element, uint32_t place) {
            int row;
            asm volatile("ld.shared.s32 %0, [%1];" : "=r"(row) : "r"(numbers + line * 4));
            const bool valid = line < lines;
            if (!valid) row = 0;
            copy_async_row<VEC * 2>(tile + place, corner + uint64_t(uint32_t(row)) * row_bytes + element * 2, left - 1 - element, valid);
        });
    } else {
#pragma unroll 1
        for (int i = threadIdx.x; i < DEPTH * (CHANNELS / 8); i += THREADS) {
            const int line = i / (CHANNELS / 8), chunk = i % (CHANNELS / 8);
            const int c = first + chunk * 8;
            const bool valid = line < count && c < channels;
            copy_elements(stage + Lines::at(line, chunk), base + (valid ? int64_t(index[line]) * pitch + c : 0),
                          valid ? channels - c : 0);
        }
    }
}

// The walk over a unit's pairs.
template <bool FAST_A, bool FAST_B>
__device__ __forceinline__ void walk(float (&acc)[FRAGS_M][FRAGS_N][4], const PairGemmParams& p, char* ring, int* index, int begin, int end,
                                     int first_in, int first_out) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int warp_k = warp / WARPS_MN, warp_m = warp % WARPS_MN / WARPS_N, warp_n = warp % WARPS_N;
    const int total = ceil_div(end - begin, DEPTH);
    auto copy_index = [&](int step, int slot) {
        const int pair = begin + step * DEPTH;
#pragma unroll
        for (int it = 0; it < ceil_div(2 * DEPTH, THREADS); ++it) {
            const int i = it * THREADS + threadIdx.x, line = i % DEPTH;
            const int* source = i < DEPTH ? p.in_rows : p.out_rows;
            if (i < 2 * DEPTH && pair + line < end) copy_async<4>(shared_address(index + slot * 2 * DEPTH + i), source + pair + line, true);
        }
    };
    for (int step = 0; step < STAGES - 1 && step < total; ++step) copy_index(step, step);
    commit_copies();
    wait_copies<0>();
    __syncthreads();

    const PlanA plan_a;
    const PlanB plan_b;
    const char* x_corner = reinterpret_cast<const char*>(p.x + first_in + plan_a.element);
    const char* g_corner = reinterpret_cast<const char*>(p.g + first_out + plan_b.element);
    pin(x_corner);
    pin(g_corner);
    // As in mask_gemm.cu: other fragments lie a fixed step or a fixed exclusive-or away.
    uint32_t a_place = TileA::at(warp_k * 16 + lane % 8 + lane / 16 * 8, warp_m * (WARP_ROWS / 8) + lane / 8 % 2);
    uint32_t b_place = A_BYTES + TileB::at(warp_k * 16 + lane % 16, warp_n * (WARP_COLS / 8) + lane / 16);
    pin(a_place);
    pin(b_place);
    int in_stage = 0, in_slot = 0, stage = 0;
    for (int step = 1 - STAGES; step < total; ++step) {
        if (step >= 0) {
            wait_copies<STAGES - 2>();
            __syncthreads();
        }
        const int next = step + STAGES - 1;
        if (next < total) {
            if (next + STAGES - 1 < total) {
                const int ahead = in_slot + STAGES - 1;
                copy_index(next + STAGES - 1, ahead < INDEX_SLOTS ? ahead : ahead - INDEX_SLOTS);
            }
            char* target = ring + in_stage * STAGE_BYTES;
            const int count = end - begin - next * DEPTH;
            const int* rows = index + in_slot * 2 * DEPTH;
            copy_rows<TileA, ROWS, VEC_A, FAST_A>(plan_a, target, p.x, x_corner, rows, count, first_in, p.c_in, p.x_pitch);
            copy_rows<TileB, COLS, VEC_B, FAST_B>(plan_b, target + A_BYTES, p.g, g_corner, rows + DEPTH, count, first_out, p.c_out, p.g_pitch);
            if (++in_stage == STAGES) in_stage = 0;
            if (++in_slot == INDEX_SLOTS) in_slot = 0;
        }
        commit_copies();
        if (step < 0) continue;
        const uint32_t base = shared_address(ring) + stage * STAGE_BYTES;
#pragma unroll
        for (int part = 0; part < STEPS / WARPS_K; ++part) {
            const uint32_t a_line = base + a_place + part * WARPS_K * 16 * TileA::PITCH * 16;
            const uint32_t b_line = base + b_place + part * WARPS_K * 16 * TileB::PITCH * 16;
            uint32_t b[FRAGS_N / 2][4];
#pragma unroll
            for (int n = 0; n < FRAGS_N / 2; ++n) ldmatrix_trans(b[n], along<TileB>(b_line, n));
#pragma unroll
            for (int m = 0; m < FRAGS_M; ++m) {
                uint32_t a[4];
                ldmatrix_trans(a, along<TileA>(a_line, m));
#pragma unroll
                for (int n = 0; n < FRAGS_N; ++n) mma(acc[m][n], a, b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
            }
        }
        if (++stage == STAGES) stage = 0;
    }
    wait_copies<0>();
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) pair_gemm(const __grid_constant__ PairGemmParams p) {
    extern __shared__ __align__(128) char shared_base[];
    char* ring = shared_base;
    int* index = reinterpret_cast<int*>(ring + RING_BYTES);  // (INDEX_SLOTS, {in, out}, DEPTH)

    // Blocks of the same unit are neighbours, so that their gathers meet in L2.
    const int col_tiles = ceil_div(p.c_out, COLS);
    const int tiles = ceil_div(p.c_in, ROWS) * col_tiles;
    const int unit = blockIdx.x / tiles;
    const int first_in = blockIdx.x % tiles / col_tiles * ROWS;
    const int first_out = blockIdx.x % tiles % col_tiles * COLS;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int warp_k = warp / WARPS_MN, warp_m = warp % WARPS_MN / WARPS_N, warp_n = warp % WARPS_N;

    int begin, end;
    p.units.range(unit, begin, end);
    float acc[FRAGS_M][FRAGS_N][4] = {};
    if (p.copies_aligned) walk<(VEC_A > 1), (VEC_B > 1)>(acc, p, ring, index, begin, end, first_in, first_out);
    else walk<false, false>(acc, p, ring, index, begin, end, first_in, first_out);

    if (WARPS_K > 1) {
        __syncthreads();
        float* meet = reinterpret_cast<float*>(ring);
        const int tile = warp % WARPS_MN;
#pragma unroll
        for (int i = 0; i < FRAGMENT_FLOATS; ++i) {
            if (warp_k > 0) meet[(((warp_k - 1) * WARPS_MN + tile) * FRAGMENT_FLOATS + i) * 32 + lane] = acc[i / (FRAGS_N * 4)][i / 4 % FRAGS_N][i % 4];
        }
        __syncthreads();
        if (warp_k > 0) return;
#pragma unroll
        for (int other = 0; other < WARPS_K - 1; ++other) {
#pragma unroll
            for (int i = 0; i < FRAGMENT_FLOATS; ++i) {
                acc[i / (FRAGS_N * 4)][i / 4 % FRAGS_N][i % 4] += meet[((other * WARPS_MN + tile) * FRAGMENT_FLOATS + i) * 32 + lane];
            }
        }
    }

    float* partial = p.partial + int64_t(unit) * p.c_in * p.c_out;
    const bool even = p.c_out % 2 == 0;
#pragma unroll
    for (int m = 0; m < FRAGS_M; ++m) {
#pragma unroll
        for (int n = 0; n < FRAGS_N; ++n) {
            const int out = first_out + warp_n * WARP_COLS + n * 8 + lane % 4 * 2;
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int in = first_in + warp_m * WARP_ROWS + m * 16 + lane / 4 + half * 8;
                if (in >= p.c_in || out >= p.c_out) continue;
                float* target = partial + int64_t(in) * p.c_out + out;
                if (even) {
                    *reinterpret_cast<float2*>(target) = make_float2(acc[m][n][half * 2], acc[m][n][half * 2 + 1]);
                } else {
                    target[0] = acc[m][n][half * 2];
                    if (out + 1 < p.c_out) target[1] = acc[m][n][half * 2 + 1];
                }
            }
        }
    }
}
