//! What an unfinished run has on disk, so that it goes on where it was ended.
//!
//! `progress.json` names the files of the last checkpoint. New files get new names (a generation
//! number) and are on the disk before `progress.json` is replaced, so that at every moment it names
//! whole files. What it does not name is removed when a run goes on.

use crate::atomic;
use crate::model::read_text;
use crate::run::{LanguageRecord, MANIFEST};
use anyhow::Context as _;
use codingspot_core::score::Estimator;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// The file of an unfinished run.
pub(crate) const PROGRESS: &str = "progress.json";
/// Version of the format of `progress.json`.
const FORMAT: u32 = 1;
/// Longest `progress.json` that is read, bytes.
const MAX_BYTES: u64 = 256 << 20;
/// Folder of sums over gradients and of totals.
const WORK: &str = "checkpoint";

/// What has to be the same for a run to go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) fingerprint: String,
    pub(super) settings: serde_json::Value,
    /// Name and digest of the tokens of every language.
    pub(super) languages: Vec<(String, String)>,
}

/// A language that is not done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Current {
    pub(super) batch_losses_nats: Vec<f64>,
    pub(super) seconds: f64,
    pub(super) generation: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    format: u32,
    identity: Identity,
    done: Vec<LanguageRecord>,
    total_generation: Option<u64>,
    current: Option<Current>,
    next_generation: u64,
}

/// An unfinished run.
#[derive(Debug)]
pub(super) struct State {
    path: PathBuf,
    progress: Progress,
}

impl State {
    /// Begins a run in `path`, or goes on with one of the same identity.
    pub(super) fn open(path: &Path, identity: Identity) -> anyhow::Result<Self> {
        let file = path.join(PROGRESS);
        let tidy = || sweep(path).with_context(|| format!("{} can't be tidied up", path.display()));
        if !file.is_file() {
            check_free(path)?;
            tidy()?;
            fs::create_dir_all(path).with_context(|| format!("{} can't be created", path.display()))?;
            let progress = Progress {
                format: FORMAT,
                identity,
                done: Vec::new(),
                total_generation: None,
                current: None,
                next_generation: 1,
            };
            let state = Self { path: path.to_owned(), progress };
            state.write()?;
            return Ok(state);
        }
        let progress: Progress = serde_json::from_str(&read_text(&file, MAX_BYTES)?).with_context(|| {
            format!("{} was refused; remove {} to begin anew", file.display(), path.display())
        })?;
        anyhow::ensure!(
            progress.format == FORMAT,
            "{} has format {}, this build reads {FORMAT}; remove {} to begin anew",
            file.display(),
            progress.format,
            path.display()
        );
        if let Some(difference) = difference(&progress.identity, &identity) {
            anyhow::bail!(
                "{} holds an unfinished run with another {difference}; go on with the same settings, choose another \
                 --out, or remove it",
                path.display()
            );
        }
        tidy()?;
        let state = Self { path: path.to_owned(), progress };
        state.clean()?;
        Ok(state)
    }

    /// Whether nothing was scored yet.
    pub(super) fn is_new(&self) -> bool {
        self.progress.done.is_empty() && self.progress.current.is_none()
    }

    pub(super) fn done(&self) -> &[LanguageRecord] {
        &self.progress.done
    }

    pub(super) fn current(&self) -> Option<&Current> {
        self.progress.current.as_ref()
    }

    /// A generation that no file has yet.
    pub(super) fn new_generation(&mut self) -> u64 {
        self.progress.next_generation += 1;
        self.progress.next_generation - 1
    }

    /// Where the files of a generation lie.
    pub(super) fn folder(&self, generation: u64) -> PathBuf {
        self.path.join(WORK).join(generation.to_string())
    }

    /// Files of the totals so far.
    pub(super) fn total_folder(&self) -> Option<PathBuf> {
        self.progress.total_generation.map(|generation| self.folder(generation))
    }

    /// Records that the sums of the current language are in `current.generation`.
    pub(super) fn checkpoint(&mut self, current: Current) -> anyhow::Result<()> {
        self.progress.current = Some(current);
        self.commit()
    }

    /// Records that a language is done and the totals are in `total_generation`.
    pub(super) fn language_done(
        &mut self,
        record: LanguageRecord,
        total_generation: Option<u64>,
    ) -> anyhow::Result<()> {
        self.progress.done.push(record);
        self.progress.total_generation = total_generation;
        self.progress.current = None;
        self.commit()
    }

    /// Removes what only an unfinished run has.
    pub(super) fn remove(self) -> anyhow::Result<()> {
        let work = self.path.join(WORK);
        if work.exists() {
            fs::remove_dir_all(&work).with_context(|| format!("{} can't be removed", work.display()))?;
        }
        let file = self.path.join(PROGRESS);
        fs::remove_file(&file).with_context(|| format!("{} can't be removed", file.display()))
    }

    fn commit(&self) -> anyhow::Result<()> {
        self.write()?;
        self.clean()
    }

    fn write(&self) -> anyhow::Result<()> {
        atomic::write_file(&self.path.join(PROGRESS), &serde_json::to_vec_pretty(&self.progress)?)
    }

    /// Removes files of generations that `progress.json` does not name, and of languages that are
    /// not done.
    pub(super) fn clean(&self) -> anyhow::Result<()> {
        let wanted: Vec<String> = [
            self.progress.total_generation,
            self.progress.current.as_ref().map(|current| current.generation),
        ]
        .into_iter()
        .flatten()
        .map(|generation| generation.to_string())
        .collect();
        let work = self.path.join(WORK);
        if !work.is_dir() {
            return Ok(());
        }
        let clean = || -> std::io::Result<()> {
            for entry in fs::read_dir(&work)? {
                let entry = entry?;
                if !wanted.iter().any(|name| entry.file_name() == name.as_str()) {
                    fs::remove_dir_all(entry.path())?;
                }
            }
            Ok(())
        };
        clean().with_context(|| format!("{} can't be tidied up", work.display()))
    }
}

/// Whether an entry of a run is a file that was being written when the run was killed.
fn is_temporary(entry: &fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with(atomic::TEMPORARY) && entry.path().is_file()
}

/// Removes the temporary files of a run that was killed.
fn sweep(path: &Path) -> std::io::Result<()> {
    let folders = Estimator::ALL.iter().map(|estimator| path.join(estimator.name()));
    for folder in std::iter::once(path.to_owned()).chain(folders).filter(|folder| folder.is_dir()) {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if is_temporary(&entry) {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

fn check_free(path: &Path) -> anyhow::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    anyhow::ensure!(
        !path.join(MANIFEST).is_file(),
        "{} holds a finished run; choose another name or remove it",
        path.display()
    );
    // A run that was killed at its first write has a temporary file and nothing else.
    let free = |entry: std::io::Result<fs::DirEntry>| entry.is_ok_and(|entry| is_temporary(&entry));
    let empty = path.is_dir() && fs::read_dir(path).is_ok_and(|mut entries| entries.all(free));
    anyhow::ensure!(
        empty,
        "{} exists already and is not empty; choose another name or remove it",
        path.display()
    );
    Ok(())
}

/// Says in words what differs.
fn difference(found: &Identity, asked: &Identity) -> Option<String> {
    if found.fingerprint != asked.fingerprint {
        return Some(format!(
            "model (weights of fingerprint {} there, {} asked for)",
            &found.fingerprint.chars().take(8).collect::<String>(),
            &asked.fingerprint.chars().take(8).collect::<String>()
        ));
    }
    let (there, here) = (found.settings.as_object()?, asked.settings.as_object()?);
    for (name, value) in here {
        if there.get(name) != Some(value) {
            let found = there.get(name).cloned().unwrap_or_default();
            return Some(format!("{} ({found} there, {value} asked for)", name.replace('_', "-")));
        }
    }
    if found.languages != asked.languages {
        let names = |languages: &[(String, String)]| {
            languages.iter().map(|(name, digest)| format!("{name}:{digest}")).collect::<Vec<_>>().join(", ")
        };
        return Some(format!(
            "corpus ({} there, {} asked for)",
            names(&found.languages),
            names(&asked.languages)
        ));
    }
    (found != asked).then(|| "set of settings".to_owned())
}
