//! Numbers in text, as any program prints them.

/// The number that a word names; a NaN for every way of writing what is none, an infinity included.
///
/// C99 prints `nan(ind)` and the like. Visual C++ before 2015 printed `1.#QNAN`, `1.#IND`,
/// `1.#INF`, and rounded them like digits where fewer were asked for: `1.#J`.
pub(crate) fn parse(word: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(word).ok()?;
    text.parse().ok().or_else(|| is_not_finite(text).then_some(f64::NAN))
}

/// What is expected where a word is no number, with what to do about a frequent cause.
pub(crate) fn expected(word: &[u8]) -> &'static str {
    let digits = word.iter().all(|byte| byte.is_ascii_digit() || b"+-.,eE".contains(byte));
    if digits && word.contains(&b',') {
        "a number with a point and no comma: write the file anew in an English locale"
    } else {
        "a number"
    }
}

fn is_not_finite(text: &str) -> bool {
    const VISUAL_C: [&str; 13] =
        ["INF", "IO", "J", "IND", "QNAN", "QNB", "QO", "R", "SNAN", "SNB", "SO", "T", "NAN"];
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text).to_ascii_uppercase();
    if let Some(payload) = unsigned.strip_prefix("NAN(").and_then(|rest| rest.strip_suffix(')')) {
        return payload.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    }
    // Missing digits are filled up with zeros.
    let code = unsigned.strip_prefix("1.#").map(|code| code.trim_end_matches('0'));
    code.is_some_and(|code| VISUAL_C.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_float64() {
        for (text, number) in [("0.1", 0.1), ("-3948996.3", -3_948_996.3), ("+1e3", 1e3)] {
            assert_eq!(parse(text.as_bytes()), Some(number));
        }
        assert_eq!(parse(b"inf"), Some(f64::INFINITY));
        for text in ["", "z", "1.#", "1.#ENDE", "2.#INF", "nan(", "nan(a b)", "nano", "\u{e9}"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn f19_msvc_nan_is_a_number_that_is_none() {
        for text in [
            "nan",
            "-nan(ind)",
            "NAN(SNAN)",
            "nan(0x7ff)",
            "1.#QNAN",
            "-1.#IND00",
            "1.#INF",
            "1.#J",
        ] {
            assert!(parse(text.as_bytes()).is_some_and(|number| !number.is_finite()), "{text}");
        }
    }

    #[test]
    fn a_decimal_comma_has_its_remedy() {
        assert!(expected(b"-3,25").contains("no comma"));
        assert_eq!(expected(b"a,b"), "a number");
    }
}
