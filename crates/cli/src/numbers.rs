//! Numbers on the command line.

/// A count that cannot be none.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number of at least 1".to_owned()),
        Ok(number) => Ok(number),
    }
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
}
