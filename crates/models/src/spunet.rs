//! Pointcept's U-Net.

use voxtune::{DType, Device, Module, Sequential, SparseTensor, SubmConv3d};

use crate::blocks::Source;
use crate::{Checkpoint, ModelError};

/// `SpUNet-v1m1` of Pointcept (`spconv_unet_v1m1_base.py`), the U-Net of MinkowskiEngine's MinkUNet34C
/// (Choy et al., *4D Spatio-Temporal ConvNets*, 2019) on spconv: a class for each voxel.
///
/// Coordinates are `(batch, x, y, z)`. Stages and blocks are as many as the checkpoint has.
#[derive(Debug)]
pub struct SpUNet {
    stem: Sequential,
    /// From fine to coarse.
    encoder: Vec<Sequential>,
    /// From coarse to fine: the way up, and what reads its output beside the encoder's.
    decoder: Vec<(Sequential, Sequential)>,
    last: Sequential,
}

const NETWORK: &str = "Pointcept's SpUNet";

impl SpUNet {
    /// The network of a checkpoint's tensors. Before their names may stand any module's.
    ///
    /// # Errors
    /// If a tensor is missing or of another shape, or a layer cannot be made.
    pub fn new(device: &Device, dtype: DType, checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        let prefix = checkpoint.prefix("conv_input.0.weight", NETWORK)?;
        let at = |name: &str| format!("{prefix}{name}");
        let source = Source { device, dtype, checkpoint, network: NETWORK, epsilon: 1e-3 };
        let blocks = |mut stage: Sequential, name: &str, mut channels: u32| {
            for number in 0.. {
                let block = at(&format!("{name}.block{number}"));
                if !checkpoint.contains(&format!("{block}.conv1.weight")) {
                    break;
                }
                let (block, c_out) = source.block(&block, channels)?;
                stage = stage.then(block);
                channels = c_out;
            }
            Ok::<_, ModelError>((stage, channels))
        };

        let (stem, mut channels) = source.stage::<voxtune::Submanifold>(
            &at("conv_input.0"),
            &at("conv_input.1"),
            [5; 3],
            None,
            |conv| conv,
        )?;
        let (mut encoder, mut widths) = (Vec::new(), vec![channels]);
        for stage in 0.. {
            let name = at(&format!("down.{stage}"));
            if !checkpoint.contains(&format!("{name}.0.weight")) {
                break;
            }
            let (down, c_out) = source.stage::<voxtune::Sparse>(
                &format!("{name}.0"),
                &format!("{name}.1"),
                [2; 3],
                Some(channels),
                |conv| conv.stride(2),
            )?;
            let (stage, c_out) = blocks(down, &format!("enc.{stage}"), c_out)?;
            encoder.push(stage);
            widths.push(c_out);
            channels = c_out;
        }
        widths.pop();
        let mut decoder = Vec::new();
        for (stage, skipped) in widths.iter().enumerate().rev() {
            let name = at(&format!("up.{stage}"));
            let (up, c_out) = source.stage::<voxtune::Inverse>(
                &format!("{name}.0"),
                &format!("{name}.1"),
                [2; 3],
                Some(channels),
                |conv| conv.stride(2),
            )?;
            let (after, c_out) =
                blocks(Sequential::new(), &format!("dec.{stage}"), c_out + skipped)?;
            decoder.push((up, after));
            channels = c_out;
        }
        let mut last = Sequential::new();
        if checkpoint.contains(&at("final.weight")) {
            let head: SubmConv3d =
                source.conv(&at("final"), [1; 3], Some(channels), |conv| conv)?;
            last = last.then(head);
        }
        Ok(Self { stem, encoder, decoder, last })
    }

    /// Lets the kernels of convolutions do what follows them, for inference. Says what was done.
    ///
    /// # Errors
    /// If the device fails.
    pub fn fuse(&mut self) -> Result<Vec<String>, ModelError> {
        let mut done = self.stem.fuse()?;
        for stage in &mut self.encoder {
            done.extend(stage.fuse()?);
        }
        for (up, after) in &mut self.decoder {
            done.extend(up.fuse()?);
            done.extend(after.fuse()?);
        }
        Ok(done)
    }

    /// The scores of each voxel, in the order of the input.
    ///
    /// # Errors
    /// If the input does not fit the network, or a kernel fails.
    pub fn forward(&self, input: &SparseTensor) -> Result<SparseTensor, ModelError> {
        let mut output = self.stem.forward(input)?;
        let mut skipped = Vec::with_capacity(self.encoder.len());
        for stage in &self.encoder {
            let coarser = stage.forward(&output)?;
            skipped.push(std::mem::replace(&mut output, coarser));
        }
        for ((up, after), skip) in self.decoder.iter().zip(skipped.into_iter().rev()) {
            output = after.forward(&up.forward(&output)?.concat(&skip)?)?;
        }
        Ok(self.last.forward(&output)?)
    }
}
