//! Cubins in a device's memory, for all execution contexts there.

mod parameters;

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::binding::driver::{CudaContext, result, sys};

use crate::error::{CudaError, DriverContext as _, Result};
pub(crate) use parameters::Parameters;

/// A cubin on a device, for every execution context there. Kernels keep it loaded.
#[derive(Debug)]
pub(crate) struct Module {
    context: Arc<CudaContext>,
    raw: sys::CUmodule,
    /// What was asked for by name: another context, which may be capturing, then asks the driver
    /// nothing.
    functions: Mutex<HashMap<&'static str, Function>>,
}

/// A place in a cubin's bytes for themselves on the first device that they are loaded on, where
/// they stay for as long as the bytes. On a further one they are loaded anew each time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loaded(OnceLock<Arc<Module>>);

impl Loaded {
    /// The cubin on a device, if it was loaded there.
    pub(crate) fn on(&self, context: &Arc<CudaContext>) -> Option<Arc<Module>> {
        self.0.get().filter(|module| Arc::ptr_eq(&module.context, context)).cloned()
    }

    /// Keeps the cubin as it was loaded, unless another device or thread was first.
    pub(crate) fn keep(&self, module: &Arc<Module>) {
        // A second copy lives as long as the code that loaded it holds it.
        let _ = self.0.set(Arc::clone(module));
    }
}

/// What the driver says of a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) raw: sys::CUfunction,
    pub(crate) parameters: Parameters,
    /// Threads and shared bytes of a block, where the cubin names them and they were asked for.
    pub(crate) shape: Option<[u32; 2]>,
}

// SAFETY: a module handle is a name that the driver takes from any thread; it is unloaded once, by
// the last owner.
unsafe impl Send for Module {}
// SAFETY: as above; nothing changes a module after loading, and what was found in it is locked.
unsafe impl Sync for Module {}

impl Drop for Module {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: a module that `Module::new` was given, and unloaded nowhere else. An error
            // has no reader.
            let _ = unsafe { result::module::unload(self.raw) };
        }
    }
}

impl Module {
    /// A cubin that was loaded into this context, to be unloaded with the last of its kernels.
    pub(crate) fn new(context: &Arc<CudaContext>, raw: sys::CUmodule) -> Self {
        Self { context: Arc::clone(context), raw, functions: Mutex::default() }
    }

    /// A kernel of the cubin, with its launch shape if that is asked for.
    pub(crate) fn function(&self, name: &'static str, is_shaped: bool) -> Result<Function> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let known = functions.get(name).filter(|known| !is_shaped || known.shape.is_some());
        if let Some(known) = known {
            return Ok(known.clone());
        }
        self.context.bind_to_thread().during("making the device current")?;
        let text = CString::new(name).expect("kernel names have no zero byte");
        // SAFETY: the module is loaded.
        let raw =
            unsafe { result::module::get_function(self.raw, text) }.during("finding a kernel")?;
        let shape = is_shaped.then(|| self.launch_shape(name, raw)).transpose()?;
        let found = Function { raw, parameters: Parameters::of(raw)?, shape };
        functions.insert(name, found.clone());
        Ok(found)
    }

    /// Threads and shared bytes of a block, and room for the latter.
    fn launch_shape(&self, name: &'static str, raw: sys::CUfunction) -> Result<[u32; 2]> {
        let symbol = CString::new("voxtune_launch").expect("no zero byte");
        // SAFETY: the module is loaded.
        let (address, bytes) = unsafe { result::module::get_global(self.raw, symbol) }
            .during("reading an instance's launch shape")?;
        let mut shape = [0_i32; 2];
        if bytes != size_of_val(&shape) {
            return Err(CudaError::MalformedCubin {
                what: name.to_owned(),
                reason: "voxtune_launch is not two ints",
            });
        }
        // SAFETY: `address` is a global of `bytes` bytes, the size of `shape`.
        unsafe { result::memcpy_dtoh_sync(&mut shape, address) }
            .during("reading an instance's launch shape")?;
        // SAFETY: the kernel belongs to a loaded module.
        unsafe {
            result::function::set_function_attribute(
                raw,
                sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                shape[1],
            )
        }
        .during("reserving shared memory for a kernel")?;
        Ok(shape.map(|count| count as u32))
    }
}
