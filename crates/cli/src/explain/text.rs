//! Explanations as a person reads them.

use std::fmt::Display;

use voxtune::{AlgoId, ExplainedChoice, Explanation, MeasuredWorkload, SkippedGrade};
use voxtune_cache::{Decision, Environment, Workload};

use crate::duration::{charge, fine};
use crate::styled::{Line, Meaning, Text};
use crate::versus::beside_default;

/// Where what stands behind a label begins.
const HANG: usize = 13;

/// One explanation, and a blank line behind it.
pub(super) fn render(explanation: &Explanation) -> Text {
    let mut text = Text::default();
    let Explanation { key, device, skipped, answer } = explanation;
    text.line(2).push(key);
    labelled(&mut text, "on").push(device);
    match answer {
        Ok(choice) => render_choice(&mut text, choice),
        Err(error) => {
            labelled(&mut text, "fails").push_as(Meaning::Error, error);
        }
    }
    for SkippedGrade { kind, source, reason } in skipped {
        let source = source.map_or_else(String::new, |source| format!(" ({source})"));
        labelled(&mut text, "not").push(format_args!("{kind}{source}: {reason}"));
    }
    text.line(0);
    text
}

fn labelled<'t>(text: &'t mut Text, label: &str) -> &'t mut Line {
    text.line(HANG).label(format_args!("  {label}"), HANG)
}

fn render_choice(text: &mut Text, choice: &ExplainedChoice) {
    let ExplainedChoice { algorithm, grade, entry, measured } = choice;
    labelled(text, "runs").push_as(Meaning::Winner, algorithm);
    labelled(text, "grade").push_as(Meaning::Grade, grade);
    let Some(entry) = entry else { return };
    let Decision { key, device, winner, runner_up, without_libraries, safe, .. } = entry;
    labelled(text, "entry").push(format_args!("{key} on {device}"));
    labelled(text, "winner").push(winner);
    if let Some(id) = runner_up {
        labelled(text, "runner-up").push(id);
    }
    if let Some(id) = without_libraries {
        text.line(HANG).push(format_args!("  without libraries  {id}"));
    }
    let safe: Vec<&str> = safe.iter().map(AlgoId::as_str).collect();
    labelled(text, "safe").push(safe.join(", "));
    measured.iter().for_each(|race| render_race(text, race));
    if measured.is_empty() {
        labelled(text, "measured").push("no evidence of it can be read beside the decision");
    }
}

fn render_race(text: &mut Text, race: &MeasuredWorkload) {
    let Workload { cloud, rows_out, pairs, .. } = &race.workload;
    let density = *pairs as f64 / (*rows_out).max(1) as f64;
    let line = labelled(text, "measured");
    line.push(format_args!("{cloud} of {rows_out} voxels, {density:.2} pairs per row: "));
    if let Some(winner) = race.winner {
        let spread = winner.relative_spread() * 100.0;
        line.push(format_args!("{} ±{spread:.1} %", fine(winner.median_ns)));
        line.push(charge(&winner));
        if let Some(ratio) = winner.ratio_to_default {
            line.push(", ").push(beside_default(ratio));
        }
    }
    if let Some(margin) = race.margin() {
        let (percent, way) = (margin.abs() * 100.0, if margin < 0.0 { "faster" } else { "slower" });
        line.push(format_args!(", the runner-up {percent:.1} % {way}"));
    }
    let Some(Environment { tool, driver, toolkit }) = &race.environment else { return };
    let line = labelled(text, "with");
    line.push(tool);
    let mut named = |label: &str, text: &dyn Display| {
        let text = text.to_string();
        if !text.is_empty() {
            line.push(format_args!(", {label} {text}"));
        }
    };
    named("driver", driver);
    named("toolkit", toolkit);
}
