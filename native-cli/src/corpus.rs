//! Corpus directories: one file a language.

use crate::args::UsageError;
use crate::scoring::Shard;
use anyhow::Context as _;
use codingspot_core::corpus::{CODE_LANGUAGES, Document};
use rand::{SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Longest corpus file that is read, bytes after decompression.
const MAX_FILE_BYTES: u64 = 8 << 30;
/// Endings of a corpus file.
const ENDINGS: [&str; 2] = [".jsonl", ".jsonl.gz"];

/// Checks that no language is named twice: it would count twice.
pub(crate) fn check_distinct(languages: &[String]) -> Result<(), UsageError> {
    let twice = (1..languages.len()).find(|&index| languages[..index].contains(&languages[index]));
    match twice {
        Some(index) => {
            Err(UsageError(format!("{} is named twice; name each language once", languages[index])))
        }
        None => Ok(()),
    }
}

/// Which documents of a corpus are used, and in what order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Seed by which documents are shuffled; `None`: file order.
    pub(crate) shuffle: Option<u64>,
    /// Every n-th document of that order, from the i-th on; `None`: all of them.
    pub(crate) part: Option<Shard>,
}

impl Sample {
    /// The documents of `language` that it has, in order.
    pub(crate) fn take(self, language: &str, mut documents: Vec<Document>) -> anyhow::Result<Vec<Document>> {
        if let Some(seed) = self.shuffle {
            // A stream of its own for each language, whichever others are scored.
            let mut key = [0; 32];
            key.copy_from_slice(blake3::hash(format!("{seed} {language}").as_bytes()).as_bytes());
            documents.shuffle(&mut ChaCha8Rng::from_seed(key));
        }
        if let Some(Shard { index, count }) = self.part {
            documents = documents.into_iter().skip(index - 1).step_by(count).collect();
            anyhow::ensure!(
                !documents.is_empty(),
                "part {index} of {count} of {language} has no document; take fewer parts"
            );
        }
        Ok(documents)
    }
}

/// The files of a corpus directory by language.
#[derive(Debug)]
pub(crate) struct CorpusDirectory {
    path: PathBuf,
    files: BTreeMap<String, PathBuf>,
}

impl CorpusDirectory {
    /// Lists `path`.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let entries = fs::read_dir(path)
            .with_context(|| format!("corpus directory {} can't be read", path.display()))?;
        let mut files = BTreeMap::new();
        for entry in entries {
            let file = entry.with_context(|| format!("{} can't be listed", path.display()))?.path();
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(language) = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)) else {
                continue;
            };
            let language = language.to_owned();
            if let Some(other) = files.insert(language.clone(), file) {
                anyhow::bail!("{language} is in {} twice (also {})", path.display(), other.display());
            }
        }
        anyhow::ensure!(
            !files.is_empty(),
            "{} holds no corpus; expected files named LANG.jsonl or LANG.jsonl.gz",
            path.display()
        );
        Ok(Self { path: path.to_owned(), files })
    }

    /// The languages that are there, sorted.
    pub(crate) fn languages(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    /// Those of the paper's ten languages that are there.
    pub(crate) fn code_languages(&self) -> anyhow::Result<Vec<String>> {
        let found: Vec<String> = CODE_LANGUAGES
            .iter()
            .filter(|name| self.files.contains_key(**name))
            .map(ToString::to_string)
            .collect();
        anyhow::ensure!(
            !found.is_empty(),
            "{} has none of the ten code languages ({}); it has {}. Name others with --languages",
            self.path.display(),
            CODE_LANGUAGES.join(", "),
            self.languages().join(", ")
        );
        Ok(found)
    }

    /// The documents of a language.
    pub(crate) fn read(&self, language: &str) -> anyhow::Result<Vec<Document>> {
        let path = self.files.get(language).with_context(|| {
            format!(
                "{} has no {language}.jsonl or {language}.jsonl.gz; it has {}",
                self.path.display(),
                self.languages().join(", ")
            )
        })?;
        let text = read(path).with_context(|| format!("{} can't be read", path.display()))?;
        Document::from_json_lines(&text).with_context(|| format!("{} was refused", path.display()))
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let file = File::open(path)?;
    let mut text = String::new();
    let read = if path.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::MultiGzDecoder::new(file).take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?
    } else {
        file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?
    };
    if read as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other(format!("it holds more than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}
