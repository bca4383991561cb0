//! Results and samples in the form of lm-evaluation-harness (`lm_eval/evaluator.py`,
//! `lm_eval/loggers/evaluation_tracker.py`).

use crate::document::{Document, MAX_TOKENS, Request};
use crate::json::Json;
use crate::python::float_repr;
use crate::row::sha256;
use crate::score::{Filtered, Response, Scored};
use crate::summary::{Evaluation, LEVEL, Summary};
use crate::task::{HARNESS, MmluGroup, Task};

/// Version of the harness' groups of MMLU, which has it as a text.
const MMLU_VERSION: &str = "2";

/// What the harness calls the kind of a task's requests.
fn output_type(task: Task) -> &'static str {
    if task.is_code() || task == Task::Gsm8k { "generate_until" } else { "multiple_choice" }
}

/// Rows for `samples_<task>_<date>.jsonl`, one a reading of the answer: the document, what was asked, what came
/// back and what it scored, with the hashes by which altered ones are noticed. [`Json::dumps`] without indent makes a
/// line of each. A file has those of all documents of one reading, then those of the next.
pub fn samples(document: &Document, responses: &[Response], scored: &Scored) -> Vec<Json> {
    let pair =
        |sum: f64, greedy: bool| Json::list([float_repr(sum), if greedy { "True" } else { "False" }.into()]);
    let response = |(response, request): (&Response, &Request)| match response {
        Response::Loglikelihood { sum, greedy } => Json::List(vec![pair(*sum, *greedy)]),
        Response::Text(text) => match request {
            Request::Generate { stop, cut, .. } => Json::list([cut.apply(text, stop)]),
            Request::Loglikelihood { .. } => Json::list([text]),
        },
        Response::Programs(outcomes) => Json::list(outcomes.iter().map(|outcome| &outcome.completion)),
    };
    let filtered = |filtered: &Filtered| match filtered {
        Filtered::Loglikelihood { sum, greedy } => pair(*sum, *greedy),
        Filtered::Text(text) => text.into(),
        Filtered::Programs(programs) => Json::list(programs),
    };
    let [doc_hash, prompt_hash, target_hash] = &scored.hashes;
    let row = |(filter, found): &(&'static str, Vec<Filtered>)| {
        let values: Vec<_> = scored.values.iter().filter(|value| value.metric.filter == *filter).collect();
        let mut fields: Vec<(&str, Json)> = vec![
            ("doc_id", document.index.into()),
            ("doc", document.doc.clone()),
            ("target", document.target_text().into()),
            ("arguments", arguments(document)),
            ("resps", Json::List(responses.iter().zip(&document.requests).map(response).collect())),
            ("filtered_resps", Json::List(found.iter().map(filtered).collect())),
            ("filter", (*filter).into()),
            ("metrics", Json::list(values.iter().map(|value| value.metric.name))),
            ("doc_hash", doc_hash.into()),
            ("prompt_hash", prompt_hash.into()),
            ("target_hash", target_hash.into()),
        ];
        fields.extend(values.iter().map(|value| (value.metric.name, value.value.into())));
        Json::object(fields)
    };
    scored.filtered.iter().map(row).collect()
}

fn arguments(document: &Document) -> Json {
    let of = |(i, request): (usize, &Request)| {
        let second = match request {
            Request::Loglikelihood { continuation, .. } => continuation.into(),
            Request::Generate { stop, max_tokens, .. } => {
                // As the tasks' files have them; what is asked for besides comes last.
                let mut fields = vec![("until", Json::list(stop))];
                let most = ("max_gen_toks", Json::from(*max_tokens));
                if document.task.is_code() {
                    fields.extend([most, ("do_sample", false.into())]);
                } else {
                    fields.extend([("do_sample", false.into()), ("temperature", 0.0.into())]);
                    fields.extend((*max_tokens != MAX_TOKENS).then_some(most));
                }
                Json::object(fields)
            }
        };
        (format!("gen_args_{i}"), Json::object([("arg_0", request.context().into()), ("arg_1", second)]))
    };
    Json::object(document.requests.iter().enumerate().map(of))
}

/// Results for `results_<date>.json`. `config` is what ran: the model, its arguments, the device, seeds, whatever the
/// caller has. A missing error is `null`, where the harness writes "N/A". Beside the harness' fields there are
/// `intervals` and `datasets`.
pub fn results(evaluations: &[Evaluation], config: Json) -> Json {
    let mut results = Vec::new();
    let mut groups = Vec::new();
    let mut intervals = Vec::new();
    let mut subtasks = Vec::new();
    let mut configs = Vec::new();
    let mut versions = Vec::new();
    let mut shots = Vec::new();
    let mut better = Vec::new();
    let mut sizes = Vec::new();
    let mut hashes = Vec::new();
    let mut datasets = Vec::new();
    for evaluation in evaluations {
        let task = evaluation.task;
        let summaries = evaluation.summaries();
        let mut names: Vec<String> = Vec::new();
        for summary in &summaries {
            if !names.contains(&summary.name) {
                names.push(summary.name.clone());
            }
        }
        for name in &names {
            let of: Vec<_> = summaries.iter().filter(|summary| summary.name == *name).collect();
            let figures = figures(alias(task, name), &of);
            if is_group(task, name) {
                groups.push((name.clone(), figures.clone()));
            }
            results.push((name.clone(), figures));
            let of_name = of.iter().filter_map(|summary| {
                let interval = summary.interval?;
                let ends = Json::list([interval.low, interval.high]);
                Some((format!("{},{}", summary.metric, summary.filter), ends))
            });
            intervals.push((name.clone(), Json::object(of_name)));
            versions.push((
                name.clone(),
                if is_group(task, name) { MMLU_VERSION.into() } else { Json::Float(task.version()) },
            ));
            let directions = of.iter().map(|summary| (summary.metric, summary.higher_is_better.into()));
            better.push((name.clone(), unique(directions)));
            if !is_group(task, name) {
                shots.push((name.clone(), evaluation.num_fewshot.into()));
                configs.push((name.clone(), task_config(evaluation, name)));
            }
        }
        subtasks.extend(group_subtasks(evaluation, &names));
        for (subset, original) in &evaluation.original {
            let name = name(task, subset.as_deref());
            let of: Vec<_> = evaluation.scored.iter().filter(|scored| scored.subset == *subset).collect();
            sizes.push((
                name.clone(),
                Json::object([("original", Json::from(*original)), ("effective", of.len().into())]),
            ));
            hashes.push((name, task_hash(task, &of).into()));
        }
        let (documents, pool) = &evaluation.sha256;
        datasets.push((
            task.name(),
            Json::object([
                ("sha256", documents.into()),
                ("pool_sha256", pool.as_ref().map_or(Json::Null, Json::from)),
                ("known", evaluation.known.map_or(Json::Null, Json::from)),
            ]),
        ));
    }
    Json::object([
        ("results", Json::object(results)),
        ("groups", Json::object(groups)),
        ("group_subtasks", Json::object(subtasks)),
        ("configs", Json::object(configs)),
        ("versions", Json::object(versions)),
        ("n-shot", Json::object(shots)),
        ("higher_is_better", Json::object(better)),
        ("n-samples", Json::object(sizes)),
        ("config", config),
        ("task_hashes", Json::object(hashes)),
        ("interval_level", LEVEL.into()),
        ("intervals", Json::object(intervals)),
        ("datasets", Json::object(datasets)),
        ("harness", HARNESS.into()),
    ])
}

fn unique(fields: impl Iterator<Item = (&'static str, Json)>) -> Json {
    let mut kept: Vec<(String, Json)> = Vec::new();
    for (name, value) in fields {
        if kept.iter().all(|(known, _)| known != name) {
            kept.push((name.into(), value));
        }
    }
    Json::Object(kept)
}

fn is_group(task: Task, name: &str) -> bool {
    task == Task::Mmlu && (name == task.name() || MmluGroup::ALL.iter().any(|group| group.name() == name))
}

fn name(task: Task, subset: Option<&str>) -> String {
    subset.map_or_else(|| task.name().into(), |subset| format!("{task}_{subset}"))
}

/// Names in the harness' tables: indented below their group.
fn alias(task: Task, name: &str) -> String {
    match name.strip_prefix("mmlu_") {
        Some(group) if is_group(task, name) => format!(" - {}", group.replace('_', " ")),
        Some(subject) if task == Task::Mmlu => format!("  - {subject}"),
        _ => name.into(),
    }
}

fn figures(alias: String, summaries: &[&Summary]) -> Json {
    let mut fields = vec![("alias".to_owned(), alias.into())];
    for summary in summaries {
        let Summary { metric, filter, value, stderr, .. } = summary;
        fields.push((format!("{metric},{filter}"), (*value).into()));
        fields.push((format!("{metric}_stderr,{filter}"), stderr.map_or(Json::Null, Json::from)));
    }
    Json::object(fields)
}

fn task_config(evaluation: &Evaluation, name: &str) -> Json {
    let task = evaluation.task;
    let metrics = task.metrics().iter().map(|metric| {
        Json::object([
            ("metric", Json::from(metric.name)),
            ("aggregation", "mean".into()),
            ("higher_is_better", metric.higher_is_better.into()),
        ])
    });
    Json::object([
        ("task", name.into()),
        ("output_type", output_type(task).into()),
        ("num_fewshot", evaluation.num_fewshot.into()),
        ("fewshot_random_seed", Json::Integer(evaluation.seed.into())),
        ("metric_list", Json::List(metrics.collect())),
        ("target_delimiter", " ".into()),
        ("fewshot_delimiter", "\n\n".into()),
        ("metadata", Json::object([("version", task.version())].map(|(name, value)| (name, value.into())))),
    ])
}

fn group_subtasks(evaluation: &Evaluation, names: &[String]) -> Vec<(String, Json)> {
    let task = evaluation.task;
    if task != Task::Mmlu {
        return vec![(task.name().into(), Json::List(Vec::new()))];
    }
    let has = |group: &MmluGroup| names.iter().any(|name| name == group.name());
    let of = |group: MmluGroup| {
        let subjects = evaluation.original.iter().filter_map(|(subject, _)| subject.as_deref());
        Json::list(
            subjects
                .filter(|subject| MmluGroup::of(subject) == Some(group))
                .map(|subject| name(task, Some(subject))),
        )
    };
    let groups = MmluGroup::ALL.into_iter().filter(has);
    let mut subtasks = vec![(task.name().to_owned(), Json::list(groups.clone().map(MmluGroup::name)))];
    subtasks.extend(groups.map(|group| (group.name().to_owned(), of(group))));
    subtasks
}

/// SHA-256 of the three hashes of every sample, the samples being in the order of their file: all documents of one
/// reading, then of the next.
fn task_hash(task: Task, scored: &[&Scored]) -> String {
    let mut filters: Vec<&str> = task.metrics().iter().map(|metric| metric.filter).collect();
    filters.dedup();
    let mut text = String::new();
    for _ in filters {
        scored.iter().flat_map(|scored| &scored.hashes).for_each(|hash| text.push_str(hash));
    }
    sha256(&text)
}
