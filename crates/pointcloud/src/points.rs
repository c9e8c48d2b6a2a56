//! The points of a scan.

/// Points of a scan, all of them finite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Points {
    /// Coordinates x, y, z in the units of the file (metres in the usual scans), in its order.
    pub xyz: Vec<[f32; 3]>,
    /// How many points of the file were left out because a coordinate is a NaN or an infinity.
    pub dropped: usize,
}

impl Points {
    /// Keeps a finite point and counts any other.
    pub(crate) fn push(&mut self, point: [f32; 3]) {
        if point.iter().all(|coordinate| coordinate.is_finite()) {
            self.xyz.push(point);
        } else {
            self.dropped += 1;
        }
    }
}
