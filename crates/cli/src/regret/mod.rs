//! `regret`: how much slower what runs is than the best that there is.

mod leave_out;
mod measure;
mod rows;
mod under_way;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use voxtune::KernelSource;
use voxtune_analyze::regret::{
    Flip, LeaveOut, Population, Race, Registries, Report, assess, plot_svg,
};
use voxtune_bench::table;
use voxtune_cache::{CacheDir, Evidence, FileKind, FileName};
use voxtune_types::{printable, printable_path};

use crate::exit::{Exit, Failure};
use crate::folder::FolderArguments;
use crate::json_file::JsonFile;
use crate::output;
use crate::output_file::OutputFile;
use crate::report::say_how;
use crate::samples_file::sound_races;
use crate::texts::os_text;
use measure::measure;
use rows::{Row, TITLES, distribution};

/// Arguments of `regret`.
#[derive(Debug, clap::Args)]
pub struct RegretArguments {
    /// Samples as JSON lines, by populate --exhaustive --samples, or stored evidence,
    /// ARCH.evidence.msgpack; without any, samples are taken now
    #[arg(value_name = "FILE")]
    samples: Vec<PathBuf>,
    /// Cache folder whose choices are judged [default: where populate would write]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Cache folder of a second population, to count choices that differ
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// Hide each part of the stored evidence in turn and judge what would run without it. A part is
    /// a tenth of the keys, a pair of channels, a bucket of rows or a device. Any machine will do.
    /// The evidence is that of the files named [default: of the cache folder]
    #[arg(long, value_name = "key|channels|bucket|device", conflicts_with_all = ["against", "populate"])]
    leave_out: Option<LeaveOut>,
    /// Judge what runs with the kernels in this program's packs alone, instead of with every kernel
    #[arg(long)]
    packed: bool,
    #[command(flatten)]
    json: JsonFile,
    /// Draw the distributions into an SVG file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// What to measure, as flags of populate behind `--`: `-- --clouds sweep.pcd --partition
    /// slice:1/20`
    #[arg(last = true, value_name = "POPULATE FLAGS", conflicts_with = "samples", value_parser = os_text())]
    populate: Vec<OsString>,
}

pub(crate) fn run(arguments: &RegretArguments) -> Result<Exit, Failure> {
    let folder = match &arguments.cache {
        Some(folder) => folder.clone(),
        None => FolderArguments::default_folder("--cache DIR")?,
    };
    // What cannot be read or written fails here, and not behind an hour of measuring.
    let json = arguments.json.checked()?;
    let svg =
        arguments.svg.as_deref().map(|path| OutputFile::checked("--svg", path)).transpose()?;
    let kernels = arguments.packed.then(KernelSource::embedded);
    if let Some(hidden) = arguments.leave_out {
        let cache = CacheDir::new(&folder);
        let places = (&arguments.samples[..], &cache);
        return leave_out::run(hidden, places, kernels.as_ref(), (&json, svg.as_ref()));
    }
    let cache = read(&folder)?;
    let against = arguments.against.as_deref().map(read).transpose()?;
    let mut registries = kernels
        .map_or_else(Registries::new, Registries::with_kernels)
        .learned_in(&folder, CacheDir::new(&folder).archs().map_err(Failure::failed)?)
        .map_err(Failure::failed)?;
    let mut judge = |files: &[PathBuf]| -> Result<Report, Failure> {
        let races = files.iter().map(|file| of_file(file)).collect::<Result<Vec<_>, _>>()?;
        Ok(assess(&races.concat(), &cache, against.as_ref(), &mut registries))
    };
    let (mut exit, mut files) = (Exit::Success, arguments.samples.clone());
    if files.is_empty() {
        let Some((measured, file)) = measure(&arguments.populate, &BTreeSet::new())? else {
            return Ok(Exit::Success);
        };
        (exit, files) = (measured, vec![file]);
        // What runs is known once maps were counted, and may be a candidate that populate would not
        // race.
        let unraced = judge(&files)?.resolved.unraced;
        if matches!(exit, Exit::Success) && !unraced.is_empty() {
            output::status(
                "Again",
                format_args!("with {} that run and did not race", unraced.len()),
            );
            let Some((measured, file)) = measure(&arguments.populate, &unraced)? else {
                return Ok(Exit::Success);
            };
            (exit, files) = (measured, vec![file]);
        }
    }
    let report = judge(&files)?;
    output::results(&table(&report));
    // One that fails does not take the other with it.
    let written = json.write(&report);
    if let Some(file) = &svg {
        file.write(&plot_svg(&report).map_err(Failure::failed)?)?;
    }
    written?;
    say_how(std::iter::once(&folder).chain(&files).map(PathBuf::as_path));
    Ok(exit)
}

/// The races of a file of samples or of evidence.
fn of_file(file: &Path) -> Result<Vec<Race>, Failure> {
    if FileName::of(file).is_some_and(|name| name.kind == FileKind::Evidence) {
        let evidence = leave_out::of_file(file)?;
        let races = evidence.entries().filter_map(|(entry, of)| Race::of_evidence(entry, of));
        return Ok(races.collect());
    }
    Ok(sound_races(file)?.iter().filter_map(Race::of_samples).collect())
}

/// What a folder holds, of all architectures.
fn read(folder: &Path) -> Result<Population, Failure> {
    let cache = CacheDir::new(folder);
    let mut all = Vec::new();
    let mut evidence = Evidence::new();
    for arch in cache.archs().map_err(Failure::failed)? {
        let (decisions, measured) = cache
            .read_together(arch, |cache| (cache.read_decisions(arch), cache.read_evidence(arch)));
        let decisions = decisions.map_err(Failure::failed)?;
        all.extend(decisions.iter().flat_map(|decisions| decisions.iter().collect::<Vec<_>>()));
        evidence.merge(measured.map_err(Failure::failed)?.unwrap_or_default());
    }
    if all.is_empty() {
        return Err(Failure::failed(format!("{}: no decisions here", printable_path(folder))));
    }
    Ok(Population { decisions: all.into_iter().collect(), evidence })
}

/// How many of the worst are named.
const SHOWN: usize = 3;

fn table(report: &Report) -> String {
    let mut rows = vec![Row::of("what runs", &report.resolved)];
    rows.extend(Row::graded(&report.grades));
    rows.extend([
        Row::of("a neighbouring bucket's", &report.bucket_transfer),
        Row::of("a neighbouring density's", &report.density_transfer),
        Row::of("the default", &report.default),
    ]);
    let mut text = table::table(&TITLES, rows.into_iter().map(Row::cells));
    for point in report.resolved.points.iter().take(SHOWN).filter(|point| point.regret > 0.0) {
        text.push_str(&format!(
            "  {:.2} %: {} on {} of {}: {}, best {}\n",
            point.regret * 100.0,
            point.key,
            point.rows_out,
            printable(&point.cloud),
            point.choice,
            point.best
        ));
    }
    if let Some(flips) = &report.flips {
        let [mean, _, _, worst] = distribution(flips.cost);
        let beyond = flips.beyond_noise();
        text.push_str(&format!(
            "flips: {} of {} keys ({:.2} %), {} of them beyond noise in both populations, between their winners mean {mean}, worst {worst}\n",
            flips.flipped.len(),
            flips.keys,
            flips.rate() * 100.0,
            beyond.len()
        ));
        for flip in beyond.into_iter().take(SHOWN) {
            let by = flip.slower_by.map(|by| {
                by.map_or_else(|| "not measured".to_owned(), |by| format!("{:+.2} %", by * 100.0))
            });
            let Flip { key, ours, theirs, .. } = flip;
            text.push_str(&format!(
                "  {key}: {ours}, the other {}; {theirs}, the other {}\n",
                by[0], by[1]
            ));
        }
    }
    text
}
