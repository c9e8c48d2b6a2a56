//! Where an example runs.

use voxtune::{Device, DeviceChoice};

use super::outcome::Anything;

/// The device that is asked for; says which one it is, and why it is no GPU where that is so.
///
/// # Errors
/// If a demanded device does not exist or cannot be used.
pub(crate) fn open(choice: DeviceChoice) -> Result<Device, Anything> {
    let (device, note) = Device::open(choice)?;
    if let Some(note) = note {
        println!("{:<12}{note}", "note");
    }
    println!("{:<12}{}", "device", device.identity());
    Ok(device)
}
