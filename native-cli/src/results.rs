//! `EVAL.json`: one row a figure, what figures of different models say of each other, and what they were made of.

use crate::output;
use anyhow::Context as _;
use codingspot_stats::Interval;
use codingspot_tasks::paper::PaperRow;
use ring::digest;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Read as _};
use std::path::{Component, Path};

/// What `EVAL.json` calls the rows' model.
pub(crate) const ORIGINAL: &str = "original";
/// Subset of figures that are of a whole task.
pub(crate) const ALL: &str = "all";

/// One figure.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ResultRow {
    /// `nll`, or the benchmark's name in lm-evaluation-harness.
    pub(crate) task: String,
    /// Language of `nll`; group (`stem`) or subject (`anatomy`) of MMLU; else [`ALL`].
    pub(crate) subset: String,
    /// `original`, `spot`, or the control: `random:SEED`.
    pub(crate) variant: String,
    /// Share of the scope that is zero, percent.
    pub(crate) k: f64,
    /// Parameters that are zero.
    pub(crate) ablated_parameters: u64,
    /// `nats_per_token`, or a benchmark's metric, from 0 to 1 (`acc`, `acc_norm`, `exact_match`, `pass@1`,
    /// `syntax_error`).
    pub(crate) metric: String,
    /// Reading of the answer (`strict-match`), where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) filter: Option<String>,
    /// `null` when the model gave no number (an ablated model can overflow).
    pub(crate) value: Option<f64>,
    pub(crate) stderr: Option<f64>,
    /// Wilson's 95 % interval, of shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) interval: Option<[f64; 2]>,
    /// Documents.
    pub(crate) n: u64,
    /// Target tokens of `nll`, scored tokens of choices, generated tokens.
    pub(crate) tokens: u64,
}

/// How much better one form of a model is than another on the same questions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Comparison {
    pub(crate) task: String,
    pub(crate) metric: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) filter: Option<String>,
    pub(crate) variant: String,
    pub(crate) k: f64,
    /// The form that it is compared with.
    pub(crate) against: String,
    pub(crate) against_k: f64,
    /// Mean of the differences, from −1 to 1; below 0 where `variant` is worse.
    pub(crate) difference: f64,
    /// By bootstrap over questions.
    pub(crate) stderr: f64,
    /// 95 % percentile interval.
    pub(crate) interval: [f64; 2],
    /// Two-sided.
    pub(crate) p_value: f64,
    /// Questions.
    pub(crate) n: u64,
}

/// A number with its 95 % interval by bootstrap over questions, tasks apart. `null` ends where too many resamples leave
/// the number undefined.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Bounded {
    pub(crate) value: f64,
    pub(crate) low: Option<f64>,
    pub(crate) high: Option<f64>,
}

impl From<(f64, Option<Interval>)> for Bounded {
    fn from((value, interval): (f64, Option<Interval>)) -> Self {
        Self { value, low: interval.map(|ends| ends.low), high: interval.map(|ends| ends.high) }
    }
}

/// A form of the model in the paper's Tables 1 and 2. What is not defined is `null`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Impact {
    pub(crate) variant: String,
    pub(crate) k: f64,
    pub(crate) ablated_parameters: u64,
    /// Scores, percent.
    pub(crate) scores: PaperRow,
    /// Mean of the general tasks, percent.
    pub(crate) average: Option<Bounded>,
    /// Its change, in percent of what it was (GTC); of the original `null`, as all that follows.
    pub(crate) general_change: Option<Bounded>,
    /// Change of `HumanEval`, in percent of what it was.
    pub(crate) code_change: Option<Bounded>,
    /// `M_s`, both drops in percentage points (the paper's).
    pub(crate) m_s: Option<Bounded>,
    /// The same with drops as fractions.
    pub(crate) m_s_fractions: Option<Bounded>,
    /// The same as fractions, the general drop being of the mean above chance.
    pub(crate) m_s_above_chance: Option<Bounded>,
    /// Share of the score above chance that is left, by general task in the table's order.
    pub(crate) retention: [Option<f64>; 5],
    /// Share of `HumanEval` that is left.
    pub(crate) code_retention: Option<f64>,
}

/// The questions of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DatasetRecord {
    pub(crate) task: String,
    /// SHA-256 of what of its documents is used.
    pub(crate) sha256: String,
    /// That of its few-shot pool.
    pub(crate) pool_sha256: Option<String>,
    /// The published set that the documents are, if they are one.
    pub(crate) known: Option<String>,
    /// SHA-256 of all that the model was asked.
    pub(crate) requests_sha256: String,
    pub(crate) documents: u64,
    pub(crate) num_fewshot: u32,
}

/// A file of answers, beside `EVAL.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SamplesRecord {
    /// Path relative to `EVAL.json`, with `/`.
    pub(crate) file: String,
    pub(crate) sha256: String,
}

/// A task that could not be measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NotRun {
    pub(crate) task: String,
    /// Why, as a sentence's end: `julia is not installed`.
    pub(crate) reason: String,
}

/// A finished evaluation.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct EvalFile {
    pub(crate) results: Vec<ResultRow>,
    /// Every form against the original, and the spot against each control at the same k.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) comparisons: Vec<Comparison>,
    /// Where all six tasks were measured: the original first, then as in `results`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) impacts: Vec<Impact>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) datasets: Vec<DatasetRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) samples: Vec<SamplesRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) not_run: Vec<NotRun>,
    pub(crate) config: serde_json::Value,
    pub(crate) versions: serde_json::Value,
    /// SHA-256 of all of the above, as compact JSON; files of older versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<String>,
}

impl EvalFile {
    /// SHA-256 of everything but that hash.
    fn digest(&self) -> anyhow::Result<String> {
        let bare = Self { sha256: None, ..self.clone() };
        // As read back: a float's text is the shortest that gives the same float, so it is a fixed point.
        let text = serde_json::to_vec(&bare).context("an evaluation can't be written as JSON")?;
        Ok(sha256(&text))
    }

    /// The same with its hash.
    pub(crate) fn sealed(mut self) -> anyhow::Result<Self> {
        self.sha256 = Some(self.digest()?);
        Ok(self)
    }

    /// Checks that nothing was changed since [`Self::sealed`]; files without a hash pass.
    ///
    /// Whoever forges a file can forge its hash: this notices accidents and clumsy hands, and the answers, from
    /// which every figure follows, are checked beside it.
    pub(crate) fn check_seal(&self) -> anyhow::Result<()> {
        let Some(expected) = &self.sha256 else { return Ok(()) };
        let found = self.digest()?;
        anyhow::ensure!(
            found == *expected,
            "its content has SHA-256 {}…, its own record says {}…: it was changed after it was written; measure again",
            &found[..12],
            &expected[..expected.floor_char_boundary(12)]
        );
        Ok(())
    }
}

/// Checks the files of answers that lie beside the evaluation at `path`: each must have the SHA-256 that the evaluation
/// records. Files that are not there are named on stderr.
pub(crate) fn check_samples(path: &Path, file: &EvalFile) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut missing = Vec::new();
    for record in &file.samples {
        let relative = Path::new(&record.file);
        anyhow::ensure!(
            relative.components().all(|part| matches!(part, Component::Normal(_))) && !record.file.is_empty(),
            "{} names {:?} as a file of answers; expected a path below its own folder",
            path.display(),
            record.file
        );
        let answers = folder.join(relative);
        match fs::metadata(&answers) {
            Ok(found) if found.is_file() => {
                let found = sha256_of_file(&answers)
                    .with_context(|| format!("{} can't be read", answers.display()))?;
                anyhow::ensure!(
                    found == record.sha256,
                    "{} has SHA-256 {}…, {} records {}…: the answers were changed after they were written; measure again, or \
                     put the file back that was written then",
                    answers.display(),
                    &found[..12],
                    path.display(),
                    &record.sha256[..record.sha256.floor_char_boundary(12)]
                );
            }
            Ok(_) => anyhow::bail!(
                "{} is no file; {} names it as one of answers",
                answers.display(),
                path.display()
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(record.file.as_str()),
            Err(error) => {
                return Err(error).with_context(|| format!("{} can't be read", answers.display()));
            }
        }
    }
    if let [first, rest @ ..] = missing.as_slice() {
        let others = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        output::note(&format!(
            "Note: {first:?}{others} of {}'s files of answers ({} in all) are not beside it, so they could not be checked",
            path.display(),
            file.samples.len()
        ));
    }
    Ok(())
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&digest::digest(&digest::SHA256, bytes))
}

/// SHA-256 of a file, in hexadecimal, a piece at a time.
fn sha256_of_file(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut context = digest::Context::new(&digest::SHA256);
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hexadecimal(&context.finish())),
            length => context.update(&piece[..length]),
        }
    }
}

fn hexadecimal(digest: &digest::Digest) -> String {
    digest.as_ref().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Versions of what computed a result.
pub(crate) fn versions() -> serde_json::Value {
    serde_json::json!({ "codingspot": env!("CARGO_PKG_VERSION"), "burn": "0.22.1" })
}
