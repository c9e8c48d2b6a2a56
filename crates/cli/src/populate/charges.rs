//! When candidates are charged for what they read beyond a kernel map.

/// When to charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Charges {
    /// For the layers of a network, where it is known how many read each map.
    Model,
    Always,
    Never,
}

impl Charges {
    /// Whether a run charges its candidates.
    pub(super) const fn are_weighed(self, has_model: bool) -> bool {
        match self {
            Self::Model => has_model,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_a_network_are_charged_unless_told_otherwise() {
        let weighed = |has_model| {
            [Charges::Model, Charges::Always, Charges::Never]
                .map(|charges| charges.are_weighed(has_model))
        };
        assert_eq!(weighed(true), [true, true, false]);
        assert_eq!(weighed(false), [false, true, false]);
    }
}
