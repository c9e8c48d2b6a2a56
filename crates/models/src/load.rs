//! How a checkpoint is read: whose names, behind which prefix, in whose order of weights.
//!
//! A network is described by one function that asks a [`Source`] for its layers. The function first
//! runs for every reading that the checkpoint may have, and the source only compares names and
//! shapes. If exactly one reading has no problem, the function runs once more and makes the layers.

use std::collections::BTreeMap;

use voxtune::{AxisOrder, DType, Device, Sequential};
use voxtune_types::printable;

use crate::chain::Chain;
use crate::checkpoint::Checkpoint;
use crate::error::{ModelError, Problem, Unfit};
use crate::names::{NameMap, Named, WeightOrder, is_norm, prefixes};
use crate::source::Source;

/// How a network is read from a checkpoint: what its tensors do not say, or say in more ways than
/// one.
///
/// ```
/// use voxtune::DType;
/// use voxtune_models::LoadOptions;
///
/// let options = LoadOptions::new().dtype(DType::Float16).prefix("ema_model.backbone_3d.");
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is read until a network is given the options"]
pub struct LoadOptions {
    pub(crate) dtype: DType,
    pub(crate) epsilon: Option<f32>,
    order: Option<WeightOrder>,
    prefix: Option<String>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { dtype: DType::Float32, epsilon: None, order: None, prefix: None }
    }
}

impl LoadOptions {
    /// In float32, and everything else as the checkpoint says.
    pub fn new() -> Self {
        Self::default()
    }

    /// How features and weights are stored; float32 if not given.
    pub const fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// What normalisations add to the variance; what the network's authors add if not given.
    pub const fn epsilon(mut self, epsilon: f32) -> Self {
        self.epsilon = Some(epsilon);
        self
    }

    /// Whose order the weights are in, where shapes do not tell.
    pub const fn order(mut self, order: WeightOrder) -> Self {
        self.order = Some(order);
        self
    }

    /// What stands before the network's names, where a checkpoint has several of them.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        let mut prefix = prefix.into();
        if !prefix.is_empty() && !prefix.ends_with('.') {
            prefix.push('.');
        }
        self.prefix = Some(prefix);
        self
    }
}

/// What a network is: a file has one.
#[derive(Debug)]
pub struct Definition {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What it is called in errors.
    pub(crate) network: &'static str,
    /// Whose names its tensors may have.
    pub(crate) names: &'static [NameMap],
    /// The modules that its names begin with, by ours.
    pub(crate) first: &'static [&'static str],
    /// Of its normalisations.
    pub(crate) epsilon: f32,
    /// The order of its coordinates.
    pub(crate) axes: AxisOrder,
    /// Its modules, and their output channels.
    pub(crate) describe: fn(&mut Source<'_>) -> Result<(Sequential, u32), ModelError>,
    /// Its layers at the widths of its authors.
    pub(crate) layers: fn(&mut Chain),
}

/// What is made of a checkpoint.
pub(crate) struct Loaded {
    pub(crate) layers: Sequential,
    pub(crate) channels: u32,
    /// The names of the parameters, in their order.
    pub(crate) names: Vec<String>,
}

/// Readings that an error shows.
const SHOWN: usize = 6;

/// One way to read a checkpoint.
struct Reading<'a> {
    named: Named<'a>,
    order: WeightOrder,
    problems: Vec<Problem>,
    /// Whether the order decides about anything but that of odd kernels.
    is_even: bool,
}

impl Reading<'_> {
    fn describe(&self) -> String {
        let Named { map, prefix, .. } = &self.named;
        let behind = match prefix {
            &"" => String::new(),
            prefix => format!(" behind `{}`", printable(prefix)),
        };
        format!("names of {}{behind} with weights in the order of {:?}", map.of, self.order)
    }

    /// Whether two readings make the same network.
    fn is_same_as(&self, other: &Self) -> bool {
        let orders = [self.order, other.order];
        let only_odd = !self.is_even
            && orders.contains(&WeightOrder::Minkowski)
            && orders.contains(&WeightOrder::Torchsparse);
        // A checkpoint has a name once.
        fn names<'a>(reading: &'a Reading<'_>) -> impl Iterator<Item = (&'a str, &'a str)> {
            reading.named.tensors.iter().map(|(ours, (theirs, _))| (ours.as_str(), *theirs))
        }
        self.named.prefix == other.named.prefix
            && names(self).eq(names(other))
            && (self.order == other.order || only_odd)
    }
}

/// A network with a checkpoint's tensors.
///
/// # Errors
/// If no reading of the checkpoint fits, or several do; if a layer cannot be made.
pub(crate) fn load(
    definition: &Definition,
    device: &Device,
    checkpoint: &Checkpoint,
    options: &LoadOptions,
) -> Result<Loaded, ModelError> {
    let describe = definition.describe;
    let epsilon = options.epsilon.unwrap_or(definition.epsilon);
    let mut readings = Vec::new();
    for (named, order) in candidates(definition, checkpoint, options) {
        let mut source = Source::new(device, options.dtype, epsilon, &named, order, false);
        describe(&mut source)?;
        let (problems, is_even) = source.finish();
        readings.push(Reading { named, order, problems, is_even });
    }
    let network = definition.network;
    let Some(best) = readings.iter().min_by_key(|reading| reading.problems.len()) else {
        let expected = first_names(definition, options.prefix.as_deref().unwrap_or_default());
        return Err(ModelError::OtherNames { network, expected, present: checkpoint.some_names() });
    };
    if !best.problems.is_empty() {
        let (reading, problems) = (best.describe(), best.problems.clone());
        return Err(ModelError::Unfit(Box::new(Unfit { network, reading, problems })));
    }
    let others: Vec<&Reading<'_>> = readings
        .iter()
        .filter(|reading| reading.problems.is_empty() && !reading.is_same_as(best))
        .collect();
    if !others.is_empty() {
        let prefixes_differ = others.iter().any(|other| other.named.prefix != best.named.prefix);
        let remedy = match prefixes_differ {
            true => "say which by `LoadOptions::prefix`",
            false => "say whose order the weights are in by `LoadOptions::order`",
        };
        let count = others.len() + 1;
        let all = std::iter::once(best).chain(others).map(Reading::describe);
        let mut readings: Vec<String> = all.take(SHOWN).collect();
        if count > SHOWN {
            readings.push(format!("{} more", count - SHOWN));
        }
        return Err(ModelError::Ambiguous { network, readings, remedy });
    }
    let Reading { named, order, .. } = best;
    let mut source = Source::new(device, options.dtype, epsilon, named, *order, true);
    let (layers, channels) = describe(&mut source)?;
    Ok(Loaded { layers, channels, names: source.into_names() })
}

/// The names that a network's tensors begin with, and who has them.
fn first_names(definition: &Definition, prefix: &str) -> Vec<String> {
    let mut users: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for map in definition.names {
        let first = map.theirs(&format!("{}.weight", definition.first[0]));
        users.entry(format!("{prefix}{first}")).or_default().push(map.of);
    }
    users.iter().map(|(first, users)| format!("`{first}` ({})", users.join(", "))).collect()
}

/// The ways in which a checkpoint may be read.
fn candidates<'a>(
    definition: &Definition,
    checkpoint: &'a Checkpoint,
    options: &'a LoadOptions,
) -> Vec<(Named<'a>, WeightOrder)> {
    let mut all = Vec::new();
    for map in definition.names {
        let prefixes = match &options.prefix {
            Some(prefix) => vec![prefix.as_str()],
            None => prefixes(checkpoint, map, definition.first),
        };
        for prefix in prefixes {
            let named = Named::new(checkpoint, map, prefix);
            if named.tensors.is_empty() {
                continue;
            }
            let orders = match options.order {
                Some(order) => vec![order],
                None => orders(&named),
            };
            all.extend(orders.into_iter().map(|order| (named.clone(), order)));
        }
    }
    all
}

/// The orders that weights of their number of axes may have.
fn orders(named: &Named<'_>) -> Vec<WeightOrder> {
    let is_spatial = named.tensors.iter().any(|(ours, (_, entry))| {
        let module = ours.strip_suffix(".weight");
        module.is_some_and(|module| !is_norm(module)) && entry.shape.len() == 5
    });
    match named.map.order {
        _ if is_spatial => vec![WeightOrder::Spconv2, WeightOrder::Spconv1],
        Some(order) => vec![order],
        None => vec![WeightOrder::Minkowski, WeightOrder::Torchsparse],
    }
}
