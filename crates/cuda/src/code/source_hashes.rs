//! Hashes of the files of each kernel family. Written by the test
//! `the_hashes_are_of_the_sources`.

/// By name of the source, in order.
pub(super) const SOURCE_HASHES: &[(&str, u64)] = &[
    ("coordinates.cu", 0xca55562a5cb7c1ae),
    ("explicit_gemm.cu", 0xfe748d07d9fd8393),
    ("features.cu", 0xe90d674fab713f99),
    ("implicit_gemm.cu", 0x36dc9b1d758e0ea5),
    ("kernel_map.cu", 0x4290126f38d104a3),
    ("mask_gemm.cu", 0x95edd5c9b1ea95a2),
    ("noise.cu", 0x22c25d3c62b49be1),
    ("packed_gemm.cu", 0xf12efcdb905264df),
    ("pair_gemm.cu", 0x858f58d0a62c6d57),
    ("points.cu", 0x695dcf453d391251),
    ("probe.cu", 0xb4bdb25f3382ea86),
    ("reference.cu", 0xc25ae4c7b2222286),
    ("resident_gemm.cu", 0xa0245e6d6464311f),
    ("strided_map.cu", 0x020f5ff49eebd0d8),
    ("wgmma_gemm.cu", 0x97a148b9c3e8ad62),
    ("wgmma_wgrad.cu", 0x676c6f8a4f3df05c),
];
