//! Hashes of the files of each kernel family. Written by the test
//! `the_hashes_are_of_the_sources`.

/// By name of the source, in order.
pub(super) const SOURCE_HASHES: &[(&str, u64)] = &[
    ("coordinates.cu", 0xdeeab69ef6defe19),
    ("explicit_gemm.cu", 0xdf9cf4941ec1b587),
    ("features.cu", 0xa6a0f2f1a0ff4e60),
    ("grouped.cu", 0x1a7f90d8b37addb1),
    ("implicit_gemm.cu", 0xe247e17887f404d2),
    ("kernel_map.cu", 0x59c7ca62d9f95c0f),
    ("mask_gemm.cu", 0x4a16c5476423f8f2),
    ("network_maps.cu", 0xde10b881ee3f7edf),
    ("noise.cu", 0x9d5eb36aeb819239),
    ("packed_gemm.cu", 0x73699ff726fd10ce),
    ("pair_gemm.cu", 0x1d6af469018cb68c),
    ("points.cu", 0x0b655b278e5cd60c),
    ("probe.cu", 0xee3e7729dc61f549),
    ("reference.cu", 0x1b876c641eef1f89),
    ("resident_gemm.cu", 0xb76071ceac3abc57),
    ("strided_map.cu", 0x0042f2cf23845396),
    ("wgmma_gemm.cu", 0x360129e99049f934),
    ("wgmma_wgrad.cu", 0x9e5b3599952bf20d),
];
