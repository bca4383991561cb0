//! Spots of a pack: rankings cut into levels.

use crate::spot;
use anyhow::Context as _;
use codingspot_core::checkpoint::Fingerprint;
use codingspot_core::layout::ParameterLayout;
use codingspot_core::spot::Spot;
use codingspot_pack::levels::{LevelTensor, LevelsHeader, tick_counts, write_levels};
use codingspot_pack::manifest::SpotEntry;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A spot with the name that a page shows.
#[derive(Debug)]
pub(crate) struct NamedSpot {
    name: String,
    path: PathBuf,
    spot: Spot,
}

impl NamedSpot {
    /// Reads spot files; each is called by its file's name without `spot-` and what is behind the dot.
    pub(crate) fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<Self>> {
        let mut names = BTreeSet::new();
        let mut spots = Vec::new();
        for path in paths {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let name = stem.strip_prefix("spot-").unwrap_or(&stem);
            let name = file_name(name);
            anyhow::ensure!(
                names.insert(name.clone()),
                "two spots would be called {name}; give their files different names"
            );
            spots.push(Self { name, path: path.clone(), spot: spot::read(path)? });
        }
        Ok(spots)
    }

    /// Checks that it is of these weights.
    pub(super) fn check(&self, layout: &ParameterLayout, fingerprint: &Fingerprint) -> anyhow::Result<()> {
        self.spot.check(layout, fingerprint).with_context(|| format!("{} was refused", self.path.display()))
    }

    /// Writes its levels into `folder`.
    pub(super) fn write(self, folder: &Path) -> anyhow::Result<SpotEntry> {
        let header = self.spot.header();
        let len = self.spot.len() as u64;
        let levels = LevelsHeader {
            fingerprint: header.fingerprint.to_string(),
            tensors: header
                .tensors
                .iter()
                .map(|tensor| LevelTensor { name: tensor.name.clone(), shape: tensor.shape.clone() })
                .collect(),
            scope: header.scope.name().to_owned(),
            parameters_in_scope: header.parameters_in_scope,
            max_k: header.max_k,
            estimator: header.estimator.name().to_owned(),
            languages: header.languages.clone(),
            group: header.group.name().to_owned(),
            control: header.control.clone(),
            derived: header.derived.clone(),
            levels: tick_counts(header.parameters_in_scope, len),
        };
        let bytes = write_levels(&levels, self.spot.tensor(), self.spot.offset())
            .with_context(|| format!("{} can't be cut into levels", self.path.display()))?;
        let file = format!("spot-{}.levels", self.name);
        let path = folder.join(&file);
        fs::write(&path, &bytes).with_context(|| format!("{} can't be written", path.display()))?;
        Ok(SpotEntry {
            name: self.name,
            file,
            bytes: bytes.len() as u64,
            blake3: blake3::hash(&bytes).to_string(),
            max_k: levels.max_k,
            parameters_in_scope: levels.parameters_in_scope,
            len,
            scope: levels.scope,
            languages: levels.languages,
            control: levels.control,
            derived: levels.derived,
        })
    }
}

/// `name` with what can't be in the name of a pack's file written as `-`.
fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    name.chars().take(100).map(plain).collect()
}
