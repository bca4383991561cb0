//! Files of data sets, chosen from a revision's list.

use super::{Fetched, Hub, RepoId, Sibling, is_plain};
use crate::hub::blob::Blobs;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Deepest folder of a data set whose files are found in the cache.
const MAX_DEPTH: usize = 4;

/// A revision of a data set, and the files that it has.
#[derive(Debug)]
pub(crate) struct DatasetFiles {
    id: RepoId,
    commit: String,
    files: Files,
}

#[derive(Debug)]
enum Files {
    /// As the hub lists them.
    Listed(BTreeMap<String, Sibling>),
    /// As the cache has them; the hub may have more.
    Cached(Vec<String>),
}

impl DatasetFiles {
    /// The repository and revision.
    pub(crate) fn id(&self) -> &RepoId {
        &self.id
    }

    /// Names of all files, sorted.
    pub(crate) fn names(&self) -> Vec<&str> {
        match &self.files {
            Files::Listed(files) => files.keys().map(|name| &**name).collect(),
            Files::Cached(names) => names.iter().map(|name| &**name).collect(),
        }
    }
}

impl Hub {
    /// The files of a data set: the hub's list, or what is in the cache where `HF_HUB_OFFLINE` forbids to ask.
    ///
    /// # Errors
    /// The hub does not answer, or not with a list; offline, nothing of that revision is in the cache.
    pub(crate) fn dataset_files(&self, id: RepoId) -> anyhow::Result<DatasetFiles> {
        if !self.offline {
            let (commit, listed) = self.list(&id)?;
            return Ok(DatasetFiles { id, commit, files: Files::Listed(listed) });
        }
        let commit = self.cached_commit(&id).filter(|commit| self.snapshot(&id, commit).is_dir());
        let commit = commit.with_context(|| {
            format!(
                "{id} is not in {}, and HF_HUB_OFFLINE forbids to fetch it; unset HF_HUB_OFFLINE",
                self.cache.path().display()
            )
        })?;
        let mut names = Vec::new();
        let snapshot = self.snapshot(&id, &commit);
        list_files(&snapshot, "", MAX_DEPTH, &mut names)
            .with_context(|| format!("{} can't be listed", snapshot.display()))?;
        names.sort();
        Ok(DatasetFiles { id, commit, files: Files::Cached(names) })
    }

    /// Brings the files `names` of a data set into the cache. None is larger than `limit` bytes.
    ///
    /// # Errors
    /// A name that can't be a path, a file that is not in the list or larger, and what can go wrong with downloads.
    pub(crate) fn fetch_dataset_files(
        &self,
        listed: &DatasetFiles,
        names: &[String],
        limit: u64,
    ) -> anyhow::Result<Fetched> {
        let DatasetFiles { id, commit, files } = listed;
        let wanted = names.iter().map(|name| {
            anyhow::ensure!(
                name.split('/').all(is_plain),
                "{id} lists the file {name:?}; expected names of letters, digits, \"-\", \"_\" and \".\""
            );
            let listed = match files {
                Files::Cached(_) => return Ok(None),
                Files::Listed(files) => files.get(name).with_context(|| format!("{id} has no {name}"))?,
            };
            listed.clone().into_remote()?.within(limit).map(Some)
        });
        let wanted: Vec<_> = wanted.collect::<anyhow::Result<_>>()?;
        if matches!(files, Files::Cached(_)) {
            let snapshot = self.snapshot(id, commit);
            return Ok(Fetched { snapshot, commit: commit.clone(), files: Vec::new() });
        }
        let blobs = Blobs::new(&self.client, &self.cache, id, id.at(commit));
        self.bring(id, commit.clone(), &blobs, wanted.into_iter().flatten().collect(), Vec::new())
    }
}

/// Adds the names of all files below `folder`, whose own name from the snapshot on is `prefix`.
fn list_files(folder: &Path, prefix: &str, depth: usize, names: &mut Vec<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let name = format!("{prefix}{name}");
        if path.is_file() {
            names.push(name);
        } else if path.is_dir() && depth > 1 {
            list_files(&path, &format!("{name}/"), depth - 1, names)?;
        }
    }
    Ok(())
}
