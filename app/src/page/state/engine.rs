//! The worker: what computes, and what happens when it stops or is lost.

use super::alert::sentence;
use super::{Action, Alert, AlertKind, Attachment, Command, Phase, State};
use crate::protocol::{Backend, BackendReason, PROTOCOL_VERSION, RequestId};

/// How long the worker may take to stop, milliseconds; then it is started again.
pub const STOP_GRACE_MS: u32 = 2_000;
/// A device that is lost again within this time, milliseconds, is given up.
const LOST_AGAIN_MS: f64 = 60_000.0;

/// What computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFacts {
    /// The kind.
    pub backend: Backend,
    /// Its name.
    pub adapter: String,
    /// Why it is not WebGPU.
    pub reason: Option<BackendReason>,
}

impl EngineFacts {
    /// The kind, as people name it.
    pub fn kind(&self) -> &'static str {
        match self.backend {
            Backend::WebGpu => "WebGPU",
            Backend::Cpu => "CPU",
        }
    }
}

/// Why there is no WebGPU, in a few words.
pub fn reason_text(reason: &BackendReason) -> String {
    match reason {
        BackendReason::Asked => "the CPU was asked for".to_owned(),
        BackendReason::NoWebGpu => "this browser has no WebGPU in workers".to_owned(),
        BackendReason::NoAdapter => "the browser gives no adapter".to_owned(),
        BackendReason::MissingFeature(name) => format!("the adapter lacks {name}"),
        BackendReason::NoDevice(words) => format!("no device: {}", words.trim_end_matches('.')),
    }
}

/// What can be done about it.
pub fn reason_advice(reason: &BackendReason) -> &'static str {
    match reason {
        BackendReason::Asked => "Take cpu=1 out of the page's address to use the GPU.",
        BackendReason::NoWebGpu => {
            "Current Chrome, Edge, Firefox and Safari have WebGPU; on Linux it may have to be turned on in the \
             browser's settings. The page must come over https or from this computer."
        }
        BackendReason::NoAdapter => {
            "The browser found no GPU that it trusts. Turn on hardware acceleration in its settings, update the \
             GPU's driver, then reload the page."
        }
        BackendReason::MissingFeature(_) => "Another browser or a newer driver may offer it.",
        BackendReason::NoDevice(_) => "Close other pages that use the GPU, then reload the page.",
    }
}

impl State {
    pub(super) fn engine_ready(
        &mut self,
        version: u32,
        backend: Backend,
        adapter: String,
        reason: Option<BackendReason>,
        now_ms: f64,
    ) -> Vec<Command> {
        if version != PROTOCOL_VERSION {
            return self.engine_failed(&format!("it speaks version {version}, the page {PROTOCOL_VERSION}"));
        }
        self.engine = Some(EngineFacts { backend, adapter, reason });
        if self.phase == Phase::Starting {
            self.phase = Phase::Idle;
        }
        let mut commands = self.list_cache();
        if std::mem::take(&mut self.reload) {
            commands.extend(self.load(now_ms));
        }
        commands
    }

    /// The worker's program failed.
    pub fn engine_failed(&mut self, reason: &str) -> Vec<Command> {
        let reason = reason.trim_end_matches('.');
        let started = self.engine.is_some();
        self.forget_engine(Phase::Failed);
        let text = if started {
            format!("The engine failed ({reason}) and was started again. Load the model again.")
        } else {
            format!("The engine could not start ({reason}). Reload the page to try again.")
        };
        let action = if started { Action::LoadAgain } else { Action::ReloadPage };
        self.alert = Some(Alert::new(AlertKind::Failure, text, vec![action]));
        if started { vec![Command::Restart] } else { Vec::new() }
    }

    /// The grace after a stop is over: a worker that has not answered is started again.
    pub fn stop_overdue(&mut self, id: RequestId) -> Vec<Command> {
        if self.pending.is_none_or(|pending| pending.id() != id) || !self.stopping {
            return Vec::new();
        }
        self.forget_engine(Phase::Starting);
        self.alert = Some(Alert::new(
            AlertKind::Failure,
            "The engine did not stop within 2 s, so it was started again. Load the model again.",
            vec![Action::LoadAgain],
        ));
        vec![Command::Restart]
    }

    pub(super) fn device_lost(&mut self, token: Option<u32>, message: &str, now_ms: f64) -> Vec<Command> {
        let again = self.lost_at.is_some_and(|before| now_ms - before < LOST_AGAIN_MS);
        self.lost_at = Some(now_ms);
        let place = token.map(|token| format!(" at token {token}")).unwrap_or_default();
        let text = if again {
            format!(
                "The browser reset the GPU{place}, for the second time within a minute. Text so far is kept."
            )
        } else {
            format!("The browser reset the GPU{place}. Text so far is kept.")
        };
        let reason =
            if message.trim().is_empty() { String::new() } else { format!(" {}", sentence(message)) };
        self.forget_engine(Phase::DeviceLost);
        let action = if again { Action::RunOnCpu } else { Action::ReloadModel };
        self.alert = Some(Alert::new(AlertKind::DeviceLost, format!("{text}{reason}"), vec![action]));
        Vec::new()
    }

    /// Starts the worker again and loads the chosen model in it.
    pub fn reload_model(&mut self, force_cpu: bool) -> Vec<Command> {
        self.force_cpu |= force_cpu;
        self.alert = None;
        self.forget_engine(Phase::Starting);
        self.reload = true;
        vec![Command::Restart]
    }

    pub(super) fn forget_engine(&mut self, phase: Phase) {
        self.settle(phase);
        self.tests.interrupt();
        self.engine = None;
        self.model = None;
        self.spot = None;
        self.run = None;
        self.after_spot = None;
        self.speed = None;
        self.mask.clear();
        self.cache.forget_request();
    }

    /// Whether a message of this kind takes files along.
    pub(super) fn model_attachment(&self) -> Attachment {
        if self.choice.is_local() { Attachment::Model } else { Attachment::None }
    }
}
