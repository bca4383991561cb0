//! Requests and hashes against those of `reference.py`, which renders them with Jinja and Python's random module.
#![cfg(not(target_arch = "wasm32"))]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't go on fails or says so")]

use codingspot_tasks::document::{Dataset, Document, Options, Request, Target};
use codingspot_tasks::output;
use codingspot_tasks::paper::PaperRow;
use codingspot_tasks::row::Part;
use codingspot_tasks::score::{Outcome, Response, score};
use codingspot_tasks::summary::Evaluation;
use codingspot_tasks::task::{FewShot, Task};
use codingspot_tasks::{bundled, json::Json};
use serde::Deserialize;
use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Reference {
    bundled: Vec<Case>,
    full: Vec<Case>,
}

#[derive(Deserialize, Debug)]
struct Case {
    task: String,
    num_fewshot: u32,
    limit: Option<usize>,
    documents: usize,
    requests: String,
    task_hash: String,
}

const REGENERATE: &str = "python3 tasks/tests/reference.py SHARED > tasks/tests/reference.json";

fn reference() -> Reference {
    serde_json::from_str(include_str!("reference.json")).unwrap()
}

/// Where the full sets are, or a message and nothing.
fn bench() -> Option<PathBuf> {
    let shared = std::env::var_os("CODINGSPOT_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let bench = shared.join("data/bench");
    if bench.is_dir() {
        return Some(bench);
    }
    println!("skipped: {} is not there (set CODINGSPOT_SHARED)", bench.display());
    None
}

fn read(bench: &Path, name: &str) -> String {
    let file = std::fs::File::open(bench.join(format!("{name}.jsonl.gz"))).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}

/// The full set of a task; where its pool isn't at hand, the documents stand in, as in `reference.py`.
fn full(bench: &Path, task: Task) -> Dataset {
    let (documents, pool) = task.files();
    let documents = read(bench, documents);
    let pool = pool.map(|pool| {
        if bench.join(format!("{pool}.jsonl.gz")).exists() { read(bench, pool) } else { documents.clone() }
    });
    Dataset::parse(task, &documents, pool.as_deref()).unwrap()
}

fn respond(document: &Document) -> Vec<Response> {
    let respond = |request: &Request| match (request, &document.target) {
        (Request::Loglikelihood { continuation, .. }, _) => {
            Response::Loglikelihood { sum: -(continuation.len() as f64), greedy: false }
        }
        (Request::Generate { .. }, Target::Program(_)) => {
            Response::Programs(vec![Outcome { completion: "    pass".into(), passed: false }])
        }
        (Request::Generate { .. }, _) => Response::Text("#### 7".into()),
    };
    document.requests.iter().map(respond).collect()
}

fn check(data: &Dataset, case: &Case) {
    let options = Options { num_fewshot: Some(case.num_fewshot), limit: case.limit, ..Options::default() };
    assert_eq!(data.documents(&options).unwrap().count(), case.documents, "{case:?}; {REGENERATE}");
    assert_eq!(data.requests_sha256(&options).unwrap(), case.requests, "{case:?}; {REGENERATE}");
    let mut evaluation = Evaluation::new(data, &options);
    for document in data.documents(&options).unwrap() {
        let document = document.unwrap();
        evaluation.scored.push(score(&document, &respond(&document)).unwrap());
    }
    let results = output::results(&[evaluation], Json::Null);
    let Some(Json::Object(hashes)) = results.get("task_hashes") else { panic!("no hashes") };
    assert_eq!(hashes[0].1, Json::from(&case.task_hash), "{case:?}; {REGENERATE}");
}

#[test]
fn bundled_questions_are_asked_as_python_asks_them() {
    let cases = reference().bundled;
    for case in &cases {
        let task = Task::from_name(&case.task).unwrap();
        check(&bundled::dataset(task).unwrap(), case);
    }
    for task in Task::all() {
        assert!(cases.iter().any(|case| case.task == task.name()), "{task}; {REGENERATE}");
    }
}

#[test]
fn full_sets_are_asked_as_python_asks_them() {
    let Some(bench) = bench() else { return };
    let mut sets = HashMap::new();
    for case in reference().full {
        let task = Task::from_name(&case.task).unwrap();
        let data = sets.entry(task).or_insert_with(|| full(&bench, task));
        check(data, &case);
    }
}

#[test]
fn full_sets_are_known_by_their_hash() {
    let Some(bench) = bench() else { return };
    let mut missing = Vec::new();
    for task in Task::all() {
        let (documents, pool) = task.files();
        let expected = match task {
            Task::HumanEval | Task::HumanEvalStripped => 164,
            Task::Gsm8k => 1319,
            Task::HellaSwag => 10042,
            Task::Mmlu => 14042,
            Task::TruthfulQaMc1 | Task::TruthfulQaMc2 => 817,
            Task::WinoGrande => 1267,
            Task::MultiPlE(_) => 0,
        };
        let data = full(&bench, task);
        assert!(expected == 0 || data.len() == expected, "{task}: {} documents", data.len());
        assert!((154..=164).contains(&data.len()) || expected > 164, "{task}: {} documents", data.len());
        let mut known = |part, file: &str| {
            let hash = data.sha256(part).unwrap_or_default();
            if !data.known(part).is_some_and(|name| name.starts_with(file)) {
                missing.push(format!("(Task::{task:?}, Part::{part:?}, \"{hash}\", \"{file}\")"));
            }
        };
        let pool = pool.filter(|pool| bench.join(format!("{pool}.jsonl.gz")).exists());
        [(Part::Documents, Some(documents)), (Part::Pool, pool)]
            .into_iter()
            .filter_map(|(part, file)| Some((part, file?)))
            .for_each(|(part, file)| known(part, file));
    }
    assert!(missing.is_empty(), "not in known.rs:\n{}", missing.join(",\n"));
}

#[test]
fn altered_data_are_noticed() {
    let (documents, pool) = bundled::rows(Task::Gsm8k);
    let data = Dataset::parse(Task::Gsm8k, documents, pool).unwrap();
    let hash = data.sha256(Part::Documents).unwrap();
    data.verify(Part::Documents, hash).unwrap();
    assert_eq!(data.known(Part::Documents), None);
    let forged = Dataset::parse(Task::Gsm8k, &documents.replace("1,560", "1,561"), pool).unwrap();
    let error = forged.verify(Part::Documents, hash).unwrap_err();
    assert_eq!((&*error.expected, error.part), (hash, Part::Documents));
    assert_eq!(forged.sha256(Part::Pool), data.sha256(Part::Pool));
}

#[test]
fn pools_that_are_too_small_are_refused() {
    let message = |task, pool: Option<&str>, shots| {
        let data = Dataset::parse(task, bundled::rows(task).0, pool).unwrap();
        let options = Options { num_fewshot: Some(shots), ..Options::default() };
        data.documents(&options).unwrap_err().to_string()
    };
    let pool = |task| bundled::rows(task).1;
    assert_eq!(message(Task::Gsm8k, None, 5), "gsm8k: 5 few-shot examples, but no pool to take them from");
    assert_eq!(message(Task::Gsm8k, pool(Task::Gsm8k), 8), "gsm8k, few-shot pool: can't draw 8 of 7");
    assert_eq!(
        message(Task::HellaSwag, pool(Task::HellaSwag), 3),
        "hellaswag, few-shot pool: can't draw 4 of 3"
    );
    assert_eq!(
        message(Task::Mmlu, pool(Task::Mmlu), 2),
        "mmlu, few-shot pool of computer_security: can't draw 2 of 1"
    );
    assert_eq!(
        message(Task::Mmlu, pool(Task::Mmlu), u32::MAX),
        "mmlu: 4294967295 few-shot examples, above the limit of 128"
    );
}

#[test]
fn contexts_that_are_too_long_are_refused() {
    let row = format!("{{\"question\": \"{}\", \"answer\": \"1\"}}\n", "x".repeat(1_000_000));
    let data = Dataset::parse(Task::Gsm8k, &row, Some(&row.replace("\"1\"", "\"2\"").repeat(5))).unwrap();
    let document = data.documents(&Options::default()).unwrap().next().unwrap();
    assert!(document.unwrap_err().to_string().contains("above the limit of 2097152"));
}

#[test]
fn requests_have_the_form_of_their_task() {
    for task in Task::all() {
        let data = bundled::dataset(task).unwrap();
        assert!(data.len() > 0 && data.known(Part::Documents).is_none());
        assert_eq!(data.pool_len() > 0, task.few_shot() != FewShot::Never, "{task}");
        let options = Options { num_fewshot: Some(0), ..Options::default() };
        for document in data.documents(&options).unwrap() {
            let document = document.unwrap();
            let contexts = || document.requests.iter().map(Request::context);
            match task {
                Task::WinoGrande => assert_ne!(contexts().next(), contexts().nth(1)),
                _ => assert!(contexts().all(|context| Some(context) == contexts().next())),
            }
            for request in &document.requests {
                match request {
                    Request::Loglikelihood { context, continuation } => {
                        assert!(!task.is_code() && continuation.starts_with(' ') && !context.ends_with(' '));
                    }
                    Request::Generate { max_tokens, stop, .. } => {
                        assert_eq!(*max_tokens, if task.is_code() { 1024 } else { 256 });
                        assert!(!stop.is_empty());
                    }
                }
            }
        }
    }
}

#[test]
fn samples_and_results_have_the_harness_fields() {
    let mut evaluations = Vec::new();
    for task in [Task::Gsm8k, Task::Mmlu, Task::HumanEval, Task::WinoGrande] {
        let data = bundled::dataset(task).unwrap();
        let options = Options { num_fewshot: Some(1), ..Options::default() };
        let mut evaluation = Evaluation::new(&data, &options);
        for document in data.documents(&options).unwrap() {
            let document = document.unwrap();
            let responses = respond(&document);
            let scored = score(&document, &responses).unwrap();
            let rows = output::samples(&document, &responses, &scored);
            assert_eq!(rows.len(), if task == Task::Gsm8k { 2 } else { 1 });
            for row in rows {
                let Json::Object(fields) = &row else { panic!("no object") };
                let names: Vec<_> = fields.iter().map(|(name, _)| &**name).collect();
                assert_eq!(
                    names[..11],
                    [
                        "doc_id",
                        "doc",
                        "target",
                        "arguments",
                        "resps",
                        "filtered_resps",
                        "filter",
                        "metrics",
                        "doc_hash",
                        "prompt_hash",
                        "target_hash"
                    ]
                );
                assert_eq!(row.get("metrics").unwrap(), &Json::list(names[11..].iter().copied()));
                let line = row.dumps(None);
                assert!(!line.contains('\n'));
                assert_eq!(serde_json::from_str::<Json>(&line).unwrap(), row);
            }
            evaluation.scored.push(scored);
        }
        evaluations.push(evaluation);
    }
    let results =
        output::results(&evaluations, Json::object([("model", "test")].map(|(k, v)| (k, v.into()))));
    let at = |path: &[&str]| {
        path.iter().try_fold(&results, |json, name| json.get(name)).unwrap_or_else(|| panic!("{path:?}"))
    };
    assert_eq!(at(&["results", "gsm8k", "exact_match,strict-match"]), &Json::Float(0.0));
    assert_eq!(at(&["results", "gsm8k", "exact_match_stderr,flexible-extract"]), &Json::Float(0.0));
    // All letters are equally long, so the first is taken: right in 1 of 5.
    assert_eq!(at(&["results", "mmlu", "acc,none"]), &Json::Float(0.2));
    // Of the group's subject there is one document.
    assert_eq!(at(&["results", "mmlu_social_sciences", "acc_stderr,none"]), &Json::Null);
    assert_eq!(at(&["groups", "mmlu_stem", "acc,none"]), &Json::Float(1.0 / 3.0));
    assert_eq!(at(&["results", "mmlu_astronomy", "alias"]), &Json::from("  - astronomy"));
    assert_eq!(
        at(&["group_subtasks", "mmlu_stem"]),
        &Json::list(["mmlu_astronomy", "mmlu_computer_security"])
    );
    assert_eq!(at(&["n-shot", "humaneval"]), &Json::Integer(0));
    assert_eq!(at(&["n-shot", "mmlu_astronomy"]), &Json::Integer(1));
    assert_eq!(at(&["n-samples", "mmlu_astronomy", "original"]), &Json::Integer(2));
    assert_eq!(at(&["versions", "gsm8k"]), &Json::Float(3.0));
    assert_eq!(at(&["higher_is_better", "humaneval", "pass@1"]), &Json::Bool(true));
    assert_eq!(at(&["config", "model"]), &Json::from("test"));
    assert!(matches!(at(&["intervals", "winogrande", "acc,none"]), Json::List(ends) if ends.len() == 2));
}

#[test]
fn evaluations_make_a_row_of_the_papers_table() {
    let evaluate = |task: Task| {
        let data = bundled::dataset(task).unwrap();
        let options = Options { num_fewshot: Some(0), ..Options::default() };
        let mut evaluation = Evaluation::new(&data, &options);
        for document in data.documents(&options).unwrap() {
            let document = document.unwrap();
            evaluation.scored.push(score(&document, &respond(&document)).unwrap());
        }
        evaluation
    };
    let mut evaluations: Vec<_> = [
        Task::TruthfulQaMc1,
        Task::TruthfulQaMc2,
        Task::Gsm8k,
        Task::HellaSwag,
        Task::Mmlu,
        Task::WinoGrande,
        Task::HumanEvalStripped,
    ]
    .map(evaluate)
    .into();
    let row = PaperRow::of(&evaluations).unwrap();
    let means = |at: usize, metric| 100.0 * evaluations[at].values(metric, None).iter().sum::<f64>();
    assert!((row.truthfulqa - means(1, 0) / 2.0).abs() < 1e-9 && row.truthfulqa > 0.0);
    assert!((row.hellaswag - means(3, 0) / 3.0).abs() < 1e-9);
    assert!((row.mmlu - 20.0).abs() < 1e-9 && row.humaneval.abs() < 1e-9);
    evaluations.pop();
    assert_eq!(PaperRow::of(&evaluations), None);
}
