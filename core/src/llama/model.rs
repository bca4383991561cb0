//! The whole model.

use super::attention::{Past, causal_mask};
use super::weight::{Weight, WeightMut, WeightRef};
use super::{Attention, AttentionBiases, Block, KvCache, Mlp, RmsNorm, RotaryTable, VocabularyMatrix};
use crate::config::LlamaConfig;
use crate::layout::{Module, ParameterLayout};
use burn::tensor::{DType, Device, Int, Tensor, TensorData, activation::log_softmax};

/// Positions whose logits exist at once when a loss is computed.
const LOSS_CHUNK: usize = 256;

/// Why tokens can't be run through a model.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// A token is not in the vocabulary.
    #[error("token {token} at position {position} is outside the vocabulary of {vocab_size} tokens")]
    TokenOutOfRange {
        /// The token.
        token: u32,
        /// Where it stands.
        position: usize,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// More tokens than the model's context.
    #[error("{found} tokens don't fit the model's context of {limit} tokens; shorten the input")]
    TooLong {
        /// Tokens asked for.
        found: usize,
        /// Tokens that fit.
        limit: usize,
    },
    /// No tokens at all.
    #[error("there are no tokens to run; give a prompt of at least one token")]
    Empty,
    /// The device failed while results were read back.
    #[error("the device failed: {0}")]
    Device(String),
}

/// A Llama on a device, weights in f32.
#[derive(Debug, Clone)]
pub struct Llama {
    config: LlamaConfig,
    layout: ParameterLayout,
    device: Device,
    /// `model.embed_tokens`.
    pub embed_tokens: VocabularyMatrix,
    /// `model.layers`.
    pub layers: Vec<Block>,
    /// `model.norm`.
    pub norm: RmsNorm,
    /// `lm_head`; `None` when it is the embedding.
    pub lm_head: Option<VocabularyMatrix>,
}

/// Weights collected in any order until the model is whole.
#[derive(Debug)]
pub struct LlamaParts {
    config: LlamaConfig,
    layout: ParameterLayout,
    parts: Vec<Vec<Weight>>,
}

impl LlamaParts {
    /// Nothing collected yet.
    pub fn new(config: &LlamaConfig, layout: &ParameterLayout) -> Self {
        let parts = layout.tensors().iter().map(|_| Vec::new()).collect();
        Self { config: config.clone(), layout: layout.clone(), parts }
    }

    /// Adds the next band of tensor `index` of the layout.
    pub(crate) fn push(&mut self, index: usize, weight: Weight) {
        self.parts[index].push(weight);
    }

    /// The model.
    ///
    /// # Panics
    /// When a tensor of the layout was never pushed: callers check the checkpoint first.
    pub(crate) fn assemble(self, device: &Device) -> Llama {
        let mut parts = self.parts.into_iter();
        let mut next = || parts.next().expect("one part for each tensor of the layout");
        let matrix = |part: Vec<Weight>| match part.into_iter().next() {
            Some(Weight::Matrix(matrix)) => matrix,
            _ => unreachable!("the layout says matrix"),
        };
        let eps = self.config.rms_norm_eps;
        let vector = |part: Vec<Weight>| match part.into_iter().next() {
            Some(Weight::Vector(weight)) => weight,
            _ => unreachable!("the layout says vector"),
        };
        let norm = |part: Vec<Weight>| RmsNorm { weight: vector(part), eps };
        let vocabulary = |part: Vec<Weight>| {
            VocabularyMatrix::new(part.into_iter().map(|band| matrix(vec![band])).collect())
        };
        let embed_tokens = vocabulary(next());
        let layers = (0..self.config.num_hidden_layers)
            .map(|layer| {
                let mut block = Block {
                    self_attn: Attention {
                        q_proj: matrix(next()),
                        k_proj: matrix(next()),
                        v_proj: matrix(next()),
                        o_proj: matrix(next()),
                        biases: AttentionBiases::default(),
                    },
                    mlp: Mlp {
                        gate_proj: matrix(next()),
                        up_proj: matrix(next()),
                        down_proj: matrix(next()),
                    },
                    input_layernorm: norm(next()),
                    post_attention_layernorm: norm(next()),
                };
                let tensors = &self.layout.tensors()[self.layout.block(layer)];
                for spec in tensors.iter().filter(|spec| spec.module.is_bias()) {
                    *block.self_attn.biases.slot(spec.module) = Some(vector(next()));
                }
                block
            })
            .collect();
        let final_norm = norm(next());
        let lm_head = (!self.config.tie_word_embeddings).then(|| vocabulary(next()));
        Llama {
            config: self.config,
            layout: self.layout,
            device: device.clone(),
            embed_tokens,
            layers,
            norm: final_norm,
            lm_head,
        }
    }
}

impl Llama {
    /// Shape and constants.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Order of its tensors.
    pub fn layout(&self) -> &ParameterLayout {
        &self.layout
    }

    /// Where it lives.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Tensor `index` of the layout.
    pub fn weight(&self, index: usize) -> WeightRef<'_> {
        let spec = &self.layout.tensors()[index];
        let block = spec.layer.map(|layer| &self.layers[layer]);
        match (spec.module, block) {
            (Module::EmbedTokens, _) => WeightRef::Vocabulary(&self.embed_tokens),
            (Module::LmHead, _) => {
                WeightRef::Vocabulary(self.lm_head.as_ref().expect("in the layout only when untied"))
            }
            (Module::Norm, _) => WeightRef::Vector(&self.norm.weight),
            (Module::QProj, Some(b)) => WeightRef::Matrix(&b.self_attn.q_proj),
            (Module::KProj, Some(b)) => WeightRef::Matrix(&b.self_attn.k_proj),
            (Module::VProj, Some(b)) => WeightRef::Matrix(&b.self_attn.v_proj),
            (Module::OProj, Some(b)) => WeightRef::Matrix(&b.self_attn.o_proj),
            (Module::GateProj, Some(b)) => WeightRef::Matrix(&b.mlp.gate_proj),
            (Module::UpProj, Some(b)) => WeightRef::Matrix(&b.mlp.up_proj),
            (Module::DownProj, Some(b)) => WeightRef::Matrix(&b.mlp.down_proj),
            (Module::InputLayernorm, Some(b)) => WeightRef::Vector(&b.input_layernorm.weight),
            (Module::PostAttentionLayernorm, Some(b)) => {
                WeightRef::Vector(&b.post_attention_layernorm.weight)
            }
            (bias @ (Module::QBias | Module::KBias | Module::VBias | Module::OBias), Some(b)) => {
                let bias = b.self_attn.biases.get(bias);
                WeightRef::Vector(bias.expect("in the layout only when the model has it"))
            }
            (_, None) => unreachable!("block modules have a layer"),
        }
    }

    /// Tensor `index` of the layout, to edit it.
    pub(crate) fn weight_mut(&mut self, index: usize) -> WeightMut<'_> {
        let spec = &self.layout.tensors()[index];
        let block = spec.layer.map(|layer| &mut self.layers[layer]);
        match (spec.module, block) {
            (Module::EmbedTokens, _) => WeightMut::Vocabulary(&mut self.embed_tokens),
            (Module::LmHead, _) => {
                WeightMut::Vocabulary(self.lm_head.as_mut().expect("in the layout only when untied"))
            }
            (Module::Norm, _) => WeightMut::Vector(&mut self.norm.weight),
            (Module::QProj, Some(b)) => WeightMut::Matrix(&mut b.self_attn.q_proj),
            (Module::KProj, Some(b)) => WeightMut::Matrix(&mut b.self_attn.k_proj),
            (Module::VProj, Some(b)) => WeightMut::Matrix(&mut b.self_attn.v_proj),
            (Module::OProj, Some(b)) => WeightMut::Matrix(&mut b.self_attn.o_proj),
            (Module::GateProj, Some(b)) => WeightMut::Matrix(&mut b.mlp.gate_proj),
            (Module::UpProj, Some(b)) => WeightMut::Matrix(&mut b.mlp.up_proj),
            (Module::DownProj, Some(b)) => WeightMut::Matrix(&mut b.mlp.down_proj),
            (Module::InputLayernorm, Some(b)) => WeightMut::Vector(&mut b.input_layernorm.weight),
            (Module::PostAttentionLayernorm, Some(b)) => {
                WeightMut::Vector(&mut b.post_attention_layernorm.weight)
            }
            (bias @ (Module::QBias | Module::KBias | Module::VBias | Module::OBias), Some(b)) => {
                let bias = b.self_attn.biases.slot(bias).as_mut();
                WeightMut::Vector(bias.expect("in the layout only when the model has it"))
            }
            (_, None) => unreachable!("block modules have a layer"),
        }
    }

    /// The same model with every weight tracked by autodiff.
    #[cfg(feature = "autodiff")]
    pub(crate) fn tracked(&self) -> Self {
        let matrix = |w: &Tensor<2>| w.clone().autodiff().require_grad();
        let vector = |w: &Tensor<1>| w.clone().autodiff().require_grad();
        let norm = |n: &RmsNorm| RmsNorm { weight: vector(&n.weight), eps: n.eps };
        Self {
            config: self.config.clone(),
            layout: self.layout.clone(),
            device: self.device.clone().autodiff(),
            embed_tokens: self.embed_tokens.map(matrix),
            layers: self
                .layers
                .iter()
                .map(|b| Block {
                    self_attn: Attention {
                        q_proj: matrix(&b.self_attn.q_proj),
                        k_proj: matrix(&b.self_attn.k_proj),
                        v_proj: matrix(&b.self_attn.v_proj),
                        o_proj: matrix(&b.self_attn.o_proj),
                        biases: b.self_attn.biases.map(vector),
                    },
                    mlp: Mlp {
                        gate_proj: matrix(&b.mlp.gate_proj),
                        up_proj: matrix(&b.mlp.up_proj),
                        down_proj: matrix(&b.mlp.down_proj),
                    },
                    input_layernorm: norm(&b.input_layernorm),
                    post_attention_layernorm: norm(&b.post_attention_layernorm),
                })
                .collect(),
            norm: norm(&self.norm),
            lm_head: self.lm_head.as_ref().map(|head| head.map(matrix)),
        }
    }

    /// The same model with its matrices held as `dtype` (F32, BF16 or F16); norms and biases stay f32. Only scoring
    /// and training run such a model.
    #[must_use]
    pub fn with_matrices_in(self, dtype: DType) -> Self {
        let cast = |w: Tensor<2>| w.cast(dtype);
        Self {
            embed_tokens: self.embed_tokens.map(|band| cast(band.clone())),
            lm_head: self.lm_head.as_ref().map(|head| head.map(|band| cast(band.clone()))),
            layers: self
                .layers
                .into_iter()
                .map(|block| Block {
                    self_attn: Attention {
                        q_proj: cast(block.self_attn.q_proj),
                        k_proj: cast(block.self_attn.k_proj),
                        v_proj: cast(block.self_attn.v_proj),
                        o_proj: cast(block.self_attn.o_proj),
                        biases: block.self_attn.biases,
                    },
                    mlp: Mlp {
                        gate_proj: cast(block.mlp.gate_proj),
                        up_proj: cast(block.mlp.up_proj),
                        down_proj: cast(block.mlp.down_proj),
                    },
                    ..block
                })
                .collect(),
            ..self
        }
    }

    /// Checks that `rows` (equal lengths) can be run: not empty, in the vocabulary, in the context.
    ///
    /// # Errors
    /// [`ForwardError`].
    pub fn check_tokens(&self, rows: &[&[u32]]) -> Result<(), ForwardError> {
        check_tokens(&self.config, rows)
    }

    /// Embeddings `[batch, seq, hidden]` of `rows`, all of one length.
    fn embed(&self, rows: &[&[u32]]) -> Tensor<3> {
        let seq = rows[0].len();
        debug_assert!(rows.iter().all(|row| row.len() == seq), "rows of one batch have one length");
        let flat = self.embed_tokens.lookup(&rows.concat(), &self.device);
        flat.reshape([rows.len(), seq, self.config.hidden_size])
    }

    /// Last hidden states `[batch, seq, hidden]`, after the final norm, of rows of one length.
    ///
    /// # Errors
    /// [`ForwardError`] when [`Self::check_tokens`] fails or the table is shorter than the rows.
    pub fn hidden_states(&self, rows: &[&[u32]], rope: &RotaryTable) -> Result<Tensor<3>, ForwardError> {
        self.check_tokens(rows)?;
        let seq = rows[0].len();
        if seq > rope.length() {
            return Err(ForwardError::TooLong { found: seq, limit: rope.length() });
        }
        let mask = causal_mask(0, seq, seq, self.config.sliding_window, &self.device);
        let x = self
            .layers
            .iter()
            .fold(self.embed(rows), |x, block| block.forward(x, &self.config, rope, &mask, None));
        Ok(self.norm.forward(x))
    }

    /// Runs `tokens` after what `cache` holds and returns their last hidden states
    /// `[1, seq, hidden]`, after the final norm.
    ///
    /// # Errors
    /// [`ForwardError`] when a token is outside the vocabulary or the cache is full.
    pub fn extend(&self, tokens: &[u32], cache: &mut KvCache) -> Result<Tensor<3>, ForwardError> {
        self.check_tokens(&[tokens])?;
        let (start, end) = (cache.length, cache.length + tokens.len());
        if end > cache.capacity() {
            return Err(ForwardError::TooLong { found: end, limit: cache.capacity() });
        }
        let rows = cache.bucket(end);
        let mask = causal_mask(start, tokens.len(), rows, self.config.sliding_window, &self.device);
        let mut x = self.embed(&[tokens]);
        for (block, keys_values) in self.layers.iter().zip(&mut cache.layers) {
            let past = Past { keys_values, start, rows };
            x = block.forward(x, &self.config, &cache.rope, &mask, Some(past));
        }
        cache.length = end;
        Ok(self.norm.forward(x))
    }

    /// Logits `[n, vocab]` of last hidden states `[n, hidden]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens).logits(hidden)
    }

    /// Negative log-likelihood `[n]` in nats of `targets` after last hidden states `[n, hidden]`.
    /// Logits exist for 256 positions at a time.
    pub fn token_nll(&self, hidden: Tensor<2>, targets: &[u32]) -> Tensor<1> {
        let [n, width] = hidden.dims();
        let pieces = (0..n)
            .step_by(LOSS_CHUNK)
            .map(|start| {
                let len = LOSS_CHUNK.min(n - start);
                let ids: Vec<i32> = targets[start..start + len]
                    .iter()
                    .map(|&id| i32::try_from(id).expect("a token is below 2^24"))
                    .collect();
                let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [len, 1]), &self.device);
                let logits = self.logits(hidden.clone().slice([start..start + len, 0..width]));
                log_softmax(logits, 1).gather(1, ids).reshape([len]).neg()
            })
            .collect();
        Tensor::cat(pieces, 0)
    }

    /// Mean next-token cross-entropy in nats, `[1]`, over all targets of rows of one length.
    ///
    /// # Errors
    /// As [`Self::hidden_states`]; rows need two tokens for one target.
    pub fn mean_loss(&self, rows: &[&[u32]], rope: &RotaryTable) -> Result<Tensor<1>, ForwardError> {
        let hidden = self.hidden_states(rows, rope)?;
        let [batch, seq, width] = hidden.dims();
        if seq < 2 {
            return Err(ForwardError::Empty);
        }
        let hidden = hidden.slice([0..batch, 0..seq - 1, 0..width]).reshape([batch * (seq - 1), width]);
        let targets: Vec<u32> = rows.iter().flat_map(|row| row[1..].iter().copied()).collect();
        Ok(self.token_nll(hidden, &targets).mean())
    }

    /// Reads tensor `index` of the layout back to the host, row-major f32.
    ///
    /// # Errors
    /// [`ForwardError::Device`] when the device fails.
    pub async fn read_weight(&self, index: usize) -> Result<Vec<f32>, ForwardError> {
        let mut values = Vec::new();
        for piece in self.weight(index).flat_pieces() {
            values.extend(read_f32(piece).await?);
        }
        Ok(values)
    }
}

/// Checks that `rows` can be run: not empty, in the vocabulary, in the context.
///
/// # Errors
/// [`ForwardError`].
pub(crate) fn check_tokens(config: &LlamaConfig, rows: &[&[u32]]) -> Result<(), ForwardError> {
    let limit = config.max_position_embeddings;
    for row in rows {
        if row.is_empty() {
            return Err(ForwardError::Empty);
        }
        if row.len() > limit {
            return Err(ForwardError::TooLong { found: row.len(), limit });
        }
        let outside = row.iter().position(|&token| token as usize >= config.vocab_size);
        if let Some(position) = outside {
            return Err(ForwardError::TokenOutOfRange {
                token: row[position],
                position,
                vocab_size: config.vocab_size,
            });
        }
    }
    if rows.is_empty() { Err(ForwardError::Empty) } else { Ok(()) }
}

/// Reads a tensor back as f32 without blocking (a browser can't block).
///
/// # Errors
/// [`ForwardError::Device`] when the device fails.
pub(crate) async fn read_f32<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, ForwardError> {
    let failed = |error: String| ForwardError::Device(error);
    // Boxed: burn's future is large, and every caller's would carry it.
    let read = Box::pin(tensor.cast(DType::F32).into_data_async());
    let data = read.await.map_err(|error| failed(error.to_string()))?;
    data.try_into_vec::<f32>().map_err(|error| failed(error.to_string()))
}
