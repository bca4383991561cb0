//! Completions as a person or a script has them run: results, files, exit codes, and what is said to wrong input.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't go on fails or says so")]

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn execute(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_codingspot"));
    command.arg("execute").args(args).output().expect("the program starts")
}

/// What it prints, with leave to run programs; `None` where the sandbox can't be had or there is no Python.
fn allowed(args: &[&str]) -> Option<Output> {
    let output = execute(&[args, &["--allow-code-execution"]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("can't run programs safely here") || stderr.contains("can't be run here") {
        println!("skipped: {stderr}");
        return None;
    }
    Some(output)
}

fn refused(args: &[&str], code: i32, parts: &[&str]) {
    let output = execute(args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{args:?}: {part:?} is not in {stderr}");
    }
    assert!(output.stdout.is_empty() && !stderr.contains("panicked"), "{args:?}: {stderr}");
}

fn rows(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn nothing_runs_unasked() {
    refused(&["humaneval", "--canonical"], 2, &["--allow-code-execution", "sandbox"]);
    refused(&["humaneval", "--canonical", "--unsafe-execution"], 2, &["--allow-code-execution"]);
    refused(&["humaneval", "--allow-code-execution"], 2, &["--samples", "--canonical"]);
    refused(&["gsm8k", "--canonical"], 2, &["answers to gsm8k are no programs"]);
    refused(&["multiple-klingon", "--canonical"], 2, &["not a benchmark with programs"]);
}

#[test]
fn what_is_missing_is_named() {
    let root = tempfile::tempdir().unwrap();
    let (path, data) = (root.path().join("samples.jsonl"), root.path().to_str().unwrap());
    let samples = path.to_str().unwrap();
    let run = |code, parts: &[&str]| {
        let args = ["humaneval", "--samples", samples, "--data", "bundled", "--allow-code-execution"];
        refused(&args, code, parts);
    };
    run(1, &["samples.jsonl can't be read"]);
    fs::write(&path, "{\"task_id\": \"Bundled/0\", \"completion\": \"\"}\n").unwrap();
    run(1, &["problems have no sample", "\"Bundled/1\""]);
    fs::write(&path, "\n{\"task_id\": \"HumanEval/0\", \"completion\": \"\"}\n").unwrap();
    run(1, &["samples.jsonl, row 2", "no problem \"HumanEval/0\"", "--data"]);
    refused(
        &["humaneval", "--samples", samples, "--allow-code-execution", "--data", data],
        1,
        &["has no humaneval.jsonl, humaneval.jsonl.gz or humaneval.parquet"],
    );
}

#[test]
fn known_solutions_pass() {
    for task in ["humaneval", "humaneval_stripped", "multiple-py"] {
        let Some(output) = allowed(&[task, "--canonical", "--data", "bundled", "--json"]) else { return };
        assert!(output.status.success(), "{output:?}");
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&found["task"], &found["data"]["source"]), (&json!(task), &json!("bundled")));
        assert_eq!(found["kinds"]["passed"], found["problems"]);
        assert_eq!(found["pass_at"][0]["value"], json!(1.0));
        assert_eq!(found["pass_at"][0]["interval"][1], json!(1.0));
        assert!(found["protection"]["layers"].as_array().unwrap().contains(&json!("seccomp")));
        assert!(found["toolchain"].as_str().unwrap().starts_with("Python 3"));
    }
}

#[test]
fn samples_become_human_evals_results() {
    let root = tempfile::tempdir().unwrap();
    let [samples, out] = ["samples.jsonl.gz", "results.jsonl"].map(|name| root.path().join(name));
    let bundled = include_str!("../../tasks/data/humaneval.jsonl");
    let problems: Vec<Value> = bundled.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Two a problem, the second of them wrong, and fields of their own.
    let mut text = String::new();
    for problem in &problems {
        let (id, right) = (&problem["task_id"], &problem["canonical_solution"]);
        text += &format!("{{\"task_id\": {id}, \"completion\": {right}, \"temperature\": 0.2}}\n");
        text += &format!("{{\"completion\": \"    return (\\n\", \"task_id\": {id}, \"passed\": true}}\n");
    }
    let mut packed =
        flate2::write::GzEncoder::new(fs::File::create(&samples).unwrap(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, text.as_bytes()).unwrap();
    packed.finish().unwrap();
    let paths = [&samples, &out].map(|path| path.to_str().unwrap());
    let args = [
        "humaneval",
        "--samples",
        paths[0],
        "--data",
        "bundled",
        "-o",
        paths[1],
        "--pass-at",
        "1,2,3",
        "--jobs",
        "2",
    ];
    let Some(output) = allowed(&args) else { return };
    assert!(output.status.success(), "{output:?}");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for part in [
        "pass@1             50.00 %",
        "pass@2            100.00 %",
        "syntax error",
        "Protection: namespaces (user, ",
    ] {
        assert!(stdout.contains(part), "{part:?} is not in {stdout}");
    }
    assert!(stderr.contains("No pass@3: it needs 3 samples of every problem, and one has 2"), "{stderr}");
    let found = rows(&out);
    assert_eq!(found.len(), 2 * problems.len());
    for (index, row) in found.iter().enumerate() {
        let right = index % 2 == 0;
        assert_eq!(row["task_id"], problems[index / 2]["task_id"]);
        assert_eq!(row["passed"], json!(right), "{row}");
        assert_eq!(row["kind"], json!(if right { "passed" } else { "syntax_error" }));
        assert_eq!(row["result"] == json!("passed"), right);
        assert_eq!(row.get("temperature").is_some(), right);
    }
    // As Python's json.dumps writes it.
    let first = fs::read_to_string(&out).unwrap();
    let end = "\"temperature\": 0.2, \"result\": \"passed\", \"passed\": true, \"kind\": \"passed\"}";
    assert!(first.lines().next().unwrap().ends_with(end), "{first}");
}

#[test]
fn a_failing_known_solution_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let bundled = include_str!("../../tasks/data/humaneval.jsonl");
    let mut problem: Value = serde_json::from_str(bundled.lines().next().unwrap()).unwrap();
    problem["canonical_solution"] = json!("    return None\n");
    fs::write(root.path().join("humaneval.jsonl"), problem.to_string()).unwrap();
    let args = ["humaneval", "--canonical", "--data", root.path().to_str().unwrap()];
    let Some(output) = allowed(&args) else { return };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("1 of 1 known solutions failed: Bundled/0 (failed: AssertionError"), "{stderr}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("wrong result           1  100.0 %"));
}
