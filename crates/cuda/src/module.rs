//! Kernels of loaded cubins, for the launches of an execution context or of every one.

use std::ffi::c_void;
use std::sync::Arc;

use crate::binding::driver::{result, sys};

use crate::code::{Code, Compiled};
use crate::device::CudaDevice;
use crate::error::{CudaError, DriverContext as _, Result};
use crate::loaded::{Function, Module, Parameters};

/// The cubin of an instance, loaded, for an execution context: that of its kernels' launches.
#[derive(Clone, Debug)]
pub(crate) struct LoadedInstance {
    module: Arc<Module>,
    device: CudaDevice,
}

impl LoadedInstance {
    /// Loads a cubin, or takes it as it is loaded: many algorithms share an instance, and each
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
        if let Some(module) = compiled.loaded.on(&device.gpu().context) {
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
        // walked every section of these bytes. PTX it reads up to the zero byte.
        let loaded = unsafe { result::module::load_data(image.as_ptr().cast::<c_void>()) };
        match loaded {
            Ok(raw) => {
                let module = Arc::new(Module::new(&device.gpu().context, raw));
                compiled.loaded.keep(&module);
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

    /// A kernel of the cubin, for this context.
    ///
    /// # Errors
    /// If it has none of that name.
    pub(crate) fn kernel(&self, name: &'static str) -> Result<Kernel> {
        Ok(Kernel { entry_point: self.entry_point(name)?, device: self.device.clone() })
    }

    /// A kernel of the cubin, for every context of the device.
    ///
    /// # Errors
    /// If it has none of that name.
    pub(crate) fn entry_point(&self, name: &'static str) -> Result<EntryPoint> {
        let Function { raw, parameters, .. } = self.module.function(name, false)?;
        Ok(EntryPoint { module: Arc::clone(&self.module), raw, name, parameters })
    }

    /// The family's main kernel with its block size and dynamic shared memory, which the cubin
    /// itself names.
    ///
    /// # Errors
    /// If the cubin does not name them, or the device has not that much shared memory.
    pub(crate) fn shaped_entry_point(&self, name: &'static str) -> Result<ShapedEntryPoint> {
        let Function { raw, parameters, shape } = self.module.function(name, true)?;
        let [threads, shared_bytes] = shape.expect("the shape was asked for");
        let entry_point = EntryPoint { module: Arc::clone(&self.module), raw, name, parameters };
        Ok(ShapedEntryPoint { entry_point, threads, shared_bytes })
    }
}

/// A kernel with its launch shape.
#[derive(Clone, Debug)]
pub(crate) struct ShapedEntryPoint {
    pub(crate) entry_point: EntryPoint,
    pub(crate) threads: u32,
    pub(crate) shared_bytes: u32,
}

/// A kernel of a loaded cubin, for every execution context of its device.
#[derive(Clone, Debug)]
pub(crate) struct EntryPoint {
    /// Stays loaded for as long as its kernels.
    module: Arc<Module>,
    raw: sys::CUfunction,
    name: &'static str,
    parameters: Parameters,
}

// SAFETY: a function handle is a name that the driver takes from any thread, valid while its module
// is loaded.
unsafe impl Send for EntryPoint {}
// SAFETY: as above; attributes are set before a kernel is shared.
unsafe impl Sync for EntryPoint {}

/// A kernel of a loaded cubin, for the launches of one execution context.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    entry_point: EntryPoint,
    device: CudaDevice,
}

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
    /// Queues the kernel on its context's stream.
    ///
    /// # Safety
    /// As [`EntryPoint::launch`] asks.
    ///
    /// # Errors
    /// Those of [`EntryPoint::launch`].
    pub(crate) unsafe fn launch<const N: usize>(
        &self,
        grid: Grid,
        arguments: Arguments<N>,
    ) -> Result<()> {
        // SAFETY: the caller's promise; code and context are of one device.
        unsafe { self.entry_point.launch(&self.device, grid, arguments) }
    }
}

impl EntryPoint {
    /// Queues the kernel on the stream of a context.
    ///
    /// # Safety
    /// The context is of the device that the code is loaded on. `arguments` are, in order and type,
    /// those of the kernel, whose number and sizes are compared. Addresses among them are valid for
    /// what it reads and writes with this grid until it has run.
    ///
    /// # Errors
    /// [`CudaError::ParameterSize`] if the kernel takes parameters of other sizes; whatever the
    /// driver fails with.
    pub(crate) unsafe fn launch<const N: usize>(
        &self,
        device: &CudaDevice,
        grid: Grid,
        mut arguments: Arguments<N>,
    ) -> Result<()> {
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
