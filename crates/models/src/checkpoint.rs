//! Tensors by name.

use std::collections::BTreeMap;

use voxtune::{ConvError, WeightLayout};

/// A network that cannot be built from a checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A tensor that the network needs is not there.
    #[error(
        "no tensor {name}: expected the names of {network}; the checkpoint has {}",
        if present.is_empty() { "none" } else { present }
    )]
    Missing {
        /// The tensor.
        name: String,
        /// Whose names were expected.
        network: &'static str,
        /// Some of the names that there are.
        present: String,
    },
    /// A tensor of another shape than the network's.
    #[error("tensor {name}: expected {expected}, found shape {found:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: Vec<usize>,
    },
    /// A layer could not be made or run.
    #[error(transparent)]
    Layer(#[from] ConvError),
}

/// A tensor of a checkpoint.
#[derive(Clone, Debug)]
struct Entry {
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// The tensors of a checkpoint, by name.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    tensors: BTreeMap<String, Entry>,
}

/// The weights of a convolution.
pub(crate) struct ConvWeights<'a> {
    pub(crate) c_in: u32,
    pub(crate) c_out: u32,
    pub(crate) kernel: [u32; 3],
    pub(crate) layout: WeightLayout,
    pub(crate) values: &'a [f32],
}

impl Checkpoint {
    /// No tensors.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor, or replaces it.
    ///
    /// # Shapes
    /// `values`: the product of `shape`, the last axis fastest.
    ///
    /// # Errors
    /// If there are more or fewer values.
    pub fn insert(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        values: Vec<f32>,
    ) -> Result<(), ModelError> {
        let (name, found) = (name.into(), shape.to_vec());
        let len = shape.iter().try_fold(1_usize, |len, extent| len.checked_mul(*extent));
        if len != Some(values.len()) {
            let expected = format!("one of {} values", values.len());
            return Err(ModelError::Shape { name, expected, found });
        }
        self.tensors.insert(name, Entry { shape: found, values });
        Ok(())
    }

    /// Whether there is a tensor of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// What stands before a name that ends in `ending`: the module that the network is part of.
    pub(crate) fn prefix(&self, ending: &str, network: &'static str) -> Result<&str, ModelError> {
        let before = |name: &'_ String| name.len().checked_sub(ending.len());
        let found = self.tensors.keys().find(|name| {
            name.strip_suffix(ending)
                .is_some_and(|before| before.is_empty() || before.ends_with('.'))
        });
        let at = found.and_then(|name| Some((name, before(name)?)));
        at.map(|(name, end)| &name[..end]).ok_or_else(|| self.missing(ending, network))
    }

    fn missing(&self, name: &str, network: &'static str) -> ModelError {
        let mut present: Vec<&str> = self.names().take(4).collect();
        if self.tensors.len() > present.len() {
            present.push("...");
        }
        ModelError::Missing { name: name.to_owned(), network, present: present.join(", ") }
    }

    fn get(&self, name: &str, network: &'static str) -> Result<&Entry, ModelError> {
        self.tensors.get(name).ok_or_else(|| self.missing(name, network))
    }

    /// A tensor of one axis.
    pub(crate) fn vector(&self, name: &str, network: &'static str) -> Result<&[f32], ModelError> {
        let Entry { shape, values } = self.get(name, network)?;
        if shape.len() == 1 {
            return Ok(values);
        }
        let (expected, found) = ("one axis".to_owned(), shape.clone());
        Err(ModelError::Shape { name: name.to_owned(), expected, found })
    }

    /// The weights of a convolution of `c_in` channels, in the order of spconv 2, `(c_out, k0, k1, k2,
    /// c_in)`, or else of spconv 1, `(k0, k1, k2, c_in, c_out)`. Which it is, the shape says, given
    /// the extents that the network has there.
    pub(crate) fn conv(
        &self,
        name: &str,
        network: &'static str,
        kernel: [u32; 3],
        c_in: Option<u32>,
    ) -> Result<ConvWeights<'_>, ModelError> {
        let Entry { shape, values } = self.get(name, network)?;
        let narrow = |extent: &usize| u32::try_from(*extent).ok();
        let axes: Option<Vec<u32>> = shape.iter().map(narrow).collect();
        let fits = |extents: [u32; 3], inputs: u32| {
            extents == kernel && c_in.is_none_or(|c_in| c_in == inputs)
        };
        match axes.as_deref() {
            Some(&[c_out, k0, k1, k2, c_in]) if fits([k0, k1, k2], c_in) => {
                Ok(ConvWeights { c_in, c_out, kernel, layout: WeightLayout::Krsc, values })
            }
            Some(&[k0, k1, k2, c_in, c_out]) if fits([k0, k1, k2], c_in) => {
                Ok(ConvWeights { c_in, c_out, kernel, layout: WeightLayout::Rsck, values })
            }
            _ => {
                let [k0, k1, k2] = kernel;
                let inputs = c_in.map_or_else(|| "c_in".to_owned(), |c_in| c_in.to_string());
                Err(ModelError::Shape {
                    name: name.to_owned(),
                    expected: format!(
                        "(c_out, {k0}, {k1}, {k2}, {inputs}) or ({k0}, {k1}, {k2}, {inputs}, c_out)"
                    ),
                    found: shape.clone(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, shape: &[usize]) -> Checkpoint {
        let mut checkpoint = Checkpoint::new();
        checkpoint.insert(name, shape, vec![0.0; shape.iter().product()]).unwrap();
        checkpoint
    }

    #[test]
    fn the_order_of_weights_follows_from_their_shape() {
        let order = |shape: &[usize], kernel, c_in| {
            let checkpoint = with("w", shape);
            let found = checkpoint.conv("w", "a network", kernel, c_in).unwrap();
            (found.layout, found.c_in, found.c_out)
        };
        let (krsc, rsck) = (WeightLayout::Krsc, WeightLayout::Rsck);
        assert_eq!(order(&[8, 3, 3, 3, 5], [3; 3], None), (krsc, 5, 8));
        assert_eq!(order(&[3, 3, 3, 5, 8], [3; 3], None), (rsck, 5, 8));
        assert_eq!(order(&[3, 1, 1, 8, 8], [3, 1, 1], None), (rsck, 8, 8));
        // Three channels out of three: the inputs decide where they can.
        assert_eq!(order(&[3, 3, 3, 3, 8], [3; 3], Some(3)), (rsck, 3, 8));
        assert_eq!(order(&[3, 3, 3, 3, 8], [3; 3], Some(8)), (krsc, 8, 3));
    }

    #[test]
    fn what_is_missing_or_misshapen_is_named() {
        let checkpoint = with("backbone.conv_input.0.weight", &[8, 3, 3, 3, 5]);
        assert_eq!(checkpoint.prefix("conv_input.0.weight", "a network").unwrap(), "backbone.");
        let message = |error: ModelError| error.to_string();
        let missing = message(checkpoint.prefix("stem.weight", "a network").unwrap_err());
        assert!(missing.contains("stem.weight") && missing.contains("backbone.conv"), "{missing}");
        let name = "backbone.conv_input.0.weight";
        let wrong = message(checkpoint.conv(name, "a network", [5; 3], None).err().unwrap());
        assert!(wrong.contains("(c_out, 5, 5, 5, c_in)") && wrong.contains("[8, 3"), "{wrong}");
        let short = Checkpoint::new().insert("v", &[3], vec![0.0; 2]).unwrap_err();
        assert!(message(short).contains("one of 2 values"));
    }
}
