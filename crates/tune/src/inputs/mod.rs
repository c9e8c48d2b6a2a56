//! What a candidate runs on: clouds, kernel maps and operands; and who is told that it runs.

pub mod candidate;
pub mod monitor;
pub mod operands;
