//! What ptxas says about code that it makes.

/// Findings of ptxas about an instance, over all its kernels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PtxasReport {
    /// Bytes of spilled registers, stores and loads together.
    pub(crate) spilled: u32,
    /// Whether products wait for each other, C7512.
    pub(crate) serialised: bool,
}

/// The notes in what `nvcc -Xptxas -v` printed; `None` if there are none about a kernel.
///
/// ```text
/// ptxas info    : (C7512) Potential Performance Loss: wgmma.mma_async instructions are serialized
///                 due to insufficient register resources for the function 'wgmma_gemm'
/// ptxas info    : Compiling entry function 'wgmma_gemm' for 'sm_90a'
/// ptxas info    : Function properties for wgmma_gemm
///     24 bytes stack frame, 48 bytes spill stores, 28 bytes spill loads
/// ```
pub(crate) fn parse(output: &str) -> Option<PtxasReport> {
    let mut report = PtxasReport::default();
    let mut kernels = 0;
    for line in output.lines() {
        // The number depends on the reason: C7510 and its neighbours say the same.
        report.serialised |= line.contains("instructions are serialized");
        if line.contains("bytes spill stores") {
            report.spilled += bytes(line, "spill stores")? + bytes(line, "spill loads")?;
            kernels += 1;
        }
    }
    (kernels > 0).then_some(report)
}

/// The number in `48 bytes WHAT`, among others separated by commas.
fn bytes(line: &str, what: &str) -> Option<u32> {
    let named = |part: &str| {
        part.trim().strip_suffix(what)?.trim().strip_suffix("bytes")?.trim().parse().ok()
    };
    line.split(',').find_map(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "\
ptxas info    : (C7519) warpgroup.arrive is injected in around line 1622 by compiler to allow use of registers in GMMA in function 'wgmma_gemm'
ptxas info    : 8 bytes gmem
ptxas info    : Compiling entry function 'wgmma_gemm' for 'sm_90a'
ptxas info    : Function properties for wgmma_gemm
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 128 registers, used 2 barriers
ptxas info    : Compile time = 627.593 ms
";
    const SERIALISED: &str = "\
ptxas info    : (C7512) Potential Performance Loss: wgmma.mma_async instructions are serialized due to insufficient register resources for the function 'wgmma_gemm'
ptxas info    : 8 bytes gmem
ptxas info    : Compiling entry function 'wgmma_gemm' for 'sm_90a'
ptxas info    : Function properties for wgmma_gemm
    24 bytes stack frame, 48 bytes spill stores, 28 bytes spill loads
ptxas info    : Used 80 registers, used 2 barriers, 24 bytes cumulative stack size
";

    #[test]
    fn notes_are_those_of_all_kernels() {
        let report = |spilled, serialised| Some(PtxasReport { spilled, serialised });
        assert_eq!(parse(SOUND), report(0, false));
        assert_eq!(parse(SERIALISED), report(76, true));
        assert_eq!(parse(&format!("{SERIALISED}{SOUND}")), report(76, true));
        let spills = SOUND.replace("0 bytes spill loads", "8 bytes spill loads");
        assert_eq!(parse(&spills), report(8, false));
    }

    /// No words about a kernel are not taken for good ones.
    #[test]
    fn silence_is_no_approval() {
        assert_eq!(parse(""), None);
        assert_eq!(parse("ptxas info    : 8 bytes gmem\n"), None);
        assert_eq!(parse(&SOUND.replace("0 bytes spill loads", "few bytes spill loads")), None);
    }
}
