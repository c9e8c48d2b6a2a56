//! The kernel packs that serve a device.

use std::borrow::Cow;

use voxtune_cuda::{Code, Compiled, CudaError, Instance, source_hash};
use voxtune_pack::{Header, Pack};
use voxtune_types::ComputeCapability;

/// Packs whose code the device runs, in the order in which they are looked at.
#[derive(Debug, Default)]
pub(super) struct Packs {
    packs: Vec<(String, Pack)>,
}

impl Packs {
    /// Of the caller's packs those that fit the device, then the best fitting one of the program's.
    pub(super) fn new(
        given: Vec<(String, Cow<'static, [u8]>)>,
        embedded: bool,
        capability: ComputeCapability,
    ) -> Self {
        let mut packs: Vec<(String, Pack)> = given
            .into_iter()
            .filter_map(|(name, bytes)| decode(name, bytes))
            .filter(|(_, pack)| fit(pack.header(), capability).is_some())
            .collect();
        packs.sort_by_key(|(_, pack)| std::cmp::Reverse(fit(pack.header(), capability)));
        if embedded {
            packs.extend(best_embedded(voxtune_caches::PACKS, capability));
        }
        Self { packs }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packs.is_empty()
    }

    /// Names of the packs, for messages.
    pub(super) fn names(&self) -> String {
        let names: Vec<&str> = self.packs.iter().map(|(name, _)| name.as_str()).collect();
        if names.is_empty() { "no pack of this program".to_owned() } else { names.join(", ") }
    }

    /// Whether an instance, or one that stands in for it, is in a pack.
    pub(super) fn has(&self, instance: &Instance) -> bool {
        self.place(instance).is_some()
    }

    /// An instance, or one that stands in for it.
    ///
    /// # Errors
    /// If its code is damaged.
    pub(super) fn get(&self, instance: &Instance) -> Result<Option<Compiled>, CudaError> {
        let Some((name, pack, place, instance)) = self.place(instance) else { return Ok(None) };
        let damaged = |error: voxtune_pack::PackError| CudaError::DamagedPack {
            what: instance.to_string(),
            reason: error.to_string(),
        };
        let code = pack.read(place).map_err(damaged)?;
        let header = pack.header();
        let (target, capability) = target(header);
        let kernel_hash = pack.kernels().nth(place).map_or(0, |kernel| kernel.kernel_hash);
        Compiled::packed(
            target,
            &instance,
            capability,
            i32::try_from(header.cuda_version).unwrap_or(i32::MAX),
            name,
            code,
            kernel_hash,
        )
        .map(Some)
    }

    fn place(&self, instance: &Instance) -> Option<(&str, &Pack, usize, Instance)> {
        let find = |instance: &Instance| {
            self.packs.iter().find_map(|(name, pack)| {
                let name = name.as_str();
                let place = pack.find(instance.source, &instance.defines, instance.hopper)?;
                is_current(pack, place, instance).then(|| (name, pack, place, instance.clone()))
            })
        };
        find(instance).or_else(|| find(&instance.for_any_channels()?))
    }
}

/// The form of a pack's code, and what it was compiled for.
fn target(header: &Header) -> (Code, ComputeCapability) {
    let (major, minor) = header.capability;
    let code = if header.is_ptx() { Code::Ptx } else { Code::Cubin };
    (code, ComputeCapability { major, minor })
}

/// Whether a kernel was compiled from the sources of this program: one from others may expect other
/// parameters, and would read whatever lies there.
fn is_current(pack: &Pack, place: usize, instance: &Instance) -> bool {
    let (code, capability) = target(pack.header());
    let current = source_hash(code, instance, capability);
    let is_current = pack.kernels().nth(place).is_some_and(|one| one.source_hash == current);
    if !is_current {
        tracing::warn!(%instance, "a kernel of a pack is left out: it was compiled from other sources");
    }
    is_current
}

fn decode(name: String, bytes: Cow<'static, [u8]>) -> Option<(String, Pack)> {
    match Pack::decode(bytes, &name) {
        Ok(pack) => Some((name, pack)),
        Err(error) => {
            tracing::warn!(%error, "a kernel pack is left out");
            None
        }
    }
}

/// The pack of the device's architecture, else the latest earlier one of its major version, else
/// PTX.
fn best_embedded(
    files: &[voxtune_caches::EmbeddedFile],
    capability: ComputeCapability,
) -> Option<(String, Pack)> {
    let decoded = files.iter().filter_map(|file| decode(file.name.to_owned(), file.bytes.into()));
    decoded
        .filter_map(|named| Some((fit(named.1.header(), capability)?, named)))
        .max_by_key(|(fit, _)| *fit)
        .map(|(_, named)| named)
}

/// How well a pack's code fits a device, the greatest best; `None` if the device does not run it.
/// Machine code runs on its own major version from its minor one on; PTX on everything later.
fn fit(header: &Header, capability: ComputeCapability) -> Option<(bool, u8, u8)> {
    let (major, minor) = header.capability;
    let runs = if header.is_ptx() {
        (major, minor) <= (capability.major, capability.minor)
    } else {
        major == capability.major && minor <= capability.minor
    };
    runs.then_some((!header.is_ptx(), major, minor))
}

#[cfg(test)]
mod tests {
    use voxtune_pack::{Kernel, encode};

    use super::*;

    fn header(target: &str, capability: (u8, u8)) -> Header {
        Header {
            target: target.to_owned(),
            capability,
            cuda_version: 13_000,
            minimum_driver: 13_000,
            compiler: 0,
            decisions: None,
            pruned: 0,
        }
    }

    /// An unknown minor version takes its major version's cubins, a newer major one PTX, an older
    /// device nothing.
    #[test]
    fn every_device_gets_the_best_code_that_it_runs() {
        let headers = [
            header("sm_80", (8, 0)),
            header("sm_86", (8, 6)),
            header("sm_90", (9, 0)),
            header("sm_100", (10, 0)),
            header(voxtune_pack::PTX, (8, 0)),
        ];
        for ((major, minor), expected) in [
            ((8, 0), Some("sm_80")),
            ((8, 6), Some("sm_86")),
            ((8, 7), Some("sm_86")),
            ((9, 0), Some("sm_90")),
            ((10, 3), Some("sm_100")),
            ((11, 0), Some("ptx")),
            ((13, 0), Some("ptx")),
            ((7, 5), None),
        ] {
            let capability = ComputeCapability { major, minor };
            let best = headers
                .iter()
                .filter_map(|header| Some((fit(header, capability)?, header)))
                .max_by_key(|(fit, _)| *fit)
                .map(|(_, header)| header.target.as_str());
            assert_eq!(best, expected, "{major}.{minor}");
        }
    }

    /// What a first layer needs is in every pack that ships, and is what its hash says.
    #[test]
    fn embedded_packs_hold_maps_and_defaults() {
        for file in voxtune_caches::PACKS {
            let (_, pack) = decode(file.name.to_owned(), file.bytes.into()).unwrap();
            let (major, minor) = pack.header().capability;
            let packs = Packs { packs: vec![(file.name.to_owned(), pack)] };
            let map = packs.get(&Instance::kernel_map()).unwrap().unwrap();
            assert!(map.runs_on(ComputeCapability { major, minor }), "{}", file.name);
            for operation in operations() {
                let fallback = voxtune_cuda::fallback_algorithm().instance(&operation).unwrap();
                let found = packs.get(&fallback).unwrap();
                assert!(found.is_some(), "{}: {operation}", file.name);
            }
        }
    }

    fn operations() -> Vec<voxtune_types::Operation> {
        use voxtune_types::{DType, Direction, KernelSize, Operation};
        let mut operations = Vec::new();
        for direction in Direction::ALL {
            for dtype in DType::ALL {
                for (extent, c_in, c_out) in [(1, 1, 1), (3, 33, 7), (3, 64, 128), (5, 12, 6)] {
                    let kernel = KernelSize::submanifold(extent).unwrap();
                    let operation = Operation::submanifold(direction, dtype, c_in, c_out, kernel);
                    operations.push(operation);
                }
            }
        }
        operations
    }

    #[test]
    fn packs_for_other_devices_or_of_nothing_are_left_out() {
        let capability = ComputeCapability { major: 7, minor: 5 };
        let given = vec![("broken".to_owned(), Cow::Borrowed(&b"voxtune kernels\n"[..]))];
        let packs = Packs::new(given, true, capability);
        assert!(packs.is_empty() && !packs.has(&Instance::kernel_map()));
        assert_eq!(packs.names(), "no pack of this program");
    }

    #[test]
    fn kernels_of_other_sources_are_left_out() {
        let capability = ComputeCapability { major: 8, minor: 0 };
        let kernel = |instance: &Instance, change: u64| {
            let defines = instance.defines.iter();
            let kernel = Kernel {
                source: instance.source.to_owned(),
                defines: defines.map(|(name, value)| ((*name).to_owned(), *value)).collect(),
                hopper: instance.hopper,
                source_hash: source_hash(Code::Cubin, instance, capability) ^ change,
                kernel_hash: 0,
            };
            (kernel, vec![1])
        };
        let (map, probe) = (Instance::kernel_map(), Instance::probe());
        let bytes = encode(&header("sm_80", (8, 0)), &[kernel(&map, 1), kernel(&probe, 0)]);
        let given = vec![("own".to_owned(), Cow::Owned(bytes.unwrap()))];
        let packs = Packs::new(given, false, capability);
        assert!(!packs.has(&map) && packs.has(&probe));
    }
}
