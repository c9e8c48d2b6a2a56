// Everything that a network makes of its voxels, in a handful of launches: the outputs of a chain
// of strided layers, and the maps, orders and tables of all levels side by side.
//
//   network_insert   the input's rows into bricks (map_bricks.cuh)
//   network_owners   the keys of bricks that others have made of rows
//   network_reach    the bricks of a level's outputs, once a level
//   network_totals   outputs of each brick, all levels
//   network_starts   where each brick's outputs begin, and their number, for the host
//   network_write    the outputs with their places and ranks, all levels
//   network_masks    masks and pairs, all maps
//   network_orders   rows sorted by mask, all maps
//   network_tables   tables of all maps in each order, and plans of tiles
//
// A kernel's file in network_maps/ has its name; network_owners is in insert.cuh. levels.cuh has
// what kernels of levels share, lookup.cuh what those of maps share.
//
// Layouts: as in kernel_map.cu and coordinates.cu; masks have one word. Level 0 is the input.
//
// A level is made of the bricks of the one before, not of its rows, so that levels follow each
// other without a sort, a scan or a count in between. A brick's key is the least row of the input
// that it comes from, and the parities of its coordinates: the host only asks for levels whose
// bricks that come from one row are neighbours. So each brick has a key of its own, which does not
// depend on the schedule. Outputs are in the order of the keys, then of the cells: bitwise
// repeatable, and the same whether levels are made at once or one by one.
//
// A level with too little room tells how many rows it needs. It leaves without rows all levels that
// are made with it or of it.
//
// Levels are made together or one by one; launches that may run at the same time have a control
// each.
//
// Architecture: any. Block sizes are fixed and named here; the host mirrors them.
// expected: spills on sm_120: network_orders has 64 registers, so that two blocks run on an SM; 16 bytes
#include "network_maps/insert.cuh"
#include "network_maps/reach.cuh"
#include "network_maps/totals.cuh"
#include "network_maps/starts.cuh"
#include "network_maps/write.cuh"
#include "network_maps/masks.cuh"
#include "network_maps/orders.cuh"
#include "network_maps/tables.cuh"
