//! Hashes of the files of each kernel family. Written by the test
//! `the_hashes_are_of_the_sources`.

/// By name of the source, in order.
pub(super) const SOURCE_HASHES: &[(&str, u64)] = &[
    ("cluster_gemm.cu", 0xaf07ac5fe903f86f),
    ("coordinates.cu", 0x53f47fc83f1bc493),
    ("explicit_gemm.cu", 0xdcbb89bdfa5e215a),
    ("features.cu", 0x81bb340c0e717753),
    ("grouped.cu", 0xbcc376c83110999a),
    ("implicit_gemm.cu", 0x2bf9aabb260ada1d),
    ("kernel_map.cu", 0x515dfc0e871397a0),
    ("mask_gemm.cu", 0x61a34faa59b441e0),
    ("network_maps.cu", 0xce79d6d8e94cdad8),
    ("noise.cu", 0x3832dd5bb5b57b15),
    ("packed_gemm.cu", 0x8a329fd0516cbe20),
    ("pair_gemm.cu", 0x1b38c1100c4045ac),
    ("points.cu", 0x4a1d855a5db81d2c),
    ("probe.cu", 0xf764a74b5c108c94),
    ("reference.cu", 0xdebac8b5aa541040),
    ("resident_gemm.cu", 0x08e00b6bd73668ba),
    ("strided_map.cu", 0x8d261f9375576f17),
    ("wgmma_gemm.cu", 0x6fb43d329a34b70d),
    ("wgmma_wgrad.cu", 0xc361fb4d3ab2b864),
];
