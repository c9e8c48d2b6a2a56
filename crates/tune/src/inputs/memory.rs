//! Amounts of memory as text, and the lack of it.

/// Bytes as a person reads them.
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Says so if more memory is needed than is free.
#[must_use]
pub fn lack_of_memory(needed_bytes: u64, free_bytes: u64) -> Option<String> {
    let (needed, free) = (human_bytes(needed_bytes), human_bytes(free_bytes));
    (needed_bytes > free_bytes).then(|| format!("needs {needed} of memory, {free} are free"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_readable() {
        assert_eq!(human_bytes(512), "512 B");
        assert_eq!(human_bytes(8 << 30), "8.0 GiB");
    }

    #[test]
    fn what_fits_exactly_fits() {
        assert_eq!(lack_of_memory(7, 7), None);
        let lack = lack_of_memory(8, 7).unwrap();
        assert_eq!(lack, "needs 8 B of memory, 7 B are free");
    }
}
