//! One kernel family with its parameters.

use std::fmt;

use voxtune_types::DType;

/// What one nvcc call compiles: a source with its parameters as preprocessor defines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance {
    /// File of the family, such as `mask_gemm.cu`.
    pub source: &'static str,
    /// Names and values of the defines, in the order in which the family lists them.
    pub defines: Vec<(&'static str, u32)>,
    /// Whether the family uses instructions of Hopper alone: compiled for `sm_90a` and unusable
    /// elsewhere.
    pub hopper: bool,
}

impl Instance {
    /// A family without Hopper's own instructions.
    #[must_use]
    pub fn new(source: &'static str, defines: &[(&'static str, u32)]) -> Self {
        Self { source, defines: defines.to_vec(), hopper: false }
    }

    /// Building the kernel map, its pair lists and its row orders.
    #[must_use]
    pub fn kernel_map() -> Self {
        Self::new("kernel_map.cu", &[])
    }

    /// Building the maps of strided and transposed layers, beside [`Self::kernel_map`].
    #[must_use]
    pub fn strided_map() -> Self {
        Self::new("strided_map.cu", &[])
    }

    /// Finding the outputs of strided and transposed layers.
    #[must_use]
    pub fn coordinates() -> Self {
        Self::new("coordinates.cu", &[])
    }

    /// Making everything that a network makes of its voxels side by side, beside
    /// [`Self::strided_map`].
    #[must_use]
    pub fn network_maps() -> Self {
        Self::new("network_maps.cu", &[])
    }

    /// Finding the voxels of points and the means of their points.
    #[must_use]
    pub fn points() -> Self {
        Self::new("points.cu", &[])
    }

    /// Clock and copy rate.
    #[must_use]
    pub fn probe() -> Self {
        Self::new("probe.cu", &[])
    }

    /// Filling buffers with values that depend on a seed and a place.
    #[must_use]
    pub fn noise() -> Self {
        Self::new("noise.cu", &[])
    }

    /// What layers do to features beside convolutions.
    #[must_use]
    pub fn features(dtype: DType) -> Self {
        Self::new("features.cu", &[dtype_define(dtype)])
    }

    /// The float64 convolution and the comparison against it.
    #[must_use]
    pub fn reference(dtype: DType) -> Self {
        Self::new("reference.cu", &[dtype_define(dtype)])
    }

    /// What layers on every device need beside the algorithms: maps, voxels of points, the clock,
    /// comparing results, and what is done to features beside convolutions.
    pub fn utilities() -> impl Iterator<Item = Self> {
        let [references, features] = [Self::reference, Self::features].map(|of| DType::ALL.map(of));
        let without_dtype = [
            Self::kernel_map(),
            Self::strided_map(),
            Self::coordinates(),
            Self::network_maps(),
            Self::points(),
            Self::probe(),
        ];
        without_dtype.into_iter().chain(references).chain(features)
    }

    /// The family's name.
    #[must_use]
    pub fn family(&self) -> &'static str {
        self.source.strip_suffix(".cu").unwrap_or(self.source)
    }

    /// The instance that computes the same for any number of channels and groups, by loads of
    /// single elements; `None` where the family has none.
    #[must_use]
    pub fn for_any_channels(&self) -> Option<Self> {
        let narrow = |name: &str| match (self.source, name) {
            ("implicit_gemm.cu", "VEC_A" | "VEC_B") => Some(1),
            ("grouped.cu", "VEC_A" | "VEC_Y" | "RUN" | "CHUNK" | "MIN_BLOCKS") => Some(1),
            // Whatever the groups are, weights are read where they lie.
            ("grouped.cu", "DEPTHWISE" | "GATHERED" | "HELD") => Some(0),
            _ => None,
        };
        let defines = self.defines.iter();
        let defines = defines.map(|&(name, value)| (name, narrow(name).unwrap_or(value)));
        matches!(self.source, "implicit_gemm.cu" | "grouped.cu")
            .then(|| Self { defines: defines.collect(), ..self.clone() })
    }

    /// The instance as a race detector can follow it, in which all lanes arrive at a barrier. A
    /// detector that takes an arrival for that of its own lane alone reports every other lane that
    /// it stands for. It computes the same, more slowly. Families whose warps meet at no such
    /// barrier are as ever.
    #[must_use]
    pub fn for_race_detector(&self) -> Self {
        let mut watched = self.clone();
        if self.hopper {
            watched.defines.push(("EVERY_LANE_RELEASES", 1));
        }
        watched
    }

    /// The value of a define.
    #[must_use]
    pub fn define(&self, name: &str) -> Option<u32> {
        self.defines.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

/// The define that chooses a storage type.
pub(crate) const fn dtype_define(dtype: DType) -> (&'static str, u32) {
    ("VOXTUNE_DTYPE", dtype.index() as u32)
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.family())?;
        for (name, value) in &self.defines {
            write!(f, " {name}={value}")?;
        }
        Ok(())
    }
}
