//! LZF, the compression of `binary_compressed` PCD files.
//!
//! Format after liblzf by Marc Lehmann. A token below 32 copies that many bytes plus one from the
//! input. Any other names 3 to 264 bytes that were written 1 to 8192 bytes ago.

/// The longest run that a token writes over the bytes of such a token: no input unpacks to more.
const RATIO: usize = 264 / 3;

/// Unpacks to exactly `unpacked_bytes` bytes; the error says what the input holds instead.
pub(crate) fn unpack(packed: &[u8], unpacked_bytes: usize) -> Result<Vec<u8>, String> {
    if unpacked_bytes > packed.len().saturating_mul(RATIO) {
        return Err(format!("{} compressed bytes, which never unpack to as many", packed.len()));
    }
    let ended = || "compressed data that end within a run".to_owned();
    let mut output: Vec<u8> = Vec::with_capacity(unpacked_bytes);
    let mut input = packed;
    while let Some((&token, rest)) = input.split_first() {
        let run_bytes;
        if token < 32 {
            run_bytes = usize::from(token) + 1;
            let (literal, rest) = rest.split_at_checked(run_bytes).ok_or_else(ended)?;
            output.extend_from_slice(literal);
            input = rest;
        } else {
            let (long, rest) = if token >> 5 == 7 {
                rest.split_first()
                    .map(|(&more, rest)| (usize::from(more), rest))
                    .ok_or_else(ended)?
            } else {
                (0, rest)
            };
            let (&low, rest) = rest.split_first().ok_or_else(ended)?;
            run_bytes = usize::from(token >> 5) + long + 2;
            let back = (usize::from(token & 31) << 8 | usize::from(low)) + 1;
            let start = output.len().checked_sub(back).ok_or_else(|| {
                format!("a run from {back} bytes back after {} bytes", output.len())
            })?;
            // A run may overlap what it writes, so it goes byte by byte.
            for index in start..start + run_bytes {
                output.push(output[index]);
            }
            input = rest;
        }
        if output.len() > unpacked_bytes {
            return Err("compressed data that unpack to more".to_owned());
        }
    }
    if output.len() < unpacked_bytes {
        return Err(format!("compressed data that unpack to {} bytes", output.len()));
    }
    Ok(output)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A plain packer: the longest earlier match of a window, else literals.
    pub(crate) fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        let mut literal = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let match_of = |start: usize| {
                let limit = (bytes.len() - at).min(264);
                (0..limit).take_while(|i| bytes[start + i] == bytes[at + i]).count()
            };
            let best = (at.saturating_sub(200)..at).max_by_key(|&start| match_of(start));
            let run = best.map_or(0, match_of);
            if run < 3 {
                literal.push(bytes[at]);
                at += 1;
                if literal.len() == 32 {
                    flush(&mut packed, &mut literal);
                }
                continue;
            }
            flush(&mut packed, &mut literal);
            let back = at - best.unwrap() - 1;
            let length = run - 2;
            packed.push((length.min(7) as u8) << 5 | (back >> 8) as u8);
            if length >= 7 {
                packed.push((length - 7) as u8);
            }
            packed.push(back as u8);
            at += run;
        }
        flush(&mut packed, &mut literal);
        packed
    }

    fn flush(packed: &mut Vec<u8>, literal: &mut Vec<u8>) {
        if !literal.is_empty() {
            packed.push(literal.len() as u8 - 1);
            packed.append(literal);
        }
    }

    #[test]
    fn a_stream_by_hand_is_unpacked() {
        // "abc", then 9 bytes from 3 back (long form), then "!".
        let packed = [2, b'a', b'b', b'c', 0xe0, 0, 2, 0, b'!'];
        assert_eq!(unpack(&packed, 13).unwrap(), b"abcabcabcabc!");
        assert_eq!(unpack(&packed, 14).unwrap_err(), "compressed data that unpack to 13 bytes");
        assert_eq!(unpack(&packed, 12).unwrap_err(), "compressed data that unpack to more");
        assert_eq!(unpack(&packed[..3], 13).unwrap_err(), "compressed data that end within a run");
        assert_eq!(unpack(&[0x20, 0], 3).unwrap_err(), "a run from 1 bytes back after 0 bytes");
        assert!(unpack(&packed, usize::MAX).unwrap_err().contains("never unpack"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

        #[test]
        fn what_was_packed_comes_back(bytes in prop::collection::vec(0_u8..4, 0..1500)) {
            let packed = pack(&bytes);
            prop_assert_eq!(unpack(&packed, bytes.len()).unwrap(), bytes);
        }

        #[test]
        fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), claim in 0_usize..9000) {
            if let Ok(unpacked) = unpack(&bytes, claim) {
                prop_assert_eq!(unpacked.len(), claim);
            }
        }
    }
}
