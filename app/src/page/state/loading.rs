//! Loading a model: bytes, speed, and how it ends.

use super::{Action, Alert, AlertKind, Command, EngineFacts, Pending, Phase, State, models, send};
use crate::page::format;
use crate::protocol::{Backend, LoadPhase, MemoryNeeds, ModelFacts, ToEngine};
use std::collections::VecDeque;

/// Loading tells its speed after this time, milliseconds.
const RATE_AFTER_MS: f64 = 3_000.0;
/// Loading's speed is a mean over this time, milliseconds.
const RATE_WINDOW_MS: f64 = 5_000.0;
/// What a page of 32-bit WebAssembly can hold, bytes.
const PAGE_MEMORY: u64 = 4 << 30;

/// Loading, as far as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Loading {
    /// What is being done.
    pub phase: LoadPhase,
    /// Bytes that are there.
    pub done_bytes: u64,
    /// Bytes of all.
    pub total_bytes: u64,
    /// No data comes: seconds, the attempt, and how many there will be.
    pub stalled: Option<(u32, u32, u32)>,
    /// This browser can't keep the model.
    pub not_kept: bool,
    started_ms: f64,
    /// When how many bytes were there, over the last seconds.
    samples: VecDeque<(f64, u64)>,
}

impl Loading {
    fn new(now_ms: f64, total_bytes: u64) -> Self {
        Self {
            phase: LoadPhase::Header,
            done_bytes: 0,
            total_bytes,
            stalled: None,
            not_kept: false,
            started_ms: now_ms,
            samples: VecDeque::from([(now_ms, 0)]),
        }
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
        let percent = u128::from(self.done_bytes) * 100;
        percent
            .checked_div(self.total_bytes.into())
            .map_or(0, |percent| u64::try_from(percent).unwrap_or(100).min(100))
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
        if let Some((seconds, attempt, attempts)) = self.stalled {
            return format!("No data for {seconds} s. Trying again ({attempt} of {attempts}).");
        }
        if self.phase == LoadPhase::Warm {
            return format!("Loading {model}: preparing the first run.");
        }
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

/// What a model needs, in a sentence.
pub fn needs_text(needs: &MemoryNeeds, engine: Option<&EngineFacts>) -> String {
    let kind = match engine.map(|engine| engine.backend) {
        Some(Backend::Cpu) => "page memory",
        Some(Backend::WebGpu) | None => "GPU memory",
    };
    let download = if needs.download_bytes == 0 {
        "nothing to download".to_owned()
    } else {
        format!("{} to download", format::bytes(needs.download_bytes))
    };
    let quota = needs
        .quota_bytes
        .map(|quota| format!(" This browser allows {} of storage.", format::bytes(quota)))
        .unwrap_or_default();
    format!(
        "Needs {} of {kind} ({} of weights, {} for the context), {download}.{quota}",
        format::bytes(needs.weight_bytes.saturating_add(needs.context_bytes)),
        format::bytes(needs.weight_bytes),
        format::bytes(needs.context_bytes),
    )
}

impl State {
    /// Whether the chosen model can be loaded now.
    pub fn can_load(&self) -> bool {
        self.is_free() && !self.is_chosen_loaded()
    }

    /// Whether loading can be stopped now.
    pub fn can_cancel(&self) -> bool {
        matches!(self.pending, Some(Pending::Model(_) | Pending::Estimate(_))) && !self.stopping
    }

    /// Asks what the chosen model needs; loading follows by itself, unless its size was not known before.
    pub fn load(&mut self, now_ms: f64) -> Vec<Command> {
        if !self.can_load() {
            return Vec::new();
        }
        self.alert = None;
        self.phase = Phase::Loading;
        self.loading = Some(Loading::new(now_ms, self.chosen_bytes().unwrap_or(0)));
        if self.needs.is_some() {
            return self.open_model();
        }
        let id = self.next_id();
        self.pending = Some(Pending::Estimate(id));
        let message = ToEngine::EstimateMemory { id, source: self.chosen_source(), encoding: self.encoding };
        vec![Command::Send(message, self.model_attachment())]
    }

    pub(super) fn estimated(&mut self, needs: MemoryNeeds, now_ms: f64) -> Vec<Command> {
        let asked_for_size =
            self.chosen_bytes().is_none() && matches!(self.choice, models::ModelChoice::Hub(_));
        let needed = needs.weight_bytes.saturating_add(needs.context_bytes);
        let total = needs.total_bytes;
        self.needs = Some(needs);
        if self.engine.as_ref().is_some_and(|engine| engine.backend == Backend::Cpu) && needed > PAGE_MEMORY {
            self.settle(Phase::Oom);
            self.alert = Some(Alert::new(
                AlertKind::Oom,
                format!("Not enough page memory: {} needed.", format::bytes(needed)),
                vec![Action::SmallerModel],
            ));
            return Vec::new();
        }
        if asked_for_size {
            let rest = self.rest();
            self.settle(rest);
            return Vec::new();
        }
        self.loading = Some(Loading::new(now_ms, total));
        self.open_model()
    }

    fn open_model(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        if self.model.is_some() {
            // Memory holds one model.
            let id = self.next_id();
            commands.push(send(ToEngine::Release { id }));
            self.model = None;
            self.spot = None;
            self.run = None;
            self.mask.clear();
        }
        let id = self.next_id();
        self.pending = Some(Pending::Model(id));
        let message = ToEngine::OpenModel {
            id,
            source: self.chosen_source(),
            encoding: self.encoding,
            keep: self.keep && !self.choice.is_local(),
        };
        commands.push(Command::Send(message, self.model_attachment()));
        commands
    }

    /// Stops loading.
    pub fn cancel(&mut self) -> Vec<Command> {
        match self.pending.filter(|_| self.can_cancel()) {
            Some(Pending::Model(id)) => {
                self.stopping = true;
                vec![send(ToEngine::CancelLoad { id }), Command::WatchStop(id)]
            }
            // An answer that comes later is not awaited.
            Some(Pending::Estimate(id)) => {
                let kept = self.kept_of_choice().map_or(0, |entry| entry.bytes);
                let mut commands = vec![send(ToEngine::CancelLoad { id })];
                commands.extend(self.load_cancelled(kept));
                commands
            }
            Some(_) | None => Vec::new(),
        }
    }

    pub(super) fn load_progress(&mut self, phase: LoadPhase, done: u64, total: u64, now_ms: f64) {
        if let Some(loading) = &mut self.loading {
            // More bytes end a stall.
            if done > loading.done_bytes || phase != loading.phase {
                loading.stalled = None;
                self.phase = if loading.not_kept { Phase::Quota } else { Phase::Loading };
            }
            loading.phase = phase;
            loading.advance(now_ms, done, total);
        }
    }

    pub(super) fn load_stalled(&mut self, seconds: u32, attempt: u32, attempts: u32) {
        if let Some(loading) = &mut self.loading {
            loading.stalled = Some((seconds, attempt, attempts));
            self.phase = Phase::Stalled;
        }
    }

    pub(super) fn not_kept(&mut self, quota_bytes: u64, needed_bytes: u64) {
        if let Some(loading) = &mut self.loading {
            loading.not_kept = true;
            self.phase = Phase::Quota;
        }
        self.alert = Some(Alert::new(
            AlertKind::Quota,
            format!(
                "This browser allows {} of storage; {} needed. Continuing without keeping a copy.",
                format::bytes(quota_bytes),
                format::bytes(needed_bytes)
            ),
            vec![Action::ManageStorage],
        ));
    }

    pub(super) fn load_cancelled(&mut self, kept_bytes: u64) -> Vec<Command> {
        self.settle(Phase::Cancelled);
        self.kept_bytes = kept_bytes;
        self.list_cache()
    }

    pub(super) fn model_ready(&mut self, facts: ModelFacts) -> Vec<Command> {
        self.settle(Phase::Ready);
        let title = self.chosen_title();
        self.kept_bytes = 0;
        let commands = self.list_cache();
        self.model = Some(models::LoadedModel { facts, choice: self.choice.clone(), title });
        let mut opened = self.open_spot();
        opened.extend(commands);
        opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loading_tells_bytes_and_after_three_seconds_its_speed() {
        let mut loading = Loading::new(0.0, 10_809_704);
        loading.phase = LoadPhase::Fetch;
        loading.advance(1_000.0, 1_100_000, 10_809_704);
        assert_eq!(loading.text("demo"), "Loading demo: 1.1 MB of 10.8 MB.");
        loading.advance(3_100.0, 3_100_000, 10_809_704);
        assert_eq!(loading.text("demo"), "Loading demo: 3.1 MB of 10.8 MB, 1.0 MB/s, about 8 s left.");
        assert_eq!(loading.percent(), 28);
    }

    #[test]
    fn speed_forgets_what_is_older_than_its_window() {
        let mut loading = Loading::new(0.0, 1_000_000_000);
        loading.advance(5_000.0, 500_000_000, 1_000_000_000);
        loading.advance(20_000.0, 500_000_000, 1_000_000_000);
        loading.advance(22_000.0, 520_000_000, 1_000_000_000);
        // 20 MB since second 5, of which the window still holds the sample before it began.
        assert!(loading.rate().unwrap() < 2e6, "{:?}", loading.rate());
        loading.advance(25_500.0, 555_000_000, 1_000_000_000);
        assert_eq!(format::rate(loading.rate().unwrap()), "10 MB/s");
    }

    #[test]
    fn needs_are_one_sentence_with_units() {
        let needs = MemoryNeeds {
            download_bytes: 0,
            total_bytes: 10_809_704,
            weight_bytes: 21_620_736,
            context_bytes: 6_000_000,
            quota_bytes: None,
        };
        assert_eq!(
            needs_text(&needs, None),
            "Needs 27.6 MB of GPU memory (21.6 MB of weights, 6.0 MB for the context), nothing to download."
        );
    }
}
