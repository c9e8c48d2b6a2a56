//! Orders in which checkpoints store the weights of a convolution.

use std::ops::Range;

use voxtune_types::{KernelSize, LayerKind, Operation};

/// The order of a checkpoint's weights. With k0, k1 and k2 along the axes of the coordinates as the
/// file has them, the first of which is x here:
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WeightLayout {
    /// `(k0, k1, k2, c_in, c_out)`: that of this library, of spconv 1 and of FlexGEMM-free TRELLIS
    /// exports.
    #[default]
    Rsck,
    /// `(c_out, k0, k1, k2, c_in)`: that of spconv 2.
    ///
    /// spconv 2 multiplies by the raw buffer of a layer of one offset as if it were `(c_in,
    /// c_out)`, against the shape that it stores (`spconv/pytorch/conv.py`,
    /// `SparseConvolution.forward`). So do submanifold layers and layers of stride 1 here: results
    /// are the checkpoint's.
    Krsc,
    /// `(k, c_in, c_out)` with the first axis fastest: that of MinkowskiEngine, and of torchsparse
    /// 2 for odd kernel volumes.
    Minkowski,
}

/// What a layer's weights are, beside their number.
#[derive(Clone, Copy, Debug)]
pub(super) struct WeightShape {
    pub(super) kernel: KernelSize,
    pub(super) c_in: usize,
    pub(super) c_out: usize,
    pub(super) groups: usize,
    /// Whether spconv reads the buffer of a single offset as it lies.
    pub(super) reads_raw: bool,
}

impl WeightShape {
    pub(super) fn of(operation: &Operation, groups: u32) -> Self {
        let Operation { kernel, c_in, c_out, stride, kind, .. } = *operation;
        let is_plain = kind == LayerKind::Submanifold || stride == [1; 3];
        Self {
            kernel,
            c_in: c_in as usize,
            c_out: c_out as usize,
            groups: groups as usize,
            reads_raw: kernel.volume() == 1 && is_plain && groups == 1,
        }
    }

    /// Number of weights; `None` if they are more than memory can hold.
    pub(super) fn len(&self) -> Option<usize> {
        self.kernel
            .volume()
            .checked_mul(self.c_in / self.groups)?
            .checked_mul(self.c_out)
            .filter(|len| len.checked_mul(8).is_some_and(|bytes| bytes <= isize::MAX as usize))
    }

    /// A checkpoint's weights as layers hold them, `(volume, c_in / groups, c_out)`.
    pub(super) fn to_stored(self, layout: WeightLayout, weights: &[f32]) -> Vec<f32> {
        match self.order(layout) {
            Order::Stored => weights.to_vec(),
            Order::OutputsFirst => transposed(weights, self.c_out),
            Order::OffsetsReversed => {
                let block = |k| &weights[self.reversed_block(k)];
                (0..self.kernel.volume()).flat_map(block).copied().collect()
            }
        }
    }

    /// Weights `(volume, c_in / groups, c_out)` in the order of a checkpoint.
    pub(super) fn of_stored(self, layout: WeightLayout, stored: &[f32]) -> Vec<f32> {
        match self.order(layout) {
            Order::Stored => stored.to_vec(),
            Order::OutputsFirst => transposed(stored, stored.len() / self.c_out),
            Order::OffsetsReversed => {
                let mut weights = vec![0.0; stored.len()];
                let blocks = stored.chunks_exact(self.block_len());
                for (k, block) in blocks.enumerate() {
                    weights[self.reversed_block(k)].copy_from_slice(block);
                }
                weights
            }
        }
    }

    /// How the weights of a layout lie to those of layers.
    const fn order(self, layout: WeightLayout) -> Order {
        match layout {
            WeightLayout::Krsc if !self.reads_raw => Order::OutputsFirst,
            WeightLayout::Rsck | WeightLayout::Krsc => Order::Stored,
            WeightLayout::Minkowski => Order::OffsetsReversed,
        }
    }

    /// Weights of an offset.
    const fn block_len(self) -> usize {
        self.c_in / self.groups * self.c_out
    }

    /// Where the weights of an offset lie if the first axis is the fastest.
    fn reversed_block(self, k: usize) -> Range<usize> {
        let [nx, ny, nz] = self.kernel.extents().map(usize::from);
        let [x, y, z] = [k / (ny * nz), k / nz % ny, k % nz];
        let begin = ((z * ny + y) * nx + x) * self.block_len();
        begin..begin + self.block_len()
    }
}

/// How weights lie to `(volume, c_in / groups, c_out)`.
enum Order {
    /// Just so.
    Stored,
    /// The last axis is first.
    OutputsFirst,
    /// The axes within `volume` are in the opposite order.
    OffsetsReversed,
}

/// The columns of a matrix of so many rows, one behind the other.
pub(super) fn transposed(matrix: &[f32], rows: usize) -> Vec<f32> {
    /// Rows and columns of a tile whose lines the processor's cache holds.
    const TILE: usize = 16;
    let columns = matrix.len().checked_div(rows).unwrap_or(0);
    let mut result = vec![0.0; matrix.len()];
    for first_row in (0..rows).step_by(TILE) {
        let tile_rows = first_row..rows.min(first_row + TILE);
        for first_column in (0..columns).step_by(TILE) {
            for column in first_column..columns.min(first_column + TILE) {
                for row in tile_rows.clone() {
                    result[column * rows + row] = matrix[row * columns + column];
                }
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(extents: [u8; 3], c_in: usize, c_out: usize, groups: usize) -> WeightShape {
        let kernel = KernelSize::try_from(extents).unwrap();
        WeightShape { kernel, c_in, c_out, groups, reads_raw: false }
    }

    fn numbers(len: usize) -> Vec<f32> {
        (0..len).map(|index| index as f32).collect()
    }

    /// For each weight in the order of layers, its place in a checkpoint, from the definition of
    /// the layouts.
    fn places(shape: WeightShape, layout: WeightLayout) -> impl Iterator<Item = usize> {
        let [nx, ny, nz] = shape.kernel.extents().map(usize::from);
        let (c_in, c_out) = (shape.c_in / shape.groups, shape.c_out);
        (0..nx * ny * nz * c_in * c_out).map(move |index| {
            let [k, i, o] = [index / (c_in * c_out), index / c_out % c_in, index % c_out];
            let [x, y, z] = [k / (ny * nz), k / nz % ny, k % nz];
            match layout {
                WeightLayout::Rsck => index,
                WeightLayout::Krsc => (o * nx * ny * nz + k) * c_in + i,
                WeightLayout::Minkowski => (((z * ny + y) * nx + x) * c_in + i) * c_out + o,
            }
        })
    }

    #[test]
    fn every_layout_is_read_and_written() {
        let layouts = [WeightLayout::Rsck, WeightLayout::Krsc, WeightLayout::Minkowski];
        let shapes = [
            shape([3, 2, 1], 4, 6, 1),
            shape([2, 2, 3], 6, 4, 2),
            shape([3; 3], 5, 5, 5),
            shape([3; 3], 20, 37, 1),
        ];
        for shape in shapes {
            let weights = numbers(shape.len().unwrap());
            for layout in layouts {
                let stored = shape.to_stored(layout, &weights);
                assert_eq!(shape.of_stored(layout, &stored), weights, "{layout:?}");
                let places = places(shape, layout);
                let expected: Vec<f32> = places.map(|place| weights[place]).collect();
                assert_eq!(stored, expected, "{layout:?}");
            }
        }
    }

    #[test]
    fn layouts_are_those_of_their_libraries() {
        let plain = shape([1, 2, 3], 2, 2, 1);
        let weights = numbers(24);
        assert_eq!(plain.to_stored(WeightLayout::Rsck, &weights), weights);
        // (c_out, k, c_in): offset 1, input 0, output 1 lies at (1 · 6 + 1) · 2.
        assert_eq!(plain.to_stored(WeightLayout::Krsc, &weights)[5], 14.0);
        // Offset (0, 1, 2) is the sixth here and there; (0, 0, 1) the second here and the third
        // there.
        let minkowski = plain.to_stored(WeightLayout::Minkowski, &weights);
        assert_eq!((minkowski[5 * 4], minkowski[4]), (20.0, 8.0));
        let one = WeightShape { reads_raw: true, ..shape([1; 3], 2, 3, 1) };
        assert_eq!(one.to_stored(WeightLayout::Krsc, &numbers(6)), numbers(6));
    }

    /// What a group reads follows from its outputs: each has its own group's inputs and no others.
    #[test]
    fn groups_have_weights_of_their_own_inputs() {
        let depthwise = shape([1; 3], 3, 3, 3);
        assert_eq!(depthwise.to_stored(WeightLayout::Krsc, &[1.0, 2.0, 3.0]), [1.0, 2.0, 3.0]);
        // (c_out, k, c_in / groups): output 3 is of the second group, and its second input comes
        // last.
        let pairs = shape([1, 1, 2], 4, 4, 2);
        let stored = pairs.to_stored(WeightLayout::Krsc, &numbers(16));
        assert_eq!(stored[(2 + 1) * 4 + 3], ((3 * 2 + 1) * 2 + 1) as f32);
        assert_eq!(pairs.to_stored(WeightLayout::Rsck, &numbers(16)), numbers(16));
    }
}
