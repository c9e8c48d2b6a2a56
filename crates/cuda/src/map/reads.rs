//! How launches have read a map: what of it the next map of the same layers is made with.
//!
//! What was made is another question. An order may have been made for a layer that then ran an
//! algorithm which reads another one.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use super::RowOrder;
use super::plan::TilePlan;

/// The orders and the plans by which launches have read rows.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// A bit for each of [`RowOrder::ALL`].
    orders: AtomicU8,
    plans: Mutex<Vec<TilePlan>>,
}

impl Reads {
    /// Notes that a launch reads rows in an order.
    pub(super) fn in_order(&self, order: RowOrder) {
        self.orders.fetch_or(1 << order as u8, Ordering::Relaxed);
    }

    /// Notes that a launch reads a plan.
    pub(super) fn by_plan(&self, plan: TilePlan) {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if !plans.contains(&plan) {
            plans.push(plan);
        }
    }

    /// The orders that launches have read.
    pub(super) fn orders(&self) -> Vec<RowOrder> {
        let bits = self.orders.load(Ordering::Relaxed);
        RowOrder::ALL.into_iter().filter(|order| bits & 1 << *order as u8 != 0).collect()
    }

    /// The plans that launches have read.
    pub(super) fn plans(&self) -> Vec<TilePlan> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_listed_once_and_nothing_else() {
        let reads = Reads::default();
        assert_eq!((reads.orders(), reads.plans()), (Vec::new(), Vec::new()));
        let plan =
            |rows| TilePlan { order: RowOrder::Global, rows, parts: 2, blocks: 264, fixed: 3 };
        for rows in [64, 128, 64] {
            reads.in_order(RowOrder::Global);
            reads.by_plan(plan(rows));
        }
        assert_eq!(reads.orders(), [RowOrder::Global]);
        assert_eq!(reads.plans(), [plan(64), plan(128)]);
        reads.in_order(RowOrder::Natural);
        assert_eq!(reads.orders(), [RowOrder::Natural, RowOrder::Global]);
    }
}
