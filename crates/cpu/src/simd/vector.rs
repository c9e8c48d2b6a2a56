//! What the kernels need of a vector of float32 values.

/// A register of float32 values.
///
/// Methods are inlined into callers compiled with the instructions' features; see
/// [`super::kernel`].
pub(super) trait Vector: Copy {
    /// Values in the register.
    const LANES: usize;

    /// All lanes zero.
    ///
    /// # Safety
    /// The processor has the instructions.
    unsafe fn zero() -> Self;

    /// Loads consecutive values; no alignment is needed.
    ///
    /// # Safety
    /// The processor has the instructions, and `LANES` values can be read at `from`.
    unsafe fn load(from: *const f32) -> Self;

    /// Loads one value into each lane.
    ///
    /// # Safety
    /// The processor has the instructions, and the value can be read.
    unsafe fn splat(from: *const f32) -> Self;

    /// Stores consecutive values; no alignment is needed.
    ///
    /// # Safety
    /// The processor has the instructions, and `LANES` values can be written at `to`.
    unsafe fn store(self, to: *mut f32);

    /// `self + other`.
    ///
    /// # Safety
    /// The processor has the instructions.
    unsafe fn add(self, other: Self) -> Self;

    /// `self · factor + addend`, rounded once.
    ///
    /// # Safety
    /// The processor has the instructions.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
}
