//! What training makes small.

use crate::{ConvError, Device, Tensor};

/// The cross-entropy of scores and labels, `-log softmax(scores)[label]`, its mean over the
/// labelled rows. With it comes its gradient, multiplied by a factor that keeps small numbers
/// within a storage type's range ([`LossScale`](super::LossScale)). Rows without a label count for
/// nothing.
///
/// Computed on the host in float64, so a GPU's scores are read back.
///
/// ```
/// use voxtune::{Device, Tensor, train};
///
/// let device = Device::cpu()?;
/// let scores = Tensor::from_rows(&device, &[[0.0, 0.0], [9.0, -9.0]])?;
/// let (loss, gradient) = train::cross_entropy(&device, &scores, &[Some(0), None], 1.0)?;
/// assert!((loss - 2.0_f64.ln()).abs() < 1e-9);
/// assert_eq!(gradient.to_f32()?, [-0.5, 0.5, 0.0, 0.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Shapes
/// `scores` and the gradient: `(rows, classes)`; `labels`: `(rows)`, each below the number of
/// classes.
///
/// # Errors
/// If there is not one label for each row, a label is none of the classes, or the device fails.
pub fn cross_entropy(
    device: &Device,
    scores: &Tensor,
    labels: &[Option<u32>],
    factor: f32,
) -> Result<(f64, Tensor), ConvError> {
    // Of a frame that counts its voxels on the device there may be fewer than there is room for.
    let (room, rows, classes) = (scores.rows(), scores.count()?, scores.channels());
    if labels.len() != rows {
        return Err(ConvError::Rows { what: "labels", expected: rows, found: labels.len() });
    }
    let counted = labels.iter().flatten().count();
    let values = scores.to_f32()?;
    let mut gradient = vec![0.0; room * classes];
    let mut loss = 0.0;
    for (row, label) in labels.iter().enumerate() {
        let Some(label) = label.map(|label| label as usize) else { continue };
        if label >= classes {
            let problem =
                format!("row {row} has the label {label}: expected one of {classes} classes");
            return Err(ConvError::Layer { layer: "cross-entropy".to_owned(), problem });
        }
        let row = row * classes..(row + 1) * classes;
        let scores = || values[row.clone()].iter().map(|score| f64::from(*score));
        let most = scores().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores().map(|score| (score - most).exp()).sum();
        loss += sum.ln() + most - f64::from(values[row.start + label]);
        for (class, (to, score)) in gradient[row.clone()].iter_mut().zip(scores()).enumerate() {
            let likely = (score - most).exp() / sum - f64::from(u8::from(class == label));
            *to = (f64::from(factor) * likely / counted as f64) as f32;
        }
    }
    let gradient = Tensor::from_f32(device, scores.dtype(), room, classes, &gradient)?;
    Ok((loss / counted.max(1) as f64, gradient))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against differences of the loss itself, in float64 but for the scores' own rounding.
    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let device = Device::cpu_with_threads(1).unwrap();
        let scores: Vec<f32> = (0..20).map(|i| ((i * 7 % 11) as f32 - 5.0) * 0.75).collect();
        let labels = [Some(0), Some(3), None, Some(2), Some(3)];
        let of = |scores: &[f32], factor| {
            let scores = Tensor::from_f32(&device, voxtune_types::DType::Float32, 5, 4, scores);
            cross_entropy(&device, &scores.unwrap(), &labels, factor).unwrap()
        };
        let gradient = of(&scores, 1.0).1.to_f32().unwrap();
        for place in 0..scores.len() {
            let step = 1.0 / 1024.0;
            let [less, more] = [-step, step].map(|step| {
                let mut moved = scores.clone();
                moved[place] += step;
                of(&moved, 1.0).0
            });
            let expected = (more - less) / (2.0 * f64::from(step));
            let found = f64::from(gradient[place]);
            assert!((found - expected).abs() < 1e-6, "{place}: {found} and {expected}");
        }
        let scaled = of(&scores, 512.0).1.to_f32().unwrap();
        assert!(scaled.iter().zip(&gradient).all(|(scaled, one)| *scaled == 512.0 * one));
    }

    #[test]
    fn large_scores_and_missing_labels_are_no_trouble() {
        let device = Device::cpu_with_threads(1).unwrap();
        let scores = Tensor::from_rows(&device, &[[1e30, -1e30], [0.0, 1000.0]]).unwrap();
        let (loss, _) = cross_entropy(&device, &scores, &[Some(0), Some(1)], 1.0).unwrap();
        assert_eq!(loss, 0.0);
        let (loss, gradient) = cross_entropy(&device, &scores, &[None, None], 1.0).unwrap();
        assert_eq!((loss, gradient.to_f32().unwrap()), (0.0, vec![0.0; 4]));
        for labels in [vec![Some(0)], vec![Some(0), Some(2)]] {
            let error = cross_entropy(&device, &scores, &labels, 1.0).unwrap_err().to_string();
            assert!(error.contains("label"), "{error}");
        }
    }
}
