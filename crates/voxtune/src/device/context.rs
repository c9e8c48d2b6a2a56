//! Handles of further execution contexts of a device.

use std::sync::Arc;

use voxtune_cuda::{Allocator, CallersStream, CudaDevice};

use super::{CudaBackend, Device, Inner};
use crate::ConvError;

impl Device {
    /// A handle of this device with a stream of its own, whose work runs beside that of others: in
    /// another thread, for another frame. On a CPU every handle is like every other one, and each
    /// call is done when it returns.
    ///
    /// ```
    /// use voxtune::{Device, DeviceChoice};
    ///
    /// let (device, _) = Device::open(DeviceChoice::Auto)?;
    /// let other = device.with_new_stream()?;
    /// assert_eq!(other.identity(), device.identity());
    /// // What is handed to `device` from now on begins when `other` has done what it was given.
    /// device.wait_for(&other)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If a GPU has no stream or memory to give.
    pub fn with_new_stream(&self) -> Result<Self, ConvError> {
        match self.cuda() {
            None => Ok(self.with_backend(None)),
            Some(cuda) => self.within(cuda, cuda.device().with_new_stream()?),
        }
    }

    /// A handle of this device, a GPU, whose work goes to a stream of the caller's, in order with
    /// what others queue there.
    ///
    /// # Errors
    /// If this device is no GPU, or has no memory to give.
    pub fn with_stream(&self, stream: CallersStream) -> Result<Self, ConvError> {
        let cuda = self.expect_cuda("streams")?;
        self.within(cuda, cuda.device().with_stream(stream))
    }

    /// A handle of this device, a GPU, and this handle's stream, whose memory comes from an
    /// allocator of the caller's: results, kernel maps, workspaces.
    ///
    /// # Errors
    /// If this device is no GPU, or the allocator has no memory to give.
    pub fn with_allocator(&self, allocator: Arc<dyn Allocator>) -> Result<Self, ConvError> {
        let cuda = self.expect_cuda("allocators")?;
        self.within(cuda, cuda.device().with_allocator(allocator))
    }

    /// Lets what is handed to this context from now on begin when another one has done what it was
    /// given so far. The host waits for nothing. Calls that share tensors need none of this;
    /// launches of a [`Graph`](crate::Graph) do, and memory that others write.
    ///
    /// # Errors
    /// If the two are of different GPUs, or one of them fails.
    pub fn wait_for(&self, other: &Self) -> Result<(), ConvError> {
        match (self.cuda(), other.cuda()) {
            (Some(cuda), Some(other)) => Ok(cuda.device().wait_for(other.device())?),
            // What was handed to a CPU is done.
            _ => Ok(()),
        }
    }

    /// A handle of this device, a GPU, in a context that is there.
    pub(crate) fn in_context(&self, device: CudaDevice) -> Result<Self, ConvError> {
        self.within(self.expect_cuda("contexts")?, device)
    }

    fn within(&self, cuda: &CudaBackend, device: CudaDevice) -> Result<Self, ConvError> {
        Ok(self.with_backend(Some(Arc::new(cuda.within(device)?))))
    }

    fn with_backend(&self, cuda: Option<Arc<CudaBackend>>) -> Self {
        let Inner { cpu, registry, preparations, .. } = &*self.inner;
        let (cpu, registry) = (Arc::clone(cpu), Arc::clone(registry));
        let preparations = Arc::clone(preparations);
        Self { inner: Arc::new(Inner { cpu, cuda, registry, preparations }) }
    }

    pub(crate) fn expect_cuda(&self, what: &'static str) -> Result<&CudaBackend, ConvError> {
        let device = || self.identity().clone();
        self.cuda().ok_or_else(|| ConvError::NotOfAGpu { what, device: device() })
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::{DType, Voxel};

    use super::*;
    use crate::{SparseConv3d, SparseTensor, Tensor, Voxels, WeightLayout};

    /// Two handles of the host share what belongs to the device, and a layer of one computes the
    /// same over the other's input, in whichever thread.
    #[test]
    fn handles_of_the_host_are_alike() {
        let device = Device::cpu_with_threads(2).unwrap();
        let other = device.with_new_stream().unwrap();
        assert_eq!(device.identity(), other.identity());
        assert!(std::ptr::eq(device.registry(), other.registry()));
        assert!(std::ptr::eq(device.preparations(), other.preparations()));
        assert!(!other.is_capturing());

        let weights: Vec<f32> = (0..27 * 3 * 5).map(|index| (index % 7) as f32 - 3.0).collect();
        let layer = SparseConv3d::builder(3, 5).kernel(3).stride(2).padding(1).bias(&[0.5; 5]);
        let layer = layer.weights(WeightLayout::Rsck, &weights).build(&device).unwrap();
        let run = |device: &Device| {
            let cells = (0..60).map(|at| Voxel::new(0, at % 5, at / 5 % 4, at / 20)).collect();
            let voxels = Voxels::new(device, cells).unwrap();
            let value = |index| (index % 11) as f32 - 5.0;
            let x = Tensor::from_fn(device, DType::Float32, 60, 3, value).unwrap();
            let input = SparseTensor::new(voxels, x).unwrap();
            let output = layer.forward(&input).unwrap();
            let gradients = layer.backward(&input, output.features()).unwrap();
            let tensors = [output.features(), &gradients.input, &gradients.weights];
            tensors.map(|tensor| tensor.to_f32().unwrap())
        };
        let alone = run(&device);
        let (first, second) = std::thread::scope(|scope| {
            let [first, second] = [&device, &other].map(|device| scope.spawn(move || run(device)));
            (first.join().unwrap(), second.join().unwrap())
        });
        assert!(alone[0].iter().any(|value| *value != 0.0));
        assert!(first == alone && second == alone);
        device.wait_for(&other).unwrap();
        other.synchronize().unwrap();
    }
}
