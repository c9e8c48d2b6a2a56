//! The part of a scan that is kept.

use std::str::FromStr;

use crate::CloudError;

/// A box whose lower bounds belong to it and whose upper ones don't.
///
/// # Units
/// Those of the points, metres in the usual scans.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crop {
    /// The least x, y, z inside.
    pub min: [f64; 3],
    /// The least x, y, z above the box.
    pub max: [f64; 3],
}

impl Crop {
    /// Whether a point lies in the box.
    #[must_use]
    pub fn contains(&self, point: [f64; 3]) -> bool {
        (0..3).all(|axis| self.min[axis] <= point[axis] && point[axis] < self.max[axis])
    }

    /// The box with the bounds of some axes rounded to float32.
    ///
    /// A file of float32 has no other numbers, so its points on a bound stay there.
    pub(crate) fn rounded(mut self, axes: [bool; 3]) -> Self {
        for axis in (0..3).filter(|&axis| axes[axis]) {
            let bounds = [self.min[axis], self.max[axis]];
            [self.min[axis], self.max[axis]] = bounds.map(|bound| f64::from(bound as f32));
        }
        self
    }
}

impl FromStr for Crop {
    type Err = CloudError;

    /// Reads `x0,y0,z0,x1,y1,z1`; `-inf` and `inf` leave a side open.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed =
            |reason: String| CloudError::MalformedCrop { text: text.to_owned(), reason };
        let bounds = text
            .split(',')
            .map(|part| match part.trim().parse::<f64>() {
                Ok(bound) if !bound.is_nan() => Ok(bound),
                _ => Err(malformed(format!("`{}` is not a number", part.trim()))),
            })
            .collect::<Result<Vec<f64>, _>>()?;
        let [x0, y0, z0, x1, y1, z1] = bounds[..] else {
            return Err(malformed(format!("it has {} numbers", bounds.len())));
        };
        let crop = Self { min: [x0, y0, z0], max: [x1, y1, z1] };
        for (axis, name) in ["x", "y", "z"].into_iter().enumerate() {
            let (low, high) = (crop.min[axis], crop.max[axis]);
            if low >= high {
                return Err(malformed(format!("{name} from {low} to {high} holds nothing")));
            }
        }
        Ok(crop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_half_open() {
        let crop: Crop = "-80, -80, -2, 80, 80, 6".parse().unwrap();
        assert_eq!(crop, Crop { min: [-80.0, -80.0, -2.0], max: [80.0, 80.0, 6.0] });
        assert!(crop.contains([-80.0, -80.0, -2.0]));
        assert!(crop.contains([79.999, 0.0, 5.999]));
        for outside in [[80.0, 0.0, 0.0], [0.0, 80.0, 0.0], [0.0, 0.0, 6.0], [f64::NAN, 0.0, 0.0]] {
            assert!(!crop.contains(outside), "{outside:?}");
        }
        let open: Crop = "-inf,0,0,inf,1,1".parse().unwrap();
        assert!(open.contains([1e30, 0.5, 0.5]));
    }

    #[test]
    fn texts_that_are_no_box_are_refused() {
        let message = |text: &str| text.parse::<Crop>().unwrap_err().to_string();
        insta::assert_snapshot!(message("1,2,3"), @"`1,2,3` is not a crop: it has 3 numbers; expected x0,y0,z0,x1,y1,z1 with each lower bound below its upper one");
        insta::assert_snapshot!(message("0,0,0,1,1,one"), @"`0,0,0,1,1,one` is not a crop: `one` is not a number; expected x0,y0,z0,x1,y1,z1 with each lower bound below its upper one");
        insta::assert_snapshot!(message("0,0,nan,1,1,1"), @"`0,0,nan,1,1,1` is not a crop: `nan` is not a number; expected x0,y0,z0,x1,y1,z1 with each lower bound below its upper one");
        insta::assert_snapshot!(message("0,5,0,1,5,1"), @"`0,5,0,1,5,1` is not a crop: y from 5 to 5 holds nothing; expected x0,y0,z0,x1,y1,z1 with each lower bound below its upper one");
        insta::assert_snapshot!(message(""), @"`` is not a crop: `` is not a number; expected x0,y0,z0,x1,y1,z1 with each lower bound below its upper one");
    }
}
