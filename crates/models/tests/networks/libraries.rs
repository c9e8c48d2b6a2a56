//! Checkpoints as libraries write them.

use voxtune_models::Checkpoint;

use crate::dense::{Net, Weights};

/// Whose names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    OpenPcDet,
    CenterPoint,
    Mmdet3d,
    /// The classes of a benchmark: lists of modules.
    Lists,
    Pointcept,
    Minkowski,
    Torchsparse,
}

/// In whose order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Spconv1,
    Spconv2,
    Minkowski,
    Torchsparse,
}

impl Order {
    pub(crate) const ALL: [Self; 4] =
        [Self::Spconv1, Self::Spconv2, Self::Minkowski, Self::Torchsparse];

    /// Shape and values of a convolution's weights.
    pub(crate) fn of(self, weights: &Weights) -> (Vec<usize>, Vec<f32>) {
        let Weights { kernel, c_in, c_out, values, .. } = weights;
        let ([k0, k1, k2], c_in, c_out) = (*kernel, *c_in, *c_out);
        let volume = k0 * k1 * k2;
        let at = |r: usize, i: usize, o: usize| values[(r * c_in + i) * c_out + o];
        match self {
            Self::Spconv1 => (vec![k0, k1, k2, c_in, c_out], values.clone()),
            // Read as (c_in, c_out) by spconv, whatever the shape says.
            Self::Spconv2 if volume == 1 => (vec![c_out, 1, 1, 1, c_in], values.clone()),
            Self::Spconv2 => {
                let mut turned = Vec::new();
                for o in 0..c_out {
                    for r in 0..volume {
                        turned.extend((0..c_in).map(|i| at(r, i, o)));
                    }
                }
                (vec![c_out, k0, k1, k2, c_in], turned)
            }
            Self::Minkowski | Self::Torchsparse if volume == 1 => {
                (vec![c_in, c_out], values.clone())
            }
            Self::Torchsparse if volume % 2 == 0 => (vec![volume, c_in, c_out], values.clone()),
            Self::Minkowski | Self::Torchsparse => {
                let mut turned = Vec::new();
                for (z, y, x) in
                    (0..k2).flat_map(|z| (0..k1).flat_map(move |y| (0..k0).map(move |x| (z, y, x))))
                {
                    let r = (x * k1 + y) * k2 + z;
                    for i in 0..c_in {
                        turned.extend((0..c_out).map(|o| at(r, i, o)));
                    }
                }
                (vec![volume, c_in, c_out], turned)
            }
        }
    }

    const fn is_flat(self) -> bool {
        matches!(self, Self::Minkowski | Self::Torchsparse)
    }
}

impl Library {
    /// What the convolution and the normalisation of one of our names are called; `net` for counts.
    fn names(self, net: &Net, name: &str) -> [String; 2] {
        let both = |conv: &str, norm: &str| [conv.to_owned(), norm.to_owned()];
        let stage = |module: String| [format!("{module}.0"), format!("{module}.1")];
        let spconv_block = |module: String, part: &str| match part {
            "p" => [format!("{module}.proj.0"), format!("{module}.proj.1")],
            _ => [format!("{module}.conv{part}"), format!("{module}.bn{part}")],
        };
        let c_bn = |module: String| [format!("{module}.c"), format!("{module}.bn")];
        let c_bn_block = |module: String, part: &str| {
            let letter = if part == "1" {
                "a"
            } else if part == "2" {
                "b"
            } else {
                "proj"
            };
            [format!("{module}.{letter}.c"), format!("{module}.{letter}.bn")]
        };
        let mut words = name.split('.');
        let (place, number, part) = (words.next().unwrap_or_default(), words.next(), words.next());
        let digits = place.trim_start_matches(|letter: char| letter.is_alphabetic());
        let kind = &place[..place.len() - digits.len()];
        let level: usize = digits.parse().unwrap_or(0);
        let block: usize = number.map_or(0, |number| number.parse().unwrap());
        // Blocks of a level of an encoder.
        let blocks = |level: usize| {
            (0..)
                .take_while(|block| {
                    let name = format!("level{level}.{block}");
                    net.convs.contains_key(&name) || net.convs.contains_key(&format!("{name}.1"))
                })
                .count()
        };
        match (self, kind, part) {
            (Self::OpenPcDet, "stem", _) => stage("conv_input".into()),
            (Self::OpenPcDet, "out", _) => stage("conv_out".into()),
            (Self::OpenPcDet, "down", _) => stage(format!("conv{level}.0")),
            (Self::OpenPcDet, "level", part) => {
                let module = format!("conv{level}.{}", block + usize::from(level > 1));
                part.map_or_else(
                    || stage(module.clone()),
                    |part| spconv_block(module.clone(), part),
                )
            }
            (Self::CenterPoint, "stem", _) => stage("conv_input".into()),
            (Self::CenterPoint, "out", _) => stage("extra_conv".into()),
            (Self::CenterPoint, "down", _) => stage(format!("conv{level}")),
            (Self::CenterPoint, "level", Some(part)) => {
                let first = if level > 1 { 3 } else { 0 };
                spconv_block(format!("conv{level}.{}", block + first), part)
            }
            (Self::Mmdet3d, "stem", _) => stage("conv_input".into()),
            (Self::Mmdet3d, "out", _) => stage("conv_out".into()),
            (Self::Mmdet3d, "down", _) => {
                let is_residual = net.convs.contains_key("level1.0.1");
                let (at, place) =
                    if is_residual { (level - 1, blocks(level - 1)) } else { (level, 0) };
                stage(format!("encoder_layers.encoder_layer{at}.{place}"))
            }
            (Self::Mmdet3d, "level", part) => {
                let module = |block| format!("encoder_layers.encoder_layer{level}.{block}");
                match part {
                    Some(part) => spconv_block(module(block), part),
                    None => stage(module(block + usize::from(level > 1))),
                }
            }
            (Self::Lists, "out" | "level", _) | (Self::Lists, "down", _)
                if net.convs.contains_key("out") =>
            {
                let before =
                    |level: usize| 1 + (1..level).map(|one| 1 + blocks(one)).sum::<usize>();
                let module = match kind {
                    "out" => before(5) - 1,
                    "down" => before(level) - 1,
                    _ => before(level) + block,
                };
                let module = format!("net.{module}");
                part.map_or_else(|| c_bn(module.clone()), |part| c_bn_block(module.clone(), part))
            }
            (Self::Lists, "stem", _) if net.convs.contains_key("out") => c_bn("net.0".into()),
            (Self::Lists, "stem", _) => c_bn("stem".into()),
            (Self::Lists, "down", _) => c_bn(format!("down.{level}")),
            (Self::Lists, "up", _) => c_bn(format!("up.{}", 3 - level)),
            (Self::Lists, "enc", Some(part)) => c_bn_block(format!("enc.{level}.{block}"), part),
            (Self::Lists, "dec", Some(part)) => {
                c_bn_block(format!("dec.{}.{block}", 3 - level), part)
            }
            (Self::Lists, "head", _) => both("head", ""),
            (Self::Pointcept, "stem", _) => stage("conv_input".into()),
            (Self::Pointcept, "down" | "up", _) => stage(format!("{kind}.{level}")),
            (Self::Pointcept, "enc" | "dec", Some(part)) => {
                spconv_block(format!("{kind}.{level}.block{block}"), part)
            }
            (Self::Pointcept, "head", _) => both("final", ""),
            (Self::Minkowski, "stem", _) => both("conv0p1s1", "bn0.bn"),
            (Self::Minkowski, "down", _) => {
                let (number, pixels) = (level + 1, 1 << level);
                [format!("conv{number}p{pixels}s2"), format!("bn{number}.bn")]
            }
            (Self::Minkowski, "up", _) => {
                let (number, pixels) = (7 - level, 2 << level);
                [format!("convtr{number}p{pixels}s2"), format!("bntr{number}.bn")]
            }
            (Self::Minkowski, "enc" | "dec", Some(part)) => {
                let number = if kind == "enc" { level + 1 } else { 8 - level };
                let module = format!("block{number}.{block}");
                match part {
                    "p" => [format!("{module}.downsample.0"), format!("{module}.downsample.1.bn")],
                    _ => [format!("{module}.conv{part}"), format!("{module}.norm{part}.bn")],
                }
            }
            (Self::Minkowski, "head", _) => both("final", ""),
            (Self::Torchsparse, "stem", _) if number.is_none() => both("stem.0", "stem.1"),
            (Self::Torchsparse, "stem", _) => both("stem.3", "stem.4"),
            (Self::Torchsparse, "down", _) => stage(format!("encoders.{level}.0")),
            (Self::Torchsparse, "up", _) => stage(format!("decoders.{}.upsample", 3 - level)),
            (Self::Torchsparse, "enc" | "dec", Some(part)) => {
                let module = match kind {
                    "enc" => format!("encoders.{level}.{}", block + 1),
                    _ => format!("decoders.{}.fuse.{block}", 3 - level),
                };
                match part {
                    "1" => [format!("{module}.main.0"), format!("{module}.main.1")],
                    "2" => [format!("{module}.main.3"), format!("{module}.main.4")],
                    _ => [format!("{module}.shortcut.0"), format!("{module}.shortcut.1")],
                }
            }
            _ => panic!("{self:?} has no name for {name}"),
        }
    }

    /// A network's tensors behind a prefix, and the counters that PyTorch adds.
    pub(crate) fn write(self, net: &Net, order: Order, prefix: &str) -> Checkpoint {
        let mut checkpoint = Checkpoint::new();
        let mut add = |name: String, shape: &[usize], values: &[f32]| {
            assert!(!checkpoint.contains(&name), "{name} twice");
            checkpoint.insert(name, shape, values.to_vec()).unwrap();
        };
        for (name, weights) in &net.convs {
            let [conv, _] = self.names(net, name);
            let (shape, values) = order.of(weights);
            let parameter = if order.is_flat() { "kernel" } else { "weight" };
            add(format!("{prefix}{conv}.{parameter}"), &shape, &values);
            if let Some(bias) = &weights.bias {
                let shape = if order.is_flat() { vec![1, bias.len()] } else { vec![bias.len()] };
                add(format!("{prefix}{conv}.bias"), &shape, bias);
            }
        }
        for (name, norm) in &net.norms {
            let [_, module] = self.names(net, name);
            let parts = ["weight", "bias", "running_mean", "running_var"];
            for (part, numbers) in parts.iter().zip(&norm.numbers) {
                add(format!("{prefix}{module}.{part}"), &[numbers.len()], numbers);
            }
            add(format!("{prefix}{module}.num_batches_tracked"), &[], &[7.0]);
        }
        checkpoint
    }
}
