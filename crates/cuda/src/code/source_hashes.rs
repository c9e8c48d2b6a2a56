//! Hashes of the files of each kernel family. Written by the test
//! `the_hashes_are_of_the_sources`.

/// By name of the source, in order.
pub(super) const SOURCE_HASHES: &[(&str, u64)] = &[
    ("explicit_gemm.cu", 0x1264b6bd6af218ad),
    ("implicit_gemm.cu", 0x1ddd86fe38d3a158),
    ("kernel_map.cu", 0xb9d259f7d633e9ca),
    ("mask_gemm.cu", 0x212ff3893f7387f5),
    ("noise.cu", 0x7bf77f13b6e07f0c),
    ("packed_gemm.cu", 0x41e01245abedca2f),
    ("pair_gemm.cu", 0x78c1ba1b90d0d60f),
    ("probe.cu", 0x932c6bd226c94cf4),
    ("reference.cu", 0xa0159eb544052b0d),
    ("resident_gemm.cu", 0xdf6a3a3e369707a5),
    ("strided_map.cu", 0xf40bab0c516191d2),
    ("wgmma_gemm.cu", 0x0924ebd38ccaa46f),
    ("wgmma_wgrad.cu", 0xe07a721fb17b03b9),
];
