//! Training of a Llama, from random weights or from a checkpoint's.
//!
//! Gradients come from the passes that score ([`Scorer`]), weights move by what fine-tuning moves them
//! with ([`crate::optimizer`]). Weights and moments are f32; where matrices are multiplied in a shorter
//! type, the passes get a rounded copy of the weights after every step (Micikevicius et al. 2018).

mod init;
mod schedule;
mod tokenizer;

pub use init::random_llama;
pub use schedule::{Decay, Schedule};
pub use tokenizer::{BEGIN_OF_TEXT, END_OF_TEXT, train_tokenizer};

use crate::kernels::sums::sum_of_squares;
use crate::layout::{Module, ParameterLayout};
use crate::llama::{Llama, WeightRef, read_f32};
use crate::optimizer::{AdamW, Moments, Momentum, Muon, move_buffer};
use crate::score::{Collect, Residency, ScoreError, Scorer, SumKey, Sums, Weights, bands};
use burn::tensor::{DType, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Steps without overflow after which the loss scale is doubled, and where it begins; PyTorch's
/// `GradScaler` has the same.
const SCALE_GROWTH_STEPS: u32 = 2000;
const FIRST_LOSS_SCALE: f32 = 65_536.0;

/// Why a step of training failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The pass over a batch failed.
    #[error(transparent)]
    Pass(#[from] ScoreError),
    /// The gradient is NaN or infinite in sum, though each of its parts was in range.
    #[error("the gradient of step {step} is not finite; a lower learning rate may help")]
    NonFiniteGradient {
        /// The step, counted from 0.
        step: u64,
    },
    /// A state does not belong to the model.
    #[error("the state of the optimizer was refused: {0}")]
    State(String),
}

/// What the passes multiply matrices in; sums, weights and moments are f32 in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits with the range of f32.
    Bf16,
    /// 16 bits with a range of its own: the loss is scaled so that gradients stay inside.
    F16,
}

impl Precision {
    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }
}

/// How a model is trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TrainSettings {
    /// Of embedding, head, gains and biases, and of all other matrices where there is no `muon`; vectors
    /// don't decay.
    pub adamw: AdamW,
    /// Of the blocks' matrices.
    pub muon: Option<Muon>,
    /// Learning rate.
    pub schedule: Schedule,
    /// Norm over all weights that a gradient has at most (Pascanu et al. 2013).
    pub clip_norm: Option<f64>,
    /// Type of products.
    pub precision: Precision,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Number of the step, counted from 0.
    pub step: u64,
    /// Mean loss before the step, nats per target token.
    pub loss_nats: f64,
    /// Norm of the gradient over all weights, before it was clipped.
    pub gradient_norm: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Target tokens.
    pub tokens: u64,
}

/// What the optimizer keeps of a buffer.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there are as many as tensors, and each holds handles of tensors"
)]
enum Kept {
    AdamW(Option<Moments>),
    Muon(Option<Momentum>),
}

/// A buffer of the optimizer's state, to be kept in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct StateBuffer {
    /// Tensor of the layout, a dot, and `first` or `second` (moments of AdamW) or `momentum` (Muon's).
    pub name: String,
    /// Rows and columns; a vector has one row.
    pub shape: [usize; 2],
    /// Row-major.
    pub values: Vec<f32>,
}

/// A model in training.
#[derive(Debug)]
pub struct Trainer {
    settings: TrainSettings,
    layout: ParameterLayout,
    scorer: Scorer,
    /// Weights in f32, where the scorer has rounded ones.
    master: Option<Llama>,
    kept: BTreeMap<SumKey, Kept>,
    step: u64,
    loss_scale: f32,
    steps_in_range: u32,
}

impl Trainer {
    /// Trains `model` on sequences of `seq_len` tokens at most. A device that can't multiply in the
    /// precision panics in burn: callers ask it first.
    pub fn new(model: Llama, settings: TrainSettings, seq_len: usize) -> Self {
        let (config, layout, device) =
            (model.config().clone(), model.layout().clone(), model.device().clone());
        let dtype = settings.precision.dtype();
        let (passed, master) = match settings.precision {
            Precision::F32 => (model, None),
            Precision::Bf16 | Precision::F16 => (model.clone().with_matrices_in(dtype), Some(model)),
        };
        let residency = Residency { keep_activations: true, stream_head: false };
        let collect = Collect { reductions: vec![crate::kernels::sums::Reduction::Signed], inputs: false };
        let loss_scale = if settings.precision == Precision::F16 { FIRST_LOSS_SCALE } else { 1.0 };
        let weights = Weights::Resident(Box::new(passed));
        let scorer = Scorer::new(weights, &config, &device, seq_len, residency, &collect, loss_scale)
            .with_dtype(dtype);
        let kept = layout
            .tensors()
            .iter()
            .enumerate()
            .flat_map(|(index, spec)| {
                let muon = settings.muon.is_some() && is_muons(spec.module);
                (0..bands(spec).len()).map(move |band| {
                    let key = SumKey::main(crate::kernels::sums::Reduction::Signed, index, band);
                    (key, if muon { Kept::Muon(None) } else { Kept::AdamW(None) })
                })
            })
            .collect();
        Self { settings, layout, scorer, master, kept, step: 0, loss_scale, steps_in_range: 0 }
    }

    /// The weights, f32.
    pub fn model(&self) -> &Llama {
        match &self.master {
            Some(master) => master,
            None => self.scorer.resident().expect("training keeps weights on the device"),
        }
    }

    /// Steps that were made.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Another schedule from the next step on.
    pub fn set_schedule(&mut self, schedule: Schedule) {
        self.settings.schedule = schedule;
    }

    /// One step along the gradient of the mean loss over all targets of `batches`, which run one after
    /// the other: what fits the device is a batch, what the step sees are all of them.
    ///
    /// # Errors
    /// [`TrainError`]; the weights are then as they were before.
    pub async fn step(&mut self, batches: &[&[&[u32]]]) -> Result<Step, TrainError> {
        let tokens: u64 = batches.iter().flat_map(|rows| rows.iter()).map(|row| row.len() as u64 - 1).sum();
        self.scorer.set_divisor(tokens);
        let (loss_nats, gradients) = loop {
            self.scorer.set_loss_scale(self.loss_scale);
            match self.gradients(batches, tokens).await {
                Ok(found) => break found,
                // Too large a scale for f16: the same batches again with half of it.
                Err(TrainError::Pass(ScoreError::NonFiniteGradient(_)))
                    if self.settings.precision == Precision::F16 && self.loss_scale > 1.0 =>
                {
                    self.loss_scale /= 2.0;
                    self.steps_in_range = 0;
                }
                Err(error) => return Err(error),
            }
        };
        let squares = gradients.iter().map(|(_, gradient)| sum_of_squares(gradient)).collect();
        let squares = read_f32(Tensor::<1>::cat(squares, 0)).await.map_err(ScoreError::from)?;
        let scale = f64::from(self.loss_scale).recip();
        let gradient_norm = squares.iter().map(|&square| f64::from(square)).sum::<f64>().sqrt() * scale;
        if !gradient_norm.is_finite() {
            return Err(TrainError::NonFiniteGradient { step: self.step });
        }
        let clipped = match self.settings.clip_norm {
            // As PyTorch's clip_grad_norm_ has it.
            Some(most) => (most / (gradient_norm + 1e-6)).min(1.0),
            None => 1.0,
        };
        let learning_rate = self.settings.schedule.rate(self.step);
        let done = Step { step: self.step, loss_nats, gradient_norm, learning_rate, tokens };
        self.step += 1;
        for (key, gradient) in gradients {
            self.update(key, &gradient, learning_rate, clipped * scale);
        }
        self.steps_in_range += 1;
        if self.settings.precision == Precision::F16 && self.steps_in_range >= SCALE_GROWTH_STEPS {
            self.loss_scale *= 2.0;
            self.steps_in_range = 0;
        }
        Ok(done)
    }

    async fn gradients(
        &mut self,
        batches: &[&[&[u32]]],
        tokens: u64,
    ) -> Result<(f64, Vec<(SumKey, Tensor<2>)>), TrainError> {
        let mut sums = Sums::on_device(self.scorer.device());
        let mut nats = 0.0;
        for (index, batch) in batches.iter().enumerate() {
            let losses =
                self.scorer.pass(&[batch], &mut sums).await.map_err(|error| error.in_batch(index))?;
            let targets: usize = batch.iter().map(|row| row.len() - 1).sum();
            nats += losses[0] * targets as f64;
        }
        Ok((nats / tokens as f64, sums.into_gradients()))
    }

    fn update(&mut self, key: SumKey, gradient: &Tensor<2>, lr: f64, gradient_scale: f64) {
        let spec = &self.layout.tensors()[key.tensor];
        let is_vector = spec.shape.len() == 1;
        let adamw = AdamW {
            weight_decay: if is_vector { 0.0 } else { self.settings.adamw.weight_decay },
            ..self.settings.adamw
        };
        // Past 2³¹ steps the biases of the moments are 1 in any case.
        let number = i32::try_from(self.step).unwrap_or(i32::MAX);
        let kept = self.kept.get_mut(&key).expect("every buffer of the layout has a state");
        let muon = self.settings.muon.unwrap_or_default();
        // Directions in f16 would leave its range on the way.
        let directions = if self.settings.precision == Precision::Bf16 { DType::BF16 } else { DType::F32 };
        let moved = |weight: Tensor<2>| match kept {
            Kept::AdamW(moments) => adamw.step(weight, gradient, moments, number, lr, gradient_scale),
            Kept::Muon(momentum) => muon.step(weight, gradient, momentum, lr, gradient_scale, directions),
        };
        let passed = self.scorer.resident_mut().expect("training keeps weights on the device");
        match &mut self.master {
            None => move_buffer(passed, key, moved),
            Some(master) => {
                move_buffer(master, key, moved);
                let dtype = if is_vector { DType::F32 } else { self.settings.precision.dtype() };
                let fresh = buffer(master, key).cast(dtype);
                move_buffer(passed, key, |_| fresh);
            }
        }
    }

    /// The state of the optimizer, buffer by buffer in the order of the layout; weights are apart from it
    /// ([`Self::model`]). Empty before the first step.
    ///
    /// # Errors
    /// [`TrainError::Pass`] when the device fails.
    pub async fn state(&self) -> Result<Vec<StateBuffer>, TrainError> {
        let mut buffers = Vec::new();
        for (key, kept) in &self.kept {
            let parts: Vec<(&str, &Tensor<2>)> = match kept {
                Kept::AdamW(Some(moments)) => vec![("first", &moments.first), ("second", &moments.second)],
                Kept::Muon(Some(momentum)) => vec![("momentum", momentum)],
                Kept::AdamW(None) | Kept::Muon(None) => Vec::new(),
            };
            for (part, tensor) in parts {
                let shape = tensor.dims();
                let values = read_f32(tensor.clone().reshape([shape[0] * shape[1]]));
                let values = values.await.map_err(ScoreError::from)?;
                buffers.push(StateBuffer { name: self.state_name(*key, part), shape, values });
            }
        }
        Ok(buffers)
    }

    fn state_name(&self, key: SumKey, part: &str) -> String {
        let name = &self.layout.tensors()[key.tensor].name;
        match key.band {
            0 => format!("{name}.{part}"),
            band => format!("{name}.{band}.{part}"),
        }
    }

    /// Goes on where a training ended that had made `step` steps and left `state` and these weights.
    ///
    /// # Errors
    /// [`TrainError::State`] when a buffer is missing or has another shape.
    pub fn restore(&mut self, step: u64, loss_scale: f32, state: Vec<StateBuffer>) -> Result<(), TrainError> {
        let refuse = |reason: String| TrainError::State(reason);
        let mut by_name: BTreeMap<String, StateBuffer> =
            state.into_iter().map(|buffer| (buffer.name.clone(), buffer)).collect();
        let device = self.scorer.device().clone();
        let keys: Vec<SumKey> = self.kept.keys().copied().collect();
        for key in keys {
            let expected = buffer(self.model(), key).dims();
            let mut take = |part: &str| -> Result<Tensor<2>, TrainError> {
                let name = self.state_name(key, part);
                let found = by_name.remove(&name).ok_or_else(|| refuse(format!("it has no {name}")))?;
                let elements = found.shape[0].checked_mul(found.shape[1]);
                if found.shape != expected || elements != Some(found.values.len()) {
                    let found = found.shape;
                    return Err(refuse(format!(
                        "{name} has shape {found:?}, the model implies {expected:?}"
                    )));
                }
                Ok(Tensor::from_data(TensorData::new(found.values, expected), (&device, DType::F32)))
            };
            let kept = match self.kept[&key] {
                Kept::AdamW(_) => {
                    Kept::AdamW(Some(Moments { first: take("first")?, second: take("second")? }))
                }
                Kept::Muon(_) => Kept::Muon(Some(take("momentum")?)),
            };
            self.kept.insert(key, kept);
        }
        if let Some(name) = by_name.keys().next() {
            return Err(refuse(format!("it has {name}, which the model or its optimizer does not")));
        }
        (self.step, self.loss_scale) = (step, loss_scale);
        Ok(())
    }

    /// What the loss is multiplied by; other than 1 in f16 alone.
    pub fn loss_scale(&self) -> f32 {
        self.loss_scale
    }
}

/// Whether Muon moves a module's weights.
fn is_muons(module: Module) -> bool {
    use Module::{DownProj, GateProj, KProj, OProj, QProj, UpProj, VProj};
    matches!(module, QProj | KProj | VProj | OProj | GateProj | UpProj | DownProj)
}

/// A buffer of a model as `[rows, cols]`; a vector is one row.
fn buffer(model: &Llama, key: SumKey) -> Tensor<2> {
    match model.weight(key.tensor) {
        WeightRef::Vector(tensor) => tensor.clone().unsqueeze(),
        WeightRef::Matrix(tensor) => tensor.clone(),
        WeightRef::Vocabulary(matrix) => matrix.bands()[key.band].clone(),
    }
}
