//! `EVAL.json`: one row a figure.

use serde::{Deserialize, Serialize};

/// One figure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ResultRow {
    pub(crate) task: String,
    pub(crate) subset: String,
    /// `original`, `spot`, or the control: `random:SEED`.
    pub(crate) variant: String,
    /// Share of the scope that is zero, percent.
    pub(crate) k: f64,
    /// Parameters that are zero.
    pub(crate) ablated_parameters: u64,
    pub(crate) metric: String,
    /// `null` when the model gave no number (an ablated model can overflow).
    pub(crate) value: Option<f64>,
    pub(crate) stderr: Option<f64>,
    /// Documents.
    pub(crate) n: u64,
    /// Target tokens.
    pub(crate) tokens: u64,
}

/// A finished evaluation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EvalFile {
    pub(crate) results: Vec<ResultRow>,
    pub(crate) config: serde_json::Value,
    pub(crate) versions: serde_json::Value,
}

/// Versions of what computed a result.
pub(crate) fn versions() -> serde_json::Value {
    serde_json::json!({ "codingspot": env!("CARGO_PKG_VERSION"), "burn": "0.22.1" })
}

/// What `EVAL.json` calls the rows' model.
pub(crate) const ORIGINAL: &str = "original";
