//! Names, pools and sizes.

use std::collections::BTreeSet;

use super::*;
use crate::algorithm::default_algorithm;

fn channels() -> impl Iterator<Item = (u32, u32)> {
    let widths = [1, 3, 10, 20, 32, 33, 64, 96, 128, 192, 256, 384, 512];
    widths.into_iter().flat_map(move |c_in| widths.map(|c_out| (c_in, c_out)))
}

#[test]
fn names_are_permanent() {
    let names: Vec<&str> = algorithms().iter().map(|algorithm| algorithm.id().as_str()).collect();
    assert_eq!(names[0], "explicit_gemm");
    assert_eq!(names[1], "implicit_gemm:rows=64:cols=32");
    assert_eq!(names[20], "implicit_gemm:rows=1024:cols=256");
    assert_eq!(names[21..], ["grouped:rows=64", "grouped:rows=256", "grouped:rows=1024"]);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 24);
    assert_eq!(names.len(), 24);
}

#[test]
fn pools_are_small_and_hold_the_default() {
    for (c_in, c_out) in channels() {
        for direction in Direction::ALL {
            for n_out in [1, 1_000, 16_384, 30_000, 130_000, 2_000_000] {
                let plain = op(direction, DType::Float16, c_in, c_out);
                let whole = [2, 3, 8, c_in].into_iter().map(|groups| plain.with_groups(groups));
                let grouped = whole.filter(|op| op.has_whole_groups());
                for op in std::iter::once(plain).chain(grouped) {
                    let pool: Vec<&str> = algorithms()
                        .iter()
                        .filter(|algorithm| algorithm.in_auto_pool(&op, n_out))
                        .map(|algorithm| algorithm.id().as_str())
                        .collect();
                    assert!((2..=4).contains(&pool.len()), "{op} over {n_out}: {pool:?}");
                    assert!(pool.contains(&default_algorithm(&op).id().as_str()), "{op}: {pool:?}");
                    assert!(default_algorithm(&op).applies(&op));
                    let one_family = pool.iter().all(|id| id.starts_with("grouped:"));
                    assert_eq!(one_family, op.groups != 1, "{op}: {pool:?}");
                }
            }
        }
    }
}

#[test]
fn workspace_grows_with_what_is_kept() {
    let map = map_of(&cloud(20_000));
    let both = |op: Operation| [op, op.with_groups(8)];
    for plain in Direction::ALL.into_iter().flat_map(|one| both(op(one, DType::Float32, 32, 64))) {
        for algorithm in algorithms().iter().filter(|algorithm| algorithm.applies(&plain)) {
            let bytes = algorithm.workspace_bytes(&plain, &map);
            assert!(bytes > 0, "{}", algorithm.id());
            let half = Operation { dtype: DType::Float16, ..plain };
            assert!(algorithm.workspace_bytes(&half, &map) >= bytes, "{}", algorithm.id());
        }
    }
    let strided = strided_map(400, 200);
    let op = op(Direction::Dgrad, DType::Float32, 4, 4);
    let algorithm = default_algorithm(&op);
    let before = algorithm.workspace_bytes(&op, &strided);
    let _ = strided.transposed();
    assert!(algorithm.workspace_bytes(&op, &strided) < before, "the transposed map is kept");
}

#[test]
fn families_have_a_hash_each() {
    let hashes: BTreeSet<u64> = algorithms().iter().map(Algorithm::source_hash).collect();
    assert_eq!(hashes.len(), 3);
    for pair in algorithms().windows(2) {
        let same_family = pair[0].id().family() == pair[1].id().family();
        assert_eq!(pair[0].source_hash() == pair[1].source_hash(), same_family);
    }
}
