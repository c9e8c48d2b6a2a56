//! A bird's-eye view as an image.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use super::outcome::Anything;

/// How much there is in each cell of a view.
pub(crate) struct HeatMap {
    /// Cells along x.
    width: usize,
    /// Row by row, from the least y.
    heat: Vec<f32>,
}

impl HeatMap {
    /// The magnitude of each cell's features, over all channels.
    ///
    /// # Shapes
    /// `features`: channels of `height · width` each; the height is what follows.
    ///
    /// # Errors
    /// If they are no whole channels.
    pub(crate) fn of(features: &[f32], [height, width]: [usize; 2]) -> Result<Self, Anything> {
        let cells = height * width;
        if cells == 0 || !features.len().is_multiple_of(cells) {
            let found = features.len();
            return Err(format!("expected channels of {height} x {width}, found {found}").into());
        }
        let mut heat = vec![0.0; cells];
        for channel in features.chunks_exact(cells) {
            heat.iter_mut().zip(channel).for_each(|(sum, value)| *sum += value * value);
        }
        heat.iter_mut().for_each(|sum| *sum = sum.sqrt());
        Ok(Self { width, heat })
    }

    /// Cells with something in them.
    pub(crate) fn occupied(&self) -> usize {
        self.heat.iter().filter(|heat| **heat > 0.0).count()
    }

    /// Writes a PNG, a square of so many pixels a cell: x to the right, y upwards.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write(&self, path: &Path, pixels_a_cell: usize) -> Result<(), Anything> {
        let cannot = |error: &dyn std::fmt::Display| {
            Anything::from(format!("cannot write {}: {error}", path.display()))
        };
        let height = self.heat.len() / self.width;
        let [across, down] = [self.width, height].map(|cells| cells * pixels_a_cell);
        let most = self.heat.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
        let mut pixels = Vec::with_capacity(3 * across * down);
        for row in self.heat.chunks_exact(self.width).rev() {
            let colours = row.iter().map(|heat| glow(heat / most));
            let line: Vec<u8> = colours.flat_map(|colour| colour.repeat(pixels_a_cell)).collect();
            pixels.extend(line.repeat(pixels_a_cell));
        }
        let file = File::create(path).map_err(|error| cannot(&error))?;
        let [across, down] = [u32::try_from(across)?, u32::try_from(down)?];
        let mut encoder = png::Encoder::new(BufWriter::new(file), across, down);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header().map_err(|error| cannot(&error))?;
        writer.write_image_data(&pixels).map_err(|error| cannot(&error))?;
        writer.finish().map_err(|error| cannot(&error))
    }
}

/// The colour of a body so hot, from 0 to 1: black, red, yellow, white.
fn glow(heat: f32) -> [u8; 3] {
    [0.0, 1.0, 2.0].map(|colder| (255.0 * (3.0 * heat - colder).clamp(0.0, 1.0)) as u8)
}
