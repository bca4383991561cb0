//! `codingspot report` over runs, evaluations and a study of a tiny model: one file that needs no
//! network, with every figure's data in it.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use serde_json::Value;
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
