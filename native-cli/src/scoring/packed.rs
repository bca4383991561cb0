//! Languages as batches of tokens.

use super::Shard;
use crate::run::ScoreSettings;
use anyhow::Context as _;
use codingspot_core::config::LlamaConfig;
use codingspot_core::corpus::{Document, pack};
use codingspot_core::llama::ForwardError;
use codingspot_core::tokenizer::Tokenizer;

/// One language, packed and cut into batches.
#[derive(Debug)]
pub(crate) struct PackedLanguage {
    pub(super) name: String,
    pub(super) documents: usize,
    pub(super) rows: Vec<Vec<u32>>,
    pub(super) batch_size: usize,
    pub(super) dropped: usize,
}

impl PackedLanguage {
    /// Packs `documents`. Batches have one shape: what is left after the last whole batch is
    /// dropped, unless there would be no batch at all; then one smaller batch takes everything.
    pub(crate) fn new(
        name: &str,
        documents: &[Document],
        tokenizer: Option<&Tokenizer>,
        settings: &ScoreSettings,
    ) -> anyhow::Result<Self> {
        let mut rows = pack(documents, tokenizer, settings.seq_len)
            .with_context(|| format!("the corpus of {name} was refused"))?;
        anyhow::ensure!(
            !rows.is_empty(),
            "the corpus of {name} has fewer tokens than one sequence of {}; give more text, or a shorter --seq-len",
            settings.seq_len
        );
        let batch_size = settings.batch_size.min(rows.len());
        let whole = rows.len() / batch_size;
        let batches = settings.max_batches.map_or(whole, |most| most.min(whole));
        let dropped = rows.len() - batches * batch_size;
        rows.truncate(batches * batch_size);
        Ok(Self { name: name.to_owned(), documents: documents.len(), rows, batch_size, dropped })
    }

    pub(crate) fn batches(&self) -> usize {
        self.rows.len() / self.batch_size
    }

    pub(crate) fn batch_size(&self) -> usize {
        self.batch_size
    }

    pub(crate) fn tokens(&self) -> u64 {
        (self.rows.len() * self.seq_len()) as u64
    }

    pub(crate) fn seq_len(&self) -> usize {
        self.rows[0].len()
    }

    /// Checks that a model of `config` can be run on every row.
    pub(super) fn check(&self, config: &LlamaConfig) -> Result<(), ForwardError> {
        let (found, limit) = (self.seq_len(), config.max_position_embeddings);
        if found > limit {
            return Err(ForwardError::TooLong { found, limit });
        }
        if found < 2 {
            return Err(ForwardError::Empty);
        }
        let vocab_size = config.vocab_size;
        for row in &self.rows {
            if let Some(position) = row.iter().position(|&token| token as usize >= vocab_size) {
                return Err(ForwardError::TokenOutOfRange { token: row[position], position, vocab_size });
            }
        }
        Ok(())
    }

    /// Batch `index`.
    pub(super) fn batch(&self, index: usize) -> Vec<&[u32]> {
        self.rows[index * self.batch_size..(index + 1) * self.batch_size].iter().map(Vec::as_slice).collect()
    }

    /// A hash of the tokens, so that a resumed run is known to go on with the same ones.
    pub(super) fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.seq_len() as u64).to_le_bytes());
        for row in &self.rows {
            for id in row {
                hasher.update(&id.to_le_bytes());
            }
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }
}

/// The part of `languages` that a shard scores: whole languages where there are enough of them for
/// every shard, else runs of batches. All shards cut alike, so nothing is scored twice or left.
pub(crate) fn take_shard(languages: Vec<PackedLanguage>, shard: Shard) -> Vec<PackedLanguage> {
    let Shard { index, count } = shard;
    // Languages are as alike in length as their corpora; with fewer of them than shards every
    // language is cut into the same number of parts.
    let parts = count.div_ceil(languages.len().max(1));
    let pieces: Vec<(usize, usize)> =
        (0..languages.len()).flat_map(|language| (0..parts).map(move |part| (language, part))).collect();
    let mine = pieces.len() * (index - 1) / count..pieces.len() * index / count;
    let mut out: Vec<PackedLanguage> = Vec::new();
    for (number, mut language) in languages.into_iter().enumerate() {
        let my_parts: Vec<usize> =
            pieces[mine.clone()].iter().filter(|(l, _)| *l == number).map(|(_, part)| *part).collect();
        let (Some(first), Some(last)) = (my_parts.first(), my_parts.last()) else { continue };
        let batches = language.batches();
        let range =
            batches * first / parts * language.batch_size..batches * (last + 1) / parts * language.batch_size;
        if range.is_empty() {
            continue;
        }
        language.rows = language.rows[range].to_vec();
        out.push(language);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn languages() -> Vec<PackedLanguage> {
        let language = |name: &str, batches: u32| PackedLanguage {
            name: name.to_owned(),
            documents: 1,
            rows: (0..batches * 2).map(|row| vec![row; 4]).collect(),
            batch_size: 2,
            dropped: 0,
        };
        vec![language("go", 5), language("rust", 1), language("ruby", 7)]
    }

    #[test]
    fn shards_cover_everything_once() {
        for count in 1..=9 {
            let mut seen: Vec<(String, u32)> = Vec::new();
            for index in 1..=count {
                for language in take_shard(languages(), Shard { index, count }) {
                    assert!(language.batches() > 0);
                    seen.extend(language.rows.iter().map(|row| (language.name.clone(), row[0])));
                }
            }
            let all: Vec<(String, u32)> = languages()
                .iter()
                .flat_map(|l| l.rows.iter().map(|row| (l.name.clone(), row[0])).collect::<Vec<_>>())
                .collect();
            assert_eq!(seen, all, "{count} shards");
        }
    }

    #[test]
    fn up_to_as_many_shards_as_languages_keep_them_whole() {
        for count in 1..=3 {
            let names: Vec<String> = (1..=count)
                .flat_map(|index| take_shard(languages(), Shard { index, count }))
                .map(|language| language.name)
                .collect();
            assert_eq!(names, ["go", "rust", "ruby"]);
        }
    }
}
