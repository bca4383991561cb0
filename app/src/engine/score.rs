//! Scoring in the tab: the spot of code that somebody brings.

use super::load::Ready;
use super::masks::Refusal;
use super::wait::Turns;
use super::{Stops, failure, send};
use crate::protocol::{EngineError, ErrorCode, FromEngine, RequestId, Snippet, SpotFacts};
use codingspot_core::Device;
use codingspot_core::kernels::packed::Compute;
use codingspot_core::score::{Estimator, LanguageScorer, TotalScores};
use codingspot_core::spot::{Scope, Spot, SpotHeader, StreamingTop, competing, parameters_in_scope};

/// Models with more parameters are not scored here: gradients and a copy of the weights have to fit too.
const MAX_PARAMETERS: u64 = 120_000_000;
/// Tokens of a sequence.
const SEQ_LEN: usize = 256;
/// Sequences in all; code beyond them is left out.
const MAX_SEQUENCES: usize = 32;
/// Sequences of a batch.
const BATCH: usize = 2;
/// What the ranking holds, percent: what the page's slider reaches.
const MAX_K: f64 = 0.25;

impl<C: Compute> Ready<C> {
    /// The spot of `documents`, put in the place of the one before; `None` when it was stopped.
    pub(crate) async fn score_code(
        &mut self,
        id: RequestId,
        documents: &[Snippet],
        no_norm: bool,
        control_seed: u64,
        device: &Device,
        stops: &Stops,
    ) -> Result<Option<SpotFacts>, EngineError> {
        let failed = |error: &dyn std::fmt::Display| failure(ErrorCode::Spot, error);
        let layout = self.model.layout().clone();
        if layout.num_parameters() > MAX_PARAMETERS {
            let text = format!(
                "the model has {} M parameters, the page scores up to {} M; score it with the command line",
                layout.num_parameters() / 1_000_000,
                MAX_PARAMETERS / 1_000_000
            );
            return Err(failure(ErrorCode::Spot, text));
        }
        let languages: Vec<Vec<Vec<u32>>> = documents
            .chunk_by(|a, b| a.language == b.language)
            .map(|documents| self.sequences(documents, MAX_SEQUENCES / documents.len().max(1)))
            .collect::<Result<_, _>>()?;
        let total: usize = languages.iter().map(|sequences| sequences.len().div_ceil(BATCH)).sum();
        if total == 0 {
            return Err(failure(ErrorCode::Spot, "the code has fewer than 2 tokens; give more"));
        }
        self.switch_all_on();
        let plain = self.model.unpack(device).await.map_err(|error| failed(&error))?;
        let turns = Turns::default();
        let mut sum = TotalScores::default();
        let mut done = 0_u32;
        for sequences in languages.iter().filter(|sequences| !sequences.is_empty()) {
            let mut scorer = LanguageScorer::new(&plain, Estimator::Signed, SEQ_LEN, 0);
            for batch in sequences.chunks(BATCH) {
                let rows: Vec<&[u32]> = batch.iter().map(Vec::as_slice).collect();
                scorer.add_batch(&rows).await.map_err(|error| failed(&error))?;
                done += 1;
                send(&FromEngine::ScoreProgress {
                    id,
                    done,
                    total: u32::try_from(total).unwrap_or(u32::MAX),
                });
                turns.take().await;
                if stops.asked() {
                    return Ok(None);
                }
            }
            sum.add(&scorer.finish().await.map_err(|error| failed(&error))?);
        }
        let scope = if no_norm { Scope::NoNorm } else { Scope::All };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
        let count = (parameters_in_scope(&layout, scope) as f64 * MAX_K / 100.0).round() as u64;
        let mut top = StreamingTop::new(count.max(1));
        for (tensor, _) in
            competing::<std::convert::Infallible>(layout.tensors(), scope).map_err(|error| failed(&error))?
        {
            top.add(tensor, 0, &sum.tensors()[usize::from(tensor)]).map_err(|bad| {
                failed(&format!("tensor {tensor} has the score {} at {}", bad.score, bad.index))
            })?;
        }
        let fingerprint = self.fingerprint.parse().map_err(|error| failed(&error))?;
        let mut names: Vec<String> = documents.iter().map(|document| document.language.clone()).collect();
        names.dedup();
        let header = SpotHeader::new(&layout, fingerprint, scope, MAX_K, Estimator::Signed, names);
        let spot = Spot::new(header, &top.finish().0);
        let (facts, ranking) = self.ranks_of(&spot).map_err(|refusal| match refusal {
            Refusal::Error(error) => error,
            Refusal::Mismatch(mismatch) => failed(&format!("{mismatch:?}")),
        })?;
        self.masks = Some(super::masks::Masks::new(&self.model, ranking, control_seed)?);
        Ok(Some(facts))
    }

    /// Documents as sequences of at most [`SEQ_LEN`] tokens, each beginning as a document does.
    fn sequences(&self, documents: &[Snippet], most: usize) -> Result<Vec<Vec<u32>>, EngineError> {
        let failed = |error| failure(ErrorCode::Spot, error);
        let mut sequences = Vec::new();
        for document in documents {
            let ids = self.tokenizer.encode_document(&document.text).map_err(failed)?;
            let begin: Vec<u32> =
                self.tokenizer.bos().into_iter().filter(|bos| ids.first() == Some(bos)).collect();
            for piece in ids[begin.len()..].chunks(SEQ_LEN - begin.len()).take(most.max(1)) {
                let sequence = [begin.as_slice(), piece].concat();
                if sequence.len() > 1 {
                    sequences.push(sequence);
                }
            }
        }
        Ok(sequences)
    }
}
