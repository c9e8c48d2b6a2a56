//! Voxels with a row of features each.

use std::ops::Range;
use std::sync::Arc;

use voxtune_types::DType;

use crate::{Activation, ConvError, ExpectedCounts, Tensor, Voxels, ops};

/// Features over voxels. Cloning shares both.
///
/// ```
/// use voxtune::{Activation, Device, SparseTensor, Tensor, Voxel, Voxels};
///
/// let device = Device::cpu()?;
/// let voxels = Voxels::new(&device, vec![Voxel::new(0, 0, 0, 0), Voxel::new(0, 3, 1, 2)])?;
/// let ones = SparseTensor::new(voxels.clone(), Tensor::from_rows(&device, &[[1.0]; 2])?)?;
/// let sum = ones.add(&ones, Activation::Identity)?;
/// assert_eq!(sum.features().to_f32()?, [2.0, 2.0]);
/// // A row for each voxel, or an error.
/// assert!(SparseTensor::new(voxels, Tensor::from_rows(&device, &[[1.0]])?).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct SparseTensor {
    voxels: Voxels,
    features: Arc<Tensor>,
}

impl SparseTensor {
    /// Features over voxels.
    ///
    /// # Shapes
    /// `features`: `(voxels.len(), channels)`.
    ///
    /// # Errors
    /// If there is not one row for each voxel.
    pub fn new(voxels: Voxels, features: Tensor) -> Result<Self, ConvError> {
        if features.rows() != voxels.len() {
            return Err(ConvError::Rows {
                what: "features",
                expected: voxels.len(),
                found: features.rows(),
            });
        }
        let features = features.counted(voxels.frame_rows());
        Ok(Self { voxels, features: Arc::new(features) })
    }

    /// The same as the input of a frame that expects its counts ([`Voxels::expecting`]): on a GPU
    /// the host does not wait for what a network makes of it.
    #[must_use]
    pub fn expecting(&self, expected: &ExpectedCounts) -> Self {
        self.over(self.voxels.expecting(expected))
    }

    /// The same for a network that runs over it once ([`Voxels::for_one_pass`]): maps are given
    /// back on the way.
    #[must_use]
    pub fn for_one_pass(&self) -> Self {
        self.over(self.voxels.for_one_pass())
    }

    /// The same features over the same voxels of another frame.
    fn over(&self, voxels: Voxels) -> Self {
        let features = match self.features.share() {
            Some(shared) => Arc::new(shared.counted(voxels.frame_rows())),
            None => Arc::clone(&self.features),
        };
        Self { voxels, features }
    }

    /// The voxels.
    #[must_use]
    pub const fn voxels(&self) -> &Voxels {
        &self.voxels
    }

    /// The features.
    ///
    /// # Shapes
    /// `(voxels.len(), channels)`.
    #[must_use]
    pub fn features(&self) -> &Tensor {
        &self.features
    }

    /// The features, given up with their voxels.
    ///
    /// # Errors
    /// The sparse tensor itself, if a clone of it shares them.
    pub fn into_features(self) -> Result<Tensor, Self> {
        let Self { voxels, features } = self;
        Arc::try_unwrap(features).map_err(|features| Self { voxels, features })
    }

    /// Some channels over the same voxels: on a GPU where the features are, without a copy.
    ///
    /// # Errors
    /// If there are not so many channels, or the host cannot hold the copy.
    pub fn columns(&self, columns: Range<usize>) -> Result<Self, ConvError> {
        Self::new(self.voxels.clone(), self.features.shared_columns(columns)?)
    }

    /// The features in another storage type.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn cast(&self, dtype: DType) -> Result<Self, ConvError> {
        if self.features.dtype() == dtype {
            return Ok(self.clone());
        }
        let features = ops::cast(self.voxels.device(), &self.features, dtype)?;
        Self::new(self.voxels.clone(), features)
    }

    /// The sum with features over the same voxels, and an activation of it.
    ///
    /// # Errors
    /// If the other's voxels, channels or storage type are not these, or the device fails.
    pub fn add(&self, other: &Self, activation: Activation) -> Result<Self, ConvError> {
        self.expect_same_voxels("a sum", other)?;
        let device = self.voxels.device();
        let sum = ops::add(device, &self.features, &other.features, activation)?;
        Self::new(self.voxels.clone(), sum)
    }

    /// These channels, then those of features over the same voxels: what a U-Net's decoder reads.
    ///
    /// # Errors
    /// If the other's voxels or storage type are not these, or the device fails.
    pub fn concat(&self, other: &Self) -> Result<Self, ConvError> {
        self.expect_same_voxels("a concatenation", other)?;
        let parts = [&*self.features, &*other.features];
        let joined = ops::concat(self.voxels.device(), &parts)?;
        Self::new(self.voxels.clone(), joined)
    }

    /// The dense tensor of so many samples over the voxels' [shape](Voxels::shape), zeros where no
    /// voxel is: a bird's-eye view where one axis is short.
    ///
    /// # Shapes
    /// Result: `(samples · channels, cells)`, which is `(samples, channels, x, y, z)`, row-major.
    ///
    /// # Errors
    /// If the voxels have no shape, one's batch is none of the samples, or the device cannot hold
    /// it.
    pub fn to_dense(&self, samples: usize) -> Result<Tensor, ConvError> {
        let cells = ops::DenseCells::new(&self.voxels, samples)?;
        Ok(cells.to_dense(self.voxels.device(), &self.features)?.counted(self.voxels.frame_fate()))
    }

    /// [`Self::to_dense`] with the last axis before the other two: the bird's-eye view where the
    /// last coordinate is the height.
    ///
    /// # Shapes
    /// Result: `(samples · channels, cells)`, which is `(samples, channels, z, x, y)`, row-major.
    ///
    /// # Errors
    /// As [`Self::to_dense`].
    pub fn to_dense_z_first(&self, samples: usize) -> Result<Tensor, ConvError> {
        let [x, y, z] = self.voxels.shape().ok_or(ConvError::NoShape)?.map(|one| one as usize);
        let dense = self.to_dense(samples)?;
        if z < 2 || x * y == 0 {
            return Ok(dense);
        }
        // Of each height a column, then a plane; all of them one behind the other.
        let (device, lines) = (self.voxels.device(), dense.rows());
        let columns = ops::split(device, &dense.with_shape(lines * x * y, z)?, &vec![1; z])?;
        let planes = columns.into_iter().map(|column| column.with_shape(lines, x * y));
        let planes = planes.collect::<Result<Vec<_>, _>>()?;
        let view = ops::concat(device, &planes.iter().collect::<Vec<_>>())?;
        Ok(view.counted(self.voxels.frame_fate()))
    }

    /// Features of voxels from such a dense tensor.
    ///
    /// # Shapes
    /// `dense`: `(samples · channels, cells)`.
    ///
    /// # Errors
    /// As [`Self::to_dense`].
    pub fn from_dense(voxels: &Voxels, dense: &Tensor, samples: usize) -> Result<Self, ConvError> {
        let features = ops::DenseCells::new(voxels, samples)?.from_dense(voxels.device(), dense)?;
        Self::new(voxels.clone(), features)
    }

    fn expect_same_voxels(&self, what: &'static str, other: &Self) -> Result<(), ConvError> {
        if self.voxels.is_same(&other.voxels) {
            return Ok(());
        }
        let (first, other) = (self.voxels.len(), other.voxels.len());
        Err(ConvError::OtherVoxels { what, first, other })
    }
}
