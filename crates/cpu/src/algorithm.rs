//! The list of kernels, their names, and the checks before a run.

use std::sync::LazyLock;

use voxtune_types::{AlgoId, DType, Direction, Operation, PitchClass, Product};

use crate::elements::{Elements, ElementsMut};
use crate::epilogue::Epilogue;
use crate::error::RunError;
use crate::family::{Products, Variant, variants};
use crate::kernel_map::KernelMap;
use crate::simd::Simd;

/// Two inputs and an output of a convolution in host memory.
///
/// # Shapes
/// All row-major.
///
/// | direction | `a` | `b` | `out` |
/// |---|---|---|---|
/// | forward | input `(n_in, c_in)` | weights `(volume, c_in / groups, c_out)` | `(n_out, c_out)` |
/// | dgrad | output gradient `(n_out, c_out)` | weights | features' gradient `(n_in, c_in)` |
/// | wgrad | input `(n_in, c_in)` | gradient `(n_out, c_out)` | weights' gradient, float32 |
///
/// Of output channel `o` the weights are those of the inputs of its own group.
#[derive(Debug)]
pub struct Operands<'a> {
    /// The first input.
    pub a: Elements<'a>,
    /// The second input.
    pub b: Elements<'a>,
    /// The output, which is overwritten.
    pub out: ElementsMut<'a>,
    /// What the forward direction does before it writes.
    pub epilogue: Epilogue<'a>,
}

/// A kernel with its parameters. It runs every direction.
#[derive(Debug)]
pub struct Algorithm {
    id: AlgoId,
    variant: Box<dyn Variant>,
}

/// Every algorithm of the host, in a fixed order.
#[must_use]
pub fn algorithms() -> &'static [Algorithm] {
    static ALGORITHMS: LazyLock<Vec<Algorithm>> = LazyLock::new(|| {
        let named = |variant: Box<dyn Variant>| Algorithm { id: variant.id(), variant };
        variants().into_iter().map(named).collect()
    });
    &ALGORITHMS
}

/// The algorithm to run where nothing has been measured. It applies to the operation if any does.
#[must_use]
pub fn default_algorithm(op: &Operation) -> &'static Algorithm {
    let is_default = |algorithm: &&Algorithm| algorithm.variant.is_default(op);
    algorithms().iter().find(is_default).expect("the default is one of the list")
}

impl Algorithm {
    /// The permanent name.
    #[must_use]
    pub const fn id(&self) -> &AlgoId {
        &self.id
    }

    /// Whether there is a kernel for this operation. Blocks that are wider than the operation's
    /// columns have none where a narrower block would do the same work.
    #[must_use]
    pub fn applies(&self, op: &Operation) -> bool {
        op.has_whole_groups()
            && op.pitch == PitchClass::Dense
            && op.checked_weight_len().is_some()
            && op.c_in > 0
            && op.c_out > 0
            && self.variant.applies(op)
    }

    /// Whether the algorithm is worth measuring for this operation over this many output rows. The
    /// pool is small: from three to six a direction.
    #[must_use]
    pub fn in_auto_pool(&self, op: &Operation, n_out: usize) -> bool {
        self.applies(op) && self.variant.in_auto_pool(op, n_out)
    }

    /// Memory that a run takes beyond its operands and the map, at its peak, on rayon's current
    /// pool. [`usize::MAX`] where no memory holds the operands themselves.
    ///
    /// # Units
    /// Bytes.
    #[must_use]
    pub fn workspace_bytes(&self, op: &Operation, map: &KernelMap) -> usize {
        // Eight times as many bytes have no address, so no sum of a few of these wraps.
        let holds = |len: u128| len <= (isize::MAX >> 5) as u128;
        if !expected(op, map).iter().all(|(_, _, len, _)| holds(*len)) {
            return usize::MAX;
        }
        let transposed_bytes = match op.direction.product() {
            Product::Dgrad => map.unbuilt_transposed_bytes(),
            Product::Forward | Product::Wgrad => 0,
        };
        transposed_bytes + self.variant.workspace_bytes(op, map)
    }

    /// Computes one direction of a convolution and overwrites all of the output. Sums are in
    /// float32, in an order that depends on the map and the algorithm alone.
    ///
    /// # Shapes
    /// Those of [`Operands`].
    ///
    /// # Errors
    /// If the algorithm does not apply, or a buffer or the map does not fit the operation.
    pub fn run(
        &self,
        op: &Operation,
        map: &KernelMap,
        operands: Operands<'_>,
    ) -> Result<(), RunError> {
        self.run_with(Simd::best(), op, map, operands)
    }

    /// [`Self::run`] on chosen vector instructions.
    pub(crate) fn run_with(
        &self,
        simd: Simd,
        op: &Operation,
        map: &KernelMap,
        operands: Operands<'_>,
    ) -> Result<(), RunError> {
        if !self.applies(op) {
            return Err(RunError::NotApplicable { algorithm: self.id.clone(), operation: *op });
        }
        check(op, map, &operands)?;
        let Operands { a, b, out, epilogue } = operands;
        let variant = &*self.variant;
        macro_rules! products {
            ($dtype:ident, $a:expr, $b:expr, $out:expr) => {{
                let residual = match epilogue.residual {
                    Some(Elements::$dtype(residual)) => Some(residual),
                    _ => None,
                };
                let epilogue = epilogue.typed(residual);
                Products::product(variant, simd, op, map, $a, $b, $out, epilogue);
            }};
        }
        match (a, b, out) {
            (Elements::Float16(a), Elements::Float16(b), ElementsMut::Float16(out)) => {
                products!(Float16, a, b, out);
            }
            (Elements::BFloat16(a), Elements::BFloat16(b), ElementsMut::BFloat16(out)) => {
                products!(BFloat16, a, b, out);
            }
            (Elements::Float16(a), Elements::Float16(b), ElementsMut::Float32(out)) => {
                Products::wgrad(variant, simd, op, map, a, b, out);
            }
            (Elements::BFloat16(a), Elements::BFloat16(b), ElementsMut::Float32(out)) => {
                Products::wgrad(variant, simd, op, map, a, b, out);
            }
            (Elements::Float32(a), Elements::Float32(b), ElementsMut::Float32(out)) => {
                if op.direction == Direction::Wgrad {
                    Products::wgrad(variant, simd, op, map, a, b, out);
                } else {
                    products!(Float32, a, b, out);
                }
            }
            _ => unreachable!("storage types have been checked"),
        }
        Ok(())
    }

    /// A hash of the source that this algorithm runs, so that a measurement can be told to be of
    /// other code. Stable across builds of the same source.
    #[must_use]
    pub fn source_hash(&self) -> u64 {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for source in self.variant.sources().iter().chain(Simd::SOURCES) {
            // A checkout may have converted the ends of lines.
            for line in source.lines() {
                hasher.update(line.as_bytes());
                hasher.update(b"\n");
            }
        }
        hasher.digest()
    }
}

/// Names and shapes of the operands, in the order `a`, `b`, `out`.
fn expected(op: &Operation, map: &KernelMap) -> [(&'static str, &'static str, u128, DType); 3] {
    let (n_in, n_out) = (map.n_in() as u128, map.n_out() as u128);
    let (c_in, c_out) = (u128::from(op.c_in), u128::from(op.c_out));
    let (input, output) = (n_in * c_in, n_out * c_out);
    // Extents are at most 7, so the product fits.
    let (of_group, _) = op.group_channels();
    let weights = op.kernel.volume() as u128 * u128::from(of_group) * c_out;
    match op.direction.product() {
        Product::Forward => [
            ("features", "n_in × c_in", input, op.dtype),
            ("weights", "volume × c_in / groups × c_out", weights, op.dtype),
            ("output", "n_out × c_out", output, op.dtype),
        ],
        Product::Dgrad => [
            ("output gradient", "n_out × c_out", output, op.dtype),
            ("weights", "volume × c_in / groups × c_out", weights, op.dtype),
            ("feature gradient", "n_in × c_in", input, op.dtype),
        ],
        Product::Wgrad => [
            ("features", "n_in × c_in", input, op.dtype),
            ("output gradient", "n_out × c_out", output, op.dtype),
            ("weight gradient", "volume × c_in / groups × c_out", weights, DType::Float32),
        ],
    }
}

/// Checks the map, then the type and length of an operand each.
pub(crate) fn check_shapes(
    op: &Operation,
    map: &KernelMap,
    found: &[(DType, usize)],
) -> Result<(), RunError> {
    if map.kernel_volume() != op.kernel.volume() {
        return Err(RunError::WrongMap {
            operation: *op,
            expected: op.kernel.volume(),
            found: map.kernel_volume(),
        });
    }
    for ((operand, shape, len, dtype), &(found_dtype, found_len)) in
        expected(op, map).into_iter().zip(found)
    {
        if found_dtype != dtype {
            return Err(RunError::WrongDType { operand, expected: dtype, found: found_dtype });
        }
        if found_len as u128 != len {
            return Err(RunError::WrongLength { operand, shape, expected: len, found: found_len });
        }
    }
    Ok(())
}

fn check(op: &Operation, map: &KernelMap, operands: &Operands<'_>) -> Result<(), RunError> {
    let Operands { a, b, out, epilogue } = operands;
    let found = [(a.dtype(), a.len()), (b.dtype(), b.len()), (out.dtype(), out.len())];
    check_shapes(op, map, &found)?;
    epilogue.check(op, map.n_out())
}
