//! Guesses from neighbouring keys, guarded by evidence on both sides.

use voxtune_cache::{DecisionRef, Table};
use voxtune_types::{AlgoId, DeviceIdentity, ShapeKey};

use super::skip_reason::SkipReason;

/// How many buckets away a key may be to say something. Three octaves of rows change how many
/// blocks a machine has to hand out, but not which operand is reused.
pub(super) const MAX_BUCKETS: u8 = 3;

/// How many density classes away a key may be to say something.
pub(super) const MAX_DENSITIES: u8 = 1;

/// A guess for a key that was not measured.
#[derive(Clone, Copy)]
pub(super) struct Guess<'a> {
    /// The nearest measured key.
    pub(super) from: DecisionRef<'a>,
    /// The nearest on the other side of the row count, if there is one.
    other: Option<DecisionRef<'a>>,
}

/// The best guess from keys with the same operation: the nearest by steps, in rows and density
/// together. Of as many the one of the same density says more.
///
/// With a measured key on either side of the row count, only names that both found safe are
/// offered. One that wins at 100 K rows and loses at 1 M is no answer for 400 K. With one side
/// only, its winner is offered, then what was safe beside it.
pub(super) fn guess<'a>(
    table: &'a Table,
    device: &DeviceIdentity,
    key: &ShapeKey,
) -> Result<Guess<'a>, SkipReason> {
    let rank = |decision: DecisionRef<'a>| {
        let near = decision.key();
        let buckets = near.bucket_out.distance(key.bucket_out);
        let densities = near.density.distance(key.density);
        (buckets + densities, densities, decision.device() != device)
    };
    let (mut below, mut above, mut measured) = (None, None, false);
    for decision in table.near(device.arch, key) {
        measured = true;
        let rank = rank(decision);
        let (steps, densities, _) = rank;
        if densities > MAX_DENSITIES || steps - densities > MAX_BUCKETS {
            continue;
        }
        let bucket = decision.key().bucket_out;
        for (side, on_it) in
            [(&mut below, bucket <= key.bucket_out), (&mut above, bucket >= key.bucket_out)]
        {
            if on_it && side.is_none_or(|(best, _)| rank < best) {
                *side = Some((rank, decision));
            }
        }
    }
    match (below, above) {
        (None, None) => {
            Err(if measured { SkipReason::TooFar } else { SkipReason::OperationUnknown })
        }
        (Some((_, only)), None) | (None, Some((_, only))) => Ok(Guess { from: only, other: None }),
        (Some((near, below)), Some((far, above))) => {
            if below.key() == above.key() && below.device() == above.device() {
                return Ok(Guess { from: below, other: None });
            }
            let (from, other) = if near <= far { (below, above) } else { (above, below) };
            let guess = Guess { from, other: Some(other) };
            if guess.names().next().is_none() { Err(SkipReason::Unsafe) } else { Ok(guess) }
        }
    }
}

impl<'a> Guess<'a> {
    /// The names to try in turn.
    pub(super) fn names(self) -> impl Iterator<Item = &'a AlgoId> {
        let Self { from, other } = self;
        let shared = other.map(|other| {
            let both = move |id: &&AlgoId| from.is_safe(id) && other.is_safe(id);
            [from.winner(), other.winner()].into_iter().chain(from.safe()).filter(both)
        });
        let alone = other.is_none().then(|| from.preferred().chain(from.safe()));
        shared.into_iter().flatten().chain(alone.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use voxtune_cache::{Decision, Decisions};
    use voxtune_types::{Arch, DType, Direction, KernelSize, Operation};

    use super::*;

    /// A key of so many rows, each of which has so many pairs.
    fn key(rows: usize, pairs: usize) -> ShapeKey {
        let kernel = KernelSize::submanifold(3).unwrap();
        let operation = Operation::submanifold(Direction::Forward, DType::Float16, 32, 32, kernel);
        ShapeKey::new(operation, rows, rows, rows * pairs)
    }

    /// The winner of the key that a guess is from: of 70,000 rows with ten pairs each.
    fn nearest(measured: &[(&str, ShapeKey)]) -> String {
        let device = DeviceIdentity { arch: Arch::sm(9, 0), name: "H200".to_owned(), units: 132 };
        let decisions = measured.iter().map(|(winner, key)| Decision {
            device: device.clone(),
            key: *key,
            winner: winner.parse().unwrap(),
            runner_up: None,
            without_libraries: None,
            safe: Vec::new(),
        });
        let table = Table::new([decisions.collect::<Decisions>()]);
        let found = guess(&table, &device, &key(70_000, 10)).ok().unwrap();
        found.from.winner().to_string()
    }

    #[test]
    fn rows_and_density_count_alike() {
        let (small, dense) = (("small", key(10_000, 10)), ("dense", key(34_000, 18)));
        // Three buckets, one bucket and one class.
        assert_eq!(nearest(&[small, dense]), "dense");
        // One step either way.
        let (half, as_many) = (("half", key(34_000, 10)), ("as_many", key(34_001, 18)));
        assert_eq!(nearest(&[as_many, half]), "half");
    }
}
