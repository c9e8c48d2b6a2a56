//! Zeroed memory that may not be there.

use std::alloc::{Layout, alloc_zeroed};
use std::sync::atomic::AtomicU64;

use half::{bf16, f16};

/// Types whose zero is all bits zero.
///
/// # Safety
/// A value of which every bit is zero is a value of the implementor.
pub(crate) unsafe trait ZeroBits {}

// SAFETY: the formats of IEEE 754, and the upper half of one: no bit set is positive zero.
unsafe impl ZeroBits for f16 {}
// SAFETY: as above.
unsafe impl ZeroBits for bf16 {}
// SAFETY: as above.
unsafe impl ZeroBits for f32 {}
// SAFETY: its bits are those of a `u64`.
unsafe impl ZeroBits for AtomicU64 {}

/// Zeros; `None` where there is no such memory, or could not be any. `vec![0; len]` would end the
/// program then, and `try_reserve` has no zeros: the system's own come page by page, at the first
/// touch, to whichever thread that is.
pub(crate) fn zeroed<T: ZeroBits>(len: usize) -> Option<Vec<T>> {
    let layout = Layout::array::<T>(len).ok()?;
    if layout.size() == 0 {
        return Some(Vec::new());
    }
    // SAFETY: the size is not zero.
    let start = unsafe { alloc_zeroed(layout) }.cast::<T>();
    if start.is_null() {
        return None;
    }
    // SAFETY: the global allocator gave the memory for the layout of `len` values, each of which is
    // zero in every bit, and so a value.
    Some(unsafe { Vec::from_raw_parts(start, len, len) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_zeros() {
        for len in [0, 1, 5, 100_000] {
            let zeros = zeroed::<f32>(len).unwrap();
            assert!(zeros.len() == len && zeros.iter().all(|zero| zero.to_bits() == 0));
            let zeros = zeroed::<f16>(len).unwrap();
            assert!(zeros.len() == len && zeros.iter().all(|zero| zero.to_bits() == 0));
        }
    }

    #[test]
    fn n07_memory_that_is_not_there_is_no_end_of_the_program() {
        for len in [usize::MAX, usize::MAX / 4, isize::MAX as usize / 4, 1 << 58] {
            assert!(zeroed::<f32>(len).is_none());
            assert!(zeroed::<bf16>(len).is_none());
        }
    }
}
