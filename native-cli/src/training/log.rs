//! The log of a training: a line of JSON for every step and every measurement, and the same as CSV.

use super::held_out::HeldOutLoss;
use anyhow::Context as _;
use codingspot_core::train::Step;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

/// Longest line that is read, bytes.
const MAX_LINE_BYTES: usize = 1 << 20;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Line {
    /// A measurement after `steps` steps.
    HeldOut {
        /// Steps made.
        steps: u64,
        /// Target tokens seen.
        tokens_seen: u64,
        /// By language.
        held_out: BTreeMap<String, HeldOutLoss>,
    },
    /// A step.
    Step {
        #[serde(flatten)]
        step: Step,
        /// Target tokens seen, this step's included.
        tokens_seen: u64,
        /// Seconds that the step took.
        seconds: f64,
    },
}

impl Line {
    /// Steps that had been made when it was written.
    fn steps(&self) -> u64 {
        match self {
            Self::HeldOut { steps, .. } => *steps,
            Self::Step { step, .. } => step.step + 1,
        }
    }
}

/// The file that lines are added to.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    path: PathBuf,
}

/// Reads a log; a last line that was cut is left out.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Line>> {
    let file = File::open(path).with_context(|| format!("{} can't be read", path.display()))?;
    let mut lines = Vec::new();
    let mut reader = BufReader::new(file);
    let mut text = String::new();
    loop {
        text.clear();
        let read = std::io::Read::take(&mut reader, MAX_LINE_BYTES as u64)
            .read_line(&mut text)
            .with_context(|| format!("{} can't be read as text", path.display()))?;
        if read == 0 || !text.ends_with('\n') {
            return Ok(lines);
        }
        let line = serde_json::from_str(&text)
            .with_context(|| format!("{}, line {} was refused", path.display(), lines.len() + 1))?;
        lines.push(line);
    }
}

impl Log {
    /// Opens `path` to go on after `steps` steps: what was written later is dropped.
    pub(crate) fn open(path: &Path, steps: u64) -> anyhow::Result<Self> {
        let kept: Vec<Line> = if path.is_file() {
            read(path)?.into_iter().filter(|line| line.steps() <= steps).collect()
        } else {
            Vec::new()
        };
        let mut bytes = Vec::new();
        for line in &kept {
            serde_json::to_writer(&mut bytes, line)?;
            bytes.push(b'\n');
        }
        crate::atomic::write_file(path, &bytes)?;
        let file = OpenOptions::new()
            .append(true)
            .open(path)
            .with_context(|| format!("{} can't be written", path.display()))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Adds a line.
    pub(crate) fn add(&mut self, line: &Line) -> anyhow::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.file.write_all(&bytes).with_context(|| format!("{} can't be written", self.path.display()))
    }
}

/// A log's lines as CSV: one row a step, held-out losses in nats per character where they were measured.
pub(crate) fn csv(lines: &[Line]) -> String {
    let mut names: Vec<&str> = Vec::new();
    let mut held_out: BTreeMap<u64, &BTreeMap<String, HeldOutLoss>> = BTreeMap::new();
    for line in lines {
        if let Line::HeldOut { steps, held_out: losses, .. } = line {
            held_out.insert(*steps, losses);
            for name in losses.keys().filter(|name| !name.contains([',', '"', '\n'])) {
                if !names.contains(&name.as_str()) {
                    names.push(name);
                }
            }
        }
    }
    let mut text = "step,tokens_seen,loss_nats,gradient_norm,learning_rate,seconds".to_owned();
    for name in &names {
        text += &format!(",{name}_nats_per_character");
    }
    text.push('\n');
    for line in lines {
        let Line::Step { step, tokens_seen, seconds } = line else { continue };
        let Step { step: number, loss_nats, gradient_norm, learning_rate, .. } = step;
        text += &format!("{number},{tokens_seen},{loss_nats},{gradient_norm},{learning_rate},{seconds}");
        let measured = held_out.get(&(number + 1));
        for name in &names {
            text.push(',');
            if let Some(loss) = measured.and_then(|losses| losses.get(*name)) {
                text += &loss.nats_per_character.to_string();
            }
        }
        text.push('\n');
    }
    text
}
