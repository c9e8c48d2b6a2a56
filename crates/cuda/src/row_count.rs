//! How many rows a kernel works on.

use crate::buffer::DeviceBuffer;

/// `RowCount` of the kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowCount {
    /// Address of the count in device memory; zero where the host knows it.
    counted: u64,
    /// What launches and buffers are sized by.
    capacity: i32,
}

impl RowCount {
    /// So many rows, or at most so many where device memory says how many.
    pub(crate) fn new(capacity: usize, counted: Option<&DeviceBuffer>) -> Self {
        let counted = counted.map_or(0, |counted| counted.as_ref().address());
        Self { counted, capacity: capacity as i32 }
    }

    /// The capacity, which is the count where the host knows it.
    pub(crate) const fn capacity(self) -> usize {
        self.capacity as usize
    }
}
