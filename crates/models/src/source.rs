//! The layers of a network, from the tensors that a reading of a checkpoint gives them.

use std::collections::BTreeSet;

use voxtune::{
    BatchNorm, Conv, ConvBuilder, ConvError, ConvKind, DType, Device, LayerNorm, Linear,
    WeightLayout,
};

use crate::checkpoint::{Entry, Values};
use crate::error::{ModelError, Problem};
use crate::names::{Named, WeightOrder};

/// The extents that a layer's kernel may have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kernel {
    /// These.
    Of([u32; 3]),
    /// An odd one, the same along each axis; which, the weights say.
    Odd,
}

/// What of a network's layers has biases or normalisations alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Stage,
    Block,
    Shortcut,
    Head,
}

impl Role {
    const ALL: [Self; 4] = [Self::Stage, Self::Block, Self::Shortcut, Self::Head];

    /// That of a module of ours.
    fn of(module: &str) -> Self {
        match module {
            _ if module.contains(".proj.") => Self::Shortcut,
            _ if module.contains("block") => Self::Block,
            _ if module.starts_with("head") => Self::Head,
            _ => Self::Stage,
        }
    }
}

/// What a reading says of the roles of layers.
#[derive(Clone, Copy, Debug, Default)]
struct Alike {
    biases: bool,
    norms: bool,
}

/// The weights of a convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weights {
    pub(crate) kernel: [u32; 3],
    pub(crate) c_in: u32,
    pub(crate) c_out: u32,
}

/// Where a network's layers come from. It compares what they ask for with what is there, and makes
/// them or not.
pub(crate) struct Source<'a> {
    device: &'a Device,
    dtype: DType,
    epsilon: f32,
    named: &'a Named<'a>,
    order: WeightOrder,
    makes: bool,
    alike: [Alike; 4],
    used: BTreeSet<String>,
    /// Names of the checkpoint in the order of [`Module::parameters`](voxtune::Module::parameters).
    asked: Vec<String>,
    problems: Vec<Problem>,
    is_even: bool,
}

impl<'a> Source<'a> {
    pub(crate) fn new(
        device: &'a Device,
        dtype: DType,
        epsilon: f32,
        named: &'a Named<'a>,
        order: WeightOrder,
        makes: bool,
    ) -> Self {
        let alike = Role::ALL.map(|role| {
            let of_role = |ours: &&String| {
                ours.rsplit_once('.').is_some_and(|(module, _)| Role::of(module) == role)
            };
            let mut all = named.tensors.keys().filter(of_role);
            Alike {
                norms: all.clone().any(|ours| ours.ends_with(".running_var")),
                biases: all.any(|ours| {
                    let module = ours.strip_suffix(".bias");
                    module.is_some_and(|module| !crate::names::is_norm(module))
                }),
            }
        });
        let (used, asked, problems) = (BTreeSet::new(), Vec::new(), Vec::new());
        let is_even = false;
        Self { device, dtype, epsilon, named, order, makes, alike, used, asked, problems, is_even }
    }

    /// Everything that was found wrong, the tensors that no layer asked for among it, and whether a
    /// kernel has an even number of offsets.
    pub(crate) fn finish(self) -> (Vec<Problem>, bool) {
        let Self { named, used, mut problems, is_even, .. } = self;
        let extra = |(name, entry): &(&str, &Entry)| Problem::Extra {
            name: (*name).to_owned(),
            shape: entry.shape.clone(),
        };
        problems.extend(named.strangers.iter().map(extra));
        let unused = named.tensors.iter().filter(|(ours, _)| !used.contains(*ours));
        problems.extend(unused.map(|(_, tensor)| extra(tensor)));
        let twice = named.twice.iter().map(|names| names.map(str::to_owned));
        problems.extend(twice.map(|names| Problem::Twice { names }));
        (problems, is_even)
    }

    /// The names of the tensors that were asked for, in that order: layers hand out their
    /// parameters likewise.
    pub(crate) fn into_names(self) -> Vec<String> {
        self.asked
    }

    /// Whether a module, or one within it, has tensors.
    pub(crate) fn has(&self, module: &str) -> bool {
        self.named.has(module)
    }

    /// Whether the names that are read have one for a convolution of ours.
    pub(crate) fn knows(&self, conv: &str) -> bool {
        let ours = format!("{conv}.weight");
        self.named.map.theirs(&ours) != ours
    }

    /// Notes that a module of weights is not there.
    pub(crate) fn lacks(&mut self, module: &str, expected: String) {
        self.missing(&format!("{module}.weight"), expected);
    }

    /// How many blocks or layers a module has; at least one, which is then missing.
    pub(crate) fn count_blocks(&self, module: &str) -> u32 {
        self.named.blocks(module).max(1)
    }

    /// Notes that the weights of a shortcut lead to other channels than what it goes past.
    pub(crate) fn shortcut_differs(&mut self, ours: &str, expected: u32) {
        if let Some((_, entry)) = self.named.tensors.get(ours) {
            self.misshapen(ours, format!("one of {expected} outputs"), &entry.shape);
        }
    }

    /// What is wrong with a module's numbers, by its name in the checkpoint.
    fn at(&self, name: &str, source: ConvError) -> ModelError {
        let tensor = self.named.theirs(&format!("{name}.weight"));
        ModelError::Module { tensor, source }
    }

    fn missing(&mut self, ours: &str, expected: String) {
        self.problems.push(Problem::Missing { name: self.named.theirs(ours), expected });
    }

    fn misshapen(&mut self, ours: &str, expected: String, found: &[usize]) {
        let (name, found) = (self.named.theirs(ours), found.to_vec());
        self.problems.push(Problem::Misshapen { name, expected, found });
    }

    /// The tensor of a name of ours; nothing but a problem if it is not there or has no real
    /// numbers.
    fn tensor(
        &mut self,
        ours: &str,
        expected: impl FnOnce() -> String,
    ) -> Option<(&'a [usize], &'a [f32])> {
        let named = self.named;
        let Some((theirs, Entry { shape, values })) = named.tensors.get(ours) else {
            self.missing(ours, expected());
            return None;
        };
        self.used.insert(ours.to_owned());
        self.asked.push((*theirs).to_owned());
        match values {
            Values::Real(values) => Some((shape, values)),
            Values::Other(dtype) => {
                let (name, found) = ((*theirs).to_owned(), format!("{dtype:?}"));
                self.problems.push(Problem::NotReal { name, found });
                None
            }
        }
    }

    /// A tensor of one number a channel; one without numbers where it is not as it should be.
    fn vector(&mut self, ours: &str, channels: u32) -> &'a [f32] {
        let expected = || format!("[{channels}]");
        let Some((shape, values)) = self.tensor(ours, expected) else { return &[] };
        let wide = channels as usize;
        // MinkowskiEngine's biases are rows.
        if shape != [wide] && shape != [1, wide] {
            self.misshapen(ours, expected(), shape);
        }
        values
    }

    /// The output channels of a convolution, as most of the vectors beside its weights have them.
    fn width(&self, ours: &str, norm: &str) -> Option<u32> {
        let bias = ours.replace(".weight", ".bias");
        let parts = ["weight", "bias", "running_mean", "running_var"];
        let vectors = parts.map(|part| format!("{norm}.{part}"));
        let len = |ours: &String| self.named.tensors.get(ours)?.1.shape.last().copied();
        let lens: Vec<usize> = vectors.iter().chain([&bias]).filter_map(len).collect();
        let votes = |one: &usize| lens.iter().filter(|other| *other == one).count();
        let most = lens.iter().rev().max_by_key(|one| votes(one))?;
        u32::try_from(*most).ok()
    }

    /// The weights of a convolution, as their shape says; as good a guess as there is where it is
    /// wrong.
    fn weights(
        &mut self,
        ours: &str,
        norm: &str,
        kernel: Kernel,
        c_in: Option<u32>,
    ) -> (Weights, &'a [f32]) {
        let width = self.width(ours, norm);
        let order = self.order;
        let expected = || expected_shape(order, kernel, c_in, width);
        let extents = match kernel {
            Kernel::Of(extents) => extents,
            Kernel::Odd => [3; 3],
        };
        let guess = Weights {
            kernel: extents,
            c_in: c_in.unwrap_or(1),
            c_out: width.or(c_in).unwrap_or(1),
        };
        let Some((shape, values)) = self.tensor(ours, expected) else { return (guess, &[]) };
        let found = read_shape(order, shape, kernel)
            .filter(|found| c_in.is_none_or(|c_in| c_in == found.c_in))
            .filter(|found| width.is_none_or(|width| width == found.c_out))
            .filter(|found| found.c_in > 0 && found.c_out > 0);
        let Some(found) = found else {
            self.misshapen(ours, expected(), shape);
            return (guess, values);
        };
        self.is_even |= found.kernel.iter().product::<u32>().is_multiple_of(2);
        (found, values)
    }

    /// The convolution of a name of ours, described further by `describe`; none where layers are
    /// not made. Its bias is there if those of such layers are.
    pub(crate) fn conv<K: ConvKind>(
        &mut self,
        name: &str,
        kernel: Kernel,
        c_in: Option<u32>,
        describe: impl FnOnce(ConvBuilder<K>, Weights) -> ConvBuilder<K>,
    ) -> Result<(Option<Conv<K>>, Weights), ModelError> {
        let norm = normalisation_of(name);
        let (weights, values) = self.weights(&format!("{name}.weight"), &norm, kernel, c_in);
        let Weights { c_in, c_out, kernel } = weights;
        let has_bias = self.alike[Role::of(name) as usize].biases;
        let bias = has_bias.then(|| self.vector(&format!("{name}.bias"), c_out));
        if !self.makes {
            return Ok((None, weights));
        }
        let builder = Conv::<K>::builder(c_in, c_out)
            .kernel(kernel)
            .dtype(self.dtype)
            .weights(self.layout(kernel), values);
        let builder = match bias {
            Some(bias) => builder.bias(bias),
            None => builder,
        };
        let conv = describe(builder, weights).build(self.device);
        Ok((Some(conv.map_err(|error| self.at(name, error))?), weights))
    }

    /// The order of a kernel's weights.
    fn layout(&self, kernel: [u32; 3]) -> WeightLayout {
        let is_odd = !kernel.iter().product::<u32>().is_multiple_of(2);
        match self.order {
            WeightOrder::Spconv1 => WeightLayout::Rsck,
            WeightOrder::Spconv2 => WeightLayout::Krsc,
            WeightOrder::Torchsparse if !is_odd => WeightLayout::Rsck,
            WeightOrder::Minkowski | WeightOrder::Torchsparse => WeightLayout::Minkowski,
        }
    }

    /// Whether the normalisations of such layers are part of their weights and biases. Those of
    /// stages and blocks are so together.
    fn is_folded(&self, role: Role) -> bool {
        let alike = |role: Role| self.alike[role as usize];
        let norms = match role {
            Role::Stage | Role::Block => alike(Role::Stage).norms || alike(Role::Block).norms,
            Role::Shortcut | Role::Head => alike(role).norms,
        };
        !norms && alike(role).biases
    }

    /// The batch normalisation of a name of ours. `None` where layers are not made, or where those
    /// of such layers are folded into the weights, which then have biases.
    pub(crate) fn norm(
        &mut self,
        name: &str,
        channels: u32,
    ) -> Result<Option<BatchNorm>, ModelError> {
        if self.is_folded(Role::of(name)) {
            return Ok(None);
        }
        let [gamma, beta, mean, variance] = ["weight", "bias", "running_mean", "running_var"]
            .map(|part| self.vector(&format!("{name}.{part}"), channels));
        if !self.makes {
            return Ok(None);
        }
        let norm = BatchNorm::new(self.device, gamma, beta, mean, variance, self.epsilon);
        norm.map(Some).map_err(|error| self.at(name, error))
    }

    /// The layer normalisation of a name of ours; none where layers are not made.
    pub(crate) fn layer_norm(
        &mut self,
        name: &str,
        channels: u32,
    ) -> Result<Option<LayerNorm>, ModelError> {
        let [gamma, beta] =
            ["weight", "bias"].map(|part| self.vector(&format!("{name}.{part}"), channels));
        if !self.makes {
            return Ok(None);
        }
        let norm = LayerNorm::new(self.device, gamma, beta, self.epsilon);
        norm.map(Some).map_err(|error| self.at(name, error))
    }

    /// The linear layer of a name of ours, with a bias, and its outputs; none where layers are not
    /// made.
    pub(crate) fn linear(
        &mut self,
        name: &str,
        c_in: u32,
        c_out: Option<u32>,
    ) -> Result<(Option<Linear>, u32), ModelError> {
        let ours = format!("{name}.weight");
        let outputs = c_out.map_or_else(|| "outputs".to_owned(), |c_out| c_out.to_string());
        let expected = || format!("[{outputs}, {c_in}]");
        let Some((shape, values)) = self.tensor(&ours, expected) else {
            return Ok((None, c_out.unwrap_or(c_in)));
        };
        let found = match shape {
            [rows, columns] if *columns == c_in as usize => u32::try_from(*rows).ok(),
            _ => None,
        };
        let found = found.filter(|found| c_out.is_none_or(|c_out| c_out == *found));
        let Some(found) = found else {
            self.misshapen(&ours, expected(), shape);
            return Ok((None, c_out.unwrap_or(c_in)));
        };
        let bias = self.vector(&format!("{name}.bias"), found);
        if !self.makes {
            return Ok((None, found));
        }
        let (rows, columns) = (found as usize, c_in as usize);
        let layer = Linear::new(self.device, self.dtype, columns, rows, values, Some(bias));
        Ok((Some(layer.map_err(|error| self.at(name, error))?), found))
    }
}

/// What a convolution's normalisation is called: `norm2` beside `conv2`.
pub(crate) fn normalisation_of(conv: &str) -> String {
    match conv.rsplit_once("conv") {
        Some((before, after)) => format!("{before}norm{after}"),
        None => format!("{conv}.norm"),
    }
}

/// Extents and channels as the shape of weights of an order has them; `None` if it is none of a
/// kernel.
fn read_shape(order: WeightOrder, shape: &[usize], kernel: Kernel) -> Option<Weights> {
    let axes = shape.iter().map(|extent| u32::try_from(*extent).ok());
    let axes = axes.collect::<Option<Vec<u32>>>()?;
    let found = match (order, axes.as_slice()) {
        (WeightOrder::Spconv2, &[c_out, k0, k1, k2, c_in])
        | (WeightOrder::Spconv1, &[k0, k1, k2, c_in, c_out]) => {
            Weights { kernel: [k0, k1, k2], c_in, c_out }
        }
        (WeightOrder::Minkowski | WeightOrder::Torchsparse, &[volume, c_in, c_out]) => {
            let cube = || (1..=7).find(|extent: &u32| extent.pow(3) == volume);
            let kernel = match kernel {
                Kernel::Of(extents) if extents.iter().product::<u32>() == volume => extents,
                Kernel::Of(_) => return None,
                Kernel::Odd => [cube()?; 3],
            };
            Weights { kernel, c_in, c_out }
        }
        (WeightOrder::Minkowski | WeightOrder::Torchsparse, &[c_in, c_out]) => {
            Weights { kernel: [1; 3], c_in, c_out }
        }
        _ => return None,
    };
    let fits = match kernel {
        Kernel::Of(extents) => found.kernel == extents,
        Kernel::Odd => {
            let [extent, ..] = found.kernel;
            found.kernel == [extent; 3] && extent <= 7 && extent % 2 == 1
        }
    };
    fits.then_some(found)
}

/// What the shape of weights should be.
fn expected_shape(
    order: WeightOrder,
    kernel: Kernel,
    c_in: Option<u32>,
    c_out: Option<u32>,
) -> String {
    let number = |channels: Option<u32>, name: &str| {
        channels.map_or_else(|| name.to_owned(), |channels| channels.to_string())
    };
    let (c_in, c_out) = (number(c_in, "c_in"), number(c_out, "c_out"));
    let (spatial, volume) = match kernel {
        Kernel::Of([k0, k1, k2]) => (format!("{k0}, {k1}, {k2}"), (k0 * k1 * k2).to_string()),
        Kernel::Odd => ("k, k, k".to_owned(), "k\u{b3}".to_owned()),
    };
    match order {
        WeightOrder::Spconv1 => format!("[{spatial}, {c_in}, {c_out}]"),
        WeightOrder::Spconv2 => format!("[{c_out}, {spatial}, {c_in}]"),
        _ if volume == "1" => format!("[{c_in}, {c_out}]"),
        _ => format!("[{volume}, {c_in}, {c_out}]"),
    }
}
