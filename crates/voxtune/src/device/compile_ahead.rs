//! Kernels that compile in the background, and how far that has come.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Kernels that compile in the background. Dropping this stops it after the ones in progress.
#[derive(Debug)]
pub struct BackgroundCompile(Arc<CompileProgress>);

impl BackgroundCompile {
    pub(super) const fn new(progress: Arc<CompileProgress>) -> Self {
        Self(progress)
    }

    /// How much longer it takes until all are there, if it goes on as it has so far. Nothing is
    /// known, and the time is zero, before the first of them is there.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.0.time_left()
    }
}

impl Drop for BackgroundCompile {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}

/// How far a list of kernels has come.
#[derive(Debug, Default)]
pub(super) struct CompileProgress {
    stopped: AtomicBool,
    /// When it began, and how many there are.
    begun: OnceLock<(Instant, usize)>,
    there: AtomicUsize,
}

impl CompileProgress {
    pub(super) fn begin(&self, wanted: usize) {
        let _ = self.begun.set((Instant::now(), wanted));
    }

    pub(super) fn one_is_there(&self) {
        self.there.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn time_left(&self) -> Duration {
        let there = self.there.load(Ordering::Relaxed);
        match self.begun.get() {
            Some((begun, wanted)) if there > 0 => {
                let left = wanted.saturating_sub(there);
                begun.elapsed().mul_f64(left as f64 / there as f64)
            }
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_as_many_so_far() {
        let progress = Arc::new(CompileProgress::default());
        let compile = BackgroundCompile::new(Arc::clone(&progress));
        assert_eq!(compile.time_left(), Duration::ZERO);
        progress.begin(3);
        assert_eq!(compile.time_left(), Duration::ZERO);
        std::thread::sleep(Duration::from_millis(2));
        progress.one_is_there();
        assert!(compile.time_left() >= Duration::from_millis(4));
        progress.one_is_there();
        progress.one_is_there();
        assert_eq!(compile.time_left(), Duration::ZERO);
        assert!(!progress.is_stopped());
        drop(compile);
        assert!(progress.is_stopped());
    }
}
