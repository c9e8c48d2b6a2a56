//! A modelled time.

/// How long a model expects an algorithm to take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Nanoseconds.
    pub time_ns: f64,
    /// Whether the model was held against measurements of this architecture and kernel size. What
    /// was not is trusted less.
    pub is_fitted: bool,
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
    /// The figures for fitted models are tested against the evidence in this module's tests.
    pub(super) const fn trust(self) -> Trust {
        if self.is_fitted {
            Trust { worst_error: 1.7, enough: 14, clear_gain: 1.1 }
        } else {
            Trust { worst_error: 2.0, enough: 20, clear_gain: 1.3 }
        }
    }
}
