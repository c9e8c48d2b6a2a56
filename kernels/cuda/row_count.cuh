// How many rows a kernel works on.
#pragma once

namespace voxtune {

// How many rows there are. Where the host does not know, an earlier kernel has written the count,
// and launches and buffers are sized by a capacity. Blocks past the count end at once. Rows from
// the count to the capacity are left as they are or overwritten with anything.
//
// Mirrored by the host.
struct RowCount {
    const int* counted;  // null: there are as many as the capacity
    int capacity;

    __device__ __forceinline__ int load() const { return counted ? min(__ldg(counted), capacity) : capacity; }
};

}  // namespace voxtune
