//! Which levels can be made of bricks, and which maps gather from few of them.

use voxtune_types::{Geometry, LayerKind};

use crate::map::check_map;

/// Cells of a brick along an axis.
const BRICK: usize = 4;
/// The most bricks along an axis that come from one row of the input: neighbours, which differ in
/// the parity of a coordinate.
const MOST_BRICKS: usize = 2;
/// The most cells along an axis that a row gathers from.
const MOST_EXTENT: u8 = 3;

/// How many bricks of a level come from one row of the input, along each axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::map) struct Spread([usize; 3]);

impl Spread {
    /// That of the input.
    pub(in crate::map) const INPUT: Self = Self([1; 3]);

    /// That of a layer's outputs; `None` where a level cannot be made of bricks alone.
    pub(in crate::map) fn of_outputs(self, geometry: &Geometry) -> Option<Self> {
        if geometry.kind != LayerKind::Sparse {
            return None;
        }
        let mut bricks = [0; 3];
        for (axis, bricks) in bricks.iter_mut().enumerate() {
            *bricks = bricks_along(geometry, axis, self.0[axis]);
            // One brick alone has to reach two at most: its lanes are as many.
            let of_one = bricks_along(geometry, axis, 1);
            if of_one.max(*bricks) > MOST_BRICKS {
                return None;
            }
        }
        Some(Self(bricks))
    }
}

/// The most bricks of outputs that neighbouring bricks of inputs meet along an axis.
fn bricks_along(geometry: &Geometry, axis: usize, bricks: usize) -> usize {
    let extent = usize::from(geometry.kernel.extents()[axis]);
    let stride = usize::from(geometry.stride[axis]);
    if (extent, stride, geometry.padding[axis]) == (1, 1, 0) {
        return bricks;
    }
    let span = (extent - 1) * usize::from(geometry.dilation[axis]);
    let cells = (bricks * BRICK - 1 + span) / stride + 1;
    1 + (cells - 1).div_ceil(BRICK)
}

/// Whether a map's rows gather from a small box each.
pub(in crate::map) fn is_near(geometry: &Geometry, rows: usize) -> bool {
    let Geometry { kind, kernel, dilation, .. } = *geometry;
    matches!(kind, LayerKind::Submanifold | LayerKind::Sparse)
        && dilation == [1; 3]
        && kernel.extents().into_iter().all(|extent| extent <= MOST_EXTENT)
        && check_map(kernel, rows).is_ok()
}

#[cfg(test)]
mod tests {
    use voxtune_types::KernelSize;

    use super::*;

    fn strided(extents: [u8; 3], stride: [u8; 3]) -> Geometry {
        Geometry::strided(KernelSize::try_from(extents).unwrap(), stride)
    }

    #[test]
    fn encoders_spread_over_neighbouring_bricks() {
        let mut spread = Spread::INPUT;
        for _ in 0..6 {
            spread = spread.of_outputs(&strided([3; 3], [2; 3])).unwrap();
            assert_eq!(spread, Spread([2; 3]));
        }
        let last = spread.of_outputs(&strided([3, 1, 1], [2, 1, 1])).unwrap();
        assert_eq!(last, Spread([2; 3]));
        let halves = strided([2; 3], [2; 3]);
        assert!(Spread::INPUT.of_outputs(&halves).unwrap().of_outputs(&halves).is_some());
    }

    #[test]
    fn layers_that_spread_further_are_left_to_others() {
        for geometry in [
            strided([3; 3], [1; 3]),
            strided([7; 3], [2; 3]),
            strided([3; 3], [2; 3]).with_kind(LayerKind::Transposed),
            strided([3; 3], [2; 3]).with_kind(LayerKind::Inverse),
            Geometry { dilation: [6, 1, 1], ..strided([3; 3], [2; 3]) },
        ] {
            assert_eq!(Spread([2; 3]).of_outputs(&geometry), None, "{geometry}");
        }
        // A window of one cell that is moved leaves its brick.
        let moved = Geometry { padding: [1, 0, 0], ..strided([1; 3], [1; 3]) };
        assert_eq!(Spread::INPUT.of_outputs(&moved), Some(Spread([2, 1, 1])));
        assert_eq!(Spread([2; 3]).of_outputs(&moved), None);
    }

    /// By every cell of the bricks that one row's own brick has become.
    #[test]
    fn no_chain_leaves_the_bricks_that_are_counted() {
        for (extent, stride) in [(3_i64, 2_i64), (2, 2), (3, 3), (5, 4), (1, 2), (2, 3)] {
            for padding in -1..=2_i64 {
                for brick in -3..3_i64 {
                    let geometry = Geometry {
                        padding: [padding as i16; 3],
                        ..strided([extent as u8; 3], [stride as u8; 3])
                    };
                    let mut spread = Spread::INPUT;
                    let (mut first, mut last) = (brick, brick);
                    for _ in 0..4 {
                        let Some(next) = spread.of_outputs(&geometry) else { break };
                        // f = c * stride - padding + r
                        let from = (4 * first + padding - (extent - 1)).div_euclid(stride)
                            + i64::from(
                                (4 * first + padding - (extent - 1)).rem_euclid(stride) > 0,
                            );
                        let to = (4 * last + 3 + padding).div_euclid(stride);
                        (first, last) = (from.div_euclid(4), to.div_euclid(4));
                        spread = next;
                        assert!(last - first < spread.0[0] as i64, "{geometry} {first}..={last}");
                    }
                }
            }
        }
    }
}
