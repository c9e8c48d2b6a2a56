//! Tensors by name.

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use voxtune_types::printable;

use crate::error::ModelError;

/// A tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Values,
}

/// The numbers of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Values {
    Real(Vec<f32>),
    /// Of a type that no parameter has.
    Other(Dtype),
}

/// The tensors of a checkpoint, by name.
///
/// Values are float32, whatever the file's type: F64, F32, F16 or BF16. Tensors of other types,
/// such as the counters of batch normalisations, have a name and a shape alone.
///
/// ```
/// use voxtune_models::Checkpoint;
///
/// let mut checkpoint = Checkpoint::new();
/// checkpoint.insert("conv.weight", &[2, 3], vec![0.5; 6])?;
/// let bytes = checkpoint.to_safetensors()?;
/// let read = Checkpoint::from_safetensors(&bytes)?;
/// assert_eq!(read.names().collect::<Vec<_>>(), ["conv.weight"]);
/// # Ok::<(), voxtune_models::ModelError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    tensors: BTreeMap<String, Entry>,
}

impl Checkpoint {
    /// No tensors.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The tensors of a safetensors file. `docs/guide/checkpoints.md` has the line of Python that
    /// makes one of a `.pth`.
    ///
    /// # Errors
    /// If it cannot be read, or is none.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let bytes = voxtune_files::read(path)
            .map_err(|source| ModelError::Io { path: path.to_owned(), source })?;
        Self::from_safetensors(&bytes)
    }

    /// The tensors of a safetensors file in memory.
    ///
    /// # Errors
    /// If it is none.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self, ModelError> {
        let malformed =
            |error: safetensors::SafeTensorError| ModelError::Format { detail: error.to_string() };
        let file = SafeTensors::deserialize(bytes).map_err(malformed)?;
        let tensors = file.iter().map(|(name, view)| (name.to_owned(), Entry::of(&view)));
        Ok(Self { tensors: tensors.collect() })
    }

    /// A safetensors file of the tensors in float32, byte for byte the same whenever they are.
    /// Tensors of other types, whose values are not held, are left out.
    ///
    /// # Errors
    /// If it would be larger than a file of that format can be.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, ModelError> {
        let malformed =
            |error: safetensors::SafeTensorError| ModelError::Format { detail: error.to_string() };
        let bytes: Vec<(&str, &[usize], Vec<u8>)> = self
            .tensors
            .iter()
            .filter_map(|(name, Entry { shape, values })| match values {
                Values::Real(values) => {
                    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                    Some((name.as_str(), shape.as_slice(), bytes))
                }
                Values::Other(_) => None,
            })
            .collect();
        let views = bytes.iter().map(|(name, shape, bytes)| {
            Ok((*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes)?))
        });
        let views = views.collect::<Result<Vec<_>, _>>().map_err(malformed)?;
        safetensors::serialize(views, None).map_err(malformed)
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
        let (name, shape) = (name.into(), shape.to_vec());
        let len = shape.iter().try_fold(1_usize, |len, extent| len.checked_mul(*extent));
        if len != Some(values.len()) {
            return Err(ModelError::Length { name, shape, found: values.len() });
        }
        self.tensors.insert(name, Entry { shape, values: Values::Real(values) });
        Ok(())
    }

    /// Takes a tensor out. Whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        self.tensors.remove(name).is_some()
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

    /// The shape and the values of a tensor, if there is one of this name and its type is read.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<(&[usize], &[f32])> {
        match self.tensors.get(name)? {
            Entry { shape, values: Values::Real(values) } => Some((shape, values)),
            Entry { .. } => None,
        }
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.tensors.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// Some of the names, for an error.
    pub(crate) fn some_names(&self) -> String {
        let first = self.names().take(4).map(|name| printable(name).into_owned());
        let mut present: Vec<String> = first.collect();
        if self.tensors.len() > present.len() {
            present.push("...".to_owned());
        }
        if present.is_empty() { "none".to_owned() } else { present.join(", ") }
    }
}

impl Entry {
    fn of(view: &TensorView<'_>) -> Self {
        let bytes = view.data();
        let values = match view.dtype() {
            Dtype::F32 => Values::Real(numbers(bytes, f32::from_le_bytes)),
            Dtype::F16 => Values::Real(numbers(bytes, |two| f16::from_le_bytes(two).to_f32())),
            Dtype::BF16 => Values::Real(numbers(bytes, |two| bf16::from_le_bytes(two).to_f32())),
            Dtype::F64 => Values::Real(numbers(bytes, |eight| f64::from_le_bytes(eight) as f32)),
            other => Values::Other(other),
        };
        Self { shape: view.shape().to_vec(), values }
    }
}

/// Numbers of `N` bytes each; the format has checked that nothing is left over.
fn numbers<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|one| number(*one)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_back_what_was_written() {
        let mut checkpoint = Checkpoint::new();
        checkpoint.insert("b", &[2, 1, 2], vec![1.0, -0.0, f32::MIN_POSITIVE, 4.5]).unwrap();
        checkpoint.insert("a.weight", &[0, 3], Vec::new()).unwrap();
        checkpoint.insert("scalar", &[], vec![7.0]).unwrap();
        let bytes = checkpoint.to_safetensors().unwrap();
        assert_eq!(Checkpoint::from_safetensors(&bytes).unwrap(), checkpoint);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("network.safetensors");
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap(), checkpoint);
    }

    #[test]
    fn types_of_parameters_are_read_and_others_named() {
        let halves: Vec<u8> =
            [1.5_f32, -2.0].iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
        let brains: Vec<u8> =
            [1.5_f32, -2.0].iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect();
        let doubles: Vec<u8> =
            [1.5_f64, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        let counts: Vec<u8> = [3_i64, 4].iter().flat_map(|value| value.to_le_bytes()).collect();
        let all = [
            ("half", Dtype::F16, &halves),
            ("brain", Dtype::BF16, &brains),
            ("double", Dtype::F64, &doubles),
            ("count", Dtype::I64, &counts),
        ];
        let views =
            all.map(|(name, dtype, bytes)| (name, TensorView::new(dtype, vec![2], bytes).unwrap()));
        let bytes = safetensors::serialize(views, None).unwrap();
        let checkpoint = Checkpoint::from_safetensors(&bytes).unwrap();
        for name in ["half", "brain", "double"] {
            assert_eq!(checkpoint.get(name), Some((&[2][..], &[1.5, -2.0][..])), "{name}");
        }
        assert!(checkpoint.contains("count") && checkpoint.get("count").is_none());
        assert!(
            !Checkpoint::from_safetensors(&checkpoint.to_safetensors().unwrap())
                .unwrap()
                .contains("count")
        );
    }

    /// Whatever a file's bytes are, reading it ends in tensors or an error.
    #[test]
    fn damaged_files_are_errors() {
        let mut checkpoint = Checkpoint::new();
        checkpoint.insert("w", &[4, 2], vec![1.0; 8]).unwrap();
        let bytes = checkpoint.to_safetensors().unwrap();
        for end in 0..bytes.len() {
            assert!(Checkpoint::from_safetensors(&bytes[..end]).is_err(), "{end}");
        }
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[place] ^= 1 << bit;
                _ = Checkpoint::from_safetensors(&damaged);
            }
        }
        let pickle = Checkpoint::from_safetensors(b"PK\x03\x04archive/data.pkl").unwrap_err();
        assert!(pickle.to_string().contains("checkpoints.md"), "{pickle}");
        let absent = Checkpoint::read("no/such.safetensors").unwrap_err().to_string();
        assert!(absent.contains("no/such.safetensors"), "{absent}");
        let short = checkpoint.insert("v", &[3], vec![0.0; 2]).unwrap_err().to_string();
        assert!(short.contains("tensor v of shape [3]") && short.contains("2 values"), "{short}");
    }
}
