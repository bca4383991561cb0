//! What would be asked, without a model.

use super::answering::Settings;
use super::plan::TaskData;
use crate::output;
use codingspot_tasks::document::{Document, Request};
use codingspot_tasks::task::HARNESS;
use serde_json::{Value, json};

/// One JSON document with every request, or a line a task.
pub(super) fn run(tasks: &[TaskData], settings: Settings, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        // Written as it is made: with five examples each, requests of MMLU are some 170 MB.
        output::result(&format!("{{\"schema_version\":1,\"harness\":{},\"tasks\":[", json!(HARNESS)))?;
    }
    for (number, data) in tasks.iter().enumerate() {
        let shots = data.task.shots(data.asking.options.num_fewshot);
        if as_json {
            let (sha256, pool_sha256) = data.sha256();
            let head = json!({
                "task": data.task.name(),
                "num_fewshot": shots,
                "sha256": sha256,
                "pool_sha256": pool_sha256,
                "known": data.data.known(codingspot_tasks::row::Part::Documents),
            });
            let head = head.to_string();
            let comma = if number > 0 { "," } else { "" };
            output::result(&format!("{comma}\n{},\"documents\":[", head.trim_end_matches('}')))?;
        }
        let (mut documents, mut requests) = (0, 0);
        for document in data.documents()? {
            let document = document?;
            if as_json {
                let comma = if documents > 0 { "," } else { "" };
                output::result(&format!("{comma}\n{}", row(&document)))?;
            }
            documents += 1;
            requests += document.requests.len();
        }
        if as_json {
            output::result("]}")?;
        } else {
            let texts = u64::from(settings.samples_of(data));
            let samples = if texts > 1 { format!(", {texts} texts each") } else { String::new() };
            let known = data.data.known(codingspot_tasks::row::Part::Documents);
            output::result(&format!(
                "{}: {documents} of {} documents, {requests} requests{samples}, {shots} examples before each; {}\n",
                data.task,
                data.data.len(),
                known.unwrap_or("no published set that is known")
            ))?;
        }
    }
    if as_json {
        output::result("\n]}\n")?;
    }
    Ok(())
}

fn row(document: &Document) -> Value {
    let requests: Vec<Value> = document
        .requests
        .iter()
        .map(|request| match request {
            Request::Loglikelihood { context, continuation } => {
                json!({ "context": context, "continuation": continuation })
            }
            Request::Generate { prompt, stop, max_tokens, .. } => {
                json!({ "context": prompt, "until": stop, "max_gen_toks": max_tokens })
            }
        })
        .collect();
    json!({
        "doc_id": document.index,
        "subset": document.subset,
        "requests": requests,
        "target": document.target_text(),
        "doc_hash": document.doc_hash(),
        "prompt_hash": document.prompt_hash(),
        "target_hash": document.target_hash(),
    })
}
