//! Numbers on the command line.

/// A count that cannot be none.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number of at least 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// Cells along x, y and z.
pub(crate) fn grid(text: &str) -> Result<[u32; 3], String> {
    let extent = |part: &str| part.parse().ok().filter(|extent| *extent > 0);
    let extents = text.split(',').map(extent).collect::<Option<Vec<u32>>>();
    extents
        .and_then(|extents| <[u32; 3]>::try_from(extents).ok())
        .ok_or_else(|| "expected three whole numbers above 0, such as 1440,1440,41".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_at_least_1() {
        assert_eq!(positive("3"), Ok(3));
        for text in ["0", "-1", "x", ""] {
            assert!(positive(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_grid_is_three_numbers_above_zero() {
        assert_eq!(grid("1440,1440,41"), Ok([1440, 1440, 41]));
        for text in ["", "1,2", "1,2,3,4", "1,0,3", "1,-2,3", "a,b,c"] {
            assert!(grid(text).is_err(), "{text:?}");
        }
    }
}
