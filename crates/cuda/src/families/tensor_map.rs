//! Descriptions of tensors for Hopper's Tensor Memory Accelerator (TMA).

use std::ffi::c_void;

use crate::binding::driver::sys;
use voxtune_types::{DType, Operation};

use crate::device::CudaDevice;
use crate::error::{DriverContext as _, Result};

/// Extents of the boxes that an instance copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WeightsBox {
    /// Elements along `c_out`: 64, 32 or 16, which is also the swizzle.
    pub(super) width: u32,
    /// Lines along `c_in`.
    pub(super) lines: u32,
}

/// `TensorMap` of the kernels.
#[repr(transparent)]
pub(super) struct TensorMap(sys::CUtensorMap);

impl TensorMap {
    /// A map that nothing may be copied by: for launches whose operands the TMA cannot
    /// take.
    pub(super) const fn none() -> Self {
        Self(sys::CUtensorMap { opaque: [0; 16] })
    }

    /// Weights of 16 bits, `(volume, c_in, c_out)`, at an address aligned to 16 bytes; `c_out` is a
    /// multiple of eight.
    ///
    /// # Errors
    /// If the driver refuses.
    pub(super) fn weights(
        device: &CudaDevice,
        op: &Operation,
        address: u64,
        of: WeightsBox,
    ) -> Result<Self> {
        use sys::CUtensorMapSwizzle as Swizzle;
        device.bind()?;
        let data_type = match op.dtype {
            DType::BFloat16 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
            _ => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
        };
        let swizzle = match of.width {
            64 => Swizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            32 => Swizzle::CU_TENSOR_MAP_SWIZZLE_64B,
            _ => Swizzle::CU_TENSOR_MAP_SWIZZLE_32B,
        };
        let (c_in, c_out) = (u64::from(op.c_in), u64::from(op.c_out));
        let extents = [c_out, c_in, op.kernel.volume() as u64];
        let strides_bytes = [c_out * 2, c_in * c_out * 2];
        let box_extents = [of.width, of.lines, 1];
        let steps = [1_u32; 3];
        let mut map = Self::none();
        // SAFETY: every array has the three (two, for strides) entries that a tensor of three
        // dimensions needs and outlives the call, which only reads them and writes `map`. The
        // address is only noted.
        unsafe {
            sys::cuTensorMapEncodeTiled(
                &raw mut map.0,
                data_type,
                extents.len() as u32,
                address as *mut c_void,
                extents.as_ptr(),
                strides_bytes.as_ptr(),
                box_extents.as_ptr(),
                steps.as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                swizzle,
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        }
        .result()
        .during("describing weights to the TMA")?;
        Ok(map)
    }
}
