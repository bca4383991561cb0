//! What answers in a directory were made with: an evaluation goes on only with the same.

use super::Context;
use super::answering::Settings;
use super::plan::TaskData;
use crate::measure::Arm;
use crate::{atomic, model};
use anyhow::Context as _;
use codingspot_core::checkpoint::LoadedModel;
use serde_json::{Map, Value, json};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::Path;

const SETTINGS: &str = "settings.json";
const LOCK: &str = "lock";
const MAX_BYTES: u64 = 1 << 20;

/// Claims the directory for this process until the result is dropped, and checks or writes what it is made with. Tasks,
/// k and controls may be added later; questions are told apart by themselves.
pub(super) fn claim(
    context: &Context<'_>,
    tasks: &[TaskData],
    settings: Settings,
    loaded: &LoadedModel,
    arms: &[Arm],
) -> anyhow::Result<File> {
    let folder = context.folder;
    fs::create_dir_all(folder).with_context(|| format!("{} can't be created", folder.display()))?;
    let path = folder.join(LOCK);
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let lock = lock.with_context(|| format!("{} can't be created", path.display()))?;
    match lock.try_lock() {
        Err(TryLockError::WouldBlock) => {
            anyhow::bail!(
                "another evaluation writes to {}; wait for it, or choose another --out",
                folder.display()
            )
        }
        // A file system without locks: nothing can be known.
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    let chat = tasks.iter().find_map(|data| data.asking.chat.as_ref());
    let ours = json!({
        "format": 1,
        "fingerprint": loaded.fingerprint,
        "spot": arms.first().map(|arm| spot_hash(arm)),
        "replace": context.replacement.to_string(),
        "temperature": settings.sampling.temperature,
        "top_p": settings.sampling.top_p,
        "seed": settings.seed,
        "chat": chat.map(|chat| chat.unix_seconds),
    });
    let path = folder.join(SETTINGS);
    if !path.is_file() {
        let mut bytes = serde_json::to_vec_pretty(&ours)?;
        bytes.push(b'\n');
        atomic::write_file(&path, &bytes)?;
        return Ok(lock);
    }
    let text = model::read_text(&path, MAX_BYTES)?;
    let theirs: Map<String, Value> =
        serde_json::from_str(&text).with_context(|| format!("{} was refused", path.display()))?;
    for (name, value) in ours.as_object().into_iter().flatten() {
        let found = theirs.get(name).unwrap_or(&Value::Null);
        // The spot may come later, and answers of the original stay what they are.
        let later = name == "spot" && (found.is_null() || value.is_null());
        anyhow::ensure!(
            found == value || later,
            "the answers in {} were made with {name} {found}, now it is {value}; choose another --out, or remove them",
            folder.display()
        );
    }
    if theirs.get("spot").is_none_or(Value::is_null) && !ours["spot"].is_null() {
        atomic::write_file(&path, &serde_json::to_vec_pretty(&ours)?)?;
    }
    Ok(lock)
}

/// The time that an earlier run in `folder` gave to the chat template: its date is part of the questions.
pub(super) fn chat_time(folder: &Path) -> anyhow::Result<Option<i64>> {
    let path = folder.join(SETTINGS);
    if !path.is_file() {
        return Ok(None);
    }
    let settings: Value = serde_json::from_str(&model::read_text(&path, MAX_BYTES)?)
        .with_context(|| format!("{} was refused", path.display()))?;
    Ok(settings.get("chat").and_then(Value::as_i64))
}

/// Hash of a ranking: which parameters, in which order.
fn spot_hash(arm: &Arm) -> String {
    let mut hasher = blake3::Hasher::new();
    for (tensor, offset) in arm.spot.tensor().iter().zip(arm.spot.offset()) {
        hasher.update(&tensor.to_le_bytes());
        hasher.update(&offset.to_le_bytes());
    }
    hasher.finalize().to_hex()[..32].to_owned()
}
