//! What a pack is to hold, by the decisions of a folder, and its file.

use std::fmt;
use std::path::Path;

use voxtune_cache::{CacheDir, CacheError, Decisions, decode_decisions, read_file, replace};
use voxtune_nvcc::{Progress, Toolchain};
use voxtune_pack::Pack;
use xxhash_rust::xxh3::xxh3_64;

use super::contents::{Contents, Role};
use super::make::{Made, MakeError, make};
use super::prune::{Pruned, prune};
use super::target::Target;
use crate::fit::{ModelFileError, read_model};

/// The pack of a target, not yet made.
#[derive(Debug)]
pub struct PackPlan {
    /// What it is for.
    pub target: Target,
    /// Its kernels.
    pub contents: Contents,
    /// Winners that are left out, with what that costs.
    pub pruned: Vec<Pruned>,
    /// Hash of the decision file that names winners.
    decisions: Option<u64>,
}

impl PackPlan {
    /// All that ships with the decisions of a folder: their winners, or a model's choices where
    /// nothing was measured, with a default for every operation. `limit` is what a layer may lose
    /// by pruning, as a fraction.
    ///
    /// # Errors
    /// If the folder cannot be read, or holds a damaged file.
    pub fn shipped(
        target: Target,
        caches: &CacheDir,
        limit: Option<f64>,
    ) -> Result<Self, ModelFileError> {
        let learned = target.arch().map(|arch| read_model(caches.path(), arch)).transpose()?;
        let learned = learned.flatten();
        let contents = |target, decisions: Option<&Decisions>| {
            Contents::of(target, decisions, learned.as_ref())
        };
        Ok(Self::new(target, caches, limit, contents)?)
    }

    /// The winners of a folder's decisions and nothing else: what a program carries beside the
    /// packs that voxtune brings.
    ///
    /// # Errors
    /// As [`Self::shipped`].
    pub fn winners(target: Target, caches: &CacheDir) -> Result<Self, CacheError> {
        Self::new(target, caches, None, Contents::winners)
    }

    fn new(
        target: Target,
        caches: &CacheDir,
        limit: Option<f64>,
        contents: impl Fn(Target, Option<&Decisions>) -> Contents,
    ) -> Result<Self, CacheError> {
        let Some(arch) = target.arch() else {
            let contents = contents(target, None);
            return Ok(Self { target, contents, pruned: Vec::new(), decisions: None });
        };
        let path = caches.decisions_path(arch);
        let (bytes, evidence) = caches.read_together(arch, |caches| {
            (read_file(&path), limit.map(|_| caches.read_evidence(arch)))
        });
        let bytes = bytes?;
        let decisions = bytes.as_ref().map(|bytes| decode_decisions(bytes, &path)).transpose()?;
        let mut contents = contents(target, decisions.as_ref());
        let mut pruned = Vec::new();
        if let (Some(decisions), Some(limit)) = (&decisions, limit) {
            let evidence = evidence.transpose()?.flatten().unwrap_or_default();
            pruned = prune(&mut contents, decisions, &evidence, limit);
        }
        let decisions = bytes.map(|bytes| xxh3_64(&bytes));
        Ok(Self { target, contents, pruned, decisions })
    }

    /// Compiles what neither the pack at `path` nor `folder` has, into the folder, `jobs` kernels
    /// at a time. Then encodes the pack that is to take the other's place. One that cannot be read
    /// is none.
    ///
    /// # Errors
    /// If a kernel does not compile.
    pub fn make(
        &self,
        path: &Path,
        toolchain: &Toolchain,
        (folder, jobs): (&Path, usize),
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Made, MakeError> {
        let Self { target, contents, pruned, decisions } = self;
        let name = self.target.file_name();
        let there = voxtune_files::read(path).ok();
        let earlier = there.and_then(|bytes| Pack::decode(bytes, &name).ok());
        let (decisions, pruned, to) = (*decisions, pruned.len(), (folder, jobs));
        make(*target, contents, decisions, pruned, earlier.as_ref(), toolchain, to, progress)
    }
}

impl Made {
    /// Gives a pack's file these bytes in one step. A file that holds them already is left alone.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), CacheError> {
        if voxtune_files::read(path).is_ok_and(|there| there == self.bytes) {
            return Ok(());
        }
        replace(path, &self.bytes)
    }
}

impl fmt::Display for PackPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |role| self.contents.count(role);
        let (choices, defaults, utilities) =
            (count(Role::Choice), count(Role::Default), count(Role::Utility));
        write!(f, "{}: {defaults} defaults, {utilities} utilities, ", self.target)?;
        match (self.decisions, self.target) {
            (Some(_), _) => {
                let (unmeasured, left_out) = (count(Role::Unmeasured), self.pruned.len());
                write!(f, "{choices} more that won, {left_out} left out, ")?;
                write!(f, "{unmeasured} for channels that were not measured")
            }
            (None, Target::Cubin(_)) => {
                write!(f, "{choices} more by a model of cost: nothing was measured")?;
                match self.contents.without_room {
                    0 => Ok(()),
                    number => write!(f, "; no room for {number} that save least"),
                }
            }
            (None, Target::Ptx) => f.write_str("for architectures that no pack knows"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_its_own_carries_winners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let caches = CacheDir::new(folder.path());
        for target in Target::ALL {
            let plan = PackPlan::winners(target, &caches).unwrap();
            assert!(plan.contents.instances.is_empty(), "{plan}");
            let shipped = PackPlan::shipped(target, &caches, None).unwrap();
            assert!(shipped.contents.count(Role::Utility) > 0, "{shipped}");
        }
        std::fs::write(folder.path().join("sm_90.msgpack"), b"damaged").unwrap();
        let error = PackPlan::winners("sm_90".parse().unwrap(), &caches).unwrap_err();
        assert!(error.to_string().contains("sm_90.msgpack"), "{error}");
    }

    #[test]
    fn a_file_is_replaced_in_one_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ptx.kernels");
        for bytes in [&b"one"[..], b"one", b"another"] {
            let made = Made { bytes: bytes.to_vec(), kernels: 1, cached: 0, raw_bytes: 1 };
            made.write(&path).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
