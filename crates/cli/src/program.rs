//! The name by which this program was started, for help and messages.

use std::sync::OnceLock;

use voxtune_analyze::report::shell::quoted;

/// What `cargo install voxtune-cli` installs.
pub const INSTALLED: &str = "voxtune";

/// What the alias of the repository runs.
pub const IN_REPOSITORY: &str = "cargo xtask";

static NAME: OnceLock<&'static str> = OnceLock::new();

/// Sets the name. The first one stays.
pub(crate) fn set_name(name: &'static str) {
    NAME.get_or_init(|| name);
}

/// The name, [`INSTALLED`] unless another was set.
pub(crate) fn name() -> &'static str {
    NAME.get().copied().unwrap_or(INSTALLED)
}

/// A command line that a reader can type, in backticks.
pub(crate) fn command(arguments: &str) -> String {
    format!("`{} {arguments}`", name())
}

/// The command line that this process was started with, as a shell takes it.
pub(crate) fn typed() -> String {
    let words = std::env::args_os().skip(1).map(|word| quoted(&word.to_string_lossy()));
    std::iter::once(name().to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_installed_program_unless_told_otherwise() {
        assert_eq!(command("populate --top-up"), "`voxtune populate --top-up`");
    }
}
