//! Losses of every document for every ablated form of a model, kept in a log so that nothing is
//! measured twice.

use crate::measure::Subset;
use crate::progress::Progress;
use anyhow::Context as _;
use codingspot_core::ablate::{Ablation, Replacement};
use codingspot_core::checkpoint::LoadedModel;
use codingspot_core::eval::document_losses;
use codingspot_core::llama::RotaryTable;
use codingspot_core::spot::Spot;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

/// Key of the model without any ablation.
pub(crate) const ORIGINAL: &str = "original";
/// Longest line of a log that is read, bytes.
const MAX_LINE: usize = 64 << 20;

/// Nats of every document, by subset and document; NaN where the model gave no number.
pub(crate) type Nats = Vec<Vec<f64>>;

/// One line of the log.
#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    /// `null` where the model gave no number (an ablated model can overflow).
    nats: Vec<Vec<Option<f64>>>,
}

/// What was measured so far, one JSON object a line; a line that a crash cut is dropped.
#[derive(Debug)]
pub(crate) struct PointLog {
    path: PathBuf,
    file: File,
    points: HashMap<String, Nats>,
}

impl PointLog {
    /// Opens or creates the log; points whose documents are not `sizes` by subset are refused.
    pub(crate) fn open(path: &Path, sizes: &[usize]) -> anyhow::Result<Self> {
        let failed = || format!("{} can't be read", path.display());
        let mut points = HashMap::new();
        let mut whole = 0_u64;
        if path.is_file() {
            let mut reader = BufReader::new(File::open(path).with_context(failed)?);
            let mut line = Vec::new();
            loop {
                line.clear();
                let read = reader.read_until(b'\n', &mut line).with_context(failed)?;
                anyhow::ensure!(
                    read <= MAX_LINE,
                    "{} has a line of more than {MAX_LINE} bytes; measure fewer documents with --limit",
                    path.display()
                );
                if line.last() != Some(&b'\n') {
                    break;
                }
                let parsed: Line = serde_json::from_slice(&line)
                    .with_context(|| format!("{} was refused; remove it to measure again", path.display()))?;
                anyhow::ensure!(
                    parsed.nats.iter().map(Vec::len).eq(sizes.iter().copied()),
                    "{} has losses of other documents; remove it to measure again",
                    path.display()
                );
                let nats = parsed.nats.into_iter();
                let nats = nats.map(|subset| subset.into_iter().map(|n| n.unwrap_or(f64::NAN)).collect());
                points.insert(parsed.key, nats.collect());
                whole += read as u64;
            }
        }
        let open = || -> std::io::Result<File> {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            file.set_len(whole)?;
            Ok(file)
        };
        let file = open().with_context(|| format!("{} can't be written", path.display()))?;
        Ok(Self { path: path.to_owned(), file, points })
    }

    /// What was measured under `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Nats> {
        self.points.get(key)
    }

    /// Adds a point, on the disk before it counts.
    pub(crate) fn push(&mut self, key: &str, nats: Nats) -> anyhow::Result<()> {
        let rows = nats.iter().map(|subset| subset.iter().map(|n| n.is_finite().then_some(*n)).collect());
        let mut line = serde_json::to_vec(&Line { key: key.to_owned(), nats: rows.collect() })?;
        line.push(b'\n');
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        written.with_context(|| format!("{} can't be written", self.path.display()))?;
        self.points.insert(key.to_owned(), nats);
        Ok(())
    }
}

/// One spot, what takes the place of its parameters, and the ranks that are replaced, one range a
/// point.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    /// Scope and arm, as in keys.
    pub(crate) name: String,
    pub(crate) replacement: Replacement,
    pub(crate) ranges: Vec<Range<usize>>,
}

/// Key of a point.
pub(crate) fn key(name: &str, replacement: Replacement, range: &Range<usize>) -> String {
    if range.is_empty() {
        ORIGINAL.to_owned()
    } else {
        format!("{name} {replacement} {}-{}", range.start, range.end)
    }
}

/// Measures points that are not in the log yet.
pub(crate) struct Measurer<'a> {
    loaded: &'a mut LoadedModel,
    rows: Vec<Vec<u32>>,
    /// Documents by subset.
    sizes: Vec<usize>,
    rope: RotaryTable,
    batch_size: usize,
    pub(crate) log: PointLog,
    progress: Progress,
    done: u64,
}

impl<'a> Measurer<'a> {
    /// For `points` points in all, as far as they are missing.
    pub(crate) fn new(
        loaded: &'a mut LoadedModel,
        subsets: &[Subset],
        batch_size: usize,
        log: PointLog,
        points: u64,
    ) -> Self {
        let rows: Vec<Vec<u32>> = subsets.iter().flat_map(|subset| subset.rows.iter().cloned()).collect();
        let longest = rows.iter().map(Vec::len).max().unwrap_or(2);
        let rope = RotaryTable::new(loaded.model.config(), longest, loaded.model.device());
        let sizes = subsets.iter().map(|subset| subset.rows.len()).collect();
        let progress = Progress::new("Measuring", points * rows.len() as u64);
        Self { loaded, rows, sizes, rope, batch_size, log, progress, done: 0 }
    }

    /// Whether a point of the curve is missing.
    pub(crate) fn misses(&self, curve: &Curve) -> bool {
        curve.ranges.iter().any(|range| self.log.get(&key(&curve.name, curve.replacement, range)).is_none())
    }

    /// The model as it is.
    pub(crate) fn original(&mut self) -> anyhow::Result<()> {
        if self.log.get(ORIGINAL).is_none() {
            self.progress.rename("Measuring the original");
            let nats = self.nats()?;
            self.log.push(ORIGINAL, nats)?;
        }
        Ok(())
    }

    /// Measures what is missing of a curve. Each point writes only what differs from the last one; the
    /// model is left as it was.
    pub(crate) fn measure(&mut self, curve: &Curve, spot: Spot) -> anyhow::Result<()> {
        let mut ablation = pollster::block_on(Ablation::with_replacement(
            &self.loaded.model,
            &self.loaded.fingerprint,
            spot,
            curve.replacement,
        ))?;
        for range in &curve.ranges {
            let key = key(&curve.name, curve.replacement, range);
            if self.log.get(&key).is_some() {
                continue;
            }
            self.progress.rename(&format!("Measuring {}", curve.name));
            ablation.set_range(&mut self.loaded.model, range.clone());
            let measured = self.nats();
            match measured {
                Ok(nats) => self.log.push(&key, nats)?,
                Err(error) => {
                    ablation.set(&mut self.loaded.model, 0);
                    return Err(error);
                }
            }
        }
        ablation.set(&mut self.loaded.model, 0);
        Ok(())
    }

    /// Ends the progress and hands the log over.
    pub(crate) fn finish(self) -> PointLog {
        self.progress.finish();
        self.log
    }

    /// The model.
    pub(crate) fn loaded(&self) -> &LoadedModel {
        self.loaded
    }

    fn nats(&mut self) -> anyhow::Result<Nats> {
        let (progress, done) = (&mut self.progress, self.done);
        let losses = pollster::block_on(document_losses(
            &self.loaded.model,
            &self.rows,
            self.batch_size,
            &self.rope,
            async |rows, _| {
                progress.set(done + rows as u64);
                ControlFlow::Continue(())
            },
        ))?;
        self.done += self.rows.len() as u64;
        let mut losses = losses.context("nobody cancels")?.into_iter().map(|loss| loss.nats);
        Ok(self.sizes.iter().map(|&size| losses.by_ref().take(size).collect()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_line_is_dropped_and_others_are_kept() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("points.jsonl");
        let mut log = PointLog::open(&path, &[2, 1]).unwrap();
        log.push("a", vec![vec![1.25, f64::NAN], vec![0.1]]).unwrap();
        log.push("b", vec![vec![2.0, 3.0], vec![4.0]]).unwrap();
        drop(log);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
        let mut log = PointLog::open(&path, &[2, 1]).unwrap();
        let a = log.get("a").unwrap();
        assert!(
            a[0][0].to_bits() == 1.25_f64.to_bits()
                && a[0][1].is_nan()
                && a[1][0].to_bits() == 0.1_f64.to_bits()
        );
        assert!(log.get("b").is_none());
        log.push("c", vec![vec![1.0, 1.0], vec![1.0]]).unwrap();
        drop(log);
        assert!(PointLog::open(&path, &[2, 1]).unwrap().get("c").is_some());
        let error = PointLog::open(&path, &[2, 2]).unwrap_err().to_string();
        assert!(error.contains("other documents"), "{error}");
    }
}
