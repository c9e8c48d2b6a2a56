//! A pack that was written reads back; one that was damaged does not.

use crate::encode::seal;
use crate::index::{WireBlock, WireIndex, WireKernel};
use crate::{Header, Kernel, Pack, PackError, encode};

fn header() -> Header {
    Header {
        target: "sm_90".to_owned(),
        capability: (9, 0),
        cuda_version: 13_000,
        minimum_driver: 13_000,
        compiler: 0x0123_4567_89ab_cdef,
        decisions: Some(7),
        pruned: 2,
    }
}

fn kernel(source: &str, defines: &[(&str, u32)]) -> Kernel {
    Kernel {
        source: source.to_owned(),
        defines: defines.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        hopper: source.starts_with("wgmma"),
        source_hash: 1,
        kernel_hash: 2,
    }
}

/// Code that compresses somewhat.
fn code(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 28) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn sample() -> Vec<(Kernel, Vec<u8>)> {
    vec![
        (kernel("mask_gemm.cu", &[("VOXTUNE_DTYPE", 0), ("ROWS", 128)]), code(1, 300)),
        (kernel("mask_gemm.cu", &[("VOXTUNE_DTYPE", 1), ("ROWS", 128)]), code(1, 301)),
        (kernel("mask_gemm.cu", &[("VOXTUNE_DTYPE", 0), ("ROWS", 64)]), code(3, 250_000)),
        (kernel("wgmma_gemm.cu", &[("ROWS", 128)]), code(4, 400_000)),
        // One source may have several lists of defines.
        (kernel("wgmma_gemm.cu", &[("ROWS", 128), ("SPLIT", 1)]), code(6, 500)),
        (kernel("kernel_map.cu", &[]), code(5, 40)),
    ]
}

fn small() -> Vec<u8> {
    let mut kernels = sample();
    kernels.retain(|(_, code)| code.len() < 1000);
    encode(&header(), &kernels).unwrap()
}

#[test]
fn what_was_written_reads_back() {
    let kernels = sample();
    let bytes = encode(&header(), &kernels).unwrap();
    let pack = Pack::decode(bytes.clone(), "sm_90.kernels").unwrap();
    assert_eq!((pack.header(), pack.kernels().len()), (&header(), kernels.len()));
    for (kernel, code) in &kernels {
        let defines: Vec<(&str, u32)> =
            kernel.defines.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let place = pack.find(&kernel.source, &defines, kernel.hopper).unwrap();
        assert_eq!(pack.kernels().nth(place), Some(kernel));
        assert_eq!(&pack.read(place).unwrap(), code);
        assert_eq!(pack.find(&kernel.source, &defines, !kernel.hopper), None);
    }
    assert_eq!(pack.find("mask_gemm.cu", &[("VOXTUNE_DTYPE", 2), ("ROWS", 64)], false), None);
    assert_eq!(pack.find("mask_gemm.cu", &[("VOXTUNE_DTYPE", 0)], false), None);

    let mut reversed = kernels;
    reversed.reverse();
    assert_eq!(encode(&header(), &reversed).unwrap(), bytes);
}

#[test]
fn a_pack_of_nothing_is_one() {
    let bytes = encode(&header(), &[]).unwrap();
    assert_eq!(Pack::decode(bytes, "sm_90.kernels").unwrap().kernels().len(), 0);
}

#[test]
fn every_truncation_and_every_flipped_bit_is_an_error() {
    let bytes = small();
    for len in 0..bytes.len() {
        assert!(Pack::decode(bytes[..len].to_vec(), "p").is_err(), "{len}");
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            assert!(Pack::decode(damaged, "p").is_err(), "bit {bit} of byte {at}");
        }
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(Pack::decode(longer, "p").is_err());
}

/// Whoever knows the checksum can write anything: it may be refused or give other code, and
/// neither panics nor allocates beyond bounds.
#[test]
fn damage_under_a_right_checksum_does_not_panic() {
    let bytes = small();
    let checked = crate::pack::CHECKED_FROM;
    for at in checked..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let sum = xxhash_rust::xxh3::xxh3_64(&damaged[checked..]).to_le_bytes();
            damaged[checked - 8..checked].copy_from_slice(&sum);
            if let Ok(pack) = Pack::decode(damaged, "p") {
                for place in 0..pack.kernels().len() {
                    let _ = pack.read(place);
                }
            }
        }
    }
}

#[test]
fn other_files_and_later_versions_are_told_apart() {
    let foreign = Pack::decode(b"\x84\xA8checksum".to_vec(), "p").unwrap_err();
    assert!(matches!(foreign, PackError::NotAPack { .. }), "{foreign}");
    let newer = Pack::decode(seal(2, &[], &[]), "p").unwrap_err();
    assert_eq!(newer, PackError::Newer { name: "p".to_owned(), found: 2, supported: 1 });
    assert!(Pack::decode(seal(0, &[], &[]), "p").is_err());
}

#[test]
fn a_frame_that_states_another_size_is_refused_before_it_is_decompressed() {
    let bomb = zstd::bulk::compress(&vec![0; 4 << 20], 22).unwrap();
    let index = |raw_bytes| WireIndex {
        target: "sm_90".to_owned(),
        capability: (9, 0),
        cuda_version: 13_000,
        minimum_driver: 13_000,
        compiler: 0,
        decisions: None,
        pruned: 0,
        families: vec![("probe.cu".to_owned(), vec![])],
        blocks: vec![WireBlock { raw_bytes, packed_bytes: bomb.len() as u32 }],
        kernels: vec![WireKernel {
            family: 0,
            values: vec![],
            hopper: false,
            source_hash: 0,
            kernel_hash: 0,
            block: 0,
            offset: 0,
            len: raw_bytes,
        }],
    };
    let file = |raw_bytes| seal(1, &rmp_serde::to_vec(&index(raw_bytes)).unwrap(), &bomb);
    let pack = Pack::decode(file(1024), "p").unwrap();
    assert!(pack.read(0).unwrap_err().to_string().contains("another size"));
    let error = Pack::decode(file(64 << 20), "p").unwrap_err();
    assert!(error.to_string().contains("larger than any"), "{error}");
}

#[test]
fn names_are_bounded_before_they_are_copied_for_each_kernel() {
    for (source, define, sound) in
        [(64, 64, true), (65, 4, false), (4, 65, false), (4, 100_000, false)]
    {
        let one = kernel(&"s".repeat(source), &[(&"D".repeat(define), 1)]);
        let bytes = encode(&header(), &[(one, vec![1])]).unwrap();
        assert_eq!(Pack::decode(bytes, "p").is_ok(), sound, "{source} and {define}");
    }
}

#[test]
fn what_is_no_pack_is_not_written() {
    let twice = vec![(kernel("probe.cu", &[]), vec![1]), (kernel("probe.cu", &[]), vec![2])];
    let empty = vec![(kernel("probe.cu", &[]), vec![])];
    for kernels in [twice, empty] {
        assert!(matches!(encode(&header(), &kernels), Err(PackError::Unwritable { .. })));
    }
}
