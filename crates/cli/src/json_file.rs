//! A report as a JSON file.

use std::path::PathBuf;

use serde::Serialize;

use crate::exit::Failure;
use crate::output_file::OutputFile;
use crate::program;

/// Where a report goes beside the terminal.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct JsonFile {
    /// File to write everything measured to, as JSON
    #[arg(long = "json", value_name = "FILE")]
    path: Option<PathBuf>,
}

/// The same, once it is known that it can be written.
#[derive(Debug)]
pub(crate) struct JsonReport(Option<OutputFile>);

impl JsonFile {
    /// Refuses a place that cannot be written to, before minutes of measuring.
    pub(crate) fn checked(&self) -> Result<JsonReport, Failure> {
        let path = self.path.as_deref();
        Ok(JsonReport(path.map(|path| OutputFile::checked("--json", path)).transpose()?))
    }
}

/// A report, and the command that made it and would make it again.
#[derive(Serialize)]
struct Signed<'r, R> {
    command: String,
    #[serde(flatten)]
    report: &'r R,
}

impl JsonReport {
    /// Writes a report, if a file was named.
    pub(crate) fn write(&self, report: &impl Serialize) -> Result<(), Failure> {
        let Some(file) = &self.0 else { return Ok(()) };
        let signed = Signed { command: program::typed(), report };
        let mut text = serde_json::to_string_pretty(&signed).map_err(Failure::failed)?;
        text.push('\n');
        file.write(&text)
    }
}
