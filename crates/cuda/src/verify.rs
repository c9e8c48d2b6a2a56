//! Checking a result on the device, element by element.

use voxtune_types::{DType, Operation, Product};

use crate::buffer::{DeviceBuffer, DeviceSlice};
use crate::code::Compiled;
use crate::device::CudaDevice;
use crate::error::{CudaError, Result};
use crate::families::{Epilogue, Matrix, Operands};
use crate::map::{DeviceKernelMap, RowOrder};
use crate::module::{Grid, Kernel, LoadedInstance, arguments, block_count};

/// Of a block of every kernel but wgrad's.
const THREADS: u32 = 256;

/// The float64 convolution of one storage type, and the comparison against it.
#[derive(Debug)]
pub struct Verifier {
    device: CudaDevice,
    rows: Kernel,
    transpose: Kernel,
    epilogue: Kernel,
    wgrad: Kernel,
    wgrad_groups: Kernel,
    square_sum: Kernel,
    compare_rows: Kernel,
    compare_float32: Kernel,
    widen_rows: Kernel,
    widen_float32: Kernel,
    squares_rows: Kernel,
    squares_float32: Kernel,
    differ_rows: Kernel,
    differ_float32: Kernel,
}

impl Verifier {
    /// Takes the compiled [`crate::Instance::reference`] of the storage type.
    ///
    /// # Errors
    /// If it cannot be loaded.
    pub fn new(device: &CudaDevice, compiled: &Compiled) -> Result<Self> {
        let loaded = LoadedInstance::load(device, compiled)?;
        Ok(Self {
            device: device.clone(),
            rows: loaded.kernel("reference_rows")?,
            transpose: loaded.kernel("transpose_weights")?,
            epilogue: loaded.kernel("reference_epilogue")?,
            wgrad: loaded.kernel("reference_wgrad")?,
            wgrad_groups: loaded.kernel("reference_wgrad_groups")?,
            square_sum: loaded.kernel("square_sum")?,
            compare_rows: loaded.kernel("compare_rows")?,
            compare_float32: loaded.kernel("compare_float32")?,
            widen_rows: loaded.kernel("widen_rows")?,
            widen_float32: loaded.kernel("widen_float32")?,
            squares_rows: loaded.kernel("squares_rows")?,
            squares_float32: loaded.kernel("squares_float32")?,
            differ_rows: loaded.kernel("differ_rows")?,
            differ_float32: loaded.kernel("differ_float32")?,
        })
    }

    /// The product in float64, of the stored inputs. Slow and plain: for up to some 65,536 rows.
    ///
    /// # Shapes
    /// That of the operation's result, as in [`Operands`]. The operation's dtype must be that of
    /// the compiled instance.
    ///
    /// # Errors
    /// [`CudaError::Length`] for operands that do not fit the map; [`CudaError::NotApplicable`] for
    /// channels that do not divide into the groups; whatever the driver fails with.
    pub fn reference(
        &self,
        op: &Operation,
        map: &DeviceKernelMap,
        first: DeviceSlice<'_>,
        second: DeviceSlice<'_>,
    ) -> Result<DeviceBuffer> {
        if !op.has_whole_groups() {
            let algorithm = "the reference".to_owned();
            return Err(CudaError::NotApplicable { algorithm, operation: op.to_string() });
        }
        let [first_bytes, second_bytes, result_bytes] =
            Operands::dense_bytes(op, map.n_in(), map.n_out());
        for (what, expected, slice) in [
            ("the first operand", first_bytes, first),
            ("the second operand", second_bytes, second),
        ] {
            if slice.len_bytes() != expected {
                return Err(CudaError::Length { what, expected, found: slice.len_bytes() });
            }
        }
        let length = result_bytes / result_dtype(op).bytes();
        let mut reference = DeviceBuffer::alloc(&self.device, length * 8)?;
        if length == 0 {
            return Ok(reference);
        }
        let target = reference.as_mut().address();
        match op.direction.product() {
            Product::Forward => {
                self.rows(op, map, [first, second], (op.c_in, op.c_out), target)?;
            }
            Product::Dgrad => {
                let transposed = self.transposed(op, second)?;
                self.rows(op, map, [first, transposed.as_ref()], (op.c_out, op.c_in), target)?;
            }
            Product::Wgrad => self.wgrad(op, map, [first, second], target)?,
        }
        Ok(reference)
    }

    /// Forward, or dgrad with [`transposed`](Self::transposed) weights and the channels likewise.
    fn rows(
        &self,
        op: &Operation,
        map: &DeviceKernelMap,
        [gathered, weights]: [DeviceSlice<'_>; 2],
        (c_gathered, c_result): (u32, u32),
        target: u64,
    ) -> Result<()> {
        self.device.expect_same_stream("the kernel map", map.device())?;
        let (rows, mirror) = map.rows_of(op.direction)?;
        let natural = map.ordered(rows, RowOrder::Natural)?;
        let (table, pitch) =
            (natural.table.as_ref().address(), DeviceKernelMap::pitch(rows.rows) as i64);
        let gathered = gathered.read_by(&self.device)?;
        let weights = weights.read_by(&self.device)?;
        let (n, mirror) = (rows.rows as i32, i32::from(mirror));
        let grid = Grid::covering(rows.rows * c_result as usize, THREADS)?;
        let groups = op.groups.max(1);
        let (own_gathered, own_result) = ((c_gathered / groups) as i32, (c_result / groups) as i32);
        let (c_gathered, c_result) = (c_gathered as i32, c_result as i32);
        let volume = op.kernel.volume() as i32;
        // SAFETY: (Element*, Element*, double*, int*, i64, int, int, int, int, int, int, int) with
        // the lengths that `reference` compared and gave the result.
        unsafe {
            self.rows.launch(
                grid,
                arguments![
                    gathered,
                    weights,
                    target,
                    table,
                    pitch,
                    n,
                    c_gathered,
                    c_result,
                    own_gathered,
                    own_result,
                    volume,
                    mirror
                ],
            )
        }
    }

    /// Weights with the channels of their offsets swapped, so that neighbouring threads of dgrad
    /// read neighbours.
    fn transposed(&self, op: &Operation, weights: DeviceSlice<'_>) -> Result<DeviceBuffer> {
        let length = op.weight_len();
        let mut transposed = DeviceBuffer::alloc(&self.device, weights.len_bytes())?;
        let grid = Grid::covering(length, THREADS)?;
        let source = weights.read_by(&self.device)?;
        let target = transposed.as_mut().address();
        let (length, c_in, c_out) = (length as i64, op.c_in as i32, op.c_out as i32);
        let (own_in, own_out) = op.group_channels();
        let (own_in, own_out) = (own_in as i32, own_out as i32);
        let arguments = arguments![source, target, length, c_in, c_out, own_in, own_out];
        // SAFETY: (Element*, Element*, i64, int, int, int, int), both of `length` elements.
        unsafe { self.transpose.launch(grid, arguments) }?;
        Ok(transposed)
    }

    fn wgrad(
        &self,
        op: &Operation,
        map: &DeviceKernelMap,
        [x, gradient]: [DeviceSlice<'_>; 2],
        target: u64,
    ) -> Result<()> {
        // INS, OUTS and PARTS of the kernel.
        const TILE: [usize; 2] = [8, 32];
        const TILE_THREADS: u32 = 16 * 32;
        self.device.expect_same_stream("the kernel map", map.device())?;
        let lists = map.pairs()?;
        let (in_rows, out_rows) =
            (lists.in_rows.as_ref().address(), lists.out_rows.as_ref().address());
        let offsets = lists.pair_offset.as_ref().address();
        let tiles = (op.c_in as usize).div_ceil(TILE[0]) * (op.c_out as usize).div_ceil(TILE[1]);
        let grid = |tiles| {
            let blocks = [block_count(tiles)?, op.kernel.volume() as u32];
            Ok::<_, CudaError>(Grid { blocks, threads: TILE_THREADS, shared_bytes: 0 })
        };
        let (x, gradient) = (x.read_by(&self.device)?, gradient.read_by(&self.device)?);
        let (c_in, c_out) = (op.c_in as i32, op.c_out as i32);
        if op.groups > 1 {
            let (own_in, own_out) = op.group_channels();
            let grid = grid(own_in as usize * (op.c_out as usize).div_ceil(TILE[1]))?;
            let (own_in, own_out) = (own_in as i32, own_out as i32);
            // SAFETY: (Element*, Element*, double*, int*, int*, int*, int, int, int, int) with the
            // lengths that `reference` compared and gave the result. A block for each input and
            // tile of outputs.
            return unsafe {
                self.wgrad_groups.launch(
                    grid,
                    arguments![
                        x, gradient, target, in_rows, out_rows, offsets, c_in, c_out, own_in,
                        own_out
                    ],
                )
            };
        }
        let grid = grid(tiles)?;
        // SAFETY: (Element*, Element*, double*, int*, int*, int*, int, int) with the lengths that
        // `reference` compared and gave the result. A block for each tile of each offset.
        unsafe {
            self.wgrad.launch(
                grid,
                arguments![x, gradient, target, in_rows, out_rows, offsets, c_in, c_out],
            )
        }
    }

    /// The epilogue of a forward product on its [`reference`](Self::reference), in float64.
    ///
    /// # Errors
    /// [`CudaError::Length`] and [`CudaError::EpilogueOfGradient`] for parts that do not fit;
    /// whatever the driver fails with.
    pub fn finish(
        &self,
        op: &Operation,
        reference: &mut DeviceBuffer,
        epilogue: &Epilogue<'_>,
    ) -> Result<()> {
        let (length, channels) = (reference.len_bytes() / 8, op.c_out as usize);
        epilogue.check(op, length.checked_div(channels).unwrap_or(0))?;
        if let Some(pitch) = epilogue.residual.map(Matrix::pitch).filter(|it| *it != channels) {
            return Err(CudaError::Pitch { what: "the residual", channels, found: pitch });
        }
        if length == 0 || epilogue.is_empty() {
            return Ok(());
        }
        epilogue.read_by(&self.device)?;
        let [scale, bias, residual] = epilogue.addresses();
        let target = reference.as_mut().write_by(&self.device)?;
        let length_arg = length as i64;
        let (channels, relu) = (channels as i32, i32::from(epilogue.relu));
        let grid = Grid::covering(length, THREADS)?;
        // SAFETY: (double*, i64, int, float*, float*, Element*, int), of `length` elements, of as
        // many as there are channels, and of `length`, compared above.
        unsafe {
            self.epilogue
                .launch(grid, arguments![target, length_arg, channels, scale, bias, residual, relu])
        }
    }

    /// A result that is known to be right, as the reference of others.
    ///
    /// # Errors
    /// Whatever the driver fails with.
    pub fn widen(&self, op: &Operation, result: DeviceSlice<'_>) -> Result<DeviceBuffer> {
        let dtype = result_dtype(op);
        let length = result.len_bytes() / dtype.bytes();
        let mut reference = DeviceBuffer::alloc(&self.device, length * 8)?;
        let kernel = if dtype == DType::Float32 { &self.widen_float32 } else { &self.widen_rows };
        let source = result.read_by(&self.device)?;
        let (target, length_arg) = (reference.as_mut().address(), length as i64);
        // SAFETY: (Element* or float*, i64, double*), both of `length` elements.
        unsafe {
            kernel.launch(Grid::covering(length, THREADS)?, arguments![source, length_arg, target])
        }?;
        Ok(reference)
    }

    /// The sum of the squares of a stored result, one double, as [`Self::worst_difference`] takes
    /// it. Waits for nothing.
    ///
    /// # Errors
    /// Whatever the driver fails with.
    pub fn squares(&self, op: &Operation, expected: DeviceSlice<'_>) -> Result<DeviceBuffer> {
        let dtype = result_dtype(op);
        let mut sum = DeviceBuffer::zeroed(&self.device, 8)?;
        let source = expected.read_by(&self.device)?;
        let length = (expected.len_bytes() / dtype.bytes()) as i64;
        let kernel =
            if dtype == DType::Float32 { &self.squares_float32 } else { &self.squares_rows };
        let target = sum.as_mut().address();
        // SAFETY: (Element* or float*, i64, double*), of `length` elements and one.
        unsafe { kernel.launch(self.sweep(), arguments![source, length, target]) }?;
        Ok(sum)
    }

    /// [`Self::worst_error`] beside a stored result in place of a float64 one, with its
    /// [`squares`](Self::squares): reads each of both once. Waits for the result.
    ///
    /// # Errors
    /// [`CudaError::Length`] if the two differ in length; whatever the driver or the checked work
    /// failed with.
    pub fn worst_difference(
        &self,
        op: &Operation,
        result: DeviceSlice<'_>,
        expected: DeviceSlice<'_>,
        squares: &DeviceBuffer,
    ) -> Result<f64> {
        if result.len_bytes() != expected.len_bytes() {
            return Err(CudaError::Length {
                what: "the result",
                expected: expected.len_bytes(),
                found: result.len_bytes(),
            });
        }
        let dtype = result_dtype(op);
        let length = (expected.len_bytes() / dtype.bytes()) as i64;
        let mut found = DeviceBuffer::zeroed(&self.device, 8)?;
        let kernel = if dtype == DType::Float32 { &self.differ_float32 } else { &self.differ_rows };
        let result = result.read_by(&self.device)?;
        let expected = expected.read_by(&self.device)?;
        let squares = squares.as_ref().read_by(&self.device)?;
        let target = found.as_mut().address();
        // SAFETY: (Element* or float*, the same, i64, double*, double*): two of `length` elements
        // and two of one.
        unsafe {
            kernel.launch(self.sweep(), arguments![result, expected, length, squares, target])
        }?;
        Ok(found.download::<f64>(0, 1)?[0])
    }

    /// Blocks that go over any number of elements.
    fn sweep(&self) -> Grid {
        Grid { blocks: [self.device.identity().units * 8, 1], threads: THREADS, shared_bytes: 0 }
    }

    /// The worst error of any element: its distance from the reference over the larger of the
    /// reference's magnitude there and its root mean square. What is not a number, or infinite,
    /// counts as 1e300. Waits for the result.
    ///
    /// # Errors
    /// [`CudaError::Length`] if the two differ in length; whatever the driver or the checked work
    /// failed with.
    pub fn worst_error(
        &self,
        op: &Operation,
        result: DeviceSlice<'_>,
        reference: &DeviceBuffer,
    ) -> Result<f64> {
        let dtype = result_dtype(op);
        let length = reference.len_bytes() / 8;
        let expected = length * dtype.bytes();
        if result.len_bytes() != expected {
            return Err(CudaError::Length {
                what: "the result",
                expected,
                found: result.len_bytes(),
            });
        }
        if length == 0 {
            self.device.synchronize()?;
            return Ok(0.0);
        }
        let mut found = DeviceBuffer::zeroed(&self.device, 16)?;
        let result = result.read_by(&self.device)?;
        let reference = reference.as_ref().read_by(&self.device)?;
        let (length_arg, target) = (length as i64, found.as_mut().address());
        let grid = self.sweep();
        let compare =
            if dtype == DType::Float32 { &self.compare_float32 } else { &self.compare_rows };
        // SAFETY: (double*, i64, double*), then (Element* or float*, double*, i64, double*); both
        // of `length` elements.
        unsafe {
            self.square_sum.launch(grid, arguments![reference, length_arg, target])?;
            compare.launch(grid, arguments![result, reference, length_arg, target])?;
        }
        Ok(found.download::<f64>(8, 1)?[0])
    }
}

/// Storage type of an operation's result: weight gradients are always float32.
#[must_use]
pub const fn result_dtype(op: &Operation) -> DType {
    match op.direction.product() {
        Product::Wgrad => DType::Float32,
        Product::Forward | Product::Dgrad => op.dtype,
    }
}
