//! Whether compiled code is what it should be, unless the source declares otherwise. No instruction
//! touches registers of a product in flight, nothing is spilled, and products of a warpgroup
//! overlap.

use std::fs;
use std::process::Command;

use rayon::prelude::*;

use voxtune_cuda::{Code, Compiled, CudaError, Result};

use crate::compile::notes_path;
use crate::cuda_toolkit::is_pinned;
use crate::expected::{Declaration, Finding, declaration, declarations_of};
use crate::find::Toolchain;
use crate::io::IoContext as _;
use crate::ptxas::{self, PtxasReport};
use crate::sass::{Hazard, NVDISASM_ARGS, hazards};

impl Toolchain {
    /// Inspects compiled instances, `jobs` at a time; results are in their order.
    ///
    /// The machine code of families with Hopper's own instructions is disassembled: no instruction
    /// may touch registers of a product in flight. What the assembler said about a cubin is
    /// compared with what its source declares, where the compiler is the pinned one. Declarations
    /// are about its code, and what another spills costs time that races see. PTX is passed: the
    /// driver makes code of it, elsewhere.
    ///
    /// # Errors
    /// Each instance has its own: [`CudaError::RefusedCode`] with all that is wrong,
    /// [`CudaError::Uninspected`] if its code or the words about it cannot be read,
    /// [`CudaError::NvdisasmNotFound`] without a disassembler.
    pub fn inspect(&self, compiled: &[&Compiled], jobs: usize) -> Vec<Result<()>> {
        let run = || compiled.par_iter().map(|one| self.inspect_one(one)).collect();
        match rayon::ThreadPoolBuilder::new().num_threads(jobs.max(1)).build() {
            Ok(pool) => pool.install(run),
            Err(_) => run(),
        }
    }

    fn inspect_one(&self, compiled: &Compiled) -> Result<()> {
        if compiled.code == Code::Ptx {
            return Ok(());
        }
        let instance = &compiled.instance;
        let uninspected =
            |reason| CudaError::Uninspected { instance: instance.to_string(), reason };
        let report = ptxas_report(compiled)?;
        let declared = declarations_of(instance).map_err(uninspected)?;
        let mut defects = match is_pinned(self.version()) {
            true => undeclared(compiled, report, &declared),
            false => Vec::new(),
        };
        if instance.hopper {
            defects.extend(self.hazards(compiled)?.iter().map(describe));
        }
        if defects.is_empty() {
            return Ok(());
        }
        let (instance, capability) = (instance.to_string(), compiled.arch);
        Err(CudaError::RefusedCode { instance, capability, defects })
    }

    fn hazards(&self, compiled: &Compiled) -> Result<Vec<Hazard>> {
        let nvdisasm = self.nvdisasm()?;
        let uninspected =
            |reason| CudaError::Uninspected { instance: compiled.instance.to_string(), reason };
        let mut command = Command::new(nvdisasm);
        let output = command.args(NVDISASM_ARGS).arg(&compiled.path).output().at(nvdisasm)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(uninspected(format!("{} failed: {}", nvdisasm.display(), said.trim())));
        }
        let listing = String::from_utf8_lossy(&output.stdout);
        hazards(&listing).map_err(|reason| {
            uninspected(format!("{} of {}: {reason}", nvdisasm.display(), compiled.path.display()))
        })
    }
}

/// What ptxas reported when it made a cubin.
fn ptxas_report(compiled: &Compiled) -> Result<PtxasReport> {
    let path = notes_path(&compiled.path);
    let words = fs::read_to_string(&path).at(&path)?;
    ptxas::parse(&words).ok_or_else(|| CudaError::Uninspected {
        instance: compiled.instance.to_string(),
        reason: format!("{} says nothing about it: delete it", path.display()),
    })
}

fn describe(hazard: &Hazard) -> String {
    format!("{hazard}: keep these registers in use until a wait for the product, or wait for all")
}

/// What the assembler found and the source does not declare, and the reverse.
fn undeclared(
    compiled: &Compiled,
    report: PtxasReport,
    declared: &[Declaration<'_>],
) -> Vec<String> {
    let (instance, arch) = (&compiled.instance, compiled.arch);
    let judge = |finding: Finding| {
        let expected = declared.iter().any(|one| one.covers(finding, instance, arch));
        let (name, source) = (finding.name(), instance.source);
        match (finding.is_in(report), expected) {
            (true, true) | (false, false) => None,
            (true, false) => Some(format!(
                "{}: change it, or declare in {source} `{}`",
                finding.describe(report),
                declaration(finding, instance, arch)
            )),
            (false, true) => {
                Some(format!("{source} declares `{name}` of it, which is not so: correct the line"))
            }
        }
    };
    Finding::ALL.into_iter().filter_map(judge).collect()
}

impl Finding {
    const fn is_in(self, report: PtxasReport) -> bool {
        match self {
            Self::Spills => report.spilled > 0,
            Self::Serialised => report.serialised,
        }
    }

    fn describe(self, report: PtxasReport) -> String {
        match self {
            Self::Spills => {
                format!("it spills registers, {} bytes of stores and loads", report.spilled)
            }
            Self::Serialised => "its wgmma products are serialised (C7512)".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use voxtune_types::ComputeCapability;

    use super::*;
    use crate::expected::declarations;
    use voxtune_cuda::Instance;

    const ARCH: ComputeCapability = ComputeCapability { major: 9, minor: 0 };

    fn compiled(defines: &[(&'static str, u32)]) -> Compiled {
        let instance = Instance::new("wgmma_gemm.cu", defines);
        let (path, bytes) = (PathBuf::new(), b".version 9.0".to_vec());
        let text = Compiled::new(Code::Ptx, &instance, ARCH, 13_000, path, bytes, false);
        let mut compiled = text.unwrap();
        // A text is the shortest of what there is to make one of.
        compiled.code = Code::Cubin;
        compiled
    }

    #[test]
    fn findings_and_declarations_must_agree() {
        let text = "// expected: spills on sm_90 where ROWS=256: two blocks per SM\n";
        let declared = declarations(text).unwrap();
        let (wide, narrow) = (compiled(&[("ROWS", 256)]), compiled(&[("ROWS", 128)]));
        let report = |spilled, serialised| PtxasReport { spilled, serialised };
        let defects = |one, report| undeclared(one, report, &declared);
        assert!(defects(&wide, report(8, false)).is_empty());
        assert!(defects(&narrow, report(0, false)).is_empty());
        let of_narrow = defects(&narrow, report(8, true));
        let [spills, serialised] = of_narrow.as_slice() else { panic!("{of_narrow:?}") };
        assert!(
            spills.contains("8 bytes") && spills.contains("on sm_90 where ROWS=128: REASON`"),
            "{spills}"
        );
        assert!(serialised.contains("C7512") && serialised.contains("`// expected: serialised on"));
        // What is proposed declares it.
        let proposed = declaration(Finding::Spills, &narrow.instance, ARCH);
        let proposed = declarations(&proposed).unwrap();
        assert!(undeclared(&narrow, report(8, false), &proposed).is_empty());
        let plain = declaration(Finding::Spills, &Instance::kernel_map(), ARCH);
        assert_eq!(declarations(&plain).unwrap().len(), 1, "{plain}");
        let outdated = defects(&wide, report(0, false));
        assert!(outdated[0].contains("which is not so"), "{outdated:?}");
        assert_eq!(outdated.len(), 1);
    }

    #[test]
    fn without_the_words_of_the_assembler_nothing_passes() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = compiled(&[]);
        one.path = folder.path().join("one.cubin");
        assert!(matches!(ptxas_report(&one), Err(CudaError::Io { .. })));
        fs::write(notes_path(&one.path), "nothing").unwrap();
        let error = ptxas_report(&one).unwrap_err().to_string();
        assert!(error.contains("one.ptxas says nothing about it: delete it"), "{error}");
        let words = "    8 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads\n";
        fs::write(notes_path(&one.path), words).unwrap();
        assert_eq!(ptxas_report(&one).unwrap(), PtxasReport { spilled: 12, serialised: false });
    }
}
