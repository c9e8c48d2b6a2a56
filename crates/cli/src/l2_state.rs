//! `--warm`: what a GPU's cache holds when a sample begins.

use voxtune::L2State;

use crate::output;

/// The state that is asked for; says so where it makes no difference.
pub(crate) fn l2_state(warm: bool, on_gpu: bool) -> L2State {
    if warm && !on_gpu {
        output::status("Note", "--warm changes nothing on a CPU, whose caches are never emptied");
    }
    if warm { L2State::Hot } else { L2State::Cold }
}
