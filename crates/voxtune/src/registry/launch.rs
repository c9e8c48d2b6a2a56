//! One call.

use voxtune_types::Operation;

use crate::{ConvError, Epilogue, KernelMap, Tensor};

/// One call: an operation over a kernel map, with its operands.
///
/// # Shapes
/// | direction | `a` | `b` | `out` |
/// |---|---|---|---|
/// | forward | `(n_in, c_in)` | weights `(volume · c_in / groups, c_out)` | `(n_out, c_out)` |
/// | dgrad | `(n_out, c_out)` | weights `(volume · c_in / groups, c_out)` | `(n_in, c_in)` |
/// | wgrad | `(n_in, c_in)` | gradient `(n_out, c_out)` | float32, as weights |
#[derive(Debug)]
pub struct Launch<'a> {
    /// What to compute.
    pub operation: &'a Operation,
    /// Which rows meet.
    pub map: &'a KernelMap,
    /// First operand.
    pub a: &'a Tensor,
    /// Second operand.
    pub b: &'a Tensor,
    /// Result, overwritten entirely.
    pub out: &'a mut Tensor,
    /// What a forward product does before it writes.
    pub epilogue: Option<&'a Epilogue<'a>>,
}

impl Launch<'_> {
    /// Whether the map is one of the operation's layers. What else does not fit, an algorithm
    /// refuses itself. Allocates nothing.
    pub(super) fn check(&self) -> Result<(), ConvError> {
        self.map.check(self.operation)
    }
}
