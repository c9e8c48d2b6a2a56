// Sums of cluster_gemm to rows of the result: each part's to its own shared memory, then a share of
// the rows each, added over the parts in order and stored through the epilogue.
//
// Layouts. Line l of a block's strips is line l % LINES of warp l / LINES: sixteen rows of each
// fragment. A part's share is ROWS / parts lines, of which each warp takes its share; of a whole
// tile these are the lines that the warp has written.
//
// Invariants
// * `written` completes once for each tile in parts that this block has a part of, when all of its
//   parts have written their sums; `read`, when they have read this block's.
// * Sums are rounded to the storage type once, after everything is added.
//
// Architecture: sm_90a.
#pragma once

#include "multiply.cuh"
#include "places.cuh"

namespace voxtune {

struct Adder {
    static constexpr int LINES = FRAGS_M * 16;  // of a warp
    // A lane takes four columns at a time, its neighbour the next four: other blocks' shared memory
    // is read a sector of 32 bytes at a time.
    static constexpr int PIECES = COLS / 4;
    static constexpr int PASSES = ceil_div(LINES * PIECES, 32);
    static constexpr int MOST_AHEAD = MIN_BLOCKS < 3 ? 8 : 4;                // by registers
    static constexpr int AHEAD = PASSES < MOST_AHEAD ? PASSES : MOST_AHEAD;  // pieces of a lane that are asked for together

    const TileGemmParams& p;
    const uint32_t base;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 - GATHER_WARPS;
    const int rank = blockIdx.x % CLUSTER;
    const int c_result;
    int parity = 0;      // of the next tile in parts, at both barriers
    bool lent = false;   // whether others may still read this block's sums

    __device__ __forceinline__ Adder(const TileGemmParams& p, char* shared)
        : p(p), base(shared_address(shared)), c_result(DGRAD ? p.c_in : p.c_out) {
        if (DGRAD || !p.epilogue.present) return;
        float* affine = reinterpret_cast<float*>(shared + AFFINE_AT);
        for (int i = threadIdx.x - GATHER_THREADS; i < COLS; i += MULTIPLY_THREADS) {
            const int channel = blockIdx.y * COLS + i;
            const Affine of = channel < c_result ? p.epilogue.affine(channel) : Affine{};
            affine[i] = of.scale;
            affine[COLS + i] = of.bias;
        }
        wait_multiplying_warps();
    }

    static __device__ __forceinline__ int row_of_line(int line) {
        const int of = line / LINES;  // its warp
        return FRAGS_M == 1 ? line : of / 4 * (FRAGS_M * 64) + line % LINES / 16 * 64 + of % 4 * 16 + line % 16;
    }
    // Lines of this warp's share, and the first.
    __device__ __forceinline__ int lines(int place) const { return LINES >> log_parts_in(place); }
    __device__ __forceinline__ int first_line(int place) const {
        return part_of(place) * (ROWS >> log_parts_in(place)) + warp * lines(place);
    }

    // Where the line of this lane goes, of those that the warp will store; negative for nowhere.
    // Asked for long before it is needed.
    __device__ __forceinline__ int row_of_lane(int place, int n) const {
        const int position = tile_of(place) * ROWS + row_of_line(first_line(place) + lane);
        if (lane >= lines(place) || position >= n) return -1;
        return p.row_of_position ? __ldg(p.row_of_position + position) : position;
    }

    // Tells the blocks of a tile's parts.
    __device__ __forceinline__ void tell(uint32_t barrier, int place) const {
        __syncwarp();
        const int log_parts = log_parts_in(place), first = rank - part_of(place);
        if (lane < RELEASING_LANES) {
            fence_cluster();
#pragma unroll 1
            for (int s = 0; s < 1 << log_parts; ++s) arrive_in_cluster(place_in(base + barrier, first + s), CLUSTER >> log_parts);
        }
    }

    __device__ __forceinline__ void take_back() {
        if (!lent) return;
        wait_for_cluster(base + READ_AT, parity ^ 1);
        lent = false;
    }

    __device__ __forceinline__ void write(const float (&acc)[FRAGS_M][COLS / 2]) const {
#pragma unroll
        for (int m = 0; m < FRAGS_M; ++m) {
            const uint32_t upper = base + STRIPS_AT + ((warp * LINES + m * 16 + lane / 4) * STRIP_PITCH + lane % 4 * 2) * 4;
#pragma unroll
            for (int f = 0; f < COLS / 8; ++f) {
                asm volatile("st.shared.v2.f32 [%0], {%1, %2};\n" ::"r"(upper + f * 32), "f"(acc[m][f * 4]), "f"(acc[m][f * 4 + 1]) : "memory");
                asm volatile("st.shared.v2.f32 [%0], {%1, %2};\n" ::"r"(upper + 8 * STRIP_PITCH * 4 + f * 32), "f"(acc[m][f * 4 + 2]),
                             "f"(acc[m][f * 4 + 3])
                             : "memory");
            }
        }
    }

    // Four elements at once, or one by one.
    static __device__ __forceinline__ uint2 load_elements(const Element* from, bool aligned) {
        if (aligned) return *reinterpret_cast<const uint2*>(from);
        const auto* bits = reinterpret_cast<const unsigned short*>(from);
        return make_uint2(bits[0] | uint32_t(bits[1]) << 16, bits[2] | uint32_t(bits[3]) << 16);
    }
    static __device__ __forceinline__ void store_elements(Element* to, const uint2& four, bool aligned) {
        if (aligned) {
            *reinterpret_cast<uint2*>(to) = four;
            return;
        }
        auto* bits = reinterpret_cast<unsigned short*>(to);
        bits[0] = static_cast<unsigned short>(four.x), bits[1] = static_cast<unsigned short>(four.x >> 16);
        bits[2] = static_cast<unsigned short>(four.y), bits[3] = static_cast<unsigned short>(four.y >> 16);
    }

    __device__ __forceinline__ void finish(float4& sums, int column, const uint2& residual) const {
        const float4 scale = load_floats(base + AFFINE_AT + column * 4), bias = load_floats(base + AFFINE_AT + (COLS + column) * 4);
        const Elements<4> added = {{residual.x, residual.y}};
        sums.x = p.epilogue.apply(sums.x, {scale.x, bias.x}, added.at(0));
        sums.y = p.epilogue.apply(sums.y, {scale.y, bias.y}, added.at(1));
        sums.z = p.epilogue.apply(sums.z, {scale.z, bias.z}, added.at(2));
        sums.w = p.epilogue.apply(sums.w, {scale.w, bias.w}, added.at(3));
    }

    // Adds one part's sums of the pieces that this lane stores together. All are asked for before
    // any is used.
    __device__ __forceinline__ void add_part(float4 (&sums)[AHEAD], const uint32_t (&pieces)[AHEAD], int of) const {
        float4 own[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) own[i] = of == rank ? load_floats(pieces[i]) : load_from_cluster(place_in(pieces[i], of));
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) sums[i].x += own[i].x, sums[i].y += own[i].y, sums[i].z += own[i].z, sums[i].w += own[i].w;
    }

    // The sums of one item to the result. `own_row` is row_of_lane's.
    __device__ __forceinline__ void add(const float (&acc)[FRAGS_M][COLS / 2], int place, int own_row) {
        const int log_parts = log_parts_in(place), count = lines(place) * PIECES;
        if (SUMS_IN_RING) wait_multiplying_warps();  // all warps' products have read the stages
        else take_back();
        __syncwarp();
        write(acc);
        if (log_parts > 0) tell(WRITTEN_AT, place);
        else __syncwarp();
        const bool finished = !DGRAD && p.epilogue.present, added = finished && p.epilogue.residual;
        const bool aligned = added && p.epilogue.is_aligned<4>();
        const uint32_t sums_at = base + STRIPS_AT + first_line(place) * (STRIP_PITCH * 4);
        const int first_rank = rank - part_of(place);
        bool waited = log_parts == 0;
#pragma unroll 1
        for (int start = lane; start - lane < count; start += AHEAD * 32) {
            int rows[AHEAD];
            uint32_t pieces[AHEAD];
            uint2 residuals[AHEAD];
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                // Pieces past the last are copies of it, which go nowhere.
                const int piece = min(start + i * 32, count - 1), line = piece / PIECES, column = piece % PIECES * 4;
                const int row = __shfl_sync(0xffffffffu, own_row, line);
                rows[i] = start + i * 32 < count && blockIdx.y * COLS + column < c_result ? row : -1;
                pieces[i] = sums_at + line * (STRIP_PITCH * 4) + column * 4;
                residuals[i] = make_uint2(0, 0);
                if (added && rows[i] >= 0) {
                    const Element* from = p.epilogue.residual + int64_t(rows[i]) * p.epilogue.residual_pitch + blockIdx.y * COLS + column;
                    residuals[i] = load_elements(from, aligned);
                }
            }
            if (!waited) wait_for_cluster(base + WRITTEN_AT, parity);
            waited = true;
            float4 sums[AHEAD] = {};
#pragma unroll 1
            for (int s = 0; s < 1 << log_parts; ++s) add_part(sums, pieces, first_rank + s);
            // Told before these are stored: a fence waits for stores.
            if (log_parts > 0 && start - lane + AHEAD * 32 >= count) tell(READ_AT, place);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                if (rows[i] < 0) continue;
                const int column = min(start + i * 32, count - 1) % PIECES * 4;
                if (finished) finish(sums[i], column, residuals[i]);
                Element* to = p.result + int64_t(rows[i]) * p.result_pitch + blockIdx.y * COLS + column;
                store_elements(to, make_uint2(pack(sums[i].x, sums[i].y), pack(sums[i].z, sums[i].w)), p.result_aligned);
            }
        }
        if (log_parts > 0) {
            lent = true;
            parity ^= 1;
        }
        if (!SUMS_IN_RING) return;
        take_back();
        fence_proxy_async();  // sums before weights that the TMA brings
        __syncwarp();
        if (lane < RELEASING_LANES) barrier_arrive(base + FREE_AT);
    }

    // Before the block ends.
    __device__ __forceinline__ void end() { take_back(); }
};

}  // namespace voxtune
