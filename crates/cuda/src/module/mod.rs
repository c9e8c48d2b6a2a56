//! Loaded cubins and their kernels.

mod parameters;

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::binding::driver::{result, sys};

use crate::code::{Code, Compiled};
use crate::device::CudaDevice;
use crate::error::{CudaError, DriverContext as _, Result};
use crate::gpu::Gpu;
use parameters::Parameters;

/// A cubin on a device, for every execution context there. Kernels keep it loaded.
#[derive(Debug)]
pub(crate) struct Module {
    gpu: Arc<Gpu>,
    raw: sys::CUmodule,
    /// What was asked for by name: another context, which may be capturing, then asks the driver
    /// nothing.
    functions: Mutex<HashMap<&'static str, Function>>,
}

/// What the driver says of a kernel.
#[derive(Clone, Debug)]
struct Function {
    raw: sys::CUfunction,
    parameters: Parameters,
    /// Threads and shared bytes of a block, where the cubin names them and somebody asked.
    shape: Option<[u32; 2]>,
}

// SAFETY: a module handle is a name that the driver takes from any thread; it is unloaded once, by
// the last owner.
unsafe impl Send for Module {}
// SAFETY: as above; nothing changes a module after loading, and what was found in it is locked.
unsafe impl Sync for Module {}

impl Drop for Module {
    fn drop(&mut self) {
        if self.gpu.bind().is_ok() {
            // SAFETY: loaded in `LoadedInstance::load` and unloaded nowhere else. An error has no
            // reader.
            let _ = unsafe { result::module::unload(self.raw) };
        }
    }
}

/// The cubin of an instance, loaded, for an execution context: that of its kernels' launches.
#[derive(Clone, Debug)]
pub(crate) struct LoadedInstance {
    module: Arc<Module>,
    device: CudaDevice,
}

impl LoadedInstance {
    /// Loads a cubin, or takes the one that is loaded: many algorithms share an instance, and each
    /// computes many operations.
    ///
    /// # Errors
    /// [`CudaError::DriverTooOld`] if the driver is older than the compiler;
    /// [`CudaError::MalformedCubin`] if the bytes are no cubin for this device.
    pub(crate) fn load(device: &CudaDevice, compiled: &Compiled) -> Result<Self> {
        let (found, needed) = (device.driver_version(), compiled.minimum_driver());
        if found < needed {
            return Err(CudaError::DriverTooOld { found, needed });
        }
        let malformed =
            |reason| CudaError::MalformedCubin { what: compiled.instance.to_string(), reason };
        if !compiled.runs_on(device.capability()) {
            return Err(malformed("compiled for another architecture than this device"));
        }
        let key = (compiled.instance.clone(), compiled.kernel_hash);
        if let Some(module) = device.modules().get(&key).and_then(Weak::upgrade) {
            return Ok(Self { module, device: device.clone() });
        }
        device.bind()?;
        let text;
        let image = match compiled.code {
            Code::Cubin => &compiled.bytes,
            Code::Ptx => {
                text = [compiled.bytes.as_slice(), &[0]].concat();
                &text
            }
        };
        // SAFETY: of a cubin the driver reads the header's own length, and `machine_code_hash` has
        // walked every section of these bytes; PTX it reads up to the zero byte.
        let loaded = unsafe { result::module::load_data(image.as_ptr().cast::<c_void>()) };
        match loaded {
            Ok(raw) => {
                let (gpu, functions) = (Arc::clone(device.gpu()), Mutex::default());
                let module = Arc::new(Module { gpu, raw, functions });
                device.modules().insert(key, Arc::downgrade(&module));
                Ok(Self { module, device: device.clone() })
            }
            Err(error)
                if matches!(
                    error.0,
                    sys::CUresult::CUDA_ERROR_INVALID_IMAGE
                        | sys::CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU
                ) =>
            {
                Err(malformed("the driver refuses it"))
            }
            Err(error) => Err(error).during("loading a cubin"),
        }
    }

    /// The device and the context that launches are queued in.
    pub(crate) const fn device(&self) -> &CudaDevice {
        &self.device
    }

    /// A kernel of the cubin.
    ///
    /// # Errors
    /// If it has none of that name.
    pub(crate) fn kernel(&self, name: &'static str) -> Result<Kernel> {
        let Function { raw, parameters, .. } = self.module.function(name, false)?;
        let (module, device) = (Arc::clone(&self.module), self.device.clone());
        Ok(Kernel { module, device, raw, name, parameters })
    }

    /// The family's main kernel with its block size and dynamic shared memory, which the cubin
    /// itself names.
    ///
    /// # Errors
    /// If the cubin does not name them, or the device has not that much shared memory.
    pub(crate) fn shaped_kernel(&self, name: &'static str) -> Result<ShapedKernel> {
        let Function { raw, parameters, shape } = self.module.function(name, true)?;
        let [threads, shared_bytes] = shape.expect("the shape was asked for");
        let (module, device) = (Arc::clone(&self.module), self.device.clone());
        let kernel = Kernel { module, device, raw, name, parameters };
        Ok(ShapedKernel { kernel, threads, shared_bytes })
    }
}

impl Module {
    /// A kernel of the cubin, with its launch shape if that is asked for.
    fn function(&self, name: &'static str, is_shaped: bool) -> Result<Function> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let known = functions.get(name).filter(|known| !is_shaped || known.shape.is_some());
        if let Some(known) = known {
            return Ok(known.clone());
        }
        self.gpu.bind()?;
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

/// A kernel with its launch shape.
#[derive(Clone, Debug)]
pub(crate) struct ShapedKernel {
    pub(crate) kernel: Kernel,
    pub(crate) threads: u32,
    pub(crate) shared_bytes: u32,
}

/// A kernel of a loaded cubin, for the launches of one execution context.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// Stays loaded for as long as its kernels.
    module: Arc<Module>,
    device: CudaDevice,
    raw: sys::CUfunction,
    name: &'static str,
    parameters: Parameters,
}

// SAFETY: a function handle is a name that the driver takes from any thread, valid while its module
// is loaded.
unsafe impl Send for Kernel {}
// SAFETY: as above; attributes are set before a kernel is shared.
unsafe impl Sync for Kernel {}

/// How a kernel is launched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub(crate) blocks: [u32; 2],
    pub(crate) threads: u32,
    pub(crate) shared_bytes: u32,
}

impl Grid {
    /// Enough blocks of `threads` for `items`; at least one.
    pub(crate) fn covering(items: usize, threads: u32) -> Result<Self> {
        let blocks = items.div_ceil(threads as usize).max(1);
        Ok(Self { blocks: [block_count(blocks)?, 1], threads, shared_bytes: 0 })
    }

    /// The same for each of `layers`.
    pub(crate) fn layers(self, layers: usize) -> Self {
        Self { blocks: [self.blocks[0], layers as u32], ..self }
    }
}

/// A number of blocks, within what a grid can have.
pub(crate) fn block_count(blocks: usize) -> Result<u32> {
    const LIMIT: usize = i32::MAX as usize;
    match u32::try_from(blocks) {
        Ok(count) if blocks <= LIMIT => Ok(count),
        _ => Err(CudaError::TooLarge { what: "the number of blocks", found: blocks, limit: LIMIT }),
    }
}

impl Kernel {
    /// The device and the context that its launches are queued in.
    pub(crate) const fn device(&self) -> &CudaDevice {
        &self.device
    }

    /// Queues the kernel on its context's stream.
    ///
    /// # Safety
    /// `arguments` are, in order and type, those of the kernel, whose number and sizes are
    /// compared; addresses among them are valid for what it reads and writes with this grid until
    /// it has run.
    ///
    /// # Errors
    /// [`CudaError::ParameterSize`] if the kernel takes parameters of other sizes; whatever the
    /// driver fails with.
    pub(crate) unsafe fn launch<const N: usize>(
        &self,
        grid: Grid,
        mut arguments: Arguments<N>,
    ) -> Result<()> {
        let device = &self.device;
        self.parameters.expect(self.name, &arguments.sizes)?;
        device.bind()?;
        device.queue().hold(|| Arc::<Module>::clone(&self.module));
        device.launched();
        let [x, y] = grid.blocks;
        // SAFETY: the function is loaded; the rest is the caller's promise.
        unsafe {
            result::launch_kernel(
                self.raw,
                (x, y, 1),
                (grid.threads, 1, 1),
                grid.shared_bytes,
                device.raw_stream(),
                &mut arguments.pointers,
            )
        }
        .during("launching a kernel")
    }
}

/// The arguments of a launch: where they lie, and how many bytes each has.
pub(crate) struct Arguments<const N: usize> {
    pub(crate) pointers: [*mut c_void; N],
    pub(crate) sizes: [usize; N],
}

/// The arguments of a launch. Each must be a place that outlives the call.
macro_rules! arguments {
    ($($argument:expr),* $(,)?) => {
        $crate::module::Arguments {
            pointers: [
                $(std::ptr::from_ref(&$argument).cast_mut().cast::<std::ffi::c_void>()),*
            ],
            sizes: [$(std::mem::size_of_val(&$argument)),*],
        }
    };
}
pub(crate) use arguments;
