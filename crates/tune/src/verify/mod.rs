//! Whether a candidate computes the right result.
//!
//! | file | holds |
//! |---|---|
//! | [`float64`] | compares every element with float64, on a part of the cloud |
//! | [`full_size`] | compares candidates with the verified default on the whole cloud |
//! | [`problem`] | operands with the result that float64 gives |
//! | [`tolerance`] | the largest error that is rounding |
//! | [`rejection`] | why a candidate may not compete |

pub mod float64;
pub mod full_size;
pub mod problem;
pub mod rejection;
pub mod tolerance;
