//! The body of a decision file.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use voxtune_types::{AlgoId, Arch, DeviceIdentity, Operation};

use crate::columns::Columns;
use crate::decision::Decisions;
use crate::envelope::{Defect, Opened, seal};
use crate::file_name::FileKind;
use crate::invalid::{check_classes, check_operation};
use crate::operation_file::EarlierOperation;

/// A device of the file's architecture.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Device<'a> {
    name: Cow<'a, str>,
    units: u32,
}

impl<'a> Device<'a> {
    pub(crate) fn new(device: &'a DeviceIdentity) -> Self {
        Self { name: Cow::Borrowed(&device.name), units: device.units }
    }

    pub(crate) fn identity(self, arch: Arch) -> DeviceIdentity {
        DeviceIdentity { arch, name: self.name.into_owned(), units: self.units }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "O: Deserialize<'de>"))]
struct Body<'a, O: Clone = Operation> {
    arch: Arch,
    devices: Vec<Device<'a>>,
    operations: Cow<'a, [O]>,
    algorithms: Cow<'a, [AlgoId]>,
    decisions: Cow<'a, Columns>,
}

impl<'a> Body<'a> {
    fn new(arch: Arch, decisions: &'a Decisions) -> Self {
        Self::with_operations(arch, decisions, Cow::Borrowed(&decisions.operations))
    }
}

impl<'a> Body<'a, EarlierOperation> {
    fn earlier(arch: Arch, decisions: &'a Decisions) -> Self {
        let operations = decisions.operations.iter().map(EarlierOperation::of);
        Self::with_operations(arch, decisions, operations.collect())
    }
}

impl<'a, O: Clone + Into<Operation>> Body<'a, O> {
    fn with_operations(arch: Arch, decisions: &'a Decisions, operations: Cow<'a, [O]>) -> Self {
        Self {
            arch,
            devices: decisions.devices.iter().map(Device::new).collect(),
            operations,
            algorithms: Cow::Borrowed(&decisions.algorithms),
            decisions: Cow::Borrowed(&decisions.columns),
        }
    }

    fn into_decisions(self) -> (Arch, Decisions) {
        let Self { arch, devices, operations, algorithms, decisions: columns } = self;
        let decisions = Decisions {
            devices: devices.into_iter().map(|device| device.identity(arch)).collect(),
            operations: operations.iter().cloned().map(Into::into).collect(),
            algorithms: algorithms.into_owned(),
            columns: columns.into_owned(),
        };
        (arch, decisions)
    }
}

/// The bytes of a decision file. All devices are of this architecture.
pub(crate) fn encode(arch: Arch, decisions: &Decisions) -> Vec<u8> {
    seal(FileKind::Decisions, &Body::new(arch, decisions))
}

/// The decisions of an opened file.
pub(crate) fn decode(mut file: Opened<'_>) -> Result<(Arch, Decisions), Defect> {
    if file.names_kinds() {
        let (arch, decisions) = file.decode::<Body<'_>>()?.into_decisions();
        check(&decisions)?;
        file.check_canonical(&Body::new(arch, &decisions))?;
        return Ok((arch, decisions));
    }
    let (arch, decisions) = file.decode::<Body<'_, EarlierOperation>>()?.into_decisions();
    check(&decisions)?;
    file.check_canonical(&Body::earlier(arch, &decisions))?;
    Ok((arch, decisions))
}

/// Checks that columns are aligned, and that tables and decisions ascend. Every number must lie in
/// its table, every value of a table be used, and every key be a layer's.
fn check(decisions: &Decisions) -> Result<(), Defect> {
    let Decisions { devices, operations, algorithms, columns } = decisions;
    if !columns.are_aligned() {
        return Err(Defect::corrupt("the columns of its decisions differ in length"));
    }
    check_ascending("devices", devices.is_sorted_by(|a, b| a < b))?;
    check_ascending("operations", operations.is_sorted_by(|a, b| a < b))?;
    check_ascending("algorithms", algorithms.is_sorted_by(|a, b| a < b))?;
    let places = (0..columns.len()).map(|index| columns.sort_key(index));
    check_ascending("decisions", places.is_sorted_by(|a, b| a < b))?;
    check_used("device", devices.len(), &columns.device)?;
    check_used("operation", operations.len(), &columns.operation)?;
    let algorithm_numbers = columns
        .winner
        .iter()
        .chain(columns.runner_up.iter().flatten())
        .chain(columns.without_libraries.iter().flatten())
        .chain(&columns.safe);
    check_used("algorithm", algorithms.len(), algorithm_numbers)?;
    operations.iter().try_for_each(check_operation).map_err(Defect::corrupt)?;
    for index in 0..columns.len() {
        let (_, _, bucket_in, bucket_out, density) = columns.sort_key(index);
        check_classes(bucket_in, bucket_out, density).map_err(Defect::corrupt)?;
        check_ascending("safe", columns.safe(index).is_sorted_by(|a, b| a < b))?;
    }
    Ok(())
}

fn check_ascending(what: &str, ascending: bool) -> Result<(), Defect> {
    if ascending { Ok(()) } else { Err(Defect::Corrupt(format!("`{what}` does not ascend"))) }
}

/// Checks that these numbers lie in a table of this length and leave none of it out.
fn check_used<'n>(
    what: &str,
    len: usize,
    numbers: impl IntoIterator<Item = &'n u32>,
) -> Result<(), Defect> {
    let mut used = vec![false; len];
    for &number in numbers {
        match used.get_mut(number as usize) {
            Some(used) => *used = true,
            None => return Err(Defect::Corrupt(format!("{what} {number} of a table of {len}"))),
        }
    }
    match used.iter().position(|used| !used) {
        None => Ok(()),
        Some(number) => Err(Defect::Corrupt(format!("{what} {number} is never used"))),
    }
}
