// Sums of cluster_gemm to rows of the result: each part's to its own shared memory, then a share of
// the rows each, added over the parts in order and stored through the epilogue.
//
// Layouts. Line l of a block's strips is line l % LINES of warp l / LINES: sixteen rows of each
// fragment. A part's share is ROWS / parts lines, of which each warp takes a quarter; of a whole tile
// these are the lines that the warp has written.
//
// Invariants
// * `written` completes once for each tile in parts that this block has a part of, when all of its
//   parts have written their sums; `read`, when they have read this block's.
// * Sums are rounded to the storage type once, after everything is added.
//
// Architecture: sm_90a.
#pragma once

#include "../wgmma_gemm_multiply.cuh"
#include "places.cuh"

namespace voxtune {

struct Adder {
    static constexpr int LINES = FRAGS_M * 16;                        // of a warp
    static constexpr int CHUNKS = COLS / 8, LINES_A_PASS = 32 / CHUNKS;  // eight columns a lane
    static constexpr int PASSES = ceil_div(LINES, LINES_A_PASS);
    static constexpr int AHEAD = PASSES < 4 ? PASSES : 4;             // whose residuals are asked for together

    const TileGemmParams& p;
    const uint32_t base;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    const int rank = blockIdx.x % CLUSTER;
    const int c_result;
    int parity = 0;      // of the next tile in parts, at both barriers
    bool lent = false;   // whether others may still read this block's sums

    __device__ __forceinline__ Adder(const TileGemmParams& p, char* shared)
        : p(p), base(shared_address(shared)), c_result(DGRAD ? p.c_in : p.c_out) {
        if (DGRAD || !p.epilogue.present) return;
        float* affine = reinterpret_cast<float*>(shared + AFFINE_AT);
        for (int i = threadIdx.x - GATHER_THREADS; i < COLS; i += 128) {
            const int channel = blockIdx.y * COLS + i;
            const Affine of = channel < c_result ? p.epilogue.affine(channel) : Affine{};
            affine[i] = of.scale;
            affine[COLS + i] = of.bias;
        }
        asm volatile("bar.sync 2, 128;\n" ::: "memory");
    }

    static __device__ __forceinline__ int row_of_line(int line) {
        return FRAGS_M == 1 ? line : line % LINES / 16 * 64 + line / LINES * 16 + line % 16;
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

    // Eight elements at once, or one by one.
    static __device__ __forceinline__ uint4 load_elements(const Element* from, bool aligned) {
        if (aligned) return *reinterpret_cast<const uint4*>(from);
        const auto* bits = reinterpret_cast<const unsigned short*>(from);
        uint32_t words[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) words[i] = bits[2 * i] | uint32_t(bits[2 * i + 1]) << 16;
        return make_uint4(words[0], words[1], words[2], words[3]);
    }
    static __device__ __forceinline__ void store_elements(Element* to, const uint4& eight, bool aligned) {
        if (aligned) {
            *reinterpret_cast<uint4*>(to) = eight;
            return;
        }
        auto* bits = reinterpret_cast<unsigned short*>(to);
        const uint32_t words[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
        for (int e = 0; e < 8; ++e) bits[e] = static_cast<unsigned short>(words[e / 2] >> e % 2 * 16);
    }

    // Four elements at once, or one by one; the second four only where there are so many.
    static __device__ __forceinline__ void store_fours(Element* to, const uint4& eight, bool both, bool aligned) {
        const uint32_t words[4] = {eight.x, eight.y, eight.z, eight.w};
        auto* bits = reinterpret_cast<unsigned short*>(to);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            if (half == 1 && !both) break;
            if (aligned) reinterpret_cast<uint2*>(to)[half] = make_uint2(words[2 * half], words[2 * half + 1]);
#pragma unroll
            for (int e = half * 4; e < half * 4 + 4 && !aligned; ++e) bits[e] = static_cast<unsigned short>(words[e / 2] >> e % 2 * 16);
        }
    }

    __device__ __forceinline__ void finish(float (&sums)[8], const uint4& residual) const {
        const uint32_t affine = base + AFFINE_AT + lane % CHUNKS * 32;
        const Elements<8> added = {{residual.x, residual.y, residual.z, residual.w}};
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const float4 scale = load_floats(affine + half * 16), bias = load_floats(affine + COLS * 4 + half * 16);
            float* four = sums + half * 4;
            four[0] = p.epilogue.apply(four[0], {scale.x, bias.x}, added.at(half * 4));
            four[1] = p.epilogue.apply(four[1], {scale.y, bias.y}, added.at(half * 4 + 1));
            four[2] = p.epilogue.apply(four[2], {scale.z, bias.z}, added.at(half * 4 + 2));
            four[3] = p.epilogue.apply(four[3], {scale.w, bias.w}, added.at(half * 4 + 3));
        }
    }

    // The sums of one item to the result. `own_row` is row_of_lane's.
    __device__ __forceinline__ void add(const float (&acc)[FRAGS_M][COLS / 2], int place, int own_row) {
        const int log_parts = log_parts_in(place), count = lines(place);
        if (SUMS_IN_RING) asm volatile("bar.sync 2, 128;\n" ::: "memory");  // all warps' products have read the stages
        else take_back();
        __syncwarp();
        write(acc);
        if (log_parts > 0) tell(WRITTEN_AT, place);
        else __syncwarp();
        const int own_line = lane / CHUNKS, column = lane % CHUNKS * 8, channel = blockIdx.y * COLS + column;
        const bool inside = lane < LINES_A_PASS * CHUNKS && channel < c_result;
        const bool finished = !DGRAD && p.epilogue.present, added = finished && p.epilogue.residual;
        const bool aligned = added && p.epilogue.is_aligned<8>();
        const uint32_t sums_at = base + STRIPS_AT + (first_line(place) * STRIP_PITCH + column) * 4;
        const int first_rank = rank - part_of(place);
        bool waited = log_parts == 0;
#pragma unroll 1
        for (int start = 0; start < count; start += AHEAD * LINES_A_PASS) {
            int rows[AHEAD];
            uint4 residuals[AHEAD];
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                const int line = start + i * LINES_A_PASS + own_line;
                const int row = __shfl_sync(0xffffffffu, own_row, line % 32);
                rows[i] = inside && line < count ? row : -1;
                residuals[i] = make_uint4(0, 0, 0, 0);
                if (added && rows[i] >= 0) residuals[i] = load_elements(p.epilogue.residual + int64_t(rows[i]) * p.epilogue.residual_pitch + channel, aligned);
            }
            if (!waited) wait_for_cluster(base + WRITTEN_AT, parity);
            waited = true;
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                if (rows[i] < 0) continue;
                const uint32_t own = sums_at + (start + i * LINES_A_PASS + own_line) * (STRIP_PITCH * 4);
                float sums[8] = {};
#pragma unroll 1
                for (int s = 0; s < 1 << log_parts; ++s) {
                    const uint32_t at = place_in(own, first_rank + s);
                    const float4 low = load_from_cluster(at), high = load_from_cluster(at + 16);
                    sums[0] += low.x, sums[1] += low.y, sums[2] += low.z, sums[3] += low.w;
                    sums[4] += high.x, sums[5] += high.y, sums[6] += high.z, sums[7] += high.w;
                }
                if (finished) finish(sums, residuals[i]);
                const uint4 eight = make_uint4(pack(sums[0], sums[1]), pack(sums[2], sums[3]), pack(sums[4], sums[5]), pack(sums[6], sums[7]));
                Element* to = p.result + int64_t(rows[i]) * p.result_pitch + channel;
                if (DGRAD && FOURS) store_fours(to, eight, c_result - channel > 4, p.result_aligned);
                else store_elements(to, eight, p.result_aligned);
            }
        }
        if (log_parts > 0) {
            tell(READ_AT, place);
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
