//! What Hugging Face tensor names say, for files that name tensors without a config beside them.

use crate::layout::Module;

/// Tensors of a block by the part of their name between the layer's number and the kind of tensor.
const OF_BLOCKS: [(&str, Module); 13] = [
    ("self_attn.q_proj.weight", Module::QProj),
    ("self_attn.k_proj.weight", Module::KProj),
    ("self_attn.v_proj.weight", Module::VProj),
    ("self_attn.o_proj.weight", Module::OProj),
    ("mlp.gate_proj.weight", Module::GateProj),
    ("mlp.up_proj.weight", Module::UpProj),
    ("mlp.down_proj.weight", Module::DownProj),
    ("input_layernorm.weight", Module::InputLayernorm),
    ("post_attention_layernorm.weight", Module::PostAttentionLayernorm),
    ("self_attn.q_proj.bias", Module::QBias),
    ("self_attn.k_proj.bias", Module::KBias),
    ("self_attn.v_proj.bias", Module::VBias),
    ("self_attn.o_proj.bias", Module::OBias),
];

/// Module and layer of a tensor by its name; `None` for names that no Llama has.
pub fn module_of(name: &str) -> Option<(Module, Option<usize>)> {
    match name {
        "model.embed_tokens.weight" => return Some((Module::EmbedTokens, None)),
        "model.norm.weight" => return Some((Module::Norm, None)),
        "lm_head.weight" => return Some((Module::LmHead, None)),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (_, module) = OF_BLOCKS.iter().find(|(known, _)| *known == rest)?;
    Some((*module, Some(layer.parse().ok()?)))
}

impl Module {
    /// Short name, as in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::EmbedTokens => "embed_tokens",
            Self::QProj => "q_proj",
            Self::KProj => "k_proj",
            Self::VProj => "v_proj",
            Self::OProj => "o_proj",
            Self::GateProj => "gate_proj",
            Self::UpProj => "up_proj",
            Self::DownProj => "down_proj",
            Self::InputLayernorm => "input_layernorm",
            Self::PostAttentionLayernorm => "post_attention_layernorm",
            Self::Norm => "norm",
            Self::LmHead => "lm_head",
            Self::QBias => "q_proj.bias",
            Self::KBias => "k_proj.bias",
            Self::VBias => "v_proj.bias",
            Self::OBias => "o_proj.bias",
        }
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::config::LlamaConfig;
    use crate::layout::ParameterLayout;

    #[test]
    fn every_tensor_of_a_layout_is_known_by_its_name() {
        let config = LlamaConfig::from_json(
            r#"{"model_type":"llama","vocab_size":6,"hidden_size":4,"intermediate_size":3,
            "num_hidden_layers":12,"num_attention_heads":2,"max_position_embeddings":8,"rms_norm_eps":1e-5,
            "attention_bias":true}"#,
        );
        for spec in ParameterLayout::new(&config.unwrap()).tensors() {
            assert_eq!(module_of(&spec.name), Some((spec.module, spec.layer)), "{}", spec.name);
            assert!(spec.name.contains(spec.module.name()));
        }
        for other in
            ["", "model.layers.x.mlp.up_proj.weight", "model.layers.1.mlp.up_proj", "transformer.wte"]
        {
            assert_eq!(module_of(other), None);
        }
    }
}
