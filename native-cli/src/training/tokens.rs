//! The corpus as one stream of tokens, kept in a file so that a training that goes on need not make it
//! again.

use super::files::{read_tokens, write_u32};
use crate::corpus::CorpusDirectory;
use crate::output;
use crate::progress::Progress;
use anyhow::Context as _;
use codingspot_core::corpus::Document;
use codingspot_core::tokenizer::Tokenizer;
use rand::{SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::path::Path;

/// Documents that are turned into tokens at once.
const AT_ONCE: usize = 2048;

/// Documents of all languages in the order of a training.
#[derive(Debug)]
pub(crate) struct Texts {
    documents: Vec<Document>,
    /// BLAKE3 over languages and documents as they are in the files, and over the seed.
    pub(crate) hash: blake3::Hash,
}

impl Texts {
    /// Reads `languages` and shuffles their documents together.
    pub(crate) fn read(corpus: &CorpusDirectory, languages: &[String], seed: u64) -> anyhow::Result<Self> {
        let mut documents = Vec::new();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        for language in languages {
            let read = corpus.read(language)?;
            hasher.update(format!("\n{language} {}\n", read.len()).as_bytes());
            for document in &read {
                match document {
                    Document::Text(text) => {
                        hasher.update(&(text.len() as u64).to_le_bytes());
                        hasher.update(text.as_bytes());
                    }
                    Document::Ids(_) => anyhow::bail!(
                        "the corpus of {language} has rows of \"ids\"; a training makes its own tokens, so give rows of \"text\""
                    ),
                }
            }
            documents.extend(read);
        }
        documents.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        Ok(Self { documents, hash: hasher.finalize() })
    }

    pub(crate) fn len(&self) -> usize {
        self.documents.len()
    }

    /// The first `count` texts of the order.
    pub(crate) fn first(&self, count: usize) -> impl Iterator<Item = &str> {
        self.documents.iter().take(count).filter_map(|document| match document {
            Document::Text(text) => Some(text.as_str()),
            Document::Ids(_) => None,
        })
    }
}

/// A stream of tokens, cut into sequences.
#[derive(Debug)]
pub(crate) struct Tokens {
    stream: Vec<u32>,
    seq_len: usize,
    seed: u64,
    /// Order of sequences in an epoch.
    order: Option<(u64, Vec<u32>)>,
}

impl Tokens {
    /// Reads the stream from `path` where it is there, else makes it of `texts` and writes it. Every document
    /// is BOS, text, EOS, where the model has these; `hash` names what the stream is made of.
    pub(crate) fn open(
        path: &Path,
        texts: &Texts,
        tokenizer: &Tokenizer,
        eos: Option<u32>,
        hash: &str,
        (seq_len, seed): (usize, u64),
    ) -> anyhow::Result<Self> {
        let stream = match read_tokens(path)? {
            Some((made_of, stream)) if made_of == hash => stream,
            _ => {
                let stream = encode(texts, tokenizer, eos)?;
                write_u32(path, hash, &stream)?;
                stream
            }
        };
        Self::new(stream, seq_len, seed)
    }

    /// Cuts a stream.
    pub(crate) fn new(stream: Vec<u32>, seq_len: usize, seed: u64) -> anyhow::Result<Self> {
        anyhow::ensure!(
            stream.len() >= seq_len,
            "the corpus has {} tokens, fewer than one sequence of {seq_len}; give more text, or a shorter --seq-len",
            stream.len()
        );
        Ok(Self { stream, seq_len, seed, order: None })
    }

    /// Number of tokens.
    pub(crate) fn len(&self) -> usize {
        self.stream.len()
    }

    /// Number of whole sequences.
    pub(crate) fn sequences(&self) -> usize {
        self.stream.len() / self.seq_len
    }

    /// Sequence `number` of the training: every epoch takes each once, in an order of its own.
    pub(crate) fn sequence(&mut self, number: u64) -> &[u32] {
        let count = self.sequences();
        let (epoch, place) = (number / count as u64, number % count as u64);
        if self.order.as_ref().is_none_or(|(of, _)| *of != epoch) {
            let mut order: Vec<u32> = (0..u32::try_from(count).unwrap_or(u32::MAX)).collect();
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            // Stream 0 is that of the documents.
            rng.set_stream(epoch + 1);
            order.shuffle(&mut rng);
            self.order = Some((epoch, order));
        }
        let (_, order) = self.order.as_ref().expect("made above");
        let start = order[usize::try_from(place).expect("below a length")] as usize * self.seq_len;
        &self.stream[start..start + self.seq_len]
    }
}

fn encode(texts: &Texts, tokenizer: &Tokenizer, eos: Option<u32>) -> anyhow::Result<Vec<u32>> {
    let mut progress = Progress::new("Tokenising", texts.len() as u64);
    let mut stream = Vec::new();
    let documents: Vec<&str> = texts.first(usize::MAX).collect();
    for (index, piece) in documents.chunks(AT_ONCE).enumerate() {
        let encoded: Vec<Vec<u32>> = piece
            .par_iter()
            .map(|text| tokenizer.encode_document(text))
            .collect::<Result<_, _>>()
            .context("the corpus can't be turned into tokens")?;
        for ids in encoded {
            stream.extend(ids);
            stream.extend(eos);
        }
        progress.set((index * AT_ONCE + piece.len()) as u64);
    }
    progress.finish();
    output::note(&format!("{} tokens of {} documents", output::grouped(stream.len() as u64), texts.len()));
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_takes_each_sequence_once_in_an_order_of_its_own() {
        let tokens = || Tokens { stream: (0..103).collect(), seq_len: 10, seed: 3, order: None };
        let mut forward = tokens();
        assert_eq!(forward.sequences(), 10);
        let mut epochs = Vec::new();
        for epoch in 0..3 {
            let firsts: Vec<u32> = (0..10).map(|i| forward.sequence(epoch * 10 + i)[0]).collect();
            let mut sorted = firsts.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).map(|i| i * 10).collect::<Vec<u32>>());
            epochs.push(firsts);
        }
        assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
        // Whoever begins in the middle gets the same.
        assert_eq!(tokens().sequence(17)[0], epochs[1][7]);
    }
}
