//! Hugging Face `config.json` of a Llama, or of a family that is a Llama but for a small difference,
//! parsed and checked.
//!
//! Everything here comes from outside, so every number is bounded before anything is sized by it.

use crate::given::Given;
use serde::Deserialize;

/// The largest value that any single dimension of a config may have.
const MAX_DIMENSION: u64 = 1 << 24;

/// Why a `config.json` was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text is not JSON, or a required field is missing or of another type.
    #[error("config.json can't be read: {0}")]
    Json(#[from] serde_json::Error),
    /// The checkpoint is of a family whose arithmetic is not computed here.
    #[error(
        "unknown architecture {found:?} in config.json: expected {}; choose a checkpoint of one of these families",
        Family::listed()
    )]
    UnknownArchitecture {
        /// What the config names.
        found: String,
    },
    /// A field has a value that this implementation does not compute.
    #[error("config.json: {field} is {found}, expected {expected}; choose a checkpoint for which that holds")]
    Unsupported {
        /// Field name as in the file.
        field: &'static str,
        /// The value found.
        found: String,
        /// The values that would be right.
        expected: &'static str,
    },
}

/// A family of checkpoints, as transformers' `model_type` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Llama, and what is published as one: `CodeLlama`, `TinyLlama`, `SmolLM`.
    Llama,
    /// Llama whose attention may see a window of tokens only.
    Mistral,
    /// Qwen2 and Qwen2.5: Llama with biases of queries, keys and values.
    Qwen2,
}

impl Family {
    /// All families that are computed here.
    pub const ALL: [Self; 3] = [Self::Llama, Self::Mistral, Self::Qwen2];

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "Llama",
            Self::Mistral => "Mistral",
            Self::Qwen2 => "Qwen2",
        }
    }

    /// `model_type` in a config.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
        }
    }

    /// The entry of `architectures` in a config.
    pub fn architecture(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
        }
    }

    /// The families in words, for messages.
    fn listed() -> String {
        let of = |family: Self| format!("{:?} ({})", family.model_type(), family.architecture());
        let [first, second, third] = Self::ALL.map(of);
        format!("{first}, {second} or {third}")
    }

    /// Key and value heads where a config is silent about them; `None`: as many as query heads.
    fn default_key_value_heads(self) -> Option<u64> {
        match self {
            Self::Llama => None,
            Self::Mistral => Some(8),
            Self::Qwen2 => Some(32),
        }
    }
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

/// Shape and constants of a Llama, or of a family that differs by what is said here.
#[derive(Debug, Clone, PartialEq)]
pub struct LlamaConfig {
    /// The family.
    pub family: Family,
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
    /// Tokens that a token attends to, itself included: the token at position `i` sees `j ≤ i` with
    /// `i − j < window`. `None`: all of them.
    pub sliding_window: Option<usize>,
    /// Whether `q_proj`, `k_proj` and `v_proj` add a bias.
    pub qkv_bias: bool,
    /// Whether `o_proj` adds a bias.
    pub o_bias: bool,
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

/// What names the family.
#[derive(Deserialize)]
struct RawFamily {
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    model_type: Option<String>,
}

#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the fields of a file")]
struct RawConfig {
    vocab_size: u64,
    hidden_size: u64,
    intermediate_size: u64,
    num_hidden_layers: u64,
    num_attention_heads: u64,
    #[serde(default)]
    num_key_value_heads: Given<u64>,
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
    #[serde(default)]
    sliding_window: Given<u64>,
    #[serde(default)]
    use_sliding_window: bool,
    max_window_layers: Option<u64>,
    layer_types: Option<Vec<String>>,
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

/// The family that `model_type` names, or else the first of `architectures`; both have to agree.
/// `None` when nothing is named.
fn family(raw: &RawFamily) -> Result<Option<Family>, ConfigError> {
    let unknown = |found: &str| ConfigError::UnknownArchitecture { found: found.to_owned() };
    let mut architectures = raw.architectures.iter().flatten();
    let family = match (&raw.model_type, architectures.clone().next()) {
        (Some(name), _) => {
            Family::ALL.into_iter().find(|family| family.model_type() == name).ok_or_else(|| unknown(name))?
        }
        (None, Some(name)) => {
            let known = Family::ALL.into_iter().find(|family| family.architecture() == name);
            known.ok_or_else(|| unknown(name))?
        }
        (None, None) => return Ok(None),
    };
    match architectures.find(|name| *name != family.architecture()) {
        Some(other) => Err(unknown(other)),
        None => Ok(Some(family)),
    }
}

/// The window of attention.
///
/// Source: transformers `MistralConfig`, `Qwen2Config` and `masking_utils.sliding_window_overlay`
/// (`kv_idx > q_idx - sliding_window`).
fn sliding_window(family: Family, raw: &RawConfig) -> Result<Option<usize>, ConfigError> {
    const DEFAULT: Option<u64> = Some(4096);
    match family {
        // The library's Llama has no window, whatever its config says.
        Family::Llama => Ok(None),
        Family::Mistral => match raw.sliding_window.or_default(DEFAULT) {
            None => Ok(None),
            Some(0) => Err(unsupported("sliding_window", 0, "null or a number of tokens from 1 on")),
            // A window beyond every context is none.
            Some(window) => Ok(usize::try_from(window).ok()),
        },
        Family::Qwen2 => {
            // Only layers from `max_window_layers` on have the window; `layer_types` says it outright.
            if let Some(other) = raw.layer_types.iter().flatten().find(|kind| *kind != "full_attention") {
                return Err(unsupported(
                    "layer_types",
                    format!("{other:?}"),
                    "\"full_attention\" for all layers",
                ));
            }
            let from = raw.max_window_layers.unwrap_or(28);
            if raw.use_sliding_window
                && raw.layer_types.is_none()
                && raw.sliding_window.or_default(DEFAULT).is_some()
                && from < raw.num_hidden_layers
            {
                return Err(unsupported(
                    "use_sliding_window",
                    format!("true with a window in the layers from {from} on"),
                    "false, or max_window_layers not below num_hidden_layers",
                ));
            }
            Ok(None)
        }
    }
}

impl LlamaConfig {
    /// Parses the text of a `config.json`.
    ///
    /// # Errors
    /// [`ConfigError`] when the text is not JSON, names another architecture, or asks for something
    /// that is not computed here (biases of the MLP, a window in some layers only, other activations,
    /// other rope types, zero sizes).
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        let value: serde_json::Value = serde_json::from_str(text)?;
        // The family is checked before the fields: another family's config lacks half of them.
        let family = family(&RawFamily::deserialize(&value)?)?;
        let raw: RawConfig = serde_json::from_value(value)?;
        let family =
            family.ok_or_else(|| ConfigError::UnknownArchitecture { found: "(none named)".to_owned() })?;
        if let Some(act) = raw.hidden_act.as_deref()
            && act != "silu"
        {
            return Err(unsupported("hidden_act", format!("{act:?}"), "\"silu\""));
        }
        // Qwen2 has its biases whatever `attention_bias` says, and the library's Mistral has none.
        if raw.attention_bias && family == Family::Mistral {
            return Err(unsupported("attention_bias", true, "false for a Mistral"));
        }
        let llama_bias = raw.attention_bias && family == Family::Llama;
        if raw.mlp_bias {
            return Err(unsupported("mlp_bias", true, "false"));
        }

        let hidden_size = dimension("hidden_size", raw.hidden_size)?;
        let num_attention_heads = dimension("num_attention_heads", raw.num_attention_heads)?;
        let key_value_heads = raw.num_key_value_heads.or_default(family.default_key_value_heads());
        let num_key_value_heads =
            dimension("num_key_value_heads", key_value_heads.unwrap_or(raw.num_attention_heads))?;
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
        if head_dim.checked_mul(num_attention_heads).is_none_or(|width| width as u64 > MAX_DIMENSION) {
            return Err(unsupported("head_dim", head_dim, "at most 16777216 with all heads together"));
        }
        if !head_dim.is_multiple_of(2) {
            return Err(unsupported("head_dim", head_dim, "an even number (rope turns pairs)"));
        }
        let rope = raw.rope_parameters.as_ref().or(raw.rope_scaling.as_ref());
        let rope_theta = rope.and_then(|rope| rope.rope_theta).or(raw.rope_theta).unwrap_or(10_000.0);
        let config = Self {
            family,
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
            sliding_window: sliding_window(family, &raw)?,
            qkv_bias: llama_bias || family == Family::Qwen2,
            o_bias: llama_bias,
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
        if config.qkv_bias && config.num_hidden_layers > 5_000 {
            return Err(unsupported(
                "num_hidden_layers",
                config.num_hidden_layers,
                "at most 5000 with biases",
            ));
        }
        // Counts and positions of parameters are exact far below this.
        if config.num_parameters_at_most() > 1 << 53 {
            return Err(unsupported(
                "vocab_size",
                config.vocab_size,
                "with the other sizes, at most 2^53 parameters",
            ));
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

    /// A bound of the number of parameters that no size overflows.
    fn num_parameters_at_most(&self) -> u128 {
        let [vocabulary, hidden, inner, layers, queries] = [
            self.vocab_size,
            self.hidden_size,
            self.intermediate_size,
            self.num_hidden_layers,
            self.query_size(),
        ]
        .map(|size| size as u128);
        2 * (vocabulary + 1) * hidden + layers * (4 * (queries + 1) * (hidden + 1) + 3 * (inner + 1) * hidden)
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

#[cfg(all(test, not(target_arch = "wasm32")))]
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
            ("\"vocab_size\":16", "\"vocab_size\":16,\"mlp_bias\":true"),
            ("\"vocab_size\":16", "\"vocab_size\":16,\"hidden_act\":\"gelu\""),
            ("\"vocab_size\":16", "\"vocab_size\":16,\"num_key_value_heads\":3"),
            ("\"vocab_size\":16", "\"vocab_size\":16,\"rope_scaling\":{\"rope_type\":\"yarn\"}"),
            ("\"vocab_size\":16", "\"vocab_size\":16,\"rope_scaling\":{\"rope_type\":\"llama3\"}"),
            ("\"num_hidden_layers\":1", "\"num_hidden_layers\":9000"),
            ("\"num_hidden_layers\":1", "\"num_hidden_layers\":6000,\"attention_bias\":true"),
            ("\"model_type\":\"llama\"", "\"model_type\":\"mistral\""),
            ("LlamaForCausalLM", "Qwen2ForCausalLM"),
        ] {
            let text = TINY.replace(from, to);
            assert!(LlamaConfig::from_json(&text).is_err(), "accepted {to}");
        }
    }

    /// [`TINY`] as a config of `family`, with more fields.
    fn of(family: Family, fields: &str) -> Result<LlamaConfig, ConfigError> {
        let text = TINY
            .replace("LlamaForCausalLM", family.architecture())
            .replace("\"llama\"", &format!("\"{}\"", family.model_type()))
            .replace("\"vocab_size\":16", &format!("\"vocab_size\":16,{fields}"));
        LlamaConfig::from_json(&text)
    }

    #[test]
    fn families_differ_in_biases_and_windows() {
        let llama = of(Family::Llama, "\"sliding_window\":4").unwrap();
        assert_eq!((llama.qkv_bias, llama.o_bias, llama.sliding_window), (false, false, None));
        let biased = of(Family::Llama, "\"attention_bias\":true").unwrap();
        assert!(biased.qkv_bias && biased.o_bias);
        for (fields, window) in [
            ("\"num_key_value_heads\":1", Some(4096)),
            ("\"num_key_value_heads\":1,\"sliding_window\":null", None),
            ("\"num_key_value_heads\":null,\"sliding_window\":3,\"head_dim\":6", Some(3)),
        ] {
            let mistral = of(Family::Mistral, fields).unwrap();
            assert_eq!(mistral.sliding_window, window, "{fields}");
            assert!(!mistral.qkv_bias && !mistral.o_bias);
        }
        for fields in [
            "\"num_key_value_heads\":1,\"sliding_window\":32768,\"max_window_layers\":0",
            "\"num_key_value_heads\":1,\"use_sliding_window\":true",
            "\"num_key_value_heads\":1,\"use_sliding_window\":true,\"max_window_layers\":1",
            "\"num_key_value_heads\":1,\"use_sliding_window\":true,\"max_window_layers\":0,\"sliding_window\":null",
            "\"num_key_value_heads\":1,\"use_sliding_window\":true,\"max_window_layers\":0,\"layer_types\":[\"full_attention\"]",
        ] {
            let qwen = of(Family::Qwen2, fields).unwrap();
            assert_eq!((qwen.qkv_bias, qwen.o_bias, qwen.sliding_window), (true, false, None), "{fields}");
        }
    }

    #[test]
    fn what_a_family_does_not_compute_is_refused_by_name() {
        for (family, fields, said) in [
            // The library's default of 8 key heads does not divide 2 query heads.
            (Family::Mistral, "\"sliding_window\":4", "num_key_value_heads is 8"),
            (Family::Qwen2, "\"sliding_window\":4", "num_key_value_heads is 32"),
            (Family::Mistral, "\"num_key_value_heads\":1,\"sliding_window\":0", "sliding_window is 0"),
            (Family::Mistral, "\"num_key_value_heads\":1,\"sliding_window\":-1", "-1"),
            (Family::Mistral, "\"num_key_value_heads\":1,\"attention_bias\":true", "attention_bias is true"),
            (
                Family::Qwen2,
                "\"num_key_value_heads\":1,\"use_sliding_window\":true,\"max_window_layers\":0",
                "use_sliding_window is true",
            ),
            (
                Family::Qwen2,
                "\"num_key_value_heads\":1,\"layer_types\":[\"sliding_attention\"]",
                "layer_types is \"sliding_attention\"",
            ),
            (Family::Qwen2, "\"num_key_value_heads\":1,\"mlp_bias\":true", "mlp_bias is true"),
        ] {
            let error = of(family, fields).unwrap_err().to_string();
            assert!(error.contains(said), "{fields}: {error}");
        }
        for other in ["qwen3", "gemma2", "phi3", "mixtral"] {
            let error = LlamaConfig::from_json(&TINY.replace("\"llama\"", &format!("\"{other}\"")));
            let error = error.unwrap_err().to_string();
            for said in [other, "LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM"] {
                assert!(error.contains(said), "{error}");
            }
        }
    }

    proptest::proptest! {
        /// Whatever a config says, it is accepted or refused, and what is accepted can be laid out.
        #[test]
        fn hostile_configs_are_refused_without_a_panic(
            family in 0..3_usize,
            fields in proptest::collection::vec((0..12_usize, proptest::prelude::any::<i64>(), 0..6_u8), 0..8),
        ) {
            const NAMES: [&str; 12] = [
                "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
                "head_dim", "sliding_window", "max_window_layers", "use_sliding_window", "attention_bias",
                "layer_types", "rope_theta",
            ];
            let mut config: serde_json::Value = serde_json::from_str(TINY).unwrap();
            config["model_type"] = Family::ALL[family].model_type().into();
            config["architectures"] = serde_json::json!([Family::ALL[family].architecture()]);
            for (name, number, kind) in fields {
                config[NAMES[name]] = match kind {
                    0 => serde_json::Value::Null,
                    1 => (number % 2 == 0).into(),
                    2 => (number % 64).into(),
                    3 => number.into(),
                    4 => serde_json::json!(["full_attention"]),
                    _ => "x".into(),
                };
            }
            if let Ok(config) = LlamaConfig::from_json(&config.to_string()) {
                let layout = crate::layout::ParameterLayout::new(&config);
                proptest::prop_assert!(layout.tensors().len() <= 1 << 16);
                proptest::prop_assert!(config.sliding_window != Some(0));
            }
        }
    }
}
