//! `replay`: search policies on recorded samples, without a device.

use std::path::PathBuf;

use voxtune_analyze::replay::{PolicyReport, SearchPolicy, replay};

use crate::exit::{Exit, Failure};
use crate::output;
use crate::samples_file::sound_races;

/// Arguments of `replay`.
#[derive(Debug, clap::Args)]
pub struct ReplayArguments {
    /// Files that populate --samples has written
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Policies to compare: race, rounds:samples=N or exhaustive; race takes :budget=SECONDS,
    /// :hopeless=RATIO, :leader=N, :samples=N and :shootout=SECONDS, and each takes :pick=fastest
    /// [default: race, race:samples=5, rounds:samples=3 and exhaustive]
    #[arg(long = "policy", value_name = "POLICY", num_args = 1..)]
    policies: Vec<SearchPolicy>,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// What is compared where nothing is asked for: the tuner, a hastier one, a fixed number of
/// samples, and everything there is.
const POLICIES: [&str; 4] = ["race", "race:samples=5", "rounds:samples=3", "exhaustive"];

pub(crate) fn run(arguments: &ReplayArguments) -> Result<Exit, Failure> {
    let mut policies = arguments.policies.clone();
    if policies.is_empty() {
        let parsed: Result<Vec<SearchPolicy>, _> =
            POLICIES.iter().map(|text| text.parse()).collect();
        policies = parsed.map_err(Failure::failed)?;
    }
    let races = arguments.files.iter().map(|file| sound_races(file));
    let races = races.collect::<Result<Vec<_>, Failure>>()?.into_iter().flatten();
    let reports = replay(races.map(Ok::<_, Failure>), &policies)?;
    if arguments.json {
        output::json(&reports)?;
    } else {
        output::results(&table(&reports));
    }
    Ok(Exit::Success)
}

fn table(reports: &[PolicyReport]) -> String {
    let width = reports.iter().map(|report| report.policy.len()).max().unwrap_or(0).max(6);
    let mut text = format!(
        "{:<width$}  {:>6}  {:>10}  {:>6}  {:>8}  {:>7}  {:>7}  {:>7}  {:>7}  {:>9}\n",
        "policy",
        "races",
        "kernels/s",
        "of all",
        "repeated",
        "mean",
        "median",
        "p95",
        "worst",
        "flips"
    );
    for report in reports {
        let percent = |value: f64| format!("{:.2} %", value * 100.0);
        let share = |part: f64, whole: f64| {
            if whole > 0.0 { format!("{:.0} %", 100.0 * part / whole) } else { "-".to_owned() }
        };
        let quantiles = report.regret.map_or_else(
            || ["-"; 4].map(str::to_owned),
            |regret| [regret.mean, regret.median, regret.p95, regret.worst].map(percent),
        );
        let [mean, median, p95, worst] = quantiles;
        text.push_str(&format!(
            "{:<width$}  {:>6}  {:>10.4}  {:>6}  {:>8}  {mean:>7}  {median:>7}  {p95:>7}  \
             {worst:>7}  {:>9}\n",
            report.policy,
            report.races,
            report.kernel_seconds,
            share(report.kernel_seconds, report.recorded_kernel_seconds),
            share(report.repeated_samples as f64, report.samples as f64),
            format!("{}/{}", report.flips, report.halved),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use voxtune_analyze::distribution::Distribution;

    use super::*;

    #[test]
    fn the_defaults_are_policies() {
        for text in POLICIES {
            assert!(text.parse::<SearchPolicy>().is_ok(), "{text}");
        }
    }

    #[test]
    fn a_table() {
        let report = PolicyReport {
            policy: "race:samples=5".to_owned(),
            races: 36,
            undecided: 1,
            samples: 400,
            repeated_samples: 20,
            kernel_seconds: 0.25,
            recorded_kernel_seconds: 1.0,
            regret: Distribution::of([0.0, 0.01, 0.05]),
            worst_entry: None,
            halved: 30,
            flips: 2,
        };
        let empty = PolicyReport {
            policy: "exhaustive".to_owned(),
            races: 0,
            samples: 0,
            repeated_samples: 0,
            kernel_seconds: 0.0,
            recorded_kernel_seconds: 0.0,
            regret: None,
            halved: 0,
            flips: 0,
            ..report.clone()
        };
        insta::assert_snapshot!(table(&[report, empty]));
    }
}
