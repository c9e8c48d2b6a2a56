//! Files of samples, sound and damaged.

use proptest::prelude::*;

use super::*;
use crate::testing::{candidate, race};

fn read(path: &Path) -> Result<Vec<RaceSamples>, SamplesError> {
    SamplesReader::open(path)?.collect()
}

#[test]
fn races_come_back_as_they_went() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.samples");
    let mut broken = candidate("c", false, &[5]);
    broken.failed = true;
    broken.rounds_ns = vec![Some(7), None, Some(u64::MAX)];
    let races = [
        race(vec![candidate("a", true, &[100, 101, 99]), broken]),
        race(vec![candidate("b", false, &[1 << 40])]),
    ];
    for race in &races {
        SamplesWriter::append_to(&path).unwrap().write(race).unwrap();
    }
    assert_eq!(read(&path).unwrap(), races);
}

#[test]
fn a_torn_end_costs_one_race_and_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.samples");
    let one = race(vec![candidate("a", true, &[100])]);
    let mut writer = SamplesWriter::append_to(&path).unwrap();
    writer.write(&one).unwrap();
    let first = std::fs::metadata(&path).unwrap().len();
    writer.write(&one).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for len in first as usize + 1..bytes.len() {
        std::fs::write(&path, &bytes[..len]).unwrap();
        let mut reader = SamplesReader::open(&path).unwrap();
        assert_eq!(reader.next().unwrap().unwrap(), one);
        let error = reader.next().unwrap().unwrap_err();
        assert!(matches!(error, SamplesError::Damaged { races: 1, .. }), "{error}");
        assert!(reader.next().is_none());
        assert!(SamplesWriter::append_to(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), &bytes[..len]);
    }
}

#[test]
fn other_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.samples");
    for (text, newer) in [
        ("voxtune samples 2\n", true),
        ("voxtune samples \n", false),
        ("voxtune samples 99999999999\n", false),
        ("voxtune", false),
        ("an essay on samples, and then some more", false),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = SamplesWriter::append_to(&path).unwrap_err();
        assert_eq!(matches!(error, SamplesError::Newer { found: 2, .. }), newer, "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn impossible_races_are_damage() {
    let twice = race(vec![candidate("a", true, &[1]), candidate("a", false, &[1])]);
    for wrong in [
        race(Vec::new()),
        race(vec![candidate("a", true, &[])]),
        twice,
        race(vec![candidate("a", true, &[0])]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.samples");
        SamplesWriter::append_to(&path).unwrap().write(&wrong).unwrap();
        assert!(matches!(read(&path), Err(SamplesError::Damaged { races: 0, .. })));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever the bytes, reading ends without a panic and without a race that was not there.
    #[test]
    fn damage_is_found(position in 0_usize..200, bit in 0_u8..8) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.samples");
        let one = race(vec![candidate("a", true, &[100, 90]), candidate("b", false, &[80])]);
        SamplesWriter::append_to(&path).unwrap().write(&one).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let position = position % bytes.len();
        bytes[position] ^= 1 << bit;
        std::fs::write(&path, &bytes).unwrap();
        prop_assert!(read(&path).is_err());
    }

    #[test]
    fn garbage_is_refused(tail in prop::collection::vec(any::<u8>(), 1..200)) {
        let bytes = [MAGIC, b"1\n", &tail].concat();
        let reader = SamplesReader::new(&*bytes, Path::new("x")).unwrap();
        prop_assert!(reader.collect::<Result<Vec<_>, _>>().is_err());
    }
}

/// Of two that start at once the second looks while the first has not written yet.
#[test]
fn f06_writers_that_start_at_once_write_one_head() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.samples");
    let first = voxtune_files::append(&path).unwrap();
    let lock = lock_open_file(&first, LOCK_WAIT).unwrap();
    let second = {
        let path = path.clone();
        let one = race(vec![candidate("a", true, &[100])]);
        std::thread::spawn(move || SamplesWriter::append_to(&path)?.write(&one))
    };
    // Time for one that does not wait to write a head of its own.
    std::thread::sleep(Duration::from_millis(30));
    (&first).write_all(b"voxtune samples 1\n").unwrap();
    drop(lock);
    second.join().unwrap().unwrap();
    assert_eq!(read(&path).unwrap().len(), 1);
}

/// Often enough that some of them start at the same moment.
#[test]
fn f06_many_writers_of_a_new_file_keep_all_races() {
    const WRITERS: usize = 8;
    let folder = tempfile::tempdir().unwrap();
    for time in 0..200 {
        let path = folder.path().join(format!("{time}.samples"));
        let start = std::sync::Barrier::new(WRITERS);
        std::thread::scope(|scope| {
            for _ in 0..WRITERS {
                scope.spawn(|| {
                    let one = race(vec![candidate("a", true, &[100])]);
                    start.wait();
                    SamplesWriter::append_to(&path).unwrap().write(&one).unwrap();
                });
            }
        });
        assert_eq!(read(&path).unwrap().len(), WRITERS);
    }
}

/// A disk that is full takes a part of what is written; later there is room again.
#[test]
fn f06_what_a_full_disk_cuts_off_loses_nothing_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.samples");
    let one = race(vec![candidate("a", true, &[100])]);
    let mut writer = SamplesWriter::append_to(&path).unwrap();
    writer.write(&one).unwrap();
    let full = add_whole(&writer.file, |mut file| {
        file.write_all(b"half of a race")?;
        Err(ErrorKind::StorageFull.into())
    });
    assert_eq!(full.unwrap_err().kind(), ErrorKind::StorageFull);
    writer.write(&one).unwrap();
    assert_eq!(read(&path).unwrap().len(), 2);
}

#[test]
#[cfg(unix)]
fn f16_samples_are_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.samples");
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    for path in [&*path, folder.path()] {
        let errors = [read(path).map(drop), SamplesWriter::append_to(path).map(drop)];
        for error in errors.map(Result::unwrap_err) {
            assert!(error.to_string().contains("expected a regular file"), "{error}");
        }
    }
}
