//! Devices: which there are, what they are, and the stream that their work goes to.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};
use cudarc::driver::{CudaContext, CudaStream, result};
use voxtune_types::{Arch, ComputeCapability, DeviceIdentity};

use crate::error::{CudaError, DriverContext as _, Result};
use crate::instance::Instance;
use crate::library;
use crate::module::Module;

/// The driver interface that every call here exists in.
const NEEDED_DRIVER: i32 = 13_000;
/// Freed memory that is kept for the next allocation: the tables of some four million voxels.
const KEPT_BYTES: u64 = 1 << 30;

/// An open device with one stream. Clones share both.
#[derive(Clone)]
pub struct CudaDevice {
    inner: Arc<Inner>,
}

struct Inner {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    identity: DeviceIdentity,
    capability: ComputeCapability,
    driver_version: i32,
    l2_bytes: usize,
    shared_bytes_a_block: usize,
    modules: Mutex<Modules>,
    has_captured: AtomicBool,
    waits: AtomicU64,
}

/// Cubins that somebody holds, by instance and machine code.
pub(crate) type Modules = HashMap<(Instance, u64), Weak<Module>>;

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

/// Memory that the driver's pool has and nobody uses. An allocation can take it.
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

impl CudaDevice {
    /// Opens a device and makes a stream on it.
    ///
    /// # Errors
    /// [`CudaError::NoDriver`], [`CudaError::NoDevice`] with the devices that exist,
    /// [`CudaError::UnsupportedArch`], [`CudaError::DriverTooOld`].
    pub fn open(ordinal: usize) -> Result<Self> {
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
        // SAFETY: buffers of this crate carry no events; all of a device's work goes to its one
        // stream, in order.
        unsafe { context.disable_event_tracking() };
        keep_freed_memory(ordinal)?;
        let stream = context.new_stream().during("creating a stream")?;
        let ask =
            |attribute| context.attribute(attribute).during("asking for a device's attribute");
        let l2_bytes = ask(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)? as usize;
        let shared_bytes_a_block =
            ask(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)? as usize;
        Ok(Self {
            inner: Arc::new(Inner {
                context,
                stream,
                identity,
                capability,
                driver_version,
                l2_bytes,
                shared_bytes_a_block,
                modules: Mutex::default(),
                has_captured: AtomicBool::new(false),
                waits: AtomicU64::new(0),
            }),
        })
    }

    /// What measurements on this device are valid for.
    #[must_use]
    pub fn identity(&self) -> &DeviceIdentity {
        &self.inner.identity
    }

    /// The device's compute capability.
    #[must_use]
    pub fn capability(&self) -> ComputeCapability {
        self.inner.capability
    }

    /// The newest CUDA that the driver supports, as 1000 · major + 10 · minor.
    #[must_use]
    pub fn driver_version(&self) -> i32 {
        self.inner.driver_version
    }

    /// Size of the second-level cache.
    ///
    /// # Units
    /// Bytes.
    #[must_use]
    pub fn l2_bytes(&self) -> usize {
        self.inner.l2_bytes
    }

    /// Most shared memory that a block may have.
    ///
    /// # Units
    /// Bytes.
    #[must_use]
    pub fn shared_bytes_a_block(&self) -> usize {
        self.inner.shared_bytes_a_block
    }

    /// Memory as it is now.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn memory(&self) -> Result<Memory> {
        let (free_bytes, total_bytes) =
            self.inner.context.mem_get_info().during("asking for free memory")?;
        let free_bytes = free_bytes + kept_bytes(self.inner.context.ordinal())?;
        Ok(Memory { free_bytes, total_bytes })
    }

    /// Waits for all work of this device's stream, and reports what failed in it.
    ///
    /// # Errors
    /// If earlier work failed; the context is then unusable.
    pub fn synchronize(&self) -> Result<()> {
        self.waited();
        self.inner.stream.synchronize().during("waiting for the device")
    }

    /// How often the host has waited for the device: to know a count, to read a result, or because it
    /// was told to.
    #[must_use]
    pub fn waits(&self) -> u64 {
        self.inner.waits.load(Ordering::Relaxed)
    }

    /// Notes that the host waits.
    pub(crate) fn waited(&self) {
        self.inner.waits.fetch_add(1, Ordering::Relaxed);
    }

    /// cudarc's stream, for sharing with other users of cudarc.
    #[must_use]
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.inner.stream
    }

    /// Whether work queued now becomes part of a graph instead of running.
    ///
    /// # Errors
    /// Whatever the driver fails with.
    pub fn is_capturing(&self) -> Result<bool> {
        let status =
            self.inner.stream.capture_status().during("asking whether a graph is captured")?;
        Ok(status != sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE)
    }

    /// Whether a graph was captured at any time: graphs may then hold the addresses of buffers.
    #[must_use]
    pub fn has_captured(&self) -> bool {
        self.inner.has_captured.load(Ordering::Acquire)
    }

    pub(crate) fn mark_captured(&self) {
        self.inner.has_captured.store(true, Ordering::Release);
    }

    /// Makes the device current in this thread.
    pub(crate) fn bind(&self) -> Result<()> {
        self.inner.context.bind_to_thread().during("making the device current")
    }

    /// The cubins that are loaded.
    pub(crate) fn modules(&self) -> MutexGuard<'_, Modules> {
        self.inner.modules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The raw stream.
    pub(crate) fn raw_stream(&self) -> sys::CUstream {
        self.inner.stream.cu_stream()
    }
}

impl fmt::Debug for CudaDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CudaDevice({})", self.inner.identity)
    }
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
