// What layers do to features beside convolutions, forward and backward: affine maps with
// activations, normalisations, sums of columns, pooling, gathering, dense grids. A file an idea.
//
// Layouts: features are (rows, channels) of the storage type, rows any pitch apart, at any address
// that fits one element. Accesses are 16 bytes wide where address, pitch and channels are multiples
// of that. Numbers of channels are dense float32, or null where neutral. A table of a kernel map is
// (volume, pitch) int32, -1 where no row is; a negative pitch walks its offsets backwards.
//
// Arithmetic is float32, multiplications and additions apart, so that the host computes the same.
// Every sum has an order that sizes alone decide: runs repeat to the bit.
//
// Architecture: any. 256 threads per block, any number of blocks but where it says otherwise.
// Parameters: VOXTUNE_DTYPE.
// expected: spills on sm_80 sm_100 where VOXTUNE_DTYPE=2: layer norms or the gradient of map averages, nvcc's own choice of registers, 44 bytes at most
// expected: spills on sm_100 where VOXTUNE_DTYPE=0: the gradient of layer norms, nvcc's own choice of registers, 16 bytes
// expected: spills on sm_100 where VOXTUNE_DTYPE=1: the gradient of layer norms, nvcc's own choice of registers, 16 bytes
#include "features/batch_norm.cuh"
#include "features/column_sums.cuh"
#include "features/dense.cuh"
#include "features/elementwise.cuh"
#include "features/groups.cuh"
#include "features/layer_norm.cuh"
#include "features/map_pool.cuh"
#include "features/moving.cuh"
