//! The small files of a model, copied and hashed.

use crate::model::{MAX_JSON_BYTES, MAX_TOKENIZER_BYTES};
use anyhow::Context as _;
use codingspot_pack::manifest::FileEntry;
use std::fs;
use std::path::Path;

/// What a page needs beside the weights, with the longest that is taken.
const FILES: [(&str, u64); 3] = [
    ("config.json", MAX_JSON_BYTES),
    ("tokenizer.json", MAX_TOKENIZER_BYTES),
    ("tokenizer_config.json", MAX_JSON_BYTES),
];

/// Copies those that are there.
pub(super) fn copy(from: &Path, to: &Path) -> anyhow::Result<Vec<FileEntry>> {
    let mut entries = Vec::new();
    for (name, limit) in FILES {
        let path = from.join(name);
        if !path.is_file() {
            continue;
        }
        let unreadable = || format!("{} can't be read", path.display());
        let size = fs::metadata(&path).with_context(unreadable)?.len();
        anyhow::ensure!(
            (1..=limit).contains(&size),
            "{} has {size} bytes, expected 1 to {limit}",
            path.display()
        );
        let bytes = fs::read(&path).with_context(unreadable)?;
        let target = to.join(name);
        fs::write(&target, &bytes).with_context(|| format!("{} can't be written", target.display()))?;
        entries.push(FileEntry {
            name: name.to_owned(),
            bytes: bytes.len() as u64,
            blake3: blake3::hash(&bytes).to_string(),
        });
    }
    Ok(entries)
}
