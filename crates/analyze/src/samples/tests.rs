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
    let path = folder.path().join("run.jsonl");
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
    let path = folder.path().join("run.jsonl");
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
    let path = folder.path().join("run.jsonl");
    for (text, says) in [
        ("{\"format\":\"voxtune samples\",\"version\":3}\n", "of version 3"),
        ("{\"format\":\"voxtune samples\",\"version\":2}", "no file of samples"),
        ("{\"format\":\"voxtune samples\"}\n", "no file of samples"),
        ("{\"format\":\"voxtune evidence\",\"version\":2}\n", "no file of samples"),
        ("voxtune samples 1\n\u{1}", "of version 1"),
        ("an essay on samples, and then some more", "no file of samples"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = SamplesWriter::append_to(&path).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

/// What programs of others read.
#[test]
fn a_race_is_one_line_of_json() {
    let line = line(&race(vec![candidate("a", true, &[100, 90])]));
    insta::assert_snapshot!(String::from_utf8(line).unwrap());
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
        let path = folder.path().join("run.jsonl");
        SamplesWriter::append_to(&path).unwrap().write(&wrong).unwrap();
        assert!(matches!(read(&path), Err(SamplesError::Damaged { races: 0, .. })));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever a flipped bit makes of a race, reading ends without a panic, and what was sound
    /// before it comes back.
    #[test]
    fn damage_costs_no_race_before_it(position in 0_usize..10_000, bit in 0_u8..8) {
        let sound = race(vec![candidate("a", true, &[100, 90]), candidate("b", false, &[80])]);
        let head = line(&Head { format: FORMAT.to_owned(), version: VERSION });
        let mut damaged = line(&sound);
        let position = position % damaged.len();
        damaged[position] ^= 1 << bit;
        let bytes = [head, line(&sound), damaged].concat();
        let mut reader = SamplesReader::new(&*bytes, Path::new("x")).unwrap();
        prop_assert_eq!(reader.next().unwrap().unwrap(), sound);
        for race in reader.flatten() {
            prop_assert_eq!(race.defect(), None);
        }
    }

    #[test]
    fn garbage_is_refused(tail in prop::collection::vec(any::<u8>(), 1..200)) {
        let mut bytes = line(&Head { format: FORMAT.to_owned(), version: VERSION });
        bytes.extend(tail);
        let reader = SamplesReader::new(&*bytes, Path::new("x")).unwrap();
        prop_assert!(reader.collect::<Result<Vec<_>, _>>().is_err());
    }
}

#[test]
fn a_line_without_end_is_not_read_into_memory() {
    let head = line(&Head { format: FORMAT.to_owned(), version: VERSION });
    let endless = std::io::repeat(b' ');
    let reader = BufReader::new(std::io::Cursor::new(head).chain(endless));
    let error = SamplesReader::new(reader, Path::new("x")).unwrap().next().unwrap().unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
}

/// Of two that start at once the second looks while the first has not written yet.
#[test]
fn f06_writers_that_start_at_once_write_one_head() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    let first = voxtune_files::append(&path).unwrap();
    let lock = lock_open_file(&first, LOCK_WAIT).unwrap();
    let second = {
        let path = path.clone();
        let one = race(vec![candidate("a", true, &[100])]);
        std::thread::spawn(move || SamplesWriter::append_to(&path)?.write(&one))
    };
    // Time for one that does not wait to write a head of its own.
    std::thread::sleep(Duration::from_millis(30));
    let head = line(&Head { format: FORMAT.to_owned(), version: VERSION });
    (&first).write_all(&head).unwrap();
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
        let path = folder.path().join(format!("{time}.jsonl"));
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
    let path = folder.path().join("run.jsonl");
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
    let path = folder.path().join("run.jsonl");
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    for path in [&*path, folder.path()] {
        let errors = [read(path).map(drop), SamplesWriter::append_to(path).map(drop)];
        for error in errors.map(Result::unwrap_err) {
            assert!(error.to_string().contains("expected a regular file"), "{error}");
        }
    }
}
