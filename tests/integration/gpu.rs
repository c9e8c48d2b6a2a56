//! What needs a CUDA device.

use voxtune::{Device, DeviceChoice};

use crate::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.gpu_test("gpu::the_first_device_opens", the_first_device_opens);
}

fn the_first_device_opens() {
    let (device, _) = Device::open(DeviceChoice::Cuda(0)).unwrap();
    assert!(device.identity().arch.is_cuda());
    assert!(device.identity().units > 0);
}
