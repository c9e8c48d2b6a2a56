//! Whether a candidate computes the right result.
//!
//! | file | holds |
//! |---|---|
//! | [`float64`] | compares every element with float64, on a part of the cloud |
//! | [`full_size`] | compares candidates with the verified default on the whole cloud |
//! | `tolerance` | the largest error that is rounding |
//! | [`context`] | what candidates are verified at |
//! | [`rejection`] | why a candidate may not compete |

pub mod context;
pub mod float64;
pub mod full_size;
pub mod rejection;
mod tolerance;
