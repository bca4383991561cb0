//! Reports: what runs, evaluations, studies and the demo found, as one page of [`codingspot_plot`].
//!
//! The charts are drawn by that crate, because no plotting crate that was looked at gives SVG that follows
//! the reader's theme, has names, tables and data for those who don't see it, and is small enough for the
//! page: plotters draws shapes without meaning, charming needs JavaScript.

mod benchmarks;
mod completions;
mod demo;
mod location;
mod rows;
mod run;
mod study;
mod training;
mod words;

pub(crate) use demo::{Completion, DemoReport, ScopeReport, chance, page as demo_page};

use crate::results::{EvalFile, check_samples};
use crate::run::{MANIFEST, Run};
use crate::study::{FINDINGS, FORMAT, Study};
use crate::training::{LOG, OUTCOME, read_log};
use anyhow::Context as _;
use codingspot_plot::Page;
use std::path::Path;

/// Longest findings that are read, bytes.
const MAX_FINDINGS_BYTES: u64 = 1 << 30;

/// Something to report on.
#[derive(Debug)]
pub(crate) enum Input {
    Run(Box<Run>),
    Eval(String, EvalFile),
    Study(Box<Study>),
    Training(Box<training::Training>),
}

impl Input {
    /// Opens a run's or study's directory, or an `EVAL.json` or `study.json`.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let findings = path.join(FINDINGS);
        if findings.is_file() {
            return Self::open(&findings);
        }
        if path.join(OUTCOME).is_file() {
            return Self::training(path);
        }
        if path.is_dir() {
            if path.join("points.jsonl").is_file() || path.join("settings.json").is_file() {
                anyhow::bail!(
                    "{} is a study that is not finished; the command that began it goes on where it ended",
                    path.display()
                );
            }
            anyhow::ensure!(
                path.join(MANIFEST).is_file() || path.join(crate::scoring::PROGRESS).is_file(),
                "{} is neither a run (it has no {MANIFEST}) nor a study (it has no {FINDINGS}) nor a training (it has no {OUTCOME})",
                path.display()
            );
            return Ok(Self::Run(Box::new(Run::open(path)?)));
        }
        let text = crate::model::read_text(path, MAX_FINDINGS_BYTES)?;
        let refused = || format!("{} is neither an evaluation nor a study", path.display());
        let value: serde_json::Value = serde_json::from_str(&text).with_context(refused)?;
        if value.get("scopes").is_some() {
            let format = value.get("format").and_then(serde_json::Value::as_u64);
            anyhow::ensure!(
                format == Some(u64::from(FORMAT)),
                "{} has format {}, this build reads {FORMAT}; run the study again, which measures nothing twice",
                path.display(),
                format.map_or("unknown".to_owned(), |format| format.to_string())
            );
            return Ok(Self::Study(Box::new(serde_json::from_value(value).with_context(refused)?)));
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let file: EvalFile = serde_json::from_value(value).with_context(refused)?;
        file.check_seal().with_context(|| format!("{} was refused", path.display()))?;
        check_samples(path, &file)?;
        Ok(Self::Eval(name, file))
    }

    /// Opens the directory of a training.
    fn training(path: &Path) -> anyhow::Result<Self> {
        let text = crate::model::read_text(&path.join(OUTCOME), MAX_FINDINGS_BYTES)?;
        let outcome = serde_json::from_str(&text)
            .with_context(|| format!("{} was refused", path.join(OUTCOME).display()))?;
        let lines = read_log(&path.join(LOG))?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self::Training(Box::new(training::Training { name, outcome, lines })))
    }

    /// Fingerprint of the weights, and a name for messages.
    fn weights(&self) -> (String, Option<String>) {
        match self {
            Self::Run(run) => (run.name(), Some(run.manifest.model.fingerprint.to_string())),
            Self::Study(study) => {
                (format!("the study of {}", study.model.name), Some(study.settings.fingerprint.clone()))
            }
            // The weights of a training change while it runs.
            Self::Training(training) => (format!("the training {}", training.name), None),
            Self::Eval(name, file) => {
                let fingerprint = file.config.get("fingerprint").and_then(serde_json::Value::as_str);
                (name.clone(), fingerprint.map(str::to_owned))
            }
        }
    }
}

/// One page of all of them, which must be of one model.
pub(crate) fn page(inputs: &[Input]) -> anyhow::Result<Page> {
    let weights: Vec<(String, Option<String>)> = inputs.iter().map(Input::weights).collect();
    for pair in weights.windows(2) {
        if let [(left, Some(a)), (right, Some(b))] = pair {
            anyhow::ensure!(
                a == b,
                "{left} is of weights {} and {right} of weights {}; a report is on one model",
                &a[..a.len().min(8)],
                &b[..b.len().min(8)]
            );
        }
    }
    let evaluations = inputs.iter().filter(|input| matches!(input, Input::Eval(..))).count();
    let mut page = Page::default();
    for input in inputs {
        match input {
            Input::Study(study) => {
                page.title = format!("The coding spot of {}", study.model.name);
                page.lead.extend(study::lead(study));
                page.highlights.extend(study::highlights(study));
                page.contents.extend(study::sections(study));
            }
            Input::Run(run) => page.contents.extend(run::sections(run)?),
            Input::Training(training) => page.contents.extend(training::sections(training)),
            Input::Eval(name, file) => {
                let suffix = if evaluations > 1 { format!(" ({name})") } else { String::new() };
                page.contents.extend(rows::sections(name, file));
                page.contents.extend(benchmarks::sections(name, &suffix, file));
            }
        }
    }
    if page.title.is_empty() {
        page.title = match &inputs[0] {
            Input::Run(run) => format!("What was scored: {}", run.manifest.model.name),
            Input::Eval(_, file) => {
                let model = file.config.get("model").and_then(serde_json::Value::as_str);
                format!("What was measured: {}", model.unwrap_or("a model"))
            }
            Input::Study(study) => study.model.name.clone(),
            Input::Training(training) => format!("The training {}", training.name),
        };
    }
    page.footer.push(format!("Made by codingspot {}.", env!("CARGO_PKG_VERSION")));
    Ok(page)
}
