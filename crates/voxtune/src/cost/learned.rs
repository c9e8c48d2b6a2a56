//! What the model of cost has learned of an architecture: of the user's own evidence, or as it
//! ships.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use voxtune_cache::read_file;
use voxtune_cuda::model::LearnedModel;
use voxtune_types::{Arch, ComputeCapability};

use crate::folder::{check_file, check_folder, user_folder};

/// What was learned of the GPUs of a compute capability: what the [user's folder](user_folder) says
/// at the first call of the process, else what ships. The folder counts as for decisions, if nobody
/// else can write to it. `None` where nothing was learned; a file that cannot be used is logged.
pub(crate) fn learned(capability: ComputeCapability) -> Option<&'static LearnedModel> {
    static OWN: Mutex<BTreeMap<String, Option<&'static LearnedModel>>> =
        Mutex::new(BTreeMap::new());
    let name = format!("{}.model", Arch::Cuda(capability));
    let own =
        *OWN.lock().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_insert_with(
            || {
                let variable = |name: &str| std::env::var_os(name);
                let own = own(&user_folder(variable).ok()?, &name)?;
                // Once for each architecture that a process has.
                Some(Box::leak(Box::new(own)))
            },
        );
    own.or_else(|| shipped(&name))
}

/// What ships, by the name of its file.
fn shipped(name: &str) -> Option<&'static LearnedModel> {
    static ALL: LazyLock<Vec<(String, LearnedModel)>> = LazyLock::new(|| {
        let sound = voxtune_caches::MODELS
            .iter()
            .filter_map(|file| Some((file.name.to_owned(), decoded(file.bytes, file.name)?)));
        sound.collect()
    });
    ALL.iter().find(|(of, _)| of == name).map(|(_, model)| model)
}

/// The file of a folder, if it is there, sound, and the user's own.
fn own(folder: &Path, name: &str) -> Option<LearnedModel> {
    let path = folder.join(name);
    let bytes = used(read_file(&path))??;
    used(check_folder(folder).and_then(|()| check_file(&path)))?;
    decoded(&bytes, &path.to_string_lossy())
}

fn decoded(bytes: &[u8], name: &str) -> Option<LearnedModel> {
    used(LearnedModel::decode(bytes, name))
}

/// What there is, or a warning why it is not used.
fn used<T, E: Display>(found: Result<T, E>) -> Option<T> {
    found.inspect_err(|error| tracing::warn!(%error, "a model of cost is left out")).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_users_model_counts_if_it_is_sound_and_the_users_own() {
        let folder = tempfile::tempdir().unwrap();
        let name = "sm_90.model";
        let file = voxtune_caches::MODELS.iter().find(|file| file.name == name).unwrap();
        assert!(own(folder.path(), name).is_none());
        let path = folder.path().join(name);
        fs::write(&path, file.bytes).unwrap();
        assert_eq!(own(folder.path(), name).as_ref(), shipped(name));
        assert!(own(folder.path(), "sm_80.model").is_none());
        let mut damaged = file.bytes.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        fs::write(&path, damaged).unwrap();
        assert!(own(folder.path(), name).is_none());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::write(&path, file.bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
            assert!(own(folder.path(), name).is_none());
        }
    }
}
