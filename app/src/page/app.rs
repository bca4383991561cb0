//! Joins state, worker and view.

use super::components::Page;
use super::link::Link;
use super::python_frame::PythonFrame;
use super::python_protocol::ToPython;
use super::state::models::is_plain;
use super::state::{
    Action, Attachment, Command, ModelChoice, STOP_GRACE_MS, Settings, SpotChoice, State, languages, models,
    python, recorded,
};
use super::worker::Engine;
use super::{fault, fetch};
use crate::protocol::{Arm, Fault, FromEngine, PROTOCOL_VERSION, Snippet, ToEngine};
use codingspot_plot::Figures;
use gloo::events::EventListener;
use gloo::timers::callback::Timeout;
use leptos::prelude::*;
use std::sync::Arc;
use wasm_bindgen::JsCast as _;
use web_sys::{File, HtmlElement, HtmlIFrameElement, Url, UrlSearchParams};

/// What the prompt is until someone writes another.
const FIRST_PROMPT: &str = "fn main() {\n    let mut total = 0;\n    for i in 0..10 {\n";
/// Longest file of figures that is read, bytes.
const MAX_FIGURES: usize = 16 << 20;

/// Messages that wait for the next frame of the screen.
#[derive(Default)]
struct Inbox {
    messages: Vec<FromEngine>,
    scheduled: bool,
}

/// State, worker and what is being typed, for the components.
#[derive(Clone, Copy)]
pub(super) struct App {
    /// What the page shows.
    pub(super) state: RwSignal<State>,
    /// The prompt.
    pub(super) prompt: RwSignal<String>,
    /// The settings.
    pub(super) settings: RwSignal<Settings>,
    /// The place of the token that is looked at.
    pub(super) picked: RwSignal<Option<usize>>,
    /// The arm that a narrow window shows.
    pub(super) tab: RwSignal<Arm>,
    /// The window is narrow.
    pub(super) phone: RwSignal<bool>,
    /// The choice of models unfolds.
    pub(super) models_open: RwSignal<bool>,
    /// Figures of a study of the chosen model.
    pub(super) figures: RwSignal<Option<Arc<Figures>>>,
    /// Code of files, to be scored.
    pub(super) code: RwSignal<Vec<Snippet>>,
    /// Python was asked for, and this many bytes of how many are here.
    pub(super) python_bytes: RwSignal<Option<(f64, f64)>>,
    model_files: StoredValue<Vec<File>, LocalStorage>,
    spot_file: StoredValue<Option<File>, LocalStorage>,
    engine: StoredValue<Option<Engine>, LocalStorage>,
    inbox: StoredValue<Inbox, LocalStorage>,
    python: StoredValue<Option<PythonFrame>, LocalStorage>,
    python_waiting: StoredValue<Vec<ToPython>, LocalStorage>,
    fault: StoredValue<Option<Fault>>,
}

impl App {
    fn new(models_url: String) -> Self {
        Self {
            state: RwSignal::new(State::new(models_url)),
            prompt: RwSignal::new(FIRST_PROMPT.to_owned()),
            settings: RwSignal::new(Settings::default()),
            picked: RwSignal::new(None),
            tab: RwSignal::new(Arm::Spot),
            phone: RwSignal::new(false),
            models_open: RwSignal::new(false),
            figures: RwSignal::new(None),
            code: RwSignal::new(Vec::new()),
            python_bytes: RwSignal::new(None),
            model_files: StoredValue::new_local(Vec::new()),
            spot_file: StoredValue::new_local(None),
            engine: StoredValue::new_local(None),
            inbox: StoredValue::new_local(Inbox::default()),
            python: StoredValue::new_local(None),
            python_waiting: StoredValue::new_local(Vec::new()),
            fault: StoredValue::new(None),
        }
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

    /// Changes the state, of which nothing follows but what is shown.
    pub(super) fn change(self, change: impl FnOnce(&mut State)) {
        self.state.update(change);
    }

    fn carry_out(self, command: Command) {
        match command {
            Command::Send(message, attachment) => {
                let files = match attachment {
                    Attachment::None => Vec::new(),
                    Attachment::Model => self.model_files.get_value(),
                    Attachment::Spot => self.spot_file.get_value().into_iter().collect(),
                };
                self.send(&message, &files);
            }
            Command::Python(message) => self.send_python(message),
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
        self.watch_boxed(Box::new(part))
    }

    /// The same, compiled once for each type and not for each closure.
    fn watch_boxed<T: PartialEq + Send + Sync + 'static>(
        self,
        part: Box<dyn Fn(&State) -> T + Send + Sync>,
    ) -> Memo<T> {
        Memo::new(move |_| self.state.with(|state| part(state)))
    }

    // --- worker -------------------------------------------------------------------------------

    fn start_engine(self) {
        // Ends the old one first: memory holds one model.
        self.engine.set_value(None);
        let started = Engine::start(
            move |message| self.take(message),
            move |reason| self.act(|state| state.engine_failed(reason)),
        );
        match started {
            Ok(engine) => {
                self.engine.set_value(Some(engine));
                let force_cpu = self.state.with_untracked(|state| state.force_cpu);
                self.send(&ToEngine::Hello { version: PROTOCOL_VERSION, force_cpu }, &[]);
                // Once: a worker that is started again works.
                let mut fault = None;
                self.fault.update_value(|waiting| fault = waiting.take());
                if let Some(fault) = fault {
                    self.send(&ToEngine::InjectFault { fault }, &[]);
                }
            }
            Err(reason) => self.act(|state| state.engine_failed(&reason)),
        }
    }

    fn send(self, message: &ToEngine, files: &[File]) {
        let sent = self
            .engine
            .with_value(|engine| engine.as_ref().map_or(Ok(()), |engine| engine.send(message, files)));
        if let Err(reason) = sent {
            self.act(|state| state.engine_failed(&reason));
        }
    }

    /// Takes a message: what comes often waits for the next frame of the screen, anything else takes along what waits.
    fn take(self, message: FromEngine) {
        let often = matches!(message, FromEngine::TokenBatch { .. } | FromEngine::LoadProgress { .. });
        let mut schedule = false;
        self.inbox.update_value(|inbox| {
            inbox.messages.push(message);
            schedule = often && !inbox.scheduled;
            inbox.scheduled |= often;
        });
        if !often {
            self.flush();
        } else if schedule {
            request_animation_frame(move || {
                self.inbox.update_value(|inbox| inbox.scheduled = false);
                self.flush();
            });
        }
    }

    fn flush(self) {
        let mut messages = Vec::new();
        self.inbox.update_value(|inbox| messages = std::mem::take(&mut inbox.messages));
        if messages.is_empty() {
            return;
        }
        let now = now_ms();
        self.act(|state| messages.into_iter().flat_map(|message| state.receive(message, now)).collect());
    }

    // --- Python -------------------------------------------------------------------------------

    fn send_python(self, message: ToPython) {
        // The first message makes the view draw the frame, which then calls `mount_python`.
        if self.python_bytes.get_untracked().is_none() {
            self.python_bytes.set(Some((0.0, 0.0)));
        }
        let sent =
            self.python.with_value(|python| python.as_ref().map(|python| python.send(message.clone())));
        if sent.is_none() {
            self.python_waiting.update_value(|waiting| waiting.push(message));
        }
    }

    /// The frame is in the document.
    pub(super) fn mount_python(self, frame: HtmlIFrameElement) {
        if self.python.with_value(Option::is_some) {
            return;
        }
        let python = PythonFrame::start(
            frame,
            move |message| self.change(|state| state.receive_python(message)),
            move |done, total| self.python_bytes.set(Some((done, total))),
        );
        self.python_waiting.update_value(|waiting| {
            for message in waiting.drain(..) {
                python.send(message);
            }
        });
        self.python.set_value(Some(python));
    }

    // --- what people do -----------------------------------------------------------------------

    /// Runs the arms on the prompt.
    pub(super) fn generate(self) {
        self.picked.set(None);
        self.act(|state| state.generate(self.prompt.get_untracked(), &self.settings.read_untracked()));
    }

    /// Loads files of this computer as the model.
    pub(super) fn take_model_files(self, files: Vec<File>) {
        let name = files
            .iter()
            .find(|file| file.name().ends_with(".safetensors"))
            .or(files.first())
            .map(File::name)
            .unwrap_or_default();
        self.model_files.set_value(files);
        self.act(|state| state.choose_model(ModelChoice::Local(name)));
    }

    /// Opens a file of this computer as the spot.
    pub(super) fn take_spot_file(self, file: File) {
        let name = file.name();
        self.spot_file.set_value(Some(file));
        self.act(|state| state.choose_spot(SpotChoice::File(name)));
    }

    /// Does what a button of an alert says.
    pub(super) fn take_action(self, action: &Action) {
        match action {
            Action::ReloadModel => self.act(|state| state.reload_model(false)),
            Action::RunOnCpu => self.act(|state| state.reload_model(true)),
            Action::LoadAgain => self.act(|state| {
                if state.engine.is_some() { state.load(now_ms()) } else { state.reload_model(false) }
            }),
            Action::LoadNamed(name) => {
                let choice = ModelChoice::Catalogue(name.clone());
                self.act(|state| {
                    state.dismiss();
                    state.choose_model(choice);
                    state.load(now_ms())
                });
            }
            Action::SmallerModel | Action::ManageStorage | Action::ChooseFile => {
                self.models_open.set(true);
                let target = match action {
                    Action::SmallerModel => "model-select",
                    Action::ManageStorage => "kept",
                    _ => "file-input",
                };
                Timeout::new(0, move || {
                    if let Some(element) = document().get_element_by_id(target) {
                        element.scroll_into_view();
                        drop(element.unchecked_into::<HtmlElement>().focus());
                    }
                })
                .forget();
            }
            Action::ReloadPage => drop(window().location().reload()),
        }
    }

    /// The address that brings back what is chosen now, and whether it leaves local files out.
    pub(super) fn link(self) -> (String, bool) {
        let (fragment, local) = self.state.with_untracked(|state| {
            let settings = self.settings.read_untracked();
            let link = Link::new(
                &state.choice,
                &state.spot_choice,
                state.count,
                state.mode,
                &settings,
                &self.prompt.read_untracked(),
            );
            (link.fragment(), link.model.is_none() || link.spot.is_none())
        });
        let href = window().location().href().unwrap_or_default();
        let page = href.split('#').next().unwrap_or_default();
        (format!("{page}#{fragment}"), local)
    }

    fn restore(self, link: Link) {
        self.state.update(|state| {
            if let Some(model) = link.model {
                state.choice = model;
            }
            if let Some(spot) = link.spot {
                state.spot_choice = spot;
            }
            if let Some(mode) = link.mode {
                state.mode = mode;
            }
            if let Some(count) = link.count {
                state.count = count;
            }
        });
        self.settings.update(|settings| {
            let fields = [
                (&mut settings.max_tokens, link.max_tokens),
                (&mut settings.temperature, link.temperature),
                (&mut settings.top_p, link.top_p),
                (&mut settings.seed, link.seed.map(|seed| seed.to_string())),
            ];
            for (field, value) in fields {
                if let Some(value) = value {
                    *field = value;
                }
            }
        });
        if let Some(prompt) = link.prompt {
            self.prompt.set(prompt);
        }
    }

    // --- files beside the page ----------------------------------------------------------------

    async fn fetch_data(self, models_url: String) {
        if let Some(text) = fetch::text("./recorded-run.json", recorded::MAX_BYTES).await
            && let Ok(recorded) = recorded::read_recorded(&text)
        {
            self.change(|state| state.recording_loaded(recorded));
        }
        self.change(|state| state.looked_up = true);
        if let Some(text) = fetch::text(&format!("{models_url}index.json"), models::MAX_CATALOGUE_BYTES).await
        {
            match models::read_catalogue(&text) {
                Ok(catalogue) => self.change(|state| state.catalogue = catalogue),
                Err(problem) => self.change(|state| state.refuse(super::format::capitalized(&problem))),
            }
        }
        if let Some(text) = fetch::text("./snippets.json", languages::MAX_BYTES).await
            && let Ok(texts) = languages::read_languages(&text)
        {
            self.change(|state| state.languages.texts = texts);
        }
        if let Some(text) = fetch::text("./problems.json", python::MAX_BYTES).await
            && let Ok(problems) = python::read_problems(&text)
        {
            self.change(|state| state.tests.problems = problems);
        }
    }

    /// Figures beside the chosen model, if there are any: `figures.json`, as `codingspot report --figures` writes it.
    fn follow_figures(self) {
        let url = self.watch(State::chosen_url);
        Effect::new(move |_| {
            let Some(url) = url.get() else {
                self.figures.set(None);
                return;
            };
            leptos::task::spawn_local(async move {
                let text = fetch::text(&format!("{url}figures.json"), MAX_FIGURES).await;
                let figures = text.and_then(|text| Figures::from_json(&text).ok());
                // Another may have been chosen in the meantime.
                if self.state.with_untracked(State::chosen_url).as_deref() == Some(&url) {
                    self.figures.set(figures.map(Arc::new));
                }
            });
        });
    }

    fn follow_window(self) {
        let online = move || self.change(|state| state.online = window().navigator().on_line());
        online();
        for name in ["online", "offline"] {
            EventListener::new(&window(), name, move |_| online()).forget();
        }
        if let Ok(Some(narrow)) = window().match_media("(max-width: 699px)") {
            self.phone.set(narrow.matches());
            let query = narrow.clone();
            EventListener::new(&narrow, "change", move |_| self.phone.set(query.matches())).forget();
        }
        // A link that is pasted into the address of an open page.
        EventListener::new(&window(), "hashchange", move |_| {
            if Link::parse(&window().location().hash().unwrap_or_default()).is_some() {
                drop(window().location().reload());
            }
        })
        .forget();
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
    let asked = |name: &str| query.as_ref().and_then(|query| query.get(name));
    let models_url =
        Url::new_with_base("models/", &page_url).map_or_else(|_| "models/".to_owned(), |url| url.href());
    let link = Link::parse(&location.hash().unwrap_or_default());
    let named = asked("model").filter(|name| is_plain(name));
    let force_cpu = asked("cpu").as_deref() == Some("1");
    let fault = asked("fault").and_then(|text| fault::parse(&text));

    let place: HtmlElement =
        document().get_element_by_id("app").expect("index.html has #app").unchecked_into();
    place.set_inner_html("");
    leptos::mount::mount_to(place, move || {
        let app = App::new(models_url.clone());
        provide_context(app);
        app.fault.set_value(fault);
        app.state.update(|state| {
            state.force_cpu = force_cpu;
            if let Some(name) = named {
                state.choice = ModelChoice::Catalogue(name);
            }
        });
        if let Some(link) = link {
            app.restore(link);
        }
        app.follow_window();
        app.follow_figures();
        app.start_engine();
        leptos::task::spawn_local(app.fetch_data(models_url));
        view! { <Page/> }
    })
    .forget();
}
