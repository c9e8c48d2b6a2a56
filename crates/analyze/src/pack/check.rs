//! Whether a pack was made from these sources, these decisions and what was learned beside them.

use std::path::{Path, PathBuf};

use voxtune_cache::decode_decisions;
use voxtune_cuda::source_hash;
use voxtune_pack::Pack;
use xxhash_rust::xxh3::xxh3_64;

use super::contents::{Contents, Role};
use super::is_packed;
use super::target::Target;
use crate::audit::Finding;
use crate::fit::read_model;

/// What is wrong with the pack of a target in a folder. One that is not there is missed beside
/// decisions and other packs. No compiler is needed.
#[must_use]
pub fn check(folder: &Path, target: Target) -> Option<Finding> {
    let path = folder.join(target.file_name());
    let reason = match voxtune_files::read(&path) {
        Ok(bytes) => defect(folder, target, bytes)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // A folder with packs ships; one without holds measurements alone.
            let ships = Target::ALL.iter().any(|one| folder.join(one.file_name()).exists());
            let decided = decision_file(folder, target).is_some_and(|file| file.exists());
            (ships && decided).then(|| "there are decisions, and no kernels for them".to_owned())?
        }
        Err(error) => format!("cannot be read: {error}"),
    };
    let path = path.display().to_string();
    Some(Finding::Pack { path, reason, target: target.to_string() })
}

fn decision_file(folder: &Path, target: Target) -> Option<PathBuf> {
    Some(folder.join(format!("{}.msgpack", target.arch()?)))
}

fn defect(folder: &Path, target: Target, bytes: Vec<u8>) -> Option<String> {
    let name = target.file_name();
    let pack = match Pack::decode(bytes, &name) {
        Ok(pack) => pack,
        Err(error) => return Some(error.to_string()),
    };
    let header = pack.header();
    let capability = target.capability();
    if header.target != target.to_string() {
        return Some(format!("it holds kernels of {}", header.target));
    }
    if header.capability != (capability.major, capability.minor) {
        return Some("its kernels are for another compute capability".to_owned());
    }
    let decisions = decision_file(folder, target)
        .and_then(|file| Some((voxtune_files::read(&file).ok()?, file)));
    if header.decisions != decisions.as_ref().map(|(bytes, _)| xxh3_64(bytes)) {
        return Some("it was not made from the decisions beside it".to_owned());
    }
    // Unreadable decisions are found by the audit of that file.
    let decisions = decisions.and_then(|(bytes, path)| decode_decisions(&bytes, path).ok());
    // An unreadable model is found by the audit of that file, too.
    let learned = target.arch().and_then(|arch| read_model(folder, arch).ok().flatten());
    let contents = Contents::of(target, decisions.as_ref(), learned.as_ref());
    let packed = |(instance, _): &(&_, &Role)| is_packed(&pack, instance);
    let lacking: Vec<_> = contents.instances.iter().filter(|one| !packed(one)).collect();
    if let Some((instance, _)) = lacking.iter().find(|(_, role)| **role != Role::Choice) {
        return Some(format!("it lacks {instance}"));
    }
    if lacking.len() != header.pruned as usize {
        return Some(format!(
            "it lacks {} kernels that were chosen, and {} were left out by --prune",
            lacking.len(),
            header.pruned
        ));
    }
    let current = contents.instances.keys().filter_map(|instance| {
        let place = pack.find(instance.source, &instance.defines, instance.hopper)?;
        Some((instance, pack.kernels().nth(place)?))
    });
    let (mut known, mut stale) = (0, None);
    for (instance, kernel) in current {
        known += 1;
        if kernel.source_hash != source_hash(target.code(), instance, capability) {
            stale = stale.or(Some(instance));
        }
    }
    if let Some(instance) = stale {
        return Some(format!("{instance} was compiled from other sources"));
    }
    if known != pack.kernels().len() {
        return Some("it holds kernels that nothing asks for".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use voxtune_cuda::Instance;
    use voxtune_pack::{Header, Kernel, encode};

    use super::*;

    /// A pack of today's sources, with made-up code.
    fn pack(target: Target, change: impl Fn(&Instance, &mut Kernel) -> bool) -> Vec<u8> {
        let capability = target.capability();
        let header = Header {
            target: target.to_string(),
            capability: (capability.major, capability.minor),
            cuda_version: 13_000,
            minimum_driver: 13_000,
            compiler: 0,
            decisions: None,
            pruned: 0,
        };
        let mut kernels = Vec::new();
        for instance in Contents::of(target, None, None).instances.keys() {
            let mut kernel = Kernel {
                source: instance.source.to_owned(),
                defines: instance.defines.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect(),
                hopper: instance.hopper,
                source_hash: source_hash(target.code(), instance, capability),
                kernel_hash: 0,
            };
            if change(instance, &mut kernel) {
                kernels.push((kernel, vec![1]));
            }
        }
        encode(&header, &kernels).unwrap()
    }

    fn reason(target: Target, bytes: &[u8], decisions: bool) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(target.file_name()), bytes).unwrap();
        if decisions {
            std::fs::write(folder.path().join(format!("{target}.msgpack")), b"other").unwrap();
        }
        let finding = check(folder.path(), target)?;
        let text = finding.to_string();
        assert!(text.contains(&format!("voxtune pack --arch {target}")), "{text}");
        Some(text)
    }

    #[test]
    fn only_a_pack_of_these_sources_passes() {
        for target in ["sm_80", "ptx"].map(|text| text.parse().unwrap()) {
            let sound = pack(target, |_, _| true);
            assert_eq!(reason(target, &sound, false), None);
            let stale = pack(target, |instance, kernel| {
                kernel.source_hash ^= u64::from(*instance == Instance::probe());
                true
            });
            let text = reason(target, &stale, false).unwrap();
            assert!(text.contains("probe was compiled from other sources"), "{text}");
            let lacking = pack(target, |instance, _| *instance != Instance::kernel_map());
            assert!(reason(target, &lacking, false).unwrap().contains("lacks kernel_map"));
            assert!(reason(target, &sound[..100], false).unwrap().contains("corrupt"));
        }
        let target = "sm_80".parse().unwrap();
        let text = reason(target, &pack(target, |_, _| true), true).unwrap();
        assert!(text.contains("not made from the decisions"), "{text}");
        let other = reason("sm_86".parse().unwrap(), &pack(target, |_, _| true), false).unwrap();
        assert!(other.contains("kernels of sm_80"), "{other}");
        assert_eq!(check(Path::new("no such folder"), target), None);
    }

    #[test]
    fn decisions_without_kernels_are_told_where_others_have_some() {
        let folder = tempfile::tempdir().unwrap();
        let (packed, decided) = ("sm_80".parse().unwrap(), "sm_90".parse().unwrap());
        std::fs::write(folder.path().join("sm_90.msgpack"), b"decisions").unwrap();
        assert_eq!(check(folder.path(), decided), None);
        std::fs::write(folder.path().join("sm_80.kernels"), pack(packed, |_, _| true)).unwrap();
        let text = check(folder.path(), decided).unwrap().to_string();
        assert!(text.contains("no kernels") && text.ends_with("`voxtune pack --arch sm_90`"));
        assert_eq!(check(folder.path(), packed), None);
    }
}
