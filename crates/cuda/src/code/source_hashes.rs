//! Hashes of the files of each kernel family. Written by the test
//! `the_hashes_are_of_the_sources`.

/// By name of the source, in order.
pub(super) const SOURCE_HASHES: &[(&str, u64)] = &[
    ("cluster_gemm.cu", 0x584ebfe715329fd3),
    ("coordinates.cu", 0x640e7c079fdbae24),
    ("explicit_gemm.cu", 0xc0c1a8da0b10c720),
    ("features.cu", 0xf16d025adf7e345d),
    ("grouped.cu", 0xe17a047c45cf73de),
    ("implicit_gemm.cu", 0xaae42c1141069978),
    ("kernel_map.cu", 0xc89549a8e7601322),
    ("mask_gemm.cu", 0xff28697d60d831b5),
    ("network_maps.cu", 0xdc1030f40a27a9ed),
    ("noise.cu", 0x82a5a7f09d74db7a),
    ("packed_gemm.cu", 0x7461b1884d18b046),
    ("pair_gemm.cu", 0xd281b6d0f696b97b),
    ("points.cu", 0xeae058717e74c728),
    ("probe.cu", 0x5461feb4e4425d41),
    ("reference.cu", 0x21f0175c0d1fbcb9),
    ("resident_gemm.cu", 0x2fd37499861f98d3),
    ("strided_map.cu", 0x231bbebc09f9c8a7),
    ("wgmma_gemm.cu", 0x8577887ff4c5e256),
    ("wgmma_wgrad.cu", 0xfdc7a63b4a7341f4),
];
