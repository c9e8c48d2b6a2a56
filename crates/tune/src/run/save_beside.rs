//! Saves results in a folder beside, if they cannot be saved in the cache's own.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use voxtune_cache::{CacheDir, Evidence, InvalidRecord};
use voxtune_types::Arch;

use crate::evidence::commit::commit;
use crate::run::worker_message::ConfigurationResult;

/// Folders beside a cache at most; then the user has to look at them.
const MOST: u32 = 1000;

/// Saves results in a new folder inside that of the caches, `unsaved-1` or the next number, for
/// `merge`. `None` without results, or if that fails too.
pub(crate) fn save_beside(
    cache: &CacheDir,
    arch: Arch,
    unsaved: &[(ConfigurationResult, Instant)],
) -> Option<PathBuf> {
    let measured = || unsaved.iter().flat_map(|(one, _)| &one.measured);
    measured().next()?;
    let folder = (1..=MOST)
        .map(|number| cache.path().join(format!("unsaved-{number}")))
        .find(|folder| fs::create_dir(folder).is_ok())?;
    let change = |evidence: &mut Evidence| -> Result<(), InvalidRecord> {
        measured().try_for_each(|measured| commit(evidence, measured).map(drop))
    };
    // The folder is new, so its lock is free.
    match CacheDir::new(&folder).update(arch, Duration::ZERO, change) {
        Ok(update) if update.value.is_ok() => Some(folder),
        _ => {
            // A partial folder is of no use.
            _ = fs::remove_dir_all(&folder);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::entry::Measured;
    use crate::evidence::phase_times::PhaseTimes;
    use crate::run::event::Outcome;
    use crate::testing::{entry, record};

    fn unsaved() -> [(ConfigurationResult, Instant); 1] {
        let measured = Measured {
            entry: entry(),
            records: vec![record("a", 1, 1000)],
            rounds: Vec::new(),
            confirmed: None,
            spent: PhaseTimes::default(),
            compiling: None,
        };
        let (spent, outcome) = (PhaseTimes::default(), Outcome::Measured);
        let measured = vec![measured];
        [(ConfigurationResult { index: 0, outcome, measured, spent }, Instant::now())]
    }

    #[test]
    fn f19_what_cannot_be_saved_lies_beside_and_merges() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, arch) = (CacheDir::new(folder.path()), entry().device.arch);
        assert_eq!(save_beside(&cache, arch, &[]), None);
        for name in ["unsaved-1", "unsaved-2"] {
            let beside = save_beside(&cache, arch, &unsaved()).unwrap();
            assert_eq!(beside, folder.path().join(name));
            let found = CacheDir::new(beside).read_evidence(arch).unwrap().unwrap();
            assert_eq!(found.len(), 1);
        }
        // It does not count as a cache of the folder itself.
        assert!(cache.archs().unwrap().is_empty());
    }

    #[test]
    fn f19_nothing_is_left_where_that_fails_too() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(save_beside(&CacheDir::new(file), entry().device.arch, &unsaved()), None);
        let cache = CacheDir::new(folder.path());
        assert_eq!(save_beside(&cache, Arch::sm(1, 2), &unsaved()), None);
        assert!(!folder.path().join("unsaved-1").exists());
    }
}
