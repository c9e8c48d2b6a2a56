//! Hashes of the files of each kernel family. Written by the test
//! `the_hashes_are_of_the_sources`.

/// By name of the source, in order.
pub(super) const SOURCE_HASHES: &[(&str, u64)] = &[
    ("coordinates.cu", 0x606664a9a7f5a709),
    ("explicit_gemm.cu", 0xb384d9d16bfb31f4),
    ("features.cu", 0x489fbec362f1ed04),
    ("implicit_gemm.cu", 0x4155032e1abd38cc),
    ("kernel_map.cu", 0xfb6a6e6033d8fb84),
    ("mask_gemm.cu", 0x5e6573df195fcb95),
    ("noise.cu", 0x2f6ec00bb1ae9338),
    ("packed_gemm.cu", 0x8f7a38825bc56321),
    ("pair_gemm.cu", 0x49690ef03202c496),
    ("points.cu", 0x8c39b7e4aba937ca),
    ("probe.cu", 0xe841bade76c013ae),
    ("reference.cu", 0x61511e251a054691),
    ("resident_gemm.cu", 0x12eaff8eef1b470b),
    ("strided_map.cu", 0x6dc1f32aa345d60b),
    ("wgmma_gemm.cu", 0x6dc31601bc230061),
    ("wgmma_wgrad.cu", 0x2983e731b6b88bd9),
];
