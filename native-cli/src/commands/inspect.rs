//! `codingspot inspect`.

use crate::args::InspectArgs;
use crate::model::ModelDirectory;
use crate::output::{self, bytes, grouped};
use codingspot_core::checkpoint::TensorSource as _;
use serde_json::json;
use std::fmt::Write as _;

/// Shape for which the memory plan is printed.
const PLAN_BATCH: u64 = 4;
const PLAN_SEQ_LEN: u64 = 512;

/// Bytes that scoring needs, all in f32.
#[derive(Debug, serde::Serialize)]
struct MemoryPlan {
    batch_size: u64,
    seq_len: u64,
    weights_bytes: u64,
    gradients_bytes: u64,
    accumulators_bytes: u64,
    activations_bytes: u64,
    /// Sum of the languages' scores and one language's, in host memory.
    host_scores_bytes: u64,
}

pub(crate) fn run(args: &InspectArgs) -> anyhow::Result<()> {
    let model = ModelDirectory::open(&args.model)?;
    let layout = model.layout();
    let config = &model.config;
    let parameters = layout.num_parameters();
    let stored: Vec<(&str, &str, &[usize])> = layout
        .tensors()
        .iter()
        .map(|spec| {
            let info = model.source.tensors().iter().find(|info| info.name == spec.name);
            (spec.name.as_str(), info.map_or("missing", |info| info.dtype.name()), spec.shape.as_slice())
        })
        .collect();
    let plan = plan(config, parameters);
    let kind = format!(
        "Llama, {} layers, hidden {}, intermediate {}, {} heads of {} ({} key/value), vocabulary {}, context {}, {} embeddings",
        config.num_hidden_layers,
        config.hidden_size,
        config.intermediate_size,
        config.num_attention_heads,
        config.head_dim,
        config.num_key_value_heads,
        config.vocab_size,
        config.max_position_embeddings,
        if config.tie_word_embeddings { "tied" } else { "untied" }
    );
    if args.json {
        return output::json(&json!({
            "schema_version": 1,
            "architecture": "LlamaForCausalLM",
            "parameters": parameters,
            "config": serde_json::from_str::<serde_json::Value>(&model.config_json)?,
            "tensors": layout.tensors().iter().zip(&stored).map(|(spec, (_, dtype, _))| json!({
                "name": spec.name, "dtype": dtype, "shape": spec.shape, "parameters": spec.numel(),
                "layer": spec.layer, "module": spec.module,
            })).collect::<Vec<_>>(),
            "scoring_memory": plan,
        }));
    }
    let mut text = format!("{kind}\n{} parameters in {} tensors\n\n", grouped(parameters), stored.len());
    let width = stored.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    for ((name, dtype, shape), spec) in stored.iter().zip(layout.tensors()) {
        writeln!(
            text,
            "{name:<width$}  {dtype:<4}  {:<16}  {:>16}",
            format!("{shape:?}"),
            grouped(spec.numel())
        )?;
    }
    writeln!(text, "\nScoring at batch {} × {} tokens in f32 needs about", plan.batch_size, plan.seq_len)?;
    for (what, count) in [
        ("weights", plan.weights_bytes),
        ("gradients", plan.gradients_bytes),
        ("accumulators", plan.accumulators_bytes),
        ("activations", plan.activations_bytes),
        ("scores in host memory", plan.host_scores_bytes),
    ] {
        writeln!(text, "  {what:<22} {:>12}", bytes(count))?;
    }
    output::result(&text)
}

/// Whole-graph scoring keeps weights, one gradient and one accumulator of the model's size, and
/// every activation of the batch.
fn plan(config: &codingspot_core::config::LlamaConfig, parameters: u64) -> MemoryPlan {
    let seq_len = PLAN_SEQ_LEN.min(config.max_position_embeddings as u64);
    let tokens = PLAN_BATCH * seq_len;
    let (hidden, inner) = (config.hidden_size as u64, config.intermediate_size as u64);
    let (queries, keys) = (config.query_size() as u64, config.key_value_size() as u64);
    // Kept by a block: two norms (three tensors each), q, k, v before and after rope, the mixed
    // heads, two residuals; four tensors of the MLP; two score matrices.
    let block = tokens * (8 * hidden + 3 * queries + 3 * keys + 4 * inner)
        + 2 * PLAN_BATCH * config.num_attention_heads as u64 * seq_len * seq_len;
    let head = 2 * tokens * config.vocab_size as u64;
    MemoryPlan {
        batch_size: PLAN_BATCH,
        seq_len,
        weights_bytes: 4 * parameters,
        gradients_bytes: 4 * parameters,
        accumulators_bytes: 4 * parameters,
        activations_bytes: 4 * (config.num_hidden_layers as u64 * block + head),
        host_scores_bytes: 8 * parameters,
    }
}
