//! What is said where there is too little memory.

use bytesize::ByteSize;

/// Says so if more memory is needed than is free.
#[must_use]
pub fn lack_of_memory(needed_bytes: u64, free_bytes: u64) -> Option<String> {
    let (needed, free) = (ByteSize(needed_bytes), ByteSize(free_bytes));
    (needed_bytes > free_bytes).then(|| format!("needs {needed} of memory, {free} are free"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_exactly_fits() {
        assert_eq!(lack_of_memory(7, 7), None);
        let lack = lack_of_memory(8, 7).unwrap();
        assert_eq!(lack, "needs 8 B of memory, 7 B are free");
        let lack = lack_of_memory(8 << 30, 1 << 20).unwrap();
        assert_eq!(lack, "needs 8.0 GiB of memory, 1.0 MiB are free");
    }
}
