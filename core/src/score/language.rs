//! All batches of one language, with everything in memory: for models that fit a few times over,
//! and for the browser.

use super::estimator::TensorPart;
use super::pass::{Collect, Residency, Scorer};
use super::sums::Sums;
use super::weights::Weights;
use super::{Estimator, LanguageScores, Needs, ScoreError};
use crate::llama::Llama;

/// Runs the batches of one language and turns gradients into scores.
#[derive(Debug)]
pub struct LanguageScorer {
    scorer: Scorer,
    model: Llama,
    estimator: Estimator,
    seed: u64,
    sums: Sums<'static>,
    losses_nats: Vec<f64>,
}

impl LanguageScorer {
    /// For batches of sequences of `seq_len` tokens. `seed` is for random scores.
    pub fn new(model: &Llama, estimator: Estimator, seq_len: usize, seed: u64) -> Self {
        let needs = estimator.needs();
        let collect = Collect {
            reductions: match needs {
                Needs::Gradients(reduction) => vec![reduction],
                Needs::Inputs | Needs::Nothing => Vec::new(),
            },
            inputs: needs == Needs::Inputs,
        };
        let residency = Residency { keep_activations: true, stream_head: false };
        let weights = Weights::Resident(Box::new(model.clone()));
        let scorer = Scorer::new(weights, model.config(), model.device(), seq_len, residency, &collect, 1.0);
        Self {
            scorer,
            model: model.clone(),
            estimator,
            seed,
            sums: Sums::on_device(model.device()),
            losses_nats: Vec::new(),
        }
    }

    /// One forward and one backward pass over `rows`; returns their mean loss in nats. Shorter rows
    /// are padded, but for estimators of inputs, which need one length.
    ///
    /// # Errors
    /// [`ScoreError`]; nothing of the batch counts then, and the scorer is of no more use.
    pub async fn add_batch(&mut self, rows: &[&[u32]]) -> Result<f64, ScoreError> {
        let batch = self.losses_nats.len();
        let losses =
            self.scorer.pass(&[rows], &mut self.sums).await.map_err(|error| error.in_batch(batch))?;
        self.losses_nats.extend(&losses);
        Ok(losses[0])
    }

    /// The scores of all batches so far.
    ///
    /// # Errors
    /// [`ScoreError::NoBatches`], [`ScoreError::NonFiniteScore`], or a device that failed.
    pub async fn finish(mut self) -> Result<LanguageScores, ScoreError> {
        let batches = self.losses_nats.len() as u64;
        if batches == 0 {
            return Err(ScoreError::NoBatches);
        }
        let layout = self.model.layout().clone();
        let mut sums: Vec<Vec<f32>> = vec![Vec::new(); layout.tensors().len()];
        // Keys come in the order of tensors and bands.
        self.sums
            .read_whole(async |key, values| {
                sums[key.tensor].extend(values);
                Ok::<_, ScoreError>(())
            })
            .await?;
        let inputs = self.scorer.take_inputs().await?;
        let mut scores = Vec::with_capacity(sums.len());
        for (index, (spec, mut values)) in layout.tensors().iter().zip(sums).enumerate() {
            let weights = self.model.read_weight(index).await?;
            if let Needs::Gradients(_) = self.estimator.needs() {
                self.estimator.contribute(&mut values, &weights, 1.0);
                self.estimator.score(&mut values, batches);
            } else {
                values.resize(weights.len(), 0.0);
                let rms = inputs.rms(index);
                let part = TensorPart {
                    weights: &weights,
                    offset: 0,
                    position: spec.start,
                    input_rms: rms.as_deref(),
                    seed: self.seed,
                };
                self.estimator.score_without_gradients(&part, &mut values);
            }
            if let Some(offset) = values.iter().position(|score| !score.is_finite()) {
                return Err(ScoreError::NonFiniteScore { tensor: spec.name.clone(), offset });
            }
            scores.push(values);
        }
        Ok(LanguageScores { losses_nats: self.losses_nats, scores })
    }
}
