//! The points of a scan.

use crate::scalar::Scalar;

/// Points of a scan, all of them finite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Points {
    /// Coordinates x, y, z in the units of the file (metres in the usual scans), in its order.
    pub xyz: Vec<[f64; 3]>,
    /// How many points of the file were left out because a coordinate is a NaN or an infinity.
    pub dropped: usize,
    /// Whether the file says that it stores x, y or z as float32, so that digits which float32 does
    /// not hold were lost when it was written.
    pub stored_as_float32: bool,
}

impl Points {
    /// Room for points whose coordinates are stored in these types.
    pub(crate) fn of_types(types: impl IntoIterator<Item = Option<Scalar>>, rows: usize) -> Self {
        let stored_as_float32 = types.into_iter().any(|scalar| scalar == Some(Scalar::F32));
        Self { xyz: Vec::with_capacity(rows), dropped: 0, stored_as_float32 }
    }

    /// Keeps a finite point and counts any other.
    pub(crate) fn push(&mut self, point: [f64; 3]) {
        if point.iter().all(|coordinate| coordinate.is_finite()) {
            self.xyz.push(point);
        } else {
            self.dropped += 1;
        }
    }
}
