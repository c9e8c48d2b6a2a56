//! How many layers share what is made of a kernel map, and so what each is charged for it.

use serde::{Deserialize, Serialize};
use voxtune::{Direction, Geometry, LayerKind, MapPart};
use voxtune_cache::Charge;

/// How many layers of a network read what is made of one kernel map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readers {
    /// Convolutions over the map.
    pub layers: u32,
    /// Those of them that have the same channels, and so run the same algorithm.
    pub alike: u32,
}

impl Readers {
    /// What is expected of a network that nobody has named: three maps of four have as many readers
    /// in the networks of `voxtune-models`. Windows of three cells have two at least, the layers of
    /// a block. Whatever changes levels has one, and so have the wide windows of stems and those of
    /// one cell, which are shortcuts.
    #[must_use]
    pub fn usual(layer: &Geometry) -> Self {
        let extents = layer.kernel.extents();
        let is_of_blocks = layer.kind == LayerKind::Submanifold && extents == [3; 3];
        Self { layers: if is_of_blocks { 2 } else { 1 }, alike: 1 }
    }

    /// The fewer of two: what is read by few is charged the most.
    #[must_use]
    pub fn fewer(self, other: Self) -> Self {
        Self { layers: self.layers.min(other.layers), alike: self.alike.min(other.alike) }
    }

    /// How many runs share a part that a direction of a layer reads.
    ///
    /// A forward pass also runs by itself, so it shares with other forward passes alone. A gradient
    /// runs behind one, and over a submanifold map both read the same rows.
    #[must_use]
    pub fn sharing(self, kind: LayerKind, direction: Direction, part: MapPart) -> u32 {
        let passes = match (direction, kind) {
            (Direction::Dgrad, LayerKind::Submanifold) => 2,
            _ => 1,
        };
        let readers = match part {
            MapPart::Order(_) => self.layers.saturating_mul(passes),
            // Of a plan the tiles are an algorithm's own.
            MapPart::Plan(_) => self.alike,
            MapPart::Pairs => self.layers,
        };
        readers.max(1)
    }

    /// What a layer is charged in a direction for parts that take so many nanoseconds to make.
    #[must_use]
    pub fn charge(self, kind: LayerKind, direction: Direction, parts: &[(MapPart, u64)]) -> Charge {
        let made_ns = parts.iter().map(|(_, ns)| ns).sum();
        let share =
            |&(part, ns): &(MapPart, u64)| ns / u64::from(self.sharing(kind, direction, part));
        Charge { made_ns, share_ns: parts.iter().map(share).sum() }
    }
}

#[cfg(test)]
mod tests {
    use voxtune::KernelSize;

    use super::*;

    /// As what GPUs read is named; of plans only the order is known here.
    fn order() -> MapPart {
        MapPart::Order(voxtune_cuda::RowOrder::Global)
    }

    fn plan() -> MapPart {
        let order = voxtune_cuda::RowOrder::Global;
        MapPart::Plan(voxtune_cuda::TilePlan { order, rows: 64, parts: 2, blocks: 264, fixed: 3 })
    }

    #[test]
    fn a_part_is_shared_by_those_who_read_it() {
        use Direction::{Dgrad, Forward, Wgrad};
        use LayerKind::{Inverse, Sparse, Submanifold};
        let readers = Readers { layers: 5, alike: 4 };
        let parts = [(order(), 20_000), (plan(), 4_000)];
        let share = |kind, direction| readers.charge(kind, direction, &parts).share_ns;
        assert_eq!(share(Submanifold, Forward), 4_000 + 1_000);
        // The order of the forward pass is there.
        assert_eq!(share(Submanifold, Dgrad), 2_000 + 1_000);
        // Rows of the other side.
        assert_eq!([share(Sparse, Dgrad), share(Inverse, Forward)], [5_000; 2]);
        let pairs = [(MapPart::Pairs, 10_000)];
        assert_eq!(readers.charge(Submanifold, Wgrad, &pairs).share_ns, 2_000);
        let alone = Readers { layers: 1, alike: 1 };
        let charge = alone.charge(Submanifold, Forward, &parts);
        assert_eq!(charge, Charge { made_ns: 24_000, share_ns: 24_000 });
        // Nobody divides by nothing, and what reads nothing is charged nothing.
        let nobody = Readers { layers: 0, alike: 0 };
        assert_eq!(nobody.charge(Submanifold, Forward, &parts), charge);
        assert_eq!(alone.charge(Submanifold, Forward, &[]), Charge { made_ns: 0, share_ns: 0 });
    }

    #[test]
    fn layers_that_change_levels_are_alone() {
        let cubic = |extent| KernelSize::cubic(extent).unwrap();
        let within = |extent| Geometry::submanifold(cubic(extent), [1; 3]);
        let down = Geometry::strided(cubic(3), [2; 3]);
        let usual = [within(3), within(5), within(1), down, down.with_kind(LayerKind::Inverse)];
        assert_eq!(usual.map(|layer| Readers::usual(&layer).layers), [2, 1, 1, 1, 1]);
        let two = Readers { layers: 2, alike: 2 };
        assert_eq!(two.fewer(Readers { layers: 5, alike: 1 }), Readers { layers: 2, alike: 1 });
    }
}
