//! The order of a Llama's tensors and parameters.
//!
//! A parameter's *position* is its index when all tensors are laid one after another in the order
//! of [`ParameterLayout::new`], row-major inside a tensor. Positions break ties in a selection, so
//! the order is part of every file format of this project.

use crate::config::LlamaConfig;
use serde::{Deserialize, Serialize};

/// What a tensor does in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Module {
    /// `model.embed_tokens`, also the output head when embeddings are tied.
    EmbedTokens,
    /// `self_attn.q_proj`.
    QProj,
    /// `self_attn.k_proj`.
    KProj,
    /// `self_attn.v_proj`.
    VProj,
    /// `self_attn.o_proj`.
    OProj,
    /// `mlp.gate_proj`.
    GateProj,
    /// `mlp.up_proj`.
    UpProj,
    /// `mlp.down_proj`.
    DownProj,
    /// `input_layernorm`.
    InputLayernorm,
    /// `post_attention_layernorm`.
    PostAttentionLayernorm,
    /// `model.norm`.
    Norm,
    /// `lm_head` when embeddings are not tied.
    LmHead,
}

impl Module {
    /// Whether this is the gain of an `RMSNorm`.
    pub fn is_norm(self) -> bool {
        matches!(self, Self::InputLayernorm | Self::PostAttentionLayernorm | Self::Norm)
    }

    /// Whether this is the embedding or the output head.
    pub fn is_vocabulary(self) -> bool {
        matches!(self, Self::EmbedTokens | Self::LmHead)
    }
}

/// The nine tensors of a block in order.
pub(crate) const BLOCK_MODULES: [(Module, &str); 9] = [
    (Module::QProj, "self_attn.q_proj"),
    (Module::KProj, "self_attn.k_proj"),
    (Module::VProj, "self_attn.v_proj"),
    (Module::OProj, "self_attn.o_proj"),
    (Module::GateProj, "mlp.gate_proj"),
    (Module::UpProj, "mlp.up_proj"),
    (Module::DownProj, "mlp.down_proj"),
    (Module::InputLayernorm, "input_layernorm"),
    (Module::PostAttentionLayernorm, "post_attention_layernorm"),
];

/// One tensor of the layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Hugging Face name, for instance `model.layers.0.mlp.up_proj.weight`.
    pub name: String,
    /// `[d_output, d_input]`, `[vocab, hidden]`, or `[hidden]` for a norm's gain.
    pub shape: Vec<usize>,
    /// What it does.
    pub module: Module,
    /// Its block, if it is in one.
    pub layer: Option<usize>,
    /// Position of its first parameter.
    pub start: u64,
}

impl TensorSpec {
    /// Number of parameters.
    pub fn numel(&self) -> u64 {
        self.shape.iter().map(|&d| d as u64).product()
    }
}

/// All tensors of a model in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterLayout {
    tensors: Vec<TensorSpec>,
}

impl ParameterLayout {
    /// The layout of a config: `embed_tokens`; per layer q, k, v, o, gate, up, down,
    /// `input_layernorm`, `post_attention_layernorm`; then `norm`; then `lm_head` unless tied.
    pub fn new(config: &LlamaConfig) -> Self {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let (queries, keys) = (config.query_size(), config.key_value_size());
        let mut layout = Self { tensors: Vec::new() };
        let vocabulary = vec![config.vocab_size, hidden];
        layout.push("model.embed_tokens.weight".into(), vocabulary.clone(), Module::EmbedTokens, None);
        for layer in 0..config.num_hidden_layers {
            for (module, name) in BLOCK_MODULES {
                let shape = match module {
                    Module::QProj => vec![queries, hidden],
                    Module::KProj | Module::VProj => vec![keys, hidden],
                    Module::OProj => vec![hidden, queries],
                    Module::GateProj | Module::UpProj => vec![inner, hidden],
                    Module::DownProj => vec![hidden, inner],
                    _ => vec![hidden],
                };
                layout.push(format!("model.layers.{layer}.{name}.weight"), shape, module, Some(layer));
            }
        }
        layout.push("model.norm.weight".into(), vec![hidden], Module::Norm, None);
        if !config.tie_word_embeddings {
            layout.push("lm_head.weight".into(), vocabulary, Module::LmHead, None);
        }
        layout
    }

    fn push(&mut self, name: String, shape: Vec<usize>, module: Module, layer: Option<usize>) {
        let start = self.num_parameters();
        self.tensors.push(TensorSpec { name, shape, module, layer, start });
    }

    /// The tensors in order.
    pub fn tensors(&self) -> &[TensorSpec] {
        &self.tensors
    }

    /// Number of parameters of the model (a tied head is counted once).
    pub fn num_parameters(&self) -> u64 {
        self.tensors.last().map_or(0, |last| last.start + last.numel())
    }

    /// Index of the tensor with this name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.tensors.iter().position(|tensor| tensor.name == name)
    }

    /// Tensor index and offset inside it of a position; `None` past the end.
    pub fn locate(&self, position: u64) -> Option<(usize, u64)> {
        let index = self.tensors.partition_point(|tensor| tensor.start <= position).checked_sub(1)?;
        let offset = position - self.tensors[index].start;
        (offset < self.tensors[index].numel()).then_some((index, offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(tied: bool) -> LlamaConfig {
        LlamaConfig::from_json(&format!(
            r#"{{"model_type":"llama","vocab_size":16,"hidden_size":8,"intermediate_size":12,
            "num_hidden_layers":2,"num_attention_heads":2,"num_key_value_heads":1,
            "max_position_embeddings":32,"rms_norm_eps":1e-5,"tie_word_embeddings":{tied}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn positions_are_contiguous_and_locate_inverts_them() {
        for tied in [true, false] {
            let layout = ParameterLayout::new(&config(tied));
            let mut expected = 0;
            for (index, tensor) in layout.tensors().iter().enumerate() {
                assert_eq!(tensor.start, expected);
                assert_eq!(layout.locate(tensor.start), Some((index, 0)));
                expected += tensor.numel();
                assert_eq!(layout.locate(expected - 1), Some((index, tensor.numel() - 1)));
            }
            assert_eq!(layout.num_parameters(), expected);
            assert_eq!(layout.locate(expected), None);
            assert_eq!(layout.index_of("lm_head.weight").is_none(), tied);
        }
    }
}
