// implicit_gemm: output-stationary (forward, dgrad) and pair-list (wgrad) products on the plain
// float32 units.
//
// Takes any storage type, any channels and any base address: the default for float32 and for odd
// channels. Layouts as in mask_gemm.cu (forward, dgrad; natural row order only) and pair_gemm.cu
// (wgrad).
//
// A block owns ROWS x COLS results; each of its THREADS owns TM x 4 of them. Operands are widened
// to float32 on their way into shared memory, double-buffered through registers, one barrier a
// step. The flat list of (offset, DEPTH channels) is walked as in mask_gemm.cu.
//
// Architecture: any. Static shared memory.
//
// Defines: VOXTUNE_DTYPE 0|1|2; DIRECTION 0 forward, 1 dgrad, 2 wgrad; ROWS, COLS, DEPTH, TM;
// MASK_WORDS (forward, dgrad); VEC_A, VEC_B: elements of one load of the gathered rows (x in wgrad)
// and of the weights (g in wgrad): 4, 2 or 1.
// expected: spills on sm_80 sm_86 sm_89 where DIRECTION=1 ROWS=128 COLS=64 DEPTH=16 MASK_WORDS=1 VEC_A=4 VEC_B=4: nvcc's own choice of 128 registers
// expected: spills on sm_80 where DIRECTION=2 ROWS=32 COLS=32 DEPTH=16 MASK_WORDS=1 VEC_A=4 VEC_B=4: nvcc's own choice of 64 registers; 32 bytes in all
#include "pair_units.cuh"
#include "tile_gemm.cuh"

using namespace voxtune;

constexpr int TN = 4;
constexpr int ROW_THREADS = ROWS / TM;
constexpr int COL_THREADS = COLS / TN;
constexpr int THREADS = ROW_THREADS * COL_THREADS;
static_assert(TM % 4 == 0 && ROWS % TM == 0 && COLS % TN == 0 && DEPTH % 4 == 0 && THREADS % 32 == 0, "block tile");

extern "C" __constant__ int voxtune_launch[2] = {THREADS, 0};

// VEC elements widened to float32; elementwise where the base is not aligned.
template <int VEC>
__device__ __forceinline__ void load(float (&out)[VEC], const Element* source, bool valid, bool aligned) {
    struct alignas(VEC * sizeof(Element)) Pack {
        Element e[VEC];
    };
    if (!valid) {
#pragma unroll
        for (int i = 0; i < VEC; ++i) out[i] = 0;
    } else if (VEC > 1 && aligned) {
        const Pack pack = *reinterpret_cast<const Pack*>(source);
#pragma unroll
        for (int i = 0; i < VEC; ++i) out[i] = Dtype::load(pack.e[i]);
    } else {
#pragma unroll
        for (int i = 0; i < VEC; ++i) out[i] = Dtype::load(source[i]);
    }
}

#if DIRECTION != 2

constexpr int A_PITCH = DEPTH + 4;  // floats; distinct bank groups for the rows that a warp reads together
constexpr int A_LOADS = ceil_div(ROWS * DEPTH / VEC_A, THREADS);
constexpr int B_LOADS = ceil_div(DEPTH * COLS / VEC_B, THREADS);

extern "C" __global__ void __launch_bounds__(THREADS) implicit_gemm(const __grid_constant__ TileGemmParams p) {
    __shared__ alignas(16) float a_tile[2][ROWS][A_PITCH];
    __shared__ alignas(16) float b_tile[2][DEPTH][COLS];
    __shared__ uint32_t united[MASK_WORDS];
    __shared__ uint8_t list[128];
    __shared__ int listed;

    constexpr bool dgrad = DIRECTION == 1;
    const int c_gathered = dgrad ? p.c_out : p.c_in;
    const int c_result = dgrad ? p.c_in : p.c_out;
    const int col_tiles = ceil_div(c_result, COLS);
    const int first = blockIdx.x / col_tiles * ROWS;
    const int column = blockIdx.x % col_tiles * COLS;

    const int n = p.rows.load();
    if (first >= n) return;

    if (threadIdx.x < MASK_WORDS) united[threadIdx.x] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < ROWS * MASK_WORDS; i += THREADS) {
        const int64_t at = int64_t(first) * MASK_WORDS + i;
        if (at < int64_t(n) * MASK_WORDS) atomicOr(united + i % MASK_WORDS, __ldg(p.masks + at));
    }
    __syncthreads();
    if (threadIdx.x < 32) {
        const int count = list_offsets<MASK_WORDS>(united, list);
        if (threadIdx.x == 0) listed = count;
    }
    __syncthreads();

    const int blocks_k = ceil_div(c_gathered, DEPTH);
    const int total = listed * blocks_k;
    float a_next[A_LOADS][VEC_A], b_next[B_LOADS][VEC_B];
    int ordinal = 0, block = 0;
    auto fetch = [&]() {
        const int offset = list[ordinal];
        const int channel = block * DEPTH;
        const int* index = p.table + int64_t(offset) * p.table_pitch + first;
#pragma unroll
        for (int l = 0; l < A_LOADS; ++l) {
            const int i = l * THREADS + threadIdx.x;
            const int row = i / (DEPTH / VEC_A), c = channel + i % (DEPTH / VEC_A) * VEC_A;
            const bool inside = row < ROWS && first + row < n && c < c_gathered;
            const int source = inside ? __ldg(index + row) : -1;
            load<VEC_A>(a_next[l], p.gathered + int64_t(max(source, 0)) * p.gathered_pitch + c, source >= 0, p.copies_aligned);
        }
        const Element* w = p.weights + int64_t(p.mirror ? p.volume - 1 - offset : offset) * p.c_in * p.c_out;
#pragma unroll
        for (int l = 0; l < B_LOADS; ++l) {
            const int i = l * THREADS + threadIdx.x;
            // Along c_out, which is contiguous: result columns forward, gathered channels in dgrad.
            constexpr int along = (dgrad ? DEPTH : COLS) / VEC_B;
            const int line = i / along, part = i % along * VEC_B;
            const int in = (dgrad ? column : channel) + line, out = (dgrad ? channel : column) + part;
            const bool inside = i < DEPTH * COLS / VEC_B && in < p.c_in && out < p.c_out;
            load<VEC_B>(b_next[l], w + int64_t(in) * p.c_out + out, inside, p.copies_aligned);
        }
        if (++block == blocks_k) {
            block = 0;
            ++ordinal;
        }
    };
    auto deposit = [&](int buffer) {
#pragma unroll
        for (int l = 0; l < A_LOADS; ++l) {
            const int i = l * THREADS + threadIdx.x;
            const int row = i / (DEPTH / VEC_A), c = i % (DEPTH / VEC_A) * VEC_A;
            if (row < ROWS) {
#pragma unroll
                for (int e = 0; e < VEC_A; ++e) a_tile[buffer][row][c + e] = a_next[l][e];
            }
        }
#pragma unroll
        for (int l = 0; l < B_LOADS; ++l) {
            const int i = l * THREADS + threadIdx.x;
            constexpr int along = (dgrad ? DEPTH : COLS) / VEC_B;
            const int line = i / along, part = i % along * VEC_B;
            if (i < DEPTH * COLS / VEC_B) {
#pragma unroll
                for (int e = 0; e < VEC_B; ++e) {
                    if (dgrad) b_tile[buffer][part + e][line] = b_next[l][e];
                    else b_tile[buffer][line][part + e] = b_next[l][e];
                }
            }
        }
    };

    const int tx = threadIdx.x % COL_THREADS, ty = threadIdx.x / COL_THREADS;
    // Each offset is summed by itself and then added: one running sum of volume * c_gathered terms
    // would lose a float32 result's last digits.
    float acc[TM][TN] = {}, of_offset[TM][TN] = {};
    if (total > 0) {
        fetch();
        deposit(0);
    }
    __syncthreads();
    for (int step = 0, in_offset = 0; step < total; ++step) {
        const int buffer = step % 2;
        if (step + 1 < total) fetch();
#pragma unroll
        for (int d = 0; d < DEPTH; d += 4) {
            float b[4][TN];
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                *reinterpret_cast<float4*>(b[e]) = *reinterpret_cast<const float4*>(&b_tile[buffer][d + e][tx * TN]);
            }
#pragma unroll
            for (int i = 0; i < TM; ++i) {
                float a[4];
                *reinterpret_cast<float4*>(a) = *reinterpret_cast<const float4*>(&a_tile[buffer][i * ROW_THREADS + ty][d]);
#pragma unroll
                for (int e = 0; e < 4; ++e) {
#pragma unroll
                    for (int j = 0; j < TN; ++j) of_offset[i][j] = fmaf(a[e], b[e][j], of_offset[i][j]);
                }
            }
        }
        if (++in_offset == blocks_k) {
            in_offset = 0;
#pragma unroll
            for (int i = 0; i < TM; ++i) {
#pragma unroll
                for (int j = 0; j < TN; ++j) {
                    acc[i][j] += of_offset[i][j];
                    of_offset[i][j] = 0.0f;
                }
            }
        }
        if (step + 1 < total) deposit(1 - buffer);
        __syncthreads();
    }

    if (!dgrad && p.epilogue.present) {
        const int c = column + tx * TN;
        Affine affine[TN];
#pragma unroll
        for (int j = 0; j < TN; ++j) affine[j] = c + j < c_result ? p.epilogue.affine(c + j) : Affine{};
#pragma unroll
        for (int i = 0; i < TM; ++i) {
            const int row = first + i * ROW_THREADS + ty;
            const Element* added = p.epilogue.residual + int64_t(row) * p.epilogue.residual_pitch + c;
#pragma unroll
            for (int j = 0; j < TN; ++j) {
                const bool inside = p.epilogue.residual && row < n && c + j < c_result;
                acc[i][j] = p.epilogue.apply(acc[i][j], affine[j], inside ? Dtype::load(added[j]) : 0.0f);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < TM; ++i) {
        const int row = first + i * ROW_THREADS + ty;
        if (row >= n) continue;
        Element* target = p.result + int64_t(row) * p.result_pitch;
#pragma unroll
        for (int j = 0; j < TN; ++j) {
            const int c = column + tx * TN + j;
            if (c < c_result) target[c] = Dtype::store(acc[i][j]);
        }
    }
}

#else

constexpr int X_LOADS = ceil_div(DEPTH * ROWS / VEC_A, THREADS);
constexpr int G_LOADS = ceil_div(DEPTH * COLS / VEC_B, THREADS);

extern "C" __global__ void __launch_bounds__(THREADS) implicit_gemm(const __grid_constant__ PairGemmParams p) {
    __shared__ alignas(16) float x_tile[2][DEPTH][ROWS];
    __shared__ alignas(16) float g_tile[2][DEPTH][COLS];
    const int col_tiles = ceil_div(p.c_out, COLS);
    const int tiles = ceil_div(p.c_in, ROWS) * col_tiles;
    const int unit = blockIdx.x / tiles;
    const int first_in = blockIdx.x % tiles / col_tiles * ROWS;
    const int first_out = blockIdx.x % tiles % col_tiles * COLS;
    int begin, end;
    p.units.range(unit, begin, end);

    float x_next[X_LOADS][VEC_A], g_next[G_LOADS][VEC_B];
    auto fetch = [&](int pair) {
#pragma unroll
        for (int l = 0; l < X_LOADS; ++l) {
            const int i = l * THREADS + threadIdx.x;
            const int line = i / (ROWS / VEC_A), c = first_in + i % (ROWS / VEC_A) * VEC_A;
            const bool inside = line < DEPTH && pair + line < end && c < p.c_in;
            const int row = inside ? __ldg(p.in_rows + pair + line) : 0;
            load<VEC_A>(x_next[l], p.x + int64_t(row) * p.x_pitch + c, inside, p.copies_aligned);
        }
#pragma unroll
        for (int l = 0; l < G_LOADS; ++l) {
            const int i = l * THREADS + threadIdx.x;
            const int line = i / (COLS / VEC_B), c = first_out + i % (COLS / VEC_B) * VEC_B;
            const bool inside = line < DEPTH && pair + line < end && c < p.c_out;
            const int row = inside ? __ldg(p.out_rows + pair + line) : 0;
            load<VEC_B>(g_next[l], p.g + int64_t(row) * p.g_pitch + c, inside, p.copies_aligned);
        }
    };
    auto deposit = [&](int buffer) {
#pragma unroll
        for (int l = 0; l < X_LOADS; ++l) {
            const int i = l * THREADS + threadIdx.x;
            if (i < DEPTH * ROWS / VEC_A) {
#pragma unroll
                for (int e = 0; e < VEC_A; ++e) x_tile[buffer][i / (ROWS / VEC_A)][i % (ROWS / VEC_A) * VEC_A + e] = x_next[l][e];
            }
        }
#pragma unroll
        for (int l = 0; l < G_LOADS; ++l) {
            const int i = l * THREADS + threadIdx.x;
            if (i < DEPTH * COLS / VEC_B) {
#pragma unroll
                for (int e = 0; e < VEC_B; ++e) g_tile[buffer][i / (COLS / VEC_B)][i % (COLS / VEC_B) * VEC_B + e] = g_next[l][e];
            }
        }
    };

    const int tx = threadIdx.x % COL_THREADS, ty = threadIdx.x / COL_THREADS;
    float acc[TM][TN] = {};
    fetch(begin);
    deposit(0);
    __syncthreads();
    int buffer = 0;
    for (int pair = begin; pair < end; pair += DEPTH) {
        if (pair + DEPTH < end) fetch(pair + DEPTH);
#pragma unroll
        for (int d = 0; d < DEPTH; ++d) {
            float x[TM], g[TN];
#pragma unroll
            for (int i = 0; i < TM; i += 4) {
                // Four consecutive channels of each group of ROWS / (TM / 4), so that a warp's
                // reads are contiguous.
                *reinterpret_cast<float4*>(x + i) =
                    *reinterpret_cast<const float4*>(&x_tile[buffer][d][i / 4 * (ROW_THREADS * 4) + ty * 4]);
            }
            *reinterpret_cast<float4*>(g) = *reinterpret_cast<const float4*>(&g_tile[buffer][d][tx * TN]);
#pragma unroll
            for (int i = 0; i < TM; ++i) {
#pragma unroll
                for (int j = 0; j < TN; ++j) acc[i][j] = fmaf(x[i], g[j], acc[i][j]);
            }
        }
        if (pair + DEPTH < end) deposit(1 - buffer);
        __syncthreads();
        buffer = 1 - buffer;
    }

    float* partial = p.partial + int64_t(unit) * p.c_in * p.c_out;
#pragma unroll
    for (int i = 0; i < TM; ++i) {
        const int in = first_in + i / 4 * (ROW_THREADS * 4) + ty * 4 + i % 4;
        if (in >= p.c_in) continue;
#pragma unroll
        for (int j = 0; j < TN; ++j) {
            const int out = first_out + tx * TN + j;
            if (out < p.c_out) partial[int64_t(in) * p.c_out + out] = acc[i][j];
        }
    }
}

#endif
