//! The whole run: one coordinator, a worker loop for each device.

pub mod coordinator;
pub mod device_pool;
mod eta;
pub mod event;
pub mod on_miss;
mod queue;
mod retry;
mod worker_event;
mod worker_loop;
mod write_buffer;
