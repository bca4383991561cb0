//! How many parameters are zero, and where they are.

use super::{Command, Pending, State, send};
use crate::page::format;
use crate::page::heat::Grid;
use crate::protocol::{Arm, RequestId, ToEngine};

/// Where the zero parameters of the spot's arm are.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MaskView {
    /// Changes with every answer, so that views know.
    pub version: u32,
    /// How many are zero, once the worker has said it.
    pub count: Option<u64>,
    /// How many are zero in each tensor of the model.
    pub by_tensor: Vec<u64>,
    /// Time that the last change took, milliseconds.
    pub milliseconds: f64,
    pending: Option<(RequestId, u64)>,
}

impl MaskView {
    pub(super) fn awaits(&self, id: RequestId) -> bool {
        self.pending.is_some_and(|(pending, _)| pending == id)
    }

    /// Waits no longer for a request; whether it did.
    pub(super) fn forget(&mut self, id: RequestId) -> bool {
        let awaited = self.awaits(id);
        if awaited {
            self.pending = None;
        }
        awaited
    }

    pub(super) fn clear(&mut self) {
        *self = Self { version: self.version + 1, ..Self::default() };
    }
}

impl State {
    /// The slider's tick.
    pub fn tick(&self) -> u32 {
        self.scale().map_or(0, |scale| scale.tick(self.count))
    }

    /// The chosen count, as share and as number.
    pub fn count_text(&self) -> String {
        self.count_text_of(self.count)
    }

    /// A count, as share and as number.
    pub fn count_text_of(&self, count: u64) -> String {
        match self.in_scope() {
            _ if count == 0 => "0 %, nothing removed".to_owned(),
            Some(in_scope) => {
                let percent = count as f64 * 100.0 / in_scope as f64;
                format!("{}, {}", format::percent(percent), format::parameters(count))
            }
            None => format::parameters(count),
        }
    }

    /// Moves the slider: changes labels only.
    pub fn preview_tick(&mut self, tick: u32) {
        if let Some(scale) = self.scale() {
            self.count = scale.count(tick);
        }
    }

    /// Chooses an exact count: changes labels only.
    pub fn preview_count(&mut self, count: u64) {
        self.count = match &self.spot {
            Some(_) => self.scale().map_or(count, |scale| scale.nearest(count)),
            None => count,
        };
    }

    /// The count stays as it is now: the worker is told, and the ablated arms run again if they have run with another.
    pub fn commit_count(&mut self) -> Vec<Command> {
        if matches!(self.pending, Some(Pending::Run(_))) {
            if self.run.as_ref().is_some_and(|run| run.count == self.count) && !self.stopping {
                return Vec::new();
            }
            self.rerun = true;
            return self.send_stop();
        }
        let mut commands = self.apply_mask();
        commands.extend(self.run_ablated_again());
        commands
    }

    /// Tells the worker the count, once for each change.
    pub(super) fn apply_mask(&mut self) -> Vec<Command> {
        let told = self.mask.pending.map(|(_, count)| count).or(self.mask.count);
        if self.spot.is_none() || self.pending.is_some() || told == Some(self.count) {
            return Vec::new();
        }
        let id = self.next_id();
        self.mask.pending = Some((id, self.count));
        vec![send(ToEngine::SetMask { id, arm: Arm::Spot, count: self.count })]
    }

    /// Where the removed parameters are, and whether that was computed here or recorded.
    pub fn heat(&self) -> (&'static str, Option<Grid>) {
        if let (Some(model), Some(spot)) = (&self.model, &self.spot)
            && !self.mask.by_tensor.is_empty()
        {
            return ("live", Some(Grid::new(&model.facts.tensors, &self.mask.by_tensor, &spot.facts.scope)));
        }
        match &self.recorded {
            Some(recorded) => {
                ("recorded", Some(Grid::new(&recorded.tensors, &recorded.by_tensor, &recorded.scope)))
            }
            None => ("none", None),
        }
    }

    pub(super) fn mask_applied(&mut self, arm: Arm, count: u64, milliseconds: f64, by_tensor: Vec<u64>) {
        self.mask.pending = None;
        if arm == Arm::Spot {
            self.mask.version += 1;
            self.mask.count = Some(count);
            self.mask.by_tensor = by_tensor;
            self.mask.milliseconds = milliseconds;
        }
    }
}
