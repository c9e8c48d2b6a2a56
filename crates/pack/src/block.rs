//! Compressed groups of kernels.

use std::io::Read as _;

use ruzstd::decoding::StreamingDecoder;

/// The largest block that a reader accepts.
pub(crate) const MAX_BLOCK_BYTES: u32 = 8 << 20;

/// The first `wanted` bytes of a block of `raw_bytes`.
pub(crate) fn decompress(
    frame: &[u8],
    raw_bytes: u32,
    wanted: usize,
) -> Result<Vec<u8>, &'static str> {
    // The decoder reserves what the frame's head states, so that is looked at first.
    match stated_bytes(frame) {
        Some(stated) if stated == u64::from(raw_bytes) && raw_bytes <= MAX_BLOCK_BYTES => {}
        Some(_) => return Err("a block states another size than the index"),
        None => return Err("a block is no frame of one segment with its size"),
    }
    let mut decoder =
        StreamingDecoder::new(frame).map_err(|_| "a block does not begin as a frame")?;
    let mut code = vec![0; wanted.min(raw_bytes as usize)];
    decoder.read_exact(&mut code).map_err(|_| "a block cannot be decompressed")?;
    Ok(code)
}

/// The size in the head of a frame of a single segment without dictionary and checksum. Layout
/// from RFC 8878, section 3.1.1.1.
fn stated_bytes(frame: &[u8]) -> Option<u64> {
    const MAGIC: &[u8] = &0xFD2F_B528_u32.to_le_bytes();
    const SINGLE_SEGMENT: u8 = 1 << 5;
    let (&descriptor, rest) = frame.strip_prefix(MAGIC)?.split_first()?;
    if descriptor & 0b0011_1111 != SINGLE_SEGMENT {
        return None;
    }
    match descriptor >> 6 {
        0 => rest.first().map(|&byte| u64::from(byte)),
        1 => rest.first_chunk().map(|bytes| u64::from(u16::from_le_bytes(*bytes)) + 256),
        2 => rest.first_chunk().map(|bytes| u64::from(u32::from_le_bytes(*bytes))),
        _ => rest.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)),
    }
}
