//! Hashes of the files of each kernel family. Written by the test
//! `the_hashes_are_of_the_sources`.

/// By name of the source, in order.
pub(super) const SOURCE_HASHES: &[(&str, u64)] = &[
    ("cluster_gemm.cu", 0xc8946ccec108d838),
    ("coordinates.cu", 0x4eae878ed692122d),
    ("explicit_gemm.cu", 0x92d514ecb2b8af09),
    ("features.cu", 0x0a7f60ea634fb385),
    ("grouped.cu", 0xc8eb9f8e9e18c5ca),
    ("implicit_gemm.cu", 0x39b72098c8f4a892),
    ("kernel_map.cu", 0x212e18ebb83137b5),
    ("mask_gemm.cu", 0xed0fe9011172dfba),
    ("network_maps.cu", 0x82662d4b3b116fa9),
    ("noise.cu", 0x063f333c24ac7a5d),
    ("packed_gemm.cu", 0x50366600378377ec),
    ("pair_gemm.cu", 0x60796f0c5d52d9b9),
    ("points.cu", 0x695d91c0249191e0),
    ("probe.cu", 0x7a3df8b1a57d497a),
    ("reference.cu", 0x1a397ac6c30ebde9),
    ("resident_gemm.cu", 0x8654b866638002da),
    ("strided_map.cu", 0x2b2593756b26a3da),
    ("wgmma_gemm.cu", 0xe5e104b592a2bffe),
    ("wgmma_wgrad.cu", 0xd5fc3a987c6bbd6d),
];
