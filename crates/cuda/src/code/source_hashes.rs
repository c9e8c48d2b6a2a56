//! Hashes of the files of each kernel family. Written by the test
//! `the_hashes_are_of_the_sources`.

/// By name of the source, in order.
pub(super) const SOURCE_HASHES: &[(&str, u64)] = &[
    ("coordinates.cu", 0x2b535fe1ba60a5ae),
    ("explicit_gemm.cu", 0x5f876b0e8071b026),
    ("features.cu", 0x66335e002ede1e21),
    ("grouped.cu", 0x0c56b3b857cf593f),
    ("implicit_gemm.cu", 0xd54b3ae8067a59c8),
    ("kernel_map.cu", 0x426b65b271f33058),
    ("mask_gemm.cu", 0xd9134a9b31b1e0e6),
    ("noise.cu", 0x8d9418c0b648604e),
    ("packed_gemm.cu", 0xe7b4090cfe460a45),
    ("pair_gemm.cu", 0xeaa7f5d6e14d361f),
    ("points.cu", 0x98b5401d6e3ad7d1),
    ("probe.cu", 0x75a5b131a61d78c4),
    ("reference.cu", 0x67b8bcd705624568),
    ("resident_gemm.cu", 0x9e11de2c7e6d2133),
    ("strided_map.cu", 0x1c7ea20ce04dd83d),
    ("wgmma_gemm.cu", 0x7438508ea23926a7),
    ("wgmma_wgrad.cu", 0xcc04cde8c65a1838),
];
