//! `codingspot fetch`.

use crate::args::{FetchArgs, UsageError};
use crate::hub::{Hub, RepoId, RepoKind};
use crate::output::{self, bytes};
use serde_json::json;

pub(crate) fn run(args: &FetchArgs) -> anyhow::Result<()> {
    let id = match &args.revision {
        Some(revision) => RepoId::new(RepoKind::Model, &args.repo, revision),
        None => RepoId::parse_model(&args.repo),
    };
    let id = id.map_err(|error| UsageError(error.to_string()))?;
    let fetched = Hub::from_environment(args.cache_dir.as_deref())?.fetch(&id)?;
    let sum = |downloaded: bool| -> u64 {
        fetched.files.iter().filter(|file| file.downloaded || !downloaded).map(|file| file.bytes).sum()
    };
    if args.json {
        return output::json(&json!({
            "schema_version": 1,
            "model": id.to_string(),
            "commit": fetched.commit,
            "path": fetched.snapshot,
            "files": fetched.files,
            "bytes": sum(false),
            "downloaded_bytes": sum(true),
        }));
    }
    if !fetched.files.is_empty() {
        output::note(&format!(
            "{id} at commit {}: {} files, {}, of which {} were not in the cache",
            fetched.commit,
            fetched.files.len(),
            bytes(sum(false)),
            bytes(sum(true))
        ));
    }
    output::result(&format!("{}\n", fetched.snapshot.display()))
}
