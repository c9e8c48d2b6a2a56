//! The body of an evidence file.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use voxtune_types::{AlgoId, Arch, Density, DeviceIdentity, Operation, ShapeKey, VoxelBucket};

use crate::decision_file::Device;
use crate::entry::{EntryKey, Workload};
use crate::envelope::{Defect, Opened, seal};
use crate::evidence::Evidence;
use crate::file_name::FileKind;
use crate::intern::Interner;
use crate::operation_file::EarlierOperation;
use crate::record::{Environment, KernelHash, Outcome, Record, Requirement};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a, O = Operation> {
    arch: Arch,
    devices: Vec<Device<'a>>,
    operations: Vec<O>,
    algorithms: Vec<AlgoId>,
    environments: Vec<Environment>,
    entries: Vec<Entry<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry<'a> {
    device: u32,
    operation: u32,
    bucket_in: VoxelBucket,
    bucket_out: VoxelBucket,
    density: Density,
    workload: Cow<'a, Workload>,
    records: Vec<Row<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row<'a> {
    algorithm: u32,
    kernel_hash: KernelHash,
    default: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    shipped: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    requires: Option<Requirement>,
    environment: u32,
    outcome: Cow<'a, Outcome>,
}

/// The first version with an outcome `beaten`.
const BEATEN_SINCE: u32 = 2;

/// The first version in which timings have charges.
const CHARGES_SINCE: u32 = 4;

/// The first version in which records say whether the tool ships them.
const SHIPPED_SINCE: u32 = 5;

/// The bytes of an evidence file. All devices are of this architecture.
pub(crate) fn encode(arch: Arch, evidence: &Evidence) -> Vec<u8> {
    seal(FileKind::Evidence, &body(arch, evidence, |operation| *operation))
}

/// The evidence of an opened file.
pub(crate) fn decode(mut file: Opened<'_>) -> Result<(Arch, Evidence), Defect> {
    let (arch, evidence) = if file.names_kinds() {
        evidence_of(file.decode::<Body<'_>>()?, file.version)?
    } else {
        evidence_of(file.decode::<Body<'_, EarlierOperation>>()?, file.version)?
    };
    // Also refuses what the set does not keep: an order, a duplicate, an unused value of a table.
    if file.names_kinds() {
        file.check_canonical(&body(arch, &evidence, |operation| *operation))?;
    } else {
        file.check_canonical(&body(arch, &evidence, EarlierOperation::of))?;
    }
    Ok((arch, evidence))
}

/// What the body of a file of a version says.
fn evidence_of<O: Into<Operation>>(
    decoded: Body<'_, O>,
    version: u32,
) -> Result<(Arch, Evidence), Defect> {
    let arch = decoded.arch;
    let operations: Vec<Operation> = decoded.operations.into_iter().map(Into::into).collect();
    let devices: Vec<DeviceIdentity> =
        decoded.devices.into_iter().map(|device| device.identity(arch)).collect();
    let mut evidence = Evidence::new();
    let mut rows = decoded.entries.iter().flat_map(|entry| &entry.records);
    let mut outcomes = rows.clone().map(|row| &*row.outcome);
    if version < BEATEN_SINCE && outcomes.clone().any(|one| matches!(one, Outcome::Beaten(_))) {
        return Err(Defect::Corrupt(format!("version {version} knows no outcome `beaten`")));
    }
    let is_charged = |one: &Outcome| one.timing().is_some_and(|timing| timing.charge.is_some());
    if version < CHARGES_SINCE && outcomes.any(is_charged) {
        return Err(Defect::Corrupt(format!("version {version} knows no field `charge`")));
    }
    if version < SHIPPED_SINCE && rows.any(|row| row.shipped) {
        return Err(Defect::Corrupt(format!("version {version} knows no field `shipped`")));
    }
    for entry in decoded.entries {
        let key = EntryKey {
            device: look_up("device", &devices, entry.device)?.clone(),
            key: ShapeKey {
                operation: *look_up("operation", &operations, entry.operation)?,
                bucket_in: entry.bucket_in,
                bucket_out: entry.bucket_out,
                density: entry.density,
            },
            workload: entry.workload.into_owned(),
        };
        let records = entry.records.into_iter().map(|row| {
            Ok(Record {
                algo: look_up("algorithm", &decoded.algorithms, row.algorithm)?.clone(),
                kernel_hash: row.kernel_hash,
                default: row.default,
                shipped: row.shipped,
                requires: row.requires,
                environment: look_up("environment", &decoded.environments, row.environment)?
                    .clone(),
                outcome: row.outcome.into_owned(),
            })
        });
        let records = records.collect::<Result<Vec<_>, Defect>>()?;
        evidence.insert_all(key, records).map_err(Defect::corrupt)?;
    }
    Ok((arch, evidence))
}

fn look_up<'t, T>(what: &str, table: &'t [T], number: u32) -> Result<&'t T, Defect> {
    table
        .get(number as usize)
        .ok_or_else(|| Defect::Corrupt(format!("{what} {number} of a table of {}", table.len())))
}

fn body<'e, O>(
    arch: Arch,
    evidence: &'e Evidence,
    spelled: impl Fn(&Operation) -> O,
) -> Body<'e, O> {
    let entries = || evidence.entries();
    let records = || entries().flat_map(|(_, records)| records.iter());
    let devices = Interner::new(entries().map(|(entry, _)| &entry.device));
    let operations = Interner::new(entries().map(|(entry, _)| &entry.key.operation));
    let algorithms = Interner::new(records().map(|record| &record.algo));
    let environments = Interner::new(records().map(|record| &record.environment));
    let row = |record: &'e Record| -> Row<'e> {
        Row {
            algorithm: algorithms.number(&record.algo),
            kernel_hash: record.kernel_hash,
            default: record.default,
            shipped: record.shipped,
            requires: record.requires,
            environment: environments.number(&record.environment),
            outcome: Cow::Borrowed(&record.outcome),
        }
    };
    let entries = entries()
        .map(|(entry, records)| Entry {
            device: devices.number(&entry.device),
            operation: operations.number(&entry.key.operation),
            bucket_in: entry.key.bucket_in,
            bucket_out: entry.key.bucket_out,
            density: entry.key.density,
            workload: Cow::Borrowed(&entry.workload),
            records: records.iter().map(row).collect(),
        })
        .collect();
    Body {
        arch,
        devices: devices.into_refs().into_iter().map(Device::new).collect(),
        operations: operations.into_refs().into_iter().map(spelled).collect(),
        algorithms: algorithms.into_table(),
        environments: environments.into_table(),
        entries,
    }
}
