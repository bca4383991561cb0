//! The worker, as the page holds it: bytes go out, messages come in.

use crate::protocol::{FromEngine, ToEngine, decode, encode};
use gloo::events::EventListener;
use js_sys::{Array, Uint8Array};
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::{ErrorEvent, Event, File, MessageEvent, Worker, WorkerOptions, WorkerType};

/// The program that the worker runs.
const SCRIPT: &str = "./engine-boot.js";

/// A running worker; dropping it ends it.
#[derive(Debug)]
pub(super) struct Engine {
    worker: Worker,
    /// They listen as long as they are held.
    _listeners: [EventListener; 3],
}

impl Engine {
    /// Starts a worker. `on_message` gets what it says, `on_failure` why it can't go on.
    pub(super) fn start(
        on_message: impl Fn(FromEngine) + 'static,
        on_failure: impl Fn(&str) + Clone + 'static,
    ) -> Result<Self, String> {
        let options = WorkerOptions::new();
        options.set_type(WorkerType::Module);
        let worker = Worker::new_with_options(SCRIPT, &options).map_err(|error| reason(&error))?;

        let unreadable = on_failure.clone();
        let message = EventListener::new(&worker, "message", move |event: &Event| {
            let event: &MessageEvent = event.unchecked_ref();
            let data = event.data();
            // The bytes are the first element of an array.
            let bytes = if Array::is_array(&data) { Array::from(&data).get(0) } else { data };
            match decode(&Uint8Array::new(&bytes).to_vec()) {
                Ok(message) => on_message(message),
                Err(error) => unreadable(&format!("its message can't be read: {error}")),
            }
        });
        let untransferable = on_failure.clone();
        let message_error =
            EventListener::new(&worker, "messageerror", move |_| untransferable("its message can't be read"));
        let error = EventListener::new(&worker, "error", move |event: &Event| {
            // A script that can't be fetched gives a plain event without a message.
            let message = event.dyn_ref::<ErrorEvent>().map(ErrorEvent::message).unwrap_or_default();
            on_failure(if message.is_empty() { "its program could not be fetched" } else { &message });
        });
        Ok(Self { worker, _listeners: [message, message_error, error] })
    }

    /// Sends a message and files with it; the message's bytes are transferred, not copied.
    pub(super) fn send(&self, message: &ToEngine, files: &[File]) -> Result<(), String> {
        let buffer = Uint8Array::from(encode(message).as_slice()).buffer();
        let parts = Array::of1(&buffer);
        for file in files {
            parts.push(file);
        }
        self.worker.post_message_with_transfer(&parts, &Array::of1(&buffer)).map_err(|error| reason(&error))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.worker.terminate();
    }
}

fn reason(error: &JsValue) -> String {
    error
        .dyn_ref::<js_sys::Error>()
        .map_or_else(|| format!("{error:?}"), |error| String::from(error.message()))
}
