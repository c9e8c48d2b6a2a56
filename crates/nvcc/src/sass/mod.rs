//! Machine code in nvdisasm's words, and what it must not do.
//!
//! A `wgmma` reads and writes registers after it was issued, until a wait retires its group. nvcc
//! does not always keep other instructions off these registers, and says nothing when it does not:
//! results are wrong then. [`hazards`] finds such instructions without a GPU.
//!
//! | file | what it holds |
//! |---|---|
//! | `listing.rs` | instructions with the registers that each reads and writes |
//! | `flow.rs` | which instructions may follow one |
//! | `hazard.rs` | products in flight at each instruction, and who touches their registers |

mod flow;
mod hazard;
mod listing;
mod registers;
#[cfg(test)]
mod tests;

pub(crate) use hazard::{Hazard, hazards};

/// The arguments of nvdisasm whose output is read here: code with the life range of each register.
pub(crate) const NVDISASM_ARGS: [&str; 4] =
    ["--print-code", "--print-life-ranges", "--life-range-mode", "narrow"];
