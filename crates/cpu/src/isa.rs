//! What processor this is.

use voxtune_types::{Arch, CpuIsa, DeviceIdentity};

use crate::simd::Simd;

/// The widest vector instructions that the kernels of this crate use on this processor.
#[must_use]
pub fn isa() -> CpuIsa {
    Simd::best().isa()
}

/// This processor, as measurements are filed: its architecture, the name that it gives itself, and
/// the number of worker threads that run the kernels.
#[must_use]
pub fn identity(threads: usize) -> DeviceIdentity {
    DeviceIdentity {
        arch: Arch::Cpu(isa()),
        name: processor_name(),
        units: u32::try_from(threads).unwrap_or(u32::MAX),
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn processor_name() -> String {
    let brand = raw_cpuid::CpuId::new().get_processor_brand_string();
    let words: Vec<&str> =
        brand.as_ref().map_or_else(Vec::new, |brand| brand.as_str().split_whitespace().collect());
    if words.is_empty() { std::env::consts::ARCH.to_owned() } else { words.join(" ") }
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
fn processor_name() -> String {
    std::env::consts::ARCH.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_names_the_processor_and_its_threads() {
        let identity = identity(3);
        assert_eq!(identity.units, 3);
        assert_eq!(identity.arch, Arch::Cpu(isa()));
        assert!(!identity.name.trim().is_empty());
        assert!(!identity.name.contains('\0'));
    }
}
