//! Guesses from neighbouring keys, guarded by evidence on both sides.

use voxtune_cache::{Decision, Table};
use voxtune_shape::{AlgoId, DeviceIdentity, ShapeKey};

/// How many buckets away a key may be to say something. Three octaves of rows change how many
/// blocks a machine has to hand out, but not which operand is reused.
const MAX_BUCKETS: u8 = 3;

/// How many density classes away a key may be to say something.
const MAX_DENSITIES: u8 = 1;

/// A guess for a key that was not measured: the key it comes from and the names to try in turn.
pub(super) struct Guess<'a> {
    pub(super) from: &'a ShapeKey,
    pub(super) names: Vec<&'a AlgoId>,
}

/// The best guess from keys with the same operation.
///
/// With a measured key on either side of the row count, only names that both found safe are
/// offered: one that wins at 100 K rows and loses at 1 M is no answer for 400 K. With one side
/// only, its winner is offered.
pub(super) fn guess<'a>(
    table: &'a Table,
    device: &DeviceIdentity,
    key: &ShapeKey,
) -> Option<Guess<'a>> {
    let rank = |decision: &Decision| {
        let near = &decision.key;
        let buckets = near.bucket_out.distance(key.bucket_out);
        (near.density.distance(key.density), buckets, decision.device != *device)
    };
    let close = |decision: &&Decision| {
        let (densities, buckets, _) = rank(decision);
        densities <= MAX_DENSITIES && buckets <= MAX_BUCKETS
    };
    let all: Vec<&Decision> = table.near(device.arch, key).filter(close).collect();
    let below =
        all.iter().filter(|d| d.key.bucket_out <= key.bucket_out).min_by_key(|d| rank(d)).copied();
    let above =
        all.iter().filter(|d| d.key.bucket_out >= key.bucket_out).min_by_key(|d| rank(d)).copied();
    match (below, above) {
        (None, None) => None,
        (Some(only), None) | (None, Some(only)) => Some(Guess::of_winner(only)),
        (Some(below), Some(above)) if below == above => Some(Guess::of_winner(below)),
        (Some(below), Some(above)) => {
            let (nearer, farther) =
                if rank(below) <= rank(above) { (below, above) } else { (above, below) };
            let both = nearer.safe.iter().filter(|id| farther.safe.contains(id));
            let winners = [&nearer.winner, &farther.winner];
            let mut names: Vec<&AlgoId> = winners
                .into_iter()
                .filter(|id| nearer.safe.contains(id) && farther.safe.contains(id))
                .collect();
            names.extend(both);
            (!names.is_empty()).then_some(Guess { from: &nearer.key, names })
        }
    }
}

impl<'a> Guess<'a> {
    fn of_winner(decision: &'a Decision) -> Self {
        let names = super::tuner::preferred(decision).collect();
        Self { from: &decision.key, names }
    }
}
