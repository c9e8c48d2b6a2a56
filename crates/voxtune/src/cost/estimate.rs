//! A modelled time.

/// How long a model expects an algorithm to take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Nanoseconds.
    pub time_ns: f64,
    /// What it was held against: the less, the less it is trusted.
    pub basis: Basis,
}

/// What a modelled time was held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Corrected by what was learned of the family's measurements on this architecture.
    Learned,
    /// The model's constants were fitted to measurements of this architecture and kernel size.
    Fitted,
    /// Neither: rates are those of data sheets, or the layer is of another kind.
    Unfitted,
}

/// How far estimates are trusted, as factors between modelled times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trust {
    /// Who is modelled to take this much longer than the best does not win.
    pub(super) worst_error: f64,
    /// How many of the best by model are enough to have the winner among them.
    pub(super) enough: usize,
    /// Who is modelled to be this much faster than the default is faster.
    pub(super) clear_gain: f64,
}

impl Estimate {
    /// The figures for learned and fitted models are tested against the evidence in this module's
    /// tests. What was learned serves choices; a race is not cut shorter by it, since what it has
    /// not seen it learns from races.
    pub(super) const fn trust(self) -> Trust {
        match self.basis {
            Basis::Learned => Trust { worst_error: 1.7, enough: 14, clear_gain: 1.02 },
            Basis::Fitted => Trust { worst_error: 1.7, enough: 14, clear_gain: 1.1 },
            Basis::Unfitted => Trust { worst_error: 2.0, enough: 20, clear_gain: 1.3 },
        }
    }
}
