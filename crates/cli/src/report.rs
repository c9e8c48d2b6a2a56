//! `report`: what caches hold and what was measured, as one page to look at.

use std::path::{Path, PathBuf};

use voxtune_analyze::regret::Population;
use voxtune_analyze::report::sniff::{self, Given};
use voxtune_analyze::report::{
    Commands, Contents, NamedCache, NamedRaces, PeerLayer, Report, page, shell,
};
use voxtune_analyze::samples::{SamplesError, SamplesReader};
use voxtune_bench::bench::peers::{PeerTime, Peers};
use voxtune_cache::{
    CacheDir, CacheError, Decision, Evidence, FileKind, FileName, decide, decode_decisions,
    decode_evidence,
};
use voxtune_types::printable_path;

use crate::exit::{Exit, Failure};
use crate::folder::{FolderArguments, is_file};
use crate::output;
use crate::output_file::OutputFile;
use crate::program;
use crate::samples_file::sound_races;

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub struct ReportArguments {
    /// What to draw: cache folders and files, samples of populate, what bench --json and regret
    /// --json wrote, and other libraries' times as bench --peers takes them. Of several versions
    /// name the earliest first [default: the folder where populate would write]
    #[arg(value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// HTML file to write: one page that needs no network and no server
    #[arg(short = 'o', long = "output", value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
}

/// What a run made of its arguments.
#[derive(Debug, Default)]
struct Gathered {
    contents: Contents,
    failed: bool,
}

pub(crate) fn run(arguments: &ReportArguments) -> Result<Exit, Failure> {
    let file = OutputFile::checked("--output", &arguments.output)?;
    let paths = if arguments.paths.is_empty() {
        vec![FolderArguments::default_folder("its path behind `report`")?]
    } else {
        arguments.paths.clone()
    };
    let mut gathered = Gathered::default();
    for path in &paths {
        gathered.add(path)?;
    }
    let Gathered { contents, failed } = gathered;
    if contents.caches.is_empty() && failed {
        return Err(Failure::failed("nothing could be read, so that there is nothing to show"));
    }
    let commands = Commands { program: program::name().to_owned(), typed: program::typed() };
    file.write(page(&Report::of(&contents, &commands)))?;
    Ok(if failed { Exit::Failure } else { Exit::Success })
}

/// Says which command draws what was just measured.
pub(crate) fn say_how<'p>(paths: impl IntoIterator<Item = &'p Path>) {
    let paths: Vec<String> = paths.into_iter().map(argument).collect();
    let command = program::command(&format!("report {} -o report.html", paths.join(" ")));
    output::status("To look at", command);
}

impl Gathered {
    /// Reads what a path names, by what it holds.
    fn add(&mut self, path: &Path) -> Result<(), Failure> {
        if !is_file(path)? {
            return self.add_folder(path);
        }
        if let Some(name) = FileName::of(path) {
            return self.add_cache_file(path, name);
        }
        let bytes = voxtune_files::read_argument(path).map_err(|error| {
            Failure::failed(format!("cannot read {}: {error}", printable_path(path)))
        })?;
        let shown = printable_path(path);
        if path.extension().is_some_and(|end| end == "jsonl") {
            return self.add_lines(path, &bytes);
        }
        match sniff::json(&bytes, &version_name(path)) {
            Ok(Given::Run(run)) => self.contents.runs.push(run),
            Ok(Given::Losses(losses)) => self.contents.regrets.push(losses),
            Err(error) => {
                return Err(Failure::usage(format!(
                    "{shown}: {error}; JSON lines of samples or peers are read from files called \
                     *.jsonl, caches from ARCH.msgpack"
                )));
            }
        }
        Ok(())
    }

    /// JSON lines: samples of races, or times of other libraries.
    fn add_lines(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
        match SamplesReader::open(path) {
            Err(SamplesError::Foreign { .. }) => {}
            Err(error) => return Err(Failure::failed(error)),
            Ok(_) => {
                let races = sound_races(path)?;
                let (name, argument) = (printable_path(path), argument(path));
                self.contents.oracles.push(NamedRaces { name, argument, races });
                return Ok(());
            }
        }
        let peers = Peers::parse(bytes).map_err(|error| {
            Failure::usage(format!(
                "{}: expected samples of `populate --samples`, or times of other libraries: {error}",
                printable_path(path)
            ))
        })?;
        self.contents.peers.extend(layers(&peers));
        Ok(())
    }

    fn add_folder(&mut self, path: &Path) -> Result<(), Failure> {
        let folder = CacheDir::new(path);
        let mut decisions: Vec<Decision> = Vec::new();
        let mut evidence = Evidence::new();
        let archs = folder.archs().map_err(Failure::failed)?;
        if archs.is_empty() {
            return Err(Failure::failed(format!(
                "{}: no caches here: {} writes some",
                printable_path(path),
                program::command("populate")
            )));
        }
        for arch in archs {
            // A file that cannot be read spoils nothing but itself.
            let (decided, measured) = folder.read_together(arch, |folder| {
                (folder.read_decisions(arch), folder.read_evidence(arch))
            });
            let decided = self.sound(decided).flatten().unwrap_or_default();
            decisions.extend(decided.iter());
            evidence.merge(self.sound(measured).flatten().unwrap_or_default());
        }
        let population = Population { decisions: decisions.into_iter().collect(), evidence };
        self.add_population(path, population);
        Ok(())
    }

    fn add_cache_file(&mut self, path: &Path, name: FileName) -> Result<(), Failure> {
        let bytes = voxtune_files::read(path).map_err(|error| {
            Failure::failed(format!("cannot read {}: {error}", printable_path(path)))
        })?;
        let population = match name.kind {
            FileKind::Decisions => self
                .sound(decode_decisions(&bytes, path))
                .map(|decisions| Population { decisions, evidence: Evidence::new() }),
            FileKind::Evidence => self
                .sound(decode_evidence(&bytes, path))
                .map(|evidence| Population { decisions: decide(&evidence), evidence }),
        };
        if let Some(population) = population {
            self.add_population(path, population);
        }
        Ok(())
    }

    fn add_population(&mut self, path: &Path, population: Population) {
        let (name, argument) = (printable_path(path), argument(path));
        self.contents.caches.push(NamedCache { name, argument, population });
    }

    /// What was read, or a complaint.
    fn sound<T>(&mut self, read: Result<T, CacheError>) -> Option<T> {
        read.map_err(|error| {
            output::complain("error", error);
            self.failed = true;
        })
        .ok()
    }
}

fn argument(path: &Path) -> String {
    shell::quoted(&path.to_string_lossy())
}

/// What a version is called: its file without folder and ending.
fn version_name(path: &Path) -> String {
    printable_path(Path::new(path.file_stem().unwrap_or(path.as_os_str())))
}

fn layers(peers: &Peers) -> impl Iterator<Item = PeerLayer> {
    let time = |time: &Option<PeerTime>| time.as_ref().map(|one| (one.peer.clone(), one.ms));
    peers.layers().filter_map(move |key| {
        let best = peers.best(key)?;
        Some(PeerLayer {
            cloud: key.cloud.clone(),
            dtype: key.dtype,
            c_in: key.c_in,
            c_out: key.c_out,
            forward: time(&best.forward),
            backward: time(&best.backward),
        })
    })
}
