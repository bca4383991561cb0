//! The catalogue of a page, `models/index.json`: which models it offers.

use crate::atomic;
use crate::model::{MAX_JSON_BYTES, read_text};
use anyhow::Context as _;
use codingspot_pack::manifest::Manifest;
use serde_json::{Value, json};
use std::path::{Component, Path};

/// What became of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listed {
    /// The model is one more.
    Added,
    /// It took the place of one of its name.
    Replaced,
}

/// Puts the pack in `folder` into the catalogue at `path`, which is made where it is not there; what else
/// it lists is kept, and the title of an entry that is replaced.
pub(crate) fn list(path: &Path, folder: &Path, manifest: &Manifest) -> anyhow::Result<Listed> {
    let refused = || format!("{} was refused", path.display());
    let mut catalogue: Value = if path.is_file() {
        serde_json::from_str(&read_text(path, MAX_JSON_BYTES)?).with_context(refused)?
    } else {
        json!({ "models": [] })
    };
    let models = catalogue.get_mut("models").and_then(Value::as_array_mut);
    let models = models.context("expected an object with a list \"models\"").with_context(refused)?;
    let name = manifest.name.as_str();
    let known = models.iter().position(|model| model.get("name").and_then(Value::as_str) == Some(name));
    let title = known.and_then(|known| models[known].get("title").cloned()).unwrap_or_else(|| json!(name));
    let spots: Vec<Value> =
        manifest.spots.iter().map(|spot| json!({ "name": spot.name, "file": spot.file })).collect();
    let entry = json!({
        "name": name,
        "title": title,
        "directory": directory(path, folder)?,
        "pack": true,
        "bytes": manifest.total_bytes,
        "parameters": manifest.num_parameters(),
        "encoding": manifest.encoding,
        "fingerprint": manifest.fingerprint,
        "spots": spots,
    });
    let listed = if let Some(known) = known {
        models[known] = entry;
        Listed::Replaced
    } else {
        models.push(entry);
        Listed::Added
    };
    let mut bytes = serde_json::to_vec_pretty(&catalogue)?;
    bytes.push(b'\n');
    atomic::write_file(path, &bytes)?;
    Ok(listed)
}

/// The address of `folder` from the catalogue, with a final slash.
fn directory(catalogue: &Path, folder: &Path) -> anyhow::Result<String> {
    let parent = catalogue.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).with_context(|| format!("{} can't be created", parent.display()))?;
    let absolute =
        |path: &Path| path.canonicalize().with_context(|| format!("{} can't be found", path.display()));
    let (parent, folder) = (absolute(parent)?, absolute(folder)?);
    let common = parent.components().zip(folder.components()).take_while(|(a, b)| a == b).count();
    let mut address = "../".repeat(parent.components().count() - common);
    for component in folder.components().skip(common) {
        let Component::Normal(name) = component else {
            anyhow::bail!("{} has no address from {}", folder.display(), parent.display());
        };
        let name = name.to_str().with_context(|| format!("{} is no plain text", folder.display()))?;
        address += &format!("{name}/");
    }
    anyhow::ensure!(
        !address.is_empty(),
        "{} holds the catalogue itself; pack into another directory",
        folder.display()
    );
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_from_the_catalogue_to_the_pack() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        std::fs::create_dir_all(path("models/a/b")).unwrap();
        std::fs::create_dir_all(path("packs/c")).unwrap();
        let catalogue = path("models/index.json");
        assert_eq!(directory(&catalogue, &path("models/a")).unwrap(), "a/");
        assert_eq!(directory(&catalogue, &path("models/a/b")).unwrap(), "a/b/");
        assert_eq!(directory(&catalogue, &path("packs/c")).unwrap(), "../packs/c/");
        assert!(directory(&catalogue, &path("models")).is_err());
    }
}
