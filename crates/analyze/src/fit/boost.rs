//! Gradient boosting of trees that ask one question a depth, by histograms of binned features
//! (Friedman 2001, "Greedy function approximation: a gradient boosting machine").

use voxtune_cuda::model::{Split, Tree};

/// How trees are grown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// How many there are.
    pub(super) trees: usize,
    /// Most questions of each.
    pub(super) depth: usize,
    /// The share of what is left that a tree takes.
    pub(super) rate: f64,
    /// Samples without a deviation that each leaf has beside its own.
    pub(super) smoothing: f64,
    /// Classes that a feature is told apart by.
    pub(super) bins: usize,
}

/// A feature of all samples.
struct Column {
    feature: u8,
    /// Between classes.
    thresholds: Vec<f32>,
    /// The class of each sample.
    bins: Vec<u8>,
}

impl Column {
    /// `None` of a feature that is the same everywhere.
    fn new(feature: usize, values: &[f32], most: usize) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f32::total_cmp);
        // Places behind which a class ends: all where there are few values, else of equal shares.
        let ends = |place: &usize| sorted[place - 1] < sorted[*place];
        let all: Vec<usize> = (1..sorted.len()).filter(ends).collect();
        let chosen = if all.len() < most {
            all
        } else {
            let shares = (1..most).filter_map(|share| {
                let place = share * sorted.len() / most;
                all.get(all.partition_point(|end| *end < place)).copied()
            });
            let mut chosen: Vec<usize> = shares.collect();
            chosen.dedup();
            chosen
        };
        let between = |place: &usize| {
            let (low, high) = (sorted[place - 1], sorted[*place]);
            let middle = low.midpoint(high);
            if middle < high { middle } else { low }
        };
        let thresholds: Vec<f32> = chosen.iter().map(between).collect();
        if thresholds.is_empty() {
            return None;
        }
        let bin = |value: &f32| thresholds.partition_point(|one| value > one) as u8;
        Some(Self { feature: feature as u8, bins: values.iter().map(bin).collect(), thresholds })
    }
}

/// Weight and weighted sum of some samples.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    weight: f64,
    value: f64,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.weight += other.weight;
        self.value += other.value;
    }

    /// What a leaf of these is worth: how much less the squares are.
    fn gain(self, smoothing: f64) -> f64 {
        self.value * self.value / (self.weight + smoothing)
    }

    fn without(self, other: Self) -> Self {
        Self { weight: self.weight - other.weight, value: self.value - other.value }
    }
}

/// Trees whose sum comes near the targets. Columns are features of the samples.
pub(super) fn boost(
    columns: &[Vec<f32>],
    targets: &[f64],
    weights: &[f64],
    settings: Settings,
) -> Vec<Tree> {
    let columns: Vec<Column> = columns
        .iter()
        .enumerate()
        .filter_map(|(feature, values)| Column::new(feature, values, settings.bins))
        .collect();
    let mut left = targets.to_vec();
    let mut trees = Vec::with_capacity(settings.trees);
    for _ in 0..settings.trees {
        let samples: Vec<Sum> = left
            .iter()
            .zip(weights)
            .map(|(value, weight)| Sum { weight: *weight, value: value * weight })
            .collect();
        let (tree, leaf_of) = grow(&columns, &samples, settings);
        for (value, leaf) in left.iter_mut().zip(leaf_of) {
            // What the file says, so that the next tree makes good what rounding took.
            *value -= Tree::log(tree.leaves[usize::from(leaf)]);
        }
        trees.push(tree);
    }
    trees
}

/// A tree, with the leaf of each sample.
fn grow(columns: &[Column], samples: &[Sum], settings: Settings) -> (Tree, Vec<u8>) {
    let mut leaf_of = vec![0_u8; samples.len()];
    let mut splits = Vec::new();
    for depth in 0..settings.depth {
        let Some((column, bin)) = best_split(columns, samples, &leaf_of, 1 << depth, settings)
        else {
            break;
        };
        let threshold = column.thresholds[bin];
        splits.push(Split { feature: column.feature, threshold });
        for (leaf, own) in leaf_of.iter_mut().zip(&column.bins) {
            *leaf = *leaf * 2 + u8::from(usize::from(*own) > bin);
        }
    }
    let mut sums = vec![Sum::default(); 1 << splits.len()];
    for (leaf, sample) in leaf_of.iter().zip(samples) {
        sums[usize::from(*leaf)].add(*sample);
    }
    let leaf =
        |sum: &Sum| Tree::leaf(settings.rate * sum.value / (sum.weight + settings.smoothing));
    (Tree { splits, leaves: sums.iter().map(leaf).collect() }, leaf_of)
}

/// The question that cuts all leaves best: a column, and the last class below its threshold. Of
/// equal ones the first.
fn best_split<'c>(
    columns: &'c [Column],
    samples: &[Sum],
    leaf_of: &[u8],
    leaves: usize,
    settings: Settings,
) -> Option<(&'c Column, usize)> {
    let mut best: Option<(f64, &Column, usize)> = None;
    for column in columns {
        let classes = column.thresholds.len() + 1;
        let mut sums = vec![Sum::default(); leaves * classes];
        for ((leaf, bin), sample) in leaf_of.iter().zip(&column.bins).zip(samples) {
            sums[usize::from(*leaf) * classes + usize::from(*bin)].add(*sample);
        }
        let mut gains = vec![0.0; classes - 1];
        let mut uncut = 0.0;
        for of_leaf in sums.chunks(classes) {
            let all = of_leaf.iter().fold(Sum::default(), |mut all, one| {
                all.add(*one);
                all
            });
            uncut += all.gain(settings.smoothing);
            let mut below = Sum::default();
            for (gain, class) in gains.iter_mut().zip(of_leaf) {
                below.add(*class);
                *gain +=
                    below.gain(settings.smoothing) + all.without(below).gain(settings.smoothing);
            }
        }
        for (bin, gain) in gains.into_iter().enumerate() {
            let gain = gain - uncut;
            if gain > best.map_or(1e-9, |(best, ..)| best) {
                best = Some((gain, column, bin));
            }
        }
    }
    best.map(|(_, column, bin)| (column, bin))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many classes as there are values.
    const SETTINGS: Settings =
        Settings { trees: 60, depth: 3, rate: 0.3, smoothing: 1.0, bins: 128 };

    fn predicted(trees: &[Tree], features: &[f32]) -> f64 {
        trees.iter().map(|tree| Tree::log(tree.answer(|place| features[usize::from(place)]))).sum()
    }

    /// A step, a product of two features, and a feature that says nothing.
    #[test]
    fn trees_learn_what_features_say() {
        let samples: Vec<[f32; 4]> = (0..1000_u32)
            .map(|number| {
                let of = |by: u32| (number.wrapping_mul(by) >> 7) % 100;
                [of(2_654_435_761), of(40_503), of(97_531), 3].map(|value| value as f32)
            })
            .collect();
        let target = |[a, b, ..]: &[f32; 4]| {
            f64::from(u8::from(*a > 50.0)) * 0.4 - f64::from(u8::from(*a > 20.0 && *b > 70.0)) * 0.3
        };
        let columns: Vec<Vec<f32>> =
            (0..4).map(|place| samples.iter().map(|sample| sample[place]).collect()).collect();
        let targets: Vec<f64> = samples.iter().map(target).collect();
        let trees = boost(&columns, &targets, &vec![1.0; samples.len()], SETTINGS);
        let worst = samples
            .iter()
            .map(|sample| (predicted(&trees, sample) - target(sample)).abs())
            .fold(0.0, f64::max);
        assert!(worst < 0.05, "{worst}");
        let asks =
            |feature| trees.iter().flat_map(|tree| &tree.splits).any(|one| one.feature == feature);
        assert!(asks(0) && asks(1) && !asks(3));
        let again = boost(&columns, &targets, &vec![1.0; samples.len()], SETTINGS);
        assert_eq!(trees, again);
    }

    #[test]
    fn where_nothing_differs_a_tree_is_a_leaf() {
        let trees = boost(&[vec![1.0; 50]], &[0.5; 50], &[1.0; 50], SETTINGS);
        assert!(trees.iter().all(|tree| tree.splits.is_empty() && tree.leaves.len() == 1));
        assert!((predicted(&trees, &[1.0]) - 0.5).abs() < 0.01);
    }

    #[test]
    fn few_values_are_told_apart_by_each() {
        let column = Column::new(0, &[2.0, 1.0, 1.0, 3.0], 16).unwrap();
        assert_eq!((column.thresholds, column.bins), (vec![1.5, 2.5], vec![1, 0, 0, 2]));
        let many: Vec<f32> = (0..1000_u16).map(f32::from).collect();
        let column = Column::new(0, &many, 16).unwrap();
        assert_eq!(column.thresholds.len(), 15);
    }
}
