//! What networks repeat: a convolution with its normalisation, and residual blocks of two.

use voxtune::{
    Activation, BatchNorm, Conv, ConvBuilder, ConvKind, DType, Device, Residual, Sequential,
    SubmConv3d,
};

use crate::{Checkpoint, ModelError};

/// Where a network's tensors come from, and where it runs.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) device: &'a Device,
    pub(crate) dtype: DType,
    pub(crate) checkpoint: &'a Checkpoint,
    /// Whose names are expected.
    pub(crate) network: &'static str,
    /// Of every normalisation.
    pub(crate) epsilon: f32,
}

impl Source<'_> {
    /// The convolution whose weights are `NAME.weight`, with `NAME.bias` if there is one, described
    /// further by `describe`.
    pub(crate) fn conv<K: ConvKind>(
        &self,
        name: &str,
        kernel: [u32; 3],
        c_in: Option<u32>,
        describe: impl FnOnce(ConvBuilder<K>) -> ConvBuilder<K>,
    ) -> Result<Conv<K>, ModelError> {
        let Self { checkpoint, network, .. } = *self;
        let weights = checkpoint.conv(&format!("{name}.weight"), network, kernel, c_in)?;
        let mut builder = Conv::<K>::builder(weights.c_in, weights.c_out)
            .kernel(weights.kernel)
            .dtype(self.dtype)
            .weights(weights.layout, weights.values);
        let bias = format!("{name}.bias");
        if checkpoint.contains(&bias) {
            builder = builder.bias(checkpoint.vector(&bias, network)?);
        }
        Ok(describe(builder).build(self.device)?)
    }

    /// The normalisation whose tensors begin with `NAME`.
    pub(crate) fn norm(&self, name: &str) -> Result<BatchNorm, ModelError> {
        let part = |part: &str| self.checkpoint.vector(&format!("{name}.{part}"), self.network);
        let (gamma, beta) = (part("weight")?, part("bias")?);
        let (mean, variance) = (part("running_mean")?, part("running_var")?);
        Ok(BatchNorm::new(self.device, gamma, beta, mean, variance, self.epsilon)?)
    }

    /// A convolution `CONV`, its normalisation `NORM`, and a ReLU; and its output channels.
    pub(crate) fn stage<K: ConvKind>(
        &self,
        conv: &str,
        norm: &str,
        kernel: [u32; 3],
        c_in: Option<u32>,
        describe: impl FnOnce(ConvBuilder<K>) -> ConvBuilder<K>,
    ) -> Result<(Sequential, u32), ModelError> {
        let conv = self.conv(conv, kernel, c_in, describe)?;
        let c_out = conv.operation().c_out;
        let stage = Sequential::new().then(conv).then(self.norm(norm)?).then(Activation::Relu);
        Ok((stage, c_out))
    }

    /// The residual block of two submanifold convolutions of 3×3×3, `NAME.conv1` and `NAME.conv2`, with
    /// a shortcut `NAME.proj` of 1×1×1 where there is one; and its output channels.
    pub(crate) fn block(&self, name: &str, c_in: u32) -> Result<(Residual, u32), ModelError> {
        let of = |part: &str| format!("{name}.{part}");
        let plain = |builder: ConvBuilder<_>| builder;
        let first: SubmConv3d = self.conv(&of("conv1"), [3; 3], Some(c_in), plain)?;
        let inner = Some(first.operation().c_out);
        let second: SubmConv3d = self.conv(&of("conv2"), [3; 3], inner, plain)?;
        let c_out = second.operation().c_out;
        let body = Sequential::new()
            .then(first)
            .then(self.norm(&of("bn1"))?)
            .then(Activation::Relu)
            .then(second)
            .then(self.norm(&of("bn2"))?);
        let block = Residual::new(body, Activation::Relu);
        if !self.checkpoint.contains(&of("proj.0.weight")) {
            return Ok((block, c_out));
        }
        let projection: SubmConv3d = self.conv(&of("proj.0"), [1; 3], Some(c_in), plain)?;
        let shortcut = Sequential::new().then(projection).then(self.norm(&of("proj.1"))?);
        Ok((block.with_shortcut(shortcut), c_out))
    }
}
