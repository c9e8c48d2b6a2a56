//! What becomes of rows that meet.

/// What becomes of the rows of a group. A group without rows has zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
    /// The largest of each channel; what is not a number stays so. Its gradient goes to every row
    /// that is equal to it.
    Max,
}

/// What becomes of the input rows that an output row meets. An output row that meets none has
/// zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// The largest of each channel; what is not a number stays so. Its gradient goes to every input
    /// that is equal to the output.
    Max,
    /// `max(0, largest)`, as spconv has it: its gradient goes to every input that is equal to the
    /// output, so nowhere where all are negative.
    MaxAtLeastZero,
    /// The mean of the rows that are there.
    Average,
    /// The same mean with the gradient of spconv 2.3, which multiplies by the number of rows that
    /// are there instead of dividing by it. For parity alone: it is no gradient of the mean.
    AverageAsSpconv,
}

impl Pooling {
    /// Whether the rows are averaged, whatever the gradient.
    #[must_use]
    pub const fn is_average(self) -> bool {
        matches!(self, Self::Average | Self::AverageAsSpconv)
    }
}
