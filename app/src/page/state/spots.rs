//! Which spot is chosen, and opening it.

use super::{Action, Alert, AlertKind, Attachment, Command, Pending, Phase, State, send};
use crate::page::slider::{Scale, count_for_percent};
use crate::protocol::{Snippet, SpotFacts, SpotMismatch, SpotSource, ToEngine};

/// The spot that is chosen unless another is.
pub const DEFAULT: &str = "no-norm";

/// A spot that someone chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpotChoice {
    /// One that comes with the model.
    Named(String),
    /// A file of this computer, by its name.
    File(String),
    /// That of code which was scored here.
    Code,
}

impl SpotChoice {
    /// What people read.
    pub fn label(&self) -> String {
        match self {
            Self::Named(name) => spot_label(name),
            Self::File(name) => name.clone(),
            Self::Code => "Spot of your code".to_owned(),
        }
    }

    /// What tells it from others in links and caches.
    pub fn key(&self) -> String {
        match self {
            Self::Named(name) => name.clone(),
            Self::File(name) => format!("file:{name}"),
            Self::Code => "code:".to_owned(),
        }
    }
}

/// The name of a spot for people.
pub fn spot_label(name: &str) -> String {
    match name {
        "all" => "All parameters".to_owned(),
        "no-norm" => "Without norm gains".to_owned(),
        "minus-english" => "Without norm gains and English’s spot".to_owned(),
        "no-embedding" => "Without the embedding".to_owned(),
        "blocks" => "Matrices of blocks only".to_owned(),
        other => other.to_owned(),
    }
}

/// The loaded spot.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedSpot {
    /// What the worker says of it.
    pub facts: SpotFacts,
    /// What was chosen.
    pub choice: SpotChoice,
    /// Seed of the random control that was drawn beside it.
    pub seed: u64,
}

impl State {
    /// Names of the spots that come with the chosen model.
    pub fn spot_names(&self) -> Vec<String> {
        let loaded = self.model.as_ref().filter(|model| model.choice == self.choice);
        if let Some(model) = loaded.filter(|model| !model.facts.spots.is_empty()) {
            return model.facts.spots.clone();
        }
        self.listed()
            .map(|model| model.spots.iter().map(|spot| spot.name.clone()).collect())
            .unwrap_or_default()
    }

    /// Whether another spot can be chosen now.
    pub fn can_choose_spot(&self) -> bool {
        self.pending.is_none()
    }

    /// The slider's scale: the spot's, or before there is one that of all parameters of the chosen model.
    pub fn scale(&self) -> Option<Scale> {
        if let Some(spot) = &self.spot {
            return Some(Scale::new(&spot.facts));
        }
        let parameters = self.in_scope()?;
        Some(Scale::logarithmic(count_for_percent(parameters, crate::page::slider::LAST_PERCENT)))
    }

    /// 100 %: the number of parameters that compete, or before there is a spot, of all.
    pub fn in_scope(&self) -> Option<u64> {
        self.spot.as_ref().map(|spot| spot.facts.parameters_in_scope).or_else(|| {
            let loaded = self.model.as_ref().map(|model| model.facts.parameters);
            loaded
                .or_else(|| self.listed().map(|model| model.parameters))
                .filter(|parameters| *parameters > 0)
        })
    }

    /// Chooses a spot, and opens it where the model is loaded.
    pub fn choose_spot(&mut self, choice: SpotChoice) -> Vec<Command> {
        if !self.can_choose_spot() || self.spot.as_ref().is_some_and(|spot| spot.choice == choice) {
            return Vec::new();
        }
        if matches!(choice, SpotChoice::File(_)) && self.model.is_none() {
            self.refuse("A spot is checked against the model's weights. Load the model, then choose the spot file again.");
            return Vec::new();
        }
        self.open_chosen(choice)
    }

    /// Opens the chosen spot, if there is one for the loaded model.
    pub(super) fn open_spot(&mut self) -> Vec<Command> {
        let names = self.spot_names();
        let choice = match &self.spot_choice {
            SpotChoice::Named(name) if names.contains(name) => Some(self.spot_choice.clone()),
            SpotChoice::File(_) => Some(self.spot_choice.clone()),
            SpotChoice::Named(_) | SpotChoice::Code => names.first().cloned().map(SpotChoice::Named),
        };
        choice.map(|choice| self.open_chosen(choice)).unwrap_or_default()
    }

    fn open_chosen(&mut self, choice: SpotChoice) -> Vec<Command> {
        if self.model.is_none() {
            self.spot_choice = choice;
            return Vec::new();
        }
        let source = match &choice {
            SpotChoice::Named(name) => match self.spot_address(name) {
                Some(url) => SpotSource::Url(url),
                None => SpotSource::Pack(name.clone()),
            },
            SpotChoice::File(_) => SpotSource::LocalFile,
            SpotChoice::Code => return Vec::new(),
        };
        let attachment = if source == SpotSource::LocalFile { Attachment::Spot } else { Attachment::None };
        let id = self.next_id();
        self.spot_choice = choice;
        self.pending = Some(Pending::Spot(id));
        self.phase = Phase::Loading;
        self.alert = None;
        vec![Command::Send(ToEngine::OpenSpot { id, source, control_seed: self.seed }, attachment)]
    }

    /// A spot of the catalogue as a file of its own; packs hold theirs.
    fn spot_address(&self, name: &str) -> Option<String> {
        let model = self.listed().filter(|model| !model.pack)?;
        let spot = model.spots.iter().find(|spot| spot.name == name)?;
        Some(format!("{}{}", self.chosen_url()?, spot.file))
    }

    /// Opens the spot again when the control's seed has changed; whether that is on its way.
    pub(super) fn draw_control_again(&mut self) -> Vec<Command> {
        let stale =
            self.spot.as_ref().is_some_and(|spot| spot.seed != self.seed && spot.choice != SpotChoice::Code);
        if stale { self.open_chosen(self.spot_choice.clone()) } else { Vec::new() }
    }

    pub(super) fn spot_ready(&mut self, facts: SpotFacts) -> Vec<Command> {
        if matches!(self.pending, Some(Pending::Score(_))) {
            self.spot_choice = SpotChoice::Code;
        }
        self.settle(Phase::Ready);
        self.spot = Some(LoadedSpot { facts, choice: self.spot_choice.clone(), seed: self.seed });
        if let Some(scale) = self.scale() {
            self.count = scale.nearest(self.count);
        }
        self.mask.clear();
        let mut commands = self.apply_mask();
        match self.after_spot.take() {
            Some((prompt, sampling)) => commands.extend(self.start_run(prompt, sampling)),
            None => commands.extend(self.run_ablated_again()),
        }
        commands
    }

    pub(super) fn spot_rejected(&mut self, mismatch: &SpotMismatch) {
        // What was there before is still there.
        let phase = self.rest();
        self.settle(phase);
        self.after_spot = None;
        if let Some(spot) = &self.spot {
            self.spot_choice = spot.choice.clone();
        }
        let mut actions = Vec::new();
        let text = match mismatch {
            SpotMismatch::ModelHash { spot, model } => {
                let other = self.title_of(spot);
                if let Some(other) = other {
                    actions.push(Action::LoadNamed(other.name.clone()));
                }
                format!(
                    "This spot file was made for {} ({}). The loaded model is {} ({}). It was not applied.",
                    other.map_or("another model", |other| other.title.as_str()),
                    hash8(spot),
                    self.model.as_ref().map_or("none", |model| model.title.as_str()),
                    hash8(model),
                )
            }
            SpotMismatch::Shape(what) => unfit("does not fit the loaded model", what),
            SpotMismatch::Version(what) => unfit("is of a version that this page does not read", what),
            SpotMismatch::Checksum(what) => unfit("is damaged", what),
            SpotMismatch::Malformed(what) => unfit("can't be read", what),
        };
        actions.push(Action::ChooseFile);
        self.alert = Some(Alert::new(AlertKind::MaskMismatch, text, actions));
    }

    /// Scores the loaded model on code, and takes its spot.
    pub fn score_code(&mut self, documents: Vec<Snippet>, no_norm: bool) -> Vec<Command> {
        if !self.can_generate() {
            return Vec::new();
        }
        if documents.iter().all(|document| document.text.trim().is_empty()) {
            self.refuse("There is no code to score. Paste some, or drop files.");
            return Vec::new();
        }
        let id = self.next_id();
        self.pending = Some(Pending::Score(id));
        self.phase = Phase::Measuring;
        self.alert = None;
        vec![send(ToEngine::ScoreCode { id, documents, no_norm, control_seed: self.seed })]
    }
}

fn unfit(how: &str, what: &str) -> String {
    format!("This spot file {how} ({}). It was not applied.", what.trim().trim_end_matches('.'))
}

/// The first eight digits of a fingerprint.
fn hash8(fingerprint: &str) -> &str {
    fingerprint.get(..8).unwrap_or(fingerprint)
}
