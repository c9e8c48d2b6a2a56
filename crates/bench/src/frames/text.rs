//! The report as a person reads it.

use super::peers::{Beside, PeerRow};
use super::report::{FrameReport, ManyReport, NetworkReport, StepReport, WayReport};
use crate::bench::roofline::Floor;
use crate::bench::text::{ceilings, ms};
use crate::table::{NONE, table_within};

/// Bytes of a mebibyte.
const MIB: f64 = (1 << 20) as f64;

/// The whole report on a page of this width.
#[must_use]
pub fn report(report: &FrameReport, width: usize) -> String {
    let table = |titles: &[&str], rows: Vec<Vec<String>>| table_within(titles, rows, width);
    let mut text = format!(
        "device    {}\ntimes     median of {} frames each; wall: from the call to the end of the \
         device's work, maps within it; host: until the call returned;\n          span: between \
         events; device: the same with all of the frame queued before; fresh: the host waits for \
         counts; expected: it expects them\nmemory    the most beyond the weights, as it was asked \
         for\nceilings  {}\n\n",
        report.device,
        report.frames,
        ceilings(&report.ceilings),
    );
    let networks = || report.networks.iter();
    text.push_str(&table(&NETWORK_TITLES, networks().map(network_cells).collect()));
    text.push('\n');
    let ways = networks().flat_map(|network| network.ways.iter().map(move |way| (network, way)));
    text.push_str(&table(
        &WAY_TITLES,
        ways.map(|(network, way)| way_cells(network, way)).collect(),
    ));
    let many = networks().flat_map(|network| network.many.iter().map(move |many| (network, many)));
    if many.clone().next().is_some() {
        text.push_str(
            "\ndifferent frames of each cloud, turned and cropped; fit: a + b a thousand voxels, by \
             least squares; over: time over fit\n",
        );
        text.push_str(&table(
            &MANY_TITLES,
            many.map(|(network, many)| many_cells(network, many)).collect(),
        ));
    }
    text.push_str("\noutputs and map of each distinct step, over new voxels\n");
    let steps =
        networks().flat_map(|network| network.steps.iter().map(move |step| (network, step)));
    text.push_str(&table(
        &["network", "cloud", "step", "inputs", "outputs", "wall ms", "span ms"],
        steps.map(|(network, step)| step_cells(network, step)).collect(),
    ));
    if !report.peers.is_empty() {
        text.push_str(
            "\nbeside other libraries: ours, theirs, ours/theirs (below 1 is faster or less)\n",
        );
        text.push_str(&table(&PEER_TITLES, report.peers.iter().map(peer_cells).collect()));
    }
    for failure in &report.failures {
        text.push_str(&format!("\nFAILED {}", voxtune_types::printable(failure)));
    }
    let (networks, failures) = (report.networks.len(), report.failures.len());
    text.push_str(&format!("\nnetworks {networks}, failures {failures}\n"));
    text
}

/// A network on a cloud in one line.
#[must_use]
pub fn network_line(network: &NetworkReport) -> String {
    let ways: Vec<String> = network
        .ways
        .iter()
        .map(|way| format!("{} {} ms", way.way.as_str(), ms(Some(way.wall_ms.median))))
        .collect();
    let (name, cloud) = (&network.network, voxtune_types::printable(&network.cloud));
    format!("{name} on {cloud}: first {} ms, {}", ms(Some(network.first_ms)), ways.join(", "))
}

const NETWORK_TITLES: [&str; 12] = [
    "network",
    "cloud",
    "dtype",
    "voxels",
    "channels",
    "grid",
    "weights MiB",
    "first ms",
    "view ms",
    "MB moved",
    "GFLOP",
    "floor ms",
];

fn network_cells(network: &NetworkReport) -> Vec<String> {
    let [x, y, z] = network.shape;
    let of_floor = |of: fn(&Floor) -> f64| {
        network.floor.as_ref().map_or_else(|| NONE.to_owned(), |floor| format!("{:.1}", of(floor)))
    };
    vec![
        network.network.clone(),
        network.cloud.clone(),
        network.dtype.to_string(),
        network.voxels.to_string(),
        network.c_in.to_string(),
        format!("{x}x{y}x{z}"),
        mib(network.weights_bytes),
        ms(Some(network.first_ms)),
        ms(network.view_ms),
        of_floor(|floor| floor.bytes as f64 / 1e6),
        of_floor(|floor| floor.flops as f64 / 1e9),
        ms(network.floor.map(|floor| floor.floor_ms)),
    ]
}

const WAY_TITLES: [&str; 13] = [
    "network",
    "cloud",
    "frame",
    "wall ms",
    "p95",
    "largest",
    "host ms",
    "span ms",
    "device ms",
    "launches",
    "waits",
    "MiB",
    "first/this",
];

fn way_cells(network: &NetworkReport, way: &WayReport) -> Vec<String> {
    let ratio = network.first_over_steady(way);
    let count = |count: Option<u64>| count.map_or_else(|| NONE.to_owned(), |n| n.to_string());
    vec![
        network.network.clone(),
        network.cloud.clone(),
        way.way.as_str().to_owned(),
        ms(Some(way.wall_ms.median)),
        ms(Some(way.wall_ms.p95)),
        ms(Some(way.wall_ms.largest)),
        ms(Some(way.host_ms)),
        ms(way.span_ms),
        ms(way.device_ms),
        count(way.launches),
        count(way.waits),
        mib(network.over_weights(way)),
        ratio.map_or_else(|| NONE.to_owned(), |ratio| format!("{ratio:.2}")),
    ]
}

const MANY_TITLES: [&str; 14] = [
    "network",
    "cloud",
    "frame",
    "frames",
    "least voxels",
    "most",
    "wall ms",
    "p95",
    "largest",
    "host ms",
    "a ms",
    "b us",
    "over p95, largest",
    "repeats",
];

fn many_cells(network: &NetworkReport, many: &ManyReport) -> Vec<String> {
    let [least, most] = many.voxels;
    vec![
        network.network.clone(),
        network.cloud.clone(),
        many.way.as_str().to_owned(),
        many.frames.to_string(),
        least.to_string(),
        most.to_string(),
        ms(Some(many.wall_ms.median)),
        ms(Some(many.wall_ms.p95)),
        ms(Some(many.wall_ms.largest)),
        ms(Some(many.host_ms)),
        ms(Some(many.fit.a_ms)),
        format!("{:.3}", many.fit.b_us_per_1000),
        format!("{:.2}, {:.2}", many.over_fit_p95, many.over_fit_largest),
        many.repeats.to_string(),
    ]
}

fn step_cells(network: &NetworkReport, step: &StepReport) -> Vec<String> {
    vec![
        network.network.clone(),
        network.cloud.clone(),
        step.step.clone(),
        step.inputs.to_string(),
        step.outputs.to_string(),
        ms(Some(step.wall_ms)),
        ms(step.span_ms),
    ]
}

const PEER_TITLES: [&str; 7] =
    ["network", "cloud", "frame", "peer", "wall ms", "device, kernels ms", "MiB"];

fn peer_cells(row: &PeerRow) -> Vec<String> {
    let beside = |beside: Option<Beside>, unit: f64| match beside {
        Some(Beside { own, peer, ratio }) => {
            format!("{:.3} {:.3} {ratio:.2}", own / unit, peer / unit)
        }
        None => NONE.to_owned(),
    };
    let peer = match row.other_voxels {
        Some(voxels) => format!("{} ({voxels} voxels!)", row.peer),
        None => row.peer.clone(),
    };
    vec![
        row.network.clone(),
        row.cloud.clone(),
        row.way.as_str().to_owned(),
        peer,
        beside(row.wall_ms, 1.0),
        beside(row.device_ms, 1.0),
        beside(row.peak_bytes, MIB),
    ]
}

fn mib(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| NONE.to_owned(), |bytes| format!("{:.1}", bytes as f64 / MIB))
}
