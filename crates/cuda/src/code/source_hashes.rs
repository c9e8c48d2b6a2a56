//! Hashes of the files of each kernel family. Written by the test
//! `the_hashes_are_of_the_sources`.

/// By name of the source, in order.
pub(super) const SOURCE_HASHES: &[(&str, u64)] = &[
    ("cluster_gemm.cu", 0x618bf99a9eb69b41),
    ("coordinates.cu", 0x6e100e68d29dd48d),
    ("explicit_gemm.cu", 0x5ee06ad6b609eac2),
    ("features.cu", 0x1c919ad9015b6cf5),
    ("grouped.cu", 0x6b15956f9a199a0d),
    ("implicit_gemm.cu", 0xcebf9db86e524f73),
    ("kernel_map.cu", 0xf1776e1a91afb413),
    ("mask_gemm.cu", 0x27b0467ced4169a5),
    ("network_maps.cu", 0x9e09d098f1aae240),
    ("noise.cu", 0x7560358cb8cd533f),
    ("packed_gemm.cu", 0x4553ab59c06c7f56),
    ("pair_gemm.cu", 0x48976b1904213c2f),
    ("points.cu", 0xca029ff045afbb6d),
    ("probe.cu", 0xd169717d05ecd1a0),
    ("reference.cu", 0xfebe85e86f1d55e5),
    ("resident_gemm.cu", 0xca3d770eee4d7ec2),
    ("strided_map.cu", 0x851c5492406a34f8),
    ("wgmma_gemm.cu", 0x338a860c584350c2),
    ("wgmma_wgrad.cu", 0x1ef69d2f3b3d2a4b),
];
