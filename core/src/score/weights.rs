//! Weights of a pass: resident on the device, or brought there block by block.

use super::ScoreError;
use super::sums::bands;
use crate::checkpoint::CheckpointError;
use crate::config::LlamaConfig;
use crate::layout::{Module, ParameterLayout};
use crate::llama::{Attention, AttentionBiases, Block, Llama, Mlp, RmsNorm};
use burn::tensor::{DType, Device, Tensor, TensorData};
use std::ops::Range;

/// Reads weights from where they are stored.
pub trait WeightReader {
    /// Elements `range` of tensor `tensor` of the layout, as f32.
    ///
    /// # Errors
    /// [`CheckpointError`] when they can't be read or one of them is not finite.
    fn read(&mut self, tensor: usize, range: Range<u64>) -> Result<Vec<f32>, CheckpointError>;

    /// These tensors will be read next, in this order and whole: a reader may fetch them ahead.
    fn upcoming(&mut self, tensors: &[usize]);
}

/// Weights that are read when they are needed and dropped after.
pub struct StreamedWeights {
    config: LlamaConfig,
    layout: ParameterLayout,
    device: Device,
    dtype: DType,
    reader: Box<dyn WeightReader>,
    norm: RmsNorm,
    /// The last block read: a pass turns around on it.
    last: Option<(usize, Block)>,
}

impl std::fmt::Debug for StreamedWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamedWeights").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Where a pass gets its weights from.
#[derive(Debug)]
pub enum Weights {
    /// All of them on the device.
    Resident(Box<Llama>),
    /// One block at a time.
    Streamed(StreamedWeights),
}

impl StreamedWeights {
    /// Reads through `reader` onto `device`; matrices are held there as `dtype` (f32 or f16).
    ///
    /// # Errors
    /// [`ScoreError::Weights`] when the last norm can't be read.
    pub fn new(
        config: &LlamaConfig,
        device: &Device,
        dtype: DType,
        mut reader: Box<dyn WeightReader>,
    ) -> Result<Self, ScoreError> {
        let layout = ParameterLayout::new(config);
        let index = layout.index_of("model.norm.weight").expect("every layout has a last norm");
        let gain = reader.read(index, 0..config.hidden_size as u64)?;
        let norm = RmsNorm { weight: vector(gain, device), eps: config.rms_norm_eps };
        Ok(Self { config: config.clone(), layout, device: device.clone(), dtype, reader, norm, last: None })
    }

    fn matrix(&mut self, tensor: usize, rows: Range<usize>) -> Result<Tensor<2>, ScoreError> {
        let cols = self.layout.tensors()[tensor].shape[1];
        let elements = rows.start as u64 * cols as u64..rows.end as u64 * cols as u64;
        let values = self.reader.read(tensor, elements)?;
        let matrix: Tensor<2> =
            Tensor::from_data(TensorData::new(values, [rows.len(), cols]), (&self.device, DType::F32));
        Ok(matrix.cast(self.dtype))
    }

    fn block(&mut self, layer: usize) -> Result<Block, ScoreError> {
        if let Some((_, block)) = self.last.as_ref().filter(|(last, _)| *last == layer) {
            return Ok(block.clone());
        }
        self.last = None;
        let mut matrices = Vec::with_capacity(7);
        let mut norms = Vec::with_capacity(2);
        let mut biases = AttentionBiases::default();
        for tensor in self.layout.block(layer) {
            let spec = &self.layout.tensors()[tensor];
            if spec.module.is_norm() {
                let gain = self.reader.read(tensor, 0..spec.numel())?;
                norms.push(RmsNorm { weight: vector(gain, &self.device), eps: self.config.rms_norm_eps });
            } else if spec.module.is_bias() {
                let bias = self.reader.read(tensor, 0..spec.numel())?;
                *biases.slot(spec.module) = Some(vector(bias, &self.device));
            } else {
                let rows = spec.shape[0];
                matrices.push(self.matrix(tensor, 0..rows)?);
            }
        }
        let [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj] =
            <[Tensor<2>; 7]>::try_from(matrices).expect("a block has seven matrices");
        let [input_layernorm, post_attention_layernorm] =
            <[RmsNorm; 2]>::try_from(norms).expect("a block has two norms");
        let block = Block {
            self_attn: Attention { q_proj, k_proj, v_proj, o_proj, biases },
            mlp: Mlp { gate_proj, up_proj, down_proj },
            input_layernorm,
            post_attention_layernorm,
        };
        self.last = Some((layer, block.clone()));
        Ok(block)
    }
}

fn vector(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), (device, DType::F32))
}

/// Index of a tensor of a block.
pub(super) fn block_tensor(layout: &ParameterLayout, layer: usize, module: Module) -> usize {
    let index = layout.block(layer).find(|&index| layout.tensors()[index].module == module);
    let index = index.expect("a module of the block");
    debug_assert_eq!(layout.tensors()[index].layer, Some(layer));
    index
}

impl Weights {
    /// The last norm.
    pub(super) fn norm(&self) -> RmsNorm {
        match self {
            Self::Resident(model) => model.norm.clone(),
            Self::Streamed(streamed) => streamed.norm.clone(),
        }
    }

    /// Block `layer`; `next` is the one that will be asked for after it.
    pub(super) fn block(&mut self, layer: usize, next: Option<usize>) -> Result<Block, ScoreError> {
        match self {
            Self::Resident(model) => Ok(model.layers[layer].clone()),
            Self::Streamed(streamed) => {
                let block = streamed.block(layer)?;
                if let Some(next) = next {
                    let tensors: Vec<usize> = streamed.layout.block(next).collect();
                    streamed.reader.upcoming(&tensors);
                }
                Ok(block)
            }
        }
    }

    /// Lets go of the block that was read last.
    pub(super) fn forget(&mut self) {
        if let Self::Streamed(streamed) = self {
            streamed.last = None;
        }
    }

    /// Band `band` of the matrix that gives logits, `[rows, hidden]`.
    pub(super) fn head_band(&mut self, band: usize) -> Result<Tensor<2>, ScoreError> {
        match self {
            Self::Resident(model) => {
                Ok(model.lm_head.as_ref().unwrap_or(&model.embed_tokens).bands()[band].clone())
            }
            Self::Streamed(streamed) => {
                let tensor = head_tensor(&streamed.layout);
                let rows = bands(&streamed.layout.tensors()[tensor])[band].clone();
                streamed.matrix(tensor, rows)
            }
        }
    }

    /// Embeddings `[n, hidden]` of tokens.
    pub(super) fn embed(&mut self, ids: &[u32]) -> Result<Tensor<2>, ScoreError> {
        match self {
            Self::Resident(model) => Ok(model.embed_tokens.lookup(ids, model.device()).cast(DType::F32)),
            Self::Streamed(streamed) => {
                let hidden = streamed.config.hidden_size;
                let mut values = Vec::with_capacity(ids.len() * hidden);
                for &id in ids {
                    let start = u64::from(id) * hidden as u64;
                    values.extend(streamed.reader.read(0, start..start + hidden as u64)?);
                }
                Ok(Tensor::from_data(
                    TensorData::new(values, [ids.len(), hidden]),
                    (&streamed.device, DType::F32),
                ))
            }
        }
    }
}

/// Index of the tensor that gives logits: `lm_head`, or the embedding when they are tied.
pub(super) fn head_tensor(layout: &ParameterLayout) -> usize {
    let last = layout.tensors().len() - 1;
    if layout.tensors()[last].module == Module::LmHead { last } else { 0 }
}
