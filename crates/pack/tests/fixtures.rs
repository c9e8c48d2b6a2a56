//! A pack of version 1, made once: every later release reads it. Miri runs these tests, which call
//! no C.

use std::path::Path;

use voxtune_pack::{Header, Kernel, Pack};

fn fixture() -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1");
    std::fs::read(folder.join("sm_90.kernels")).unwrap()
}

fn decode(bytes: Vec<u8>) -> Option<Vec<Vec<u8>>> {
    let pack = Pack::decode(bytes, "sm_90.kernels").ok()?;
    (0..pack.kernels().len()).map(|place| pack.read(place).ok()).collect()
}

#[test]
fn version_1_is_read() {
    let pack = Pack::decode(fixture(), "sm_90.kernels").unwrap();
    let header = Header {
        target: "sm_90".to_owned(),
        capability: (9, 0),
        cuda_version: 13_000,
        minimum_driver: 13_000,
        compiler: 0x0123_4567_89ab_cdef,
        decisions: Some(7),
        pruned: 2,
    };
    assert_eq!(pack.header(), &header);
    let kernels: Vec<&Kernel> = pack.kernels().collect();
    assert_eq!(kernels.len(), 2);
    let place = pack.find("mask_gemm.cu", &[("VOXTUNE_DTYPE", 0), ("ROWS", 128)], false).unwrap();
    assert_eq!(pack.read(place).unwrap(), b"code of mask_gemm, ".repeat(20));
    let place = pack.find("wgmma_gemm.cu", &[("ROWS", 64)], true).unwrap();
    assert_eq!(pack.read(place).unwrap(), b"code of wgmma_gemm, ".repeat(9));
}

#[test]
fn every_truncation_and_bit_flip_is_an_error() {
    let sound = fixture();
    assert!(decode(sound.clone()).is_some());
    // Miri is a thousand times slower.
    let step = if cfg!(miri) { 97 } else { 1 };
    for len in (0..sound.len()).step_by(step) {
        assert!(decode(sound[..len].to_vec()).is_none(), "cut to {len}");
    }
    for bit in (0..8 * sound.len()).step_by(step) {
        let mut bytes = sound.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(bytes).is_none(), "bit {bit}");
    }
}
