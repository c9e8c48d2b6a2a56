//! What ran, and how it was found.

use std::collections::BTreeMap;

use voxtune::{Direction, Module};

/// Prints which algorithms a network's convolutions ran the last time in a direction, and how they
/// were found. Each is named once, or, listing layers, each layer's for its key.
pub(crate) fn print_algorithms(network: &dyn Module, direction: Direction, lists_layers: bool) {
    let (mut grades, mut lines) = (BTreeMap::new(), BTreeMap::new());
    let resolutions = network.resolutions(direction);
    for (_, resolution) in &resolutions {
        *grades.entry(resolution.grade().kind()).or_insert(0) += 1;
        let line = match lists_layers {
            true => resolution.to_string(),
            false => resolution.algorithm().id().to_string(),
        };
        *lines.entry(line).or_insert(0) += 1;
    }
    let grades: Vec<String> =
        grades.iter().map(|(grade, layers)| format!("{layers} {grade}")).collect();
    let convolutions = resolutions.len();
    println!("{:<12}{direction}: {convolutions} convolutions, {}", "algorithms", grades.join(", "));
    for (line, layers) in lines {
        println!("{:>11} {line}", format!("{layers} \u{d7}"));
    }
}
