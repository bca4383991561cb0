//! `codingspot eval` on benchmarks: what is asked, measured, kept and resumed, and what is said to wrong input.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The six tasks of the paper.
const SIX: &str = "humaneval,gsm8k,hellaswag,mmlu,truthfulqa,winogrande";

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_codingspot"));
    command.args(args);
    command
}

fn run(args: &[&str]) -> Output {
    command(args).output().expect("the program starts")
}

fn succeed(args: &[&str]) -> (String, String) {
    let output = run(args);
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{args:?}: {stderr}");
    (stdout, stderr)
}

/// Asserts the exit code, and one line on stderr that has all of `parts`.
fn refused(args: &[&str], code: i32, parts: &[&str]) {
    let output = run(args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{args:?}: {part:?} is not in {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Whether programs can be run here in a sandbox: not every kernel lets them.
fn sandboxed() -> bool {
    let args = ["execute", "humaneval", "--canonical", "--data", "bundled", "--allow-code-execution"];
    let output = run(&args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        return true;
    }
    assert!(stderr.contains("can't run programs safely here"), "{stderr}");
    println!("skipped: {stderr}");
    false
}

/// Arguments for the six tasks, of the bundled questions, in two forms beside the original.
fn six<'a>(out: &'a str, spot: &'a str, model: &'a str) -> Vec<&'a str> {
    vec![
        "eval",
        model,
        "--tasks",
        SIX,
        "--data",
        "bundled",
        "--spot",
        spot,
        "--k",
        "0,0.25",
        "--control",
        "random",
        "--max-gen-toks",
        "24",
        "--allow-code-execution",
        "--device",
        "cpu",
        "-o",
        out,
    ]
}

fn rows<'v>(file: &'v Value, task: &str, metric: &str) -> Vec<&'v Value> {
    let rows = file["results"].as_array().unwrap().iter();
    rows.filter(|row| row["task"] == task && row["metric"] == metric && row["subset"] == "all").collect()
}

#[test]
fn six_tasks_are_measured_kept_and_resumed() {
    if !sandboxed() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let (out, spot, model) = (root.path().join("eval.json"), demo().join("spot-no-norm.safetensors"), demo());
    let args = six(text(&out), text(&spot), text(&model));
    let (stdout, _) = succeed(&args);
    for part in ["Right answers in percent", "original", "random:1", "humaneval", "gsm8k"] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    let file = json(&out);
    for (task, metric) in [
        ("humaneval", "pass@1"),
        ("humaneval", "syntax_error"),
        ("gsm8k", "exact_match"),
        ("hellaswag", "acc_norm"),
        ("mmlu", "acc"),
        ("truthfulqa_mc1", "acc"),
        ("truthfulqa_mc2", "acc"),
        ("winogrande", "acc"),
    ] {
        let rows = rows(&file, task, metric);
        let filters = if task == "gsm8k" { 2 } else { 1 };
        assert_eq!(rows.len(), 3 * filters, "{task} {metric}");
        for row in rows {
            let value = row["value"].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&value) && row["n"].as_u64().unwrap() > 0, "{row}");
        }
    }
    // Every form against the original, and the spot against its control.
    let pairs: Vec<(&str, &str)> = file["comparisons"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["task"] == "winogrande")
        .map(|row| (row["variant"].as_str().unwrap(), row["against"].as_str().unwrap()))
        .collect();
    assert_eq!(pairs, [("spot", "original"), ("spot", "random:1"), ("random:1", "original")]);
    assert_eq!(file["impacts"].as_array().unwrap().len(), 3);
    assert_eq!(file["datasets"].as_array().unwrap().len(), 7);
    assert_eq!(file["samples"].as_array().unwrap().len(), 3 * 7);

    // Files as lm-evaluation-harness writes them.
    let folder = root.path().join("eval.answers/spot-k0.25");
    let names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let results = names.iter().find(|name| name.starts_with("results_2")).unwrap();
    let harness = json(&folder.join(results));
    let winogrande = rows(&file, "winogrande", "acc")[1]["value"].as_f64().unwrap();
    let theirs = harness["results"]["winogrande"]["acc,none"].as_f64().unwrap();
    assert!((winogrande - theirs).abs() < 1e-12);
    assert!(names.iter().any(|name| name.starts_with("samples_gsm8k_2")), "{names:?}");
    // A line a sample, with all that a reader wants.
    let humaneval = fs::read_to_string(folder.join("humaneval.jsonl")).unwrap();
    let first: Value = serde_json::from_str(humaneval.lines().next().unwrap()).unwrap();
    for field in ["prompt", "completion", "extracted", "end", "tokens"] {
        assert!(first["sample"].get(field).is_some(), "{field}: {first}");
    }
    assert!(humaneval.lines().any(|line| line.contains("\"verdict\"") && line.contains("\"kind\"")));

    // Again: nothing is asked twice, and the figures are the same.
    let started = Instant::now();
    succeed(&args);
    let again = json(&out);
    assert_eq!(again["results"], file["results"]);
    assert_eq!(again["samples"], file["samples"]);
    println!("resumed in {:?}", started.elapsed());

    // Without shared prefixes, from the beginning: the same to the last digit.
    let apart = root.path().join("apart.json");
    let mut other = six(text(&apart), text(&spot), text(&model));
    other.push("--no-shared-prefixes");
    succeed(&other);
    let likelihoods = |file: &Value| -> Vec<Value> {
        let of = |row: &&Value| row["task"] != "humaneval";
        file["results"].as_array().unwrap().iter().filter(of).cloned().collect()
    };
    assert_eq!(likelihoods(&json(&apart)), likelihoods(&file));
    for form in ["original", "spot-k0.25"] {
        for task in ["hellaswag", "mmlu", "truthfulqa_mc2", "winogrande"] {
            let of = |folder: &str| {
                let path = root.path().join(folder).join(form).join(format!("{task}.jsonl"));
                fs::read_to_string(path).unwrap()
            };
            assert_eq!(of("apart.answers"), of("eval.answers"), "{form} {task}");
        }
    }

    // A figure that was changed, and an answer that was changed.
    let report = root.path().join("report.html");
    succeed(&["report", text(&out), "-o", text(&report)]);
    let honest = fs::read_to_string(&out).unwrap();
    let value = rows(&file, "winogrande", "acc")[0]["value"].to_string();
    fs::write(&out, honest.replacen(&format!("\"value\": {value}"), "\"value\": 0.987", 1)).unwrap();
    refused(&["report", text(&out), "-o", text(&report)], 1, &["eval.json", "changed"]);
    fs::write(&out, honest).unwrap();
    let answers = root.path().join("eval.answers/original/winogrande.jsonl");
    let kept = fs::read_to_string(&answers).unwrap();
    fs::write(&answers, kept.replacen("[-", "[-1", 1)).unwrap();
    refused(&["report", text(&out), "-o", text(&report)], 1, &["winogrande.jsonl", "changed"]);
    fs::write(&answers, kept).unwrap();

    // Other settings in the same place.
    let mut warmer = args.clone();
    warmer.extend(["--temperature", "0.8"]);
    refused(&warmer, 1, &["temperature", "0.8", "--out"]);
    let mut longer = args;
    longer.extend(["--max-gen-toks", "25"]);
    longer.remove(13);
    longer.remove(12);
    refused(&longer, 1, &["another question", "humaneval.jsonl"]);
}

#[test]
fn a_killed_evaluation_goes_on_and_ends_the_same() {
    let root = tempfile::tempdir().unwrap();
    let (model, spot) = (demo(), demo().join("spot-no-norm.safetensors"));
    let args = |out: &Path| -> Vec<String> {
        let args = [
            "eval",
            text(&model),
            "--tasks",
            "gsm8k,hellaswag,mmlu",
            "--data",
            "bundled",
            "--spot",
            text(&spot),
            "--k",
            "0.01,0.25",
            "--max-gen-toks",
            "64",
            "--device",
            "cpu",
            "-o",
            text(out),
        ];
        args.map(str::to_owned).to_vec()
    };
    let whole = root.path().join("whole.json");
    let of_whole = args(&whole);
    succeed(&of_whole.iter().map(String::as_str).collect::<Vec<_>>());
    let cut = root.path().join("cut.json");
    let of_cut = args(&cut);
    let of_cut: Vec<&str> = of_cut.iter().map(String::as_str).collect();
    let mut kills = 0;
    for round in 0_u32..40 {
        let mut child = command(&of_cut).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_millis(150 + 170 * u64::from(round));
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success());
                break;
            }
            if Instant::now() > deadline {
                // SIGKILL: nothing is tidied up.
                child.kill().unwrap();
                child.wait().unwrap();
                kills += 1;
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if cut.is_file() {
            break;
        }
    }
    assert!(cut.is_file() && kills > 0, "{kills} kills");
    println!("killed {kills} times");
    assert_eq!(json(&cut)["results"], json(&whole)["results"]);
    assert_eq!(json(&cut)["comparisons"], json(&whole)["comparisons"]);
}

#[test]
fn a_dry_run_prints_every_request() {
    let model = demo();
    let args =
        ["eval", text(&model), "--tasks", SIX, "--data", "bundled", "--dry-run", "--json", "--limit", "2"];
    let (stdout, _) = succeed(&args);
    let file: Value = serde_json::from_str(&stdout).unwrap();
    let tasks = file["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 7);
    for task in tasks {
        let name = task["task"].as_str().unwrap();
        let documents = task["documents"].as_array().unwrap();
        assert!(!documents.is_empty() && (name == "mmlu" || documents.len() <= 2), "{name}");
        for document in documents {
            for request in document["requests"].as_array().unwrap() {
                let generates = ["humaneval", "gsm8k"].contains(&name);
                let second = if generates { &request["until"] } else { &request["continuation"] };
                assert!(request["context"].is_string() && !second.is_null(), "{name}: {request}");
            }
        }
    }
    let gsm8k = tasks.iter().find(|task| task["task"] == "gsm8k").unwrap();
    let first = &gsm8k["documents"][0]["requests"][0];
    assert_eq!(first["until"], serde_json::json!(["Question:", "</s>", "<|im_end|>"]));
    assert_eq!(first["context"].as_str().unwrap().matches("Question: ").count(), 6);
    let (stdout, _) = succeed(&args[..args.len() - 3]);
    assert_eq!(stdout.lines().count(), 7, "{stdout}");
}

#[test]
fn samples_are_drawn_run_and_counted() {
    if !sandboxed() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let (out, model) = (root.path().join("eval.json"), demo());
    let args = [
        "eval",
        text(&model),
        "--tasks",
        "humaneval",
        "--data",
        "bundled",
        "--samples",
        "3",
        "--temperature",
        "0.8",
        "--pass-at",
        "1,2,3,10",
        "--max-gen-toks",
        "12",
        "--allow-code-execution",
        "--device",
        "cpu",
        "-o",
        text(&out),
    ];
    succeed(&args);
    let file = json(&out);
    for metric in ["pass@1", "pass@2", "pass@3"] {
        assert_eq!(rows(&file, "humaneval", metric).len(), 1, "{metric}");
    }
    assert!(rows(&file, "humaneval", "pass@10").is_empty(), "three samples say nothing of ten");
    let lines = fs::read_to_string(root.path().join("eval.answers/original/humaneval.jsonl")).unwrap();
    let n = rows(&file, "humaneval", "pass@1")[0]["n"].as_u64().unwrap();
    assert_eq!(lines.lines().count() as u64, n * 3 * 2, "a text and a verdict for each sample");
}

#[test]
fn wrong_input_is_named() {
    let root = tempfile::tempdir().unwrap();
    let (out, model) = (root.path().join("eval.json"), demo());
    let base = ["eval", text(&model), "-o", text(&out), "--device", "cpu", "--tasks"];
    let with = |rest: &[&'static str]| -> Vec<&str> { base.iter().chain(rest).copied().collect() };
    refused(&with(&["mmlu_pro"]), 2, &["mmlu_pro", "hellaswag"]);
    refused(&with(&["humaneval", "--data", "bundled"]), 2, &["--allow-code-execution"]);
    refused(
        &with(&["humaneval", "--data", "bundled", "--allow-code-execution", "--samples", "2"]),
        2,
        &["--temperature"],
    );
    refused(&with(&["gsm8k", "--data", "bundled", "--temperature=-1"]), 2, &["temperature"]);
    refused(&with(&["nll"]), 2, &["--corpus"]);
    refused(&with(&["gsm8k", "--data", "bundled", "--k", "0.1"]), 2, &["--spot"]);
    refused(&with(&["gsm8k", "--data", "bundled", "--chat"]), 1, &["chat template"]);
    refused(
        &with(&["gsm8k", "--data", "bundled", "--max-gen-toks", "1024"]),
        1,
        &["gsm8k", "--max-gen-toks"],
    );
    refused(&with(&["hellaswag", "--data", "bundled", "--num-fewshot", "100"]), 1, &["hellaswag", "pool"]);

    let data = root.path().join("data");
    fs::create_dir(&data).unwrap();
    let here = |task: &'static str| -> Vec<String> {
        let rest = [task, "--data", text(&data)];
        base.iter().chain(&rest).map(ToString::to_string).collect()
    };
    let refused_here = |task: &'static str, parts: &[&str]| {
        let args = here(task);
        refused(&args.iter().map(String::as_str).collect::<Vec<_>>(), 1, parts);
    };
    refused_here("winogrande", &["winogrande_dev", "fetch-data"]);
    fs::write(data.join("winogrande_dev.jsonl"), "{\"sentence\": \"a _ b\", \"option1\": \"x\"}\n").unwrap();
    refused_here("winogrande", &["winogrande", "row 1", "answer"]);
    fs::write(data.join("truthfulqa_mc.jsonl"), "{\"question\": \"q\"}\n\n[").unwrap();
    refused_here("truthfulqa_mc1", &["truthfulqa_mc1", "row 1", "mc1_targets"]);
    assert!(!out.exists());
}

/// A context that is longer than the model's loses its beginning, as in the harness, and is counted.
#[test]
fn long_questions_lose_their_beginning_and_the_run_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let (out, model) = (root.path().join("eval.json"), demo());
    let long = "word ".repeat(3000);
    let row = |sentence: &str| {
        serde_json::json!({"sentence": sentence, "option1": "Ann", "option2": "Bob", "answer": "1"})
            .to_string()
    };
    let lines = [row("_ went home."), row(&format!("{long} _ went home."))].join("\n");
    fs::write(root.path().join("winogrande_dev.jsonl"), lines).unwrap();
    let args = [
        "eval",
        text(&model),
        "--tasks",
        "winogrande",
        "--data",
        text(root.path()),
        "--device",
        "cpu",
        "-o",
        text(&out),
    ];
    let (_, stderr) = succeed(&args);
    assert!(stderr.contains("1 of 2 questions of winogrande"), "{stderr}");
    let file = json(&out);
    assert_eq!(file["config"]["benchmarks"]["contexts_cut"]["winogrande"], 1);
    assert_eq!(rows(&file, "winogrande", "acc")[0]["n"], 2);
}
