//! What a GPU can do: measured in the same run as what is measured against it.

use std::collections::BTreeMap;

use voxtune::DType;
use voxtune_cuda::Result;

use super::report::CeilingsReport;
use crate::check::CheckTensor;
use crate::cuda_kernels::CudaKernels;

/// Bytes of the copy that is timed: far more than any cache holds.
const COPY_BYTES: usize = 1 << 30;

/// Edge of the dense product.
const DENSE_EDGE: usize = 8192;

/// Measures the rates of a device. Without cuBLAS there are none of dense products.
pub(crate) fn measure(kernels: &mut CudaKernels, dtypes: &[DType]) -> Result<CeilingsReport> {
    let mut probe = kernels.probe()?;
    let device = kernels.device().clone();
    let copy_bytes_per_s = Some(probe.copy_rate(COPY_BYTES)?);
    let mut dense_flops_per_s = BTreeMap::new();
    if let Some(cublas) = kernels.cublas() {
        for &dtype in dtypes {
            let operand =
                |seed| CheckTensor::random(&device, dtype, DENSE_EDGE * DENSE_EDGE, 0, seed);
            let (a, b) = (operand(1)?, operand(2)?);
            let rate = cublas.dense_rate(&device, dtype, a.buffer(), b.buffer(), DENSE_EDGE)?;
            dense_flops_per_s.insert(dtype, rate);
        }
    }
    let empty_launch_ns = probe.empty_launch_ns(&mut kernels.blocking_kernel()?)?;
    Ok(CeilingsReport {
        given: false,
        copy_bytes_per_s,
        dense_flops_per_s,
        empty_launch_ms: Some(empty_launch_ns / 1e6),
        clock_mhz: Some(probe.clock_mhz()?),
    })
}
