//! Failures, and what can be done about each.

use super::{Command, Pending, Phase, State};
use crate::protocol::{EngineError, ErrorCode, RequestId};

/// What an alert is about, for `data-kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertKind {
    /// Memory does not suffice.
    Oom,
    /// The browser's storage does not suffice; work goes on.
    Quota,
    /// A spot that was made for another model.
    MaskMismatch,
    /// The browser took the GPU away.
    DeviceLost,
    /// Something typed or chosen can't be used.
    Input,
    /// Anything else.
    Failure,
}

impl AlertKind {
    /// The value of `data-kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Oom => "oom",
            Self::Quota => "quota",
            Self::MaskMismatch => "mask-mismatch",
            Self::DeviceLost => "device-lost",
            Self::Input => "input",
            Self::Failure => "failure",
        }
    }
}

/// What a button of an alert does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Load the model again, with a worker of its own.
    ReloadModel,
    /// The same, on the CPU.
    RunOnCpu,
    /// Show the models.
    SmallerModel,
    /// Show what this browser keeps.
    ManageStorage,
    /// Load a model of the catalogue.
    LoadNamed(String),
    /// Choose another file.
    ChooseFile,
    /// Load the chosen model.
    LoadAgain,
    /// Reload the page.
    ReloadPage,
}

impl Action {
    /// The button's text.
    pub fn label(&self) -> String {
        match self {
            Self::ReloadModel => "Reload model".to_owned(),
            Self::RunOnCpu => "Run on CPU".to_owned(),
            Self::SmallerModel => "Use smaller model".to_owned(),
            Self::ManageStorage => "Manage storage".to_owned(),
            Self::LoadNamed(name) => format!("Load {name}"),
            Self::ChooseFile => "Choose file".to_owned(),
            Self::LoadAgain => "Load model again".to_owned(),
            Self::ReloadPage => "Reload page".to_owned(),
        }
    }

    /// The button's test id.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ReloadModel => "action-reload-model",
            Self::RunOnCpu => "action-run-on-cpu",
            Self::SmallerModel => "action-smaller-model",
            Self::ManageStorage => "action-manage-storage",
            Self::LoadNamed(_) => "action-load-named",
            Self::ChooseFile => "action-choose-file",
            Self::LoadAgain => "action-load-again",
            Self::ReloadPage => "action-reload-page",
        }
    }
}

/// A failure in words, with its buttons; it stays until it is dismissed or what failed is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// What it is about.
    pub kind: AlertKind,
    /// What happened and what to do.
    pub text: String,
    /// Buttons, before that which dismisses.
    pub actions: Vec<Action>,
}

impl Alert {
    /// An alert.
    pub fn new(kind: AlertKind, text: impl Into<String>, actions: Vec<Action>) -> Self {
        Self { kind, text: text.into(), actions }
    }
}

impl State {
    /// Takes the alert away.
    pub fn dismiss(&mut self) {
        self.alert = None;
    }

    /// Something that was typed or chosen can't be used.
    pub fn refuse(&mut self, text: impl Into<String>) {
        self.alert = Some(Alert::new(AlertKind::Input, text, Vec::new()));
    }

    /// A request failed, or the worker itself.
    pub(super) fn failed(&mut self, id: Option<RequestId>, error: &EngineError) -> Vec<Command> {
        if id.is_some_and(|id| self.mask.forget(id) | self.cache.forget(id)) {
            self.alert = Some(Alert::new(AlertKind::Failure, sentence(&error.message), Vec::new()));
            return Vec::new();
        }
        if matches!(error.code, ErrorCode::GpuMemory | ErrorCode::PageMemory) {
            return self.out_of_memory(error.code);
        }
        let pending = id.and(self.pending);
        let loading = matches!(pending, Some(Pending::Model(_) | Pending::Estimate(_)));
        let (next, actions) = match (pending, error.code) {
            (_, ErrorCode::Device) => ("", vec![Action::ReloadModel, Action::RunOnCpu]),
            (None, _) | (_, ErrorCode::Protocol) => ("Reload the page.", vec![Action::ReloadPage]),
            (_, ErrorCode::Offline) => {
                ("Connect to a network, then load the model again.", vec![Action::LoadAgain])
            }
            (_, ErrorCode::Network) if loading => {
                ("Check the connection, then load the model again.", vec![Action::LoadAgain])
            }
            _ if loading => ("Load the model again, or choose another.", vec![Action::LoadAgain]),
            (Some(Pending::Spot(_)), _) => ("Choose another spot.", Vec::new()),
            (Some(Pending::Score(_)), _) => ("Take less code or a smaller model.", Vec::new()),
            (Some(Pending::Run(_)), _) => {
                ("Shorten the prompt or change the settings, then generate again.", Vec::new())
            }
            _ => ("Try again.", Vec::new()),
        };
        if id.is_none() {
            self.forget_engine(Phase::Failed);
        } else {
            // What failed is not tried again by moving the slider.
            self.run = None;
            self.tests.interrupt();
            self.settle(Phase::Failed);
        }
        let text = sentence(&error.message);
        let text = if next.is_empty() { text } else { format!("{text} {next}") };
        self.alert = Some(Alert::new(AlertKind::Failure, text, actions));
        Vec::new()
    }

    fn out_of_memory(&mut self, code: ErrorCode) -> Vec<Command> {
        let needed = self.needs.as_ref().map(|needs| needs.weight_bytes.saturating_add(needs.context_bytes));
        let kind = if code == ErrorCode::GpuMemory { "GPU memory" } else { "page memory" };
        let text = match needed {
            Some(needed) => format!("Not enough {kind}: {} needed.", super::super::format::bytes(needed)),
            None => format!("Not enough {kind}."),
        };
        let mut actions = vec![Action::SmallerModel];
        if code == ErrorCode::GpuMemory {
            actions.push(Action::RunOnCpu);
        }
        self.settle(Phase::Oom);
        self.alert = Some(Alert::new(AlertKind::Oom, text, actions));
        Vec::new()
    }
}

/// With its full stop.
pub(super) fn sentence(text: &str) -> String {
    let text = text.trim();
    format!("{text}{}", if text.ends_with('.') { "" } else { "." })
}
