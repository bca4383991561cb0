//! One walk over the pieces of something large by every core, in order, with progress.

use crate::progress::Progress;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whatever a thread that panicked left: what is behind it is valid at every moment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Pieces, how long each is, and a bar over the lengths of all walks.
#[derive(Debug)]
pub(crate) struct Sweep<'a, P> {
    pieces: &'a [P],
    length: fn(&P) -> u64,
    bar: Mutex<Progress>,
    done: AtomicU64,
}

impl<'a, P: Sync> Sweep<'a, P> {
    /// For `walks` walks over `pieces`.
    pub(crate) fn new(name: &str, pieces: &'a [P], walks: u64, length: fn(&P) -> u64) -> Self {
        let total = walks * pieces.iter().map(length).sum::<u64>();
        Self { pieces, length, bar: Mutex::new(Progress::new(name, total)), done: AtomicU64::new(0) }
    }

    /// Calls `work` once for every piece, on any thread, with that thread's state; returns the
    /// states. Pieces are taken in order, so that files are read or written from front to back. Of
    /// several failures the one of the first piece is returned.
    pub(crate) fn run<S: Send>(
        &self,
        state: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, &P) -> anyhow::Result<()> + Sync,
    ) -> anyhow::Result<Vec<S>> {
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let thread = || -> Result<S, (usize, anyhow::Error)> {
            let mut state = state();
            while !failed.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(piece) = self.pieces.get(number) else { break };
                if let Err(error) = work(&mut state, piece) {
                    failed.store(true, Ordering::Relaxed);
                    return Err((number, error));
                }
                let length = (self.length)(piece);
                let done = self.done.fetch_add(length, Ordering::Relaxed) + length;
                // Whoever holds the bar is showing progress already.
                if let Ok(mut bar) = self.bar.try_lock() {
                    bar.set(done);
                }
            }
            Ok(state)
        };
        let mut states = Vec::new();
        let mut first_error: Option<(usize, anyhow::Error)> = None;
        for outcome in rayon::broadcast(|_| thread()) {
            match outcome {
                Ok(state) => states.push(state),
                // Every piece before a failed one was taken, so the first failure is among these.
                Err(error) if first_error.as_ref().is_none_or(|first| error.0 < first.0) => {
                    first_error = Some(error);
                }
                Err(_) => {}
            }
        }
        first_error.map_or(Ok(states), |(_, error)| Err(error))
    }

    /// Another name for the next walk.
    pub(crate) fn rename(&self, name: &str) {
        lock(&self.bar).rename(name);
    }

    /// All walks are done.
    pub(crate) fn finish(self) {
        self.bar.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
    }
}
