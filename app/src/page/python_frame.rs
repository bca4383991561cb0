//! The frame in which Python runs, as the page holds it.

use super::python_protocol::{FromPython, ToPython};
use gloo::events::EventListener;
use js_sys::JSON;
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::prelude::*;
use web_sys::{Event, HtmlIFrameElement, MessageEvent};

#[wasm_bindgen]
extern "C" {
    /// Fills the frame and hands it Python (boot.js).
    #[wasm_bindgen(js_name = mountPython, catch)]
    async fn mount_python(
        frame: &HtmlIFrameElement,
        progress: &Closure<dyn FnMut(f64, f64)>,
    ) -> Result<JsValue, JsValue>;
}

/// Messages that wait until the frame listens.
type Waiting = Rc<RefCell<Option<Vec<ToPython>>>>;

/// A frame with Python, or with Python on its way.
#[derive(Debug)]
pub(super) struct PythonFrame {
    frame: HtmlIFrameElement,
    waiting: Waiting,
    _listener: EventListener,
}

impl PythonFrame {
    /// Fetches Python into `frame`. `on_message` gets what it says, `on_progress` bytes and how many there will be.
    pub(super) fn start(
        frame: HtmlIFrameElement,
        on_message: impl Fn(FromPython) + Clone + 'static,
        on_progress: impl FnMut(f64, f64) + 'static,
    ) -> Self {
        let heard = on_message.clone();
        let source = frame.clone();
        let listener = EventListener::new(&gloo::utils::window(), "message", move |event: &Event| {
            let event: &MessageEvent = event.unchecked_ref();
            let ours = source.content_window().is_some_and(|window| {
                event.source().is_some_and(|source| js_sys::Object::is(&source, &window))
            });
            if !ours {
                return;
            }
            // What a program under test makes the frame say is read as plain data, or not at all.
            let text = JSON::stringify(&event.data()).map(String::from).unwrap_or_default();
            if let Ok(message) = serde_json::from_str(&text) {
                heard(message);
            }
        });
        let waiting: Waiting = Rc::new(RefCell::new(Some(Vec::new())));
        let (queue, target) = (waiting.clone(), frame.clone());
        wasm_bindgen_futures::spawn_local(async move {
            let progress = Closure::new(on_progress);
            match mount_python(&target, &progress).await {
                Ok(_) => {
                    for message in queue.borrow_mut().take().unwrap_or_default() {
                        post(&target, &message);
                    }
                }
                Err(error) => {
                    let message = error.dyn_ref::<js_sys::Error>().map_or_else(
                        || "Python could not be fetched.".to_owned(),
                        |error| String::from(error.message()),
                    );
                    on_message(FromPython::BootFailed { message });
                }
            }
        });
        Self { frame, waiting, _listener: listener }
    }

    /// Sends a message now, or as soon as the frame listens.
    pub(super) fn send(&self, message: ToPython) {
        match self.waiting.borrow_mut().as_mut() {
            Some(queue) => queue.push(message),
            None => post(&self.frame, &message),
        }
    }
}

fn post(frame: &HtmlIFrameElement, message: &ToPython) {
    let text = serde_json::to_string(message).unwrap_or_default();
    // The frame has an opaque origin, which no name stands for.
    if let (Some(window), Ok(object)) = (frame.content_window(), JSON::parse(&text)) {
        drop(window.post_message(&object, "*"));
    }
}
