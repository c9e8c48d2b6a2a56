//! How finely float32 holds coordinates where they lie.

use crate::Points;

/// The least and the largest coordinate of each axis, NaN apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extents {
    pub(crate) least: [f64; 3],
    greatest: [f64; 3],
}

impl Extents {
    pub(crate) fn of(points: impl Iterator<Item = [f64; 3]>) -> Self {
        let empty = Self { least: [f64::INFINITY; 3], greatest: [f64::NEG_INFINITY; 3] };
        points.fold(empty, |Self { least, greatest }, point| Self {
            least: [0, 1, 2].map(|axis| least[axis].min(point[axis])),
            greatest: [0, 1, 2].map(|axis| greatest[axis].max(point[axis])),
        })
    }

    /// The largest magnitude of an axis; 0 without a point.
    pub(crate) fn magnitude(&self, axis: usize) -> f64 {
        let (least, greatest) = (self.least[axis], self.greatest[axis]);
        if least > greatest { 0.0 } else { least.abs().max(greatest.abs()) }
    }

    /// Whether a cell has fewer than so many steps of float32 where an axis ends.
    pub(crate) fn is_coarse(&self, axis: usize, cell_size: f32, steps: f64) -> bool {
        float32_step(self.magnitude(axis)) * steps > f64::from(cell_size)
    }
}

/// The distance from a number to the next larger float32.
pub(crate) fn float32_step(magnitude: f64) -> f64 {
    let number = magnitude as f32;
    f64::from(number.next_up()) - f64::from(number)
}

/// Whether float32 has been at work. It has if the file says so, or if every coordinate of an axis
/// is a float32 number and some use its last bit. Rounded ones do, and those of a coarse grid do
/// not.
pub(crate) fn was_float32(points: &Points, axis: usize, magnitude: f64) -> bool {
    let step = float32_step(magnitude);
    let values = || points.xyz.iter().map(|point| point[axis]);
    let is_odd =
        |value: f64| float32_step(value.abs()) == step && (value as f32).to_bits() & 1 == 1;
    points.stored_as_float32
        || values().all(|value| f64::from(value as f32) == value) && values().any(is_odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_with_the_distance() {
        assert_eq!(float32_step(388_096.0), 0.031_25);
        assert_eq!(float32_step(3_948_996.0), 0.25);
        assert!(float32_step(80.0) < 1e-5);
        let nothing = Extents::of(std::iter::empty());
        assert!(!nothing.is_coarse(0, 1e-3, 1024.0));
        let far = Extents::of([[388_096.0, f64::NAN, -3_948_996.0]].into_iter());
        assert_eq!([0, 1, 2].map(|axis| far.is_coarse(axis, 0.1, 64.0)), [true, false, true]);
    }

    #[test]
    fn f03_rounded_coordinates_are_told_from_those_of_a_grid() {
        let points = |value: fn(f64) -> f64| Points {
            xyz: (0..20).map(|n| [value(f64::from(n)), 0.0, 0.0]).collect(),
            ..Points::default()
        };
        let was = |points: &Points| was_float32(points, 0, 388_100.0);
        let rounded = points(|n| f64::from((388_096.0 + n * 0.1) as f32));
        assert!(was(&rounded));
        assert!(!was(&points(|n| 388_096.0 + n * 0.1)));
        assert!(!was(&points(|n| 388_096.0 + n * 0.5)));
        assert!(was(&Points { stored_as_float32: true, ..points(|n| 388_096.0 + n * 0.1) }));
    }
}
