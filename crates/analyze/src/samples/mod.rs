//! Raw samples in a file: what a race saw, for search policies to be compared on.
//!
//! ```text
//! "voxtune samples 1\n"
//! then for each race:  u32 length, u64 XXH3-64 of the payload, payload
//! ```
//!
//! Numbers before a payload are little-endian. A payload is MessagePack without field names: the
//! entry, then the samples of each candidate. A file grows by whole races, so one that a killed
//! process left behind is good up to its last race.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use voxtune::{AlgoId, KernelHash};
use voxtune_cache::EntryKey;
use voxtune_files::{HeldLock, LockError, lock_open_file};
use xxhash_rust::xxh3::xxh3_64;

use voxtune_tune::evidence::entry::Measured;

/// How every file begins, in front of its version.
const MAGIC: &[u8] = b"voxtune samples ";

/// The version that is written, and the only one there is.
const VERSION: u32 = 1;

/// The longest payload that is read: a hundred candidates of a hundred thousand samples.
const MAX_PAYLOAD_BYTES: u32 = 64 << 20;

/// How long to wait for another process that writes the same file, or looks through it.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// The samples of every candidate of one entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RaceSamples {
    /// What was measured.
    pub entry: EntryKey,
    /// One for each candidate that had a sample, in the order of the registry.
    pub candidates: Vec<RecordedSamples>,
}

/// The samples of one candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedSamples {
    /// Which algorithm.
    pub algo: AlgoId,
    /// Which version of its code.
    pub kernel_hash: KernelHash,
    /// Whether it is what runs where nothing is known.
    pub default: bool,
    /// Whether it failed in the end.
    pub failed: bool,
    /// Its time in each round of the race; nothing where it sat a round out.
    ///
    /// # Units
    /// Nanoseconds.
    pub rounds_ns: Vec<Option<u64>>,
}

/// A file of samples that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SamplesError {
    /// The system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The file is something else, and is left alone.
    #[error("{}: no file of samples: expected it to begin with `voxtune samples {VERSION}`", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a later release, and is left alone.
    #[error(
        "{}: samples of version {found}, and this release reads {VERSION}; upgrade voxtune, or \
         name another file",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A race that is cut off or damaged.
    #[error(
        "{}: damaged behind race {races}: {reason}; the races before it are sound and can be read; \
         name another file to add races to",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How many races are sound.
        races: usize,
        /// What is wrong with the next one.
        reason: String,
    },
}

impl RaceSamples {
    /// What a measurement saw; `None` if nobody raced.
    #[must_use]
    pub fn of(measured: &Measured) -> Option<Self> {
        let candidates = measured.rounds.iter().filter_map(|rounds| {
            let record = measured.records.iter().find(|record| record.algo == rounds.algo)?;
            let candidate = RecordedSamples {
                algo: rounds.algo.clone(),
                kernel_hash: record.kernel_hash,
                default: record.default,
                failed: record.timing().is_none(),
                rounds_ns: rounds.rounds_ns.clone(),
            };
            let has_samples = candidate.samples().next().is_some();
            has_samples.then_some(candidate)
        });
        let candidates: Vec<RecordedSamples> = candidates.collect();
        (!candidates.is_empty()).then(|| Self { entry: measured.entry.clone(), candidates })
    }

    /// Why no race can have had these samples, if so.
    fn defect(&self) -> Option<&'static str> {
        let names: BTreeSet<&AlgoId> =
            self.candidates.iter().map(|candidate| &candidate.algo).collect();
        if self.candidates.is_empty() {
            Some("nobody took part")
        } else if names.len() != self.candidates.len() {
            Some("a candidate took part twice")
        } else if self.candidates.iter().any(|candidate| candidate.samples().next().is_none()) {
            Some("a candidate has no sample")
        } else if self.candidates.iter().any(|candidate| candidate.samples().any(|ns| ns == 0)) {
            Some("a sample took no time")
        } else {
            None
        }
    }
}

impl RecordedSamples {
    /// Its samples, in order.
    ///
    /// # Units
    /// Nanoseconds.
    pub fn samples(&self) -> impl Iterator<Item = u64> {
        self.rounds_ns.iter().filter_map(|round| *round)
    }
}

/// A file of samples that grows, by several processes if they name the same: each locks it while it
/// looks at what is there, and while it writes.
#[derive(Debug)]
pub struct SamplesWriter {
    path: PathBuf,
    file: File,
}

impl SamplesWriter {
    /// Opens a file, which is made where there is none; what is in it stays, and more is added.
    ///
    /// # Errors
    /// If the file cannot be opened, or is not a sound file of samples.
    pub fn append_to(path: &Path) -> Result<Self, SamplesError> {
        let error = |action, source| SamplesError::Io { path: path.to_owned(), action, source };
        let file = voxtune_files::append(path).map_err(|source| error("open it", source))?;
        let lock = locked(&file).map_err(|source| error("lock it", source))?;
        let len = file.metadata().map_err(|source| error("look at it", source))?.len();
        if len == 0 {
            let head = [MAGIC, format!("{VERSION}\n").as_bytes()].concat();
            add_whole(&file, |mut file| file.write_all(&head))
                .map_err(|source| error("write to it", source))?;
        } else {
            // A race behind a damaged one would never be found.
            for race in SamplesReader::open(path)? {
                race?;
            }
        }
        drop(lock);
        Ok(Self { path: path.to_owned(), file })
    }

    /// Adds a race.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&mut self, race: &RaceSamples) -> Result<(), SamplesError> {
        let payload = rmp_serde::to_vec(race).expect("samples are what MessagePack can hold");
        let len = u32::try_from(payload.len()).expect("a race has less than 4 GiB of samples");
        let mut frame = len.to_le_bytes().to_vec();
        frame.extend(xxh3_64(&payload).to_le_bytes());
        frame.extend(payload);
        let path = &self.path;
        let error = |action| move |source| SamplesError::Io { path: path.clone(), action, source };
        // Whoever looks through the file shall see whole races.
        let _lock = locked(&self.file).map_err(error("lock it"))?;
        // In one piece, so that a killed process leaves all of it or nothing.
        add_whole(&self.file, |mut file| file.write_all(&frame)).map_err(error("write to it"))
    }
}

/// Adds to a file whose lock is held, or leaves it as it was: a full disk takes a part, and nobody
/// would find what others add behind that.
fn add_whole(file: &File, write: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let len = file.metadata()?.len();
    write(file).inspect_err(|_| {
        // Where even that fails the first error says what is wrong.
        _ = file.set_len(len);
    })
}

/// The lock of a file of samples; none on a file system without locks, where it is up to the user
/// that one process alone writes.
fn locked(file: &File) -> io::Result<Option<HeldLock<'_>>> {
    match lock_open_file(file, LOCK_WAIT) {
        Ok(lock) => Ok(Some(lock)),
        Err(LockError::Lock(_)) => Ok(None),
        Err(held) => Err(io::Error::new(ErrorKind::WouldBlock, held)),
    }
}

/// The races of a file, one at a time.
#[derive(Debug)]
pub struct SamplesReader<R> {
    path: PathBuf,
    reader: R,
    races: usize,
    ended: bool,
}

impl SamplesReader<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    /// If it cannot be read, or is no file of samples.
    pub fn open(path: &Path) -> Result<Self, SamplesError> {
        let file = voxtune_files::open(path).map_err(|source| SamplesError::Io {
            path: path.to_owned(),
            action: "open it",
            source,
        })?;
        Self::new(BufReader::new(file), path)
    }
}

impl<R: Read> SamplesReader<R> {
    /// Reads what begins as a file of samples; errors name this path.
    ///
    /// # Errors
    /// If it cannot be read, or is no file of samples.
    pub fn new(mut reader: R, path: &Path) -> Result<Self, SamplesError> {
        let path = path.to_owned();
        let mut head = Vec::new();
        // No version will ever have more digits.
        let longest = MAGIC.len() as u64 + 11;
        let mut ended = false;
        while !ended && (head.len() as u64) < longest {
            let mut byte = [0];
            let read = reader.read_exact(&mut byte);
            ended = read.is_err() || byte == *b"\n";
            head.extend(byte);
        }
        let version = head.strip_prefix(MAGIC).and_then(|rest| rest.strip_suffix(b"\n"));
        let version = version.and_then(|digits| str::from_utf8(digits).ok()?.parse::<u32>().ok());
        match version {
            Some(VERSION) => Ok(Self { path, reader, races: 0, ended: false }),
            Some(found) if found > VERSION => Err(SamplesError::Newer { path, found }),
            _ => Err(SamplesError::Foreign { path }),
        }
    }

    fn race(&mut self) -> Result<Option<RaceSamples>, String> {
        let Some(len) = self.length()? else { return Ok(None) };
        if len > MAX_PAYLOAD_BYTES {
            return Err(format!(
                "it claims {len} bytes, and no race has more than {MAX_PAYLOAD_BYTES}"
            ));
        }
        let mut checksum = [0; 8];
        self.reader.read_exact(&mut checksum).map_err(|_| "it is cut off".to_owned())?;
        // Memory grows with the bytes that are there, not with what is claimed.
        let mut payload = Vec::new();
        let read = self.reader.by_ref().take(len.into()).read_to_end(&mut payload);
        if read.map_err(|error| error.to_string())? < len as usize {
            return Err("it is cut off".to_owned());
        }
        if xxh3_64(&payload) != u64::from_le_bytes(checksum) {
            return Err("its checksum is wrong".to_owned());
        }
        let race: RaceSamples =
            rmp_serde::from_slice(&payload).map_err(|error| error.to_string())?;
        race.defect().map_or(Ok(Some(race)), |defect| Err(defect.to_owned()))
    }

    /// The length of the next payload; `None` where the file ends properly.
    fn length(&mut self) -> Result<Option<u32>, String> {
        let mut len = [0; 4];
        let mut filled = 0;
        while filled < len.len() {
            match self.reader.read(&mut len[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err("it is cut off".to_owned()),
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(Some(u32::from_le_bytes(len)))
    }
}

impl<R: Read> Iterator for SamplesReader<R> {
    type Item = Result<RaceSamples, SamplesError>;

    /// The next race. Nothing follows one that is damaged.
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.race() {
            Ok(Some(race)) => {
                self.races += 1;
                Some(Ok(race))
            }
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(reason) => {
                self.ended = true;
                let (path, races) = (self.path.clone(), self.races);
                Some(Err(SamplesError::Damaged { path, races, reason }))
            }
        }
    }
}
