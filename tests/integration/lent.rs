//! What others lend: streams, memory, allocators.

use std::collections::HashMap;
use std::mem::take;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use cudarc::driver::{CudaContext, CudaStream, DevicePtr, result};
use voxtune::cuda::{Allocator, CUstream, CallersStream, CudaError, ForeignMemory};
use voxtune::{
    Activation, DType, Device, SparseTensor, SubmConv3d, Tensor, Voxels, WeightLayout, ops,
};
use voxtune_pointcloud::{Generator, generate};

use crate::contexts::{
    CHANNELS, DEPTH, DTYPE, Frame, Layers, ROWS, TIMES, alone, bits, gpu, values,
};

/// A stream and memory that are not voxtune's.
fn cudarc_stream() -> Arc<CudaStream> {
    CudaContext::new(0).unwrap().new_stream().unwrap()
}

/// Rows in memory of cudarc's, freed by the call that tells that it is not needed any more.
#[expect(unsafe_code, reason = "the memory is moved into what frees it")]
fn foreign(stream: &Arc<CudaStream>, rows: &[f32], told: &Arc<AtomicUsize>) -> ForeignMemory {
    let slice = stream.clone_htod(rows).unwrap();
    stream.synchronize().unwrap();
    let (address, told) = (slice.device_ptr(stream).0, Arc::clone(told));
    let release = move || {
        drop(slice);
        told.fetch_add(1, Ordering::Relaxed);
    };
    // SAFETY: the slice has as many bytes, is written no more, and lives until it is dropped there.
    unsafe { ForeignMemory::new(address, size_of_val(rows), release) }
}

#[expect(unsafe_code, reason = "addresses that are refused are never read")]
#[test]
#[ignore = "needs a GPU"]
fn owners_of_memory_are_told_once_on_a_gpu() {
    let (gpu, stream, told) = (gpu(), cudarc_stream(), Arc::<AtomicUsize>::default());
    let rows = values(ROWS * 16, 5);
    let count = || told.load(Ordering::Relaxed);
    let wrap = |rows: usize| {
        let memory = foreign(&stream, &values(ROWS * 16, 5), &told);
        Tensor::from_foreign(&gpu, memory, DType::Float32, rows, 16, 16)
    };
    let weights = values(27 * 16 * 8, 6);
    let layer = SubmConv3d::builder(16, 8).weights(WeightLayout::Rsck, &weights);
    let layer = layer.build(&gpu).unwrap();
    let voxels = Voxels::new(&gpu, generate(Generator::Surface, ROWS, 1, 1).unwrap()).unwrap();
    let run = |features: Tensor| {
        let input = SparseTensor::new(voxels.clone(), features).unwrap();
        let output = layer.forward(&input).unwrap();
        // Told only when the device is done, though the host has not waited.
        drop(input);
        bits(output.features())
    };
    let copied = Tensor::from_f32(&gpu, DType::Float32, ROWS, 16, &rows).unwrap();
    let expected = run(copied);
    for time in 0..20 {
        assert_eq!(count(), time);
        let tensor = wrap(ROWS).unwrap();
        assert!(tensor.to_f32().unwrap() == rows);
        assert_eq!(count(), time);
        assert!(run(tensor) == expected);
    }
    assert_eq!(count(), 20);
    // Too short; and what is no address of the device.
    let error = wrap(ROWS + 1).unwrap_err().to_string();
    assert!(error.contains("foreign memory") && count() == 21, "{error}");
    for (address, words) in [(0x1001, "multiple of 4"), (rows.as_ptr() as u64, "not in the memory")]
    {
        // SAFETY: nothing is read where the driver knows nothing, which is what is tested.
        let memory = unsafe { ForeignMemory::borrowed(address, 64) };
        let error = Tensor::from_foreign(&gpu, memory, DType::Float32, 1, 16, 16).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// The driver's pool, with a list of what it gave.
#[derive(Debug, Default)]
struct Counting {
    live: Mutex<HashMap<u64, usize>>,
    asked: Mutex<Vec<usize>>,
}

// SAFETY: all of it is the driver's.
#[expect(unsafe_code, reason = "an allocator of the program's")]
unsafe impl Allocator for Counting {
    fn allocate(&self, len_bytes: usize, stream: CUstream) -> Result<u64, CudaError> {
        // SAFETY: the stream is the caller's and alive.
        let address = unsafe { result::malloc_async(stream, len_bytes) };
        let full = |error| CudaError::Allocator { bytes: len_bytes, reason: format!("{error:?}") };
        let address = address.map_err(full)?;
        assert!(self.live.lock().unwrap().insert(address, len_bytes).is_none());
        self.asked.lock().unwrap().push(len_bytes);
        Ok(address)
    }

    unsafe fn free(&self, address: u64, len_bytes: usize, stream: CUstream) {
        assert_eq!(self.live.lock().unwrap().remove(&address), Some(len_bytes));
        // SAFETY: it was given above and comes back once.
        unsafe { result::free_async(address, stream) }.unwrap();
    }
}

#[test]
#[ignore = "needs a GPU"]
fn an_allocator_sees_every_byte_on_a_gpu() {
    let (gpu, counting) = (gpu(), Arc::<Counting>::default());
    let layers = Layers::new(&gpu);
    let expected = alone(&gpu, &layers, 1);
    {
        let device = gpu.with_new_stream().unwrap().with_allocator(counting.clone()).unwrap();
        let asked = || take(&mut *counting.asked.lock().unwrap());
        let live = || -> usize { counting.live.lock().unwrap().values().sum() };
        let mut frame = Frame::new(&device, &layers, 1);
        frame.run(&layers, 0).unwrap();
        frame.expect(0, &expected, 0);
        // A steady call asks for its result and nothing else.
        asked();
        let before = live();
        let output = layers.first.forward(&frame.input).unwrap();
        let bytes = ROWS * CHANNELS as usize * DTYPE.bytes();
        assert_eq!((asked(), live()), (vec![bytes], before + bytes));
        // What is dropped while a graph is captured is given back after it.
        let work = || {
            drop(output);
            frame.run(&layers, 1)
        };
        let graph = device.capture(work).unwrap();
        assert_eq!(live(), before + bytes);
        let empty = Tensor::zeros(&device, DTYPE, 1, 1).unwrap();
        assert_eq!(live(), before + 2);
        drop((graph, empty));
        assert_eq!(live(), before);
    }
    assert!(counting.live.lock().unwrap().is_empty());
}

/// What others queue on a stream, and what is queued there by a handle of it, are in one order.
#[expect(unsafe_code, reason = "the stream and its memory are the program's")]
#[test]
#[ignore = "needs a GPU"]
fn a_callers_stream_has_an_order_on_a_gpu() {
    let (gpu, stream) = (gpu(), cudarc_stream());
    let layers = Layers::new(&gpu);
    let expected = alone(&gpu, &layers, 1);
    // SAFETY: it is a stream of the device's primary context, and is dropped last.
    let handle = unsafe { CallersStream::new(stream.cu_stream()) };
    {
        let device = gpu.with_stream(handle).unwrap();
        let mut frame = Frame::new(&device, &layers, 1);
        let slice = stream.alloc_zeros::<f32>(ROWS * 64).unwrap();
        let (address, bytes) = (slice.device_ptr(&stream).0, ROWS * 64 * size_of::<f32>());
        // SAFETY: the slice outlives the tensor, and others write to it on its own stream.
        let memory = unsafe { ForeignMemory::borrowed(address, bytes) };
        let tensor = Tensor::from_foreign(&device, memory, DType::Float32, ROWS, 64, 64).unwrap();
        for round in 0..TIMES / DEPTH {
            let sums: Vec<_> = (0..DEPTH)
                .map(|time| {
                    frame.run(&layers, time).unwrap();
                    let byte = 1 + time as u8;
                    // SAFETY: the slice is as long, and the stream is alive.
                    unsafe { result::memset_d8_async(address, byte, bytes, stream.cu_stream()) }
                        .unwrap();
                    ops::add(&device, &tensor, &tensor, Activation::Identity).unwrap()
                })
                .collect();
            for (time, sum) in sums.iter().enumerate() {
                let value = f32::from_bits(0x0101_0101 * (1 + time as u32));
                let doubled = (value + value).to_bits();
                assert!(bits(sum).iter().all(|found| *found == doubled), "{time} of {round}");
                frame.expect(time, &expected, time);
            }
        }
        drop(tensor);
        drop(slice);
    }
    stream.synchronize().unwrap();
}

#[expect(unsafe_code, reason = "what is refused is never used")]
#[test]
fn a_host_takes_nothing_of_a_gpu() {
    let host = Device::cpu_with_threads(1).unwrap();
    // SAFETY: nothing is ever queued on it.
    let stream = unsafe { CallersStream::new(null_mut()) };
    let told = Arc::<AtomicUsize>::default();
    let memory = || {
        let told = Arc::clone(&told);
        // SAFETY: nothing reads it.
        unsafe { ForeignMemory::new(256, 64, move || _ = told.fetch_add(1, Ordering::Relaxed)) }
    };
    let errors = [
        host.with_stream(stream).unwrap_err(),
        host.with_allocator(Arc::<Counting>::default()).unwrap_err(),
        Tensor::from_foreign(&host, memory(), DType::Float32, 1, 16, 16).unwrap_err(),
    ];
    for (error, what) in errors.iter().zip(["streams", "allocators", "foreign memory"]) {
        let error = error.to_string();
        assert!(error.contains(what) && error.contains("GPU"), "{error}");
    }
    assert_eq!(told.load(Ordering::Relaxed), 1);
}
