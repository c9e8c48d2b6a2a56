//! What candidates are charged for what they read beyond their kernel map.
//!
//! An order of rows, a plan of tiles or lists of pairs are made once for each new cloud, and not
//! within the time of a product. A frame makes those of all of its maps in one launch each. So the
//! cost of a part is what it adds to a frame, by its share: several maps alike are made with the
//! part and without. The layers over a map share that
//! ([`Readers`](crate::inputs::readers::Readers)).

use voxtune::{Algorithm, MapPart};
use voxtune_cache::Charge;

use crate::inputs::entry::Entry;
use crate::inputs::error::MeasureError;
use crate::inputs::monitor::Monitor;
use crate::measure::candidate_set::CandidateSet;
use crate::measure::throttle::ThrottleFilter;
use crate::race::statistics::median;
use crate::verify::rejection::{Rejection, Verdict, guarded};

/// Samples behind how long a list of parts takes to make.
const SAMPLES: usize = 7;

/// Maps of a frame that have the same parts: detectors have four levels of blocks, U-Nets five.
const FRAME_MAPS: usize = 4;

impl Entry<'_> {
    /// What each candidate of a set is charged; nothing where no candidate reads anything beyond
    /// the map, or nobody is to be charged. A candidate whose parts cannot be made is rejected.
    ///
    /// # Errors
    /// If the device is lost.
    pub(super) fn charges(
        &self,
        set: &CandidateSet,
        verdicts: &mut [Verdict],
        filter: &mut ThrottleFilter,
        monitor: &mut dyn Monitor,
    ) -> Result<Vec<Option<Charge>>, MeasureError> {
        let mut charges = vec![None; set.algorithms.len()];
        let Some(readers) = self.readers else { return Ok(charges) };
        let parts: Vec<Vec<MapPart>> =
            set.algorithms.iter().map(|one| one.map_parts(self.operation)).collect();
        if parts.iter().all(Vec::is_empty) {
            return Ok(charges);
        }
        let (kind, direction) = (self.operation.kind, self.operation.direction);
        for (number, algorithm) in set.algorithms.iter().enumerate() {
            if verdicts[number].is_err() {
                continue;
            }
            monitor.working(self.limits.of_set_up(0.0));
            match self.costs(&**algorithm, &parts[number], filter) {
                Ok(costs) => charges[number] = Some(readers.charge(kind, direction, &costs)),
                Err(rejection) => verdicts[number] = Err(rejection),
            }
            set.check_device(verdicts)?;
        }
        Ok(charges)
    }

    /// How long each part of a map takes to make: by how much longer a frame takes than with what
    /// comes before it, for each of its maps.
    fn costs(
        &self,
        algorithm: &dyn Algorithm,
        parts: &[MapPart],
        filter: &mut ThrottleFilter,
    ) -> Result<Vec<(MapPart, u64)>, Rejection> {
        let mut costs = Vec::with_capacity(parts.len());
        let mut before_ns = None;
        for (number, &part) in parts.iter().enumerate() {
            let before = match before_ns {
                Some(ns) => ns,
                None => self.making_ns(algorithm, &[], filter)?,
            };
            let with = self.making_ns(algorithm, &parts[..=number], filter)?;
            costs.push((part, with.saturating_sub(before) / FRAME_MAPS as u64));
            before_ns = Some(with);
        }
        Ok(costs)
    }

    /// The median time of making these parts of a frame's maps and what is made in any case, each
    /// time anew.
    fn making_ns(
        &self,
        algorithm: &dyn Algorithm,
        parts: &[MapPart],
        filter: &mut ThrottleFilter,
    ) -> Result<u64, Rejection> {
        let Self { device, operation, setup, l2_state, .. } = *self;
        setup.making.get_or_measure(operation.direction, parts, || {
            let over = (&setup.voxels, &*setup.map);
            let make = || algorithm.make_parts(device, operation, FRAME_MAPS, over, parts);
            // What is loaded, and made of the map for good, is nobody's.
            guarded(make)?;
            let mut samples = Vec::with_capacity(SAMPLES);
            for _ in 0..SAMPLES {
                let sample = filter.take(|| guarded(|| device.time(l2_state, make)))?;
                samples.push(sample.elapsed_ns as f64);
            }
            Ok(median(&samples).unwrap_or(0.0) as u64)
        })
    }
}
