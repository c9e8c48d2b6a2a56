//! Other things than a file in the place of a cache: links, pipes, sockets, folders.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use voxtune_cache::{CacheDir, CacheError, read_file, replace};

use crate::samples::{ARCH, device, entry, measured, operation, small};

const WAIT: Duration = Duration::from_secs(30);

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).unwrap().is_symlink()
}

/// A folder whose cache files are links into another one.
fn linked(root: &Path) -> (CacheDir, CacheDir) {
    let [ours, shared] = ["ours", "shared"].map(|name| root.join(name));
    fs::create_dir(&ours).unwrap();
    fs::create_dir(&shared).unwrap();
    let (ours, shared) = (CacheDir::new(ours), CacheDir::new(shared));
    _ = shared.update(ARCH, WAIT, |all| all.merge(small())).unwrap();
    symlink("../shared/sm_90.msgpack", ours.decisions_path(ARCH)).unwrap();
    symlink(shared.evidence_path(ARCH), ours.evidence_path(ARCH)).unwrap();
    (ours, shared)
}

#[test]
fn f19_a_link_stays_and_what_it_leads_to_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    let (ours, shared) = linked(root.path());
    let mut more = small();
    more.insert(entry(&device(), operation(8, 8), 1000), measured("b", 100)).unwrap();
    let update = ours.update(ARCH, WAIT, |all| all.merge(more.clone())).unwrap();
    assert!(update.decisions_written && update.evidence_written);
    assert!(is_link(&ours.decisions_path(ARCH)) && is_link(&ours.evidence_path(ARCH)));
    assert_eq!(shared.read_evidence(ARCH).unwrap().unwrap(), more);
    assert_eq!(ours.read_decisions(ARCH).unwrap(), shared.read_decisions(ARCH).unwrap());
    let link = root.path().join("pack");
    symlink("shared/pack", &link).unwrap();
    fs::write(shared.path().join("pack"), "old").unwrap();
    replace(&link, b"new").unwrap();
    assert!(is_link(&link) && fs::read(shared.path().join("pack")).unwrap() == b"new");
}

/// What is damaged behind a link is set aside where it lies, and the link leads to the new file.
#[test]
fn f19_damage_behind_a_link_is_set_aside() {
    let root = tempfile::tempdir().unwrap();
    let (ours, shared) = linked(root.path());
    let bytes = fs::read(shared.evidence_path(ARCH)).unwrap();
    fs::write(shared.evidence_path(ARCH), &bytes[..40]).unwrap();
    let update = ours.update(ARCH, WAIT, |all| all.merge(small())).unwrap();
    let [aside] = &*update.set_aside else { panic!("{:?}", update.set_aside) };
    assert_eq!(fs::read(&aside.to).unwrap(), &bytes[..40]);
    assert!(is_link(&ours.evidence_path(ARCH)));
    assert_eq!(fs::read(shared.evidence_path(ARCH)).unwrap(), bytes);
}

#[test]
fn f19_links_that_lead_nowhere_or_in_a_circle_are_errors() {
    for (to, why) in [("absent", "a link to absent, which is not there"), ("sm_90.msgpack", "link")]
    {
        let root = tempfile::tempdir().unwrap();
        let caches = CacheDir::new(root.path());
        symlink(to, caches.decisions_path(ARCH)).unwrap();
        let read = caches.read_decisions(ARCH).map(drop).unwrap_err();
        let written = caches.update(ARCH, WAIT, |all| all.merge(small())).map(drop).unwrap_err();
        let replaced = replace(&caches.decisions_path(ARCH), b"new").unwrap_err();
        for error in [read, written, replaced] {
            assert!(error.to_string().contains(why), "{error}");
        }
        assert!(is_link(&caches.decisions_path(ARCH)) && !root.path().join("absent").exists());
    }
}

/// Writers through the link and beside its target take one lock, or one would undo the other's
/// work.
#[test]
fn f19_writers_through_links_and_without_lose_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (ours, shared) = linked(root.path());
    thread::scope(|scope| {
        for (number, caches) in [&ours, &shared].into_iter().enumerate() {
            scope.spawn(move || {
                for channels in 0..8 {
                    let operation = operation(100 + number as u32, 1 + channels);
                    let entry = entry(&device(), operation, 1000);
                    let add = |all: &mut voxtune_cache::Evidence| {
                        all.insert(entry, measured("b", 100)).unwrap();
                    };
                    _ = caches.update(ARCH, WAIT, add).unwrap();
                }
            });
        }
    });
    let entries = shared.read_evidence(ARCH).unwrap().unwrap().len();
    assert_eq!(entries, small().len() + 16);
}

#[test]
fn f16_nothing_but_a_file_is_read_or_replaced() {
    let root = tempfile::tempdir().unwrap();
    let caches = CacheDir::new(root.path());
    let path = caches.decisions_path(ARCH);
    let mut held = None;
    for (found, make) in [("a named pipe", 0), ("a socket", 1), ("a folder", 2)] {
        match make {
            0 => mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap(),
            1 => held = Some(UnixListener::bind(&path).unwrap()),
            _ => fs::create_dir(&path).unwrap(),
        }
        let before = fs::symlink_metadata(&path).unwrap().file_type();
        let read = caches.read_decisions(ARCH).map(drop).unwrap_err();
        let written = caches.update(ARCH, WAIT, |all| all.merge(small())).map(drop).unwrap_err();
        let replaced = replace(&path, b"new").unwrap_err();
        for error in [read, written, replaced, read_file(&path).map(drop).unwrap_err()] {
            let text = error.to_string();
            assert!(text.contains(&format!("found {found}")), "{text}");
        }
        assert_eq!(fs::symlink_metadata(&path).unwrap().file_type(), before);
        if before.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) }.unwrap();
    }
    drop(held);
}

/// The second user of a group's folder, and one who is kept out: by the lock file, as the message
/// says.
#[test]
fn f04_a_lock_file_in_a_groups_folder_is_the_groups() {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o2775)).unwrap();
    let caches = CacheDir::new(root.path());
    _ = caches.update(ARCH, WAIT, |all| all.merge(small())).unwrap();
    let mode = fs::metadata(caches.lock_path(ARCH)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o664);
    let reason = "its mode".to_owned();
    let error = CacheError::LockRefused { path: caches.lock_path(ARCH), reason };
    assert!(!error.to_string().contains("check that the folder"), "{error}");
}
