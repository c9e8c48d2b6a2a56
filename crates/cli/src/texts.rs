//! Texts on the command line that no type reads: filters and names.
//!
//! An empty text is no filter and no name. It is what a shell makes of a variable that is not set,
//! and would admit everything where it was meant to admit one thing.

use std::ffi::{OsStr, OsString};

use clap::builder::{OsStringValueParser, TypedValueParser};
use voxtune_bench::named_cloud::CloudSpec;
use voxtune_pointcloud::Source;

const EMPTY: &str = "expected a text, found an empty one, which is no filter: leave the flag out, or set the variable";

/// A filter or a name, for flags of type `String`.
pub(crate) fn text(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err(EMPTY.to_owned()) } else { Ok(text.to_owned()) }
}

/// The same for texts that need not be Unicode.
pub(crate) fn os_text() -> impl TypedValueParser<Value = OsString> {
    OsStringValueParser::new()
        .try_map(|text| if text.is_empty() { Err(EMPTY.to_owned()) } else { Ok(text) })
}

/// A cloud of `populate`, whose path need not be Unicode.
pub(crate) fn source() -> impl TypedValueParser<Value = Source> {
    parsed(|text| Source::try_from(text))
}

/// A cloud of `check` and `bench`, whose path need not be Unicode.
pub(crate) fn cloud() -> impl TypedValueParser<Value = CloudSpec> {
    parsed(|text| CloudSpec::try_from(text))
}

/// What is made of a text that need not be Unicode.
pub(crate) fn parsed<T: Clone + Send + Sync + 'static, E: std::fmt::Display>(
    parse: impl Fn(&OsStr) -> Result<T, E> + Clone + Send + Sync + 'static,
) -> impl TypedValueParser<Value = T> {
    OsStringValueParser::new().try_map(move |text| parse(&text).map_err(|error| error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use clap::error::ErrorKind;
    use clap::{Arg, Command, CommandFactory};

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn f17_an_empty_text_is_refused() {
        assert_eq!(text("RTX 4090"), Ok("RTX 4090".to_owned()));
        for empty in ["", " ", "\t"] {
            assert!(text(empty).unwrap_err().contains("no filter"), "{empty:?}");
        }
    }

    /// How a command takes one value of one argument, whatever else it requires.
    fn taken(command: &Command, arg: &Arg, value: &OsStr) -> Result<(), ErrorKind> {
        let command = command.clone().no_binary_name(true).mut_args(|other| other.required(false));
        let mut line: Vec<&OsStr> = Vec::new();
        let long = arg.get_long().map(|long| format!("--{long}"));
        if let Some(long) = &long {
            line.push(OsStr::new(long));
        } else if arg.is_last_set() {
            line.push(OsStr::new("--"));
        }
        line.push(value);
        match command.try_get_matches_from(line).map_err(|error| error.kind()) {
            // It wants company, which is looked at behind the value.
            Ok(_) | Err(ErrorKind::MissingRequiredArgument) => Ok(()),
            Err(kind) => Err(kind),
        }
    }

    fn arguments_with_values() -> Vec<(Command, Arg)> {
        let root = Cli::command();
        let mut all = Vec::new();
        for command in root.get_subcommands() {
            let args = command.get_arguments().filter(|arg| arg.get_action().takes_values());
            all.extend(args.map(|arg| (command.clone(), arg.clone())));
        }
        all
    }

    #[test]
    fn f17_no_argument_of_any_command_takes_an_empty_text() {
        let all = arguments_with_values();
        assert!(all.len() > 60, "{}", all.len());
        for (command, arg) in all {
            let answer = taken(&command, &arg, OsStr::new(""));
            let place = format!("{} {}", command.get_name(), arg.get_id());
            assert!(
                matches!(answer, Err(ErrorKind::InvalidValue | ErrorKind::ValueValidation)),
                "{place}: {answer:?}"
            );
        }
    }

    /// Whatever names a file takes every name that a file can have.
    #[test]
    #[cfg(unix)]
    fn f19_every_argument_that_names_a_file_takes_any_bytes() {
        use std::os::unix::ffi::OsStrExt as _;
        let name = OsStr::from_bytes(b"a\xff.npy");
        let names_files = ["FILE", "DIR", "CLOUD", "POPULATE FLAGS", "FILE|DIR"];
        let mut count = 0;
        for (command, arg) in arguments_with_values() {
            let value_names = arg.get_value_names().unwrap_or_default();
            if value_names.iter().any(|one| names_files.contains(&one.as_str())) {
                count += 1;
                let place = format!("{} {}", command.get_name(), arg.get_id());
                assert_eq!(taken(&command, &arg, name), Ok(()), "{place}");
            }
        }
        assert!(count > 25, "{count}");
    }
}
