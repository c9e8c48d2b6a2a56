//! What the integration tests and the programs that they start have in common.
#![deny(unsafe_code)]

mod astray;
pub mod faulty;
