// Rows by their coordinates: bricks of 4 x 4 x 4 cells in a hash table, and what surrounds a row.
//
// A brick's slot of an open-addressing table is one sector of 32 bytes. It has the brick's whole
// coordinates, so any int32 coordinates work and nothing depends on the hash but time. It says
// which of the 64 cells have rows, and where these begin in `ranks`, which lists rows by brick and,
// within one, by cell. So a window of 3 x 3 x 3 cells costs 3.4 look-ups on average instead of 26,
// whatever the order of the rows. Each neighbour then costs a test of a bit.
//
// Architecture: any.
#pragma once

#include "common.cuh"
#include "warp_bits.cuh"

namespace voxtune {

// A brick's key is its coordinates packed into 63 bits, if they fit. Else it is the batch and 31
// bits of a hash, with the top bit set, and the coordinates decide.
struct alignas(32) Slot {
    uint32_t key_low, key_high;  // zeros: empty
    uint32_t low, high;          // which cells have rows: bit 16 x + 4 y + z
    int first;                   // whether the brick is written, and from map_masks on the place of its rows in `ranks`
    int x, y, z;                 // of the brick: those of its cells without the last two bits
};
static_assert(sizeof(Slot) == 32, "a slot is a sector");

// A box of offsets around a row: the first one, how many along each axis. z is fastest, as in the
// weights.
struct Window {
    signed char low[3];
    unsigned char extent[3];
    unsigned char volume;
    unsigned char flip;  // whether offset k is written as volume - 1 - k
};

// ---- bricks -------------------------------------------------------------------------------------

struct Brick {
    int batch, x, y, z;
};

__device__ __forceinline__ Brick brick_of(int4 c) { return {c.x, c.y >> 2, c.z >> 2, c.w >> 2}; }
__device__ __forceinline__ bool same(Brick a, Brick b) { return a.batch == b.batch && a.x == b.x && a.y == b.y && a.z == b.z; }

constexpr int X_BITS = 18, Y_BITS = 18, Z_BITS = 14, BATCH_BITS = 13;  // x above batch, y above z
constexpr uint32_t X_HALF = 1u << (X_BITS - 1), Y_HALF = 1u << (Y_BITS - 1), Z_HALF = 1u << (Z_BITS - 1);
constexpr uint32_t STEP_X = 1u << BATCH_BITS, STEP_Y = 1u << Z_BITS;
constexpr uint32_t WIDE = 1u << 31;
static_assert(X_BITS + BATCH_BITS == 31 && Y_BITS + Z_BITS == 32, "a packed key has 63 bits");

constexpr uint32_t FACTOR_X = 0x9e3779b1u, FACTOR_Y = 0x85ebca77u, FACTOR_Z = 0xc2b2ae3du, FACTOR_BATCH = 0x27d4eb2fu;

// Linear in the coordinates, so that neighbours cost an addition.
__device__ __forceinline__ uint32_t combine(uint32_t batch, uint32_t x, uint32_t y, uint32_t z) {
    return batch * FACTOR_BATCH + x * FACTOR_X + y * FACTOR_Y + z * FACTOR_Z;
}

// Where the search for a brick begins.
__device__ __forceinline__ uint32_t home(uint32_t combined, uint32_t capacity) {
    // The finaliser of MurmurHash3 (32 bit) without its last step, which only stirs low bits.
    uint32_t h = combined ^ combined >> 16;
    h *= 0x85ebca6bu;
    h ^= h >> 13;
    h *= 0xc2b2ae35u;
    return __umulhi(h, capacity);
}
__device__ __forceinline__ uint32_t next(uint32_t at, uint32_t capacity) { return at + 1 < capacity ? at + 1 : 0; }

struct Key {
    uint32_t low, high, home;

    __device__ __forceinline__ Key(Brick brick, uint32_t capacity) {
        const uint32_t batch = brick.batch + 1, x = brick.x + X_HALF, y = brick.y + Y_HALF, z = brick.z + Z_HALF;
        const uint32_t combined = combine(batch, x, y, z);
        const bool fits = batch - 1 < (1u << BATCH_BITS) - 1 && x < 2 * X_HALF && y < 2 * Y_HALF && z < 2 * Z_HALF;
        low = fits ? y << Z_BITS | z : static_cast<uint32_t>(brick.batch);
        high = fits ? x << BATCH_BITS | batch : combined | WIDE;
        home = voxtune::home(combined, capacity);
    }
};

// {key_low, key_high, low, high}, and {first, x, y, z}.
__device__ __forceinline__ uint4 header(const Slot* slot) { return *reinterpret_cast<const uint4*>(slot); }
__device__ __forceinline__ int4 body(const Slot* slot) { return *(reinterpret_cast<const int4*>(slot) + 1); }

__device__ __forceinline__ Brick brick_in(const Slot* slot) {
    const uint4 found = header(slot);
    const int4 rest = body(slot);
    const int batch = found.y & WIDE ? found.x : (found.y & ((1u << BATCH_BITS) - 1)) - 1;
    return {batch, rest.y, rest.z, rest.w};
}

// Cells of a brick, and where its rows begin in `ranks`.
struct Cells {
    uint32_t low, high;
    int first;
};

// Those of a brick that may be in any slot; no cells if it is in none.
__device__ __forceinline__ Cells find(const Slot* slots, uint32_t capacity, Brick brick) {
    const Key key(brick, capacity);
    for (uint32_t at = key.home;; at = next(at, capacity)) {
        const uint4 found = header(slots + at);
        if (found.y == 0) return {0, 0, 0};
        if (found.x != key.low || found.y != key.high) continue;
        const int4 rest = body(slots + at);
        if (!(key.high & WIDE) || same({brick.batch, rest.y, rest.z, rest.w}, brick)) return {found.z, found.w, rest.x};
    }
}

constexpr unsigned CLAIMED = 64;  // bit of a place: this row made the slot

// The slot of a brick, made if there is none; `capacity` if none is found among so many slots.
template <uint32_t PROBES = UINT32_MAX>
__device__ __forceinline__ uint32_t claim(Slot* slots, uint32_t capacity, Brick brick, bool& made) {
    const Key key(brick, capacity);
    const unsigned long long mine = key.low | static_cast<unsigned long long>(key.high) << 32;
    uint32_t probes = 0;
    for (uint32_t at = key.home;; at = next(at, capacity)) {
        if (PROBES != UINT32_MAX && probes++ == PROBES) return capacity;
        Slot* slot = slots + at;
        auto* tag = reinterpret_cast<unsigned long long*>(slot);
        unsigned long long found = *const_cast<volatile unsigned long long*>(tag);
        if (found == 0) {
            found = atomicCAS(tag, 0, mine);
            made = found == 0;
            if (made) {
                slot->x = brick.x, slot->y = brick.y, slot->z = brick.z;
                if (key.high & WIDE) {
                    __threadfence();
                    *const_cast<volatile int*>(&slot->first) = 1;
                }
                return at;
            }
        }
        if (found != mine) continue;
        if (!(key.high & WIDE)) return at;
        while (*const_cast<volatile int*>(&slot->first) == 0) {
        }
        __threadfence();
        const volatile Slot* written = slot;
        if (same({brick.batch, written->x, written->y, written->z}, brick)) return at;
    }
}

// Gives the rows of a warp their places, row by row the lanes of a block of THREADS. Rows that lie
// in one brick send one of them: scans hold neighbours in neighbouring rows. *duplicate is set
// where two share a cell. Calls claimed(slot) for the lane that is sent: the first of those rows.
template <int THREADS, class Claimed>
__device__ __forceinline__ void insert_row(const int4* coords, int row, bool active, Slot* slots, uint32_t capacity, uint2* places, int* duplicate,
                                           Claimed claimed) {
    __shared__ uint32_t together[THREADS][2];
    const int lane = threadIdx.x % 32;
    const int4 c = active ? coords[row] : make_int4(0, 0, 0, 0);
    const Brick brick = brick_of(c);
    const unsigned cell = (c.y & 3) * 16 + (c.z & 3) * 4 + (c.w & 3);
    together[threadIdx.x][0] = 0, together[threadIdx.x][1] = 0;
    __syncwarp();
    const uint32_t running = __ballot_sync(ALL_LANES, active);
    int leader = __ffs(__match_any_sync(ALL_LANES, combine(brick.batch, brick.x, brick.y, brick.z)) & running) - 1;
    if (!active) leader = lane;
    const Brick theirs = {__shfl_sync(ALL_LANES, brick.batch, leader), __shfl_sync(ALL_LANES, brick.x, leader),
                          __shfl_sync(ALL_LANES, brick.y, leader), __shfl_sync(ALL_LANES, brick.z, leader)};
    if (!same(theirs, brick)) leader = lane;  // another brick of the same hash
    bool repeated = false;
    if (active) {
        repeated = atomicOr(&together[threadIdx.x - lane + leader][cell / 32], 1u << (cell % 32)) >> (cell % 32) & 1;
    }
    __syncwarp();
    uint32_t at = 0;
    bool made = false;
    if (active && leader == lane) {
        at = claim(slots, capacity, brick, made);
        const uint32_t low = together[threadIdx.x][0], high = together[threadIdx.x][1];
        const unsigned long long cells = low | static_cast<unsigned long long>(high) << 32;
        repeated |= (atomicOr(reinterpret_cast<unsigned long long*>(&slots[at].low), cells) & cells) != 0;
        claimed(at);
    }
    at = __shfl_sync(ALL_LANES, at, leader);
    if (repeated) *duplicate = 1;
    if (active) places[row] = make_uint2(at, cell | (made ? CLAIMED : 0));
}

// Cells along z of the bricks that a window touches, with the place in `ranks` of each brick's
// first cell among them.
template <int BRICKS>
struct Column {
    uint32_t cells;
    int base[BRICKS];
};

// Walks a window along a column: calls visit(z, whether there is a row, its place in `ranks`).
template <int BRICKS, class Visit>
__device__ __forceinline__ void walk(const Column<BRICKS>& column, int from, int extent, Visit visit) {
    int rank = column.base[0] + __popc(column.cells & ((1u << from) - 1));  // from < 4
#pragma unroll
    for (int z = 0; z < extent; ++z) {
#pragma unroll
        for (int b = 1; b < BRICKS; ++b) rank = from + z == 4 * b ? column.base[b] : rank;
        const bool present = column.cells >> (from + z) & 1;
        visit(z, present, rank);
        rank += present;
    }
}

// What an address holds, or -1. A predicate and not a branch, so that loads of many cells overlap.
__device__ __forceinline__ int load_if(bool present, const int* address) {
    int value;
    asm("{\n.reg .pred present;\nsetp.ne.s32 present, %2, 0;\nmov.s32 %0, -1;\n@present ld.global.nc.s32 %0, [%1];\n}\n"
        : "=r"(value)
        : "l"(address), "r"(int(present)));
    return value;
}

// The 32 cells of a brick of which a cell's bit is one, and where their rows begin in `ranks`.
struct Half {
    uint32_t cells;
    int base;
};

template <bool RANKS>
__device__ __forceinline__ Half half_of(Cells brick, bool upper) {
    return {upper ? brick.high : brick.low, RANKS ? brick.first + (upper ? __popc(brick.low) : 0) : 0};
}
__device__ __forceinline__ uint32_t column_cells(Half half, int shift) { return half.cells >> shift & 15; }
__device__ __forceinline__ int column_base(Half half, int shift) { return half.base + __popc(half.cells & ((1u << shift) - 1)); }

// A box of up to 3 x 3 x 3 cells around a row or elsewhere: it touches two bricks along an axis at
// most. All in registers.
template <bool RANKS>
struct Near {
    Cells brick[8];
    int x, y, z;  // where the box begins in its first brick

    // A window of 3 x 3 x 3 around a row of the same table.
    __device__ __forceinline__ Near(const Slot* slots, uint32_t capacity, uint2 place, bool active, Window) {
        const int cell = place.y % 64;
        const int from_x = (cell >> 4) - 1, from_y = (cell >> 2 & 3) - 1, from_z = (cell & 3) - 1;
        x = from_x & 3, y = from_y & 3, z = from_z & 3;
        const int own = (from_x < 0 ? 1 : 0) | (from_y < 0 ? 2 : 0) | (from_z < 0 ? 4 : 0);
        const uint4 mine = header(slots + place.x);
        // Neighbours of a brick with a packed key have one too, but at the edges of what can be
        // packed.
        const uint32_t own_x = mine.y >> BATCH_BITS, own_y = mine.x >> Z_BITS, own_z = mine.x & (2 * Z_HALF - 1);
        const bool inner = own_x - 1 < 2 * X_HALF - 2 && own_y - 1 < 2 * Y_HALF - 2 && own_z - 1 < 2 * Z_HALF - 2;
        const uint32_t corner_low = mine.x - (from_y < 0 ? STEP_Y : 0) - (from_z < 0 ? 1 : 0);
        const uint32_t corner_high = mine.y - (from_x < 0 ? STEP_X : 0);
        const auto first = [&] {
            const Brick brick = brick_in(slots + place.x);
            return Brick{brick.batch, brick.x + (from_x >> 2), brick.y + (from_y >> 2), brick.z + (from_z >> 2)};
        };
        look_up(slots, capacity, corner_low, corner_high, inner, touched(3, 3, 3), own, place.x, active, first);
    }

    // A box of `extent` cells from a cell on, whose coordinates may be past int32: no row is there.
    __device__ __forceinline__ Near(const Slot* slots, uint32_t capacity, int batch, const int64_t (&from)[3], const unsigned char (&extent)[3],
                                    bool active)
        : x(from[0] & 3), y(from[1] & 3), z(from[2] & 3) {
        const Brick corner = {batch, static_cast<int>(from[0] >> 2), static_cast<int>(from[1] >> 2), static_cast<int>(from[2] >> 2)};
        const uint32_t packed_batch = batch + 1, at_x = corner.x + X_HALF, at_y = corner.y + Y_HALF, at_z = corner.z + Z_HALF;
        const bool inner = packed_batch - 1 < (1u << BATCH_BITS) - 1 && at_x < 2 * X_HALF - 1 && at_y < 2 * Y_HALF - 1 && at_z < 2 * Z_HALF - 1;
        look_up(slots, capacity, at_y << Z_BITS | at_z, at_x << BATCH_BITS | packed_batch, inner, touched(extent[0], extent[1], extent[2]), -1, 0,
                active, [&] { return corner; });
    }

    // Bits of the axes along which the box reaches into a second brick.
    __device__ __forceinline__ int touched(int extent_x, int extent_y, int extent_z) const {
        return (x + extent_x > 4 ? 1 : 0) | (y + extent_y > 4 ? 2 : 0) | (z + extent_z > 4 ? 4 : 0);
    }

    // Finds the bricks from the one of a packed key on, along the axes of `touched`. Brick `own` is
    // known to be in slot `own_at`. Where not all keys can be packed, `first` says the coordinates.
    template <class First>
    __device__ __forceinline__ void look_up(const Slot* slots, uint32_t capacity, uint32_t corner_low, uint32_t corner_high, bool inner,
                                            int touched, int own, uint32_t own_at, bool active, First first) {
        // Bits of no brick that is needed; the fourth is one that every brick has, and no row may.
        const int unneeded = active ? 7 & ~touched : 8;
        const uint32_t combined = combine(corner_high & (STEP_X - 1), corner_high >> BATCH_BITS, corner_low >> Z_BITS, corner_low & (STEP_Y - 1));
        uint4 found[8];
        uint32_t at[8];
        // First places of all bricks at once, so that their loads overlap.
#pragma unroll
        for (int b = 0; b < 8; ++b) {
            at[b] = home(combined + (b & 1 ? FACTOR_X : 0) + (b & 2 ? FACTOR_Y : 0) + (b & 4 ? FACTOR_Z : 0), capacity);
            found[b] = make_uint4(0, 0, 0, 0);
            if (b == own) at[b] = own_at;
            if (((b | 8) & unneeded) == 0) found[b] = header(slots + at[b]);
        }
        int pending = 0;  // bricks that are not in their first place, but may be elsewhere
#pragma unroll
        for (int b = 0; b < 8; ++b) {
            const bool right =
                found[b].x == corner_low + (b & 2 ? STEP_Y : 0) + (b & 4 ? 1 : 0) && found[b].y == corner_high + (b & 1 ? STEP_X : 0);
            pending |= found[b].y != 0 && !right ? 1 << b : 0;
            brick[b] = {right ? found[b].z : 0, right ? found[b].w : 0, 0};
            if (RANKS && right) brick[b].first = slots[at[b]].first;
        }
        if (!inner && active) pending = 0xff;
        // A lane's own bricks one by one, or the warp would wait for each of eight in turn.
        while (pending != 0) {
            const int b = __ffs(pending) - 1;
            pending &= pending - 1;
            const int step_x = b & 1, step_y = b >> 1 & 1, step_z = b >> 2;
            Cells there;
            if (inner) {
                const uint32_t key_low = corner_low + step_y * STEP_Y + step_z, key_high = corner_high + step_x * STEP_X;
                uint32_t at = home(combined + step_x * FACTOR_X + step_y * FACTOR_Y + step_z * FACTOR_Z, capacity);
                uint4 met;
                do {
                    at = next(at, capacity);
                    met = header(slots + at);
                } while (met.y != 0 && (met.x != key_low || met.y != key_high));
                there = {met.z, met.w, RANKS ? slots[at].first : 0};
            } else {
                const Brick corner = first();
                there = find(slots, capacity, {corner.batch, corner.x + step_x, corner.y + step_y, corner.z + step_z});
            }
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                if (i == b) brick[i] = there;
            }
        }
    }

    // Calls visit(first offset, extent along z, first cell of the box, column) for each x and y.
    template <class Visit>
    __device__ __forceinline__ void columns_of(int extent_x, int extent_y, int extent_z, Visit visit) const {
#pragma unroll
        for (int i = 0; i < 3; ++i) {
            if (i >= extent_x) break;
            const bool second_x = x + i >= 4, upper = (x + i & 2) != 0;
            Half in_x[4];
#pragma unroll
            for (int b = 0; b < 4; ++b) in_x[b] = half_of<RANKS>(second_x ? brick[2 * b + 1] : brick[2 * b], upper);
#pragma unroll
            for (int j = 0; j < 3; ++j) {
                if (j >= extent_y) break;
                const bool second_y = y + j >= 4;
                const int shift = (x + i & 1) * 16 + (y + j & 3) * 4;
                const Half front = second_y ? in_x[1] : in_x[0], back = second_y ? in_x[3] : in_x[2];
                Column<2> column;
                column.cells = column_cells(front, shift) | column_cells(back, shift) << 4;
                if constexpr (RANKS) column.base[0] = column_base(front, shift), column.base[1] = column_base(back, shift);
                visit((i * extent_y + j) * extent_z, extent_z, z, column);
            }
        }
    }

    // The same of a window.
    template <class Visit>
    __device__ __forceinline__ void columns(Visit visit) const {
        columns_of(3, 3, 3, visit);
    }
};

// The same for any window of up to 7 cells along an axis: three bricks at most, looked up column by
// column.
template <bool RANKS>
struct Far {
    const Slot* slots;
    uint32_t capacity;
    Window window;
    Brick own;
    int cell;
    bool active;

    __device__ __forceinline__ Far(const Slot* slots, uint32_t capacity, uint2 place, bool active, Window window)
        : slots(slots), capacity(capacity), window(window), own(brick_in(slots + place.x)), cell(place.y % 64), active(active) {}

    template <class Visit>
    __device__ __forceinline__ void columns(Visit visit) const {
        const int from_z = (cell & 3) + window.low[2];
        const int bricks = ((from_z & 3) + window.extent[2] + 3) / 4;
        int k = 0;
        for (int i = 0; i < window.extent[0]; ++i) {
            for (int j = 0; j < window.extent[1]; ++j, k += window.extent[2]) {
                const int at_x = (cell >> 4) + window.low[0] + i, at_y = (cell >> 2 & 3) + window.low[1] + j;
                const int shift = (at_x & 1) * 16 + (at_y & 3) * 4;
                Column<3> column;
                column.cells = 0;
#pragma unroll
                for (int b = 0; b < 3; ++b) {
                    column.base[b] = 0;
                    if (!active || b >= bricks) continue;
                    const Cells there = find(slots, capacity, {own.batch, own.x + (at_x >> 2), own.y + (at_y >> 2), own.z + (from_z >> 2) + b});
                    const Half half = half_of<RANKS>(there, (at_x & 2) != 0);
                    column.cells |= column_cells(half, shift) << (4 * b);
                    if constexpr (RANKS) column.base[b] = column_base(half, shift);
                }
                visit(k, window.extent[2], from_z & 3, column);
            }
        }
    }
};

// A row's mask under construction.
struct Mask {
    unsigned long long low = 0, high = 0;

    __device__ __forceinline__ void put(int k, int extent, uint32_t bits) {
        if (k < 64) low |= static_cast<unsigned long long>(bits) << k;
        if (k >= 64) high |= static_cast<unsigned long long>(bits) << (k - 64);
        if (k < 64 && k + extent > 64) high |= static_cast<unsigned long long>(bits) >> (64 - k);
    }

    // Offset k becomes volume - 1 - k.
    __device__ __forceinline__ void flip(int volume) {
        const unsigned long long from_top = __brevll(low), below = __brevll(high);
        const int drop = 128 - volume;  // 3 and up
        low = drop < 64 ? below >> drop | from_top << (64 - drop) : from_top >> (drop - 64);
        high = drop < 64 ? from_top >> drop : 0;
    }

    __device__ __forceinline__ uint32_t word(int w) const { return static_cast<uint32_t>((w < 2 ? low : high) >> (w % 2 * 32)); }
};

template <class Surroundings>
__device__ __forceinline__ Mask mask_of(const Surroundings& around, Window window) {
    Mask mask;
    around.columns([&](int k, int extent, int from, auto column) {
        mask.put(k, extent, column.cells >> from & ((1u << extent) - 1));
    });
    if (window.flip) mask.flip(window.volume);
    return mask;
}

}  // namespace voxtune
