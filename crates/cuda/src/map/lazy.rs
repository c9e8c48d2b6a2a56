//! Values made at first use, by calls that can fail.

use std::sync::{Mutex, OnceLock, PoisonError};

/// A value that is made once. Reading it afterwards takes no lock.
#[derive(Debug)]
pub(super) struct Lazy<T> {
    value: OnceLock<T>,
    making: Mutex<()>,
}

impl<T> Default for Lazy<T> {
    fn default() -> Self {
        Self { value: OnceLock::new(), making: Mutex::new(()) }
    }
}

impl<T> Lazy<T> {
    /// The value, if it was made.
    pub(super) fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// Takes a value that was made elsewhere, if there is none.
    pub(super) fn set(&self, value: T) {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.value.set(value);
    }

    /// The value. Of two threads that ask at once, one makes it and the other waits; after a
    /// failure the next call tries again.
    pub(super) fn get_or_try<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let value = make()?;
        Ok(self.value.get_or_init(|| value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_made_once_and_a_failure_is_tried_again() {
        let lazy = Lazy::default();
        assert_eq!(lazy.get_or_try(|| Err("not yet")), Err("not yet"));
        assert_eq!(lazy.get(), None);
        assert_eq!(lazy.get_or_try(|| Ok::<_, &str>(1)), Ok(&1));
        assert_eq!(lazy.get_or_try(|| Err("never called")), Ok(&1));
    }
}
