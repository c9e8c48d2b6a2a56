//! Hashes of the files of each kernel family. Written by the test
//! `the_hashes_are_of_the_sources`.

/// By name of the source, in order.
pub(super) const SOURCE_HASHES: &[(&str, u64)] = &[
    ("cluster_gemm.cu", 0xa54a4f87e2ad42c7),
    ("coordinates.cu", 0x8fc1af75e9702686),
    ("explicit_gemm.cu", 0x237d1d4e8baf47f5),
    ("features.cu", 0xab4da0d9de2bd48f),
    ("grouped.cu", 0x2fb1fc2086e039bf),
    ("implicit_gemm.cu", 0x2a21a668bbf77c1b),
    ("kernel_map.cu", 0x9ac58af4c9f8516c),
    ("mask_gemm.cu", 0xdde225c8e156c8f0),
    ("network_maps.cu", 0x77d4bb9356fd9a6d),
    ("noise.cu", 0xe9b33e25f1be4fa0),
    ("packed_gemm.cu", 0x904a12dbe9f4903b),
    ("pair_gemm.cu", 0xdbafe0bac45c207d),
    ("points.cu", 0x257dbd109ec2b167),
    ("probe.cu", 0xb34ff0bcfa80b665),
    ("reference.cu", 0x65fb99d63e3cc66d),
    ("resident_gemm.cu", 0xe600af54f96969e3),
    ("strided_map.cu", 0x1cf195bd5aa48c18),
    ("wgmma_gemm.cu", 0x82d72a4f6b51f294),
    ("wgmma_wgrad.cu", 0x64688d006f402cbb),
];
