//! The tuner: candidates, verification, races, evidence.
