//! How much memory the host has to spare.

use std::fs;

/// Memory that the system can give without swapping, or what the control group leaves of it,
/// whichever is less. Everything, where the system does not say.
///
/// # Units
/// Bytes.
pub(super) fn available_bytes() -> u64 {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let system = available_of(&text("/proc/meminfo")).unwrap_or(u64::MAX);
    let groups = [
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ];
    groups
        .into_iter()
        .filter_map(|(limit, used)| left_of(&text(limit), &text(used)))
        .fold(system, u64::min)
}

/// `MemAvailable` of Linux's `/proc/meminfo`, which counts in KiB.
fn available_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// What a control group may still use; `None` where it has no limit.
fn left_of(limit: &str, used: &str) -> Option<u64> {
    let limit: u64 = limit.trim().parse().ok()?;
    let used: u64 = used.trim().parse().ok()?;
    Some(limit.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_available_memory_is_read_and_not_the_free_one() {
        let text = "MemTotal:       32780164 kB\nMemFree:          512000 kB\n\
                    MemAvailable:   24000000 kB\nBuffers:          100000 kB\n";
        assert_eq!(available_of(text), Some(24_000_000 * 1024));
        for other in ["", "MemFree: 1 kB\n", "MemAvailable: many kB\n", "MemAvailable: 5\n"] {
            assert_eq!(available_of(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_group_leaves_its_limit_less_what_is_used() {
        assert_eq!(left_of("1000\n", "400\n"), Some(600));
        assert_eq!(left_of("1000\n", "1400\n"), Some(0));
        // The texts of a group without a limit, and of a system without groups.
        assert_eq!(left_of("max\n", "400\n"), None);
        assert_eq!(left_of("", ""), None);
    }
}
