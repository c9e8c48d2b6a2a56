//! A whole run: one coordinator, and a worker loop for each device.
//!
//! | file | holds |
//! |---|---|
//! | [`populate`] | what a run needs, and what ends it |
//! | [`coordinator`] | the one that writes files and tells of progress |
//! | `worker_loop` | one device: takes a configuration, measures it, reports |
//! | `worker_message` | messages from a worker loop to the coordinator |
//! | `retry` | one entry, measured again after each candidate that took its process down |
//! | [`device_pool`] | the GPUs of one host |
//! | `queue` | which configuration is next |
//! | `write_buffer` | results that wait to be written |
//! | `save_beside` | results that cannot be written where they belong |
//! | `eta` | the time that is left |
//! | `pace` | how long pieces of work take, by those that are done |
//! | [`event`] | what a run tells who watches it |
//! | [`on_miss`] | one key, measured while a program runs |

pub mod coordinator;
pub mod device_pool;
mod eta;
pub mod event;
pub mod on_miss;
mod pace;
pub mod populate;
mod queue;
mod retry;
mod save_beside;
mod worker_loop;
mod worker_message;
mod write_buffer;
