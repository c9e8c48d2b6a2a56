//! What an algorithm asks of its kernel family: one implementation for each, and one list.

use std::fmt::Debug;

use half::{bf16, f16};
use voxtune_types::{AlgoId, Operation};

use crate::epilogue::TypedEpilogue;
use crate::explicit_gemm::ExplicitGemm;
use crate::grouped::Grouped;
use crate::implicit_gemm::ImplicitGemm;
use crate::kernel_map::KernelMap;
use crate::simd::{Simd, Storage};

/// The products of a family over elements of one storage type.
pub(crate) trait Products<T> {
    /// Forward and dgrad.
    #[expect(clippy::too_many_arguments, reason = "operands of three kinds, and how")]
    fn product(
        &self,
        simd: Simd,
        op: &Operation,
        map: &KernelMap,
        a: &[T],
        weights: &[T],
        out: &mut [T],
        epilogue: Option<TypedEpilogue<'_, T>>,
    );

    /// The weights' gradient.
    fn wgrad(
        &self,
        simd: Simd,
        op: &Operation,
        map: &KernelMap,
        features: &[T],
        grad_out: &[T],
        out: &mut [f32],
    );
}

/// A family with its parameters.
pub(crate) trait Variant:
    Products<f16> + Products<bf16> + Products<f32> + Debug + Send + Sync
{
    /// The permanent name.
    fn id(&self) -> AlgoId;

    /// Whether it runs where nothing was measured.
    fn is_default(&self, op: &Operation) -> bool;

    /// Whether there is a kernel for an operation with channels and whole groups.
    fn applies(&self, op: &Operation) -> bool;

    /// Whether it is worth measuring over so many output rows, if it applies.
    fn in_auto_pool(&self, op: &Operation, n_out: usize) -> bool;

    /// Memory that a run takes beyond operands and map.
    ///
    /// # Units
    /// Bytes.
    fn workspace_bytes(&self, op: &Operation, map: &KernelMap) -> usize;

    /// The text of what it runs, beside the vector kernels.
    fn sources(&self) -> &'static [&'static str];
}

/// Every family with all its parameters, in the order of [`crate::algorithms`].
pub(crate) fn variants() -> Vec<Box<dyn Variant>> {
    let implicit = ImplicitGemm::ALL.into_iter().map(boxed);
    let grouped = Grouped::ALL.into_iter().map(boxed);
    std::iter::once(boxed(ExplicitGemm)).chain(implicit).chain(grouped).collect()
}

fn boxed<V: Variant + 'static>(variant: V) -> Box<dyn Variant> {
    Box::new(variant)
}

fn id(family: &str, parameters: &[(&str, usize)]) -> AlgoId {
    let values: Vec<_> = parameters.iter().map(|(_, value)| value.to_string()).collect();
    let named: Vec<_> =
        parameters.iter().zip(&values).map(|((name, _), value)| (*name, &**value)).collect();
    AlgoId::new(family, &named).expect("a well-formed name")
}

macro_rules! products {
    ($family:ty) => {
        impl<T: Storage> Products<T> for $family {
            fn product(
                &self,
                simd: Simd,
                op: &Operation,
                map: &KernelMap,
                a: &[T],
                weights: &[T],
                out: &mut [T],
                epilogue: Option<TypedEpilogue<'_, T>>,
            ) {
                <$family>::product(*self, simd, op, map, a, weights, out, epilogue);
            }

            fn wgrad(
                &self,
                simd: Simd,
                op: &Operation,
                map: &KernelMap,
                features: &[T],
                grad_out: &[T],
                out: &mut [f32],
            ) {
                <$family>::wgrad(*self, simd, op, map, features, grad_out, out);
            }
        }
    };
}
products!(ExplicitGemm);
products!(ImplicitGemm);
products!(Grouped);

impl Variant for ExplicitGemm {
    fn id(&self) -> AlgoId {
        id(Self::FAMILY, &[])
    }

    fn is_default(&self, _: &Operation) -> bool {
        false
    }

    fn applies(&self, op: &Operation) -> bool {
        op.groups == 1
    }

    fn in_auto_pool(&self, op: &Operation, n_out: usize) -> bool {
        Self::in_auto_pool(*self, op, n_out)
    }

    fn workspace_bytes(&self, op: &Operation, map: &KernelMap) -> usize {
        Self::workspace_bytes(*self, op, map)
    }

    fn sources(&self) -> &'static [&'static str] {
        Self::SOURCES
    }
}

impl Variant for ImplicitGemm {
    fn id(&self) -> AlgoId {
        id(Self::FAMILY, &[("rows", self.rows), ("cols", self.cols)])
    }

    fn is_default(&self, op: &Operation) -> bool {
        op.groups == 1 && *self == Self::default_for(op)
    }

    fn applies(&self, op: &Operation) -> bool {
        op.groups == 1 && Self::applies(*self, op)
    }

    fn in_auto_pool(&self, op: &Operation, n_out: usize) -> bool {
        Self::in_auto_pool(*self, op, n_out)
    }

    fn workspace_bytes(&self, op: &Operation, map: &KernelMap) -> usize {
        Self::workspace_bytes(*self, Simd::best(), op, map)
    }

    fn sources(&self) -> &'static [&'static str] {
        Self::SOURCES
    }
}

impl Variant for Grouped {
    fn id(&self) -> AlgoId {
        id(Self::FAMILY, &[("rows", self.rows)])
    }

    fn is_default(&self, op: &Operation) -> bool {
        op.groups != 1 && *self == Self::DEFAULT
    }

    fn applies(&self, op: &Operation) -> bool {
        op.groups != 1
    }

    fn in_auto_pool(&self, _: &Operation, _: usize) -> bool {
        true
    }

    fn workspace_bytes(&self, op: &Operation, map: &KernelMap) -> usize {
        Self::workspace_bytes(*self, op, map)
    }

    fn sources(&self) -> &'static [&'static str] {
        Self::SOURCES
    }
}
