//! Turns of the event loop, so that a stop is heard while the engine works.

use gloo::timers::future::TimeoutFuture;
use std::cell::Cell;

/// Longest time without a turn, milliseconds.
const EVERY_MS: f64 = 30.0;

/// Gives the event loop a turn when the last one was 30 ms ago.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    last_ms: Cell<f64>,
}

impl Turns {
    pub(crate) async fn take(&self) {
        if now_ms() - self.last_ms.get() > EVERY_MS {
            TimeoutFuture::new(0).await;
            self.last_ms.set(now_ms());
        }
    }
}

/// Milliseconds since the worker began.
pub(crate) fn now_ms() -> f64 {
    super::scope().performance().map_or(0.0, |clock| clock.now())
}
