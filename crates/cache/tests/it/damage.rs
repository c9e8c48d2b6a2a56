//! Damage to the files that are checked in: always an error, never a panic, and never a file that
//! decodes to something that it does not encode.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use voxtune_cache::{
    CacheError, decode_decisions, decode_evidence, encode_decisions, encode_evidence,
};
use voxtune_types::Arch;

use crate::format::sealed;
use crate::samples::ARCH;

/// The bytes of a file that a checksum does not cover.
const HEAD: usize = 19;

/// A file of the workspace's own caches; `None` in a package that has none.
fn shipped(name: &str) -> Option<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../caches");
    std::fs::read(folder.join(name)).ok()
}

/// Changes a byte, or cuts the end off.
fn damage(bytes: &mut Vec<u8>, random: &mut ChaCha8Rng) {
    if random.random_ratio(1, 8) {
        bytes.truncate(random.random_range(0..bytes.len()));
        return;
    }
    let at = random.random_range(0..bytes.len());
    bytes[at] ^= random.random_range(1..=u8::MAX);
}

#[test]
fn ten_thousand_damages_of_the_largest_file_are_errors() {
    let name = "sm_90.evidence.msgpack";
    let Some(sound) = shipped(name) else { return };
    assert!(decode_evidence(&sound, name).is_ok());
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for number in 0..10_000 {
        let mut bytes = sound.clone();
        damage(&mut bytes, &mut random);
        let error = decode_evidence(&bytes, name).expect_err("the checksum is another");
        let told = matches!(error, CacheError::Corrupt { .. } | CacheError::NotACache { .. });
        assert!(told, "{number}: {error}");
    }
}

/// A writer with a defect makes files with right checksums. What they decode to, they encode.
#[test]
fn damage_behind_a_right_checksum_is_an_error_or_another_file() {
    let decisions = |bytes: &[u8]| {
        let found = decode_decisions(bytes, "sm_90.msgpack")?;
        encode_decisions(Arch::sm(9, 0), &found)
    };
    let evidence = |bytes: &[u8]| {
        let found = decode_evidence(bytes, "sm_90.evidence.msgpack")?;
        encode_evidence(ARCH, &found)
    };
    assert_eq!(ARCH, Arch::sm(9, 0));
    type Recode<'a> = &'a dyn Fn(&[u8]) -> Result<Vec<u8>, CacheError>;
    let files: [(&str, usize, Recode<'_>); 2] =
        [("sm_90.msgpack", 5_000, &decisions), ("sm_90.evidence.msgpack", 60, &evidence)];
    let mut random = ChaCha8Rng::seed_from_u64(2);
    for (name, count, recode) in files {
        let Some(sound) = shipped(name) else { return };
        // Of an earlier version the shipped file may be; what is damaged is of this one.
        let sound = recode(&sound).unwrap();
        assert!(recode(&sound).unwrap() == sound, "{name} encodes as it was decoded");
        let mut refused = 0;
        for number in 0..count {
            let mut checked = sound[HEAD..].to_vec();
            damage(&mut checked, &mut random);
            let bytes = sealed(&checked);
            match recode(&bytes) {
                Ok(encoded) => assert!(encoded == bytes, "{name} {number}"),
                Err(_) => refused += 1,
            }
        }
        // A changed digit of a time is another sound file; most other changes are none.
        assert!(refused > count / 4, "{refused} of {count}");
    }
}
