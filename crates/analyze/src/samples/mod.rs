//! Raw samples in a file of JSON lines: what races saw, for `regret` and for other programs.
//!
//! ```text
//! {"format":"voxtune samples","version":2}
//! {"entry":{…},"candidates":[{"algo":"…","rounds_ns":[1200,null,1198],…},…]}
//! ```
//!
//! One line per race: [`RaceSamples`] as serde writes it. A file grows by whole lines, so one that
//! a killed process left behind is good up to its last whole line.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use voxtune::{AlgoId, KernelHash};
use voxtune_cache::{Charge, EntryKey};
use voxtune_files::{HeldLock, LockError, lock_open_file};

use voxtune_tune::evidence::entry::Measured;

/// The text in the first line's `format` field.
const FORMAT: &str = "voxtune samples";

/// The version that is written, and the only one that is read. Version 1 was no text.
const VERSION: u32 = 2;

/// How files of version 1 begin.
const BINARY: &[u8] = b"voxtune samples 1\n";

/// The longest line that is read: a hundred candidates of ten thousand samples.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
}

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
    /// What it was charged beside these times for what it reads beyond its kernel map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge: Option<Charge>,
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
    #[error(
        "{}: no file of samples: expected JSON lines, of which the first has `format` \"{FORMAT}\"",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file is in the binary format of earlier releases, and is left alone.
    #[error(
        "{}: samples of version 1, and this release reads {VERSION}; measure them again by \
         `populate --exhaustive --samples` into another file",
        path.display()
    )]
    Older {
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
    /// What a measurement saw; `None` if no candidate raced.
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
                charge: record.timing().and_then(|timing| timing.charge),
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
            Some("no candidate took part")
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

/// A file of samples that grows, by several processes if they name the same. Each locks it while it
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
            let head = line(&Head { format: FORMAT.to_owned(), version: VERSION });
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
        let line = line(race);
        let path = &self.path;
        let error = |action| move |source| SamplesError::Io { path: path.clone(), action, source };
        // A reader of the file must see whole races.
        let _lock = locked(&self.file).map_err(error("lock it"))?;
        // In one piece, so that a killed process leaves all of it or nothing.
        add_whole(&self.file, |mut file| file.write_all(&line)).map_err(error("write to it"))
    }
}

/// A value as one line of JSON.
fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("samples are what JSON can hold");
    line.push(b'\n');
    line
}

/// Adds to a file whose lock is held, or leaves it as it was. A full disk takes a part, and no
/// reader would find what others add behind that.
fn add_whole(file: &File, write: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let len = file.metadata()?.len();
    write(file).inspect_err(|_| {
        // Where even that fails the first error says what is wrong.
        _ = file.set_len(len);
    })
}

/// The lock of a file of samples. `None` on a file system without locks, where the user sees to it
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

impl<R: BufRead> SamplesReader<R> {
    /// Reads what begins as a file of samples; errors name this path.
    ///
    /// # Errors
    /// If it cannot be read, or is no file of samples.
    pub fn new(mut reader: R, path: &Path) -> Result<Self, SamplesError> {
        /// No first line will ever be longer.
        const LONGEST_HEAD: u64 = 256;
        let path = path.to_owned();
        let mut head = Vec::new();
        if let Err(source) = reader.by_ref().take(LONGEST_HEAD).read_until(b'\n', &mut head) {
            return Err(SamplesError::Io { path, action: "read it", source });
        }
        if head == BINARY {
            return Err(SamplesError::Older { path });
        }
        match serde_json::from_slice::<Head>(&head) {
            Ok(Head { format, version }) if format == FORMAT && head.ends_with(b"\n") => {
                match version {
                    VERSION => Ok(Self { path, reader, races: 0, ended: false }),
                    found if found > VERSION => Err(SamplesError::Newer { path, found }),
                    _ => Err(SamplesError::Foreign { path }),
                }
            }
            _ => Err(SamplesError::Foreign { path }),
        }
    }

    fn race(&mut self) -> Result<Option<RaceSamples>, String> {
        let mut line = Vec::new();
        let read = self.reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        match read.map_err(|error| error.to_string())? {
            0 => return Ok(None),
            _ if line.ends_with(b"\n") => {}
            read if read as u64 == MAX_LINE_BYTES => {
                return Err(format!("its line is longer than {MAX_LINE_BYTES} bytes"));
            }
            _ => return Err("it is cut off".to_owned()),
        }
        let race: RaceSamples = serde_json::from_slice(&line).map_err(|error| error.to_string())?;
        race.defect().map_or(Ok(Some(race)), |defect| Err(defect.to_owned()))
    }
}

impl<R: BufRead> Iterator for SamplesReader<R> {
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
