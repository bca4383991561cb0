//! Joins state, worker and view.

use super::components::Page;
use super::state::{Command, STOP_GRACE_MS, State};
use super::worker::Engine;
use crate::protocol::{PROTOCOL_VERSION, ToEngine};
use gloo::net::http::{Method, RequestBuilder};
use gloo::timers::callback::Timeout;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::{HtmlElement, Url, UrlSearchParams};

/// The model that is there unless the address names another.
const DEFAULT_MODEL: &str = "demo";

/// The model's directory, from the page: `?model=NAME` names one beside the bundled one. A name is
/// one plain path segment, so that an address can't point anywhere else.
fn model_directory(query: Option<&UrlSearchParams>) -> String {
    let plain = |name: &String| {
        name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) && !name.starts_with('.')
    };
    let name = query.and_then(|query| query.get("model")).filter(|name| !name.is_empty()).filter(plain);
    format!("models/{}/", name.as_deref().unwrap_or(DEFAULT_MODEL))
}

/// State and worker, for the components.
#[derive(Debug, Clone, Copy)]
pub(super) struct App {
    /// What the page shows.
    pub(super) state: RwSignal<State>,
    engine: StoredValue<Option<Engine>, LocalStorage>,
    force_cpu: bool,
}

impl App {
    fn new(model_url: String, force_cpu: bool) -> Self {
        Self { state: RwSignal::new(State::new(model_url)), engine: StoredValue::new_local(None), force_cpu }
    }

    /// The app of the component that asks.
    pub(super) fn get() -> Self {
        expect_context()
    }

    /// Changes the state, then does what follows from it.
    pub(super) fn act(self, change: impl FnOnce(&mut State) -> Vec<Command>) {
        let mut commands = Vec::new();
        self.state.update(|state| commands = change(state));
        for command in commands {
            self.carry_out(command);
        }
    }

    fn carry_out(self, command: Command) {
        match command {
            Command::Send(message) => self.send(&message),
            Command::WatchStop(id) => {
                Timeout::new(STOP_GRACE_MS, move || self.act(|state| state.stop_overdue(id))).forget();
            }
            // Not now: this may be a call from the worker that is to be dropped.
            Command::Restart => {
                Timeout::new(0, move || self.start_engine()).forget();
            }
        }
    }

    /// A part of the state, which views follow.
    pub(super) fn watch<T: PartialEq + Send + Sync + 'static>(
        self,
        part: impl Fn(&State) -> T + Send + Sync + 'static,
    ) -> Memo<T> {
        Memo::new(move |_| self.state.with(|state| part(state)))
    }

    fn start_engine(self) {
        // Ends the old one first: memory holds one model.
        self.engine.set_value(None);
        let started = Engine::start(
            move |message| self.act(|state| state.receive(message, now_ms())),
            move |reason| self.act(|state| state.engine_failed(reason)),
        );
        match started {
            Ok(engine) => {
                self.engine.set_value(Some(engine));
                self.send(&ToEngine::Hello { version: PROTOCOL_VERSION, force_cpu: self.force_cpu });
            }
            Err(reason) => self.act(|state| state.engine_failed(&reason)),
        }
    }

    fn send(self, message: &ToEngine) {
        let sent =
            self.engine.with_value(|engine| engine.as_ref().map_or(Ok(()), |engine| engine.send(message)));
        if let Err(reason) = sent {
            self.act(|state| state.engine_failed(&reason));
        }
    }

    /// Asks the server for the size of the model, for the button's name.
    async fn ask_size(self, model_url: String) {
        let url = format!("{model_url}model.safetensors");
        // Without an answer the button names no size; loading tells what is wrong.
        let Ok(response) = RequestBuilder::new(&url).method(Method::HEAD).send().await else { return };
        let length = response.headers().get("content-length").and_then(|length| length.parse().ok());
        if let (true, Some(length)) = (response.ok(), length) {
            self.state.update(|state| state.model_bytes = Some(length));
        }
    }
}

/// The browser's clock, milliseconds.
pub(super) fn now_ms() -> f64 {
    window().performance().map_or(0.0, |clock| clock.now())
}

/// Draws the page and starts the worker. Called once, by the page's program.
///
/// # Panics
/// Where `index.html` has no `#app`.
pub fn start() {
    console_error_panic_hook::set_once();
    let location = window().location();
    let page_url = location.href().unwrap_or_default();
    let query = UrlSearchParams::new_with_str(&location.search().unwrap_or_default()).ok();
    let directory = model_directory(query.as_ref());
    let model_url =
        Url::new_with_base(&directory, &page_url).map_or_else(|_| directory.clone(), |url| url.href());
    let force_cpu = query.is_some_and(|query| query.get("cpu").as_deref() == Some("1"));

    let place: HtmlElement =
        document().get_element_by_id("app").expect("index.html has #app").unchecked_into();
    place.set_inner_html("");
    leptos::mount::mount_to(place, move || {
        let app = App::new(model_url.clone(), force_cpu);
        provide_context(app);
        app.start_engine();
        leptos::task::spawn_local(app.ask_size(model_url));
        view! { <Page/> }
    })
    .forget();
}
