//! Kernel packs: which kernels an architecture ships, and the file of them.
//!
//! ```text
//! decisions ─> contents ─> prune ─> compile (nvcc, no GPU) ─> <arch>.kernels
//!                                                    check <─┘
//! ```
//!
//! What ships is what a run needs: the kernels that won, a default for every operation, and those
//! that build kernel maps. For channels that were not measured come those that a model of cost
//! finds to save most ([`unmeasured()`]). An architecture without measurements ships the choices of
//! a model of cost ([`modelled()`]), and its pack says so: it names no decisions.

pub mod check;
pub mod contents;
pub mod make;
pub mod modelled;
pub mod plan;
pub mod prune;
pub mod target;
pub mod unmeasured;

pub use check::check;
pub use contents::{Contents, Role};
pub use make::{Made, MakeError, make};
pub use modelled::{Modelled, modelled};
pub use plan::PackPlan;
pub use prune::{Pruned, prune};
pub use target::Target;
pub use unmeasured::unmeasured;

pub use voxtune_nvcc::Toolchain;

use voxtune_cuda::Instance;

/// The defines of an instance as packs look them up.
fn is_packed(pack: &voxtune_pack::Pack, instance: &Instance) -> bool {
    pack.find(instance.source, &instance.defines, instance.hopper).is_some()
}
