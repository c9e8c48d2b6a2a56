//! The voxels of a network's levels, in files that workers read.

use std::path::{Path, PathBuf};

use voxtune::{Voxel, Voxels};

use crate::exit::Failure;

/// The levels of a scan so far, each in a file.
pub(super) struct Levels<'a> {
    pub(super) folder: &'a Path,
    pub(super) label: String,
    pub(super) held: Vec<(Voxels, PathBuf)>,
}

impl Levels<'_> {
    /// The number of a level and its file, which is written when it is first asked for.
    pub(super) fn of(&mut self, voxels: &Voxels) -> Result<(usize, PathBuf), Failure> {
        if let Some(number) = self.held.iter().position(|(held, _)| held.is_same(voxels)) {
            return Ok((number, self.held[number].1.clone()));
        }
        let number = self.held.len();
        let name = match number {
            0 => self.label.clone(),
            level => format!("{}-level{level}", self.label),
        };
        let path = self.folder.join(format!("{name}.npy"));
        let cells = voxels.cells().map_err(Failure::failed)?;
        std::fs::write(&path, npy(cells)).map_err(Failure::failed)?;
        self.held.push((voxels.clone(), path.clone()));
        Ok((number, path))
    }
}

/// A NumPy array of rows of batch, x, y, z (NEP 1, version 1.0).
fn npy(cells: &[Voxel]) -> Vec<u8> {
    const ALIGNMENT: usize = 64;
    let shape = format!("({}, 4)", cells.len());
    let dict = format!("{{'descr': '<i4', 'fortran_order': False, 'shape': {shape}, }}");
    let start = b"\x93NUMPY\x01\x00";
    let unpadded = start.len() + 2 + dict.len() + 1;
    let padding = unpadded.next_multiple_of(ALIGNMENT) - unpadded;
    let header = format!("{dict}{}\n", " ".repeat(padding));
    let mut bytes = start.to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.into_bytes());
    for Voxel { batch, x, y, z } in cells {
        bytes.extend([batch, x, y, z].into_iter().flat_map(|axis| axis.to_le_bytes()));
    }
    bytes
}
