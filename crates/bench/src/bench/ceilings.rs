//! What a GPU can do: measured in the same run as what is measured against it.

use std::collections::BTreeMap;

use voxtune::DType;
use voxtune_cuda::{Cublas, Result};

use super::report::CeilingsReport;
use crate::check::random_buffer;
use crate::cuda_kernels::CudaKernels;

/// Bytes of the copy that is timed: far more than any cache holds.
const COPY_BYTES: usize = 1 << 30;

/// Edge of the dense product.
const DENSE_EDGE: usize = 8192;

/// Measures the rates of a device. Without cuBLAS there are none of dense products.
pub(crate) fn measure(kernels: &mut CudaKernels, dtypes: &[DType]) -> Result<CeilingsReport> {
    let mut probe = kernels.probe()?;
    let device = kernels.cuda().clone();
    let copy_bytes_per_s = Some(probe.copy_rate(COPY_BYTES)?);
    let mut dense_flops_per_s = BTreeMap::new();
    if let Ok(cublas) = Cublas::new(&device) {
        for &dtype in dtypes {
            let operand = |seed| random_buffer(&device, dtype, DENSE_EDGE * DENSE_EDGE, seed);
            let rate = cublas.dense_rate(&device, dtype, &operand(1)?, &operand(2)?, DENSE_EDGE)?;
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
