//! The scoring of several languages, as `score` and `demo` both run it.

use crate::progress::Progress;
use crate::run::{LanguageRecord, Manifest, RunWriter};
use anyhow::Context as _;
use codingspot_core::checkpoint::LoadedModel;
use codingspot_core::corpus::{Document, pack};
use codingspot_core::score::{LanguageScorer, TotalScores};
use codingspot_core::tokenizer::Tokenizer;
use std::time::Instant;

/// One language, packed and cut into batches.
#[derive(Debug)]
pub(crate) struct PackedLanguage {
    name: String,
    documents: usize,
    rows: Vec<Vec<u32>>,
    batch_size: usize,
    dropped: usize,
}

impl PackedLanguage {
    /// Packs `documents`. Batches have one shape: what is left after the last whole batch is
    /// dropped, unless there would be no batch at all; then one smaller batch takes everything.
    pub(crate) fn new(
        name: &str,
        documents: &[Document],
        tokenizer: Option<&Tokenizer>,
        manifest: &Manifest,
    ) -> anyhow::Result<Self> {
        let settings = &manifest.settings;
        let mut rows = pack(documents, tokenizer, settings.seq_len)
            .with_context(|| format!("the corpus of {name} was refused"))?;
        let batch_size = settings.batch_size.min(rows.len());
        let whole = rows.len() / batch_size;
        let batches = settings.max_batches.map_or(whole, |most| most.min(whole));
        let dropped = rows.len() - batches * batch_size;
        rows.truncate(batches * batch_size);
        Ok(Self { name: name.to_owned(), documents: documents.len(), rows, batch_size, dropped })
    }

    fn batches(&self) -> usize {
        self.rows.len() / self.batch_size
    }
}

/// Scores `languages` in order and writes each as it is done; returns the sum.
pub(crate) fn score_languages(
    loaded: &LoadedModel,
    languages: &[PackedLanguage],
    manifest: &mut Manifest,
    writer: &RunWriter,
) -> anyhow::Result<TotalScores> {
    let batches: usize = languages.iter().map(PackedLanguage::batches).sum();
    let mut progress = Progress::new("Scoring", batches as u64);
    let mut done = 0;
    let mut total = TotalScores::default();
    for language in languages {
        progress.rename(&format!("Scoring {}", language.name));
        let started = Instant::now();
        let seq_len = language.rows[0].len();
        let mut scorer = LanguageScorer::new(&loaded.model, manifest.settings.estimator, seq_len, 0);
        for batch in language.rows.chunks_exact(language.batch_size) {
            let rows: Vec<&[u32]> = batch.iter().map(Vec::as_slice).collect();
            pollster::block_on(scorer.add_batch(&rows))
                .with_context(|| format!("scoring {} failed", language.name))?;
            done += 1;
            progress.set(done);
        }
        let scores = pollster::block_on(scorer.finish())
            .with_context(|| format!("scoring {} failed", language.name))?;
        let losses = scores.losses_nats.clone();
        let record = LanguageRecord {
            name: language.name.clone(),
            documents: language.documents,
            batches: losses.len(),
            sequences: language.rows.len(),
            dropped_sequences: language.dropped,
            tokens: (language.rows.len() * seq_len) as u64,
            loss_nats_per_token: losses.iter().sum::<f64>() / losses.len() as f64,
            batch_losses_nats: losses,
            seconds: started.elapsed().as_secs_f64(),
        };
        writer.language(manifest, &record, &scores)?;
        manifest.languages.push(record);
        total.add(&scores);
    }
    progress.finish();
    Ok(total)
}
