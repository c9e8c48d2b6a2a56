//! Whether numbers without a header lie in rows of a length.
//!
//! Columns of a scan differ in size: x and y reach far, z does not, an intensity is a fraction or a
//! byte, a ring a small number. In rows of a wrong length every column is a mixture of all of them.

use crate::columns::Columns;
use crate::error::excerpt;

/// Row lengths that scans have.
const LENGTHS: std::ops::RangeInclusive<usize> = Columns::MIN..=8;

/// Numbers that are looked at: whole rows of each of these lengths.
const MOST_NUMBERS: usize = 840 * 1024;

/// Fewer rows than these prove nothing.
const LEAST_ROWS: usize = 8;

/// Part of the variance that a row length must explain before it is believed.
const CLEAR: f64 = 0.2;

/// How much better than the expected length another one must explain it.
const CLEARLY_BETTER: f64 = 3.0;

/// How many columns a scan has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rows {
    /// The caller said so.
    Told(Columns),
    /// The name of the file makes it likely, and the numbers may contradict it.
    Usual(Columns),
}

/// What contradicts the row length, in words, with the remedy. The bytes are whole rows.
pub(crate) fn doubt(bytes: &[u8], rows: Rows) -> Option<String> {
    let start = &bytes[..bytes.len().min(1024)];
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    if !start.is_empty() && start.iter().all(is_text) {
        return Some(format!("text, {}: write float32", excerpt(start)));
    }
    let (words, _) = bytes.as_chunks::<4>();
    let first = &words[..words.len().min(MOST_NUMBERS)];
    let numbers: Vec<f32> = first.iter().map(|word| f32::from_le_bytes(*word)).collect();
    let (Rows::Told(columns) | Rows::Usual(columns)) = rows;
    if let Some(number) = absurd(&numbers, columns) {
        return Some(format!(
            "numbers such as {number:e}, which look like another type: write float32"
        ));
    }
    match rows {
        Rows::Told(_) => None,
        Rows::Usual(_) => wrong_length(&numbers, columns, &other_columns(bytes, columns)),
    }
}

/// Other row lengths that a file may have: those of scans that divide it. Multiples of the expected
/// one say nothing against it.
pub(crate) fn other_columns(bytes: &[u8], columns: Columns) -> Vec<usize> {
    let divides = |length: usize| bytes.len().is_multiple_of(4 * length);
    let other = |length: usize| !length.is_multiple_of(columns.get()) && divides(length);
    LENGTHS.filter(|&length| !bytes.is_empty() && other(length)).collect()
}

fn wrong_length(numbers: &[f32], columns: Columns, others: &[usize]) -> Option<String> {
    let sizes: Vec<f64> = numbers.iter().map(|&number| size(number)).collect();
    let ours = explained(&sizes, columns.get());
    let fits: Vec<(usize, f64)> =
        others.iter().map(|&length| (length, explained(&sizes, length))).collect();
    let theirs = fits.iter().map(|&(_, fit)| fit).max_by(f64::total_cmp)?;
    let remedy = |others: &[usize]| {
        let others: Vec<String> = others.iter().map(ToString::to_string).collect();
        let others = others.join(" or ");
        let names = format!("--columns {others}, or --columns {columns} to take it as it is");
        (others, format!("name the columns: {names}"))
    };
    if theirs > CLEAR && theirs > CLEARLY_BETTER * ours {
        // Half a length may explain as much as the length, and twice the length does.
        let alike = fits.iter().filter(|&&(_, fit)| fit > 0.7 * theirs);
        let (others, remedy) = remedy(&alike.map(|&(length, _)| length).collect::<Vec<_>>());
        return Some(format!("numbers that look like rows of {others}: {remedy}"));
    }
    // Neither an intensity nor what may follow it is below 0.
    let negative = numbers
        .chunks_exact(columns.get())
        .find_map(|row| row[Columns::MIN..].iter().position(|&number| number < 0.0))?;
    (ours < CLEAR).then(|| {
        let column = Columns::MIN + negative + 1;
        let (_, remedy) = remedy(others);
        format!("numbers below 0 in column {column}, as if rows had another length: {remedy}")
    })
}

/// How large a number is, on a scale on which a metre and a hundred are not far apart.
fn size(number: f32) -> f64 {
    if number.is_finite() { f64::from(number).abs().asinh() } else { 0.0 }
}

/// The part of the variance of sizes that columns explain, beyond what they would by chance.
fn explained(sizes: &[f64], columns: usize) -> f64 {
    let rows = sizes.len() / columns;
    if rows < LEAST_ROWS {
        return 0.0;
    }
    let sizes = &sizes[..rows * columns];
    let mean_of =
        |values: &mut dyn Iterator<Item = f64>, count: usize| values.sum::<f64>() / count as f64;
    let mean = mean_of(&mut sizes.iter().copied(), sizes.len());
    let total: f64 = sizes.iter().map(|size| (size - mean).powi(2)).sum();
    let between: f64 = (0..columns)
        .map(|column| mean_of(&mut sizes.iter().copied().skip(column).step_by(columns), rows))
        .map(|of_column| rows as f64 * (of_column - mean).powi(2))
        .sum();
    if total == 0.0 {
        return 0.0;
    }
    let freedom = (sizes.len() - 1) as f64 / (sizes.len() - columns) as f64;
    1.0 - (1.0 - between / total) * freedom
}

/// A coordinate that no scan has, if a sixteenth of them are such: whole numbers and float64 look
/// so when they are read as float32.
fn absurd(numbers: &[f32], columns: Columns) -> Option<f32> {
    let is_absurd = |number: f32| {
        let magnitude = number.abs();
        number.is_finite() && number != 0.0 && !(1e-30..1e9).contains(&magnitude)
    };
    let rows = numbers.chunks_exact(columns.get());
    let coordinates = rows.flat_map(|row| row[..Columns::MIN].iter().copied());
    let found: Vec<f32> = coordinates.filter(|&number| is_absurd(number)).collect();
    let many = found.len() * 16 * columns.get() > numbers.len() * Columns::MIN;
    if many { found.first().copied() } else { None }
}

#[cfg(test)]
mod tests {
    use crate::fixtures::{message_as, points_as, points_in_columns};
    use crate::random::Random;

    /// Rows such as scanners give: x, y, z, an intensity of 0 to `brightest`, then small numbers.
    fn scan(rows: usize, columns: usize, brightest: f32, is_positive: bool, seed: u64) -> Vec<u8> {
        let mut random = Random::new(*b"binscans", seed, columns as u64, 0);
        let mut draw = |from: f32, to: f32| {
            from + (to - from) * (random.below(1 << 20) as f32 / (1 << 20) as f32)
        };
        let mut bytes = Vec::new();
        for row in 0..rows {
            let shift = if is_positive { 60.0 } else { 0.0 };
            let mut numbers =
                vec![draw(-50.0, 50.0) + shift, draw(-50.0, 50.0) + shift, draw(-2.0, 3.0)];
            if is_positive {
                numbers[2] += 2.0;
            }
            numbers.push(draw(0.0, brightest));
            numbers.extend([(row % 32) as f32, 0.0, 0.1, 0.2]);
            bytes.extend(numbers[..columns].iter().flat_map(|number| number.to_le_bytes()));
        }
        bytes
    }

    #[test]
    fn f14_rows_of_another_length_are_refused_and_told() {
        for seed in 0..5 {
            // Lengths of both divide these files.
            for (columns, rows, name, read_as) in [
                (5, 52, "nusc.bin", 4),
                (3, 52, "xyz.bin", 4),
                (6, 52, "waymo.bin", 4),
                (4, 60, "kitti.pcd.bin", 5),
                (3, 60, "xyz.pcd.bin", 5),
                (5, 4_000, "nusc.bin", 4),
            ] {
                for (brightest, is_positive) in [(1.0, false), (255.0, false), (255.0, true)] {
                    let bytes = scan(rows, columns, brightest, is_positive, seed);
                    let message = message_as(name, &bytes);
                    assert!(
                        message.contains(&format!("--columns {columns}"))
                            || message.contains(&format!("or {columns}")),
                        "{message}"
                    );
                    assert!(message.contains(&format!("--columns {read_as} to take")), "{message}");
                    assert_eq!(points_in_columns(name, &bytes, columns).xyz.len(), rows);
                    let as_it_is = points_in_columns(name, &bytes, read_as);
                    assert_eq!(as_it_is.xyz.len() * read_as, rows * columns);
                }
            }
        }
    }

    #[test]
    fn f14_scans_of_the_usual_length_are_read() {
        for seed in 0..5 {
            for rows in [0, 1, 3, 12, 60, 840, 4_200] {
                for (brightest, is_positive) in [(1.0, false), (255.0, false), (255.0, true)] {
                    for (name, columns) in [("kitti.bin", 4), ("nusc.pcd.bin", 5)] {
                        let bytes = scan(rows, columns, brightest, is_positive, seed);
                        assert_eq!(points_as(name, &bytes).xyz.len(), rows, "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn f14_numbers_of_another_type_are_refused() {
        let rows = 0..120_u8;
        let integers = rows.clone().flat_map(|n| i32::from(n).to_le_bytes()).collect::<Vec<u8>>();
        let doubles = rows.flat_map(|n| (f64::from(n) / 7.0).to_le_bytes()).collect::<Vec<u8>>();
        let text = b"1.0 2.0 3.0 0.5 0.25 0.75 1.5 1\n".repeat(4);
        for (bytes, said) in
            [(integers, "another type"), (doubles, "another type"), (text, "text, `")]
        {
            let message = message_as("a.bin", &bytes);
            assert!(message.contains(said), "{message}");
        }
    }
}
