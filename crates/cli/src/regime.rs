//! `--warm`: what a GPU's cache holds when a sample begins.

use voxtune::CacheRegime;

use crate::output;

/// The regime that is asked for; says so where it makes no difference.
pub(crate) fn regime(warm: bool, on_gpu: bool) -> CacheRegime {
    if warm && !on_gpu {
        output::status("Note", "--warm changes nothing on a CPU, whose caches are never emptied");
    }
    if warm { CacheRegime::Warm } else { CacheRegime::Cold }
}
