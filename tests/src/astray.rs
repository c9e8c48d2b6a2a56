//! Kernels that go astray on a real GPU.
//!
//! What goes wrong here is not to be had in safe code: kernels that read where nothing is, or never
//! end. They are written in PTX, which the driver compiles itself.
#![expect(
    unsafe_code,
    reason = "launching a kernel that goes astray is what these tests are about"
)]

use cudarc::driver::{CudaContext, result, sys};

/// Both kernels in a text that ends with a zero byte, as the driver wants it.
const KERNELS: &[u8] = concat!(include_str!("astray.ptx"), "\0").as_bytes();

/// Lets a kernel of the file run on the first device, and waits for it. The wait's answer is of no
/// interest: the next use of the device meets what went wrong.
fn run(kernel: &str) {
    let context = CudaContext::new(0).unwrap();
    let name = std::ffi::CString::new(kernel).unwrap();
    // SAFETY: the text is PTX and ends with a zero byte; the kernels have no parameters. What they
    // do to the context is what the caller is after.
    unsafe {
        let module = result::module::load_data(KERNELS.as_ptr().cast()).unwrap();
        let function = result::module::get_function(module, name).unwrap();
        let stream: sys::CUstream = std::ptr::null_mut();
        result::launch_kernel(function, (1, 1, 1), (1, 1, 1), 0, stream, &mut []).unwrap();
    }
    let _ = context.synchronize();
}

/// Writes to an address that does not exist.
pub(crate) fn touch_an_illegal_address() {
    run("touch_an_illegal_address");
}

/// Waits for a kernel that never ends.
pub(crate) fn hang() {
    run("hang");
}
