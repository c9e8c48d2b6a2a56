// What the output-stationary tensor-core families are launched with.
//
// Architecture: sm_80 and later. Mirrored by the host, field by field.
#pragma once

#include "epilogue.cuh"

namespace voxtune {

struct TileGemmParams {
    const Element* gathered;     // (rows, c_gathered), rows gathered_pitch elements apart
    const Element* weights;      // (volume, c_in, c_out)
    Element* result;             // (n, c_result), rows result_pitch elements apart
    const int* table;            // (volume, table_pitch): the row gathered at a position, or -1
    const uint32_t* masks;       // (n, MASK_WORDS): the offsets of a position
    const int* row_of_position;  // (n): where a position's result goes; null: to its own row
    int* scheduler;              // of wgmma_gemm alone: see wgmma_gemm_tiles.cuh
    int64_t table_pitch;
    RowCount rows;  // n
    int gathered_pitch;
    int result_pitch;
    int c_in;
    int c_out;
    int volume;
    int mirror;          // whether weights are taken in mirrored order
    int copies_aligned;  // whether gathered and weights are aligned to their copies
    int result_aligned;
    Epilogue epilogue;  // of forward alone
};

}  // namespace voxtune
