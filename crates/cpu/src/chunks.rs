//! Parallel work on the chunks of a slice.
//!
//! What rayon makes of a closure is most of what that closure takes to compile. So the work is
//! behind a pointer here, and there is one loop for each type of element.

use rayon::prelude::*;

/// Hands each chunk of `len` values, the last one shorter, to a task, with its place among them.
pub(crate) fn for_each_chunk<T: Send>(
    values: &mut [T],
    len: usize,
    work: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    values.par_chunks_mut(len).enumerate().for_each(|(place, values)| work(place, values));
}
