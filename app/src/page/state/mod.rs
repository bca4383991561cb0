//! What the page knows, and how messages and clicks change it.
//!
//! Plain functions: each change returns the [`Command`]s that the page then carries out. One file for each
//! concern; this one holds the whole and passes messages on.

pub mod alert;
pub mod arms;
pub mod cache;
pub mod engine;
pub mod languages;
pub mod loading;
pub mod mask;
pub mod models;
pub mod python;
pub mod recorded;
pub mod runs;
pub mod settings;
pub mod spots;
pub mod words;

pub use alert::{Action, Alert, AlertKind};
pub use arms::{ArmPhase, ArmView, Arms};
pub use engine::{EngineFacts, STOP_GRACE_MS};
pub use models::{CatalogueModel, ModelChoice};
pub use settings::{MAX_NEW_TOKENS, Settings};
pub use spots::{LoadedSpot, SpotChoice};

use super::python_protocol::ToPython;
use crate::protocol::{Encoding, FromEngine, MemoryNeeds, RequestId, RunMode, Sampling, ToEngine};

/// What the page is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The worker starts.
    Starting,
    /// The worker listens; there is no model.
    Idle,
    /// A model or a spot loads.
    Loading,
    /// A model loads, and no data comes.
    Stalled,
    /// A model loads that this browser can't keep.
    Quota,
    /// Loading was stopped by the user.
    Cancelled,
    /// Memory does not suffice.
    Oom,
    /// The browser took the GPU away.
    DeviceLost,
    /// The model can be used.
    Ready,
    /// Arms run.
    Generating,
    /// Losses are measured, programs are tested, or code is scored.
    Measuring,
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
            Self::Stalled => "stalled",
            Self::Quota => "quota",
            Self::Cancelled => "cancelled",
            Self::Oom => "oom",
            Self::DeviceLost => "device-lost",
            Self::Ready => "ready",
            Self::Generating => "generating",
            Self::Measuring => "measuring",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }

    /// Whether a model or a spot is on its way.
    pub fn is_loading(self) -> bool {
        matches!(self, Self::Loading | Self::Stalled | Self::Quota)
    }
}

/// The request that the page waits for; there is one at a time, beside small ones that don't hold anything up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    Estimate(RequestId),
    Model(RequestId),
    Spot(RequestId),
    Score(RequestId),
    Run(RequestId),
    Languages(RequestId),
    Tests(RequestId),
}

impl Pending {
    fn id(self) -> RequestId {
        match self {
            Self::Estimate(id)
            | Self::Model(id)
            | Self::Spot(id)
            | Self::Score(id)
            | Self::Run(id)
            | Self::Languages(id)
            | Self::Tests(id) => id,
        }
    }

    /// Whether it ends early when asked by `StopRun`.
    fn can_stop(self) -> bool {
        matches!(self, Self::Run(_) | Self::Languages(_) | Self::Tests(_) | Self::Score(_))
    }
}

/// Files of this computer that go to the worker beside a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// None.
    None,
    /// Those of the chosen model.
    Model,
    /// The chosen spot's.
    Spot,
}

/// What the page must do after a change.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Send a message to the worker.
    Send(ToEngine, Attachment),
    /// Send a message to the frame that runs Python.
    Python(ToPython),
    /// Call [`State::stop_overdue`] after [`STOP_GRACE_MS`].
    WatchStop(RequestId),
    /// End the worker and start another.
    Restart,
}

/// Everything that the page shows, but for what is being typed.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice or a fact of its own")]
pub struct State {
    /// What the page is doing.
    pub phase: Phase,
    /// What computes, once the worker listens.
    pub engine: Option<EngineFacts>,
    /// Use the CPU whatever there is.
    pub force_cpu: bool,
    /// Whether the browser has a network.
    pub online: bool,
    /// The models that this page offers.
    pub catalogue: Vec<CatalogueModel>,
    /// The chosen model, loaded or not.
    pub choice: ModelChoice,
    /// How its matrices are to be held; `None` leaves it to the worker.
    pub encoding: Option<Encoding>,
    /// Keep in this browser what is fetched.
    pub keep: bool,
    /// What the chosen model needs, once that was asked.
    pub needs: Option<MemoryNeeds>,
    /// Loading, while a model loads.
    pub loading: Option<loading::Loading>,
    /// Bytes that a stopped loading has left in this browser.
    pub kept_bytes: u64,
    /// The loaded model.
    pub model: Option<models::LoadedModel>,
    /// The chosen spot.
    pub spot_choice: SpotChoice,
    /// The loaded spot.
    pub spot: Option<LoadedSpot>,
    /// How many parameters are chosen to be zero.
    pub count: u64,
    /// Where they are.
    pub mask: mask::MaskView,
    /// Whether ablated arms score the original's text or write their own.
    pub mode: RunMode,
    /// What the arms wrote.
    pub arms: Arms,
    /// A run that was recorded, one for each mode, shown until the first one here.
    pub recorded: Option<recorded::Recorded>,
    /// What may have been recorded was asked for.
    pub looked_up: bool,
    /// Losses on languages.
    pub languages: languages::Languages,
    /// Python programs and their tests.
    pub tests: python::Tests,
    /// Batches of code scored, and how many there are.
    pub scoring: Option<(u32, u32)>,
    /// What this browser keeps.
    pub cache: cache::Cache,
    /// The last failure, until it is dismissed.
    pub alert: Option<Alert>,
    /// Address of the directory of models, with a final slash.
    models_url: String,
    last_id: RequestId,
    pending: Option<Pending>,
    stopping: bool,
    /// Run the ablated arms again when the run that is being stopped has ended.
    rerun: bool,
    run: Option<runs::Run>,
    /// What is to be run as soon as the spot is there.
    after_spot: Option<(String, Sampling)>,
    originals: runs::Originals,
    /// Seed of the random control and of sampling.
    seed: u64,
    /// Speed of the last finished arm.
    speed: Option<f64>,
    /// Load this as soon as the worker listens: it was started again for it.
    reload: bool,
    lost_at: Option<f64>,
}

impl State {
    /// The page before its worker has answered; `models_url` is the address of the directory of models, with a
    /// final slash.
    pub fn new(models_url: String) -> Self {
        Self {
            phase: Phase::Starting,
            engine: None,
            force_cpu: false,
            online: true,
            catalogue: Vec::new(),
            choice: ModelChoice::Catalogue(models::DEFAULT.to_owned()),
            encoding: None,
            keep: true,
            needs: None,
            loading: None,
            kept_bytes: 0,
            model: None,
            spot_choice: SpotChoice::Named(spots::DEFAULT.to_owned()),
            spot: None,
            count: 0,
            mask: mask::MaskView::default(),
            mode: RunMode::SameText,
            arms: Arms::default(),
            recorded: None,
            looked_up: false,
            languages: languages::Languages::default(),
            tests: python::Tests::default(),
            scoring: None,
            cache: cache::Cache::default(),
            alert: None,
            models_url,
            last_id: 0,
            pending: None,
            stopping: false,
            rerun: false,
            run: None,
            after_spot: None,
            originals: runs::Originals::default(),
            seed: 0,
            speed: None,
            reload: false,
            lost_at: None,
        }
    }

    /// Whether nothing holds up another request.
    pub fn is_free(&self) -> bool {
        self.engine.is_some() && self.pending.is_none()
    }

    /// Whether a model is there and nothing holds up a run.
    pub fn can_generate(&self) -> bool {
        self.model.is_some() && self.is_free()
    }

    /// Whether something runs that can be stopped, and wasn't told to stop.
    pub fn can_stop(&self) -> bool {
        self.pending.is_some_and(Pending::can_stop) && (!self.stopping || self.rerun)
    }

    /// Whether something runs that can be stopped.
    pub fn is_running(&self) -> bool {
        self.pending.is_some_and(Pending::can_stop)
    }

    /// A message; those of requests that are no longer awaited change nothing.
    pub fn receive(&mut self, message: FromEngine, now_ms: f64) -> Vec<Command> {
        if let Some(id) = request_id(&message)
            && !self.awaits(id)
        {
            return Vec::new();
        }
        match message {
            FromEngine::Ready { version, backend, adapter, reason } => {
                self.engine_ready(version, backend, adapter, reason, now_ms)
            }
            FromEngine::MemoryEstimate { needs, .. } => self.estimated(needs, now_ms),
            FromEngine::LoadProgress { phase, done_bytes, total_bytes, .. } => {
                self.load_progress(phase, done_bytes, total_bytes, now_ms);
                Vec::new()
            }
            FromEngine::LoadStalled { seconds, attempt, attempts, .. } => {
                self.load_stalled(seconds, attempt, attempts);
                Vec::new()
            }
            FromEngine::NotKept { quota_bytes, needed_bytes, .. } => {
                self.not_kept(quota_bytes, needed_bytes);
                Vec::new()
            }
            FromEngine::ModelReady { model, .. } => self.model_ready(model),
            FromEngine::LoadCancelled { kept_bytes, .. } => self.load_cancelled(kept_bytes),
            FromEngine::ScoreProgress { done, total, .. } => {
                self.scoring = Some((done, total));
                Vec::new()
            }
            FromEngine::SpotReady { spot, .. } => self.spot_ready(spot),
            FromEngine::SpotRejected { mismatch, .. } => {
                self.spot_rejected(&mismatch);
                Vec::new()
            }
            FromEngine::MaskApplied { arm, count, milliseconds, by_tensor, .. } => {
                self.mask_applied(arm, count, milliseconds, by_tensor);
                Vec::new()
            }
            FromEngine::ArmStarted { arm, .. } => {
                self.arm_started(arm);
                Vec::new()
            }
            FromEngine::TokenBatch { arm, first, tokens, .. } => {
                self.tokens(arm, first, tokens);
                Vec::new()
            }
            FromEngine::ArmFinished { arm, stop, tokens_per_s, .. } => {
                self.arm_finished(arm, stop, tokens_per_s)
            }
            FromEngine::LanguageNll { arm, language, mean, half_width, tokens, .. } => {
                self.languages.put(arm, &language, languages::Loss { mean, half_width, tokens });
                Vec::new()
            }
            FromEngine::RunFinished { .. } => self.run_ended(true),
            FromEngine::RunStopped { .. } => self.run_ended(false),
            FromEngine::CacheListing { entries, quota_bytes, .. } => {
                self.cache.listed(entries, quota_bytes);
                Vec::new()
            }
            FromEngine::Released { .. } => Vec::new(),
            FromEngine::DeviceLost { token, message } => self.device_lost(token, &message, now_ms),
            FromEngine::Failed { id, error } => self.failed(id, &error),
        }
    }

    fn awaits(&self, id: RequestId) -> bool {
        self.pending.map(Pending::id) == Some(id) || self.mask.awaits(id) || self.cache.awaits(id)
    }

    pub(super) fn next_id(&mut self) -> RequestId {
        self.last_id += 1;
        self.last_id
    }

    /// The pending request has ended.
    pub(super) fn settle(&mut self, phase: Phase) {
        self.phase = phase;
        self.pending = None;
        self.stopping = false;
        self.rerun = false;
        self.loading = None;
        self.scoring = None;
        self.arms.interrupt();
        self.languages.running = false;
    }

    /// Where the page is when nothing is under way.
    pub(super) fn rest(&self) -> Phase {
        if self.model.is_some() { Phase::Ready } else { Phase::Idle }
    }
}

pub(super) fn send(message: ToEngine) -> Command {
    Command::Send(message, Attachment::None)
}

fn request_id(message: &FromEngine) -> Option<RequestId> {
    match message {
        FromEngine::Ready { .. } | FromEngine::DeviceLost { .. } | FromEngine::Released { .. } => None,
        FromEngine::MemoryEstimate { id, .. }
        | FromEngine::LoadProgress { id, .. }
        | FromEngine::LoadStalled { id, .. }
        | FromEngine::NotKept { id, .. }
        | FromEngine::ModelReady { id, .. }
        | FromEngine::LoadCancelled { id, .. }
        | FromEngine::ScoreProgress { id, .. }
        | FromEngine::SpotReady { id, .. }
        | FromEngine::SpotRejected { id, .. }
        | FromEngine::MaskApplied { id, .. }
        | FromEngine::ArmStarted { id, .. }
        | FromEngine::TokenBatch { id, .. }
        | FromEngine::ArmFinished { id, .. }
        | FromEngine::LanguageNll { id, .. }
        | FromEngine::RunFinished { id }
        | FromEngine::RunStopped { id }
        | FromEngine::CacheListing { id, .. } => Some(*id),
        FromEngine::Failed { id, .. } => *id,
    }
}

#[cfg(test)]
mod tests;
