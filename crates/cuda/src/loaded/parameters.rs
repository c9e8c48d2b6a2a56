//! Parameter sizes of a kernel, as the driver reports them.
//!
//! Host structures mirror those of the kernels field by field. Comparing sizes before each launch
//! turns a structure that has drifted, or code of another version, into an error instead of a
//! launch that reads garbage.

use std::ffi::c_void;
use std::sync::{Arc, OnceLock};

use crate::binding::driver::sys;

use crate::error::{CudaError, DriverContext as _, Result};

/// `cuFuncGetParamInfo`, which drivers have since CUDA 12.4.
type GetParamInfo =
    unsafe extern "C" fn(sys::CUfunction, usize, *mut usize, *mut usize) -> sys::CUresult;

/// Bytes of each parameter of a kernel, if the driver reports them.
#[derive(Clone, Debug)]
pub(crate) struct Parameters(Option<Arc<[usize]>>);

impl Parameters {
    /// Asks the driver.
    ///
    /// # Errors
    /// Whatever the driver fails with.
    pub(crate) fn of(function: sys::CUfunction) -> Result<Self> {
        let Some(ask) = get_param_info() else { return Ok(Self(None)) };
        let mut sizes = Vec::new();
        loop {
            let (mut offset, mut size) = (0, 0);
            // SAFETY: the function belongs to a loaded module; both results outlive the call. An
            // index past the last parameter is answered with an error.
            match unsafe { ask(function, sizes.len(), &raw mut offset, &raw mut size) } {
                sys::CUresult::CUDA_ERROR_INVALID_VALUE => return Ok(Self(Some(sizes.into()))),
                answer => answer.result().during("asking for a kernel's parameters")?,
            }
            sizes.push(size);
        }
    }

    /// Compares them with what a launch passes.
    ///
    /// # Errors
    /// [`CudaError::ParameterSize`] where they differ.
    pub(crate) fn expect(&self, kernel: &'static str, passed: &[usize]) -> Result<()> {
        match &self.0 {
            Some(sizes) if **sizes != *passed => Err(CudaError::ParameterSize {
                kernel,
                expected: passed.to_vec(),
                found: sizes.to_vec(),
            }),
            _ => Ok(()),
        }
    }
}

/// The driver's function, asked for by name: the bindings of an older toolkit do not list it.
fn get_param_info() -> Option<GetParamInfo> {
    /// The version of CUDA in which the function appeared.
    const SINCE: i32 = 12_040;
    static FOUND: OnceLock<Option<GetParamInfo>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let mut address: *mut c_void = std::ptr::null_mut();
        // SAFETY: the name ends with a zero byte, and the address outlives the call. A driver that
        // lacks the function says so and leaves a null pointer.
        let answer = unsafe {
            sys::cuGetProcAddress_v2(
                c"cuFuncGetParamInfo".as_ptr(),
                &raw mut address,
                SINCE,
                0,
                std::ptr::null_mut(),
            )
        };
        if answer.result().is_err() || address.is_null() {
            return None;
        }
        // SAFETY: the driver answers with the address of the function of this name and version,
        // whose signature is the type's.
        Some(unsafe { std::mem::transmute::<*mut c_void, GetParamInfo>(address) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_structure_that_has_drifted_is_refused() {
        let sizes = Parameters(Some([152, 128].into()));
        assert!(sizes.expect("wgmma_gemm", &[152, 128]).is_ok());
        for drifted in [&[144, 128][..], &[152], &[152, 128, 16], &[]] {
            let error = sizes.expect("wgmma_gemm", drifted).unwrap_err().to_string();
            assert!(error.contains("wgmma_gemm") && error.contains("152"), "{error}");
        }
    }

    #[test]
    fn a_driver_that_does_not_say_is_believed() {
        assert!(Parameters(None).expect("probe", &[8]).is_ok());
    }
}
