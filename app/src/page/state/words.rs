//! Lines for people: what the page is doing, and what is read aloud of it.

use super::{ArmPhase, ArmView, Pending, Phase, State, arms, engine};
use crate::page::format;
use crate::protocol::{Arm, Backend, RunMode};

impl State {
    /// What computes, in a line.
    pub fn backend_text(&self) -> String {
        let Some(engine) = &self.engine else { return "Engine is not running".to_owned() };
        match engine.backend {
            Backend::WebGpu => format!("WebGPU: {}", engine.adapter),
            Backend::Cpu => {
                let reason = engine
                    .reason
                    .as_ref()
                    .map(|reason| format!(" ({})", engine::reason_text(reason)))
                    .unwrap_or_default();
                let speed = self
                    .speed
                    .map(|speed| {
                        let speed = if speed < 9.95 { format!("{speed:.1}") } else { format!("{speed:.0}") };
                        format!(" at {speed} tokens per second")
                    })
                    .unwrap_or_default();
                format!("No WebGPU here{reason}. Running on the CPU{speed}.")
            }
        }
    }

    /// What the page is doing, in a line that may change with every token or byte.
    pub fn line_text(&self) -> String {
        match self.phase {
            _ if self.stopping && self.pending.is_some() && !self.rerun => "Stopping.".to_owned(),
            Phase::Generating => self.run_text().unwrap_or_default(),
            Phase::Measuring => self.measuring_text(),
            _ => self
                .loading
                .as_ref()
                .map_or_else(|| self.status_text(), |loading| loading.text(&self.chosen_title())),
        }
    }

    /// The same for reading aloud: changes when something has happened.
    pub fn status_text(&self) -> String {
        match self.phase {
            Phase::Starting => "Starting.".to_owned(),
            Phase::Loading | Phase::Stalled | Phase::Quota => match &self.loading {
                Some(loading) => loading.text(&self.chosen_title()),
                None => "Loading the spot.".to_owned(),
            },
            Phase::Cancelled if self.kept_bytes > 0 => {
                format!("Loading stopped. {} are kept in this browser.", format::bytes(self.kept_bytes))
            }
            Phase::Cancelled => "Loading stopped. Nothing of the model is kept in this browser.".to_owned(),
            Phase::Ready => self.results_text().unwrap_or_else(|| self.ready_text()),
            Phase::Generating => self
                .results_text()
                .map_or_else(|| "Generating.".to_owned(), |results| format!("Generating. {results}")),
            Phase::Measuring => self.measuring_text(),
            Phase::Stopped => self.stopped_text(),
            Phase::Failed | Phase::Oom if self.model.is_some() => {
                let model = self.model.as_ref().map_or("", |model| model.title.as_str());
                format!("{model} is still loaded.")
            }
            Phase::DeviceLost => "The GPU was reset. No model is loaded.".to_owned(),
            Phase::Idle | Phase::Failed | Phase::Oom => self.idle_text(),
        }
    }

    fn idle_text(&self) -> String {
        match (self.arms.live, &self.recorded) {
            (false, Some(_)) => "Showing a recorded run. No model is loaded.".to_owned(),
            _ => "No model is loaded.".to_owned(),
        }
    }

    fn ready_text(&self) -> String {
        let Some(model) = &self.model else { return self.idle_text() };
        let encoding = model.facts.encoding.label();
        match &self.engine {
            Some(engine) => {
                format!("{} ready. {}, {}, {encoding}.", model.title, engine.kind(), engine.adapter)
            }
            None => format!("{} ready.", model.title),
        }
    }

    fn results_text(&self) -> Option<String> {
        if !self.arms.live {
            return None;
        }
        let results: Vec<String> = arms::ALL
            .into_iter()
            .map(|arm| (arm, self.arms.get(arm)))
            .filter(|(_, view)| view.phase == ArmPhase::Finished)
            .map(|(arm, view)| {
                let nll = view.mean_nll().map(|nll| format!(", NLL {nll:.2}")).unwrap_or_default();
                format!("{}: {}{nll}.", arms::title(arm), format::tokens(view.tokens.len() as u64))
            })
            .collect();
        (!results.is_empty()).then(|| results.join(" "))
    }

    fn stopped_text(&self) -> String {
        match self.arms.stopped() {
            Some(arm) => {
                format!("Stopped at token {}. Partial runs are left out of averages.", arm.tokens.len())
            }
            None => "Stopped. What was done so far is kept.".to_owned(),
        }
    }

    fn measuring_text(&self) -> String {
        match self.pending {
            Some(Pending::Score(_)) => match self.scoring {
                Some((done, total)) => format!("Scoring your code: batch {done} of {total}."),
                None => "Scoring your code.".to_owned(),
            },
            Some(Pending::Languages(_)) => {
                let (done, all) = self.languages.rows.iter().fold((0, 0), |(done, all), row| {
                    (
                        done + row.losses.iter().flatten().count(),
                        all + if self.spot.is_some() { 3 } else { 1 },
                    )
                });
                format!("Measuring languages: {done} of {all} done.")
            }
            Some(Pending::Tests(_)) => {
                let written = self.tests.rows.iter().filter(|row| {
                    row.verdicts.iter().all(|verdict| {
                        !matches!(verdict, super::python::Verdict::Writing | super::python::Verdict::None)
                    })
                });
                format!("Testing Python: {} of {} problems written.", written.count(), self.tests.rows.len())
            }
            _ => "Measuring.".to_owned(),
        }
    }

    /// How far a run is; changes with each token, so it is not read aloud.
    pub fn run_text(&self) -> Option<String> {
        if self.phase != Phase::Generating {
            return None;
        }
        let part = |arm: Arm, name: &str| {
            let view = self.arms.get(arm);
            match view.phase {
                ArmPhase::Empty => None,
                ArmPhase::Finished => Some(format!("{name} done")),
                ArmPhase::Waiting => Some(format!("{name} waiting")),
                ArmPhase::Running | ArmPhase::Stopped => {
                    Some(format!("{name} {} of {}", view.tokens.len(), view.max_tokens))
                }
            }
        };
        let parts = [part(Arm::Original, "original"), part(Arm::Spot, "spot"), part(Arm::Random, "random")];
        // The next to come is enough.
        let mut shown: Vec<String> = Vec::new();
        for text in parts.into_iter().flatten() {
            let waiting = text.ends_with("waiting");
            shown.push(text);
            if waiting {
                break;
            }
        }
        Some(format!("Generating: {}.", shown.join(", ")))
    }

    /// What a pane shows, below its title.
    pub fn arm_subject(&self, arm: Arm) -> String {
        let view = self.arms.get(arm);
        let scores = self.mode == RunMode::SameText;
        match arm {
            Arm::Original => "The model as it is.".to_owned(),
            _ if view.phase == ArmPhase::Empty && arm == Arm::Spot => {
                "The model with its spot set to zero.".to_owned()
            }
            _ if view.phase == ArmPhase::Empty => {
                "As many parameters of each tensor, drawn at random, set to zero.".to_owned()
            }
            _ if view.count == 0 => "Nothing removed: the same model.".to_owned(),
            Arm::Spot => {
                let what = if scores { "; it scores the original's text" } else { "" };
                format!("{} of the spot set to zero{what}.", format::parameters(view.count))
            }
            Arm::Random => format!(
                "{} set to zero, as many in each tensor as the spot has, drawn with seed {}.",
                format::parameters(view.count),
                self.arms.seed
            ),
        }
    }

    /// How many tokens a pane has, and why no more.
    pub fn arm_note(&self, arm: Arm) -> String {
        use crate::protocol::StopReason::Eos;
        let view: &ArmView = self.arms.get(arm);
        let count = view.tokens.len() as u64;
        let tokens = format::tokens(count);
        match (view.phase, view.stop) {
            (ArmPhase::Empty, _) => "Nothing generated yet.".to_owned(),
            (ArmPhase::Waiting, _) => "Waiting for its turn.".to_owned(),
            (ArmPhase::Running, _) => format!("{count} of {}.", format::tokens(view.max_tokens.into())),
            (ArmPhase::Stopped, _) => format!("Stopped at token {count}."),
            (ArmPhase::Finished, Some(Eos)) => format!("{tokens}; the text has ended."),
            (ArmPhase::Finished, _) => format!("{tokens}; the limit."),
        }
    }
}
