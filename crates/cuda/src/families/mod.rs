//! The algorithms: what each computes, which instance it needs, how it is launched.
//!
//! | family | directions | dtypes | |
//! |---|---|---|---|
//! | `mask_gemm` | forward, dgrad | 16-bit | output-stationary on tensor cores |
//! | `wgmma_gemm` | forward, dgrad | 16-bit | the same by Hopper's warpgroup instructions |
//! | `cluster_gemm` | forward, dgrad | 16-bit | the same of few rows: long tiles cut, or first |
//! | `resident_gemm` | forward, dgrad | 16-bit | few channels, all weights in shared memory |
//! | `packed_gemm` | forward, dgrad | 16-bit | at most eight gathered channels, offsets packed |
//! | `pair_gemm` | wgrad | 16-bit | pair lists on tensor cores, split along the pairs |
//! | `wgmma_wgrad` | wgrad | 16-bit | the same by Hopper's warpgroup instructions |
//! | `implicit_gemm` | all | all | plain float32 units; any channels |
//! | `grouped` | all | all | several groups of channels, which no other takes; depthwise layers |
//! | `explicit_gemm` | all | all | gather, cuBLAS, scatter-add; never the default |
//!
//! Of few rows, `mask_gemm` and `wgmma_gemm` may cut each tile's offsets into parts: `splits`.

mod algorithm;
mod cluster_gemm;
mod countable;
mod epilogue;
mod explicit_gemm;
mod family;
mod geometry;
mod group_params;
mod grouped;
mod implicit_gemm;
mod mask_gemm;
mod operands;
mod packed_gemm;
mod pair_gemm;
mod pair_lists;
mod pair_units;
mod prepared;
mod resident_gemm;
mod splits;
mod tensor_map;
#[cfg(test)]
mod testing;
mod tile_gemm;
mod wgmma_gemm;
mod wgmma_wgrad;

use std::sync::LazyLock;

use voxtune_types::{AlgoId, Operation};

pub use algorithm::Algorithm;
pub use epilogue::Epilogue;
pub use explicit_gemm::Cublas;
pub(crate) use operands::check_length;
pub use operands::{Matrix, MatrixMut, Operands};
pub use prepared::Prepared;

use family::KernelFamily;

/// Every family. A new one is a source in `kernels/cuda`, a file beside this one, and a line here.
static FAMILIES: &[&dyn KernelFamily] = &[
    &explicit_gemm::Family,
    &implicit_gemm::Family,
    &mask_gemm::Family,
    &wgmma_gemm::Family,
    &cluster_gemm::Family,
    &resident_gemm::Family,
    &packed_gemm::Family,
    &pair_gemm::Family,
    &wgmma_wgrad::Family,
    &grouped::Family,
];

/// Every algorithm, the same on every device.
#[must_use]
pub fn algorithms() -> &'static [Algorithm] {
    static ALL: LazyLock<Vec<Algorithm>> = LazyLock::new(|| {
        let families = FAMILIES.iter().enumerate();
        let listed = families.flat_map(|(family, of)| {
            of.variants().into_iter().enumerate().map(move |(place, variant)| Algorithm {
                id: variant.id(),
                place: (family, place),
                variant,
            })
        });
        listed.collect()
    });
    &ALL
}

/// The algorithm of an id.
#[must_use]
pub fn algorithm(id: &AlgoId) -> Option<&'static Algorithm> {
    algorithms().iter().find(|algorithm| algorithm.id == *id)
}

/// What runs where nothing is known: right for every size, and never cuBLAS. It takes no more
/// shared memory than every architecture has, and at most the row order that keeps gathers near.
///
/// # Panics
/// Never: one family names a variant for each operation, which a test checks.
#[must_use]
pub fn default_algorithm(op: &Operation) -> &'static Algorithm {
    find(|family| default_of(family, op))
}

/// Whether a family computes operations of so many groups.
fn takes(family: &dyn KernelFamily, op: &Operation) -> bool {
    family.takes_groups() == (op.groups != 1)
}

/// The variant by which a family names the default of an operation.
fn default_of(family: &dyn KernelFamily, op: &Operation) -> Option<usize> {
    takes(family, op).then(|| family.default_variant(op)).flatten()
}

/// What computes an operation where neither a measurement nor the default can run: it takes any
/// channels, by an instance of its own at worst.
///
/// # Panics
/// Never: it is listed, which a test checks.
#[must_use]
pub fn fallback_algorithm() -> &'static Algorithm {
    find(|family| family.fallback_variant())
}

/// The variant that the first family which names one names.
fn find(name: impl Fn(&'static dyn KernelFamily) -> Option<usize>) -> &'static Algorithm {
    let mut families = FAMILIES.iter().enumerate();
    let place = families.find_map(|(place, family)| Some((place, name(*family)?)));
    let mut all = algorithms().iter();
    all.find(|algorithm| Some(algorithm.place) == place)
        .expect("one family names a listed variant, which a test checks")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use voxtune_types::{ComputeCapability, DType, Direction, KernelSize, LayerKind, PitchClass};

    use super::*;
    use crate::families::testing::h100;
    use crate::map::RowOrder;

    fn operations() -> impl Iterator<Item = Operation> {
        let channels = [
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 16, 20, 32, 33, 48, 64, 96, 128, 192, 256, 384, 512,
        ];
        Direction::ALL.into_iter().flat_map(move |direction| {
            DType::ALL.into_iter().flat_map(move |dtype| {
                channels.into_iter().flat_map(move |c_in| {
                    channels.into_iter().flat_map(move |c_out| {
                        [1, 3, 5].into_iter().map(move |extent| {
                            let kernel = KernelSize::submanifold(extent).unwrap();
                            Operation::submanifold(direction, dtype, c_in, c_out, kernel)
                        })
                    })
                })
            })
        })
    }

    /// The same channels in groups, where they divide into them.
    fn grouped_operations() -> impl Iterator<Item = Operation> {
        let of_groups = |op: Operation| {
            let several = [2, 3, 4, 8, op.c_in].into_iter().filter(|groups| *groups > 1);
            several.map(move |groups| op.with_groups(groups)).filter(Operation::has_whole_groups)
        };
        operations().flat_map(of_groups)
    }

    fn all_operations() -> impl Iterator<Item = Operation> {
        operations().chain(grouped_operations())
    }

    #[test]
    fn ids_are_unique() {
        let ids: BTreeSet<&AlgoId> = algorithms().iter().map(Algorithm::id).collect();
        assert_eq!(ids.len(), algorithms().len());
    }

    #[test]
    fn every_operation_has_a_default_without_cublas() {
        for op in all_operations() {
            let default = default_algorithm(&op);
            assert!(default.applies(&op) && !default.requires_cublas(), "{op}: {default}");
            assert!(default.fits(&op, ComputeCapability { major: 8, minor: 6 }), "{op}: {default}");
            assert_ne!(default.row_order(), RowOrder::Global, "{op}: {default}");
            assert!(default.in_auto_pool(&op, 100_000, &h100()), "{op}: {default}");
        }
    }

    #[test]
    fn one_family_names_the_default_of_an_operation() {
        for op in all_operations() {
            let named = FAMILIES.iter().filter(|family| default_of(**family, &op).is_some());
            assert_eq!(named.count(), 1, "{op}");
            assert!(default_algorithm(&op).is_default(&op));
        }
    }

    /// One instance a direction, dtype and width of masks stands in for all channels.
    #[test]
    fn the_fallback_computes_everything_with_few_instances() {
        let mut instances = BTreeSet::new();
        for op in operations() {
            let own = fallback_algorithm().instance(&op).unwrap();
            assert!(fallback_algorithm().fits(&op, ComputeCapability { major: 8, minor: 6 }));
            instances.insert(own.for_any_channels().unwrap());
        }
        assert_eq!(instances.len(), 3 * 3 * 2);
    }

    /// Of several groups likewise: whatever instance the default has, one that is nearly the same
    /// stands in for all channels and groups.
    #[test]
    fn one_instance_stands_in_for_all_groups() {
        let mut instances = BTreeSet::new();
        for op in grouped_operations() {
            let default = default_algorithm(&op);
            assert_eq!(default.id().family(), "grouped", "{op}");
            instances.insert(default.instance(&op).unwrap().for_any_channels().unwrap());
        }
        // Forward and dgrad for each width of masks; wgrad reads none.
        assert_eq!(instances.len(), 3 * (2 * 2 + 1));
    }

    #[test]
    fn families_share_no_groups() {
        for op in all_operations() {
            for algorithm in algorithms().iter().filter(|one| one.applies(&op)) {
                let of_groups = algorithm.id().family() == "grouped";
                assert_eq!(of_groups, op.groups != 1, "{algorithm}: {op}");
            }
            let broken = op.with_groups(op.c_in + op.c_out);
            assert!(algorithms().iter().all(|one| !one.applies(&broken)), "{broken}");
        }
    }

    #[test]
    fn sixteen_bit_operations_have_at_least_three_algorithms() {
        for op in operations().filter(|op| op.dtype != DType::Float32) {
            let families: BTreeSet<&str> = algorithms()
                .iter()
                .filter(|algorithm| algorithm.in_auto_pool(&op, 100_000, &h100()))
                .map(|algorithm| algorithm.id().family())
                .collect();
            assert!(families.len() >= 3, "{op}: {families:?}");
        }
    }

    #[test]
    fn the_auto_pool_is_small() {
        for op in all_operations() {
            let pool = algorithms()
                .iter()
                .filter(|algorithm| algorithm.in_auto_pool(&op, 500_000, &h100()))
                .count();
            assert!((2..=60).contains(&pool), "{op}: {pool}");
        }
    }

    #[test]
    fn an_instance_is_a_source_of_the_kernels() {
        for op in all_operations() {
            for algorithm in algorithms() {
                let instance = algorithm.instance(&op);
                assert_eq!(instance.is_some(), algorithm.applies(&op));
                if let Some(instance) = instance {
                    assert!(
                        voxtune_kernels::SOURCES
                            .iter()
                            .any(|source| source.name == instance.source)
                    );
                }
            }
        }
    }

    /// Pitches are parameters of launches: rows that lie apart are read by the code of dense ones.
    #[test]
    fn pitched_rows_have_the_instances_of_dense_ones() {
        for op in all_operations() {
            let pitched = Operation { pitch: PitchClass::Pitched, ..op };
            for algorithm in algorithms() {
                assert_eq!(algorithm.instance(&pitched), algorithm.instance(&op));
                assert_eq!(algorithm.applies(&pitched), algorithm.applies(&op));
            }
            assert_eq!(default_algorithm(&pitched).id(), default_algorithm(&op).id());
        }
    }

    /// Kernels know neither stride nor which side of a map is which. What a layer of the same
    /// channels runs on inputs alone, it runs between two clouds.
    #[test]
    fn strided_and_transposed_layers_have_the_instances_of_submanifold_ones() {
        for op in all_operations() {
            for (stride, kind) in [
                ([2; 3], LayerKind::Sparse),
                ([2, 1, 1], LayerKind::Inverse),
                ([1; 3], LayerKind::Transposed),
            ] {
                let across = Operation { stride, kind, ..op };
                for algorithm in algorithms() {
                    assert_eq!(algorithm.instance(&across), algorithm.instance(&op));
                }
                assert_eq!(default_algorithm(&across).id(), default_algorithm(&op).id());
            }
        }
    }
}
