//! What networks repeat: a convolution with its normalisation, residual blocks of two, runs of
//! them.

use voxtune::{Activation, ConvBuilder, ConvKind, Module, Residual, Sequential, Submanifold};

use crate::error::ModelError;
use crate::source::{Kernel, Source, Weights};

/// A module behind others, if there is one: a source that only compares makes none.
pub(crate) fn then(modules: Sequential, next: Option<impl Module + 'static>) -> Sequential {
    match next {
        Some(next) => modules.then(next),
        None => modules,
    }
}

impl Source<'_> {
    /// The convolution `NAME.conv`, its normalisation `NAME.norm`, and a ReLU; and its output
    /// channels.
    pub(crate) fn stage<K: ConvKind>(
        &mut self,
        name: &str,
        kernel: Kernel,
        c_in: Option<u32>,
        describe: impl FnOnce(ConvBuilder<K>, Weights) -> ConvBuilder<K>,
    ) -> Result<(Sequential, u32), ModelError> {
        let (conv, weights) = self.conv(&format!("{name}.conv"), kernel, c_in, describe)?;
        let norm = self.norm(&format!("{name}.norm"), weights.c_out)?;
        let stage = then(then(Sequential::new(), conv), norm).then(Activation::Relu);
        Ok((stage, weights.c_out))
    }

    /// A submanifold [`Self::stage`].
    pub(crate) fn submanifold(
        &mut self,
        name: &str,
        c_in: Option<u32>,
    ) -> Result<(Sequential, u32), ModelError> {
        self.stage::<Submanifold>(name, Kernel::Odd, c_in, |conv, _| conv)
    }

    /// The residual block of two submanifold convolutions, `NAME.conv1` and `NAME.conv2`, with a
    /// shortcut `NAME.proj` of 1×1×1 where there is one, or channels change. With it come its
    /// output channels.
    pub(crate) fn block(&mut self, name: &str, c_in: u32) -> Result<(Residual, u32), ModelError> {
        let of = |part: &str| format!("{name}.{part}");
        let plain = |conv: ConvBuilder<Submanifold>, _| conv;
        let (first, inner) = self.conv(&of("conv1"), Kernel::Odd, Some(c_in), plain)?;
        let first_norm = self.norm(&of("norm1"), inner.c_out)?;
        let (second, outer) = self.conv(&of("conv2"), Kernel::Odd, Some(inner.c_out), plain)?;
        let second_norm = self.norm(&of("norm2"), outer.c_out)?;
        let body = then(then(Sequential::new(), first), first_norm).then(Activation::Relu);
        let block = Residual::new(then(then(body, second), second_norm), Activation::Relu);
        if c_in == outer.c_out && !self.has(&of("proj")) {
            return Ok((block, outer.c_out));
        }
        let (projection, weights) =
            self.conv(&of("proj.conv"), Kernel::Of([1; 3]), Some(c_in), plain)?;
        if weights.c_out != outer.c_out {
            self.shortcut_differs(&of("proj.conv.weight"), outer.c_out);
        }
        let norm = self.norm(&of("proj.norm"), weights.c_out)?;
        Ok((block.with_shortcut(then(then(Sequential::new(), projection), norm)), outer.c_out))
    }

    /// `NAME.block0`, `NAME.block1` and so on behind other modules, at least one; the channels of
    /// the last, and how many. In place of a block may stand a single stage, `NAME.layer0`.
    pub(crate) fn blocks(
        &mut self,
        mut modules: Sequential,
        name: &str,
        mut channels: u32,
    ) -> Result<(Sequential, u32, u32), ModelError> {
        let count = self.count_blocks(name);
        for number in 0..count {
            let (block, layer) = (format!("{name}.block{number}"), format!("{name}.layer{number}"));
            if self.has(&block) || !self.knows(&format!("{layer}.conv")) {
                let (block, c_out) = self.block(&block, channels)?;
                (modules, channels) = (modules.then(block), c_out);
            } else {
                let (layer, c_out) = self.submanifold(&layer, Some(channels))?;
                (modules, channels) = (modules.then(layer), c_out);
            }
        }
        Ok((modules, channels, count))
    }
}
