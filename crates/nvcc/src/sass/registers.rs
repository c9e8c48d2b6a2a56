//! A set of general registers.

/// General registers, R0 to R254.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Registers([u64; 4]);

impl Registers {
    pub(super) const fn insert(&mut self, register: u8) {
        self.0[register as usize / 64] |= 1 << (register % 64);
    }

    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }

    pub(super) fn and(self, other: Self) -> Self {
        self.map(other, |a, b| a & b)
    }

    pub(super) fn or(self, other: Self) -> Self {
        self.map(other, |a, b| a | b)
    }

    pub(super) fn without(self, other: Self) -> Self {
        self.map(other, |a, b| a & !b)
    }

    /// The least of them.
    pub(super) fn first(self) -> Option<u8> {
        (0..=u8::MAX).find(|&register| self.0[register as usize / 64] >> (register % 64) & 1 == 1)
    }

    fn map(self, other: Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Self(std::array::from_fn(|i| of(self.0[i], other.0[i])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(of: &[u8]) -> Registers {
        let mut registers = Registers::default();
        of.iter().for_each(|&register| registers.insert(register));
        registers
    }

    #[test]
    fn registers_join_meet_and_differ_as_sets() {
        let (a, b) = (set(&[0, 63, 64, 254]), set(&[63, 100, 254]));
        assert_eq!(a.and(b), set(&[63, 254]));
        assert_eq!(a.or(b), set(&[0, 63, 64, 100, 254]));
        assert_eq!(a.without(b), set(&[0, 64]));
        assert_eq!((b.first(), set(&[]).first()), (Some(63), None));
        assert!(set(&[]).is_empty() && !b.is_empty());
    }
}
