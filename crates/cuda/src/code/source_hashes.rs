//! Hashes of the files of each kernel family. Written by the test
//! `the_hashes_are_of_the_sources`.

/// By name of the source, in order.
pub(super) const SOURCE_HASHES: &[(&str, u64)] = &[
    ("explicit_gemm.cu", 0xd5cf03d2caa81176),
    ("features.cu", 0xc538add2fc220e45),
    ("implicit_gemm.cu", 0x840d4d8ff8ab0c3b),
    ("kernel_map.cu", 0x430a0d7b6576d2b2),
    ("mask_gemm.cu", 0x434d1888aa3bfa39),
    ("noise.cu", 0x8e8482429f74e296),
    ("packed_gemm.cu", 0x6f9fcfa6b4bac07f),
    ("pair_gemm.cu", 0x7cbd9d955c379bbf),
    ("probe.cu", 0x401d395a79c59b2e),
    ("reference.cu", 0xd034f0d51eeeb652),
    ("resident_gemm.cu", 0xeba10e53670081e3),
    ("strided_map.cu", 0x0ce11b5ab2d6f482),
    ("wgmma_gemm.cu", 0xdd92da5c8321e813),
    ("wgmma_wgrad.cu", 0xb2fd694d02e76433),
];
