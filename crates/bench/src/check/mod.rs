//! Every kernel of a GPU against what is known to be right.
//!
//! | step | compared with |
//! |---|---|
//! | [`Step::Maps`] | the host's kernel maps, pair by pair |
//! | [`Step::Float64`] | the host's float64 products |
//! | [`Step::Shapes`] | float64 on the device, of everything that is hard or at an edge |
//! | [`Step::Epilogue`] | float64 on the device, itself compared: every combination of parts |
//! | [`Step::Strided`] | the host's maps; float64, of strided and transposed layers |
//! | [`Step::Network`] | the host's outputs and maps, of networks whose levels are made at once |
//! | [`Step::Frame`] | themselves call by call, of frames of a network that run as graphs |
//! | [`Step::Clouds`] | float64 on clouds as users have them: the table of worst errors |
//! | [`Step::Repeats`] | themselves, bit by bit |
//! | [`Step::Large`] | float64, where byte offsets leave 32 bits |
//! | [`Step::Race`] | nothing: every instance runs once, for a race detector that watches it |
//!
//! Algorithms run through the registry, as in layers and in populate, and are judged by the
//! verifier and the tolerance of the tuner. Results are poisoned before every product and
//! workspaces hold garbage. The steps ask [`voxtune_cuda::algorithms`] what there is and know no
//! family by name.

mod cases;
mod cells;
mod data;
mod epilogue;
mod float64;
mod frame;
mod large;
mod maps;
mod network;
mod products;
mod race;
mod repeats;
mod strided;
mod worst;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use serde::Serialize;
use voxtune::inspection::kernel_map;
use voxtune::{ConvError, Device, DeviceError, KernelMap};
use voxtune_cuda::{
    Algorithm, CudaDevice, CudaError, DeviceKernelMap, Instance, MapBuilder, Verifier, algorithms,
};
use voxtune_models::ModelError;
use voxtune_types::{DType, Direction, Geometry, KernelSize, Operation, Voxel};

pub(crate) use data::random_buffer;
pub use worst::{WorstError, table};

use crate::cuda_kernels::{Compilation, CudaKernels};
use crate::named_cloud::NamedCloud;
use products::is_usable;
use voxtune_tune::plan::partition::Partition;
use voxtune_tune::verify::rejection::Rejection;

/// A part of the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Kernel maps.
    Maps,
    /// The float64 kernels.
    Float64,
    /// Adversarial shapes.
    Shapes,
    /// Forward products with scale, bias, residual and ReLU.
    Epilogue,
    /// Strided and transposed layers.
    Strided,
    /// Levels and maps made side by side.
    Network,
    /// Frames of a network as graphs.
    Frame,
    /// The table of worst errors.
    Clouds,
    /// Bitwise repeats.
    Repeats,
    /// Two million rows.
    Large,
    /// Every instance once, on a small cloud.
    Race,
}

/// A text that names no step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown step `{0}`: expected maps, float64, shapes, epilogue, strided, network, frame, clouds, \
     repeats, large or race"
)]
pub struct UnknownStep(String);

impl Step {
    /// Every step, in the order in which they run.
    pub const ALL: [Self; 11] = [
        Self::Maps,
        Self::Float64,
        Self::Shapes,
        Self::Epilogue,
        Self::Strided,
        Self::Network,
        Self::Frame,
        Self::Clouds,
        Self::Repeats,
        Self::Large,
        Self::Race,
    ];

    /// The name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Maps => "maps",
            Self::Float64 => "float64",
            Self::Shapes => "shapes",
            Self::Epilogue => "epilogue",
            Self::Strided => "strided",
            Self::Network => "network",
            Self::Frame => "frame",
            Self::Clouds => "clouds",
            Self::Repeats => "repeats",
            Self::Large => "large",
            Self::Race => "race",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Step {
    type Err = UnknownStep;

    fn from_str(text: &str) -> Result<Self, UnknownStep> {
        Self::ALL
            .into_iter()
            .find(|step| step.as_str() == text)
            .ok_or_else(|| UnknownStep(text.to_owned()))
    }
}

/// What to check.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// Few shapes and small ones, on which every instance of a family still runs: for sanitizers.
    pub quick: bool,
    /// Only algorithms whose id contains this.
    pub filter: String,
    /// The steps to run.
    pub steps: Vec<Step>,
    /// Runs of each algorithm that must agree to the bit.
    pub repeats: usize,
    /// The clouds of the table, and of maps.
    pub clouds: Vec<NamedCloud>,
    /// The part of [`Step::Race`] that falls to this process; all of it without.
    pub part: Option<Partition>,
}

impl CheckOptions {
    fn names(&self, algorithm: &Algorithm) -> bool {
        algorithm.id().as_str().contains(&self.filter)
    }

    fn runs(&self, step: Step) -> bool {
        self.steps.contains(&step)
    }
}

/// A check that cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The device failed outside of what is checked, or does not work any more.
    #[error(transparent)]
    Device(#[from] CudaError),
    /// Tensors or maps cannot be had, or do not fit.
    #[error(transparent)]
    SetUp(#[from] ConvError),
    /// An algorithm computed nothing.
    #[error("{0}")]
    Run(String),
    /// A network cannot be had.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The device cannot be opened again, with kernels that a race detector can follow.
    #[error(transparent)]
    Open(#[from] DeviceError),
    /// A launch would reserve another amount of shared memory than the kernel was compiled for.
    #[error("{promised} bytes of shared memory promised, {compiled} compiled")]
    SharedMemory {
        /// What the host launches with.
        promised: usize,
        /// What the kernel expects.
        compiled: usize,
    },
}

impl From<Rejection> for CheckError {
    fn from(rejection: Rejection) -> Self {
        Self::Run(rejection.detail)
    }
}

/// What a step found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// Which step.
    pub step: Step,
    /// Maps, products or algorithms compared.
    pub checked: usize,
    /// What was wrong, a line each.
    pub failures: Vec<String>,
    /// How long it took.
    pub seconds: f64,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckReport {
    /// Device, driver and compiler.
    pub device: String,
    /// Whether shapes were few and small.
    pub quick: bool,
    /// What did not compile, a line each.
    pub compile_failures: Vec<String>,
    /// The steps that ran.
    pub steps: Vec<StepReport>,
    /// The worst errors on clouds.
    pub worst: Vec<WorstError>,
}

impl CheckReport {
    /// Everything that was wrong.
    pub fn failures(&self) -> impl Iterator<Item = &str> {
        let steps = self.steps.iter().flat_map(|step| &step.failures);
        self.compile_failures.iter().chain(steps).map(String::as_str)
    }
}

/// What happens during a check.
#[derive(Debug)]
#[non_exhaustive]
pub enum CheckEvent<'a> {
    /// The kernels are there.
    Compiled(Compilation),
    /// A step begins.
    Started(Step),
    /// A step ended.
    Ended(&'a StepReport),
}

/// What a step found, before it is timed.
#[derive(Debug, Default)]
struct Findings {
    checked: usize,
    failures: Vec<String>,
    worst: Vec<WorstError>,
}

impl Findings {
    fn judge(&mut self, algorithm: &Algorithm, what: &str, error: f64, tolerance: f64) {
        if error.is_nan() || error > tolerance {
            self.failures
                .push(format!("{algorithm} on {what}: error {error:e} over {tolerance:e}"));
        }
    }
}

/// Everything that the steps share.
struct Checker<'a> {
    /// Where algorithms run.
    device: Device,
    kernels: CudaKernels,
    builder: MapBuilder,
    verifiers: BTreeMap<DType, Verifier>,
    options: &'a CheckOptions,
}

/// Checks the kernels of a device.
///
/// # Errors
/// If the device does not work at all, or no longer. What is wrong with kernels is in the report.
pub fn check(
    mut kernels: CudaKernels,
    options: &CheckOptions,
    observer: &mut dyn FnMut(&CheckEvent<'_>),
) -> Result<CheckReport, CheckError> {
    let cases = cases::cases(options.quick);
    let compilation = kernels.compile(instances(&kernels, options, &cases));
    observer(&CheckEvent::Compiled(compilation));
    let mut report = CheckReport {
        device: kernels.describe(),
        quick: options.quick,
        compile_failures: kernels.failures().map(str::to_owned).collect(),
        steps: Vec::new(),
        worst: Vec::new(),
    };
    let mut checker = Checker::new(kernels, options)?;
    for step in Step::ALL.into_iter().filter(|step| options.runs(*step)) {
        observer(&CheckEvent::Started(step));
        let start = Instant::now();
        let findings = match step {
            Step::Maps => maps::check(&checker.builder, options.quick, &options.clouds)?,
            Step::Float64 => checker.float64()?,
            Step::Shapes => checker.shapes(&cases)?,
            Step::Epilogue => checker.epilogues()?,
            Step::Strided => checker.strided()?,
            Step::Network => checker.network()?,
            Step::Frame => checker.frame()?,
            Step::Clouds => checker.clouds(&options.clouds)?,
            Step::Repeats => checker.repeats()?,
            Step::Large => checker.large()?,
            Step::Race => Checker::new(checker.kernels.for_race_detector()?, options)?.race()?,
        };
        let Findings { checked, failures, worst } = findings;
        report.worst.extend(worst);
        let seconds = start.elapsed().as_secs_f64();
        report.steps.push(StepReport { step, checked, failures, seconds });
        observer(&CheckEvent::Ended(report.steps.last().expect("one was just added")));
    }
    Ok(report)
}

/// Every instance that the steps need, so that they are compiled at once.
fn instances(
    kernels: &CudaKernels,
    options: &CheckOptions,
    cases: &[cases::Case],
) -> Vec<Instance> {
    let mut operations: Vec<Operation> = Vec::new();
    for step in options.steps.iter() {
        match step {
            Step::Shapes => operations.extend(cases.iter().map(|case| case.op)),
            Step::Epilogue => operations.extend(epilogue::operations(options.quick)),
            Step::Strided => operations.extend(strided::operations(options.quick)),
            Step::Clouds => operations.extend(products::table_operations(options.quick)),
            Step::Repeats => operations.extend(repeats::operations()),
            Step::Large => operations.extend(large::operations()),
            // A frame compiles what it comes to.
            Step::Maps | Step::Float64 | Step::Network | Step::Frame | Step::Race => {}
        }
    }
    let device = kernels.device();
    let mut instances =
        vec![Instance::kernel_map(), Instance::strided_map(), Instance::network_maps()];
    instances.extend(DType::ALL.map(Instance::reference));
    if options.runs(Step::Race) {
        let runs = race::runs(options, |algorithm, op| is_usable(device, algorithm, op));
        instances.extend(runs.iter().filter_map(race::Run::instance));
    }
    for op in operations {
        let wanted = algorithms().iter().filter(|algorithm| {
            options.names(algorithm)
                && cases::admits(&op, algorithm)
                && is_usable(device, algorithm, &op)
        });
        instances.extend(wanted.filter_map(|algorithm| algorithm.instance(&op)));
    }
    instances
}

impl<'a> Checker<'a> {
    fn new(mut kernels: CudaKernels, options: &'a CheckOptions) -> Result<Self, CheckError> {
        let (device, builder) = (kernels.device().clone(), kernels.map_builder()?);
        Ok(Self { device, kernels, builder, verifiers: BTreeMap::new(), options })
    }

    /// Where maps and operands are made.
    const fn cuda(&self) -> &CudaDevice {
        self.kernels.cuda()
    }

    /// A kernel map with every row order that an algorithm under test names.
    fn map_of(
        &self,
        voxels: &[Voxel],
        kernel: KernelSize,
        reverse: bool,
    ) -> Result<KernelMap, CheckError> {
        let mut map = self.builder.submanifold(voxels, kernel)?;
        if reverse {
            self.builder.add_reverse(&mut map)?;
        }
        self.add_orders(&map)?;
        Ok(kernel_map(Geometry::submanifold(kernel, [1; 3]), map)?)
    }

    fn add_orders(&self, map: &DeviceKernelMap) -> Result<(), CheckError> {
        for algorithm in algorithms().iter().filter(|algorithm| self.options.names(algorithm)) {
            self.builder.add_order(map, Direction::Forward, algorithm.row_order())?;
        }
        Ok(())
    }

    fn verifier(&mut self, dtype: DType) -> Result<&Verifier, CheckError> {
        if !self.verifiers.contains_key(&dtype) {
            let verifier = self.kernels.verifier(dtype)?;
            self.verifiers.insert(dtype, verifier);
        }
        Ok(&self.verifiers[&dtype])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_known_by_name() {
        for step in Step::ALL {
            assert_eq!(step.to_string().parse(), Ok(step));
        }
        assert_eq!("map".parse::<Step>(), Err(UnknownStep("map".to_owned())));
    }

    #[test]
    fn a_failure_names_the_algorithm_the_product_and_the_error() {
        let mut findings = Findings::default();
        let algorithm = &algorithms()[0];
        findings.judge(algorithm, "a product", 0.0, 0.0);
        findings.judge(algorithm, "a product", 2e-3, 1e-3);
        findings.judge(algorithm, "a product", f64::NAN, 1e-3);
        assert_eq!(findings.failures.len(), 2);
        assert_eq!(findings.failures[0], format!("{algorithm} on a product: error 2e-3 over 1e-3"));
    }
}
