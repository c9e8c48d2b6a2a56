//! What the model of cost has learned of an architecture: corrections of its families.
//!
//! A correction is a sum of small decision trees, fitted to the logarithms of measured over
//! modelled times (gradient boosting). All questions at one depth of a tree are the same one, so
//! that a tree is a few comparisons and a table. The sums are of integers: every machine comes to
//! the same choice.
//!
//! The file `<arch>.model` holds them. All numbers have their least byte first:
//!
//! ```text
//! "voxtune model 1\n"  checksum: u64 (xxh3 of what follows)  version: u32
//! evidence: u64 (xxh3 of the file that it was fitted to)  groups: u16
//! group: family: text  wgrad: u8  parameters: u8, texts  trees: u16
//! tree:  depth: u8, for each (feature: u8, threshold: f32), then 2^depth leaves: i16
//! text:  length: u8, bytes
//! ```

use std::sync::Arc;

use voxtune_types::AlgoId;
use xxhash_rust::xxh3::xxh3_64;

use super::{FEATURES, Features};

const PREFIX: &[u8; 16] = b"voxtune model 1\n";
const VERSION: u32 = 1;

/// Parts into which a leaf cuts a natural logarithm.
const LEAF_SCALE: f64 = 4096.0;

/// Most that a correction turns a time by, as a natural logarithm, so that no file makes a time
/// that is not finite.
const MOST: f64 = 4.0;

/// Deepest tree that is read.
const MAX_DEPTH: u8 = 8;

/// A question of a tree: whether a feature lies above a threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    /// A place among the [`Features`], then among the group's parameters.
    pub feature: u8,
    /// What it is compared with.
    pub threshold: f32,
}

/// A tree that asks the same question at each depth.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// The questions, the first of which is the highest bit of a leaf's place.
    pub splits: Vec<Split>,
    /// One for each row of answers.
    pub leaves: Vec<i16>,
}

impl Tree {
    /// A leaf of this natural logarithm.
    #[must_use]
    pub fn leaf(log: f64) -> i16 {
        let most = f64::from(i16::MAX);
        (log * LEAF_SCALE).round().clamp(-most, most) as i16
    }

    /// The natural logarithm of a leaf.
    #[must_use]
    pub fn log(leaf: i16) -> f64 {
        f64::from(leaf) / LEAF_SCALE
    }

    /// The leaf that these features and parameters lead to, by their places.
    #[must_use]
    pub fn answer(&self, value: impl Fn(u8) -> f32) -> i16 {
        let answer = |split: &Split| usize::from(value(split.feature) > split.threshold);
        let leaf = self.splits.iter().fold(0, |leaf, split| leaf * 2 + answer(split));
        self.leaves[leaf]
    }
}

/// What was learned of a family, in wgrad or out of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The family's name.
    pub family: String,
    /// Whether this is of wgrad.
    pub wgrad: bool,
    /// Parameters of ids that trees ask for. Of a numeric one they see the logarithm to the base 2;
    /// `name=word` is 1 where an id says so and 0 elsewhere.
    pub parameters: Vec<String>,
    /// The trees.
    pub trees: Vec<Tree>,
}

impl Group {
    /// The parameters of an id as trees see them.
    #[must_use]
    pub fn parameters_of(&self, id: &AlgoId) -> Box<[f32]> {
        let value = |parameter: &String| match parameter.split_once('=') {
            Some((name, word)) => f32::from(u8::from(id.word(name) == Some(word))),
            None => {
                id.number(parameter).map_or(0.0, |number| f64::from(number.max(1)).log2() as f32)
            }
        };
        self.parameters.iter().map(value).collect()
    }

    /// The natural logarithm of the factor by which a launch takes longer than modelled, by its
    /// features, followed by [its parameters](Self::parameters_of).
    #[must_use]
    pub fn log(&self, features: &[f32]) -> f64 {
        self.log_by(|place| features[usize::from(place)])
    }

    fn log_by(&self, value: impl Fn(u8) -> f32) -> f64 {
        let sum: i32 = self.trees.iter().map(|tree| i32::from(tree.answer(&value))).sum();
        (f64::from(sum) / LEAF_SCALE).clamp(-MOST, MOST)
    }
}

/// What was learned of one algorithm.
#[derive(Clone, Debug)]
pub struct Correction {
    group: Arc<Group>,
    parameters: Box<[f32]>,
}

impl Correction {
    /// By what factor a launch takes longer than modelled.
    #[must_use]
    pub fn factor(&self, features: &Features) -> f64 {
        let value = |place: u8| match features.get(usize::from(place)) {
            Some(feature) => *feature,
            None => self.parameters[usize::from(place) - FEATURES],
        };
        self.group.log_by(value).exp()
    }
}

/// What was learned of an architecture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LearnedModel {
    /// The hash (xxh3) of the evidence file that it was fitted to.
    pub evidence: u64,
    groups: Vec<Arc<Group>>,
}

/// Bytes that are no learned model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name}: no model of cost that this release reads: {reason}; run `voxtune fit` to make it anew"
)]
pub struct LearnedModelError {
    /// The file's name.
    pub name: String,
    /// What is wrong.
    pub reason: String,
}

impl LearnedModel {
    /// What was fitted to an evidence file of this hash. Trees must ask for features and parameters
    /// that there are, and have as many leaves as rows of answers.
    #[must_use]
    pub fn new(evidence: u64, groups: Vec<Group>) -> Self {
        Self { evidence, groups: groups.into_iter().map(Arc::new).collect() }
    }

    /// What was learned of each family.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().map(|group| &**group)
    }

    /// What was learned of an algorithm, in wgrad or out of it; `None` where that is nothing.
    #[must_use]
    pub fn correction(&self, id: &AlgoId, wgrad: bool) -> Option<Correction> {
        let is_its = |group: &&Arc<Group>| group.wgrad == wgrad && group.family == id.family();
        let group = self.groups.iter().find(is_its)?;
        Some(Correction { parameters: group.parameters_of(id), group: Arc::clone(group) })
    }

    /// The bytes of the file.
    ///
    /// # Panics
    /// If there are more groups, parameters or trees than the file counts, or a text is longer than
    /// 255 bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = VERSION.to_le_bytes().to_vec();
        body.extend(self.evidence.to_le_bytes());
        body.extend(count::<u16>(self.groups.len()).to_le_bytes());
        for group in &self.groups {
            text(&mut body, &group.family);
            body.extend([u8::from(group.wgrad), count(group.parameters.len())]);
            group.parameters.iter().for_each(|parameter| text(&mut body, parameter));
            body.extend(count::<u16>(group.trees.len()).to_le_bytes());
            for tree in &group.trees {
                body.push(count(tree.splits.len()));
                for split in &tree.splits {
                    body.push(split.feature);
                    body.extend(split.threshold.to_le_bytes());
                }
                body.extend(tree.leaves.iter().flat_map(|leaf| leaf.to_le_bytes()));
            }
        }
        [&PREFIX[..], &xxh3_64(&body).to_le_bytes(), &body].concat()
    }

    /// Whether it was fitted to a file of evidence of these bytes.
    #[must_use]
    pub fn is_fitted_to(&self, evidence: &[u8]) -> bool {
        self.evidence == xxh3_64(evidence)
    }

    /// What a file says. `name` is for the error.
    ///
    /// # Errors
    /// If the bytes are no such file, of another version, or damaged.
    pub fn decode(bytes: &[u8], name: &str) -> Result<Self, LearnedModelError> {
        let failed =
            |reason: &str| LearnedModelError { name: name.to_owned(), reason: reason.into() };
        let rest = bytes.strip_prefix(PREFIX).ok_or_else(|| failed("it begins otherwise"))?;
        let (checksum, body) = rest.split_first_chunk().ok_or_else(|| failed("it is cut off"))?;
        if u64::from_le_bytes(*checksum) != xxh3_64(body) {
            return Err(failed("its checksum is wrong, so it is damaged or truncated"));
        }
        let mut reader = Reader(body);
        let version = reader.take().map(u32::from_le_bytes);
        if version != Some(VERSION) {
            return Err(failed(&format!("expected version {VERSION}, found {version:?}")));
        }
        match reader.model() {
            Some(model) if reader.0.is_empty() => Ok(model),
            _ => Err(failed("its tables are not what they say")),
        }
    }
}

fn count<N: TryFrom<usize, Error: std::fmt::Debug>>(number: usize) -> N {
    N::try_from(number).expect("a model has few groups, parameters and trees")
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(count(text.len()));
    bytes.extend(text.as_bytes());
}

/// What is left of the bytes. Every method answers `None` where they end too early.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    fn text(&mut self) -> Option<String> {
        let len = usize::from(self.byte()?);
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(str::from_utf8(text).ok()?.to_owned())
    }

    fn model(&mut self) -> Option<LearnedModel> {
        let evidence = u64::from_le_bytes(self.take()?);
        let groups = u16::from_le_bytes(self.take()?);
        let groups = (0..groups).map(|_| self.group()).collect::<Option<Vec<_>>>()?;
        Some(LearnedModel::new(evidence, groups))
    }

    fn group(&mut self) -> Option<Group> {
        let family = self.text()?;
        let wgrad = match self.byte()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let parameters = self.byte()?;
        let parameters = (0..parameters).map(|_| self.text()).collect::<Option<Vec<_>>>()?;
        let trees = u16::from_le_bytes(self.take()?);
        let features = FEATURES + parameters.len();
        let trees = (0..trees).map(|_| self.tree(features)).collect::<Option<Vec<_>>>()?;
        Some(Group { family, wgrad, parameters, trees })
    }

    /// A tree that asks for one of so many features.
    fn tree(&mut self, features: usize) -> Option<Tree> {
        let depth = self.byte().filter(|depth| *depth <= MAX_DEPTH)?;
        let split = |_| {
            let feature = self.byte().filter(|feature| usize::from(*feature) < features)?;
            Some(Split { feature, threshold: f32::from_le_bytes(self.take()?) })
        };
        let splits = (0..depth).map(split).collect::<Option<Vec<_>>>()?;
        let leaf = |_| Some(i16::from_le_bytes(self.take()?));
        let leaves = (0..1_u32 << depth).map(leaf).collect::<Option<Vec<_>>>()?;
        Some(Tree { splits, leaves })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn model() -> LearnedModel {
        let tree = |feature: usize, threshold: f32| Tree {
            splits: vec![Split { feature: feature as u8, threshold }],
            leaves: vec![Tree::leaf(-0.5), Tree::leaf(0.25)],
        };
        let group = Group {
            family: "wgmma_gemm".to_owned(),
            wgrad: false,
            parameters: vec!["order=global".to_owned(), "rows".to_owned()],
            trees: vec![tree(0, 3.0), tree(FEATURES, 0.5), tree(FEATURES + 1, 6.5)],
        };
        LearnedModel::new(7, vec![group])
    }

    #[test]
    fn corrections_are_sums_of_leaves() {
        let model = model();
        let factor = |id: &str, time: f32| {
            let mut features = [0.0; FEATURES];
            features[0] = time;
            model.correction(&id.parse().unwrap(), false).unwrap().factor(&features).ln()
        };
        let near = |found: f64, expected: f64| (found - expected).abs() < 1e-3;
        assert!(near(factor("wgmma_gemm:rows=128:order=global", 4.0), 0.75));
        assert!(near(factor("wgmma_gemm:rows=64:order=global", 4.0), 0.0));
        assert!(near(factor("wgmma_gemm:rows=64:order=sorted", 4.0), -0.75));
        assert!(near(factor("wgmma_gemm:rows=64:order=sorted", 2.0), -1.5));
        assert!(model.correction(&"mask_gemm:rows=64".parse().unwrap(), false).is_none());
        assert!(model.correction(&"wgmma_gemm:rows=64".parse().unwrap(), true).is_none());
    }

    #[test]
    fn files_round_trip() {
        let bytes = model().encode();
        assert_eq!(LearnedModel::decode(&bytes, "a.model").unwrap(), model());
    }

    #[test]
    fn a_tree_of_a_feature_that_is_not_there_is_refused() {
        let mut groups: Vec<Group> = model().groups().cloned().collect();
        groups[0].trees[0].splits[0].feature = (FEATURES + 2) as u8;
        let bytes = LearnedModel::new(7, groups).encode();
        let error = LearnedModel::decode(&bytes, "a.model").unwrap_err().to_string();
        assert!(error.contains("a.model") && error.contains("tables"), "{error}");
    }

    proptest! {
        /// Whatever the bytes behind a right checksum are, reading them ends.
        #[test]
        fn bad_bytes_are_errors(
            body in prop::collection::vec(any::<u8>(), 0..200),
            place in any::<prop::sample::Index>(),
            bit in 0_u32..8,
        ) {
            let seal = |body: &[u8]| [&PREFIX[..], &xxh3_64(body).to_le_bytes(), body].concat();
            let headed = [&VERSION.to_le_bytes()[..], &body].concat();
            let _ = LearnedModel::decode(&seal(&body), "a");
            let _ = LearnedModel::decode(&seal(&headed), "a");
            let mut bytes = model().encode();
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            prop_assert!(LearnedModel::decode(&bytes, "a").is_err());
            prop_assert!(LearnedModel::decode(&bytes[..place], "a").is_err());
        }
    }
}
