//! `codingspot fetch-data`.

use crate::args::FetchDataArgs;
use crate::data::published::{self, CONVERTED, Split};
use crate::data::{self, LIMITS};
use crate::hub::{DatasetFiles, Hub, RepoId, RepoKind};
use crate::{atomic, output, parquet};
use anyhow::Context as _;
use codingspot_tasks::document::Dataset;
use codingspot_tasks::row::{MAX_TEXT, Part};
use codingspot_tasks::task::Task;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What is printed of a SHA-256 among other things.
const SHORT_HASH: usize = 12;

pub(crate) fn run(args: &FetchDataArgs) -> anyhow::Result<()> {
    let directory = args.data.clone().map_or_else(data::default_directory, Ok)?;
    let mut tasks = Vec::new();
    for task in args.tasks.clone().unwrap_or_else(|| published::tasks().collect()) {
        if !tasks.contains(&task) {
            tasks.push(task);
        }
    }
    let mut fetcher = Fetcher {
        hub: Hub::from_environment(args.cache_dir.as_deref())?,
        directory: &directory,
        listed: BTreeMap::new(),
        rows: BTreeMap::new(),
    };
    let mut results = Vec::new();
    let mut failed = Vec::new();
    for &task in &tasks {
        let sets = fetcher.task(task, args.few_shot_pools);
        match &sets {
            Ok(sets) if !args.json => output::result(&lines(task, sets))?,
            Ok(_) => {}
            Err(error) => {
                output::note(&format!("{task}: {error:#}"));
                failed.push(task.name());
            }
        }
        results.push(match sets {
            Ok(sets) => json!({"task": task.name(), "sets": sets}),
            Err(error) => json!({"task": task.name(), "sets": [], "error": format!("{error:#}")}),
        });
    }
    if args.json {
        output::json(&json!({"schema_version": 1, "path": directory, "tasks": results}))?;
    }
    if failed.len() < tasks.len() {
        output::note(&format!("The sets are in {}", directory.display()));
    }
    anyhow::ensure!(
        failed.is_empty(),
        "{} of {} tasks have no set, for the reasons above: {}",
        failed.len(),
        tasks.len(),
        failed.join(", ")
    );
    Ok(())
}

/// A set that was written.
#[derive(Debug, Serialize)]
struct WrittenSet {
    part: &'static str,
    path: PathBuf,
    rows: usize,
    /// Of what of the rows is used, in hexadecimal.
    sha256: String,
    /// The published set that it is, going by its hash.
    known: Option<&'static str>,
    repo: &'static str,
    commit: String,
    files: Value,
}

/// What is said of a task's sets, a line each.
fn lines(task: Task, sets: &[WrittenSet]) -> String {
    let line = |set: &WrittenSet| {
        let known =
            set.known.map_or_else(|| "not a set that is known".to_owned(), |name| format!("known: {name}"));
        let hash = set.sha256.get(..SHORT_HASH).unwrap_or(&set.sha256);
        format!("{task}, {}: {} rows, sha256 {hash}, {known}\n", set.part, output::grouped(set.rows as u64))
    };
    sets.iter().map(line).collect()
}

/// The rows of a split, as JSON lines.
struct Fetched {
    text: String,
    commit: String,
    /// The files that they came in, as JSON.
    files: Value,
}

/// Fetches sets, each list and split once: several tasks share them. Failures are kept as their texts.
struct Fetcher<'a> {
    hub: Hub,
    directory: &'a Path,
    listed: BTreeMap<(&'static str, &'static str), Result<Rc<DatasetFiles>, String>>,
    rows: BTreeMap<Split, Result<Rc<Fetched>, String>>,
}

impl Fetcher<'_> {
    /// Fetches and writes the sets of a task. Nothing is written that the task can't use.
    fn task(&mut self, task: Task, few_shot_pools: bool) -> anyhow::Result<Vec<WrittenSet>> {
        let (documents_stem, pool_stem) = task.files();
        let documents = published::documents(task)?;
        let pool = published::split(task, Part::Pool)
            .filter(|_| few_shot_pools || published::is_always_fetched(task))
            .zip(pool_stem);
        let rows = self.rows(documents)?;
        let pool =
            pool.map(|(split, stem)| Ok::<_, anyhow::Error>((split, stem, self.rows(split)?))).transpose()?;
        let parsed = Dataset::parse(task, &rows.text, pool.as_ref().map(|(_, _, rows)| &*rows.text))
            .with_context(|| format!("the rows of {} were refused", documents.repo))?;
        let mut sets = vec![self.write(&parsed, Part::Documents, documents, documents_stem, &rows)?];
        if let Some((split, stem, rows)) = pool {
            sets.push(self.write(&parsed, Part::Pool, split, stem, &rows)?);
        }
        Ok(sets)
    }

    fn write(
        &self,
        parsed: &Dataset,
        part: Part,
        split: Split,
        stem: &str,
        fetched: &Fetched,
    ) -> anyhow::Result<WrittenSet> {
        let path = self.directory.join(format!("{stem}.jsonl.gz"));
        atomic::write_with(&path, |file| {
            let mut packed = GzEncoder::new(file, Compression::default());
            packed.write_all(fetched.text.as_bytes())?;
            packed.finish().map(drop)
        })?;
        let (name, rows) = match part {
            Part::Documents => ("documents", parsed.len()),
            Part::Pool => ("pool", parsed.pool_len()),
        };
        Ok(WrittenSet {
            part: name,
            path,
            rows,
            sha256: parsed.sha256(part).unwrap_or_default().to_owned(),
            known: parsed.known(part),
            repo: split.repo,
            commit: fetched.commit.clone(),
            files: fetched.files.clone(),
        })
    }

    /// The rows of a split.
    fn rows(&mut self, split: Split) -> anyhow::Result<Rc<Fetched>> {
        if let Some(known) = self.rows.get(&split) {
            return known.clone().map_err(anyhow::Error::msg);
        }
        let fetched = self.fetch(split).map(Rc::new);
        let kept = fetched.as_ref().map(Rc::clone).map_err(|error| format!("{error:#}"));
        self.rows.insert(split, kept);
        fetched
    }

    fn fetch(&mut self, split: Split) -> anyhow::Result<Fetched> {
        let mut listed = self.listed(split.repo, "main")?;
        let mut names = split.files(&listed.names(), false)?;
        if names.is_empty() {
            listed = self.listed(split.repo, CONVERTED).with_context(|| split.missing())?;
            names = split.files(&listed.names(), true)?;
        }
        anyhow::ensure!(!names.is_empty(), split.missing());
        let fetched = self.hub.fetch_dataset_files(&listed, &names, MAX_TEXT as u64)?;
        let mut text = String::new();
        for name in &names {
            let path = fetched.snapshot.join(name);
            let limits = parquet::Limits { bytes: LIMITS.bytes - text.len() as u64, ..LIMITS };
            let file = data::read_parquet_file(&path, LIMITS.bytes)?;
            text += &parquet::json_lines(file, limits)
                .with_context(|| format!("{name} of {} was refused", listed.id()))?;
        }
        Ok(Fetched { text, commit: fetched.commit, files: json!(fetched.files) })
    }

    /// The files of a revision of a repository.
    fn listed(&mut self, repo: &'static str, revision: &'static str) -> anyhow::Result<Rc<DatasetFiles>> {
        let hub = &self.hub;
        let listed = self.listed.entry((repo, revision)).or_insert_with(|| {
            let id = RepoId::new(RepoKind::Dataset, repo, revision);
            let listed = id.and_then(|id| hub.dataset_files(id));
            listed.map(Rc::new).map_err(|error| format!("{error:#}"))
        });
        listed.clone().map_err(anyhow::Error::msg)
    }
}
