//! `codingspot report` over runs, evaluations and a study of a tiny model: one file that needs no
//! network, with every figure's data in it.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use ring::digest;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_codingspot")).args(args).output().expect("the program starts")
}

fn succeed(args: &[&str]) {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn refused(args: &[&str], parts: &[&str]) {
    let output = run(args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{args:?}: {part:?} is not in {stderr}");
    }
}

/// Rows of 16 tokens, different for each language; the language's name is hostile where it is shown.
fn corpus(root: &Path, name: &str, seed: u64) -> PathBuf {
    let folder = root.join(name);
    fs::create_dir_all(&folder).unwrap();
    for (number, language) in (0_u64..).zip(["go", "rust", "<img src=x onerror=alert(1)>", "english"]) {
        let mut state = seed * 97 + number;
        let mut lines = String::new();
        for _ in 0..6 {
            let mut token = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                50 * number + (state >> 33) % 50
            };
            let ids: Vec<u64> = (0..16).map(|_| token()).collect();
            lines += &format!("{{\"ids\":{ids:?}}}\n");
        }
        fs::write(folder.join(format!("{language}.jsonl")), lines).unwrap();
    }
    folder
}

/// The data of every figure, and checks that hold for any report.
fn check(path: &Path) -> Vec<Value> {
    let html = fs::read_to_string(path).unwrap();
    assert!(html.starts_with("<!DOCTYPE html>") && html.trim_end().ends_with("</html>"));
    for forbidden in ["http://", "https://", "src=\"//", "<img", "@import", "<link", "<script src"] {
        // Names of XML are no addresses.
        let left = html.replace("http://www.w3.org/2000/svg", "");
        assert!(!left.contains(forbidden), "{forbidden} is in {}", path.display());
    }
    let data: Vec<Value> = html
        .split("<script type=\"application/json\"")
        .skip(1)
        .filter(|rest| rest.trim_start().starts_with("id=\"data-"))
        .map(|rest| {
            let body = rest.split_once('>').unwrap().1.split_once("</script>").unwrap().0;
            serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
        })
        .collect();
    assert_eq!(data.len(), html.matches("<figure").count());
    assert!(html.matches("<svg").count() >= 2 * data.len(), "a wide and a narrow form of each");
    assert_eq!(html.matches("<figcaption").count(), data.len());
    data
}

#[test]
fn runs_evaluations_and_studies_become_one_page() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let (scoring, held) = (corpus(root, "corpus", 1), corpus(root, "held", 2));
    let model = fixture("llama32-tiny");
    let (scored, spot, eval) = (root.join("run"), root.join("spot"), root.join("eval.json"));
    let hostile = "<img src=x onerror=alert(1)>";
    let languages = format!("go,rust,{hostile}");
    let common = ["--batch-size", "2", "--device", "cpu"];
    let base =
        ["score", text(&model), "--corpus", text(&scoring), "--languages", &languages, "-o", text(&scored)];
    succeed(&[&base[..], &common].concat());
    succeed(&["select", text(&scored), "-o", text(&spot)]);
    let base = ["eval", text(&model), "--corpus", text(&held), "--spot", text(&spot), "-o", text(&eval)];
    succeed(&[&base[..], &common, &["--k", "0,0.25,1", "--control", "random,magnitude"]].concat());
    let study = root.join("study");
    let base =
        ["study", text(&model), "--corpus", text(&scoring), "--held-out", text(&held), "-o", text(&study)];
    let small = ["--points", "3", "--random-draws", "2", "--resamples", "50", "--shuffles", "1"];
    succeed(&[&base[..], &common, &small, &["--languages", &languages]].concat());

    // The study's own report: every question has its figures, for both scopes.
    let of_study = check(&study.join("report.html"));
    assert!(of_study.len() >= 24, "{} figures", of_study.len());
    let html = fs::read_to_string(study.join("report.html")).unwrap();
    for question in ["Does the spot do more than its controls?", "Where does it lie?", "What was asked"] {
        assert!(html.contains(question), "{question}");
    }
    assert!(html.contains("&lt;img src=x"), "a hostile name is shown as text");

    // A run and an evaluation together; figures as a file.
    let (page, figures) = (root.join("page.html"), root.join("figures.json"));
    succeed(&["report", text(&scored), text(&eval), "-o", text(&page), "--figures", text(&figures)]);
    let on_page = check(&page);
    let file: Value = serde_json::from_slice(&fs::read(&figures).unwrap()).unwrap();
    let in_file = file["figures"].as_array().unwrap();
    assert_eq!(in_file.len(), on_page.len());
    for (figure, data) in in_file.iter().zip(&on_page) {
        assert_eq!(&figure["chart"], data);
        assert!(figure["sentence"].as_str().unwrap().len() > 20);
    }
    // The losses on the page are those of the evaluation.
    let rows: Value = serde_json::from_slice(&fs::read(&eval).unwrap()).unwrap();
    let mean = |variant: &str, k: f64| {
        let of: Vec<f64> = rows["results"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| row["variant"] == variant && row["k"] == k)
            .filter(|row| row["subset"] == "go" || row["subset"] == "rust")
            .map(|row| row["value"].as_f64().unwrap())
            .collect();
        assert_eq!(of.len(), 2);
        (of[0] + of[1]) / 2.0
    };
    let chart = on_page.iter().find(|chart| chart["kind"] == "line").unwrap();
    let spot_line = &chart["series"].as_array().unwrap()[0]["points"];
    for (point, k) in spot_line.as_array().unwrap().iter().zip([0.25, 1.0]) {
        assert!((point["y"].as_f64().unwrap() - mean("spot", k)).abs() < 1e-9);
    }

    // A figure that was changed is noticed, and the file is named.
    let mut changed = rows.clone();
    changed["results"][0]["value"] = json!(0.5);
    let forged = root.join("forged.json");
    fs::write(&forged, changed.to_string()).unwrap();
    refused(
        &["report", text(&forged), "-o", text(&page)],
        &["forged.json was refused", "it was changed after"],
    );

    // What does not belong together, or is nothing, is refused by name.
    let other = root.join("other");
    let codellama = fixture("codellama-tiny");
    let base =
        ["score", text(&codellama), "--corpus", text(&scoring), "--languages", "go,rust", "-o", text(&other)];
    succeed(&[&base[..], &common].concat());
    refused(
        &["report", text(&scored), text(&other), "-o", text(&page)],
        &["run is of weights", "other of weights"],
    );
    fs::remove_file(study.join("study.json")).unwrap();
    refused(&["report", text(&study), "-o", text(&page)], &["study that is not finished"]);
    refused(&["report", text(root), "-o", text(&page)], &["neither a run", "nor a study"]);
    refused(&["report", text(&spot), "-o", text(&page)], &["can't be read"]);
    refused(
        &["report", text(&fixture("llama32-tiny").join("config.json")), "-o", text(&page)],
        &["neither an evaluation"],
    );
}

const HOSTILE: &str = "<img src=x onerror=alert(1)> | `a` [b](javascript:alert(1))";

/// A figure of the share `value` of `n` questions, with an interval about it.
fn row(task: &str, metric: &str, (variant, k): (&str, f64), value: impl Into<Option<f64>>, n: u64) -> Value {
    let value = value.into();
    let zeros = if k > 0.0 { 500 } else { 0 };
    let interval = value.map(|value| [(value - 0.1).max(0.0), (value + 0.1).min(1.0)]);
    json!({
        "task": task, "subset": "all", "variant": variant, "k": k, "ablated_parameters": zeros,
        "metric": metric, "value": value, "stderr": 0.05, "interval": interval, "n": n, "tokens": 10 * n,
    })
}

/// Scores in percent of an original of the paper, of its smallest spot, and of a control; by column.
const SCORES: [(&str, &str, Option<&str>, [f64; 3]); 6] = [
    ("gsm8k", "exact_match", Some("strict-match"), [76.72, 2.35, 75.0]),
    ("hellaswag", "acc", None, [59.10, 44.47, 58.0]),
    ("mmlu", "acc", None, [67.96, 42.32, 66.0]),
    ("truthfulqa_mc2", "acc", None, [54.08, 43.61, 53.0]),
    ("winogrande", "acc", None, [73.64, 60.14, 72.0]),
    ("humaneval", "pass@1", None, [97.56, 20.12, 96.34]),
];
const FORMS: [(&str, f64); 3] = [("original", 0.0), ("spot", 0.0025), ("random:1", 0.0025)];

/// An evaluation as `eval` writes it of Llama 3.1 8B's shape, with hostile texts wherever there are texts.
fn evaluation() -> Value {
    let mut results = Vec::new();
    for (task, metric, filter, scores) in SCORES {
        for (form, score) in FORMS.into_iter().zip(scores) {
            let mut found = row(task, metric, form, score / 100.0, 200);
            found["filter"] = json!(filter);
            results.push(found);
        }
    }
    let (original, spot) = (FORMS[0], FORMS[1]);
    for (form, broken) in FORMS.into_iter().zip([0.01, 0.70, 0.02]) {
        results.push(row("humaneval", "syntax_error", form, broken, 200));
        results.push(row("hellaswag", "acc_norm", form, 0.7, 200));
        for (subset, value) in [("stem", 0.61), ("anatomy", 0.62), (HOSTILE, 0.63)] {
            let mut found = row("mmlu", "acc", form, value, 20);
            found["subset"] = json!(subset);
            results.push(found);
        }
    }
    results.push(row(HOSTILE, HOSTILE, original, None, 3));
    results.push(row("gsm8k", "exact_match", (HOSTILE, 0.0025), 0.5, 200));
    let scores = |place: usize| {
        let mut scores = serde_json::Map::new();
        for ((task, _, _, values), name) in
            SCORES.into_iter().zip(["gsm8k", "hellaswag", "mmlu", "truthfulqa", "winogrande", "humaneval"])
        {
            assert!(task.starts_with(name));
            scores.insert(name.to_owned(), json!(values[place]));
        }
        scores
    };
    let bounded = |value: f64| json!({ "value": value, "low": value - 1.0, "high": value + 1.0 });
    let impact = |place: usize, figures: Option<[f64; 6]>| {
        let [average, general, code, m_s, fractions, above] = figures.map_or(
            [bounded(66.3), Value::Null, Value::Null, Value::Null, Value::Null, Value::Null],
            |figures| figures.map(bounded),
        );
        json!({
            "variant": FORMS[place].0, "k": FORMS[place].1, "ablated_parameters": 2, "scores": scores(place),
            "average": average, "general_change": general, "code_change": code, "m_s": m_s,
            "m_s_fractions": fractions, "m_s_above_chance": above, "retention": [0.5, 0.25, null, null, 0.125],
            "code_retention": 0.0625,
        })
    };
    let comparison = |task: &str, metric: &str, (against, against_k): (&str, f64), interval: [f64; 2]| {
        json!({
            "task": task, "metric": metric, "variant": spot.0, "k": spot.1, "against": against,
            "against_k": against_k, "difference": f64::midpoint(interval[0], interval[1]), "stderr": 0.02,
            "interval": interval, "p_value": 0.0125, "n": 200,
        })
    };
    json!({
        "results": results,
        "impacts": [
            impact(0, None),
            impact(1, Some([38.578, -41.813, -79.377, 2.696, 0.606, 0.55])),
            impact(2, Some([64.8, -2.26, -1.25, 0.49, 0.012, 0.011])),
        ],
        "comparisons": [
            comparison("humaneval", "pass@1", original, [-0.85, -0.7]),
            comparison("humaneval", "pass@1", FORMS[2], [-0.83, -0.69]),
            comparison("winogrande", "acc", FORMS[2], [-0.2, 0.1]),
            comparison("hellaswag", "acc_norm", FORMS[2], [-0.05, -0.01]),
        ],
        "datasets": [{
            "task": "gsm8k", "sha256": "ab".repeat(32), "pool_sha256": "cd".repeat(32), "known": HOSTILE,
            "requests_sha256": "ef".repeat(32), "documents": 200, "num_fewshot": 5,
        }],
        "samples": [{ "file": "answers/gsm8k.jsonl", "sha256": sha256(b"the answers\n") }],
        "not_run": [{ "task": "multiple-jl", "reason": format!("julia is not installed {HOSTILE}") }],
        "config": {
            "model": HOSTILE, "fingerprint": "00".repeat(32), "tasks": ["humaneval"], "seed": 7,
            "model_config": {
                "vocab_size": 128_256, "hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 14_336,
            },
        },
        "versions": {},
    })
}

fn sha256(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Cells of the pipe table that holds `name` in its head, by row.
fn pipe_table(markdown: &str, name: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()
    };
    let lines: Vec<&str> = markdown.lines().collect();
    let at = lines
        .windows(2)
        .position(|pair| pair[0].starts_with('|') && pair[0].contains(name) && pair[1].starts_with("| ---"));
    let table = &lines[at.unwrap_or_else(|| panic!("no table with {name} in\n{markdown}"))..];
    table.iter().take_while(|line| line.starts_with('|')).map(|line| cells(line)).collect()
}

#[test]
fn benchmarks_become_the_papers_tables() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let (eval, page, markdown) = (root.join("eval.json"), root.join("page.html"), root.join("tables.md"));
    fs::write(&eval, evaluation().to_string()).unwrap();
    fs::create_dir(root.join("answers")).unwrap();
    fs::write(root.join("answers/gsm8k.jsonl"), "the answers\n").unwrap();
    succeed(&["report", text(&eval), "-o", text(&page), "--markdown", text(&markdown)]);
    let figures = check(&page);
    assert_eq!(figures.len(), 3, "tasks, code and general tasks by k");
    let html = fs::read_to_string(&page).unwrap();
    let tables = fs::read_to_string(&markdown).unwrap();
    for (name, shown) in [("HTML", &html), ("Markdown", &tables)] {
        assert!(shown.contains("&lt;img src=x onerror=alert(1)&gt;"), "a hostile text is text in {name}");
        assert!(!shown.contains("<img") && (name == "HTML" || !shown.contains("[b](")), "{name}");
        for words in [
            "Llama 3.1 8B Instruct",
            "Code, HumanEval (pass@1): the coding spot costs more than the control in 1 of 1 comparison, less in 0; in 0",
            "General tasks, WinoGrande (acc): the coding spot costs more than the control in 0 of 1 comparison, less in 0; in 1",
            "Neither is corrected for the number of comparisons.",
            "70.0\u{a0}% of the completions don’t parse (original: 1.0\u{a0}%)",
            "MultiPL-E Julia: julia is not installed",
            "abababababab",
            "the unit decides",
        ] {
            assert!(shown.contains(words), "{words:?} is not in the {name}");
        }
    }
    assert!(html.contains("<td class=\"cs-n\">97.56 <span class=\"cs-ends\">[87.6, 100.0]</span></td>"));

    // Table 1: measured rows, with the paper's after those of the same k.
    let scores = pipe_table(&tables, "code change");
    let expected = [
        "form",
        "GSM8K",
        "HellaSwag",
        "MMLU",
        "TruthfulQA",
        "WinoGrande",
        "Avg",
        "GTC, %",
        "HumanEval",
        "code change, %",
        "zeros",
    ];
    assert_eq!(scores[0], expected);
    let labels: Vec<&str> = scores[2..].iter().map(|row| row[0].as_str()).collect();
    assert_eq!(
        labels[..4],
        ["original", "paper: original", "coding spot, 0.0025\u{a0}%", "paper: coding spot, 0.0025\u{a0}%"]
    );
    assert_eq!((labels[4], labels.len()), ("random draw 1, 0.0025\u{a0}%", 9));
    let spot = &scores[4];
    assert_eq!(spot[1], "2.35 \\[0.0, 12.3\\]");
    assert_eq!((spot[6].as_str(), spot[9].as_str()), ("38.58 \\[37.6, 39.6\\]", "−79.38 \\[−80.4, −78.4\\]"));
    assert_eq!(
        scores[5][1..10],
        ["2.35", "44.47", "42.32", "43.61", "60.14", "38.58", "−41.81", "20.12", "−79.38"]
    );
    // Table 2: the paper's M_s as printed, its other forms from its scores.
    let table = pipe_table(&tables, "M\\_s, points");
    assert_eq!(
        table[2][1..5],
        ["2.70 \\[1.70, 3.70\\]", "0.61 \\[−0.39, 1.61\\]", "0.55 \\[−0.45, 1.55\\]", "50.0"]
    );
    assert_eq!((table[3][0].as_str(), table[3][1].as_str()), ("paper: coding spot, 0.0025\u{a0}%", "2.70"));
    assert_eq!(table[3][2], "0.61");
    // Comparisons, and all that was measured.
    let table = pipe_table(&tables, "k and control");
    assert_eq!(
        table[2],
        [
            "0.0025\u{a0}%, against random draw 1",
            "−76.0 \\[−83.0, −69.0\\], p 0.013",
            "−5.0 \\[−20.0, 10.0\\], p 0.013"
        ]
    );
    let table = pipe_table(&tables, "| questions | original");
    let names: Vec<&str> = table.iter().map(|row| row[0].as_str()).collect();
    for name in
        ["GSM8K, strict match", "HellaSwag, acc\\_norm", "HumanEval, doesn’t parse", "MMLU, STEM, acc"]
    {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    assert!(tables.contains("MMLU, Anatomy, acc"));

    // Markdown alone, by the name's ending.
    let alone = root.join("alone.md");
    succeed(&["report", text(&eval), "-o", text(&alone)]);
    assert_eq!(fs::read_to_string(&alone).unwrap(), tables);
    let output = run(&["report", text(&eval), "-o", text(&alone), "--markdown", text(&alone)]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn changed_answers_and_evaluations_are_refused_by_name() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let (eval, page, answers) =
        (root.join("eval.json"), root.join("page.html"), root.join("answers/gsm8k.jsonl"));
    fs::write(&eval, evaluation().to_string()).unwrap();
    let report = ["report", text(&eval), "-o", text(&page)];
    let output = run(&report);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = stderr.contains("answers/gsm8k.jsonl") && stderr.contains("could not be checked");
    assert!(output.status.success() && said, "{stderr}");
    fs::create_dir(root.join("answers")).unwrap();
    fs::write(&answers, "the answers\n").unwrap();
    assert!(!String::from_utf8_lossy(&run(&report).stderr).contains("could not be checked"));
    fs::write(&answers, "other answers\n").unwrap();
    refused(&report, &["gsm8k.jsonl has SHA-256", "eval.json", "changed"]);
    fs::remove_file(&answers).unwrap();
    fs::create_dir(&answers).unwrap();
    refused(&report, &["gsm8k.jsonl is no file"]);
    for outside in ["../eval.json", "/etc/passwd", ""] {
        let mut file = evaluation();
        file["samples"][0]["file"] = json!(outside);
        fs::write(&eval, file.to_string()).unwrap();
        refused(&report, &["eval.json names", "below its own folder"]);
    }
    // A record of its content that does not fit.
    let mut file = evaluation();
    file["sha256"] = json!("0123456789abcdef");
    fs::write(&eval, file.to_string()).unwrap();
    refused(&report, &["eval.json was refused", "0123456789ab…"]);
}

#[test]
fn what_was_not_measured_is_missing_and_said() {
    let root = tempfile::tempdir().unwrap();
    let (eval, page) = (root.path().join("eval.json"), root.path().join("page.md"));
    let shown = |results: &[Value]| {
        let file = json!({ "results": results, "config": { "model": "a model" }, "versions": {} });
        fs::write(&eval, file.to_string()).unwrap();
        succeed(&["report", text(&eval), "-o", text(&page)]);
        let markdown = fs::read_to_string(&page).unwrap();
        let html = root.path().join("page.html");
        succeed(&["report", text(&eval), "-o", text(&html)]);
        check(&html);
        markdown
    };
    // Two tasks, one k, no control, and a form that overflowed.
    let (original, spot) = (("original", 0.0), ("spot", 0.5));
    let markdown = shown(&[
        row("humaneval_stripped", "pass@1", original, 0.25, 164),
        row("humaneval_stripped", "pass@1", spot, 0.0, 164),
        row("winogrande", "acc", original, 0.75, 100),
        row("winogrande", "acc", spot, None, 100),
    ]);
    let table = pipe_table(&markdown, "form");
    assert_eq!(table[0], ["form", "WinoGrande", "HumanEval", "zeros"]);
    assert_eq!(table[3], ["coding spot, 0.5\u{a0}%", "overflow", "0.00 \\[0.0, 10.0\\]", "500"]);
    assert!(
        markdown.contains("the tasks GSM8K, HellaSwag, MMLU and TruthfulQA were not measured"),
        "{markdown}"
    );
    assert!(
        markdown.contains("HumanEval, prompt stripped") && !markdown.contains("paper: ori"),
        "{markdown}"
    );
    assert!(!markdown.contains("Table 2") && !markdown.contains("against"), "{markdown}");
    // The original alone, of a task that is not the paper's.
    let markdown = shown(&[row("multiple-rs", "pass@1", original, 0.5, 156)]);
    assert!(markdown.contains("MultiPL-E Rust, pass@1 | 156 | 50.00"), "{markdown}");
    assert!(!markdown.contains("Table 1"), "{markdown}");
    // Nothing at all.
    shown(&[]);
}
