//! Completions on disk: one JSON object a line, written as they come, so that nothing is written twice.

use super::{Form, FormKey, PromptSet};
use crate::study::CompletionOutcome;
use anyhow::Context as _;
use codingspot_core::spot::Scope;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Longest line that is read, bytes.
const MAX_LINE: u64 = 16 << 20;

/// What a model wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written {
    pub(super) completion: String,
    /// New tokens.
    pub(super) tokens: u64,
    /// Whether the model ended it, and not the limit.
    pub(super) finished: bool,
    /// `None` of a language without a grammar.
    pub(super) outcome: Option<CompletionOutcome>,
    /// Bytes before the first token that can't stand where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error_byte: Option<usize>,
}

/// One line of the log.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// `null` of the original.
    scope: Option<Scope>,
    arm: String,
    /// Percent of the scope.
    k: f64,
    /// Parameters removed.
    count: usize,
    language: String,
    document: usize,
    prompt: String,
    #[serde(flatten)]
    written: Written,
}

/// What was written so far; a line that a crash cut is dropped.
#[derive(Debug)]
pub(in crate::study) struct CompletionLog {
    path: PathBuf,
    file: File,
    /// By form, set and prompt.
    written: HashMap<(FormKey, usize, usize), Written>,
}

impl CompletionLog {
    /// Opens or creates the log of `forms` completing the prompts of `sets`; one that holds anything else is refused.
    pub(super) fn open(path: &Path, forms: &[Form], sets: &[PromptSet]) -> anyhow::Result<Self> {
        let failed = || format!("{} can't be read", path.display());
        let forms: HashSet<FormKey> = forms.iter().map(|form| form.key()).collect();
        let places: HashMap<(&str, usize), (usize, usize)> = sets
            .iter()
            .enumerate()
            .flat_map(|(set, prompts)| {
                let prompts_of = prompts.prompts.iter().enumerate();
                prompts_of
                    .map(move |(place, prompt)| ((prompts.name.as_str(), prompt.document), (set, place)))
            })
            .collect();
        let mut written = HashMap::new();
        let (mut whole, mut number) = (0_u64, 0);
        if path.is_file() {
            let mut reader = BufReader::new(File::open(path).with_context(failed)?);
            loop {
                let mut bytes = Vec::new();
                let read = reader.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut bytes);
                let read = read.with_context(failed)? as u64;
                anyhow::ensure!(
                    read <= MAX_LINE,
                    "{} has a line of more than {MAX_LINE} bytes; remove it to complete again",
                    path.display()
                );
                if bytes.last() != Some(&b'\n') {
                    break;
                }
                number += 1;
                let line: Line = serde_json::from_slice(&bytes).with_context(|| {
                    format!(
                        "{}, line {number}, was refused; remove the file to complete again",
                        path.display()
                    )
                })?;
                let form = forms.get(&(line.scope.map(Scope::name), line.arm, line.count)).cloned();
                let place = places.get(&(line.language.as_str(), line.document));
                let asked = form
                    .zip(place)
                    .filter(|(_, (set, prompt))| sets[*set].prompts[*prompt].text == line.prompt);
                let Some((form, &(set, prompt))) = asked else {
                    anyhow::bail!(
                        "{}, line {number}, completes what is not asked now: document {} of {}; remove the file to \
                         complete again",
                        path.display(),
                        line.document,
                        line.language
                    );
                };
                written.insert((form, set, prompt), line.written);
                whole += read;
            }
        }
        let open = || -> std::io::Result<File> {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            file.set_len(whole)?;
            Ok(file)
        };
        let file = open().with_context(|| format!("{} can't be written", path.display()))?;
        Ok(Self { path: path.to_owned(), file, written })
    }

    /// What a form wrote after a prompt.
    pub(super) fn get(&self, form: Form, set: usize, prompt: usize) -> Option<&Written> {
        self.written.get(&(form.key(), set, prompt))
    }

    /// Adds a completion of the prompt at `place`.
    pub(super) fn push(
        &mut self,
        sets: &[PromptSet],
        form: Form,
        k: f64,
        place: (usize, usize),
        written: Written,
    ) -> anyhow::Result<()> {
        let (set, prompt) = (&sets[place.0], &sets[place.0].prompts[place.1]);
        let line = Line {
            scope: form.scope(),
            arm: form.arm(),
            k,
            count: form.count(),
            language: set.name.clone(),
            document: prompt.document,
            prompt: prompt.text.clone(),
            written,
        };
        let mut bytes = serde_json::to_vec(&line)?;
        bytes.push(b'\n');
        self.file.write_all(&bytes).with_context(|| format!("{} can't be written", self.path.display()))?;
        self.written.insert((form.key(), place.0, place.1), line.written);
        Ok(())
    }

    /// Brings what was added onto the disk.
    pub(super) fn sync(&self) -> anyhow::Result<()> {
        self.file.sync_data().with_context(|| format!("{} can't be written", self.path.display()))
    }
}
