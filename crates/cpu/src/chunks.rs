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

/// Values of a task that makes many of them.
const MADE: usize = 1 << 14;

/// So many values, made by tasks: each is given the place of its first one, and writes all of its
/// own.
pub(crate) fn make_chunks<T: Clone + Default + Send>(
    len: usize,
    make: &(dyn Fn(usize, &mut [T]) + Sync),
) -> Vec<T> {
    let mut values = vec![T::default(); len];
    for_each_chunk(&mut values, MADE, &|place, values| make(place * MADE, values));
    values
}

/// So many values, each of them a task's.
pub(crate) fn make_each<T: Clone + Default + Send>(
    len: usize,
    make: &(dyn Fn(usize) -> T + Sync),
) -> Vec<T> {
    let mut values = vec![T::default(); len];
    for_each_chunk(&mut values, 1, &|place, value| value[0] = make(place));
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_made_once() {
        for len in [0, 1, MADE - 1, MADE, 3 * MADE + 5] {
            let made = make_chunks(len, &|first, values: &mut [usize]| {
                for (value, place) in values.iter_mut().zip(first..) {
                    *value += place;
                }
            });
            assert!(made.into_iter().eq(0..len));
        }
        assert_eq!(make_each(5, &|place| place * place), [0, 1, 4, 9, 16]);
    }
}
