//! `explicit_gemm`: gather, dense product by cuBLAS, scatter-add.

use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

use crate::binding::cublas::{result, sys};
use crate::binding::driver::CudaContext;
use voxtune_types::{AlgoId, DType, Direction, Operation, Product};

use super::family::{Bound, KernelFamily, Launch, Variant, boxed};
use super::geometry::channels;
use crate::buffer::DeviceBuffer;
use crate::device::CudaDevice;
use crate::error::{CudaError, DriverContext as _, Result};
use crate::instance::{Instance, dtype_define};
use crate::library;
use crate::map::MapCounts;
use crate::model::{
    Constants, EXPLICIT as COST, EXPLICIT_WGRAD as WGRAD_COST, MapSize, Passes, Rates, Work,
};
use crate::module::{EntryPoint, Grid, LoadedInstance, arguments};

/// Gathered rows are padded with zero rows to a multiple of this, and wgrad's dense products take
/// at most [`PRODUCT_ROWS`] of them. Rows are the inner dimension there, and cuBLAS 13.0 gives
/// results that are off by a few rows' worth for some inner dimensions. They were seen on an H100
/// against float64: 5 rows past a multiple of 8 (32 × 32 × 10,245), and a million (64 × 64 ×
/// 1,026,560).
const ROW_PADDING: usize = 1024;
const PRODUCT_ROWS: usize = 128 * ROW_PADDING;

/// The family has no parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExplicitGemm;

/// A handle of cuBLAS bound to the stream of an execution context.
#[derive(Debug)]
pub struct Cublas {
    device: CudaDevice,
    /// cuBLAS forbids the use of one handle from two threads at once, and a handle has one stream.
    handle: Mutex<Handle>,
}

#[derive(Clone, Copy, Debug)]
struct Handle(sys::cublasHandle_t);

// SAFETY: a handle may be used from any thread, one at a time, which mutexes see to.
unsafe impl Send for Handle {}

/// A handle that no execution context uses now, with the context that it was made in.
struct IdleHandle {
    context: Arc<CudaContext>,
    handle: Handle,
}

/// Handles are used again and never destroyed. Destroying one waits for the whole device, which
/// fails while any thread of the process records a graph, and spoils what is recorded.
static IDLE: Mutex<Vec<IdleHandle>> = Mutex::new(Vec::new());

impl Handle {
    /// A handle of the device's context, which is current.
    fn take(device: &CudaDevice) -> Result<Self> {
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        let context = device.stream().context();
        match idle.iter().position(|one| one.context == *context) {
            Some(place) => Ok(idle.swap_remove(place).handle),
            None => Ok(Self(result::create_handle().during("starting cuBLAS")?)),
        }
    }
}

impl Cublas {
    /// Loads cuBLAS and takes a handle, which later contexts get when this value is dropped.
    ///
    /// # Errors
    /// [`CudaError::NoCublas`] where the library cannot be loaded.
    pub fn new(device: &CudaDevice) -> Result<Self> {
        device.bind()?;
        if !library::is_present(library::CUBLAS) {
            return Err(CudaError::NoCublas);
        }
        let handle = Handle::take(device)?;
        // Whatever fails from here on, the handle is given back.
        let taken = Self { device: device.clone(), handle: Mutex::new(handle) };
        // SAFETY: handle and stream are live; the stream types of driver and library are the same
        // pointer.
        unsafe { result::set_stream(handle.0, device.raw_stream().cast()) }
            .during("binding cuBLAS to a stream")?;
        // Without this, sums that cuBLAS splits may meet in 16 bits.
        let mode = sys::cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
        // SAFETY: the handle is live.
        unsafe { sys::cublasSetMathMode(handle.0, mode) }
            .result()
            .during("setting cuBLAS's precision")?;
        Ok(taken)
    }

    /// Queues `c = op(a) · op(b)`, or adds it to `c`, in cuBLAS's column-major terms with float32
    /// accumulation and a float32 `c`.
    ///
    /// # Safety
    /// The addresses hold matrices of these sizes.
    unsafe fn product(&self, dtype: DType, shape: &Gemm) -> Result<()> {
        use sys::cudaDataType_t::{CUDA_R_16BF, CUDA_R_16F, CUDA_R_32F};
        let element = [CUDA_R_16F, CUDA_R_16BF, CUDA_R_32F][dtype.index()];
        let transpose = |wanted| {
            if wanted {
                sys::cublasOperation_t::CUBLAS_OP_T
            } else {
                sys::cublasOperation_t::CUBLAS_OP_N
            }
        };
        let (one, beta) = (1.0_f32, if shape.add { 1.0_f32 } else { 0.0 });
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        self.device.launched();
        // SAFETY: the caller's promise; alpha and beta are float32, as the compute type asks.
        unsafe {
            result::gemm_ex(
                handle.0,
                transpose(shape.transpose_a),
                transpose(shape.transpose_b),
                shape.m,
                shape.n,
                shape.k,
                std::ptr::from_ref(&one).cast(),
                shape.a as *const c_void,
                element,
                shape.lda,
                shape.b as *const c_void,
                element,
                shape.ldb,
                std::ptr::from_ref(&beta).cast(),
                shape.c as *mut c_void,
                CUDA_R_32F,
                shape.m,
                sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .during("a dense product")
    }

    /// Rate of a dense square product with float32 accumulation, a ceiling for what the device can
    /// do: the median of five.
    ///
    /// # Units
    /// Floating-point operations a second.
    ///
    /// # Errors
    /// If the device has not the memory, or cuBLAS fails.
    pub fn dense_rate(
        &self,
        device: &CudaDevice,
        dtype: DType,
        a: &DeviceBuffer,
        b: &DeviceBuffer,
        edge: usize,
    ) -> Result<f64> {
        let needed = edge * edge * dtype.bytes();
        let found = a.len_bytes().min(b.len_bytes());
        if found < needed {
            return Err(CudaError::Length { what: "a dense operand", expected: needed, found });
        }
        let mut c = DeviceBuffer::alloc(device, edge * edge * 4)?;
        let size = edge as i32;
        let shape = Gemm {
            transpose_a: false,
            transpose_b: false,
            m: size,
            n: size,
            k: size,
            a: a.as_ref().address(),
            lda: size,
            b: b.as_ref().address(),
            ldb: size,
            c: c.as_mut().address(),
            add: false,
        };
        let mut timer = crate::EventTimer::new(device)?;
        let mut times_ns = Vec::new();
        for _ in 0..6 {
            timer.start()?;
            // SAFETY: three square matrices of `edge`, checked above.
            unsafe { self.product(dtype, &shape) }?;
            timer.stop()?;
            times_ns.push(timer.elapsed_ns()?);
        }
        times_ns.remove(0);
        times_ns.sort_by(f64::total_cmp);
        Ok(2.0 * (edge as f64).powi(3) / (times_ns[2] * 1e-9))
    }
}

impl Drop for Cublas {
    fn drop(&mut self) {
        let handle = *self.handle.get_mut().unwrap_or_else(PoisonError::into_inner);
        let context = Arc::clone(self.device.stream().context());
        IDLE.lock().unwrap_or_else(PoisonError::into_inner).push(IdleHandle { context, handle });
    }
}

/// A dense product, column-major.
struct Gemm {
    transpose_a: bool,
    transpose_b: bool,
    m: i32,
    n: i32,
    k: i32,
    a: u64,
    lda: i32,
    b: u64,
    ldb: i32,
    c: u64,
    /// Whether the product is added to `c`.
    add: bool,
}

/// Where the parts of the workspace begin.
struct Layout {
    first: usize,
    second: usize,
    sums: usize,
    end: usize,
}

impl Layout {
    const ALIGNMENT: usize = 256;

    /// Forward and dgrad: gathered rows, products of one offset, sums of all. Wgrad: both gathered
    /// operands.
    fn new(op: &Operation, counts: &MapCounts) -> Self {
        let largest = counts.largest_offset().next_multiple_of(ROW_PADDING);
        let (gathered, result) = channels(op);
        let element = op.dtype.bytes();
        let first = largest * gathered as usize * element;
        let (second, sums) = match op.direction.product() {
            Product::Wgrad => (largest * op.c_out as usize * element, 0),
            Product::Forward => (largest * result as usize * 4, counts.n_out * result as usize * 4),
            Product::Dgrad => (largest * result as usize * 4, counts.n_in * result as usize * 4),
        };
        let second_at = first.next_multiple_of(Self::ALIGNMENT);
        let sums_at = second_at + second.next_multiple_of(Self::ALIGNMENT);
        Self { first: 0, second: second_at, sums: sums_at, end: sums_at + sums }
    }
}

impl Variant for ExplicitGemm {
    fn id(&self) -> AlgoId {
        AlgoId::new("explicit_gemm", &[]).expect("the family is a word")
    }

    fn applies(&self, _op: &Operation) -> bool {
        true
    }

    fn in_auto_pool(&self, _op: &Operation, _rows: usize, _rates: &Rates) -> bool {
        true
    }

    /// cuBLAS was seen to give wrong results for some sizes.
    fn is_safe_unverified(&self, _op: &Operation) -> bool {
        false
    }

    fn requires_cublas(&self) -> bool {
        true
    }

    fn needs_pair_counts(&self, _op: &Operation) -> bool {
        true
    }

    fn instance(&self, op: &Operation) -> Instance {
        Instance::new("explicit_gemm.cu", &[dtype_define(op.dtype)])
    }

    fn workspace_bytes(&self, op: &Operation, counts: &MapCounts) -> usize {
        Layout::new(op, counts).end
    }

    /// What all kernels read and write: a gathered element is read, written and read by the
    /// product. A product is written and read in float32 and added to a float32 sum.
    fn work(&self, op: &Operation, size: MapSize, _rates: &Rates) -> Option<Work> {
        const SUM_BYTES: f64 = 4.0;
        let pairs = size.pairs as f64;
        let gathered_bytes = 3.0 * op.dtype.bytes() as f64;
        let bytes = if op.direction == Direction::Wgrad {
            pairs * gathered_bytes * f64::from(op.c_in + op.c_out)
                + op.weight_len() as f64 * SUM_BYTES
        } else {
            let (gathered, result) = channels(op);
            let product_bytes = 4.0 * SUM_BYTES;
            pairs * (gathered_bytes * f64::from(gathered) + product_bytes * f64::from(result))
        };
        Some(Work::Passes(Passes { passes: op.kernel.volume() as f64, bytes }))
    }

    fn cost_constants(&self, op: &Operation) -> Option<Constants> {
        Some(if op.direction == Direction::Wgrad { WGRAD_COST } else { COST })
    }

    fn bind(&self, _op: &Operation, loaded: &LoadedInstance) -> Result<Box<dyn Bound>> {
        Ok(Box::new(Kernels::new(loaded)?))
    }
}

/// The family.
pub(super) struct Family;

impl KernelFamily for Family {
    fn variants(&self) -> Vec<Box<dyn Variant>> {
        boxed(std::iter::once(ExplicitGemm))
    }
}

/// What surrounds the products.
#[derive(Debug)]
pub(super) struct Kernels {
    gather: EntryPoint,
    scatter_add: EntryPoint,
    round: EntryPoint,
    finish: EntryPoint,
}

impl Kernels {
    fn new(loaded: &LoadedInstance) -> Result<Self> {
        Ok(Self {
            gather: loaded.entry_point("gather_rows")?,
            scatter_add: loaded.entry_point("scatter_add")?,
            round: loaded.entry_point("round_rows")?,
            finish: loaded.entry_point("finish_rows")?,
        })
    }

    fn launch_rows(&self, launch: Launch<'_, '_>, cublas: &Cublas, layout: &Layout) -> Result<()> {
        let Launch { device, op, map, operands, workspace, .. } = launch;
        let dgrad = op.direction == Direction::Dgrad;
        let (gathered, result) = channels(op);
        let (counts, lists) = (map.counts()?, map.pairs()?);
        let (from, to) = if dgrad {
            (&lists.out_rows, &lists.in_rows)
        } else {
            (&lists.in_rows, &lists.out_rows)
        };
        let rows = if dgrad { map.n_in() } else { map.n_out() };
        let length = rows * result as usize;
        if length == 0 {
            return Ok(());
        }
        let base = workspace.as_mut().address();
        if let Some(mut sums) = workspace.as_mut().get(layout.sums..layout.end) {
            sums.fill(0)?;
        }
        let sums = base + layout.sums as u64;
        for (offset, first, pairs) in counts.lists() {
            let list = first as u64 * 4;
            let (from, to) = (from.as_ref().address() + list, to.as_ref().address() + list);
            let (rows, products) = (base + layout.first as u64, base + layout.second as u64);
            let (count, gathered_arg, result_arg) = (pairs as i32, gathered as i32, result as i32);
            let padded = count;
            let (features, pitch) = (operands.first.address(), operands.first.pitch() as i32);
            // SAFETY: (Element*, int*, int, int, int, int, Element*), then (float*, int*, int, int,
            // float*): the workspace holds the rows and the products of the largest offset and the
            // sums of all rows.
            unsafe {
                let blocks = Grid::covering(pairs * gathered as usize, 256)?;
                self.gather.launch(
                    device,
                    blocks,
                    arguments![features, from, count, padded, gathered_arg, pitch, rows],
                )?;
                let weights = operands.second.address()
                    + (offset * op.c_in as usize * op.c_out as usize * op.dtype.bytes()) as u64;
                let shape = Gemm {
                    transpose_a: dgrad,
                    transpose_b: false,
                    m: result as i32,
                    n: count,
                    k: gathered as i32,
                    a: weights,
                    lda: op.c_out as i32,
                    b: rows,
                    ldb: gathered as i32,
                    c: products,
                    add: false,
                };
                cublas.product(op.dtype, &shape)?;
                let blocks = Grid::covering(pairs * result as usize, 256)?;
                self.scatter_add.launch(
                    device,
                    blocks,
                    arguments![products, to, count, result_arg, sums],
                )?;
            }
        }
        let (length_arg, target) = (length as i64, operands.result.address());
        let (channels, pitch) = (result as i32, operands.result.pitch() as i32);
        let grid = Grid::covering(length, 256)?;
        if operands.epilogue.is_empty() {
            // SAFETY: (float*, i64, int, int, Element*), both of `length` elements.
            return unsafe {
                self.round.launch(
                    device,
                    grid,
                    arguments![sums, length_arg, channels, pitch, target],
                )
            };
        }
        let epilogue = operands.epilogue.params();
        // SAFETY: (float*, i64, int, int, Epilogue, Element*), sums and result of `length`
        // elements. The structure mirrors the kernel's, and `check` has compared the lengths of its
        // parts.
        unsafe {
            let parts = arguments![sums, length_arg, channels, pitch, epilogue, target];
            self.finish.launch(device, grid, parts)
        }
    }

    fn launch_wgrad(&self, launch: Launch<'_, '_>, cublas: &Cublas, layout: &Layout) -> Result<()> {
        let Launch { device, op, map, operands, workspace, .. } = launch;
        let (counts, lists) = (map.counts()?, map.pairs()?);
        let base = workspace.as_mut().address();
        let elements = op.c_in as usize * op.c_out as usize;
        operands.result.fill_zero()?;
        for (offset, first, pairs) in counts.lists() {
            let list = first as u64 * 4;
            let (in_rows, out_rows) =
                (lists.in_rows.as_ref().address() + list, lists.out_rows.as_ref().address() + list);
            let (x_rows, g_rows) = (base + layout.first as u64, base + layout.second as u64);
            let (count, c_in, c_out) = (pairs as i32, op.c_in as i32, op.c_out as i32);
            let rows = pairs.next_multiple_of(ROW_PADDING);
            let padded = rows as i32;
            let (x, g) = (operands.first.address(), operands.second.address());
            let (x_pitch, g_pitch) =
                (operands.first.pitch() as i32, operands.second.pitch() as i32);
            // SAFETY: (Element*, int*, int, int, int, int, Element*); the workspace holds both
            // gathered operands of the largest offset.
            unsafe {
                let blocks = Grid::covering(rows * op.c_in as usize, 256)?;
                let parts = arguments![x, in_rows, count, padded, c_in, x_pitch, x_rows];
                self.gather.launch(device, blocks, parts)?;
                let blocks = Grid::covering(rows * op.c_out as usize, 256)?;
                let parts = arguments![g, out_rows, count, padded, c_out, g_pitch, g_rows];
                self.gather.launch(device, blocks, parts)?;
                for first in (0..rows).step_by(PRODUCT_ROWS) {
                    let row_bytes = |channels: u32| channels as usize * op.dtype.bytes();
                    let shape = Gemm {
                        transpose_a: false,
                        transpose_b: true,
                        m: c_out,
                        n: c_in,
                        k: PRODUCT_ROWS.min(rows - first) as i32,
                        a: g_rows + (first * row_bytes(op.c_out)) as u64,
                        lda: c_out,
                        b: x_rows + (first * row_bytes(op.c_in)) as u64,
                        ldb: c_in,
                        c: operands.result.address() + (offset * elements * 4) as u64,
                        add: first > 0,
                    };
                    cublas.product(op.dtype, &shape)?;
                }
            }
        }
        Ok(())
    }
}

impl Bound for Kernels {
    fn launch(&self, launch: Launch<'_, '_>) -> Result<()> {
        let cublas = launch.cublas.ok_or(CudaError::NoCublas)?;
        launch.device.expect_same_stream("the handle of cuBLAS", &cublas.device)?;
        let layout = Layout::new(launch.op, launch.map.counts()?);
        match launch.op.direction.product() {
            Product::Wgrad => self.launch_wgrad(launch, cublas, &layout),
            Product::Forward | Product::Dgrad => self.launch_rows(launch, cublas, &layout),
        }
    }

    fn compiled_shared_bytes(&self) -> Option<u32> {
        None
    }
}
