//! Corpus directories: one file a language.

use crate::args::UsageError;
use crate::data::{is_parquet, read_parquet_file};
use crate::parquet::{Limits, Rows};
use crate::scoring::Shard;
use anyhow::Context as _;
use codingspot_core::corpus::{CODE_LANGUAGES, CorpusError, Document, MAX_DOCUMENT_BYTES};
use rand::{SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Longest corpus file that is read, bytes after decompression.
const MAX_FILE_BYTES: u64 = 8 << 30;
/// Endings of a corpus file.
const ENDINGS: [&str; 3] = [".jsonl", ".jsonl.gz", ".parquet"];
/// Columns of a Parquet file that are read.
const COLUMNS: [&str; 2] = ["text", "ids"];
/// How much of a Parquet file is read.
const LIMITS: Limits = Limits { rows: 1 << 28, row_bytes: MAX_DOCUMENT_BYTES, bytes: MAX_FILE_BYTES };

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
            "{} holds no corpus; expected files named LANG.jsonl, LANG.jsonl.gz or LANG.parquet",
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

    fn file(&self, language: &str) -> anyhow::Result<&Path> {
        self.files.get(language).map(PathBuf::as_path).with_context(|| {
            format!(
                "{} has no {language}.jsonl, {language}.jsonl.gz or {language}.parquet; it has {}",
                self.path.display(),
                self.languages().join(", ")
            )
        })
    }

    /// The documents of a language.
    pub(crate) fn read(&self, language: &str) -> anyhow::Result<Vec<Document>> {
        let path = self.file(language)?;
        if is_parquet(path) {
            return parquet_documents(read_parquet_file(path, MAX_FILE_BYTES)?)
                .with_context(|| format!("{} was refused", path.display()));
        }
        let text = read_text_file(path, MAX_FILE_BYTES)
            .with_context(|| format!("{} can't be read", path.display()))?;
        Document::from_json_lines(&text).with_context(|| format!("{} was refused", path.display()))
    }
}

impl CorpusDirectory {
    /// Calls `work` with the number (from 0) and the fields of every row of a language, all of them, not only
    /// its text.
    pub(crate) fn for_rows(
        &self,
        language: &str,
        mut work: impl FnMut(usize, Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let path = self.file(language)?;
        if is_parquet(path) {
            let rows = Rows::open(read_parquet_file(path, MAX_FILE_BYTES)?, None, LIMITS)?;
            return rows.enumerate().try_for_each(|(number, row)| work(number, serde_json::to_value(row?)?));
        }
        let text = read_text_file(path, MAX_FILE_BYTES)
            .with_context(|| format!("{} can't be read", path.display()))?;
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        lines.enumerate().try_for_each(|(number, line)| {
            let refused = || format!("{}, row {} was refused", path.display(), number + 1);
            work(number, serde_json::from_str(line).with_context(refused)?)
        })
    }
}

/// The documents of a Parquet file: its rows are taken as lines of JSON, and counted like them.
fn parquet_documents(file: Vec<u8>) -> anyhow::Result<Vec<Document>> {
    let rows = Rows::open(file, Some(&COLUMNS), LIMITS)?.zip(1..);
    let documents: Vec<Document> = rows
        .map(|(row, line)| Ok(Document::from_json_line(line, &serde_json::to_string(&row?)?)?))
        .collect::<anyhow::Result<_>>()?;
    if documents.is_empty() { Err(CorpusError::Empty.into()) } else { Ok(documents) }
}

/// The text of a file, unpacked where its name ends in `.gz`, of at most `limit` bytes.
pub(crate) fn read_text_file(path: &Path, limit: u64) -> std::io::Result<String> {
    let file = File::open(path)?;
    let mut text = String::new();
    let read = if path.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::MultiGzDecoder::new(file).take(limit + 1).read_to_string(&mut text)?
    } else {
        file.take(limit + 1).read_to_string(&mut text)?
    };
    if read as u64 > limit {
        return Err(std::io::Error::other(format!("it holds more than {limit} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parquet_file::{Settings, write};
    use serde_json::json;

    fn read(schema: &str, rows: &[Value]) -> anyhow::Result<Vec<Document>> {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("rust.parquet"), write(schema, rows, &Settings::default())).unwrap();
        let corpus = CorpusDirectory::open(directory.path()).unwrap();
        assert_eq!(corpus.languages(), ["rust"]);
        corpus.read("rust")
    }

    #[test]
    fn parquet_rows_are_documents_as_json_lines_are() {
        let text = "message rows { required int96 when; optional binary text (UTF8); required int64 size; }";
        let rows: Vec<Value> = ["fn a() {}\n", "// ü", ""]
            .iter()
            .map(|text| json!({"text": text, "when": 0, "size": 1}))
            .collect();
        let lines = rows.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
        assert_eq!(read(text, &rows).unwrap(), Document::from_json_lines(&lines).unwrap());

        let ids =
            "message rows { required group ids (LIST) { repeated group list { required int32 element; } } }";
        let rows = [json!({"ids": [1, 2, 3]}), json!({"ids": [4, 5, 6]})];
        let documents = read(ids, &rows).unwrap();
        assert_eq!(documents, [Document::Ids(vec![1, 2, 3]), Document::Ids(vec![4, 5, 6])]);
    }

    #[test]
    fn parquet_rows_without_a_document_are_named() {
        let text = "message rows { optional binary text (UTF8); }";
        let error = |schema: &str, rows: &[Value]| format!("{:#}", read(schema, rows).unwrap_err());
        let said = error(text, &[json!({"text": "a"}), json!({"text": null})]);
        assert!(said.contains("rust.parquet was refused: line 2: it has neither"), "{said}");
        let said = error("message rows { required int32 size; }", &[json!({"size": 1})]);
        assert!(said.contains("line 1: it has neither"), "{said}");
        let said = error("message rows { required int32 text; }", &[json!({"text": 1})]);
        assert!(said.contains("line 1: invalid type"), "{said}");
        let bytes = [json!({"text": "a"}), json!({"text": [255]})];
        let said = error("message rows { required binary text; }", &bytes);
        assert!(said.contains("column text, row 2: bytes that are no UTF-8"), "{said}");
        assert!(error(text, &[]).contains("no documents"));
    }

    #[test]
    fn a_language_in_two_files_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["go.jsonl", "go.parquet"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        assert!(CorpusDirectory::open(directory.path()).unwrap_err().to_string().contains("twice"));
    }
}
