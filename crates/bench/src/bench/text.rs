//! The report as a person reads it.

use voxtune_types::printable;

use super::comparison::{Comparison, Ratio, Summary};
use super::report::{BenchReport, CeilingsReport, CloudReport, RowReport};
use crate::table::{NONE, table_within};

/// The whole report on a page of this width; with the ranking of each row if asked for.
#[must_use]
pub fn report(report: &BenchReport, with_ranking: bool, width: usize) -> String {
    let table = |titles: &[&str], rows: Vec<Vec<String>>| table_within(titles, rows, width);
    let mut text = header(report);
    text.push('\n');
    text.push_str(&table(
        &["cloud", "voxels", "pairs per row", "map ms", "by device", "ready ms", "parts, ms"],
        report.clouds.iter().map(cloud_cells).collect(),
    ));
    text.push_str(
        "map: until it is built and its counts are known; ready: with what the default reads at its first launch\n\n",
    );
    let rows = report.rows.iter();
    text.push_str(&table(&ROW_TITLES, rows.clone().map(row_cells).collect()));
    if rows.clone().any(|row| row.calls.is_some()) {
        text.push_str("\ncalls of SubmConv3d back to back, host included\n");
        let titles =
            ["cloud", "layer", "dtype", "calls", "kernel ms", "forward_into ms", "forward ms"];
        text.push_str(&table(&titles, rows.clone().filter_map(call_cells).collect()));
    }
    if with_ranking {
        for row in rows {
            text.push_str(&format!("\n{}\n", row_name(row)));
            for ranked in &row.ranking {
                let mark = if ranked.default { "  (default)" } else { "" };
                text.push_str(&format!(
                    "  {:9.4} ms ± {:.4}, least {:.4} of {:2}  {}{mark}\n",
                    ranked.median_ms,
                    ranked.deviation_ms,
                    ranked.least_ms,
                    ranked.samples,
                    ranked.algorithm
                ));
            }
        }
    }
    if let Some(comparison) = &report.peers {
        text.push('\n');
        text.push_str(&peers(comparison, width));
    }
    for failure in &report.failures {
        text.push_str(&format!("\nFAILED {}", printable(failure)));
    }
    text.push_str(&format!("\nrows {}, failures {}\n", report.rows.len(), report.failures.len()));
    text
}

fn header(report: &BenchReport) -> String {
    let caches = if report.cold {
        "device events, L2 emptied before each sample"
    } else if report.warm {
        "device events, L2 as an untimed run right before left it"
    } else {
        "the host's clock, caches as the last run left them"
    };
    format!(
        "device    {}\ntimes     {caches}; median of {} interleaved rounds\nceilings  {}\nfloor     {}\n",
        report.device,
        report.rounds,
        ceilings(&report.ceilings),
        "the larger of bytes (features in and out once, weights once, 4 B a pair) at the copy's rate \
         and flops (2 · pairs · C_in · C_out) at the dense product's; share = floor / best",
    )
}

/// The device's rates in one line.
#[must_use]
pub fn ceilings(ceilings: &CeilingsReport) -> String {
    let mut parts = Vec::new();
    if let Some(rate) = ceilings.copy_bytes_per_s {
        parts.push(format!("copy {}B/s (read + written)", scaled(rate)));
    }
    for (dtype, rate) in &ceilings.dense_flops_per_s {
        parts.push(format!("dense {dtype} {}FLOP/s", scaled(*rate)));
    }
    if ceilings.given && !parts.is_empty() {
        parts.push("these as given".to_owned());
    }
    if let Some(ms) = ceilings.empty_launch_ms {
        parts.push(format!("an empty launch {:.2} us, part of every time", ms * 1e3));
    }
    if let Some(clock) = ceilings.clock_mhz {
        parts.push(format!("clock {clock:.0} MHz idle"));
    }
    if parts.is_empty() { "none measured on this device".to_owned() } else { parts.join(", ") }
}

/// A rate with the prefix that fits a GPU or a CPU.
fn scaled(rate: f64) -> String {
    if rate < 1e12 { format!("{:.1} G", rate / 1e9) } else { format!("{:.2} T", rate / 1e12) }
}

fn cloud_cells(cloud: &CloudReport) -> Vec<String> {
    let parts: Vec<String> =
        cloud.part_ms.iter().map(|(part, ms)| format!("{part} {ms:.3}")).collect();
    vec![
        cloud.cloud.clone(),
        cloud.voxels.to_string(),
        format!("{:.2}", cloud.pairs as f64 / cloud.voxels.max(1) as f64),
        ms(cloud.map_ms),
        ms(cloud.map_event_ms),
        ms(cloud.ready_ms),
        if parts.is_empty() { NONE.to_owned() } else { parts.join(", ") },
    ]
}

/// A cloud in one line.
#[must_use]
pub fn cloud_line(cloud: &CloudReport) -> String {
    let pairs_per_row = cloud.pairs as f64 / cloud.voxels.max(1) as f64;
    let map = ms(cloud.map_ms);
    format!(
        "{}: {} voxels, {pairs_per_row:.2} pairs per row, map {map} ms",
        printable(&cloud.cloud),
        cloud.voxels
    )
}

const ROW_TITLES: [&str; 9] = [
    "cloud",
    "layer",
    "dtype",
    "direction",
    "best ms",
    "default ms",
    "floor ms",
    "share",
    "algorithm",
];

fn row_cells(row: &RowReport) -> Vec<String> {
    let share = row.roofline_share().map(|share| format!("{:.0} %", share * 100.0));
    vec![
        row.cloud.clone(),
        row.layer(),
        row.dtype.to_string(),
        row.direction.to_string(),
        ms(row.best().map(|best| best.median_ms)),
        ms(row.default().map(|default| default.median_ms)),
        ms(row.floor.map(|floor| floor.floor_ms)),
        share.unwrap_or_else(|| NONE.to_owned()),
        row.best()
            .map_or_else(|| "every candidate failed".to_owned(), |best| best.algorithm.clone()),
    ]
}

fn row_name(row: &RowReport) -> String {
    format!("{} {} {} {}", printable(&row.cloud), row.direction, row.dtype, row.layer())
}

/// A row in one line.
#[must_use]
pub fn row_line(row: &RowReport) -> String {
    let best = row.best().map_or("every candidate failed", |best| &best.algorithm);
    let best_ms = ms(row.best().map(|best| best.median_ms));
    let default_ms = ms(row.default().map(|default| default.median_ms));
    format!("{}: {best_ms} ms, default {default_ms} ms, {best}", row_name(row))
}

fn call_cells(row: &RowReport) -> Option<Vec<String>> {
    let calls = row.calls?;
    Some(vec![
        row.cloud.clone(),
        row.layer(),
        row.dtype.to_string(),
        calls.calls.to_string(),
        ms(row.best().map(|best| best.median_ms)),
        ms(Some(calls.forward_into_ms)),
        ms(Some(calls.forward_ms)),
    ])
}

fn peers(comparison: &Comparison, width: usize) -> String {
    let titles = [
        "cloud",
        "layer",
        "dtype",
        "forward ms",
        "best peer",
        "ours/theirs",
        "dgrad + wgrad ms",
        "best peer",
        "ours/theirs",
    ];
    let rows = comparison.layers.iter().map(|layer| {
        let mut cells = vec![
            layer.cloud.clone(),
            format!("{}→{}", layer.c_in, layer.c_out),
            layer.dtype.to_string(),
        ];
        cells.extend(ratio_cells(layer.forward.as_ref()));
        cells.extend(ratio_cells(layer.backward.as_ref()));
        cells
    });
    let mut text = table_within(&titles, rows, width);
    for (name, summary) in [("forward", comparison.forward), ("backward", comparison.backward)] {
        if let Some(Summary { rows, geometric_mean, largest, above_one }) = summary {
            text.push_str(&format!(
                "{name}, our time over theirs (below 1 is faster): geometric mean \
                 {geometric_mean:.3}, largest {largest:.3}, slower: {above_one} of {rows}\n"
            ));
        }
    }
    if comparison.left_out > 0 {
        text.push_str(&format!("layers of the peers not measured: {}\n", comparison.left_out));
    }
    text
}

fn ratio_cells(ratio: Option<&Ratio>) -> [String; 3] {
    ratio.map_or_else(
        || [NONE; 3].map(str::to_owned),
        |Ratio { own_ms, peer, ratio }| {
            let mark = if *ratio > 1.0 { " !" } else { "" };
            [
                ms(Some(*own_ms)),
                format!("{} {}", ms(Some(peer.ms)), peer.peer),
                format!("{ratio:.2}{mark}"),
            ]
        },
    )
}

pub(crate) fn ms(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| format!("{value:.4}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use voxtune::{DType, Direction};

    use super::*;
    use crate::bench::comparison::compare;
    use crate::bench::peers::Peers;
    use crate::bench::report::{CallReport, Ranked, tests::row};
    use crate::bench::roofline::Floor;

    #[test]
    fn f19_names_cannot_forge_lines() {
        let line = row_line(&row("a\rb", 32, 64, Direction::Forward, 0.25));
        assert!(line.starts_with(r"a\rb forward"), "{line}");
    }

    #[test]
    fn a_report_reads_as_tables() {
        let mut forward = row("street", 32, 64, Direction::Forward, 0.25);
        forward.floor = Some(Floor { bytes: 1, flops: 1, floor_ms: 0.1 });
        forward.calls = Some(CallReport { calls: 1000, forward_ms: 0.27, forward_into_ms: 0.26 });
        forward.ranking.push(Ranked {
            algorithm: "tiled:rows=128".to_owned(),
            default: false,
            median_ms: 0.75,
            deviation_ms: 0.0125,
            least_ms: 0.7,
            samples: 1,
        });
        let rows = vec![
            forward,
            row("street", 32, 64, Direction::Dgrad, 0.5),
            row("street", 32, 64, Direction::Wgrad, 1.75),
        ];
        let peers = Peers::parse(
            r#"{"peer":"other","cloud":"street","cin":32,"cout":64,"dtype":"float16","fwd_kernel_ms":0.5,"train_kernel_ms":2.5}
{"peer":"other","cloud":"lake","cin":32,"cout":64,"dtype":"float16","fwd_kernel_ms":0.5}"#,
        )
        .unwrap();
        let whole = BenchReport {
            device: "a device".to_owned(),
            rounds: 7,
            cold: true,
            warm: false,
            ceilings: CeilingsReport {
                given: false,
                copy_bytes_per_s: Some(2.82e12),
                dense_flops_per_s: BTreeMap::from([(DType::Float16, 744.4e12)]),
                empty_launch_ms: Some(0.0023),
                clock_mhz: Some(1980.0),
            },
            clouds: vec![CloudReport {
                cloud: "street".to_owned(),
                voxels: 1000,
                pairs: 6280,
                map_ms: Some(0.23),
                map_event_ms: Some(0.2),
                ready_ms: Some(0.31),
                part_ms: BTreeMap::from([("sorted order".to_owned(), 0.18)]),
            }],
            peers: Some(compare(&rows, &peers)),
            rows,
            failures: vec!["street: something broke".to_owned()],
        };
        insta::assert_snapshot!(report(&whole, true, usize::MAX));
        insta::assert_snapshot!("narrow", report(&whole, true, 80));
    }

    #[test]
    fn what_was_not_measured_is_said() {
        assert_eq!(ceilings(&CeilingsReport::default()), "none measured on this device");
        let mut failed = row("street", 1, 1, Direction::Forward, 1.0);
        failed.ranking.clear();
        assert_eq!(
            row_line(&failed),
            "street forward float16 1→1: – ms, default – ms, every candidate failed"
        );
    }
}
