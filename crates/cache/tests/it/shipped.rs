//! The decisions that ship follow from the evidence that ships.

use std::path::Path;

use voxtune_cache::{CacheDir, decide, encode_decisions};

/// To the byte: full rankings are decided as ever.
#[test]
fn f01_shipped_decisions_follow_from_their_evidence() {
    let caches = CacheDir::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../caches"));
    let archs = caches.archs().unwrap();
    assert!(!archs.is_empty());
    for arch in archs {
        let evidence = caches.read_evidence(arch).unwrap().unwrap();
        let bytes = std::fs::read(caches.decisions_path(arch)).unwrap();
        assert!(encode_decisions(arch, &decide(&evidence)).unwrap() == bytes, "{arch}");
    }
}
