//! Waiting: turns of the event loop, so that a stop is heard while the engine works, and promises with a limit.

use gloo::timers::callback::Timeout;
use gloo::timers::future::TimeoutFuture;
use js_sys::{Array, Function, Promise};
use std::cell::Cell;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;

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

/// How a promise ended.
pub(crate) enum Settled {
    Value(JsValue),
    Error(JsValue),
    /// It did not, in time.
    Late,
}

/// Waits for a promise, `limit_ms` at most.
pub(crate) async fn within(promise: Promise, limit_ms: u32) -> Settled {
    let mut settle = None;
    let late = Promise::new(&mut |resolve: Function, _| settle = Some(resolve));
    let mark = JsValue::from(js_sys::Object::new());
    let timer = settle.map(|settle| {
        let mark = mark.clone();
        Timeout::new(limit_ms, move || drop(settle.call1(&JsValue::UNDEFINED, &mark)))
    });
    let ended = JsFuture::from(Promise::race(&Array::of2(&promise, &late))).await;
    drop(timer);
    match ended {
        Ok(value) if value == mark => Settled::Late,
        Ok(value) => Settled::Value(value),
        Err(error) => Settled::Error(error),
    }
}

/// The browser's words of an error.
pub(crate) fn words(error: &JsValue) -> String {
    use wasm_bindgen::JsCast as _;
    error
        .dyn_ref::<js_sys::Error>()
        .map_or_else(|| format!("{error:?}"), |error| String::from(error.message()))
}
