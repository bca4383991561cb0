//! Hugging Face `config.json` of a Llama checkpoint, parsed and checked.
//!
//! Everything here comes from outside, so every number is bounded before anything is sized by it.

use serde::Deserialize;

/// The largest value that any single dimension of a config may have.
const MAX_DIMENSION: u64 = 1 << 24;

/// Why a `config.json` was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text is not JSON, or a required field is missing or of another type.
    #[error("config.json can't be read: {0}")]
    Json(#[from] serde_json::Error),
    /// The checkpoint is of a family whose arithmetic differs from Llama's.
    #[error(
        "unknown architecture {found:?} in config.json: expected \"llama\" (LlamaForCausalLM); other families need their own rules"
    )]
    UnknownArchitecture {
        /// What the config names.
        found: String,
    },
    /// A field has a value that this implementation does not compute.
    #[error("config.json: {field} is {found}, expected {expected}")]
    Unsupported {
        /// Field name as in the file.
        field: &'static str,
        /// The value found.
        found: String,
        /// The values that would be right.
        expected: &'static str,
    },
}

/// Frequency scaling of Llama 3.1 and 3.2 (`rope_type` = `llama3`).
///
/// Source: transformers `modeling_rope_utils._compute_llama3_parameters`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Llama3RopeScaling {
    /// Divisor of the low frequencies.
    pub factor: f64,
    /// Wavelengths longer than `original / low` are divided by `factor`.
    pub low_freq_factor: f64,
    /// Wavelengths shorter than `original / high` are kept.
    pub high_freq_factor: f64,
    /// Context length, in tokens, that the model was pre-trained with.
    pub original_max_position_embeddings: f64,
}

/// Shape and constants of a Llama.
#[derive(Debug, Clone, PartialEq)]
pub struct LlamaConfig {
    /// Rows of the embedding, tokens.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads (grouped-query attention when fewer than query heads).
    pub num_key_value_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Longest context, tokens.
    pub max_position_embeddings: usize,
    /// ε of `RMSNorm`.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Llama 3 frequency scaling, if any.
    pub rope_scaling: Option<Llama3RopeScaling>,
    /// Whether `lm_head` is the embedding.
    pub tie_word_embeddings: bool,
    /// Beginning-of-sequence token, if the model has one.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a generation.
    pub eos_token_ids: Vec<u32>,
}

#[derive(Deserialize)]
struct RawRopeScaling {
    rope_type: Option<String>,
    #[serde(rename = "type")]
    legacy_type: Option<String>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    rope_theta: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    model_type: Option<String>,
    vocab_size: u64,
    hidden_size: u64,
    intermediate_size: u64,
    num_hidden_layers: u64,
    num_attention_heads: u64,
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    max_position_embeddings: u64,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_scaling: Option<RawRopeScaling>,
    rope_parameters: Option<RawRopeScaling>,
    #[serde(default)]
    tie_word_embeddings: bool,
    bos_token_id: Option<u32>,
    eos_token_id: Option<OneOrMany>,
    hidden_act: Option<String>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
}

fn unsupported(field: &'static str, found: impl std::fmt::Display, expected: &'static str) -> ConfigError {
    ConfigError::Unsupported { field, found: found.to_string(), expected }
}

fn dimension(field: &'static str, value: u64) -> Result<usize, ConfigError> {
    if value == 0 || value > MAX_DIMENSION {
        return Err(unsupported(field, value, "a whole number from 1 to 16777216"));
    }
    usize::try_from(value).ok().ok_or_else(|| unsupported(field, value, "a number that fits this machine"))
}

fn positive(field: &'static str, value: f64) -> Result<f64, ConfigError> {
    if value.is_finite() && value > 0.0 {
        Ok(value)
    } else {
        Err(unsupported(field, value, "a finite number above 0"))
    }
}

fn rope_scaling(raw: &RawRopeScaling) -> Result<Option<Llama3RopeScaling>, ConfigError> {
    const EXPECTED: &str = "\"default\" or \"llama3\" with its four numbers";
    let kind = raw.rope_type.as_deref().or(raw.legacy_type.as_deref()).unwrap_or("default");
    match kind {
        "default" => Ok(None),
        "llama3" => {
            let (Some(factor), Some(low), Some(high), Some(original)) =
                (raw.factor, raw.low_freq_factor, raw.high_freq_factor, raw.original_max_position_embeddings)
            else {
                return Err(unsupported("rope_scaling", "llama3 with a number missing", EXPECTED));
            };
            let low_freq_factor = positive("rope_scaling.low_freq_factor", low)?;
            let high_freq_factor = positive("rope_scaling.high_freq_factor", high)?;
            if high_freq_factor <= low_freq_factor {
                return Err(unsupported(
                    "rope_scaling.high_freq_factor",
                    high,
                    "a number above low_freq_factor",
                ));
            }
            Ok(Some(Llama3RopeScaling {
                factor: positive("rope_scaling.factor", factor)?,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings: positive(
                    "rope_scaling.original_max_position_embeddings",
                    original,
                )?,
            }))
        }
        other => Err(unsupported("rope_scaling.rope_type", format!("{other:?}"), EXPECTED)),
    }
}

impl LlamaConfig {
    /// Parses the text of a `config.json`.
    ///
    /// # Errors
    /// [`ConfigError`] when the text is not JSON, names another architecture, or asks for something
    /// that is not computed here (biases, other activations, other rope types, zero sizes).
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        let raw: RawConfig = {
            // The family is checked before the fields: another family's config lacks half of them.
            let value: serde_json::Value = serde_json::from_str(text)?;
            let family = value.get("model_type").and_then(serde_json::Value::as_str);
            if let Some(family) = family
                && family != "llama"
            {
                return Err(ConfigError::UnknownArchitecture { found: family.to_owned() });
            }
            serde_json::from_value(value)?
        };
        if let Some(architecture) =
            raw.architectures.iter().flatten().find(|name| name.as_str() != "LlamaForCausalLM")
        {
            return Err(ConfigError::UnknownArchitecture { found: architecture.clone() });
        }
        if raw.model_type.is_none() && raw.architectures.as_ref().is_none_or(Vec::is_empty) {
            return Err(ConfigError::UnknownArchitecture { found: "(none named)".to_owned() });
        }
        if let Some(act) = raw.hidden_act.as_deref()
            && act != "silu"
        {
            return Err(unsupported("hidden_act", format!("{act:?}"), "\"silu\""));
        }
        if raw.attention_bias {
            return Err(unsupported("attention_bias", true, "false"));
        }
        if raw.mlp_bias {
            return Err(unsupported("mlp_bias", true, "false"));
        }

        let hidden_size = dimension("hidden_size", raw.hidden_size)?;
        let num_attention_heads = dimension("num_attention_heads", raw.num_attention_heads)?;
        let num_key_value_heads =
            dimension("num_key_value_heads", raw.num_key_value_heads.unwrap_or(raw.num_attention_heads))?;
        if !num_attention_heads.is_multiple_of(num_key_value_heads) {
            return Err(unsupported(
                "num_key_value_heads",
                num_key_value_heads,
                "a divisor of num_attention_heads",
            ));
        }
        let head_dim = match raw.head_dim {
            Some(value) => dimension("head_dim", value)?,
            None if hidden_size.is_multiple_of(num_attention_heads) => hidden_size / num_attention_heads,
            None => {
                return Err(unsupported(
                    "hidden_size",
                    hidden_size,
                    "a multiple of num_attention_heads (or head_dim given)",
                ));
            }
        };
        if !head_dim.is_multiple_of(2) {
            return Err(unsupported("head_dim", head_dim, "an even number (rope turns pairs)"));
        }
        let rope = raw.rope_parameters.as_ref().or(raw.rope_scaling.as_ref());
        let rope_theta = rope.and_then(|rope| rope.rope_theta).or(raw.rope_theta).unwrap_or(10_000.0);
        let config = Self {
            vocab_size: dimension("vocab_size", raw.vocab_size)?,
            hidden_size,
            intermediate_size: dimension("intermediate_size", raw.intermediate_size)?,
            num_hidden_layers: dimension("num_hidden_layers", raw.num_hidden_layers)?,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            max_position_embeddings: dimension("max_position_embeddings", raw.max_position_embeddings)?,
            rms_norm_eps: positive("rms_norm_eps", raw.rms_norm_eps)?,
            rope_theta: positive("rope_theta", rope_theta)?,
            rope_scaling: rope.map(rope_scaling).transpose()?.flatten(),
            tie_word_embeddings: raw.tie_word_embeddings,
            bos_token_id: raw.bos_token_id,
            eos_token_ids: match raw.eos_token_id {
                None => Vec::new(),
                Some(OneOrMany::One(id)) => vec![id],
                Some(OneOrMany::Many(ids)) => ids,
            },
        };
        // A spot names a tensor with 16 bits, so a config can't have more tensors than that.
        if config.num_hidden_layers > 7_000 {
            return Err(unsupported("num_hidden_layers", config.num_hidden_layers, "at most 7000"));
        }
        for (field, id) in config
            .bos_token_id
            .iter()
            .map(|id| ("bos_token_id", *id))
            .chain(config.eos_token_ids.iter().map(|id| ("eos_token_id", *id)))
        {
            if id as usize >= config.vocab_size {
                return Err(unsupported(field, id, "a token below vocab_size"));
            }
        }
        Ok(config)
    }

    /// Width of all query heads together.
    pub fn query_size(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub fn key_value_size(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: &str = r#"{"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":16,
        "hidden_size":8,"intermediate_size":12,"num_hidden_layers":1,"num_attention_heads":2,
        "max_position_embeddings":32,"rms_norm_eps":1e-5,"bos_token_id":1,"eos_token_id":[2,3]}"#;

    #[test]
    fn absent_fields_take_transformers_defaults() {
        let config = LlamaConfig::from_json(TINY).unwrap();
        assert_eq!(config.num_key_value_heads, 2);
        assert_eq!(config.head_dim, 4);
        assert_eq!(config.eos_token_ids, [2, 3]);
        assert!((config.rope_theta - 10_000.0).abs() < f64::EPSILON);
        assert!(!config.tie_word_embeddings);
    }

    #[test]
    fn another_family_is_named_in_the_error() {
        let text = TINY.replace("\"llama\"", "\"gpt2\"");
        let error = LlamaConfig::from_json(&text).unwrap_err().to_string();
        assert!(error.contains("gpt2") && error.contains("llama"), "{error}");
    }

    #[test]
    fn what_is_not_computed_is_refused() {
        for (from, to) in [
            ("\"hidden_size\":8", "\"hidden_size\":0"),
            ("\"hidden_size\":8", "\"hidden_size\":99999999999"),
            ("\"hidden_size\":8", "\"hidden_size\":9"),
            ("\"vocab_size\":16", "\"vocab_size\":2"),
            ("\"rms_norm_eps\":1e-5", "\"rms_norm_eps\":0"),
            ("\"vocab_size\":16", "\"vocab_size\":16,\"attention_bias\":true"),
            ("\"vocab_size\":16", "\"vocab_size\":16,\"hidden_act\":\"gelu\""),
            ("\"vocab_size\":16", "\"vocab_size\":16,\"num_key_value_heads\":3"),
            ("\"vocab_size\":16", "\"vocab_size\":16,\"rope_scaling\":{\"rope_type\":\"yarn\"}"),
            ("\"vocab_size\":16", "\"vocab_size\":16,\"rope_scaling\":{\"rope_type\":\"llama3\"}"),
            ("\"num_hidden_layers\":1", "\"num_hidden_layers\":9000"),
        ] {
            let text = TINY.replace(from, to);
            assert!(LlamaConfig::from_json(&text).is_err(), "accepted {to}");
        }
    }
}
