//! Devices: which there are, and what they are.

use std::fmt;
use std::sync::Arc;

use crate::binding;
use crate::binding::driver::sys::{self, CUdevice_attribute as Attribute};
use crate::binding::driver::{CudaContext, result};
use voxtune_types::{Arch, ComputeCapability, DeviceIdentity};

use crate::error::{CudaError, DriverContext as _, Result};
use crate::execution::Tally;
use crate::library;

/// The driver interface that every call here exists in.
const NEEDED_DRIVER: i32 = 13_000;
/// Freed memory that is kept for the next allocation: the tables of some four million voxels.
const KEPT_BYTES: u64 = 1 << 30;

/// What all contexts of a device share.
pub(crate) struct Gpu {
    pub(crate) context: Arc<CudaContext>,
    pub(crate) identity: DeviceIdentity,
    pub(crate) capability: ComputeCapability,
    pub(crate) driver_version: i32,
    pub(crate) l2_bytes: usize,
    pub(crate) shared_bytes_a_block: usize,
    /// What is taken of its memory.
    pub(crate) tally: Arc<Tally>,
}

impl Gpu {
    /// Opens a device.
    ///
    /// # Errors
    /// Those of [`CudaDevice::open`](crate::CudaDevice::open).
    pub(crate) fn open(ordinal: usize) -> Result<Self> {
        let existing = devices()?;
        if ordinal >= existing.len() {
            let found = existing.into_iter().map(|device| device.name).collect();
            return Err(CudaError::NoDevice { ordinal, found });
        }
        let (identity, capability) = describe(ordinal)?;
        check_arch(&identity)?;
        let driver_version = driver_version()?;
        if driver_version < NEEDED_DRIVER {
            return Err(CudaError::DriverTooOld { found: driver_version, needed: NEEDED_DRIVER });
        }
        let context = CudaContext::new(ordinal).during("creating a context")?;
        // SAFETY: nothing here is a slice of cudarc's. A context's work goes to its one stream, in
        // order, and buffers know which other streams read them.
        unsafe { context.disable_event_tracking() };
        keep_freed_memory(ordinal)?;
        let ask =
            |attribute| context.attribute(attribute).during("asking for a device's attribute");
        let l2_bytes = ask(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)? as usize;
        let shared_bytes_a_block =
            ask(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)? as usize;
        Ok(Self {
            context,
            identity,
            capability,
            driver_version,
            l2_bytes,
            shared_bytes_a_block,
            tally: Arc::default(),
        })
    }

    /// Memory as it is now.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let (free_bytes, total_bytes) =
            self.context.mem_get_info().during("asking for free memory")?;
        let free_bytes = free_bytes + kept_bytes(self.context.ordinal())?;
        Ok(Memory { free_bytes, total_bytes })
    }

    /// Makes the device current in this thread.
    pub(crate) fn bind(&self) -> Result<()> {
        self.context.bind_to_thread().during("making the device current")
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gpu({})", self.identity)
    }
}

/// Free and total memory of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that could be allocated now.
    pub free_bytes: usize,
    /// Bytes in all.
    pub total_bytes: usize,
}

/// The devices of this machine, by ordinal. Empty where the driver sees none.
///
/// # Errors
/// [`CudaError::NoDriver`] without a driver.
pub fn devices() -> Result<Vec<DeviceIdentity>> {
    initialise()?;
    (0..count()?).map(|ordinal| describe(ordinal).map(|(identity, _)| identity)).collect()
}

/// Loads the driver, which cudarc would do with a panic where there is none.
fn initialise() -> Result<()> {
    if !binding::IS_BUILT {
        return Err(CudaError::NotBuilt);
    }
    if !library::is_present(library::DRIVER) {
        return Err(CudaError::NoDriver);
    }
    match result::init() {
        // A driver without a device says so here already; the count then is zero.
        Err(error) if error.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE => Ok(()),
        other => other.during("starting the driver"),
    }
}

fn count() -> Result<usize> {
    match result::device::get_count() {
        Ok(count) => Ok(usize::try_from(count).unwrap_or(0)),
        Err(error)
            if matches!(
                error.0,
                sys::CUresult::CUDA_ERROR_NO_DEVICE | sys::CUresult::CUDA_ERROR_NOT_INITIALIZED
            ) =>
        {
            Ok(0)
        }
        Err(error) => Err(error).during("counting devices"),
    }
}

fn driver_version() -> Result<i32> {
    let mut version = 0;
    // SAFETY: the driver is loaded and writes one int.
    unsafe { sys::cuDriverGetVersion(&mut version) }
        .result()
        .during("asking for the driver's version")?;
    Ok(version)
}

fn describe(ordinal: usize) -> Result<(DeviceIdentity, ComputeCapability)> {
    let device = result::device::get(ordinal as i32).during("opening a device")?;
    let name = result::device::get_name(device).during("asking for a device's name")?;
    let ask = |attribute| {
        // SAFETY: `device` was just obtained.
        unsafe { result::device::get_attribute(device, attribute) }
            .during("asking for a device's attribute")
    };
    let capability = ComputeCapability {
        major: ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)? as u8,
        minor: ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)? as u8,
    };
    let units = ask(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)? as u32;
    Ok((DeviceIdentity { arch: Arch::Cuda(capability), name, units }, capability))
}

/// Refuses a device that no kernel runs on, before anything is compiled for it.
fn check_arch(identity: &DeviceIdentity) -> Result<()> {
    let unsupported = |source| CudaError::UnsupportedArch { name: identity.name.clone(), source };
    identity.arch.supported().map(|_| ()).map_err(unsupported)
}

/// Lets the driver's pool keep memory that was freed. By default it is returned to the system
/// whenever someone waits for the device, and the next allocation takes as long as a kernel map.
fn keep_freed_memory(ordinal: usize) -> Result<()> {
    let mut threshold_bytes = KEPT_BYTES;
    let device = result::device::get(ordinal as i32).during("opening a device")?;
    // SAFETY: the device is there, so it has a pool; the attribute is a u64.
    unsafe {
        result::mem_pool::set_attribute(
            result::device::get_default_mem_pool(device).during("finding the memory pool")?,
            sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            (&raw mut threshold_bytes).cast(),
        )
    }
    .during("keeping freed memory")
}

/// Memory that the driver's pool has and that is free. An allocation can take it.
fn kept_bytes(ordinal: usize) -> Result<usize> {
    let device = result::device::get(ordinal as i32).during("opening a device")?;
    let ask = |attribute| {
        let mut bytes = 0_u64;
        // SAFETY: the device is there, so it has a pool; both attributes are a u64.
        unsafe {
            result::mem_pool::get_attribute(
                result::device::get_default_mem_pool(device).during("finding the memory pool")?,
                attribute,
                (&raw mut bytes).cast(),
            )
        }
        .during("asking for the memory pool's size")?;
        Ok(bytes as usize)
    };
    let reserved = ask(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
    let used = ask(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
    Ok(reserved.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f15_a_device_below_the_least_is_refused_by_name() {
        let device = |arch| DeviceIdentity { arch, name: "Tesla V100".to_owned(), units: 80 };
        assert!(check_arch(&device(Arch::sm(8, 0))).is_ok());
        let error = check_arch(&device(Arch::sm(7, 0))).unwrap_err().to_string();
        for part in ["Tesla V100", "sm_70", "sm_80"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
