//! What runs, and how it was found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use voxtune::{AlgoId, Arch, DeviceIdentity, GradeKind, KernelSource, Registry, Tuner};
use voxtune_cuda::model::LearnedModel;

use super::{Comparison, Race};
use crate::fit::{ModelFileError, read_model};

/// The algorithms that devices would have, none of which need be here.
#[derive(Debug, Default)]
pub struct Registries {
    /// Where kernels are looked for; every kernel counts as there where this says nothing.
    kernels: Option<KernelSource>,
    /// What was learned of architectures in a folder, in the place of what ships.
    learned: BTreeMap<Arch, LearnedModel>,
    known: BTreeMap<DeviceIdentity, Registry>,
}

/// Choices that were found in one way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Graded {
    /// How: the text of a [`GradeKind`].
    pub grade: String,
    /// What they lose.
    pub comparison: Comparison,
}

/// What a tuner answers to races.
#[derive(Debug, Default)]
pub(super) struct Answers<'r>(Vec<(&'r Race, Option<(GradeKind, AlgoId)>)>);

impl Registries {
    /// Devices with every kernel.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Devices with the kernels of these sources alone.
    #[must_use]
    pub fn with_kernels(kernels: KernelSource) -> Self {
        Self { kernels: Some(kernels), ..Self::default() }
    }

    /// Chooses with what a folder's files say was learned of these architectures. Where it has no
    /// file, what ships with this program counts.
    ///
    /// # Errors
    /// If there is a file and it says nothing.
    pub fn learned_in(
        mut self,
        folder: &Path,
        archs: impl IntoIterator<Item = Arch>,
    ) -> Result<Self, ModelFileError> {
        for arch in archs {
            if let Some(learned) = read_model(folder, arch)? {
                self.learned.insert(arch, learned);
            }
        }
        Ok(self)
    }

    /// Makes a device's algorithms with what a model of cost has learned, or nothing.
    pub(super) fn learn(&mut self, device: &DeviceIdentity, learned: Option<&LearnedModel>) {
        let kernels = self.kernels.as_ref();
        self.known.insert(device.clone(), Registry::of_device_with(device, kernels, learned));
    }

    fn of(&mut self, device: &DeviceIdentity) -> &Registry {
        let kernels = self.kernels.as_ref();
        let learned = self.learned.get(&device.arch).or_else(|| Registry::learned(device));
        let make = || Registry::of_device_with(device, kernels, learned);
        self.known.entry(device.clone()).or_insert_with(make)
    }

    pub(super) fn answers<'r>(
        &mut self,
        tuner: &Tuner,
        races: impl Iterator<Item = &'r Race>,
    ) -> Answers<'r> {
        let answer = |race: &'r Race| {
            let device = &race.entry.device;
            let explanation = tuner.explain_at(device, self.of(device), &race.entry.key);
            let choice = explanation.answer.ok();
            (race, choice.map(|choice| (choice.grade.kind(), choice.algorithm)))
        };
        Answers(races.map(answer).collect())
    }
}

impl Answers<'_> {
    pub(super) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// All of them.
    pub(super) fn all(&self) -> Comparison {
        self.of(|_| true)
    }

    /// Those of each grade that gave any.
    pub(super) fn by_grade(&self) -> Vec<Graded> {
        let grades = self.0.iter().filter_map(|(_, answer)| Some(answer.as_ref()?.0));
        let grades: BTreeSet<GradeKind> = grades.collect();
        let graded = |grade: GradeKind| Graded {
            grade: grade.to_string(),
            comparison: self.of(|answer| answer.as_ref().is_some_and(|(one, _)| *one == grade)),
        };
        grades.into_iter().map(graded).collect()
    }

    fn of(&self, counts: impl Fn(&Option<(GradeKind, AlgoId)>) -> bool) -> Comparison {
        let of_those = self.0.iter().filter(|(_, answer)| counts(answer));
        Comparison::of(
            of_those.map(|(race, answer)| {
                (*race, answer.iter().map(|(_, algo)| algo.clone()).collect())
            }),
        )
    }
}
