//! `train` and `split` on a few texts: the same bytes whatever the interruptions, a model that the other
//! commands take, and one clear sentence where there can be no result.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn program(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_codingspot")).args(args).output().expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn succeed(args: &[&str]) -> String {
    let output = program(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Asserts the exit code, and that stderr has all of `parts`.
fn refused(args: &[&str], code: i32, parts: &[&str]) {
    let output = program(args);
    let stderr = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{args:?}: {part:?} is not in {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn corpus(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/corpus").join(part)
}

/// The config of a tiny Llama, in a file.
fn config(folder: &Path) -> PathBuf {
    let path = folder.join("config.json");
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 32,
        "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 8, "vocab_size": 400, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 1,
    });
    fs::write(&path, config.to_string()).unwrap();
    path
}

/// A config of the same shapes with another epsilon of its norms.
fn changed_epsilon(config: &str) -> String {
    let mut config: Value = serde_json::from_str(config).unwrap();
    config["rms_norm_eps"] = json!(1e-6);
    config.to_string()
}

/// A training of 24 steps on the bundled texts in Rust and Go.
fn training<'a>(config: &'a Path, out: &'a Path, corpus: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec![
        "train",
        "--corpus",
        text(corpus),
        "--config",
        text(config),
        "-o",
        text(out),
        "--languages",
        "rust,go",
        "--steps",
        "24",
        "--batch-size",
        "4",
        "--seq-len",
        "32",
        "--lr",
        "0.01",
        "--warmup-steps",
        "4",
        "--checkpoint-every",
        "5",
        "--eval-every",
        "10",
        "--eval-documents",
        "2",
        "--device",
        "cpu",
        "--precision",
        "f32",
    ];
    args.extend(more);
    args
}

/// The same arguments with the value of `flag` replaced.
fn with<'a>(mut args: Vec<&'a str>, flag: &str, value: &'a str) -> Vec<&'a str> {
    let at = args.iter().position(|arg| *arg == flag).expect("the flag is there");
    args[at + 1] = value;
    args
}

#[test]
fn a_training_that_was_stopped_ends_in_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (config, score, eval) = (config(folder.path()), corpus("score"), corpus("eval"));
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let held_out = ["--held-out", text(&eval), "--accumulate", "2", "--optimizer", "muon"];
    let said = succeed(&training(&config, &whole, &score, &held_out));
    for part in ["24 steps", "Held-out loss", "rust", "english", "code, mean", "The model is in"] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    // A thousandth of a minute is one or a few steps.
    let mut runs = 0;
    loop {
        let mut args = training(&config, &parts, &score, &held_out);
        args.extend(["--minutes", "0.001", "--json"]);
        let outcome: Value = serde_json::from_str(&succeed(&args)).unwrap();
        runs += 1;
        assert!(runs <= 24, "it does not get on");
        if outcome["finished"] == json!(true) {
            assert_eq!(outcome["steps"], 24);
            break;
        }
    }
    assert!(runs > 1, "it was never stopped");
    for name in ["model.safetensors", "tokenizer.json", "config.json", "checkpoint/24/optimizer.safetensors"]
    {
        assert!(fs::read(whole.join(name)).unwrap() == fs::read(parts.join(name)).unwrap(), "{name} differs");
    }
    // The logs tell the same steps with the same losses.
    let losses = |path: &Path| -> Vec<(u64, f64)> {
        let lines = fs::read_to_string(path.join("training.jsonl")).unwrap();
        let rows = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let steps = rows.filter(|row| row.get("held_out").is_none());
        steps.map(|row| (row["step"].as_u64().unwrap(), row["loss_nats"].as_f64().unwrap())).collect()
    };
    let told = losses(&whole);
    assert_eq!(told, losses(&parts));
    assert_eq!(told.iter().map(|(step, _)| *step).collect::<Vec<_>>(), (0..24).collect::<Vec<_>>());
    assert!(told[23].1 < told[0].1 - 0.5, "it learned nothing: {told:?}");
    let csv = fs::read_to_string(whole.join("training.csv")).unwrap();
    let mut rows = csv.lines();
    let columns = rows.next().unwrap().split(',').count();
    assert!(rows.clone().count() == 24 && rows.all(|row| row.split(',').count() == columns), "{csv}");
}

#[test]
fn a_training_that_was_killed_ends_in_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (config, score) = (config(folder.path()), corpus("score"));
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    // A checkpoint at every step, so that most of the time one is being written.
    let args =
        |out| with(training(&config, out, &score, &["--optimizer", "muon"]), "--checkpoint-every", "1");
    let started = Instant::now();
    succeed(&args(&whole));
    let whole_time = started.elapsed();
    let mut kills = 0;
    for round in 0.. {
        let mut child = Command::new(env!("CARGO_BIN_EXE_codingspot"))
            .args(args(&killed))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        // Anywhere in a run; later and later, so that it ends.
        let moment = whole_time.mul_f64(0.2 + 0.137 * f64::from(round % 6) + 0.05 * f64::from(round));
        let deadline = Instant::now() + moment;
        let ended = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() >= deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        match ended {
            Some(status) => {
                assert!(status.success());
                break;
            }
            None => kills += 1,
        }
        assert!(round < 60, "it does not get on");
    }
    assert!(kills > 0, "it was never killed");
    for name in
        ["model.safetensors", "checkpoint/24/model.safetensors", "checkpoint/24/optimizer.safetensors"]
    {
        assert!(
            fs::read(whole.join(name)).unwrap() == fs::read(killed.join(name)).unwrap(),
            "{name} differs"
        );
    }
    let checkpoints =
        fs::read_dir(killed.join("checkpoint")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = checkpoints.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["24", "progress.json"], "nothing unfinished stays");
}

#[test]
fn what_was_trained_is_a_model_like_any_other_and_can_be_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let (config, score, eval) = (config(folder.path()), corpus("score"), corpus("eval"));
    let first = folder.path().join("first");
    succeed(&training(&config, &first, &score, &["--decay", "linear"]));
    let written =
        succeed(&["generate", text(&first), "-p", "fn add", "--max-tokens", "8", "--device", "cpu"]);
    assert!(!written.is_empty());
    let rows = folder.path().join("eval.json");
    succeed(&[
        "eval",
        text(&first),
        "--corpus",
        text(&eval),
        "--languages",
        "rust",
        "--seq-len",
        "32",
        "--device",
        "cpu",
        "-o",
        text(&rows),
    ]);
    // Going on from its weights begins where it ended, with its own tokenizer.
    let second = folder.path().join("second");
    let args = [
        "train",
        "--corpus",
        text(&score),
        "--init",
        text(&first),
        "-o",
        text(&second),
        "--languages",
        "rust",
        "--steps",
        "2",
        "--batch-size",
        "4",
        "--seq-len",
        "32",
        "--lr",
        "0.000001",
        "--device",
        "cpu",
        "--json",
        "--precision",
        "f32",
    ];
    let outcome: Value = serde_json::from_str(&succeed(&args)).unwrap();
    let before: Value =
        serde_json::from_str(&fs::read_to_string(first.join("training.json")).unwrap()).unwrap();
    let loss = |outcome: &Value| outcome["last_losses"].as_f64().unwrap();
    assert!(loss(&outcome) < 5.5 && loss(&before) < 5.5, "{outcome} {before}");
    assert!(
        fs::read(first.join("tokenizer.json")).unwrap() == fs::read(second.join("tokenizer.json")).unwrap()
    );
    assert!(outcome["settings"]["init"].is_string());
}

#[test]
fn what_can_not_be_trained_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let (config, score) = (config(folder.path()), corpus("score"));
    let out = folder.path().join("out");
    let base = || training(&config, &out, &score, &[]);
    refused(&with(base(), "--seq-len", "65"), 1, &["--seq-len 65 is longer", "64 tokens"]);
    refused(&with(base(), "--precision", "f16"), 2, &["cpu does not multiply in f16"]);
    succeed(&training(&config, &out, &score, &["--minutes", "0.001"]));
    let mut other = training(&config, &out, &score, &["--seed", "1"]);
    refused(&other, 1, &["other settings", "only the schedule may differ"]);
    other.truncate(other.len() - 2);
    other.extend(["--weight-decay", "0.2"]);
    refused(&other, 1, &["other settings"]);
    // Nor is another config taken, even of the same shapes; and the refusal leaves everything as it was.
    let kept = fs::read_to_string(out.join("config.json")).unwrap();
    let changed = folder.path().join("changed.json");
    fs::write(&changed, changed_epsilon(&kept)).unwrap();
    refused(&with(base(), "--config", text(&changed)), 1, &["another config.json"]);
    assert_eq!(fs::read_to_string(out.join("config.json")).unwrap(), kept);
    // A longer schedule is no other training.
    let longer = with(training(&config, &out, &score, &["--minutes", "0.001"]), "--steps", "30");
    succeed(&longer);
    // A checkpoint that lost its tail.
    let checkpoints = fs::read_dir(out.join("checkpoint")).unwrap().map(|entry| entry.unwrap().path());
    let folders: Vec<PathBuf> = checkpoints.filter(|path| path.is_dir()).collect();
    let [folder_of_step] = folders.as_slice() else { panic!("one checkpoint is kept: {folders:?}") };
    let state = folder_of_step.join("optimizer.safetensors");
    let bytes = fs::read(&state).unwrap();
    fs::write(&state, &bytes[..bytes.len() / 2]).unwrap();
    refused(&longer, 1, &["optimizer.safetensors", "truncated"]);
    let ids = folder.path().join("ids");
    fs::create_dir(&ids).unwrap();
    fs::write(ids.join("rust.jsonl"), "{\"ids\":[1,2,3]}\n").unwrap();
    let fresh = folder.path().join("fresh");
    let args = [
        "train",
        "--corpus",
        text(&ids),
        "--config",
        text(&config),
        "-o",
        text(&fresh),
        "--device",
        "cpu",
        "--seq-len",
        "8",
    ];
    refused(&args, 1, &["rust", "give rows of \"text\""]);
}

#[test]
fn a_split_puts_every_document_into_one_part() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    fs::create_dir(&from).unwrap();
    let rows = |language: &str| -> Vec<Value> {
        (0..200)
            .map(|i| json!({"text": format!("{language} {i}"), "repo": "a/b", "path": format!("{i}.x"), "license": "MIT"}))
            .collect()
    };
    for language in ["rust", "english"] {
        let lines: String = rows(language).iter().map(|row| format!("{row}\n")).collect();
        fs::write(from.join(format!("{language}.jsonl")), lines).unwrap();
    }
    let out = folder.path().join("out");
    let counts: Value =
        serde_json::from_str(&succeed(&["split", text(&from), "-o", text(&out), "--json"])).unwrap();
    for language in ["rust", "english"] {
        let mut found = Vec::new();
        for (part, name) in [("train", "train"), ("score", "score"), ("held-out", "held_out")] {
            let file = fs::File::open(out.join(part).join(format!("{language}.jsonl.gz"))).unwrap();
            let mut lines = String::new();
            GzDecoder::new(file).read_to_string(&mut lines).unwrap();
            let part: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(counts[language][name], part.len());
            assert!(!part.is_empty(), "{name} of {language} is empty");
            // What trains stays as it was; what is measured on is in the order of the hashes of its names.
            let number = |row: &Value| -> usize {
                row["path"].as_str().unwrap().strip_suffix(".x").unwrap().parse().unwrap()
            };
            let hash = |row: &Value| {
                let key = if language == "rust" {
                    format!("a/b/{}.x", number(row))
                } else {
                    number(row).to_string()
                };
                ring::digest::digest(&ring::digest::SHA256, key.as_bytes()).as_ref().to_vec()
            };
            if name == "train" {
                assert!(part.is_sorted_by_key(number), "{name} of {language}");
            } else {
                assert!(
                    part.is_sorted_by_key(hash) && !part.is_sorted_by_key(number),
                    "{name} of {language}"
                );
            }
            found.extend(part);
        }
        let mut expected = rows(language);
        let by_text = |row: &Value| row["text"].as_str().unwrap().to_owned();
        found.sort_by_key(by_text);
        expected.sort_by_key(by_text);
        assert_eq!(found, expected, "fields and rows stay");
    }
    refused(
        &["split", text(&from), text(&from), "-o", text(&folder.path().join("twice"))],
        1,
        &["give each language once"],
    );
    refused(&["split", text(&from), "-o", text(&out)], 1, &["exists already"]);
}
