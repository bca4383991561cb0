//! The benchmarks' rows: where they lie, and how they are read.

pub(crate) mod published;

use crate::corpus::read_text_file;
use crate::parquet::{self, Limits};
use anyhow::Context as _;
use codingspot_tasks::bundled;
use codingspot_tasks::document::Dataset;
use codingspot_tasks::row::{MAX_ROW, MAX_ROWS, MAX_TEXT, Part};
use codingspot_tasks::task::Task;
use std::convert::Infallible;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Endings of a file of rows.
const ENDINGS: [&str; 3] = [".jsonl", ".jsonl.gz", ".parquet"];
/// How much of a Parquet file of rows is read; that is what `codingspot_tasks` takes.
pub(crate) const LIMITS: Limits = Limits { rows: MAX_ROWS, row_bytes: MAX_ROW, bytes: MAX_TEXT as u64 };

/// Where `fetch-data` puts rows and `eval` looks for them: `codingspot/data` in `XDG_CACHE_HOME` or `~/.cache`.
///
/// # Errors
/// There is neither that variable nor a home directory.
pub(crate) fn default_directory() -> anyhow::Result<PathBuf> {
    let caches = std::env::var_os("XDG_CACHE_HOME").filter(|caches| !caches.is_empty()).map(PathBuf::from);
    let caches = caches.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    let caches = caches.context("there is no home directory for data; set XDG_CACHE_HOME or give --data")?;
    Ok(caches.join("codingspot/data"))
}

/// The task of a name, for arguments.
pub(crate) fn parse_task(name: &str) -> Result<Task, String> {
    Task::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Task::all().map(Task::name).collect();
        format!("{name:?} is not a task; expected {}", names.join(", "))
    })
}

/// What `--data` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A directory with a file for every set.
    Directory(PathBuf),
    /// The few questions inside the binary.
    Bundled,
}

impl FromStr for Source {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "bundled" { Self::Bundled } else { Self::Directory(text.into()) })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => directory.display().fmt(f),
            Self::Bundled => f.write_str("bundled"),
        }
    }
}

impl Source {
    /// What is asked for, or else where `fetch-data` puts rows.
    ///
    /// # Errors
    /// As [`default_directory`].
    pub(crate) fn or_default(asked: Option<&Self>) -> anyhow::Result<Self> {
        asked.map_or_else(|| default_directory().map(Self::Directory), |source| Ok(source.clone()))
    }

    /// Whether a task's documents are there.
    ///
    /// # Errors
    /// They are there twice.
    pub(crate) fn has(&self, task: Task) -> anyhow::Result<bool> {
        match self {
            Self::Directory(directory) => Ok(find(directory, task.files().0)?.is_some()),
            Self::Bundled => Ok(true),
        }
    }

    /// The rows of a task, with those that its examples come from where `num_fewshot` asks for any.
    ///
    /// # Errors
    /// As [`load`].
    pub(crate) fn load(&self, task: Task, num_fewshot: Option<u32>) -> anyhow::Result<Dataset> {
        match self {
            Self::Directory(directory) => load(directory, task, num_fewshot),
            Self::Bundled => Ok(bundled::dataset(task)?),
        }
    }
}

/// The rows of a task in `directory`: `FILE.jsonl`, `FILE.jsonl.gz` or `FILE.parquet` of the names that
/// [`Task::files`] gives. The pool of few-shot examples is read where `num_fewshot`, or the task itself, asks for
/// any, or where it is there.
///
/// # Errors
/// A file is not there, is there twice, can't be read, is too large, or has rows that the task can't use.
pub(crate) fn load(directory: &Path, task: Task, num_fewshot: Option<u32>) -> anyhow::Result<Dataset> {
    let (documents, pool) = task.files();
    let documents = find(directory, documents)?.with_context(|| missing(directory, task, Part::Documents))?;
    let pool = pool.map(|pool| find(directory, pool)).transpose()?.flatten();
    anyhow::ensure!(pool.is_some() || task.shots(num_fewshot) == 0, missing(directory, task, Part::Pool));
    let text = read(&documents)?;
    let pool_text = pool.as_deref().map(read).transpose()?;
    Dataset::parse(task, &text, pool_text.as_deref())
        .with_context(|| format!("{} was refused", directory.display()))
}

/// The one file of the name `stem` and any ending.
fn find(directory: &Path, stem: &str) -> anyhow::Result<Option<PathBuf>> {
    let paths = ENDINGS.map(|ending| directory.join(format!("{stem}{ending}")));
    let mut found = paths.into_iter().filter(|path| path.is_file());
    let first = found.next();
    if let (Some(first), Some(second)) = (&first, found.next()) {
        anyhow::bail!("{} and {} are the same set; remove one of them", first.display(), second.display());
    }
    Ok(first)
}

/// What is said where a set has no file.
fn missing(directory: &Path, task: Task, part: Part) -> String {
    let (documents, pool) = task.files();
    let (stem, purpose) = match part {
        Part::Documents => (documents, ""),
        Part::Pool => (pool.unwrap_or(documents), ", which few-shot examples come from"),
    };
    let advice = if published::split(task, part).is_none() {
        // The hub's set of translated programs begins with Python's, which is the other task.
        "the hub has no such set; put one there, or measure humaneval".to_owned()
    } else {
        let pools =
            if part == Part::Pool && !published::is_always_fetched(task) { " --few-shot-pools" } else { "" };
        format!("fetch it with `codingspot fetch-data --tasks {task}{pools}`")
    };
    format!(
        "{task}: {} has no {stem}.jsonl, {stem}.jsonl.gz or {stem}.parquet{purpose}; {advice}, or name another \
         directory with --data (`--data bundled` has a few questions of every task)",
        directory.display()
    )
}

/// The rows of a file, as JSON lines.
fn read(path: &Path) -> anyhow::Result<String> {
    if is_parquet(path) {
        let file = read_parquet_file(path, MAX_TEXT as u64)?;
        return parquet::json_lines(file, LIMITS).with_context(|| format!("{} was refused", path.display()));
    }
    read_text_file(path, MAX_TEXT as u64).with_context(|| format!("{} can't be read", path.display()))
}

/// Whether a path ends in `.parquet`.
pub(crate) fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "parquet")
}

/// The bytes of a file of at most `limit`.
pub(crate) fn read_parquet_file(path: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    let size = fs::metadata(path).with_context(|| format!("{} can't be read", path.display()))?.len();
    anyhow::ensure!(
        size <= limit,
        "{} has {size} bytes, more than the {limit} that are read",
        path.display()
    );
    fs::read(path).with_context(|| format!("{} can't be read", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parquet_file::{Settings, write};
    use codingspot_tasks::document::Options;
    use std::io::Write as _;

    const ROWS: &str = "{\"question\": \"1 + 1?\", \"answer\": \"#### 2\"}\n";

    fn put(directory: &Path, name: &str, bytes: &[u8]) {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn gzipped(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn error(directory: &Path, task: Task, num_fewshot: Option<u32>) -> String {
        format!("{:#}", load(directory, task, num_fewshot).unwrap_err())
    }

    #[test]
    fn all_three_endings_are_one_set() {
        let schema = "message rows { required binary question (UTF8); required binary answer (UTF8); }";
        let row = serde_json::from_str(ROWS).unwrap();
        let parquet = write(schema, &[row], &Settings::default());
        let mut hashes = Vec::new();
        for (ending, bytes) in
            [(".jsonl", ROWS.as_bytes().to_vec()), (".jsonl.gz", gzipped(ROWS)), (".parquet", parquet)]
        {
            let directory = tempfile::tempdir().unwrap();
            put(directory.path(), &format!("gsm8k_test{ending}"), &bytes);
            let data = load(directory.path(), Task::Gsm8k, Some(0)).unwrap();
            assert_eq!((data.len(), data.pool_len()), (1, 0));
            hashes.push(data.sha256(Part::Documents).unwrap().to_owned());
            // The task shows five examples where nothing is asked for.
            let said = error(directory.path(), Task::Gsm8k, None);
            assert!(said.contains("gsm8k_train.jsonl, ") && said.contains("few-shot"), "{said}");
            // A pool that is there is read in any case.
            put(directory.path(), &format!("gsm8k_train{ending}"), &bytes);
            assert_eq!(load(directory.path(), Task::Gsm8k, Some(0)).unwrap().pool_len(), 1);
        }
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().display().to_string();
        for (task, shots, parts) in [
            (Task::HumanEval, None, ["humaneval.parquet", "fetch-data --tasks humaneval`", "--data bundled"]),
            (
                Task::from_name("multiple-rs").unwrap(),
                None,
                ["multilang/multipl_e_humaneval_rust.jsonl.gz", "fetch-data --tasks multiple-rs`", "--data"],
            ),
            (
                Task::from_name("multiple-py").unwrap(),
                None,
                [
                    "multilang/multipl_e_humaneval_python.jsonl",
                    "the hub has no such set",
                    "measure humaneval",
                ],
            ),
        ] {
            let said = error(directory.path(), task, shots);
            assert!(said.contains(&place) && parts.iter().all(|part| said.contains(part)), "{said}");
        }
        let row = "{\"sentence\": \"a _ b\", \"option1\": \"x\", \"option2\": \"y\", \"answer\": \"1\"}";
        put(directory.path(), "winogrande_dev.jsonl", row.as_bytes());
        assert_eq!(load(directory.path(), Task::WinoGrande, None).unwrap().len(), 1);
        let said = error(directory.path(), Task::WinoGrande, Some(5));
        assert!(said.contains("fetch-data --tasks winogrande --few-shot-pools"), "{said}");
    }

    #[test]
    fn doubles_large_files_and_bad_rows_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        put(directory.path(), "gsm8k_test.jsonl", ROWS.as_bytes());
        put(directory.path(), "gsm8k_test.parquet", b"PAR1");
        assert!(error(directory.path(), Task::Gsm8k, Some(0)).contains("are the same set"));
        fs::remove_file(directory.path().join("gsm8k_test.jsonl")).unwrap();
        let said = error(directory.path(), Task::Gsm8k, Some(0));
        assert!(said.contains("gsm8k_test.parquet was refused: it is not a Parquet file"), "{said}");
        fs::remove_file(directory.path().join("gsm8k_test.parquet")).unwrap();
        put(directory.path(), "gsm8k_test.jsonl.gz", &gzipped("{\"question\": \"\"}"));
        let said = error(directory.path(), Task::Gsm8k, Some(0));
        assert!(said.ends_with("was refused: gsm8k, documents, row 1: no field `answer`"), "{said}");
        // A file that is small only while it is packed.
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let blank = vec![b' '; 1 << 20];
        for _ in 0..=MAX_TEXT >> 20 {
            encoder.write_all(&blank).unwrap();
        }
        put(directory.path(), "gsm8k_test.jsonl.gz", &encoder.finish().unwrap());
        let said = error(directory.path(), Task::Gsm8k, Some(0));
        assert!(said.contains("more than 268435456 bytes"), "{said}");
    }

    #[test]
    fn bundled_is_a_source_and_all_else_a_directory() {
        assert_eq!("bundled".parse(), Ok(Source::Bundled));
        assert_eq!("./bundled".parse(), Ok(Source::Directory("./bundled".into())));
        for task in Task::all() {
            assert!(
                Source::Bundled.load(task, None).unwrap().documents(&Options::default()).unwrap().count() > 0
            );
        }
        let directory = tempfile::tempdir().unwrap();
        put(directory.path(), "gsm8k_test.jsonl", ROWS.as_bytes());
        let source = Source::Directory(directory.path().to_owned());
        assert_eq!(source.load(Task::Gsm8k, Some(0)).unwrap().len(), 1);
        assert_eq!(parse_task("gsm8k"), Ok(Task::Gsm8k));
        assert!(parse_task("gsm9k").unwrap_err().contains("humaneval, "));
    }
}
