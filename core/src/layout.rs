//! The order of a Llama's tensors and parameters.
//!
//! A parameter's *position* is its index when all tensors are laid one after another in the order
//! of [`ParameterLayout::new`], row-major inside a tensor. Positions break ties in a selection, so
//! the order is part of every file format of this project.

use crate::config::LlamaConfig;
use serde::{Deserialize, Serialize};
use std::ops::Range;

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
    /// The bias of `self_attn.q_proj`.
    QBias,
    /// The bias of `self_attn.k_proj`.
    KBias,
    /// The bias of `self_attn.v_proj`.
    VBias,
    /// The bias of `self_attn.o_proj`.
    OBias,
}

impl Module {
    /// Whether this is the gain of an `RMSNorm`.
    pub fn is_norm(self) -> bool {
        matches!(self, Self::InputLayernorm | Self::PostAttentionLayernorm | Self::Norm)
    }

    /// Whether this is the bias of a linear layer.
    pub fn is_bias(self) -> bool {
        matches!(self, Self::QBias | Self::KBias | Self::VBias | Self::OBias)
    }

    /// Whether this is the embedding or the output head.
    pub fn is_vocabulary(self) -> bool {
        matches!(self, Self::EmbedTokens | Self::LmHead)
    }
}

/// The nine tensors that every block has, in order.
const BLOCK_MODULES: [(Module, &str); 9] = [
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

/// The biases of a block in order, after the other tensors: files that were written when there were
/// none keep their positions.
const BLOCK_BIASES: [(Module, &str); 4] = [
    (Module::QBias, "self_attn.q_proj"),
    (Module::KBias, "self_attn.k_proj"),
    (Module::VBias, "self_attn.v_proj"),
    (Module::OBias, "self_attn.o_proj"),
];

/// One tensor of the layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Hugging Face name, for instance `model.layers.0.mlp.up_proj.weight`.
    pub name: String,
    /// `[d_output, d_input]`, `[vocab, hidden]`, `[hidden]` for a norm's gain, or `[d_output]` for a
    /// bias.
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
    /// Tensors of a block.
    block_len: usize,
}

impl ParameterLayout {
    /// The layout of a config: `embed_tokens`; per layer q, k, v, o, gate, up, down,
    /// `input_layernorm`, `post_attention_layernorm`, and those of the biases of q, k, v and o that the
    /// config has; then `norm`; then `lm_head` unless tied.
    pub fn new(config: &LlamaConfig) -> Self {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let (queries, keys) = (config.query_size(), config.key_value_size());
        let biases: Vec<(Module, &str)> = BLOCK_BIASES
            .into_iter()
            .filter(|(module, _)| if *module == Module::OBias { config.o_bias } else { config.qkv_bias })
            .collect();
        let mut layout = Self { tensors: Vec::new(), block_len: BLOCK_MODULES.len() + biases.len() };
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
            for &(module, name) in &biases {
                let width = match module {
                    Module::QBias => queries,
                    Module::OBias => hidden,
                    _ => keys,
                };
                layout.push(format!("model.layers.{layer}.{name}.bias"), vec![width], module, Some(layer));
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

    /// Indices of the tensors of block `layer`.
    pub(crate) fn block(&self, layer: usize) -> Range<usize> {
        // The embedding comes first.
        let first = 1 + layer * self.block_len;
        first..first + self.block_len
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

    fn config(tied: bool, family: &str) -> LlamaConfig {
        LlamaConfig::from_json(&format!(
            r#"{{{family},"vocab_size":16,"hidden_size":8,"intermediate_size":12,
            "num_hidden_layers":2,"num_attention_heads":2,"num_key_value_heads":1,
            "max_position_embeddings":32,"rms_norm_eps":1e-5,"tie_word_embeddings":{tied}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn positions_are_contiguous_and_locate_inverts_them() {
        let families = [
            (r#""model_type":"llama""#, 0),
            (r#""model_type":"qwen2""#, 3),
            (r#""model_type":"llama","attention_bias":true"#, 4),
        ];
        for (tied, (family, biases)) in
            [true, false].into_iter().flat_map(|tied| families.map(|of| (tied, of)))
        {
            let layout = ParameterLayout::new(&config(tied, family));
            assert_eq!(layout.tensors().iter().filter(|tensor| tensor.module.is_bias()).count(), 2 * biases);
            for layer in 0..2 {
                let block = &layout.tensors()[layout.block(layer)];
                assert!(block.iter().all(|tensor| tensor.layer == Some(layer)));
                assert_eq!(block[8].module, Module::PostAttentionLayernorm);
                assert!(block[9..].iter().all(|tensor| tensor.module.is_bias() && tensor.shape.len() == 1));
                assert!(block[9..].iter().all(|tensor| tensor.name.ends_with("_proj.bias")));
            }
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
