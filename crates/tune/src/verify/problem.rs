//! One problem: operands, and the result that float64 gives.

use voxtune::{
    Algorithm, ConvError, Device, Epilogue, KernelMap, Launch, MapCounts, Operation, Reference,
};
use voxtune_cache::Reason;

use crate::inputs::operands::Operands;
use crate::verify::rejection::{Rejection, Verdict, failed, guarded};
use crate::verify::tolerance::tolerance;

/// Operands, and the result that float64 gives.
#[derive(Debug)]
pub struct Problem {
    /// The operands, and where candidates put their results.
    pub operands: Operands,
    expected: Reference,
    /// The largest error that is no defect.
    tolerance: f64,
}

impl Problem {
    /// A problem whose results are rounded.
    ///
    /// # Errors
    /// If operands do not fit or the device fails.
    pub fn random(
        device: &Device,
        operation: &Operation,
        map: &KernelMap,
        operands: Operands,
    ) -> Result<Self, ConvError> {
        let tolerance = tolerance(operation, map.counts());
        Self::new(device, operation, map, operands, tolerance)
    }

    /// A problem in whose results nothing is rounded: any difference is a defect.
    ///
    /// # Errors
    /// If operands do not fit or the device fails.
    pub fn exact(
        device: &Device,
        operation: &Operation,
        map: &KernelMap,
        operands: Operands,
    ) -> Result<Self, ConvError> {
        Self::new(device, operation, map, operands, 0.0)
    }

    fn new(
        device: &Device,
        operation: &Operation,
        map: &KernelMap,
        operands: Operands,
        tolerance: f64,
    ) -> Result<Self, ConvError> {
        let Operands { a, b, .. } = &operands;
        let expected = Reference::compute(device, operation, map, a, b)?;
        Ok(Self { operands, expected, tolerance })
    }

    /// Expects the result of an epilogue, too.
    ///
    /// # Errors
    /// If a part of it does not fit or the device fails.
    pub fn finish(
        &mut self,
        device: &Device,
        operation: &Operation,
        map: &KernelMap,
        epilogue: &Epilogue<'_>,
    ) -> Result<(), ConvError> {
        let operands = [&self.operands.a, &self.operands.b];
        self.expected = Reference::with_epilogue(device, operation, map, operands, epilogue)?;
        Ok(())
    }

    /// The largest error that is no defect.
    #[must_use]
    pub const fn tolerance(&self) -> f64 {
        self.tolerance
    }

    /// Runs a candidate on a poisoned result and returns its worst error if that is tolerable.
    pub(crate) fn check(
        &mut self,
        device: &Device,
        algorithm: &dyn Algorithm,
        operation: &Operation,
        map: &KernelMap,
    ) -> Verdict {
        let worst = self.worst_error(device, algorithm, operation, map, None)?;
        if worst <= self.tolerance {
            return Ok(worst);
        }
        let (MapCounts { n_out: rows, .. }, tolerance) = (map.counts(), self.tolerance);
        let detail =
            format!("normalised error {worst:.2e} of {rows} rows, tolerance {tolerance:.0e}");
        Err(Rejection::new(Reason::WrongResult, detail))
    }

    /// Runs a candidate on a poisoned result and returns its worst error, whatever it is.
    ///
    /// # Errors
    /// If the candidate does not compute a result.
    pub fn worst_error(
        &mut self,
        device: &Device,
        algorithm: &dyn Algorithm,
        operation: &Operation,
        map: &KernelMap,
        epilogue: Option<&Epilogue<'_>>,
    ) -> Result<f64, Rejection> {
        let Operands { a, b, out } = &mut self.operands;
        out.poison(device).map_err(failed)?;
        let launch = Launch { operation, map, a, b, out, epilogue };
        guarded(|| device.registry().run(algorithm, device, launch))?;
        guarded(|| self.expected.worst_error(device, &self.operands.out))
    }
}

#[cfg(test)]
mod tests {
    use voxtune::{DType, Direction, KernelSize, Tensor, Voxels};
    use voxtune_pointcloud::{Generator, generate};

    use super::*;

    /// A forward layer of the host, on a small cloud.
    fn forward(dtype: DType) -> (Device, Operation, Voxels) {
        let device = Device::cpu_with_threads(1).unwrap();
        let kernel = KernelSize::submanifold(3).unwrap();
        let operation = Operation::submanifold(Direction::Forward, dtype, 8, 12, kernel);
        let cells = generate(Generator::Surface, 150, 1, 0).unwrap();
        let voxels = Voxels::new(&device, cells).unwrap();
        (device, operation, voxels)
    }

    #[test]
    fn an_epilogue_is_part_of_what_is_expected() {
        for dtype in DType::ALL {
            let (device, operation, voxels) = forward(dtype);
            let map = voxels.kernel_map(operation.kernel).unwrap();
            let counts = map.counts();
            let operands = Operands::random(&device, &operation, counts, 1).unwrap();
            let mut problem = Problem::random(&device, &operation, &map, operands).unwrap();
            let value = |index: usize| (index % 7) as f32 - 3.0;
            let (scale, bias) = ([2.0; 12], [-1.0; 12]);
            let residual = Tensor::from_fn(&device, dtype, counts.n_out, 12, value).unwrap();
            let epilogue = Epilogue::new().with_scale(&device, &scale).unwrap();
            let epilogue = epilogue.with_bias(&device, &bias).unwrap().with_relu();
            let epilogue = epilogue.with_residual(&residual);
            problem.finish(&device, &operation, &map, &epilogue).unwrap();
            let default = device.registry().default_for(&operation).unwrap();
            let mut worst = |epilogue: Option<&Epilogue<'_>>| {
                problem.worst_error(&device, &**default, &operation, &map, epilogue).unwrap()
            };
            let (with, without) = (worst(Some(&epilogue)), worst(None));
            assert!(with <= problem.tolerance(), "{dtype}: {with:e}");
            assert!(without > 0.1, "{dtype}: {without:e}");
        }
    }

    #[test]
    fn integers_are_exact_and_nothing_else_is() {
        let (device, operation, voxels) = forward(DType::Float16);
        let map = voxels.kernel_map(operation.kernel).unwrap();
        let default = device.registry().default_for(&operation).unwrap();
        let verdict = |operands: Operands| {
            let mut problem = Problem::exact(&device, &operation, &map, operands).unwrap();
            problem.check(&device, &**default, &operation, &map)
        };
        let integers = Operands::integers(&device, &operation, map.counts(), 1).unwrap();
        assert_eq!(verdict(integers), Ok(0.0));
        let random = Operands::random(&device, &operation, map.counts(), 1).unwrap();
        assert_eq!(verdict(random).unwrap_err().reason, Reason::WrongResult);
    }
}
