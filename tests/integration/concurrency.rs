//! Several processes that write into one file at once.

use std::process::Stdio;

use crate::command::xtask;
use crate::populating::evidence;
use crate::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.test("concurrency::eight_processes_lose_nothing", eight_processes_lose_nothing);
}

fn eight_processes_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let children: Vec<_> = (1..=8)
        .map(|channels| {
            let mut command = xtask();
            command
                .args(["populate", "--device", "cpu", "--threads", "1", "--clouds", "uniform"])
                .args(["--dtypes", "float32", "--kernel-sizes", "1", "--budget", "0"])
                .args(["--num-voxels", "50", "100", "200", "--channels"])
                .arg(format!("{channels},3"))
                .arg("--out")
                .arg(folder.path())
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(evidence(folder.path()).len(), 8 * 3 * 3);
}
