//! The worker's side: receives [`ToEngine`], runs one request at a time, answers with [`FromEngine`].
//!
//! Cancel and stop are noticed at once, because whatever runs gives the event loop a turn at least
//! every 30 ms.

mod backend;
mod fetch;
mod load;
mod loading;
mod masks;
mod run;
mod score;
mod session;
mod source;
mod store;
mod wait;

use crate::protocol::{EngineError, ErrorCode, FromEngine, RequestId, ToEngine, decode, encode};
use js_sys::{Array, Uint8Array};
use session::Session;
use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use wasm_bindgen::JsCast as _;
use wasm_bindgen::closure::Closure;
use web_sys::{AbortController, DedicatedWorkerGlobalScope, File, MessageEvent};

/// A message and the files that came with it.
pub(crate) struct Message {
    pub(crate) body: ToEngine,
    pub(crate) files: Vec<File>,
}

impl Message {
    /// Of what was posted: an array of the message's bytes and of files.
    fn read(data: &wasm_bindgen::JsValue) -> Result<Self, crate::protocol::DecodeError> {
        let parts = if Array::is_array(data) { Array::from(data) } else { Array::of1(data) };
        let body = decode(&Uint8Array::new(&parts.get(0)).to_vec())?;
        let files = parts.iter().skip(1).filter_map(|part| part.dyn_into().ok()).collect();
        Ok(Self { body, files })
    }
}

/// A failure whose message people read: a sentence with a capital and a full stop.
pub(crate) fn failure(code: ErrorCode, error: impl std::fmt::Display) -> EngineError {
    let mut message = error.to_string();
    // Core's sentences begin in lower case, as causes do.
    if let Some(first) = message.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    if !message.ends_with('.') {
        message.push('.');
    }
    EngineError { code, message }
}

/// Requests that wait, and what to stop of the one that runs.
#[derive(Default)]
struct Inbox {
    waiting: VecDeque<Message>,
    stopped: BTreeSet<RequestId>,
    /// Aborts the fetches of the request that runs.
    fetches: Option<(RequestId, AbortController)>,
    running: bool,
}

/// Stops of a request, as the code that runs it asks for them.
#[derive(Clone)]
pub struct Stops {
    inbox: Rc<RefCell<Inbox>>,
    id: RequestId,
}

impl std::fmt::Debug for Stops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stops").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Stops {
    /// Whether the page asked to stop.
    pub fn asked(&self) -> bool {
        self.inbox.borrow().stopped.contains(&self.id)
    }

    /// Lets a stop abort the fetches of `controller`.
    fn abort_with(&self, controller: AbortController) {
        self.inbox.borrow_mut().fetches = Some((self.id, controller));
    }
}

fn scope() -> DedicatedWorkerGlobalScope {
    js_sys::global().unchecked_into()
}

/// Sends a message to the page; its bytes are transferred, not copied.
pub(crate) fn send(message: &FromEngine) {
    let bytes = Uint8Array::from(encode(message).as_slice());
    let buffer = bytes.buffer();
    if let Err(error) = scope().post_message_with_transfer(&buffer, &Array::of1(&buffer)) {
        wasm_bindgen::throw_val(error);
    }
}

/// Starts listening. Called once, by the worker's program.
pub fn start() {
    codingspot_core::run_constructors();
    console_error_panic_hook::set_once();
    let inbox = Rc::new(RefCell::new(Inbox::default()));
    let session = Rc::new(RefCell::new(Some(Session::default())));
    let on_message =
        Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
            match Message::read(&event.data()) {
                Ok(Message { body: ToEngine::CancelLoad { id } | ToEngine::StopRun { id }, .. }) => {
                    stop(&inbox, id)
                }
                Ok(message) => {
                    inbox.borrow_mut().waiting.push_back(message);
                    if !std::mem::replace(&mut inbox.borrow_mut().running, true) {
                        wasm_bindgen_futures::spawn_local(run(inbox.clone(), session.clone()));
                    }
                }
                Err(error) => send(&FromEngine::Failed {
                    id: None,
                    error: failure(
                        ErrorCode::Protocol,
                        format!(
                            "the page sent a message that the worker can't read ({error}); reload the page"
                        ),
                    ),
                }),
            }
        });
    scope().set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    // The worker listens as long as it lives.
    on_message.forget();
    // The page's first messages may have come before this point: engine-boot.js kept them, and
    // dispatches them again now that `onmessage` is set.
}

fn stop(inbox: &Rc<RefCell<Inbox>>, id: RequestId) {
    let mut inbox = inbox.borrow_mut();
    inbox.stopped.insert(id);
    if let Some((fetching, controller)) = &inbox.fetches
        && *fetching == id
    {
        controller.abort();
    }
}

async fn run(inbox: Rc<RefCell<Inbox>>, session: Rc<RefCell<Option<Session>>>) {
    loop {
        let Some(message) = inbox.borrow_mut().waiting.pop_front() else {
            inbox.borrow_mut().running = false;
            return;
        };
        // Only this loop takes the session, and only one loop runs.
        let Some(mut current) = session.borrow_mut().take() else { return };
        let id = request_id(&message.body);
        let stops = Stops { inbox: inbox.clone(), id: id.unwrap_or_default() };
        if let Err(error) = current.handle(message, &stops).await {
            send(&FromEngine::Failed { id, error });
        }
        if let Some(id) = id {
            let mut inbox = inbox.borrow_mut();
            inbox.stopped.remove(&id);
            inbox.fetches = None;
        }
        session.borrow_mut().replace(current);
    }
}

fn request_id(message: &ToEngine) -> Option<RequestId> {
    match message {
        ToEngine::Hello { .. } | ToEngine::InjectFault { .. } => None,
        ToEngine::EstimateMemory { id, .. }
        | ToEngine::OpenModel { id, .. }
        | ToEngine::CancelLoad { id }
        | ToEngine::OpenSpot { id, .. }
        | ToEngine::ScoreCode { id, .. }
        | ToEngine::SetMask { id, .. }
        | ToEngine::Generate { id, .. }
        | ToEngine::ScoreLanguages { id, .. }
        | ToEngine::StopRun { id }
        | ToEngine::ListCache { id }
        | ToEngine::EvictCache { id, .. }
        | ToEngine::Release { id } => Some(*id),
    }
}
