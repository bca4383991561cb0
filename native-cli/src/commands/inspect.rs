//! `codingspot inspect`.

use crate::args::InspectArgs;
use crate::memory;
use crate::model::ModelDirectory;
use crate::output::{self, grouped};
use codingspot_core::checkpoint::TensorSource as _;
use codingspot_core::score::{MemoryPlan, PlanRequest};
use serde_json::json;
use std::fmt::Write as _;

pub(crate) fn run(args: &InspectArgs) -> anyhow::Result<()> {
    let model = ModelDirectory::open(&args.model)?;
    let layout = model.layout();
    let config = &model.config;
    let parameters = layout.num_parameters();
    let stored: Vec<(&str, &str, &[usize])> = layout
        .tensors()
        .iter()
        .map(|spec| {
            let stored = model.source.tensors().iter().position(|info| info.name == spec.name);
            let stored = stored.map_or("missing", |stored| model.source.stored_as(stored));
            (spec.name.as_str(), stored, spec.shape.as_slice())
        })
        .collect();
    let request = PlanRequest {
        batch_size: args.batch_size,
        seq_len: args.seq_len.min(config.max_position_embeddings),
        batches: usize::MAX,
        reductions: 1,
        weight_bytes: 4,
        shared_memory: true,
        host_bytes: crate::run::top_bytes(&layout, 1),
        limit: args.memory_limit.unwrap_or_else(|| memory::default_limit(true)),
    };
    let plan = MemoryPlan::new(config, &request);
    let kind = format!(
        "{}, {} layers, hidden {}, intermediate {}, {} heads of {} ({} key/value){}{}, vocabulary {}, context {}, {} embeddings",
        config.family.name(),
        config.num_hidden_layers,
        config.hidden_size,
        config.intermediate_size,
        config.num_attention_heads,
        config.head_dim,
        config.num_key_value_heads,
        match (config.qkv_bias, config.o_bias) {
            (true, true) => " with biases",
            (true, false) => " with biases of q, k and v",
            (false, _) => "",
        },
        config
            .sliding_window
            .map_or_else(String::new, |window| format!(", window {}", grouped(window as u64))),
        config.vocab_size,
        config.max_position_embeddings,
        if config.tie_word_embeddings { "tied" } else { "untied" }
    );
    if args.json {
        return output::json(&json!({
            "schema_version": 1,
            "architecture": config.family.architecture(),
            "parameters": parameters,
            "config": serde_json::from_str::<serde_json::Value>(&model.config_json)?,
            "tensors": layout.tensors().iter().zip(&stored).map(|(spec, (_, dtype, _))| json!({
                "name": spec.name, "dtype": dtype, "shape": spec.shape, "parameters": spec.numel(),
                "layer": spec.layer, "module": spec.module,
            })).collect::<Vec<_>>(),
            "scoring_memory": plan.as_ref().ok(),
            "scoring_memory_error": plan.as_ref().err().map(ToString::to_string),
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
    text.push('\n');
    match &plan {
        Ok(plan) => text += &memory::describe(plan, config, &request, None),
        Err(error) => writeln!(text, "{error}")?,
    }
    output::result(&text)
}
