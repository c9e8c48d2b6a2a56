//! What the model of cost has learned of an architecture, as it ships.

use std::sync::LazyLock;

use voxtune_cuda::model::LearnedModel;
use voxtune_types::{Arch, ComputeCapability};

/// What was learned of the GPUs of a compute capability. `None` where nothing was, or the file that
/// says it cannot be read, which is logged.
pub(crate) fn learned(capability: ComputeCapability) -> Option<&'static LearnedModel> {
    static ALL: LazyLock<Vec<(String, LearnedModel)>> = LazyLock::new(|| {
        let sound = voxtune_caches::MODELS.iter().filter_map(|file| {
            let model = LearnedModel::decode(file.bytes, file.name)
                .inspect_err(|error| tracing::warn!(%error, "a model of cost is left out"));
            Some((file.name.to_owned(), model.ok()?))
        });
        sound.collect()
    });
    let name = format!("{}.model", Arch::Cuda(capability));
    ALL.iter().find(|(of, _)| *of == name).map(|(_, model)| model)
}
