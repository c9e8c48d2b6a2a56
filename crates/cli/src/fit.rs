//! `fit`: makes what the model of cost has learned of architectures, from evidence.

use std::time::Instant;

use voxtune_analyze::fit::{FamilyError, Timings, model_path};
use voxtune_bench::table;
use voxtune_cache::{CacheDir, decode_evidence, read_file, replace};
use voxtune_cuda::model::LearnedModel;
use voxtune_types::{Arch, printable_path};
use xxhash_rust::xxh3::xxh3_64;

use crate::duration::coarse;
use crate::exit::{Exit, Failure};
use crate::folder::{FolderArguments, must_exist};
use crate::output;
use crate::output_file::OutputFile;

/// Arguments of `fit`.
#[derive(Debug, clap::Args)]
pub struct FitArguments {
    #[command(flatten)]
    folder: FolderArguments,
}

pub(crate) fn run(arguments: &FitArguments) -> Result<Exit, Failure> {
    let folder = arguments.folder.resolve()?;
    must_exist(&folder)?;
    let caches = CacheDir::new(&folder);
    let mut fitted = 0;
    for arch in caches.archs().map_err(Failure::failed)? {
        let Arch::Cuda(capability) = arch else { continue };
        let evidence = caches.evidence_path(arch);
        let Some(bytes) = read_file(&evidence).map_err(Failure::failed)? else { continue };
        let path = model_path(&folder, arch);
        OutputFile::checked("--out", &path)?;
        let start = Instant::now();
        let decoded = decode_evidence(&bytes, &evidence).map_err(Failure::failed)?;
        let timings = Timings::of(&decoded, capability);
        let model = timings.fit(xxh3_64(&bytes), |_| true);
        let encoded = model.encode();
        replace(&path, &encoded).map_err(Failure::failed)?;
        output::results(&errors(&timings, &model));
        output::result(format_args!(
            "{}: {} KiB, from {} timings of {} entries; {}",
            printable_path(&path),
            encoded.len().div_ceil(1024),
            timings.len(),
            decoded.len(),
            coarse(start.elapsed())
        ));
        fitted += 1;
    }
    if fitted == 0 {
        let place = printable_path(&folder);
        return Err(Failure::failed(format!(
            "{place}: no evidence of a GPU here, so that there is nothing to learn from: populate \
             on one, or name its folder with --out"
        )));
    }
    Ok(Exit::Success)
}

/// How far expected times are from measured ones, by family.
fn errors(timings: &Timings, model: &LearnedModel) -> String {
    let percent = |log: f64| format!("{:.1} %", log.exp_m1() * 100.0);
    let row = |error: FamilyError| {
        let FamilyError { family, wgrad, timings, modelled, learned } = error;
        let family = if wgrad { format!("{family}, wgrad") } else { family };
        vec![family, timings.to_string(), percent(modelled), percent(learned)]
    };
    let titles = ["error of", "timings", "modelled", "learned"];
    table::table(&titles, timings.errors(model).into_iter().map(row))
}
