//! Verifies and races the candidates of an entry on one device.
//!
//! | file | holds |
//! |---|---|
//! | [`session`] | the device at work on a job: prepares configurations, measures entries |
//! | [`candidate_set`] | which candidates are measured, and the default to compare with |
//! | [`entry`] | one entry: verify, race, records |
//! | `charges` | what candidates are charged for what they read beyond the map |
//! | `device_sampler` | timed runs on the device, for a race |
//! | [`throttle`] | repeats samples that a lowered clock or a late host disturbed |
//! | [`estimate`] | time and memory of a job before it starts |
//! | `calibrate` | the speed of the device |

mod calibrate;
pub mod candidate_set;
mod charges;
mod device_sampler;
pub mod entry;
pub mod estimate;
pub mod session;
pub mod throttle;
