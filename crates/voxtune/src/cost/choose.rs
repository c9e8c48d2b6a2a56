//! What to run where nothing was measured.

use std::sync::Arc;

use voxtune_types::Operation;

use super::Estimate;
use crate::{Algorithm, MapCounts};

/// The algorithm that the model finds fastest, if it finds it clearly faster than the default. Only
/// algorithms count that may run here, whose code is there, and that need no verification. Those of
/// a library do not count: it takes longer to load than it may win.
pub(crate) fn choose<'a>(
    algorithms: impl Iterator<Item = &'a Arc<dyn Algorithm>>,
    operation: &Operation,
    counts: MapCounts,
    default: &dyn Algorithm,
) -> Option<&'a Arc<dyn Algorithm>> {
    let default = default.estimate(operation, counts)?;
    let mut faster: Vec<(&Arc<dyn Algorithm>, Estimate)> = algorithms
        .filter(|algorithm| {
            algorithm.requires().is_none()
                && algorithm.in_auto_pool(operation, counts)
                && algorithm.is_safe_unverified(operation)
        })
        .filter_map(|algorithm| Some((algorithm, algorithm.estimate(operation, counts)?)))
        .filter(|(_, estimate)| is_clearly_faster(*estimate, default))
        .collect();
    faster.sort_by(|(_, a), (_, b)| a.time_ns.total_cmp(&b.time_ns));
    // Whether code is there is asked last, and of few: it is looked for in packs and folders.
    let mut fastest_first = faster.into_iter().map(|(algorithm, _)| algorithm);
    fastest_first.find(|one| one.is_available() && one.applies(operation))
}

/// Which of some usable algorithms that the caller named suits an operation best. Where the default
/// is one of them it stands, unless [`choose`] finds a faster one. Else it is the fastest by the
/// model of those whose geometry suits the operation, or the first of them without a model, or the
/// first of all.
pub(crate) fn choose_named<'a>(
    usable: &[&'a Arc<dyn Algorithm>],
    operation: &Operation,
    counts: MapCounts,
) -> Option<&'a Arc<dyn Algorithm>> {
    if let Some(default) = usable.iter().find(|algorithm| algorithm.is_default(operation)) {
        let faster = choose(usable.iter().copied(), operation, counts, &***default);
        return Some(faster.unwrap_or(default));
    }
    let suited = || {
        let usable = usable.iter().copied();
        usable.filter(|algorithm| {
            algorithm.in_auto_pool(operation, counts) && algorithm.is_safe_unverified(operation)
        })
    };
    let modelled = suited().filter_map(|one| Some((one, one.estimate(operation, counts)?.time_ns)));
    let fastest = modelled.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(one, _)| one);
    fastest.or_else(|| suited().next()).or_else(|| usable.first().copied())
}

fn is_clearly_faster(estimate: Estimate, default: Estimate) -> bool {
    estimate.time_ns * estimate.trust().clear_gain < default.time_ns
}

#[cfg(test)]
mod tests {
    use voxtune_types::{ComputeCapability, DType, Direction, KernelSize};

    use super::*;
    use crate::KernelSource;
    use crate::registry::cuda::absent;

    fn operation(direction: Direction, dtype: DType, channels: u32) -> Operation {
        let kernel = KernelSize::submanifold(3).unwrap();
        Operation::submanifold(direction, dtype, channels, channels, kernel)
    }

    fn default_of<'a>(all: &'a [Arc<dyn Algorithm>], op: &Operation) -> &'a dyn Algorithm {
        let default = all.iter().find(|one| one.is_default(op) && one.applies(op));
        &**default.unwrap_or_else(|| panic!("no default for {op}"))
    }

    const MILLION: MapCounts = MapCounts { n_in: 1_000_000, n_out: 1_000_000, pairs: 8_000_000 };

    #[test]
    fn only_what_runs_here_and_is_there_is_chosen() {
        let h100 = absent(ComputeCapability { major: 9, minor: 0 }, 132, None, None);
        let a100 = absent(ComputeCapability { major: 8, minor: 0 }, 108, None, None);
        let op = operation(Direction::Forward, DType::Float16, 128);
        let family = |algorithms: &[Arc<dyn Algorithm>]| {
            let default = default_of(&h100, &op);
            choose(algorithms.iter(), &op, MILLION, default).map(|it| it.id().family().to_owned())
        };
        assert_eq!(family(&h100).as_deref(), Some("wgmma_gemm"));
        assert_ne!(family(&a100).as_deref(), Some("wgmma_gemm"));
        // A device that has the code of nothing else.
        let nothing = KernelSource::default();
        let bare = absent(ComputeCapability { major: 9, minor: 0 }, 132, Some(&nothing), None);
        assert_eq!(family(&bare), None);
    }

    #[test]
    fn sums_are_never_longer_than_the_defaults() {
        let h100 = absent(ComputeCapability { major: 9, minor: 0 }, 132, None, None);
        for channels in [16, 32, 64, 96, 128, 256, 512] {
            for rows in [30_000, 1_000_000] {
                let op = operation(Direction::Wgrad, DType::BFloat16, channels);
                let counts = MapCounts { n_in: rows, n_out: rows, pairs: 6 * rows };
                if let Some(chosen) = choose(h100.iter(), &op, counts, default_of(&h100, &op)) {
                    let id = chosen.id().to_string();
                    assert!(!id.ends_with("split=128") && !id.ends_with("split=256"), "{op}: {id}");
                }
            }
        }
    }

    /// The default or what is clearly faster, where the default is of the family; else what suits
    /// the layer.
    #[test]
    fn of_a_family_that_was_named_what_suits_is_chosen() {
        let h100 = absent(ComputeCapability { major: 9, minor: 0 }, 132, None, None);
        let chosen = |family: &str, op: &Operation| {
            let of_family = |one: &&Arc<dyn Algorithm>| one.id().family() == family;
            let usable: Vec<_> =
                h100.iter().filter(of_family).filter(|one| one.applies(op)).collect();
            choose_named(&usable, op, MILLION).map(Arc::clone)
        };
        for channels in [32, 64, 96, 128, 256] {
            let wgrad = operation(Direction::Wgrad, DType::Float16, channels);
            let pair = chosen("pair_gemm", &wgrad).unwrap();
            assert!(pair.is_safe_unverified(&wgrad), "{pair:?}");
            let forward = operation(Direction::Forward, DType::Float16, channels);
            for family in ["mask_gemm", "wgmma_gemm"] {
                let found = chosen(family, &forward).unwrap();
                assert!(found.in_auto_pool(&forward, MILLION), "{found:?}");
            }
        }
        let float32 = operation(Direction::Forward, DType::Float32, 64);
        let implicit = chosen("implicit_gemm", &float32).unwrap();
        assert!(implicit.is_default(&float32), "{implicit:?}");
        assert!(chosen("mask_gemm", &float32).is_none());
    }

    #[test]
    fn float32_has_no_model() {
        let h100 = absent(ComputeCapability { major: 9, minor: 0 }, 132, None, None);
        let op = operation(Direction::Forward, DType::Float32, 64);
        assert!(choose(h100.iter(), &op, MILLION, default_of(&h100, &op)).is_none());
    }
}
