//! What the page knows, and how messages and clicks change it.
//!
//! Plain functions: each change returns the [`Command`]s that the page then carries out.

use super::format;
use super::slider::Scale;
use crate::protocol::{
    Arm, Backend, EngineError, FromEngine, ModelFacts, PROTOCOL_VERSION, RequestId, Sampling, SpotFacts,
    StopReason, ToEngine,
};
use std::collections::VecDeque;

/// Name of the model that the page loads.
const BUNDLED_NAME: &str = "codingspot-demo";
/// How long the worker may take to stop, milliseconds; then it is started again.
pub const STOP_GRACE_MS: u32 = 2_000;
/// Most new tokens of an arm.
pub const MAX_NEW_TOKENS: u32 = 512;
/// Loading tells its speed after this time, milliseconds.
const RATE_AFTER_MS: f64 = 3_000.0;
/// Loading's speed is a mean over this time, milliseconds.
const RATE_WINDOW_MS: f64 = 5_000.0;

/// What the page is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The worker starts.
    Starting,
    /// The worker listens; there is no model.
    Idle,
    /// A model or a spot loads.
    Loading,
    /// Loading was stopped by the user.
    Cancelled,
    /// The model can be used.
    Ready,
    /// Arms run.
    Generating,
    /// A run was stopped by the user.
    Stopped,
    /// Something failed; the alert says what.
    Failed,
}

impl Phase {
    /// The value of `data-state`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Idle => "idle",
            Self::Loading => "loading",
            Self::Cancelled => "cancelled",
            Self::Ready => "ready",
            Self::Generating => "generating",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// Which parameters compete for the spot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    All,
    /// All but the gains of the norms.
    NoNorm,
}

impl Scope {
    /// As files and test ids name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::NoNorm => "no-norm",
        }
    }

    /// As people read it.
    pub fn label(self) -> &'static str {
        match self {
            Self::All => "All parameters",
            Self::NoNorm => "Without norm gains",
        }
    }
}

/// What an arm is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArmPhase {
    /// Nothing was generated.
    #[default]
    Empty,
    /// Its turn comes.
    Waiting,
    /// Tokens come.
    Running,
    /// All of its tokens are there.
    Finished,
    /// Ended early.
    Stopped,
}

impl ArmPhase {
    /// The value of `data-arm-state`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
        }
    }
}

/// An arm's output.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ArmView {
    /// What it is doing.
    pub phase: ArmPhase,
    /// What it continues.
    pub prompt: String,
    /// The continuation.
    pub text: String,
    /// New tokens.
    pub tokens: u32,
    /// At most this many.
    pub max_tokens: u32,
    /// Parameters that were zero.
    pub count: u64,
    /// Why it ended.
    pub stop: Option<StopReason>,
    /// Speed after the first token.
    pub tokens_per_s: Option<f64>,
    nll_sum: f64,
    scored: u32,
}

impl ArmView {
    /// Mean negative log-likelihood of the new tokens, nats.
    pub fn mean_nll(&self) -> Option<f64> {
        (self.scored > 0).then(|| self.nll_sum / f64::from(self.scored))
    }

    fn interrupt(&mut self) {
        if matches!(self.phase, ArmPhase::Waiting | ArmPhase::Running) {
            self.phase = ArmPhase::Stopped;
        }
    }
}

/// What computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFacts {
    /// The kind.
    pub backend: Backend,
    /// Its name.
    pub adapter: String,
    /// Why it is not WebGPU.
    pub reason: Option<String>,
}

impl EngineFacts {
    /// The kind, as people and `data-backend` name it.
    fn kind(&self) -> &'static str {
        match self.backend {
            Backend::WebGpu => "WebGPU",
            Backend::Flex => "CPU",
        }
    }
}

/// Loading, as far as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// Bytes that are there.
    pub done_bytes: u64,
    /// Bytes of all.
    pub total_bytes: u64,
    started_ms: f64,
    /// When how many bytes were there, over the last seconds.
    samples: VecDeque<(f64, u64)>,
}

impl Progress {
    fn new(now_ms: f64, total_bytes: u64) -> Self {
        Self { done_bytes: 0, total_bytes, started_ms: now_ms, samples: VecDeque::from([(now_ms, 0)]) }
    }

    fn advance(&mut self, now_ms: f64, done_bytes: u64, total_bytes: u64) {
        self.done_bytes = done_bytes;
        self.total_bytes = total_bytes;
        self.samples.push_back((now_ms, done_bytes));
        while self.samples.len() > 2 && self.samples[1].0 <= now_ms - RATE_WINDOW_MS {
            self.samples.pop_front();
        }
    }

    /// Percent, rounded down.
    pub fn percent(&self) -> u64 {
        (self.done_bytes * 100).checked_div(self.total_bytes).unwrap_or(0).min(100)
    }

    /// Bytes per second over the last seconds; `None` while it is too early to tell.
    fn rate(&self) -> Option<f64> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let seconds = (last.0 - first.0) / 1e3;
        let rate = last.1.saturating_sub(first.1) as f64 / seconds;
        (last.0 - self.started_ms >= RATE_AFTER_MS && rate.is_finite() && rate > 0.0).then_some(rate)
    }

    /// One line for people about the loading of `model`.
    pub fn text(&self, model: &str) -> String {
        if self.total_bytes == 0 {
            return format!("Loading {model}.");
        }
        let (done, total) = (format::bytes(self.done_bytes), format::bytes(self.total_bytes));
        let speed = self.rate().map(|rate| {
            let left = self.total_bytes.saturating_sub(self.done_bytes) as f64 / rate;
            format!(", {}, {}", format::rate(rate), format::time_left(left))
        });
        format!("Loading {model}: {done} of {total}{}.", speed.unwrap_or_default())
    }
}

/// The request that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    Model(RequestId),
    Spot(RequestId),
    Run(RequestId),
}

impl Pending {
    fn id(self) -> RequestId {
        match self {
            Self::Model(id) | Self::Spot(id) | Self::Run(id) => id,
        }
    }
}

/// What the arms continue, so that an arm can run again alone.
#[derive(Debug, Clone, PartialEq)]
struct Run {
    prompt: String,
    sampling: Sampling,
    count: u64,
    scope: Scope,
}

/// What the page must do after a change.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Send a message to the worker.
    Send(ToEngine),
    /// Call [`State::stop_overdue`] after [`STOP_GRACE_MS`].
    WatchStop(RequestId),
    /// End the worker and start another.
    Restart,
}

/// Everything that the page shows, but for what is being typed.
#[derive(Debug, Clone)]
pub struct State {
    /// What the page is doing.
    pub phase: Phase,
    /// What computes, once the worker listens.
    pub engine: Option<EngineFacts>,
    /// Size of the model's file, where the server tells it.
    pub model_bytes: Option<u64>,
    /// The loaded model.
    pub model: Option<ModelFacts>,
    /// The loaded spot.
    pub spot: Option<SpotFacts>,
    /// The chosen scope.
    pub scope: Scope,
    /// How many parameters are chosen to be zero.
    pub count: u64,
    /// Loading, while the model loads.
    pub progress: Option<Progress>,
    /// The last failure, until it is dismissed.
    pub alert: Option<String>,
    /// The unchanged arm.
    pub original: ArmView,
    /// The arm without its spot.
    pub without_spot: ArmView,
    /// Address of the model's directory, with a final slash.
    model_url: String,
    last_id: RequestId,
    pending: Option<Pending>,
    stopping: bool,
    /// Run the spot's arm again when the run that is being stopped has ended.
    rerun: bool,
    run: Option<Run>,
    /// Speed of the last finished arm.
    speed: Option<f64>,
}

impl State {
    /// The page before its worker has answered; `model_url` is the address of the model's directory.
    pub fn new(model_url: String) -> Self {
        Self {
            phase: Phase::Starting,
            engine: None,
            model_bytes: None,
            model: None,
            spot: None,
            scope: Scope::NoNorm,
            count: 0,
            progress: None,
            alert: None,
            original: ArmView::default(),
            without_spot: ArmView::default(),
            model_url,
            last_id: 0,
            pending: None,
            stopping: false,
            rerun: false,
            run: None,
            speed: None,
        }
    }

    /// Address of the model's directory; it ends in a slash.
    pub fn model_url(&self) -> &str {
        &self.model_url
    }

    /// What the model is called: the last part of its directory's address.
    pub fn model_name(&self) -> String {
        match self.model_url.trim_end_matches('/').rsplit('/').next() {
            None | Some("demo") => BUNDLED_NAME.to_owned(),
            Some(name) => name.to_owned(),
        }
    }

    // --- what can be done ---------------------------------------------------------------------

    /// Whether the model can be loaded now.
    pub fn can_load(&self) -> bool {
        self.engine.is_some() && self.model.is_none() && self.pending.is_none()
    }

    /// Whether loading can be stopped now.
    pub fn can_cancel(&self) -> bool {
        matches!(self.pending, Some(Pending::Model(_))) && !self.stopping
    }

    /// Whether arms can run now.
    pub fn can_generate(&self) -> bool {
        self.model.is_some() && self.pending.is_none()
    }

    /// Whether another scope can be chosen now.
    pub fn can_choose_scope(&self) -> bool {
        self.pending.is_none()
    }

    /// Whether arms run, and weren't told to stop.
    pub fn can_stop(&self) -> bool {
        matches!(self.pending, Some(Pending::Run(_))) && (!self.stopping || self.rerun)
    }

    // --- what is shown ------------------------------------------------------------------------

    /// An arm.
    pub fn arm(&self, arm: Arm) -> &ArmView {
        match arm {
            Arm::Original => &self.original,
            Arm::Spot => &self.without_spot,
        }
    }

    fn arm_mut(&mut self, arm: Arm) -> &mut ArmView {
        match arm {
            Arm::Original => &mut self.original,
            Arm::Spot => &mut self.without_spot,
        }
    }

    /// The slider's scale, once there is a spot.
    pub fn scale(&self) -> Option<Scale> {
        self.spot.as_ref().map(|spot| Scale::new(spot.parameters_in_scope, spot.len))
    }

    /// The slider's tick.
    pub fn tick(&self) -> u32 {
        self.scale().map_or(0, |scale| scale.tick(self.count))
    }

    /// The chosen count, as share and as number.
    pub fn count_text(&self) -> String {
        match &self.spot {
            Some(spot) if self.count > 0 => {
                let percent = self.count as f64 * 100.0 / spot.parameters_in_scope as f64;
                format!("{}, {}", format::percent(percent), format::parameters(self.count))
            }
            _ => "nothing ablated".to_owned(),
        }
    }

    /// Name of the button that loads.
    pub fn load_label(&self) -> String {
        match self.model_bytes {
            Some(size) => format!("Load model ({})", format::bytes(size)),
            None => "Load model".to_owned(),
        }
    }

    /// What computes, in a line.
    pub fn backend_text(&self) -> String {
        let Some(engine) = &self.engine else { return "Engine is not running".to_owned() };
        match engine.backend {
            Backend::WebGpu => format!("WebGPU: {}", engine.adapter),
            Backend::Flex => {
                let reason = engine.reason.as_deref().map(|text| format!(" ({text})")).unwrap_or_default();
                let speed =
                    self.speed.map(|speed| format!(" at {speed:.0} tokens per second")).unwrap_or_default();
                format!("No WebGPU here{reason}. Running on the CPU{speed}.")
            }
        }
    }

    /// The status line: changes seldom, because it is read aloud.
    pub fn status_text(&self) -> String {
        match self.phase {
            Phase::Starting => "Starting.".to_owned(),
            Phase::Loading if self.stopping => "Stopping.".to_owned(),
            Phase::Loading if self.progress.is_some() => format!("Loading {}.", self.model_name()),
            Phase::Loading => "Loading the spot.".to_owned(),
            Phase::Cancelled => "Loading stopped. Nothing of the model is kept.".to_owned(),
            Phase::Ready => self.results_text().unwrap_or_else(|| self.ready_text()),
            Phase::Generating => "Generating.".to_owned(),
            Phase::Stopped => {
                let arm = if self.original.phase == ArmPhase::Finished {
                    &self.without_spot
                } else {
                    &self.original
                };
                format!("Stopped at token {}. Choose Generate to start again.", arm.tokens)
            }
            Phase::Failed if self.model.is_some() => format!("{} is still loaded.", self.model_name()),
            Phase::Idle | Phase::Failed => "No model is loaded.".to_owned(),
        }
    }

    fn ready_text(&self) -> String {
        let engine =
            self.engine.as_ref().map(|engine| format!(" {}, {}, f32.", engine.kind(), engine.adapter));
        format!("{} ready.{}", self.model_name(), engine.unwrap_or_default())
    }

    fn results_text(&self) -> Option<String> {
        let results: Vec<String> = [(&self.original, "Original"), (&self.without_spot, "Spot removed")]
            .into_iter()
            .filter(|(arm, _)| arm.phase == ArmPhase::Finished)
            .map(|(arm, name)| {
                let nll = arm.mean_nll().map(|nll| format!(", NLL {nll:.2}")).unwrap_or_default();
                format!("{name}: {}{nll}.", format::tokens(arm.tokens.into()))
            })
            .collect();
        (!results.is_empty()).then(|| results.join(" "))
    }

    /// How far a run is; changes with each token, so it is not read aloud.
    pub fn run_text(&self) -> Option<String> {
        if self.phase != Phase::Generating {
            return None;
        }
        if self.stopping {
            return Some("Stopping.".to_owned());
        }
        let part = |arm: &ArmView| match arm.phase {
            ArmPhase::Finished => "done".to_owned(),
            ArmPhase::Waiting => "waiting".to_owned(),
            _ => format!("{} of {}", arm.tokens, arm.max_tokens),
        };
        let spot = match self.without_spot.phase {
            ArmPhase::Empty => String::new(),
            _ => format!(", spot {}", part(&self.without_spot)),
        };
        Some(format!("Generating: original {}{spot}.", part(&self.original)))
    }

    // --- what the user does -------------------------------------------------------------------

    /// Loads the model.
    pub fn load(&mut self, now_ms: f64) -> Vec<Command> {
        if !self.can_load() {
            return Vec::new();
        }
        let id = self.next_id();
        self.pending = Some(Pending::Model(id));
        self.phase = Phase::Loading;
        self.alert = None;
        self.progress = Some(Progress::new(now_ms, self.model_bytes.unwrap_or(0)));
        vec![Command::Send(ToEngine::OpenModel { id, url: self.model_url.clone() })]
    }

    /// Stops loading.
    pub fn cancel(&mut self) -> Vec<Command> {
        let Some(pending) = self.pending.filter(|_| self.can_cancel()) else { return Vec::new() };
        self.stopping = true;
        vec![Command::Send(ToEngine::CancelLoad { id: pending.id() }), Command::WatchStop(pending.id())]
    }

    /// Takes the spot of another scope.
    pub fn choose_scope(&mut self, scope: Scope) -> Vec<Command> {
        if !self.can_choose_scope() || self.scope == scope && self.spot.is_some() {
            return Vec::new();
        }
        self.scope = scope;
        if self.model.is_some() { self.open_spot() } else { Vec::new() }
    }

    /// Moves the slider: changes labels only.
    pub fn preview_tick(&mut self, tick: u32) {
        if let Some(scale) = self.scale() {
            self.count = scale.count(tick);
        }
    }

    /// Chooses an exact count: changes labels only.
    pub fn preview_count(&mut self, count: u64) {
        if let Some(spot) = &self.spot {
            self.count = count.min(spot.len);
        }
    }

    /// The count stays as it is now: the spot's arm runs again if it has run with another.
    pub fn commit_count(&mut self) -> Vec<Command> {
        if matches!(self.pending, Some(Pending::Run(_))) {
            if self.run.as_ref().is_some_and(|run| run.count == self.count) && !self.stopping {
                return Vec::new();
            }
            self.rerun = true;
            return self.send_stop();
        }
        self.run_spot_again()
    }

    /// Runs the arms.
    pub fn generate(&mut self, prompt: String, settings: &Settings) -> Vec<Command> {
        if !self.can_generate() {
            return Vec::new();
        }
        match settings.sampling() {
            Ok(sampling) => {
                self.without_spot = ArmView::default();
                let arms =
                    if self.spot.is_some() { vec![Arm::Original, Arm::Spot] } else { vec![Arm::Original] };
                self.start_run(prompt, sampling, arms)
            }
            Err(problem) => {
                self.alert = Some(problem);
                Vec::new()
            }
        }
    }

    /// Stops the run.
    pub fn stop(&mut self) -> Vec<Command> {
        self.rerun = false;
        self.send_stop()
    }

    /// The grace after a stop is over: a worker that has not answered is started again.
    pub fn stop_overdue(&mut self, id: RequestId) -> Vec<Command> {
        if self.pending.is_none_or(|pending| pending.id() != id) || !self.stopping {
            return Vec::new();
        }
        self.forget_engine(Phase::Starting);
        self.alert = Some(
            "The engine did not stop within 2 s, so it was started again. Load the model again.".to_owned(),
        );
        vec![Command::Restart]
    }

    /// Takes the alert away.
    pub fn dismiss(&mut self) {
        self.alert = None;
    }

    // --- what the worker says -----------------------------------------------------------------

    /// The worker's program failed.
    pub fn engine_failed(&mut self, reason: &str) -> Vec<Command> {
        let reason = reason.trim_end_matches('.');
        if self.engine.is_none() {
            self.forget_engine(Phase::Failed);
            self.alert =
                Some(format!("The engine could not start ({reason}). Reload the page to try again."));
            return Vec::new();
        }
        self.forget_engine(Phase::Failed);
        self.alert =
            Some(format!("The engine failed ({reason}) and was started again. Load the model again."));
        vec![Command::Restart]
    }

    /// A message; those of requests that are no longer awaited change nothing.
    pub fn receive(&mut self, message: FromEngine, now_ms: f64) -> Vec<Command> {
        if let Some(id) = request_id(&message)
            && self.pending.map(Pending::id) != Some(id)
        {
            return Vec::new();
        }
        match message {
            FromEngine::Ready { version, backend, adapter, reason } => {
                if version != PROTOCOL_VERSION {
                    return self
                        .engine_failed(&format!("it speaks version {version}, the page {PROTOCOL_VERSION}"));
                }
                self.engine = Some(EngineFacts { backend, adapter, reason });
                if self.phase == Phase::Starting {
                    self.phase = Phase::Idle;
                }
            }
            FromEngine::LoadProgress { done_bytes, total_bytes, .. } => {
                if let Some(progress) = &mut self.progress {
                    progress.advance(now_ms, done_bytes, total_bytes);
                }
            }
            FromEngine::ModelReady { model, .. } => {
                self.settle(Phase::Ready);
                self.model = Some(model);
                return self.open_spot();
            }
            FromEngine::LoadCancelled { .. } => self.settle(Phase::Cancelled),
            FromEngine::SpotReady { spot, .. } => {
                self.settle(Phase::Ready);
                self.spot = Some(spot);
                self.count = self.count.min(self.scale().map_or(0, Scale::last));
                return self.run_spot_again();
            }
            FromEngine::ArmStarted { arm, .. } => {
                let arm = self.arm_mut(arm);
                arm.phase = ArmPhase::Running;
                arm.text.clear();
            }
            FromEngine::Token { arm, text, logprob, .. } => {
                let arm = self.arm_mut(arm);
                arm.text += &text;
                arm.tokens += 1;
                arm.scored += 1;
                arm.nll_sum -= f64::from(logprob);
            }
            FromEngine::ArmFinished { arm, stop, text, tokens, tokens_per_s, .. } => {
                self.speed = tokens_per_s.or(self.speed);
                let arm = self.arm_mut(arm);
                arm.phase = ArmPhase::Finished;
                arm.stop = Some(stop);
                arm.text = text;
                arm.tokens = tokens;
                arm.tokens_per_s = tokens_per_s;
            }
            FromEngine::RunFinished { .. } => return self.run_ended(Phase::Ready),
            FromEngine::RunStopped { .. } => return self.run_ended(Phase::Stopped),
            FromEngine::Failed { id, error } => self.failed(id, &error),
        }
        Vec::new()
    }

    fn failed(&mut self, id: Option<RequestId>, error: &EngineError) {
        let next = match (id.and(self.pending), error.code.as_str()) {
            (_, "device") => "Reload the page, or add ?cpu=1 to its address to run on the CPU.",
            (None, _) | (_, "protocol") => "Reload the page.",
            (Some(Pending::Model(_)), "network") => "Check the connection, then load the model again.",
            (Some(Pending::Model(_)), _) => "Load the model again, or reload the page.",
            (Some(Pending::Spot(_)), _) => "Choose the other scope, or reload the page.",
            (Some(Pending::Run(_)), _) => "Shorten the prompt or change the settings, then generate again.",
        };
        if id.is_none() {
            self.forget_engine(Phase::Failed);
        } else {
            // What failed is not tried again by moving the slider.
            self.run = None;
            self.settle(Phase::Failed);
        }
        let message = error.message.trim();
        let end = if message.ends_with('.') { "" } else { "." };
        self.alert = Some(format!("{message}{end} {next}"));
    }

    fn run_ended(&mut self, phase: Phase) -> Vec<Command> {
        let rerun = self.rerun;
        self.settle(phase);
        if rerun { self.run_spot_again() } else { Vec::new() }
    }

    // --- shared -------------------------------------------------------------------------------

    fn next_id(&mut self) -> RequestId {
        self.last_id += 1;
        self.last_id
    }

    /// The pending request has ended.
    fn settle(&mut self, phase: Phase) {
        self.phase = phase;
        self.pending = None;
        self.stopping = false;
        self.rerun = false;
        self.progress = None;
        self.original.interrupt();
        self.without_spot.interrupt();
    }

    fn forget_engine(&mut self, phase: Phase) {
        self.settle(phase);
        self.engine = None;
        self.model = None;
        self.spot = None;
        self.run = None;
        self.speed = None;
        self.count = 0;
    }

    fn open_spot(&mut self) -> Vec<Command> {
        let id = self.next_id();
        self.pending = Some(Pending::Spot(id));
        self.phase = Phase::Loading;
        self.alert = None;
        self.spot = None;
        let url = format!("{}spot-{}.safetensors", self.model_url, self.scope.name());
        vec![Command::Send(ToEngine::OpenSpot { id, url })]
    }

    fn start_run(&mut self, prompt: String, sampling: Sampling, arms: Vec<Arm>) -> Vec<Command> {
        let id = self.next_id();
        let count = if self.spot.is_some() { self.count } else { 0 };
        for &arm in &arms {
            *self.arm_mut(arm) = ArmView {
                phase: ArmPhase::Waiting,
                prompt: prompt.clone(),
                max_tokens: sampling.max_tokens,
                count: if arm == Arm::Spot { count } else { 0 },
                ..ArmView::default()
            };
        }
        self.run = Some(Run { prompt: prompt.clone(), sampling: sampling.clone(), count, scope: self.scope });
        self.pending = Some(Pending::Run(id));
        self.phase = Phase::Generating;
        self.alert = None;
        vec![Command::Send(ToEngine::Generate { id, prompt, count, arms, sampling })]
    }

    /// Runs the spot's arm of the last run again, and the original's if it was stopped.
    fn run_spot_again(&mut self) -> Vec<Command> {
        let fresh = |run: &Run| {
            run.count == self.count
                && run.scope == self.scope
                && self.without_spot.phase == ArmPhase::Finished
        };
        if self.spot.is_none() || self.pending.is_some() {
            return Vec::new();
        }
        let Some(run) = self.run.clone().filter(|run| !fresh(run)) else { return Vec::new() };
        let mut arms = vec![Arm::Spot];
        if self.original.phase != ArmPhase::Finished {
            arms.insert(0, Arm::Original);
        }
        self.start_run(run.prompt, run.sampling, arms)
    }

    fn send_stop(&mut self) -> Vec<Command> {
        let Some(Pending::Run(id)) = self.pending else { return Vec::new() };
        if std::mem::replace(&mut self.stopping, true) {
            return Vec::new();
        }
        vec![Command::Send(ToEngine::StopRun { id }), Command::WatchStop(id)]
    }
}

fn request_id(message: &FromEngine) -> Option<RequestId> {
    match message {
        FromEngine::Ready { .. } => None,
        FromEngine::LoadProgress { id, .. }
        | FromEngine::ModelReady { id, .. }
        | FromEngine::LoadCancelled { id }
        | FromEngine::SpotReady { id, .. }
        | FromEngine::ArmStarted { id, .. }
        | FromEngine::Token { id, .. }
        | FromEngine::ArmFinished { id, .. }
        | FromEngine::RunFinished { id }
        | FromEngine::RunStopped { id } => Some(*id),
        FromEngine::Failed { id, .. } => *id,
    }
}

/// The settings, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// At most this many new tokens.
    pub max_tokens: String,
    /// 0 is greedy.
    pub temperature: String,
    /// Nucleus.
    pub top_p: String,
    /// Seed.
    pub seed: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_tokens: "48".into(), temperature: "0".into(), top_p: "1".into(), seed: "0".into() }
    }
}

impl Settings {
    /// The settings as numbers.
    ///
    /// # Errors
    /// A sentence that says which field is wrong and what it takes.
    pub fn sampling(&self) -> Result<Sampling, String> {
        fn read<T: std::str::FromStr>(
            text: &str,
            good: impl Fn(&T) -> bool,
            needs: &str,
        ) -> Result<T, String> {
            text.trim().parse().ok().filter(good).ok_or_else(|| format!("{needs}. Correct it in Settings."))
        }
        Ok(Sampling {
            max_tokens: read(
                &self.max_tokens,
                |value| (1..=MAX_NEW_TOKENS).contains(value),
                &format!("Max tokens must be a whole number from 1 to {MAX_NEW_TOKENS}"),
            )?,
            temperature: read(
                &self.temperature,
                |value| (0.0..=5.0).contains(value),
                "Temperature must be a number from 0 to 5",
            )?,
            top_p: read(
                &self.top_p,
                |value| (0.0..=1.0).contains(value) && *value > 0.0,
                "Top-p must be a number above 0 and at most 1",
            )?,
            seed: read(&self.seed, |_| true, "The seed must be a whole number from 0")?,
        })
    }
}

#[cfg(test)]
mod tests;
