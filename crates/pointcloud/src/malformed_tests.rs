//! Damaged files of every format: an error or what is left of the data, never a panic and never
//! more memory than the file can account for.

use proptest::prelude::*;

use crate::contents::Contents;
use crate::fixtures::{one_of_each_format, read_as};

/// A point takes three bytes at least, and packed bytes unpack to 1032 at most.
const MOST_POINTS_OF_A_BYTE: usize = 1032 / 3;

fn rows(contents: &Contents) -> usize {
    match contents {
        Contents::Points(points) => points.xyz.len() + points.dropped,
        Contents::Voxels(voxels) => voxels.len(),
    }
}

fn valid_files() -> Vec<(String, Vec<u8>)> {
    let points: Vec<[f32; 3]> = (0..12_u8).map(|n| [f32::from(n), 0.5, -2.25]).collect();
    one_of_each_format(&points)
}

#[test]
fn every_truncation_of_a_file_is_an_error() {
    for (name, bytes) in valid_files() {
        assert_eq!(rows(&read_as(&name, &bytes).unwrap()), 12, "{name}");
        // The last characters of a text may go: a final line end, or digits after a digit.
        let last_word = bytes.iter().rev().skip_while(|byte| byte.is_ascii_whitespace());
        let word = last_word.take_while(|byte| !byte.is_ascii_whitespace()).count();
        let lossless = if name.starts_with("ascii") { word + 1 } else { 1 };
        for length in 0..=bytes.len() - lossless {
            let whole_rows = match &name[..] {
                "a.bin" => length % 16 == 0,
                "a.pcd.bin" => length % 20 == 0,
                _ => false,
            };
            let read = read_as(&name, &bytes[..length]);
            assert_eq!(read.is_ok(), whole_rows, "{name} cut to {length}: {read:?}");
        }
    }
}

#[test]
fn errors_name_the_file() {
    for (name, bytes) in valid_files() {
        let message = read_as(&name, &bytes[..bytes.len() / 2 + 1]).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{name}: expected ")), "{message}");
        assert!(message.contains(", found "), "{message}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_damage_panics(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        digit in any::<prop::sample::Index>(),
        number in any::<u64>(),
    ) {
        for (name, valid) in valid_files() {
            let mut flipped = valid.clone();
            for (place, byte) in &flips {
                let place = place.index(flipped.len());
                flipped[place] = *byte;
            }
            check(&name, &flipped)?;
            // Another number in the place of a digit: what a malformed header would say.
            let digits: Vec<usize> =
                (0..valid.len()).filter(|&place| valid[place].is_ascii_digit()).collect();
            if !digits.is_empty() {
                let place = digits[digit.index(digits.len())];
                let text = number.to_string();
                let malformed = [&valid[..place], text.as_bytes(), &valid[place + 1..]].concat();
                check(&name, &malformed)?;
            }
        }
    }
}

fn check(name: &str, bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(contents) = read_as(name, bytes) {
        let most = bytes.len() * MOST_POINTS_OF_A_BYTE;
        prop_assert!(rows(&contents) <= most, "{}: {} rows", name, rows(&contents));
    }
    Ok(())
}
