//! Memory of others.

use std::fmt;
use std::sync::{Mutex, PoisonError};

/// What the owner of memory does when it is not needed any more. At most once, in whichever thread
/// it is dropped.
pub(crate) struct Release(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Release {
    fn new(run: impl FnOnce() + Send + 'static) -> Self {
        Self(Mutex::new(Some(Box::new(run))))
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        if let Some(run) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            run();
        }
    }
}

impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Release").finish_non_exhaustive()
    }
}

/// Memory of a device that another library owns, to make a buffer of without a copy.
#[derive(Debug)]
pub struct ForeignMemory {
    pub(crate) address: u64,
    pub(crate) len_bytes: usize,
    /// None of borrowed memory.
    pub(crate) release: Option<Release>,
}

impl ForeignMemory {
    /// Memory whose owner is told when it is not needed any more, as the deleter of a DLPack tensor
    /// is. `release` runs once, in whichever thread drops the last of it, after the device has done
    /// what it was used for: dropping waits for that.
    ///
    /// # Units
    /// Bytes.
    ///
    /// # Safety
    /// The address is that of as many bytes of a device's memory, valid until `release` runs. Until
    /// then others write to them only before the work that is queued here, or behind it.
    pub unsafe fn new(
        address: u64,
        len_bytes: usize,
        release: impl FnOnce() + Send + 'static,
    ) -> Self {
        Self { address, len_bytes, release: Some(Release::new(release)) }
    }

    /// Memory that outlives its use. Dropping it does nothing, and waits for nothing.
    ///
    /// # Units
    /// Bytes.
    ///
    /// # Safety
    /// The address is that of as many bytes of a device's memory. They are valid until the device
    /// has done what they are used for, which may be later than the drop. Others write to them only
    /// before the work that is queued here, or behind it.
    #[must_use]
    pub const unsafe fn borrowed(address: u64, len_bytes: usize) -> Self {
        Self { address, len_bytes, release: None }
    }

    /// Its address on the device.
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// Its length.
    ///
    /// # Units
    /// Bytes.
    #[must_use]
    pub const fn len_bytes(&self) -> usize {
        self.len_bytes
    }
}
