//! Adds the shards of one scoring up.

use super::files::ValueReader;
use super::finish::{FinishPaths, Finisher, PARTIAL};
use crate::atomic::NewDirectory;
use crate::progress::Progress;
use crate::run::{LanguageRecord, MANIFEST, Manifest, Run, ScoreSettings};
use anyhow::Context as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Parameters that are in memory at once.
const PIECE: u64 = 8 << 20;

/// Adds `paths`, all shards of one scoring in any order, into the run `out`.
///
/// Contributions are added in the order of shards, languages in the order in which they were
/// scored. A language that one shard scored whole has exactly the scores of an unsharded run, so up
/// to as many shards as languages merge to the same bits; where a language was cut, its sums are
/// added in another order than in one run, which moves them by a few units in the last place.
pub(crate) fn merge(paths: &[PathBuf], out: &Path) -> anyhow::Result<Manifest> {
    let mut shards = Vec::with_capacity(paths.len());
    for path in paths {
        let run = Run::open_any(path)?;
        let shard = run.manifest.settings.shard.with_context(|| {
            format!("{} is not a shard; shards are made with `codingspot score --shard i/n`", path.display())
        })?;
        shards.push((shard, path, run));
    }
    shards.sort_by_key(|(shard, ..)| shard.index);
    let (first_shard, first_path, first) = shards.first().context("there is no shard to merge")?;
    let unsharded = |settings: &ScoreSettings| ScoreSettings { shard: None, ..settings.clone() };
    for (shard, path, run) in &shards {
        anyhow::ensure!(
            run.manifest.model.fingerprint == first.manifest.model.fingerprint,
            "{} scored other weights ({}) than {} ({})",
            path.display(),
            run.manifest.model.fingerprint.short(),
            first_path.display(),
            first.manifest.model.fingerprint.short()
        );
        anyhow::ensure!(
            shard.count == first_shard.count
                && serde_json::to_value(unsharded(&run.manifest.settings))?
                    == serde_json::to_value(unsharded(&first.manifest.settings))?,
            "{} was scored with other settings than {}",
            path.display(),
            first_path.display()
        );
    }
    let missing: Vec<String> = (1..=first_shard.count)
        .filter(|index| !shards.iter().any(|(shard, ..)| shard.index == *index))
        .map(|index| index.to_string())
        .collect();
    anyhow::ensure!(
        missing.is_empty(),
        "shard {} of {} is missing; score it with --shard and name it too",
        missing.join(", "),
        first_shard.count
    );
    anyhow::ensure!(
        shards.len() == first_shard.count,
        "{} runs are named, and there are {} shards: one is named twice",
        shards.len(),
        first_shard.count
    );

    let (layout, model) = (&first.layout, &first.manifest.model);
    let settings = unsharded(&first.manifest.settings);
    let directory = NewDirectory::begin(out, None)?;
    let root = directory.path();
    let mut languages: Vec<(LanguageRecord, Vec<PathBuf>)> = Vec::new();
    for (_, path, run) in &shards {
        for record in &run.manifest.languages {
            let file = path.join("languages").join(&record.name).join(PARTIAL);
            match languages.iter_mut().find(|(known, _)| known.name == record.name) {
                Some((known, files)) => {
                    known.add(record);
                    files.push(file);
                }
                None => languages.push((record.clone(), vec![file])),
            }
        }
    }
    anyhow::ensure!(!languages.is_empty(), "the shards scored no language");
    let steps = languages.len() as u64 * layout.num_parameters();
    let mut progress = Progress::new("Merging", steps);
    let mut done = 0;
    let mut old: Option<PathBuf> = None;
    for (number, (record, files)) in languages.iter().enumerate() {
        let new = root.join(format!("total-{number}.safetensors"));
        let folder = root.join("languages").join(&record.name);
        let paths = FinishPaths {
            old_total: old.as_deref(),
            new_total: &new,
            folder: Some(&folder),
            keep_scores: settings.keep_language_scores,
        };
        let mut finisher = Finisher::scores(layout, settings.estimator, record.batches as u64, &paths)?;
        let parts = files
            .iter()
            .map(|file| ValueReader::open(file, layout.tensors()))
            .collect::<anyhow::Result<Vec<_>>>()?;
        for (tensor, spec) in layout.tensors().iter().enumerate() {
            let mut first = 0;
            while first < spec.numel() {
                let end = spec.numel().min(first + PIECE);
                let mut sum = parts[0].read(tensor, first..end)?;
                for part in &parts[1..] {
                    let values = part.read(tensor, first..end)?;
                    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                }
                finisher.contribution(tensor, first, sum)?;
                done += end - first;
                progress.set(done);
                first = end;
            }
        }
        finisher.finish(model.fingerprint, &record.name)?;
        if let Some(old) = old.replace(new) {
            fs::remove_file(&old).with_context(|| format!("{} can't be removed", old.display()))?;
        }
    }
    progress.finish();
    let total = root.join("total").join("model.safetensors");
    let rename = || -> std::io::Result<()> {
        fs::create_dir_all(root.join("total"))?;
        fs::rename(old.as_deref().unwrap_or(&total), &total)
    };
    rename().with_context(|| format!("{} can't be written", total.display()))?;
    let records = languages.into_iter().map(|(record, _)| record).collect();
    let manifest = Manifest::new(model.clone(), settings, records);
    fs::write(root.join(MANIFEST), serde_json::to_vec_pretty(&manifest)?)
        .with_context(|| format!("{} can't be written", out.display()))?;
    directory.finish()?;
    Ok(manifest)
}
