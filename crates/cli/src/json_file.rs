//! A report as a JSON file.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::exit::Failure;
use crate::output;

/// Where a report goes beside the terminal.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct JsonFile {
    /// File to write everything measured to, as JSON
    #[arg(long = "json", value_name = "FILE")]
    path: Option<PathBuf>,
}

impl JsonFile {
    /// Refuses a place that cannot be written to: nobody wants to hear so after minutes of measuring.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let Some(path) = &self.path else { return Ok(()) };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if path.is_dir() || !folder.unwrap_or(Path::new(".")).is_dir() {
            let why = "expected a file in a folder that exists";
            return Err(Failure::usage(format!("--json {}: {why}", path.display())));
        }
        Ok(())
    }

    /// Writes a report, if a file was named.
    pub(crate) fn write(&self, report: &impl Serialize) -> Result<(), Failure> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut text = serde_json::to_string_pretty(report).map_err(Failure::failed)?;
        text.push('\n');
        std::fs::write(path, text).map_err(|error| {
            Failure::failed(format!("cannot write {}: {error}", path.display()))
        })?;
        output::status("Wrote", path.display());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_cannot_be_written_is_refused_before_the_work() {
        let file = |path: &str| JsonFile { path: Some(path.into()) };
        assert!(file("report.json").check().is_ok());
        assert!(JsonFile { path: None }.check().is_ok());
        for path in ["/", "no such folder/report.json"] {
            assert_eq!(file(path).check().unwrap_err().exit, crate::exit::Exit::Usage, "{path}");
        }
    }
}
