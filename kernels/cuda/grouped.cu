// grouped: products whose channels are in groups that do not meet, depthwise layers among them;
// forward, dgrad and wgrad.
//
//   forward  y[o][c]  = sum over k, d of  x[map[k][o]][own(c) + d] * w[k][d][c]
//   dgrad    dx[i][c] = sum over k, d of  g[map[k][i]][own(c) + d] * w[k'][c % inputs][own(c) + d]
//   wgrad    dw[k][d][c] = sum over pairs (i, o) of offset k of  x[i][own(c) + d] * g[o][c]
//
// where own(c) is the first channel that the group of result channel c reads, d counts those
// channels, and k' = k, or volume-1-k where the map is the forward map of a submanifold convolution
// read backwards (`mirror`).
//
// Layouts: gathered (rows, c_gathered), weights (volume, c_in / groups, c_out), result (n,
// c_result), all row-major, any base address. Rows of gathered and result lie a pitch apart,
// weights are dense. table (volume, table_pitch) holds, for position p, the gathered row or -1;
// masks say where. wgrad: pairs, units and partial results as in pair_units.cuh, a partial result
// (c_in / groups, c_out).
//
// Forward and dgrad: a block owns ROWS positions and COLS result channels, LANES threads per row,
// PIECES of WIDTH channels each. It lists each row's pairs in shared memory, out of the table
// entries that the masks name. It takes the rows by their number of pairs, so that the rows of a
// warp end together. A thread has several gathered rows in flight. A depthwise layer's weights lie
// in shared memory, as do others that are few. Nothing is reused but through L1: neighbouring rows
// gather the same ones, so blocks of many rows in the natural order read L2 least.
//
// wgrad: LANES threads per pair; a block adds up the pairs of a unit, and its threads' sums in a
// fixed order.
//
//   grouped/threads.cuh     channels and rows of a thread
//   grouped/copies.cuh      copies of a thread's part of a row
//   grouped/rows.cuh        forward and dgrad
//   grouped/shared.cuh      their shared memory
//   grouped/list_pairs.cuh  the pairs of a block's rows
//   grouped/weights.cuh     weights, from memory and from shared memory
//   grouped/sums.cuh        a row's sums
//   grouped/store.cuh       sums to the result, through the epilogue
//   grouped/pairs.cuh       wgrad
//
// Invariants
// * An absent row is never loaded, and adds nothing.
// * Every row of the result is written, with the epilogue of zeros where a row has no pair.
// * Each sum runs in a fixed order, whichever thread has it: bitwise repeatable.
//
// expected: spills on sm_100 sm_120 where VOXTUNE_DTYPE=2 DIRECTION=1 DEPTHWISE=1 COLS=64 OWNED=4 BLOCK_THREADS=128 VEC_A=4 VEC_Y=4 RUN=1 CHUNK=1 GATHERED=1 HELD=1 PIECES=1 ROWS=64 MASK_WORDS=1 IN_FLIGHT=4 MIN_BLOCKS=8: 64 registers by MIN_BLOCKS, 12 bytes at most
// Architecture: sm_80 and later; plain float32 units. Shared memory is dynamic; the host reads its
// size from voxtune_launch.
//
// Defines: VOXTUNE_DTYPE 0|1|2; DIRECTION 0 forward, 1 dgrad, 2 wgrad; DEPTHWISE 0|1; ROWS (of
// positions; half of BLOCK_THREADS or less; not in wgrad), COLS; OWNED: channels of a piece;
// PIECES: pieces per thread (1 unless DEPTHWISE); BLOCK_THREADS; MASK_WORDS (not in wgrad). VEC_A,
// VEC_Y: elements of one copy of depthwise gathered rows and of the result (g in wgrad); RUN:
// channels of a thread that are certainly of one group; CHUNK: gathered channels of a group that
// are one copy; GATHERED: all of a group, or 0 where they are counted at run time; HELD: whether
// weights lie in shared memory; IN_FLIGHT: gathered rows in flight per thread; MIN_BLOCKS: blocks
// per SM.
#if DIRECTION == 2
#include "grouped/pairs.cuh"
#else
#include "grouped/rows.cuh"
#endif
