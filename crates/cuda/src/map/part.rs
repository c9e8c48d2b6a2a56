//! What algorithms read beyond a map, by name.

use std::fmt;

use super::{RowOrder, TilePlan};

/// What an algorithm reads beyond a map's masks. Each part is made once for all layers over the map
/// that read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MapPart {
    /// Rows in an order, and the table of what they gather.
    Order(RowOrder),
    /// A plan of tiles of rows in an order.
    Plan(TilePlan),
    /// The pairs of each offset.
    Pairs,
}

impl fmt::Display for MapPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(order) => write!(f, "{} order", order.as_str()),
            Self::Plan(TilePlan { order, rows, parts, .. }) => {
                write!(f, "plan of {rows} {} rows in {parts} parts", order.as_str())
            }
            Self::Pairs => f.pad("pair lists"),
        }
    }
}
