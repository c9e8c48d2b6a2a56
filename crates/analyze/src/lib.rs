//! What follows from stored results, without measuring anything.
//!
//! | question | module |
//! |---|---|
//! | can stored results be right, and are they still? | [`audit`] |
//! | how much slower is what runs than the best? | [`regret`] |
//! | what did races see? | [`samples`] |
//! | what does the model of cost learn of them? | [`fit`] |
//! | what does all of that look like? | [`report`] |
//! | which kernels does an architecture ship? | [`pack`] |
//!
//! No module opens a device. Races of the tuner are the input: [`samples`] turns a
//! [`voxtune_tune::evidence::entry::Measured`] into one race of a file, which the others read.
#![forbid(unsafe_code)]

pub mod audit;
pub mod distribution;
pub mod fit;
pub mod pack;
pub mod regret;
pub mod report;
pub mod samples;
#[cfg(test)]
mod testing;
