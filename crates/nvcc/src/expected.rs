//! What a source declares about its own code: findings that are known and accepted.
//!
//! ```text
//! // expected: spills on sm_90 where ROWS=256 COLS=32 MIN_BLOCKS=2: it leaves 80 registers
//! // expected: serialised on sm_90 where ROWS=256 OFFSETS=2: the fastest at 32 channels
//! ```
//!
//! A line of a family's `.cu` file declares a finding of each instance that has these values. A
//! define that an instance lacks has the value 0. Several architectures may be named; a family
//! without defines has no `where`. The reason is not optional. Declarations are about the pinned
//! compiler of [`crate::cuda_toolkit`].

use voxtune_kernels::SOURCES;
use voxtune_types::{Arch, ComputeCapability};

use voxtune_cuda::{DECLARATION as START, Instance};

/// What a declaration is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Registers are spilled to memory.
    Spills,
    /// Products of a warpgroup wait for each other.
    Serialised,
}

impl Finding {
    pub(crate) const ALL: [Self; 2] = [Self::Spills, Self::Serialised];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Spills => "spills",
            Self::Serialised => "serialised",
        }
    }
}

/// One line of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declaration<'a> {
    finding: Finding,
    archs: Vec<ComputeCapability>,
    defines: Vec<(&'a str, u32)>,
}

impl Declaration<'_> {
    pub(crate) fn covers(
        &self,
        finding: Finding,
        instance: &Instance,
        on: ComputeCapability,
    ) -> bool {
        let has = |&(name, value): &(&str, u32)| instance.define(name).unwrap_or(0) == value;
        self.finding == finding && self.archs.contains(&on) && self.defines.iter().all(has)
    }
}

/// The line that declares a finding of one instance, without its reason.
pub(crate) fn declaration(finding: Finding, instance: &Instance, on: ComputeCapability) -> String {
    let defines = instance.defines.iter().map(|(name, value)| format!(" {name}={value}"));
    let defines: String = defines.collect();
    let place = if defines.is_empty() { "" } else { " where" };
    let (finding, ComputeCapability { major, minor }) = (finding.name(), on);
    format!("{START} {finding} on sm_{major}{minor}{place}{defines}: REASON")
}

/// The declarations of the source of an instance.
///
/// # Errors
/// The first line that is none, with the form that it should have.
pub(crate) fn declarations_of(instance: &Instance) -> Result<Vec<Declaration<'static>>, String> {
    let source = SOURCES.iter().find(|source| source.name == instance.source);
    source.map_or(Ok(Vec::new()), |source| declarations(source.text))
}

pub(crate) fn declarations(text: &str) -> Result<Vec<Declaration<'_>>, String> {
    let lines = text.lines().filter_map(|line| Some((line, line.trim().strip_prefix(START)?)));
    lines
        .map(|(line, rest)| {
            parse(rest).ok_or_else(|| {
                format!(
                    "{line:?} declares nothing: expected `{START} spills|serialised on sm_NN where \
                     NAME=VALUE ...: REASON`"
                )
            })
        })
        .collect()
}

/// `spills on sm_90 where ROWS=256 COLS=32: reason`
fn parse(text: &str) -> Option<Declaration<'_>> {
    let (head, reason) = text.split_once(':')?;
    let (finding, rest) = head.trim().split_once(" on ")?;
    let (archs, defines) = rest.split_once(" where ").unwrap_or((rest, ""));
    let archs = archs.split_whitespace().map(capability).collect::<Option<Vec<_>>>()?;
    let defines = defines.split_whitespace().map(define).collect::<Option<Vec<_>>>()?;
    let finding = Finding::ALL.into_iter().find(|one| one.name() == finding.trim())?;
    let whole = !reason.trim().is_empty() && !archs.is_empty();
    whole.then_some(Declaration { finding, archs, defines })
}

/// `sm_90`
fn capability(text: &str) -> Option<ComputeCapability> {
    match text.parse() {
        Ok(Arch::Cuda(capability)) => Some(capability),
        _ => None,
    }
}

/// `ROWS=256`
fn define(text: &str) -> Option<(&str, u32)> {
    let (name, value) = text.split_once('=')?;
    Some((name, value.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use voxtune_cuda::is_declaration;

    use super::*;

    const HOPPER: ComputeCapability = ComputeCapability { major: 9, minor: 0 };
    const AMPERE: ComputeCapability = ComputeCapability { major: 8, minor: 0 };

    #[test]
    fn a_declaration_covers_the_instances_that_it_names() {
        let text =
            "// A kernel.\n// expected: spills on sm_90 where ROWS=256 SPLIT=0: two blocks\n";
        let declared = declarations(text).unwrap();
        let [one] = declared.as_slice() else { panic!("{declared:?}") };
        let of = |defines: &[_]| Instance::new("wgmma_gemm.cu", defines);
        let (named, split) = (of(&[("ROWS", 256)]), of(&[("ROWS", 256), ("SPLIT", 1)]));
        assert!(one.covers(Finding::Spills, &named, HOPPER));
        assert!(!one.covers(Finding::Serialised, &named, HOPPER));
        assert!(!one.covers(Finding::Spills, &named, AMPERE));
        assert!(!one.covers(Finding::Spills, &split, HOPPER));
        assert!(!one.covers(Finding::Spills, &of(&[("ROWS", 128)]), HOPPER));
    }

    #[test]
    fn what_is_no_declaration_is_told() {
        assert_eq!(declarations("// Nothing is expected: here.\n"), Ok(Vec::new()));
        let good = "// expected: serialised on sm_90 where ROWS=256: it is faster";
        assert_eq!(declarations(good).unwrap().len(), 1);
        let two =
            declarations("// expected: spills on sm_80 sm_90 where ROWS=256: reason").unwrap();
        let wide = Instance::new("wgmma_gemm.cu", &[("ROWS", 256)]);
        assert!([HOPPER, AMPERE].iter().all(|&on| two[0].covers(Finding::Spills, &wide, on)));
        let changes = [
            (": it is faster", ""),
            (": it is faster", ": "),
            ("serialised", "slow"),
            ("ROWS=256", "ROWS"),
            ("ROWS=256", "ROWS=many"),
            ("sm_90", "90"),
            (" where", ""),
        ];
        for (from, to) in changes {
            let text = good.replacen(from, to, 1);
            let error = declarations(&text).unwrap_err();
            assert!(error.contains(&text) && error.contains("where NAME=VALUE"), "{error}");
        }
    }

    /// A name that no family has would cover nothing, and nothing would show it.
    #[test]
    fn the_sources_declare_what_they_have() {
        for source in SOURCES {
            let declared = declarations(source.text).unwrap();
            assert!(declared.is_empty() || source.name.ends_with(".cu"), "{}", source.name);
            let code = source.text.lines().filter(|line| !is_declaration(line));
            let code = code.collect::<Vec<_>>().join("\n");
            let names = declared.iter().flat_map(|one| &one.defines);
            for (name, _) in names {
                assert!(code.contains(name), "{}: no {name}", source.name);
            }
        }
    }
}
