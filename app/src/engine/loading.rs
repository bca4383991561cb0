//! A loading under way: how far it is, and what is told of it.

use super::wait::{Turns, now_ms};
use super::{Stops, send};
use crate::protocol::{FromEngine, LoadPhase, RequestId};
use std::cell::Cell;
use web_sys::AbortController;

/// Time between two progress messages, milliseconds.
const PROGRESS_EVERY_MS: f64 = 50.0;
/// A fetch that gives nothing for so long is begun anew, milliseconds.
pub(crate) const STALL_MS: u32 = 10_000;
/// How often a fetch is begun.
pub(crate) const ATTEMPTS: u32 = 5;

/// A loading under way.
#[derive(Debug)]
pub(crate) struct Loading {
    id: RequestId,
    pub(crate) stops: Stops,
    pub(crate) abort: AbortController,
    /// For tests: the next fetch gives nothing.
    pub(crate) stall: Cell<bool>,
    phase: Cell<LoadPhase>,
    done_bytes: Cell<u64>,
    kept_bytes: Cell<u64>,
    total_bytes: Cell<u64>,
    told_ms: Cell<f64>,
    turns: Turns,
}

impl Loading {
    pub(crate) fn new(id: RequestId, stops: Stops, abort: AbortController) -> Self {
        Self {
            id,
            stops,
            abort,
            stall: Cell::new(false),
            phase: Cell::new(LoadPhase::Header),
            done_bytes: Cell::new(0),
            kept_bytes: Cell::new(0),
            total_bytes: Cell::new(0),
            told_ms: Cell::new(0.0),
            turns: Turns::default(),
        }
    }

    /// Begins a phase; `total_bytes` are those of the model's files.
    pub(crate) fn begin(&self, phase: LoadPhase, total_bytes: u64) {
        self.phase.set(phase);
        self.total_bytes.set(total_bytes);
        self.tell();
    }

    /// Bytes of weights that were read, `kept` of them from what this browser keeps.
    pub(crate) fn read(&self, bytes: u64, kept: u64) {
        self.done_bytes.set(self.done_bytes.get() + bytes);
        self.kept_bytes.set(self.kept_bytes.get() + kept);
        if now_ms() - self.told_ms.get() > PROGRESS_EVERY_MS {
            self.tell();
        }
    }

    /// Takes back bytes that have to be read again.
    pub(crate) fn unread(&self, bytes: u64) {
        self.done_bytes.set(self.done_bytes.get().saturating_sub(bytes));
        self.kept_bytes.set(self.kept_bytes.get().saturating_sub(bytes));
    }

    fn tell(&self) {
        self.told_ms.set(now_ms());
        send(&FromEngine::LoadProgress {
            id: self.id,
            phase: self.phase.get(),
            done_bytes: self.done_bytes.get(),
            total_bytes: self.total_bytes.get(),
            kept_bytes: self.kept_bytes.get(),
        });
    }

    /// A fetch gave nothing, and is begun anew.
    pub(crate) fn stalled(&self, attempt: u32) {
        send(&FromEngine::LoadStalled {
            id: self.id,
            seconds: STALL_MS / 1_000,
            attempt,
            attempts: ATTEMPTS,
        });
    }

    /// What is fetched can't be kept.
    pub(crate) fn not_kept(&self, quota_bytes: u64, needed_bytes: u64) {
        send(&FromEngine::NotKept { id: self.id, quota_bytes, needed_bytes });
    }

    /// Lets the event loop have a turn; whether to stop.
    pub(crate) async fn turn(&self) -> bool {
        self.turns.take().await;
        self.stops.asked()
    }
}
