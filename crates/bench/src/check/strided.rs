//! Strided and transposed layers: their maps against the host's, then every algorithm over them.

use std::fmt;

use voxtune::inspection::kernel_map;
use voxtune_cpu::{KernelMap, MapView, layer_outputs};
use voxtune_cuda::{CudaError, DeviceKernelMap, RowOrder, StridedMapBuilder};
use voxtune_pointcloud::Generator;
use voxtune_types::{DType, Direction, Geometry, KernelSize, LayerKind, Operation, Voxel};

use super::cells::Cells;
use super::data::{Fill, operands};
use super::maps::{clouds, disorder};
use super::products::Case;
use super::{CheckError, Checker, Findings};

/// What a layer between two clouds is, apart from channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layer {
    kernel: KernelSize,
    stride: [u8; 3],
}

impl Layer {
    /// Between the levels of U-Nets; of backbones for LiDAR; as many offsets as kernels take; along
    /// one axis.
    fn all() -> [Self; 4] {
        let layer = |extents, stride| {
            let kernel = KernelSize::try_from(extents).expect("extents of a kernel");
            Self { kernel, stride }
        };
        [
            layer([2; 3], [2; 3]),
            layer([3; 3], [2; 3]),
            layer([5; 3], [2; 3]),
            layer([3, 1, 1], [2, 1, 1]),
        ]
    }

    /// Whether tables of the map and of all orders stay small enough to be looked through.
    fn admits(self, inputs: usize) -> bool {
        const MOST_ENTRIES: usize = 1 << 20;
        inputs * self.kernel.volume() <= MOST_ENTRIES
    }

    fn geometry(self) -> Geometry {
        Geometry::strided(self.kernel, self.stride)
    }

    fn outputs(self, inputs: &[Voxel]) -> Vec<Voxel> {
        layer_outputs(inputs, &self.geometry(), None).expect("strides are not zero")
    }

    /// Some of its outputs, in another order, and some that no input reaches; so some inputs reach
    /// nothing, too.
    fn given_outputs(self, inputs: &[Voxel]) -> Vec<Voxel> {
        let mut outputs = self.outputs(inputs);
        outputs.reverse();
        let mut position = 0..;
        outputs.retain(|_| position.next().is_some_and(|at: usize| !at.is_multiple_of(5)));
        let alone = |at: i32| Voxel::new(-7, at, at % 3, -at);
        outputs.splice(outputs.len() / 2..outputs.len() / 2, (0..300).map(alone));
        outputs
    }

    fn operation(
        self,
        direction: Direction,
        dtype: DType,
        (c_in, c_out, groups): (u32, u32, u32),
    ) -> Operation {
        Operation::strided(direction, dtype, c_in, c_out, self.kernel, self.stride)
            .with_groups(groups)
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel {}, stride {:?}", self.kernel, self.stride)
    }
}

/// Whole copies and none: channels that every family takes, and channels that few do, and their
/// groups.
const CHANNELS: [(u32, u32, u32); 7] =
    [(32, 64, 1), (13, 33, 1), (3, 32, 1), (20, 12, 1), (128, 128, 1), (20, 20, 20), (12, 20, 4)];

/// The same where there are few shapes, or many offsets.
const FEW_CHANNELS: [(u32, u32, u32); 4] = [(32, 64, 1), (13, 33, 1), (20, 20, 20), (12, 20, 4)];

fn channels(layer: Layer, quick: bool) -> &'static [(u32, u32, u32)] {
    if quick || layer.kernel.volume() > 32 { &FEW_CHANNELS } else { &CHANNELS }
}

/// The operations that are checked.
pub(super) fn operations(quick: bool) -> Vec<Operation> {
    let mut operations = Vec::new();
    for layer in Layer::all() {
        for direction in Direction::ALL {
            for dtype in DType::ALL {
                for &of in channels(layer, quick) {
                    let op = layer.operation(direction, dtype, of);
                    operations.extend([op, op.with_kind(LayerKind::Inverse)]);
                }
            }
        }
    }
    operations
}

impl Checker<'_> {
    pub(super) fn strided(&mut self) -> Result<Findings, CheckError> {
        let builder = self.kernels.strided_map_builder(&self.builder)?;
        let mut findings = Findings::default();
        for (name, inputs) in clouds(self.options.quick) {
            for layer in Layer::all().into_iter().filter(|layer| layer.admits(inputs.len())) {
                for outputs in [layer.outputs(&inputs), layer.given_outputs(&inputs)] {
                    let found = self.compare_maps(&builder, layer, &inputs, &outputs)?;
                    findings.checked += 1;
                    let what = |difference| format!("map of {name}, {layer}: {difference}");
                    findings.failures.extend(found.map(what));
                }
            }
        }
        findings.checked += 1;
        findings.failures.extend(accepts_a_duplicate(&builder));
        for layer in Layer::all() {
            self.strided_products(&builder, layer, &mut findings)?;
        }
        Ok(findings)
    }

    /// What differs between the device's map or its transposed one and the host's.
    fn compare_maps(
        &self,
        builder: &StridedMapBuilder,
        layer: Layer,
        inputs: &[Voxel],
        outputs: &[Voxel],
    ) -> Result<Option<String>, CheckError> {
        let map = builder.build(inputs, outputs, &layer.geometry())?;
        let host = match KernelMap::between(inputs, outputs, &layer.geometry()) {
            Ok(host) => host,
            Err(error) => return Ok(Some(format!("the host refuses it: {error}"))),
        };
        if let Some(difference) = self.compare_map(&map, &host)? {
            return Ok(Some(difference));
        }
        let Some(transposed) = map.transposed() else {
            return Ok(Some("it has no transposed map".to_owned()));
        };
        let difference = self.compare_map(&transposed, &host.to_transposed())?;
        Ok(difference.map(|difference| format!("transposed: {difference}")))
    }

    pub(super) fn compare_map(
        &self,
        map: &DeviceKernelMap,
        host: &KernelMap,
    ) -> Result<Option<String>, CheckError> {
        for order in RowOrder::ALL {
            self.builder.add_order(map, Direction::Forward, order)?;
            self.builder.add_order(map, Direction::Dgrad, order)?;
        }
        let counts = map.counts()?;
        if (counts.n_in, counts.n_out) != (host.n_in(), host.n_out()) {
            return Ok(Some(format!("{} to {} rows", counts.n_in, counts.n_out)));
        }
        for (offset, &pairs) in counts.pairs.iter().enumerate() {
            let expected = host.pair_list(offset);
            let (in_rows, out_rows) = map.download_pairs(offset)?;
            let found = in_rows.into_iter().zip(out_rows);
            let listed = expected.iter().map(|pair| (pair.in_row as i32, pair.out_row as i32));
            if pairs != expected.len() || !found.eq(listed) {
                return Ok(Some(format!("the pair list of offset {offset} differs")));
            }
        }
        let table = map.download_table()?;
        if table != table_of(host.view()) {
            return Ok(Some("the table differs".to_owned()));
        }
        // A submanifold map is its own mirror image.
        let reverse = map.transposed().map(|_| table_of(host.transposed()));
        if map.download_reverse_table()? != reverse {
            return Ok(Some("the reverse table differs".to_owned()));
        }
        for order in RowOrder::ALL {
            let rows = map.download_order(order)?;
            let rows = rows.unwrap_or_else(|| (0..host.n_out() as i32).collect());
            let (ordered, masks) = (map.download_ordered_table(order)?, map.download_masks(order)?);
            if let Some(what) = disorder(&rows, &table, &ordered, &masks, order) {
                return Ok(Some(format!("the {} order: {what}", order.as_str())));
            }
        }
        Ok(None)
    }

    /// Every algorithm on a layer and on the one that undoes it. Rows are no multiple of any
    /// tile's, and some have no pair.
    fn strided_products(
        &mut self,
        builder: &StridedMapBuilder,
        layer: Layer,
        findings: &mut Findings,
    ) -> Result<(), CheckError> {
        let rows = if self.options.quick { 301 } else { 3_001 };
        let cells = Cells::Generated(Generator::Surface, rows);
        let inputs = cells.voxels();
        let outputs = layer.given_outputs(&inputs);
        let map = builder.build(&inputs, &outputs, &layer.geometry())?;
        let host = KernelMap::between(&inputs, &outputs, &layer.geometry())
            .expect("generated voxels are distinct");
        self.add_orders(&map)?;
        let map = kernel_map(layer.geometry(), map)?;
        let Some(transposed) = map.transposed() else {
            findings.failures.push(format!("{layer} has no transposed map"));
            return Ok(());
        };
        let host_transposed = host.to_transposed();
        for &of in channels(layer, self.options.quick) {
            for dtype in DType::ALL {
                for direction in Direction::ALL {
                    let op = layer.operation(direction, dtype, of);
                    self.strided_product(op, &map, &host, cells, findings)?;
                    let op = op.with_kind(LayerKind::Inverse);
                    self.strided_product(op, &transposed, &host_transposed, cells, findings)?;
                }
            }
        }
        Ok(())
    }

    fn strided_product(
        &mut self,
        op: Operation,
        map: &voxtune::KernelMap,
        host: &KernelMap,
        cells: Cells,
        findings: &mut Findings,
    ) -> Result<(), CheckError> {
        if self.candidates(&op).is_empty() {
            return Ok(());
        }
        for fill in [Fill::Random, Fill::Exact] {
            let operands = operands(self.cuda(), &op, map, fill, 0, 5)?;
            if fill == Fill::Random && (op.c_in == FEW_CHANNELS[1].0 || op.groups > 1) {
                // What everything else is compared with.
                self.compare_with_host_of(&op, map, host, &operands, findings)?;
            }
            let what = format!("{op}, {cells}, {fill:?}");
            let case = Case { op, map, fill, what };
            self.compare_all(&case, operands, findings, None)?;
        }
        Ok(())
    }
}

/// The table of a map, `(volume, n_out)`, -1 where there is no pair.
fn table_of(view: MapView<'_>) -> Vec<i32> {
    let n = view.n_out();
    let mut table = vec![-1; view.kernel_volume() * n];
    for offset in 0..view.kernel_volume() {
        for pair in view.pair_list(offset) {
            table[offset * n + pair.out_row as usize] = pair.in_row as i32;
        }
    }
    table
}

fn accepts_a_duplicate(builder: &StridedMapBuilder) -> Option<String> {
    let once = Cells::Full { edge: 8 }.voxels();
    let mut twice = once.clone();
    twice.push(twice[100]);
    let kernel = KernelSize::cubic(2).expect("extents of a kernel");
    for (inputs, outputs) in [(&once, &twice), (&twice, &once)] {
        let map = builder.build(inputs, outputs, &Geometry::strided(kernel, [2; 3]));
        match map.and_then(|map| map.counts().cloned()) {
            Err(CudaError::DuplicateVoxel { voxel, row: 512 }) if voxel == twice[100] => {}
            other => return Some(format!("a duplicate voxel gave {other:?}")),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use voxtune_cuda::algorithms;

    use super::super::cases::admits;
    use super::*;

    #[test]
    fn every_family_meets_every_kind_of_layer() {
        let families: BTreeSet<&str> =
            algorithms().iter().map(|algorithm| algorithm.id().family()).collect();
        for quick in [false, true] {
            let operations = operations(quick);
            for layer in Layer::all() {
                for kind in [LayerKind::Sparse, LayerKind::Inverse] {
                    let like = |op: &&Operation| {
                        (op.kernel, op.stride, op.kind) == (layer.kernel, layer.stride, kind)
                    };
                    let met: BTreeSet<&str> = operations
                        .iter()
                        .filter(like)
                        .flat_map(|op| algorithms().iter().filter(move |one| admits(op, one)))
                        .map(|algorithm| algorithm.id().family())
                        .collect();
                    let lacking: Vec<&&str> = families.difference(&met).collect();
                    // Some hold all weights, which are too many; some take few channels; plans have
                    // a word of offsets a tile.
                    let may_lack = |family: &&&str| match **family {
                        "resident_gemm" | "cluster_gemm" => layer.kernel.volume() > 32,
                        "packed_gemm" => quick || layer.kernel.volume() > 32,
                        _ => false,
                    };
                    assert!(lacking.iter().all(may_lack), "{layer}, {kind}: {lacking:?}");
                }
            }
        }
    }

    #[test]
    fn given_outputs_leave_rows_on_either_side_alone() {
        let inputs = Cells::Generated(Generator::Surface, 301).voxels();
        for layer in Layer::all() {
            let outputs = layer.given_outputs(&inputs);
            let map = KernelMap::between(&inputs, &outputs, &layer.geometry()).unwrap();
            for (rows, view) in [(map.n_out(), map.view()), (map.n_in(), map.transposed())] {
                let table = table_of(view);
                let met = (0..rows).filter(|&row| {
                    (0..view.kernel_volume()).any(|offset| table[offset * rows + row] >= 0)
                });
                let met = met.count();
                assert!(met > 0, "{layer}");
                assert!(met < rows || layer.kernel.volume() == 125, "{layer}: {met} of {rows}");
            }
        }
    }

    #[test]
    fn a_table_has_each_pair_at_its_place() {
        let pair = |in_row, out_row| voxtune_cpu::Pair { in_row, out_row };
        let lists = vec![vec![pair(4, 1)], vec![pair(0, 0), pair(3, 2)]];
        let map = KernelMap::from_pairs(5, 3, lists).unwrap();
        assert_eq!(table_of(map.view()), [-1, 4, -1, 0, -1, 3]);
    }
}
