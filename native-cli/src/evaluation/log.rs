//! Answers on disk: one JSON object a line, written as they come, so that nothing is asked twice.

use super::plan::{Question, Work};
use anyhow::Context as _;
use codingspot_core::inference::EndReason;
use codingspot_execution::Verdict;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Longest line that is read, bytes.
const MAX_LINE: u64 = 64 << 20;

/// A text that a model has written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) prompt: String,
    /// As the model wrote it, its stop string included.
    pub(crate) completion: String,
    /// What of it is read: cut at the stop strings; of a program with what it continues.
    pub(crate) extracted: String,
    pub(crate) end: EndReason,
    /// New tokens.
    pub(crate) tokens: u64,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// Sums of logarithms, one a request; `null` where the model gave no number.
    Likelihoods { sums: Vec<Option<f64>>, greedy: Vec<bool> },
    /// A text.
    Sample {
        sample: u32,
        #[serde(flatten)]
        text: Sample,
    },
    /// What became of a text's program.
    Verdict {
        sample: u32,
        #[serde(flatten)]
        verdict: Verdict,
    },
}

/// A line.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    doc_id: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subset: Option<String>,
    key: String,
    #[serde(flatten)]
    answer: Answer,
}

/// The answers of one form of a model to one task.
#[derive(Debug)]
pub(crate) struct AnswerLog {
    path: PathBuf,
    file: File,
    /// By question: sums and whether they were the most likely.
    pub(crate) likelihoods: HashMap<usize, (Vec<f64>, Vec<bool>)>,
    /// By question and sample.
    pub(crate) samples: HashMap<(usize, u32), Sample>,
    pub(crate) verdicts: HashMap<(usize, u32), Verdict>,
}

impl AnswerLog {
    /// Opens or creates a log. Answers to questions that are not among `questions` are left where they are; those of a
    /// question that was another one are refused. A last line that a crash cut is dropped.
    pub(crate) fn open(path: &Path, questions: &[Question]) -> anyhow::Result<Self> {
        let places: HashMap<(Option<&str>, usize), usize> = questions
            .iter()
            .enumerate()
            .map(|(place, question)| ((question.subset.as_deref(), question.index), place))
            .collect();
        let failed = || format!("{} can't be read", path.display());
        let mut lines = Vec::new();
        let mut whole = 0_u64;
        if path.is_file() {
            let mut reader = BufReader::new(File::open(path).with_context(failed)?);
            loop {
                let mut bytes = Vec::new();
                let read =
                    reader.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut bytes).with_context(failed)?
                        as u64;
                anyhow::ensure!(
                    read <= MAX_LINE,
                    "{} has a line of more than {MAX_LINE} bytes",
                    path.display()
                );
                if bytes.last() != Some(&b'\n') {
                    break;
                }
                let number = lines.len() + 1;
                let line: Line = serde_json::from_slice(&bytes).with_context(|| {
                    format!("{}, line {number}, is no answer; remove the file to ask again", path.display())
                })?;
                lines.push(line);
                whole += read;
            }
        }
        let open = || -> std::io::Result<File> {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            file.set_len(whole)?;
            Ok(file)
        };
        let file = open().with_context(|| format!("{} can't be written", path.display()))?;
        let mut log = Self {
            path: path.to_owned(),
            file,
            likelihoods: HashMap::new(),
            samples: HashMap::new(),
            verdicts: HashMap::new(),
        };
        for (number, line) in lines.into_iter().enumerate() {
            let Some(&place) = places.get(&(line.subset.as_deref(), line.doc_id)) else { continue };
            anyhow::ensure!(
                questions[place].key == line.key,
                "{}, line {}: the answer is to another question than document {} is now; the data or settings are other \
                 than they were: choose another --out, or remove the file to ask again",
                path.display(),
                number + 1,
                line.doc_id
            );
            log.keep(place, line.answer);
        }
        Ok(log)
    }

    fn keep(&mut self, place: usize, answer: Answer) {
        match answer {
            Answer::Likelihoods { sums, greedy } => {
                let sums = sums.into_iter().map(|sum| sum.unwrap_or(f64::NAN)).collect();
                self.likelihoods.insert(place, (sums, greedy));
            }
            Answer::Sample { sample, text } => {
                self.samples.insert((place, sample), text);
            }
            Answer::Verdict { sample, verdict } => {
                self.verdicts.insert((place, sample), verdict);
            }
        }
    }

    /// Whether a question has no answer yet, or not as many texts as are wanted.
    pub(crate) fn lacks(&self, questions: &[Question], samples: u32) -> bool {
        questions.iter().enumerate().any(|(place, question)| match question.work {
            Work::Likelihoods(_) => !self.likelihoods.contains_key(&place),
            Work::Text { .. } => (0..samples).any(|sample| !self.samples.contains_key(&(place, sample))),
        })
    }

    /// Adds answers, of questions by their place; they are with the system when it returns.
    pub(crate) fn push(
        &mut self,
        questions: &[Question],
        answers: impl IntoIterator<Item = (usize, Answer)>,
    ) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        for (place, answer) in answers {
            let Question { index, subset, key, .. } = &questions[place];
            let line = Line { doc_id: *index, subset: subset.clone(), key: key.clone(), answer };
            serde_json::to_writer(&mut bytes, &line)?;
            bytes.push(b'\n');
            self.keep(place, line.answer);
        }
        self.file.write_all(&bytes).with_context(|| format!("{} can't be written", self.path.display()))
    }

    /// Makes sure that answers are on the disk.
    pub(crate) fn sync(&self) -> anyhow::Result<()> {
        self.file.sync_data().with_context(|| format!("{} can't be written", self.path.display()))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use codingspot_core::inference::Decoding;

    fn question(index: usize) -> Question {
        Question {
            index,
            subset: None,
            key: format!("key {index}"),
            work: Work::Text { prompt: vec![1], stop: Vec::new(), decoding: Decoding::Alone, max_tokens: 1 },
            cut: false,
        }
    }

    fn sample(sample: u32) -> Answer {
        let text = Sample {
            prompt: "p".to_owned(),
            completion: "c\u{2028}".to_owned(),
            extracted: "c".to_owned(),
            end: EndReason::Length,
            tokens: 1,
        };
        Answer::Sample { sample, text }
    }

    #[test]
    fn samples_of_one_question_stand_for_no_other() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/task.jsonl");
        let questions = [question(0), question(1)];
        let mut log = AnswerLog::open(&path, &questions).unwrap();
        log.push(&questions, [0, 1, 2].map(|number| (0, sample(number)))).unwrap();
        assert!(log.lacks(&questions, 1) && !log.lacks(&questions[..1], 3) && log.lacks(&questions[..1], 4));
        log.push(&questions, [(1, sample(0))]).unwrap();
        // Read back, with a line that a crash cut.
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend(b"{\"doc_id\": 1, \"key\"");
        std::fs::write(&path, bytes).unwrap();
        let log = AnswerLog::open(&path, &questions).unwrap();
        assert!(!log.lacks(&questions, 1) && log.lacks(&questions, 2));
        assert_eq!(log.samples[&(0, 2)].completion, "c\u{2028}");
        let other = Question { key: "another".to_owned(), ..question(1) };
        let error = AnswerLog::open(&path, &[question(0), other]).unwrap_err().to_string();
        assert!(error.contains("line 4") && error.contains("another question"), "{error}");
    }
}
