//! Whose names the tensors of a network have.
//!
//! A network is written down once, in names of ours: `stem0.conv`, `enc2.block1.norm2`. A
//! [`NameMap`] has the names of one library for them, as patterns:
//!
//! | part of a pattern | what it stands for |
//! |---|---|
//! | `{b}` | a number, the same in theirs and ours |
//! | `{b+1}` | a number that is one more there |
//! | `{_}` | any number |
//!
//! The first row that describes a name holds.
//! So `("conv{l}.{b+3}", "level{l}.block{b}")` says that the first block of a level is called 3.

use std::collections::BTreeMap;

use crate::checkpoint::{Checkpoint, Entry};

/// What a library calls the parts of a module: theirs, ours. An empty name is the module itself.
pub(crate) type Parts = &'static [(&'static str, &'static str)];

/// A convolution and its normalisation as the first two of a sequence.
pub(crate) const STAGE: Parts = &[("0", "conv"), ("1", "norm")];

/// A residual block of spconv's and torchvision's naming.
pub(crate) const BLOCK: Parts =
    &[("conv1", "conv1"), ("bn1", "norm1"), ("conv2", "conv2"), ("bn2", "norm2")];

/// A convolution `c` and its normalisation `bn`.
pub(crate) const C_BN: Parts = &[("c", "conv"), ("bn", "norm")];

/// A residual block of two such, `a` and `b`.
pub(crate) const C_BN_BLOCK: Parts = &[
    ("a.c", "conv1"),
    ("a.bn", "norm1"),
    ("b.c", "conv2"),
    ("b.bn", "norm2"),
    ("proj.c", "proj.conv"),
    ("proj.bn", "proj.norm"),
];

/// One module by itself.
pub(crate) const ITSELF: Parts = &[("", "")];

/// The order of a convolution's weights, by the library that writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WeightOrder {
    /// `(k0, k1, k2, c_in, c_out)`: spconv 1, as mmdetection3d, BEVFusion and CenterPoint have it.
    Spconv1,
    /// `(c_out, k0, k1, k2, c_in)`: spconv 2, FlexGEMM. Of a 1×1×1 layer the values are `(c_in,
    /// c_out)` all the same, as spconv 2 multiplies by them.
    Spconv2,
    /// `(k, c_in, c_out)`, or `(c_in, c_out)` of 1×1×1, with the first axis of `k` fastest.
    Minkowski,
    /// As [`Self::Minkowski`], but kernels of an even number of offsets have their last axis
    /// fastest.
    Torchsparse,
}

/// What a library calls the parts of a network.
#[derive(Debug)]
pub(crate) struct NameMap {
    /// The library.
    pub(crate) of: &'static str,
    /// Whose order weights without spatial axes have.
    pub(crate) order: Option<WeightOrder>,
    /// Modules: theirs, ours, and what their parts are called.
    pub(crate) modules: &'static [(&'static str, &'static str, Parts)],
}

impl NameMap {
    /// Pairs of patterns of single modules.
    fn patterns(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let joined = |module: &str, part: &str| match (module, part) {
            (module, "") => module.to_owned(),
            ("", part) => part.to_owned(),
            _ => format!("{module}.{part}"),
        };
        self.modules.iter().flat_map(move |(theirs, ours, parts)| {
            parts.iter().map(move |(their_part, our_part)| {
                (joined(theirs, their_part), joined(ours, our_part))
            })
        })
    }

    /// Their name of a tensor of ours.
    pub(crate) fn theirs(&self, tensor: &str) -> String {
        let (module, parameter) = tensor.rsplit_once('.').unwrap_or(("", tensor));
        let found =
            self.patterns().find_map(|(to, from)| Some(render(&to, &captures(&from, module)?)));
        match (found, self.order.is_some() && parameter == "weight" && !is_norm(module)) {
            (Some(module), true) => format!("{module}.kernel"),
            (Some(module), false) => format!("{module}.{parameter}"),
            (None, _) => tensor.to_owned(),
        }
    }
}

/// Our name of a tensor, by the patterns of a name map; `None` if the network has none of that
/// name.
fn ours(patterns: &[(String, String)], theirs: &str) -> Option<String> {
    let (module, parameter) = theirs.rsplit_once('.')?;
    let parameter = match parameter {
        "weight" | "bias" | "running_mean" | "running_var" => parameter,
        "kernel" => "weight",
        _ => return None,
    };
    let module = patterns.iter().find_map(|(from, to)| Some(render(to, &captures(from, module)?)));
    Some(format!("{}.{parameter}", module?))
}

/// Whether a module of ours is a normalisation.
pub(crate) fn is_norm(module: &str) -> bool {
    module.rsplit('.').next().is_some_and(|last| last.starts_with("norm"))
}

/// Counters of training, which no network computes with.
fn is_counter(name: &str) -> bool {
    name.ends_with("num_batches_tracked") || name.ends_with("max_num_voxels_during_training")
}

/// The tensors of a network by our names, as a name map finds them behind a prefix.
#[derive(Clone, Debug)]
pub(crate) struct Named<'a> {
    pub(crate) map: &'static NameMap,
    pub(crate) prefix: &'a str,
    /// By our name: theirs, and the tensor.
    pub(crate) tensors: BTreeMap<String, (&'a str, &'a Entry)>,
    /// Behind the prefix, and with no name of the network's.
    pub(crate) strangers: Vec<(&'a str, &'a Entry)>,
    /// Of the same name of ours.
    pub(crate) twice: Vec<[&'a str; 2]>,
}

impl<'a> Named<'a> {
    pub(crate) fn new(checkpoint: &'a Checkpoint, map: &'static NameMap, prefix: &'a str) -> Self {
        let patterns: Vec<(String, String)> = map.patterns().collect();
        let (mut tensors, mut strangers, mut twice) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (name, entry) in checkpoint.entries() {
            let Some(rest) = name.strip_prefix(prefix).filter(|_| !is_counter(name)) else {
                continue;
            };
            match ours(&patterns, rest) {
                None => strangers.push((name, entry)),
                Some(ours) => {
                    if let Some((first, _)) = tensors.insert(ours, (name, entry)) {
                        twice.push([first, name]);
                    }
                }
            }
        }
        Self { map, prefix, tensors, strangers, twice }
    }

    /// Whether a module has tensors, or one within it has.
    pub(crate) fn has(&self, module: &str) -> bool {
        let begin = format!("{module}.");
        self.tensors.range(begin.clone()..).next().is_some_and(|(name, _)| name.starts_with(&begin))
    }

    /// How many blocks or layers a module has, `NAME.block0` and so on. It is one more than the
    /// last number, unless that is more than there are tensors.
    pub(crate) fn blocks(&self, module: &str) -> u32 {
        let number = |ours: &String| {
            let rest = ours.strip_prefix(module)?.strip_prefix('.')?;
            let rest = rest.strip_prefix("block").or_else(|| rest.strip_prefix("layer"))?;
            rest.split('.').next()?.parse::<u32>().ok()
        };
        let numbers = self.tensors.keys().filter_map(number);
        let within = numbers.filter(|number| (*number as usize) < self.tensors.len());
        within.max().map_or(0, |last| last + 1)
    }

    /// Their name of a tensor, with the prefix.
    pub(crate) fn theirs(&self, ours: &str) -> String {
        match self.tensors.get(ours) {
            Some((theirs, _)) => (*theirs).to_owned(),
            None => format!("{}{}", self.prefix, self.map.theirs(ours)),
        }
    }
}

/// What may stand before the names of a network: whatever stands before those of its first module,
/// or else before the most of its tensors.
pub(crate) fn prefixes<'a>(
    checkpoint: &'a Checkpoint,
    map: &NameMap,
    first: &[&str],
) -> Vec<&'a str> {
    let patterns: Vec<(String, String)> = map.patterns().collect();
    let mut hits: BTreeMap<&str, (bool, usize)> = BTreeMap::new();
    for name in checkpoint.names() {
        let ends = name.match_indices('.').map(|(place, _)| place + 1);
        for end in std::iter::once(0).chain(ends) {
            if let Some(ours) = ours(&patterns, &name[end..]) {
                let module = ours.rsplit_once('.').map_or("", |(module, _)| module);
                let (is_first, count) = hits.entry(&name[..end]).or_default();
                *is_first |= first.contains(&module);
                *count += 1;
            }
        }
    }
    let with_first: Vec<&str> =
        hits.iter().filter(|(_, (is_first, _))| *is_first).map(|(prefix, _)| *prefix).collect();
    if !with_first.is_empty() {
        return with_first;
    }
    let most = hits.values().map(|(_, count)| *count).max().unwrap_or(0);
    hits.iter().filter(|(_, (_, count))| *count == most).map(|(prefix, _)| *prefix).collect()
}

/// The numbers of a text that a pattern describes; `None` if it describes another.
fn captures(pattern: &str, text: &str) -> Option<BTreeMap<char, u32>> {
    let (mut found, mut pattern, mut text) = (BTreeMap::new(), pattern, text);
    while let Some(open) = pattern.find('{') {
        text = text.strip_prefix(&pattern[..open])?;
        let close = open + pattern[open..].find('}')?;
        let (name, begin) = placeholder(&pattern[open + 1..close])?;
        pattern = &pattern[close + 1..];
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = text.split_at(digits);
        if number.len() > 1 && number.starts_with('0') {
            return None;
        }
        let number = number.parse::<u32>().ok()?.checked_sub(begin)?;
        if name != '_' && *found.entry(name).or_insert(number) != number {
            return None;
        }
        text = rest;
    }
    (text == pattern).then_some(found)
}

/// The text that a pattern describes with these numbers.
fn render(pattern: &str, numbers: &BTreeMap<char, u32>) -> String {
    let (mut text, mut pattern) = (String::new(), pattern);
    while let Some((before, rest)) = pattern.split_once('{') {
        text.push_str(before);
        let (inside, after) = rest.split_once('}').unwrap_or((rest, ""));
        match placeholder(inside).and_then(|(name, begin)| numbers.get(&name)?.checked_add(begin)) {
            Some(number) => text.push_str(&number.to_string()),
            None => text.push('?'),
        }
        pattern = after;
    }
    text + pattern
}

/// The name of a number, and what it begins at.
fn placeholder(inside: &str) -> Option<(char, u32)> {
    let (name, begin) = inside.split_once('+').unwrap_or((inside, "0"));
    Some((name.chars().next()?, begin.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    static MAP: NameMap = NameMap {
        of: "a library",
        order: None,
        modules: &[
            ("conv1.{b}", "level1.block{b}", BLOCK),
            ("conv{l}.{b+3}", "level{l}.block{b}", BLOCK),
            ("conv{l}", "level{l}.down", STAGE),
            ("p{_}s{l+1}", "up{l}", ITSELF),
        ],
    };

    #[test]
    fn names_are_translated_both_ways() {
        let patterns: Vec<(String, String)> = MAP.patterns().collect();
        let tensor = |theirs: &str| ours(&patterns, theirs);
        for (theirs, expected) in [
            ("conv1.0.conv1.weight", "level1.block0.conv1.weight"),
            ("conv4.13.bn2.running_var", "level4.block10.norm2.running_var"),
            ("conv2.0.weight", "level2.down.conv.weight"),
            ("conv2.1.bias", "level2.down.norm.bias"),
        ] {
            assert_eq!(tensor(theirs).as_deref(), Some(expected));
            assert_eq!(MAP.theirs(expected), theirs);
        }
        // The number is one more here than there is.
        assert_eq!(render("level{l+1}", &captures("{l}", "4294967295").unwrap()), "level?");
        assert_eq!(tensor("p8s3.kernel").as_deref(), Some("up2.weight"));
        assert_eq!(MAP.theirs("up2.weight"), "p?s3.weight");
        for name in [
            "conv2.2.conv1.weight",
            "conv2.03.conv1.weight",
            "conv2.3.conv3.weight",
            "conv2.3.conv1.gamma",
            "conv.0.weight",
            "p1s0.weight",
            "conv99999999999.0.weight",
            "conv4294967296.0.weight",
            "weight",
            "",
        ] {
            assert_eq!(tensor(name), None, "{name}");
        }
    }

    #[test]
    fn whatever_stands_before_names_is_found() {
        let mut checkpoint = Checkpoint::new();
        for name in ["module.net.conv2.0.weight", "module.net.conv2.1.bias", "head.0.weight"] {
            checkpoint.insert(name, &[1], vec![0.0]).unwrap();
        }
        checkpoint.insert("module.net.conv2.1.num_batches_tracked", &[], vec![0.0]).unwrap();
        checkpoint.insert("module.net.conv2.7.weight", &[1], vec![0.0]).unwrap();
        assert_eq!(prefixes(&checkpoint, &MAP, &["level2.down.conv"]), ["module.net."]);
        assert_eq!(prefixes(&checkpoint, &MAP, &["stem"]), ["module.net."]);
        let named = Named::new(&checkpoint, &MAP, "module.net.");
        assert!(named.has("level2.down") && !named.has("level2.down.conv1") && !named.has("level"));
        assert_eq!(named.strangers.len(), 1);
        assert_eq!(named.theirs("level2.down.norm.weight"), "module.net.conv2.1.weight");
    }
}
