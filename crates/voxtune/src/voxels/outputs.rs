//! What layers make of voxels: the outputs of a geometry, and the kernel map to them.

use std::sync::Arc;

use voxtune_types::{Geometry, KernelSize, LayerKind, Operation};

use super::Voxels;
use crate::{ConvError, KernelMap};

impl Voxels {
    /// The submanifold kernel map of this kernel size.
    ///
    /// # Errors
    /// If the kernel is not centred, or the device cannot hold the map.
    pub fn kernel_map(&self, kernel: KernelSize) -> Result<Arc<KernelMap>, ConvError> {
        Ok(self.outputs_of(&Geometry::submanifold(kernel, [1; 3]))?.1)
    }

    /// The voxels that a layer makes of these, and the map to them. Both are built by the first
    /// call and shared by all later ones. A map that is asked for here is made complete for the
    /// layers that are alive on the device. Of one that a layer asks for, each layer makes what it
    /// reads.
    ///
    /// | kind of layer | outputs |
    /// |---|---|
    /// | [submanifold](LayerKind::Submanifold) | these voxels |
    /// | [sparse](LayerKind::Sparse) | those whose window holds one of these |
    /// | [transposed](LayerKind::Transposed) | those in a window of one of these |
    /// | [inverse](LayerKind::Inverse) | those that a sparse layer has made these of |
    ///
    /// Outputs lie within the output's shape; a sparse layer that is undone has the same kernel and
    /// stride.
    ///
    /// # Errors
    /// If no layer has this geometry; if no sparse layer has made these voxels that an inverse one
    /// could undo. If the device cannot hold outputs or map.
    pub fn outputs_of(&self, geometry: &Geometry) -> Result<(Self, Arc<KernelMap>), ConvError> {
        let (outputs, used) = self.made_by(geometry)?;
        let map = self.map_made(&outputs, &used, |map| self.levels.prepare(map))?;
        Ok((outputs, map))
    }

    /// The map to voxels that a layer of this geometry has [made](Self::made_by).
    pub(crate) fn map_of(
        &self,
        outputs: &Self,
        geometry: &Geometry,
    ) -> Result<Arc<KernelMap>, ConvError> {
        self.map_made(outputs, geometry, |_| ())
    }

    /// The same, a new one after something was done with it.
    fn map_made(
        &self,
        outputs: &Self,
        geometry: &Geometry,
        finish: impl FnOnce(&KernelMap),
    ) -> Result<Arc<KernelMap>, ConvError> {
        let (from, to) = (&self.level, &outputs.level);
        self.levels.map(from, to, *geometry, || {
            let map = match geometry.kind {
                LayerKind::Inverse => {
                    let forth = outputs.map_of(self, &geometry.with_kind(LayerKind::Sparse))?;
                    forth.transposed().expect("the map of a sparse layer has one")
                }
                _ => self.levels.build_map(from, to, geometry)?,
            };
            finish(&map);
            Ok(map)
        })
    }

    /// Gives the map to voxels that a layer has made a name, or compares it with the one that has
    /// it.
    pub(crate) fn name_map(
        &self,
        name: &Arc<str>,
        outputs: &Self,
        geometry: &Geometry,
    ) -> Result<(), ConvError> {
        self.levels.name_map(name, &self.level, &outputs.level, geometry)
    }

    /// The voxels that a layer makes of these, and where its rows meet. What an inverse layer's own
    /// geometry leaves open is that of the layer which it undoes.
    pub(crate) fn made_by(&self, geometry: &Geometry) -> Result<(Self, Geometry), ConvError> {
        geometry.check().map_err(voxtune_cpu::KernelMapError::from)?;
        match geometry.kind {
            LayerKind::Submanifold => Ok((self.clone(), *geometry)),
            LayerKind::Inverse => self.origin(geometry),
            LayerKind::Given => Err(ConvError::NoOutputsGiven),
            _ => Ok((self.at(self.levels.outputs(&self.level, *geometry)?), *geometry)),
        }
    }

    /// The map of layers of a geometry from these voxels to others of the same input, built by the
    /// first call.
    pub(crate) fn map_between(
        &self,
        outputs: &Self,
        geometry: &Geometry,
    ) -> Result<Arc<KernelMap>, ConvError> {
        let (from, to) = (&self.level, &outputs.level);
        self.levels.map(from, to, *geometry, || self.levels.build_map(from, to, geometry))
    }

    /// The voxels that these were made of, and the way back to them.
    fn origin(&self, geometry: &Geometry) -> Result<(Self, Geometry), ConvError> {
        let level = &self.level;
        let undone = |down: &Geometry| {
            down.kind == LayerKind::Sparse
                && (down.kernel, down.stride) == (geometry.kernel, geometry.stride)
        };
        let Some((origin, down)) = level.origin.as_ref().filter(|(_, down)| undone(down)) else {
            let made_by = level.origin.as_ref().map(|(_, down)| *down);
            return Err(ConvError::NothingToUndo { inverse: *geometry, made_by });
        };
        Ok((self.at(Arc::clone(origin)), down.with_kind(LayerKind::Inverse)))
    }

    /// The map of an operation's layer over these voxels, of those layers whose windows are centred
    /// ([`Operation::typical_geometry`]). That of an inverse layer goes back to these voxels, from
    /// what its sparse layer makes of them. A layer of given outputs is given these.
    ///
    /// # Errors
    /// If no layer has this geometry, or the device cannot hold the map.
    pub fn typical_map(&self, operation: &Operation) -> Result<Arc<KernelMap>, ConvError> {
        let geometry = operation.typical_geometry();
        match geometry.kind {
            LayerKind::Given => self.map_to(self, &geometry).map(Arc::new),
            LayerKind::Inverse => {
                let coarse = self.outputs_of(&geometry.with_kind(LayerKind::Sparse))?.0;
                Ok(coarse.outputs_of(&geometry)?.1)
            }
            _ => Ok(self.outputs_of(&geometry)?.1),
        }
    }

    /// The outputs of a strided layer over these voxels whose windows are centred
    /// ([`Geometry::strided`]), and the map to them.
    ///
    /// # Errors
    /// If a stride is zero, or the device cannot hold the map.
    pub fn strided(
        &self,
        kernel: KernelSize,
        stride: [u8; 3],
    ) -> Result<(Self, Arc<KernelMap>), ConvError> {
        self.outputs_of(&Geometry::strided(kernel, stride))
    }

    /// The map from these voxels to outputs of the caller's, for layers that are
    /// [given](LayerKind::Given) them. Any distinct outputs will do. It is not kept.
    ///
    /// # Errors
    /// If no layer has this geometry, or the device cannot hold the map.
    pub fn map_to(&self, outputs: &Self, geometry: &Geometry) -> Result<KernelMap, ConvError> {
        let geometry = geometry.with_kind(LayerKind::Given);
        self.levels.build_map(&self.level, &outputs.level, &geometry)
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::Voxel;

    use super::*;
    use crate::Device;

    fn kernel(extent: u32) -> KernelSize {
        KernelSize::cubic(extent).unwrap()
    }

    fn line(device: &Device, shape: Option<[u32; 3]>) -> Voxels {
        let cells = (0..9).map(|x| Voxel::new(0, x, 0, 0)).collect();
        match shape {
            None => Voxels::new(device, cells).unwrap(),
            Some(shape) => Voxels::within(device, shape, cells).unwrap(),
        }
    }

    #[test]
    fn levels_and_maps_are_shared_by_whoever_asks() {
        let device = Device::cpu_with_threads(1).unwrap();
        let fine = line(&device, None);
        let (coarse, down) = fine.strided(kernel(2), [2; 3]).unwrap();
        let (again, same) = fine.clone().strided(kernel(2), [2; 3]).unwrap();
        assert!(coarse.is_same(&again) && Arc::ptr_eq(&down, &same));
        assert!(!coarse.is_same(&fine) && !coarse.is_same(&line(&device, None)));
        let back = Geometry::strided(kernel(2), [2; 3]).with_kind(LayerKind::Inverse);
        let (up, map) = coarse.outputs_of(&back).unwrap();
        assert!(up.is_same(&fine));
        assert_eq!(map.counts().pairs, down.counts().pairs);
        assert!(Arc::ptr_eq(&map, &coarse.outputs_of(&back).unwrap().1));
    }

    #[test]
    fn shapes_clip_what_layers_make() {
        let device = Device::cpu_with_threads(1).unwrap();
        let padded = Geometry { padding: [1, 1, 1], ..Geometry::strided(kernel(3), [2; 3]) };
        let free = line(&device, None).outputs_of(&padded).unwrap().0;
        assert_eq!(free.shape(), None);
        // x = 8 reaches 4; y and z = 0 reach 0 alone.
        assert_eq!(free.cells().unwrap().last().unwrap().x, 4);
        let clipped = line(&device, Some([9, 1, 1]));
        let valid = Geometry { padding: [0, 1, 1], ..padded };
        let clipped = clipped.outputs_of(&valid).unwrap().0;
        assert_eq!(clipped.shape(), Some([4, 1, 1]));
        assert_eq!(clipped.cells().unwrap().last().unwrap().x, 3);
    }

    #[test]
    fn what_cannot_be_undone_or_lies_outside_is_told() {
        let device = Device::cpu_with_threads(1).unwrap();
        let fine = line(&device, None);
        let back = Geometry::strided(kernel(2), [2; 3]).with_kind(LayerKind::Inverse);
        let error = fine.outputs_of(&back).unwrap_err().to_string();
        assert!(error.contains("k2 s2x2x2 inverse") && error.contains("no layer"), "{error}");
        let coarse = fine.strided(kernel(3), [2; 3]).unwrap().0;
        let error = coarse.outputs_of(&back).unwrap_err().to_string();
        assert!(error.contains("k3 s2x2x2"), "{error}");
        let outside = Voxels::within(&device, [8, 1, 1], vec![Voxel::new(0, 8, 0, 0)]);
        let error = outside.unwrap_err().to_string();
        assert!(error.contains("row 0") && error.contains("8 x 1 x 1"), "{error}");
    }
}
