//! One entry, one configuration, one device: verification and race put together.

mod device_sampler;
pub mod entry;
pub mod estimate;
pub mod session;
pub mod throttle;
