//! How many numbers a row of a scan without a header has.

use std::fmt;
use std::str::FromStr;

use crate::CloudError;
use crate::limits::{MAX_COLUMNS, MIN_COLUMNS};

/// Float32 numbers in a row of a `.bin` scan, of which the first three are x, y, z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Columns(usize);

impl Columns {
    /// KITTI's velodyne scans: x, y, z, intensity.
    pub const KITTI: Self = Self(4);
    /// nuScenes' LIDAR_TOP sweeps: x, y, z, intensity, ring.
    pub const NUSCENES: Self = Self(5);

    /// The fewest columns.
    pub const MIN: usize = MIN_COLUMNS;
    /// The most columns.
    pub const MAX: usize = MAX_COLUMNS;

    /// So many columns.
    ///
    /// # Errors
    /// [`CloudError::BadColumns`] beyond [`Self::MIN`] to [`Self::MAX`].
    pub fn new(columns: usize) -> Result<Self, CloudError> {
        if (Self::MIN..=Self::MAX).contains(&columns) {
            Ok(Self(columns))
        } else {
            Err(CloudError::BadColumns { found: columns.to_string() })
        }
    }

    /// The count.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0
    }
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Columns {
    type Err = CloudError;

    fn from_str(text: &str) -> Result<Self, CloudError> {
        let bad = || CloudError::BadColumns { found: text.to_owned() };
        text.parse().map_err(|_| bad()).and_then(|columns| Self::new(columns).map_err(|_| bad()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f14_counts_of_columns_are_checked() {
        assert_eq!("5".parse::<Columns>().unwrap(), Columns::NUSCENES);
        assert_eq!(Columns::new(4).unwrap(), Columns::KITTI);
        for text in ["2", "65", "", "four", "-4"] {
            assert!(text.parse::<Columns>().is_err(), "{text}");
        }
        insta::assert_snapshot!("2".parse::<Columns>().unwrap_err(), @"a row of a .bin scan has 3 to 64 float32 numbers, found `2`");
    }
}
