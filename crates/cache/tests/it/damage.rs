//! Damage to the files that are checked in: always an error, never a panic, and never a file that
//! decodes to something that it does not encode.

use std::path::Path;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use voxtune_cache::{
    CacheDir, CacheError, FileKind, FileName, decide, decode_decisions, decode_evidence,
    encode_decisions, encode_evidence,
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

/// Whether every damage is tried, which `VOXTUNE_DAMAGES=all` asks for, or some of them.
fn all_damages() -> bool {
    std::env::var_os("VOXTUNE_DAMAGES").is_some_and(|all| all == "all")
}

#[test]
fn damages_of_the_largest_file_are_errors() {
    let name = "sm_90.evidence.msgpack";
    let Some(sound) = shipped(name) else { return };
    assert!(decode_evidence(&sound, name).is_ok());
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for number in 0..if all_damages() { 10_000 } else { 200 } {
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

/// Every fixture: its folder, and its name there.
const FIXTURES: [(&str, &str); 5] = [
    ("f01", "cpu-x86_64-avx2.evidence.msgpack"),
    ("f01", "cpu-x86_64-avx2.msgpack"),
    ("v1", "sm_90.evidence.msgpack"),
    ("v1", "sm_90.msgpack"),
    ("v2", "sm_90.evidence.msgpack"),
];

fn fixture(folder: &str, name: &str) -> Vec<u8> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::fs::read(all.join(folder).join(name)).unwrap()
}

/// Every truncation and every flip of a bit.
fn damages(sound: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let cut = (0..sound.len()).map(|len| sound[..len].to_vec());
    let flipped = (0..8 * sound.len()).map(|bit| {
        let mut bytes = sound.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    cut.chain(flipped)
}

#[test]
fn every_truncation_and_bit_flip_of_the_fixtures_is_an_error() {
    for (folder, name) in FIXTURES {
        let decode = |bytes: &[u8]| match FileName::of(Path::new(name)).unwrap().kind {
            FileKind::Decisions => decode_decisions(bytes, name).map(drop),
            FileKind::Evidence => decode_evidence(bytes, name).map(drop),
        };
        let sound = fixture(folder, name);
        decode(&sound).unwrap();
        for (number, bytes) in damages(&sound).enumerate() {
            let error = decode(&bytes).expect_err(name);
            let told = matches!(error, CacheError::Corrupt { .. } | CacheError::NotACache { .. });
            assert!(told, "{folder}/{name} {number}: {error}");
        }
    }
}

/// A damaged file beside sound ones: an update sets its bytes aside or leaves everything alone, and
/// the others lose nothing. `VOXTUNE_DAMAGES=all` tries every damage, which takes minutes where
/// files are synced to a disk; else some are tried.
#[test]
#[expect(clippy::print_stdout, reason = "whoever asks for every damage hears how many there are")]
fn no_truncation_or_bit_flip_of_the_fixtures_costs_a_file() {
    const WAIT: Duration = Duration::from_secs(30);
    let step = if all_damages() { 1 } else { 499 };
    let (mut tried, mut kept) = (0, 0);
    for (folder, name) in FIXTURES {
        let file = FileName::of(Path::new(name)).unwrap();
        let others = FIXTURES.iter().filter(|(of, other)| *of == folder && *other != name);
        for bytes in damages(&fixture(folder, name)).step_by(step) {
            let place = tempfile::tempdir().unwrap();
            let caches = CacheDir::new(place.path());
            for (folder, other) in others.clone() {
                std::fs::write(place.path().join(other), fixture(folder, other)).unwrap();
            }
            let evidence = caches.read_evidence(file.arch).unwrap();
            let decisions = caches.read_decisions(file.arch).unwrap();
            std::fs::write(place.path().join(name), &bytes).unwrap();
            let updated = caches.update(file.arch, WAIT, |_| ()).map(drop);
            let files = std::fs::read_dir(place.path()).unwrap().map(|file| file.unwrap().path());
            let holds = files.into_iter().any(|file| std::fs::read(file).unwrap() == bytes);
            assert!(holds, "{folder}/{name}: the damaged bytes are gone");
            match &updated {
                Ok(()) => {}
                Err(CacheError::NotACache { path }) => {
                    assert!(path.ends_with(name));
                    kept += 1;
                }
                Err(error) => panic!("{folder}/{name}: {error}"),
            }
            // What lay beside it is as it was, or follows from what is there.
            if let Some(evidence) = &evidence {
                assert_eq!(caches.read_evidence(file.arch).unwrap().as_ref(), Some(evidence));
            }
            let mut expected = decisions;
            if let (Ok(()), Some(evidence)) = (&updated, &evidence)
                && file.kind == FileKind::Decisions
            {
                expected = Some(decide(evidence));
            }
            if let Some(expected) = expected {
                assert_eq!(caches.read_decisions(file.arch).unwrap(), Some(expected));
            }
            tried += 1;
        }
    }
    assert!(tried > 100 && kept < tried, "{kept} of {tried}");
    if step == 1 {
        println!("{tried} damages: {} set aside, {kept} left alone, nothing lost", tried - kept);
    }
}
