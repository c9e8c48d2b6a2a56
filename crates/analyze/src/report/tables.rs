//! Names that rows of a page refer to by number.

use std::collections::HashMap;

use serde::Serialize;
use voxtune_types::{AlgoId, Operation, PitchClass};

/// Every name once.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tables {
    /// Algorithms.
    pub algorithms: Vec<String>,
    /// Layers in a direction.
    pub operations: Vec<OperationRow>,
    /// Clouds.
    pub clouds: Vec<String>,
    /// What a failure said.
    pub details: Vec<String>,
    #[serde(skip)]
    algorithm_numbers: HashMap<AlgoId, usize>,
    #[serde(skip)]
    operation_numbers: HashMap<Operation, usize>,
    #[serde(skip)]
    cloud_numbers: HashMap<String, usize>,
    #[serde(skip)]
    detail_numbers: HashMap<String, usize>,
}

/// A layer in a direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OperationRow {
    /// Forward, dgrad or wgrad.
    pub direction: &'static str,
    /// Storage type.
    pub dtype: String,
    /// Input channels.
    pub c_in: u32,
    /// Output channels.
    pub c_out: u32,
    /// Kernel, such as `3`.
    pub kernel: String,
    /// Stride, such as `1` or `2×1×1`.
    pub stride: String,
    /// Kind of layer.
    pub kind: &'static str,
    /// Groups of channels.
    pub groups: u32,
    /// Whether rows of an operand lie further apart than they are long.
    pub pitched: bool,
}

impl Tables {
    pub(super) fn algorithm(&mut self, algo: &AlgoId) -> usize {
        number(&mut self.algorithm_numbers, &mut self.algorithms, algo, ToString::to_string)
    }

    pub(super) fn operation(&mut self, operation: &Operation) -> usize {
        number(&mut self.operation_numbers, &mut self.operations, operation, OperationRow::of)
    }

    pub(super) fn cloud(&mut self, cloud: &str) -> usize {
        let cloud = cloud.to_owned();
        number(&mut self.cloud_numbers, &mut self.clouds, &cloud, Clone::clone)
    }

    pub(super) fn detail(&mut self, detail: &str) -> usize {
        /// A compiler may say a page; what matters stands at its beginning.
        const LONGEST: usize = 600;
        let mut text: String = detail.chars().take(LONGEST).collect();
        if text.len() < detail.len() {
            text.push('…');
        }
        number(&mut self.detail_numbers, &mut self.details, &text, Clone::clone)
    }
}

fn number<K: Clone + Eq + std::hash::Hash, V>(
    numbers: &mut HashMap<K, usize>,
    names: &mut Vec<V>,
    key: &K,
    name: impl FnOnce(&K) -> V,
) -> usize {
    if let Some(&number) = numbers.get(key) {
        return number;
    }
    let number = names.len();
    names.push(name(key));
    numbers.insert(key.clone(), number);
    number
}

impl OperationRow {
    fn of(operation: &Operation) -> Self {
        let Operation { direction, dtype, c_in, c_out, kernel, stride, kind, pitch, groups } =
            *operation;
        Self {
            direction: direction.as_str(),
            dtype: dtype.to_string(),
            c_in,
            c_out,
            kernel: per_axis(&kernel.extents()),
            stride: per_axis(&stride),
            kind: kind.as_str(),
            groups,
            pitched: pitch != PitchClass::Dense,
        }
    }
}

/// One number where all axes agree.
fn per_axis(extents: &[u8; 3]) -> String {
    let [x, y, z] = extents;
    if x == y && y == z { x.to_string() } else { format!("{x}×{y}×{z}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_number() {
        let mut tables = Tables::default();
        assert_eq!([tables.cloud("a"), tables.cloud("b"), tables.cloud("a")], [0, 1, 0]);
        let long = "é".repeat(2000);
        assert_eq!(tables.detail(&long), 0);
        assert_eq!(tables.details[0].chars().count(), 601);
    }
}
