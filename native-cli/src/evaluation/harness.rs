//! Files as lm-evaluation-harness writes them, so that its users' tools read them: `results_<date>.json`, and
//! `samples_<task>_<date>.jsonl` of every task.

use super::figures::{TaskScores, answered};
use super::log::AnswerLog;
use super::plan::TaskData;
use crate::atomic;
use anyhow::Context as _;
use chrono::{DateTime, Utc};
use codingspot_tasks::json::Json;
use codingspot_tasks::output;
use codingspot_tasks::score::{ScoreError, score};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A time as the harness writes it into names of files: `2026-01-31T23-59-58.123456`.
pub(crate) fn date(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%dT%H-%M-%S%.6f").to_string()
}

/// Writes the files of one form into `folder`, in the place of older ones.
pub(crate) fn write(
    folder: &Path,
    date: &str,
    config: Json,
    tasks: &[(&TaskData, &AnswerLog, &TaskScores, u32)],
) -> anyhow::Result<()> {
    let listed = fs::read_dir(folder).with_context(|| format!("{} can't be read", folder.display()))?;
    for entry in listed {
        let path = entry.with_context(|| format!("{} can't be read", folder.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if (name.starts_with("results_") && name.ends_with(".json"))
            || (name.starts_with("samples_") && name.ends_with(".jsonl"))
        {
            fs::remove_file(&path).with_context(|| format!("{} can't be removed", path.display()))?;
        }
    }
    let mut evaluations = Vec::new();
    for &(data, log, scores, samples) in tasks {
        // By task or subject: the lines of each reading of the answers.
        let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for answered in answered(data, log, samples)? {
            let answered = answered?;
            let scored = match score(&answered.document, &answered.responses) {
                Ok(scored) => scored,
                Err(ScoreError::NotALogarithm { .. } | ScoreError::NoMass { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let name = answered
                .document
                .subset
                .as_ref()
                .map_or_else(|| data.task.to_string(), |subset| format!("{}_{subset}", data.task));
            let readings = files.entry(name).or_default();
            let rows = output::samples(&answered.document, &answered.responses, &scored);
            readings.resize(rows.len().max(readings.len()), String::new());
            for (lines, row) in readings.iter_mut().zip(rows) {
                lines.push_str(&row.dumps(None));
                lines.push('\n');
            }
        }
        for (name, readings) in files {
            let lines = readings.concat();
            atomic::write_file(&folder.join(format!("samples_{name}_{date}.jsonl")), lines.as_bytes())?;
        }
        evaluations.push(scores.evaluation.clone());
    }
    let mut text = output::results(&evaluations, config).dumps(Some(2));
    text.push('\n');
    atomic::write_file(&folder.join(format!("results_{date}.json")), text.as_bytes())
}
