//! Hashes of the files of each kernel family. Written by the test
//! `the_hashes_are_of_the_sources`.

/// By name of the source, in order.
pub(super) const SOURCE_HASHES: &[(&str, u64)] = &[
    ("coordinates.cu", 0x69fef4b340286fde),
    ("explicit_gemm.cu", 0xaff2822633d707e5),
    ("features.cu", 0xa2275c8b436e3604),
    ("grouped.cu", 0x73cf5b22a34e02c3),
    ("implicit_gemm.cu", 0x8d95ed4e3f473d1f),
    ("kernel_map.cu", 0x12e68aded854df3f),
    ("mask_gemm.cu", 0xef09fb8b0f659163),
    ("noise.cu", 0x53169c1b430d5df3),
    ("packed_gemm.cu", 0x8641489cdf11dcd4),
    ("pair_gemm.cu", 0x6c8b02d531cc1b5d),
    ("points.cu", 0x9c21deef8b0b3cf0),
    ("probe.cu", 0x602327a0ba094635),
    ("reference.cu", 0xf67b78a7ca1b583c),
    ("resident_gemm.cu", 0xadccc5aea0cda424),
    ("strided_map.cu", 0x657526e12d325099),
    ("wgmma_gemm.cu", 0x08b50e627f021de4),
    ("wgmma_wgrad.cu", 0xe2c3b8871850c619),
];
