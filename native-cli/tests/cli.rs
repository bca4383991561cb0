//! The command line as a person or a script uses it: outputs, exit codes, files, and what is said
//! to wrong input.

use safetensors::SafeTensors;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Llama tied and not, with biases, and with a window.
const MODELS: [&str; 4] = ["llama32-tiny", "codellama-tiny", "qwen2-tiny", "mistral-tiny"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(name)
}

fn codingspot(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_codingspot")).args(args).output().expect("the program starts")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&stdout(&codingspot(args))).expect("one JSON document")
}

/// Asserts the exit code, and one line on stderr that has all of `parts`.
fn refused(args: &[&str], code: i32, parts: &[&str]) {
    let output = codingspot(args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{args:?}: {part:?} is not in {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
}

/// A copy of a fixture that a test may damage.
fn copy(name: &str, root: &Path) -> PathBuf {
    let target = root.join(name);
    fs::create_dir_all(&target).unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let file = entry.unwrap().path();
        if !text(&file).contains("golden") {
            fs::copy(&file, target.join(file.file_name().unwrap())).unwrap();
        }
    }
    target
}

/// The golden token rows as a corpus of pre-tokenised rows.
fn golden_corpus(name: &str, root: &Path) -> PathBuf {
    let bytes = fs::read(fixture(name).join("golden.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let folder = root.join("corpus");
    fs::create_dir_all(&folder).unwrap();
    for language in ["bash", "rust", "go"] {
        let mut lines = String::new();
        for batch in 0..3 {
            let tensor = golden.tensor(&format!("ids/{language}/{batch}")).unwrap();
            let ids: Vec<i64> =
                tensor.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect();
            for row in ids.chunks(tensor.shape()[1]) {
                lines += &format!("{{\"ids\":{row:?}}}\n");
            }
        }
        fs::write(folder.join(format!("{language}.jsonl")), lines).unwrap();
    }
    folder
}

fn floats(bytes: &[u8], name: &str) -> Vec<f32> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    file.tensor(name).unwrap().data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn score_fixture(name: &str, root: &Path) -> PathBuf {
    let run = root.join("run");
    let corpus = golden_corpus(name, root);
    let (model, corpus, out) = (fixture(name), corpus, run.clone());
    stdout(&codingspot(&[
        "score",
        text(&model),
        "--corpus",
        text(&corpus),
        "-o",
        text(&out),
        "--languages",
        "bash,rust,go",
        "--batch-size",
        "2",
        "--keep-language-scores",
        "--device",
        "cpu",
    ]));
    run
}

#[test]
fn score_select_ablate_eval_generate_agree_with_golden() {
    for name in MODELS {
        let root = tempfile::tempdir().unwrap();
        let run = score_fixture(name, root.path());
        let golden_bytes = fs::read(fixture(name).join("golden.safetensors")).unwrap();
        let golden: Value =
            serde_json::from_slice(&fs::read(fixture(name).join("golden.json")).unwrap()).unwrap();
        let total = fs::read(run.join("total/model.safetensors")).unwrap();
        for tensor in golden["tensor_order"].as_array().unwrap() {
            let tensor = tensor.as_str().unwrap();
            for (file, prefix) in [
                (total.clone(), "total".to_owned()),
                (fs::read(run.join("languages/go/scores.safetensors")).unwrap(), "score/go".to_owned()),
            ] {
                let (actual, expected) =
                    (floats(&file, tensor), floats(&golden_bytes, &format!("{prefix}/{tensor}")));
                let norm: f64 = expected.iter().map(|v| f64::from(*v).powi(2)).sum();
                let error: f64 = actual.iter().zip(&expected).map(|(a, b)| f64::from(a - b).powi(2)).sum();
                assert!(error <= 1e-8 * norm, "{name} {prefix} {tensor}");
            }
        }

        let spot = root.path().join("spot.safetensors");
        let selected = json(&["select", text(&run), "-o", text(&spot), "--max-k", "5", "--json"]);
        assert_eq!(selected["parameters"], golden["topk"]["5.0"]["k"]);
        // The sum over all languages, asked for by name, is the total.
        let by_name = root.path().join("by-name.safetensors");
        stdout(&codingspot(&[
            "select",
            text(&run),
            "-o",
            text(&by_name),
            "--max-k",
            "5",
            "--languages",
            "bash,rust,go",
        ]));
        assert!(fs::read(&spot).unwrap() == fs::read(&by_name).unwrap());

        let corpus = root.path().join("corpus");
        let evals = root.path().join("eval.json");
        stdout(&codingspot(&[
            "eval",
            text(&fixture(name)),
            "--tasks",
            "nll",
            "--corpus",
            text(&corpus),
            "--spot",
            text(&spot),
            "--k",
            "0,0.25,1",
            "--control",
            "random",
            "-o",
            text(&evals),
            "--device",
            "cpu",
        ]));
        let rows: Value = serde_json::from_slice(&fs::read(&evals).unwrap()).unwrap();
        let value = |subset: &str, variant: &str, k: f64| {
            let rows = rows["results"].as_array().unwrap();
            let row = rows.iter().find(|r| r["subset"] == subset && r["variant"] == variant && r["k"] == k);
            row.unwrap_or_else(|| panic!("{subset} {variant} {k}"))["value"].as_f64().unwrap()
        };
        for language in ["bash", "rust", "go"] {
            // Rows are of one length, so the mean over tokens is the mean over batches.
            let mean = |losses: &Value| {
                losses.as_array().unwrap().iter().map(|loss| loss.as_f64().unwrap()).sum::<f64>() / 3.0
            };
            assert!((value(language, "original", 0.0) - mean(&golden["loss"][language])).abs() < 1e-4);
            for (k, key) in [(0.25, "0.25"), (1.0, "1.0")] {
                let expected = mean(&golden["topk"][key]["loss_after"][language]);
                assert!((value(language, "spot", k) - expected).abs() < 1e-3, "{name} {language} {k}");
                assert!(value(language, "random:1", k).is_finite());
            }
        }

        // Ablated on disk and ablated in memory are the same model.
        let ablated = root.path().join("ablated");
        stdout(&codingspot(&[
            "ablate",
            text(&fixture(name)),
            "--spot",
            text(&spot),
            "--k",
            "0.25",
            "-o",
            text(&ablated),
        ]));
        let generate = |model: &Path, more: &[&str]| {
            let mut args = vec![
                "generate",
                text(model),
                "--prompt-ids",
                "1,5,9",
                "--max-tokens",
                "8",
                "--json",
                "--device",
                "cpu",
            ];
            args.extend(more);
            json(&args)
        };
        let on_disk = generate(&ablated, &[]);
        let in_memory = generate(&fixture(name), &["--spot", text(&spot), "--k", "0.25"]);
        assert_eq!(on_disk["ids"], in_memory["ids"]);
        assert_eq!(on_disk["logprobs"], in_memory["logprobs"]);
        assert_ne!(generate(&fixture(name), &[])["logprobs"], in_memory["logprobs"]);
    }
}

#[test]
fn greedy_ids_equal_golden() {
    for name in MODELS {
        let bytes = fs::read(fixture(name).join("golden.safetensors")).unwrap();
        let golden = SafeTensors::deserialize(&bytes).unwrap();
        let ids = |tensor: &str| -> Vec<i64> {
            golden
                .tensor(tensor)
                .unwrap()
                .data()
                .as_chunks::<8>()
                .0
                .iter()
                .map(|b| i64::from_le_bytes(*b))
                .collect()
        };
        let prompt = ids("generate/prompt");
        let greedy = ids("generate/greedy");
        // transformers' generate gives the prompt back before the continuation.
        let continuation = greedy.strip_prefix(prompt.as_slice()).expect("the prompt comes first");
        let joined: Vec<String> = prompt.iter().map(ToString::to_string).collect();
        let output = json(&[
            "generate",
            text(&fixture(name)),
            "--prompt-ids",
            &joined.join(","),
            "--max-tokens",
            &continuation.len().to_string(),
            "--json",
            "--device",
            "cpu",
        ]);
        let ids: Vec<i64> = output["ids"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
        // A model that ends the sequence stops; transformers pads or stops as well.
        assert!(!ids.is_empty() && continuation.starts_with(&ids), "{name}: {ids:?} {continuation:?}");
        assert!(ids.len() == continuation.len() || output["stop_reason"] == "eos", "{name}");
    }
}

#[test]
fn the_bundled_model_completes_text_and_inspects() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model");
    let inspected = json(&["inspect", text(&model), "--json"]);
    assert_eq!(inspected["parameters"], 14_161_536);
    assert_eq!(inspected["architecture"], "LlamaForCausalLM");
    for (name, architecture, said) in [
        (
            "qwen2-tiny",
            "Qwen2ForCausalLM",
            "Qwen2, 2 layers, hidden 16, intermediate 20, 4 heads of 4 (2 key/value) with biases of q, k and v,",
        ),
        (
            "mistral-tiny",
            "MistralForCausalLM",
            "Mistral, 2 layers, hidden 16, intermediate 20, 4 heads of 6 (2 key/value), window 7,",
        ),
    ] {
        assert_eq!(json(&["inspect", text(&fixture(name)), "--json"])["architecture"], architecture);
        let shown = stdout(&codingspot(&["inspect", text(&fixture(name))]));
        assert!(shown.starts_with(said), "{shown}");
        assert_eq!(shown.contains("self_attn.k_proj.bias"), name == "qwen2-tiny", "{shown}");
    }
    let spot = model.join("spot-no-norm.safetensors");
    let complete = |more: &[&str]| {
        let mut args =
            vec!["generate", text(&model), "-p", "def add(a, b):\n", "--max-tokens", "12", "--device", "cpu"];
        args.extend(more);
        stdout(&codingspot(&args))
    };
    let original = complete(&[]);
    assert!(original.trim().len() > 5);
    assert_eq!(original, complete(&[]), "greedy is reproducible");
    assert_ne!(original, complete(&["--spot", text(&spot), "--k", "0.25"]));
    let sampled = complete(&["--temperature", "1", "--seed", "7"]);
    assert_eq!(sampled, complete(&["--temperature", "1", "--seed", "7"]), "a seed is reproducible");
}

#[test]
fn bad_models_are_refused_in_one_sentence() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    refused(&["inspect", text(&root.join("nowhere"))], 1, &["nowhere", "config.json"]);

    let model = copy("llama32-tiny", root);
    let weights = model.join("model.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() - 10]).unwrap();
    refused(&["inspect", text(&model)], 1, &["model.safetensors", "truncated", "150000"]);
    fs::write(&weights, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n").unwrap();
    refused(&["inspect", text(&model)], 1, &["model.safetensors", "Git LFS pointer"]);
    fs::write(&weights, b"").unwrap();
    refused(&["inspect", text(&model)], 1, &["model.safetensors"]);
    fs::write(&weights, [0xff; 64]).unwrap();
    refused(&["inspect", text(&model)], 1, &["model.safetensors", "safetensors"]);
    fs::remove_file(&weights).unwrap();
    refused(&["inspect", text(&model)], 1, &["model.safetensors", "can't be read"]);
    fs::write(&weights, &whole).unwrap();

    let config = fs::read_to_string(model.join("config.json")).unwrap();
    let with = |from: &str, to: &str| {
        assert!(config.contains(from), "{from}");
        fs::write(model.join("config.json"), config.replace(from, to)).unwrap();
    };
    with("\"intermediate_size\": 128", "\"intermediate_size\": 130");
    let generate = ["generate", text(&model), "--prompt-ids", "1", "--device", "cpu"];
    refused(&generate, 1, &["gate_proj", "[128, 48]", "[130, 48]"]);
    with("LlamaForCausalLM", "GPT2LMHeadModel");
    refused(&generate, 1, &["config.json", "GPT2LMHeadModel", "LlamaForCausalLM"]);
    with("\"hidden_size\": 48", "\"hidden_size\": \"wide\"");
    refused(&generate, 1, &["config.json"]);
    fs::write(model.join("config.json"), "{").unwrap();
    refused(&generate, 1, &["config.json"]);
}

#[test]
fn bad_requests_are_refused_in_one_sentence() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let model = fixture("llama32-tiny");
    let (model, cpu) = (text(&model), ["--device", "cpu"]);
    let spot = root.join("spot.safetensors");
    let run = score_fixture("llama32-tiny", root);
    stdout(&codingspot(&["select", text(&run), "-o", text(&spot), "--max-k", "0.5"]));

    // A spot of other weights, with both fingerprints.
    let other = fixture("codellama-tiny");
    refused(
        &[
            "generate",
            text(&other),
            "--prompt-ids",
            "1",
            "--spot",
            text(&spot),
            "--k",
            "0.1",
            "--device",
            "cpu",
        ],
        1,
        &["spot.safetensors", "was not applied"],
    );
    let ablated = root.join("ablated");
    refused(
        &["ablate", text(&other), "--spot", text(&spot), "--k", "0.1", "-o", text(&ablated)],
        1,
        &["was not applied"],
    );
    assert!(!ablated.exists());
    // k outside the file, and outside everything.
    let generate = ["generate", model, "--prompt-ids", "1", "--spot", text(&spot), "--k"];
    refused(&[&generate[..], &["1"], &cpu].concat(), 1, &["k = 1 %", "0.5", "--max-k"]);
    refused(&[&generate[..], &["101"], &cpu].concat(), 2, &["101", "0 to 100"]);
    refused(&[&generate[..6], &cpu].concat(), 2, &["--k"]);
    // Prompts that can't be run.
    refused(&["generate", model, "--prompt-ids", "999", "--device", "cpu"], 1, &["token 999", "256"]);
    refused(&["generate", model, "-p", "text", "--device", "cpu"], 1, &["tokenizer.json", "--prompt-ids"]);
    refused(&["generate", model, "--device", "cpu"], 2, &["--prompt"]);
    let bundled = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model");
    refused(
        &["generate", text(&bundled), "-p", &"word ".repeat(2000), "--device", "cpu"],
        1,
        &["tokens", "context of 1024"],
    );
    // No adapter: with no Vulkan driver to be found.
    let output = Command::new(env!("CARGO_BIN_EXE_codingspot"))
        .args(["generate", model, "--prompt-ids", "1", "--device", "wgpu"])
        .env("VK_DRIVER_FILES", "/nonexistent.json")
        .env("VK_ICD_FILENAMES", "/nonexistent.json")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("no GPU adapter") && stderr.contains("--device cpu"), "{stderr}");
    // Corpora.
    let corpus = root.join("empty");
    fs::create_dir(&corpus).unwrap();
    let out = root.join("run2");
    let score = ["score", model, "--corpus", text(&corpus), "-o", text(&out), "--device", "cpu"];
    refused(&score, 1, &["empty", "LANG.jsonl"]);
    fs::write(corpus.join("rust.jsonl"), "\n").unwrap();
    refused(&score, 1, &["rust.jsonl", "no documents"]);
    fs::write(corpus.join("rust.jsonl"), "{\"ids\":[1,2,3]}\n{\"ids\":[1]}\n").unwrap();
    refused(&score, 1, &["rust", "one length"]);
    fs::write(corpus.join("rust.jsonl"), "nonsense\n").unwrap();
    refused(&score, 1, &["rust.jsonl", "line 1"]);
    fs::write(corpus.join("rust.jsonl"), "{\"ids\":[1,2,300]}\n").unwrap();
    refused(&score, 1, &["token 300"]);
    refused(&[&score[..], &["--languages", "cobol"]].concat(), 1, &["cobol", "rust"]);
    fs::write(corpus.join("rust.jsonl.gz"), "not gzip").unwrap();
    refused(&score, 1, &["twice"]);
    fs::remove_file(corpus.join("rust.jsonl")).unwrap();
    refused(&score, 1, &["rust.jsonl.gz"]);
    // Nothing half-written is left, and a name that is taken is kept.
    assert!(!out.exists());
    let leftovers: Vec<_> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".codingspot"))
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
    let corpus = root.join("corpus");
    refused(
        &["score", model, "--corpus", text(&corpus), "-o", text(&run), "--device", "cpu"],
        1,
        &["holds a finished run"],
    );
    refused(&["select", text(&corpus), "-o", text(&out)], 1, &["not a finished run"]);
    refused(&["generate", model, "--prompt-ids", "1", "--device", "cuda"], 2, &["CUDA"]);
    refused(&["serve", text(&corpus)], 1, &["index.html"]);
    // A damaged spot.
    let mut bytes = fs::read(&spot).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs::write(&spot, bytes).unwrap();
    refused(&[&generate[..], &["0.1"], &cpu].concat(), 1, &["spot.safetensors", "not a spot file"]);
}

#[test]
fn help_names_every_command_and_wrong_usage_exits_2() {
    let help = stdout(&codingspot(&["--help"]));
    for command in [
        "demo",
        "fetch",
        "fetch-data",
        "inspect",
        "generate",
        "score",
        "merge",
        "select",
        "combine",
        "overlap",
        "ablate",
        "study",
        "report",
        "eval",
        "serve",
        "synth",
        "bench",
    ] {
        assert!(help.contains(command), "{command}");
        stdout(&codingspot(&[command, "--help"]));
    }
    refused(&["frobnicate"], 2, &["frobnicate"]);
    refused(&[], 2, &["Usage"]);
}

#[test]
fn serve_answers_ranges_with_isolation_headers() {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpStream;
    use std::process::Stdio;
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("index.html"), "<!doctype html><title>x</title>").unwrap();
    fs::write(root.path().join("weights.safetensors"), (0..=255).collect::<Vec<u8>>()).unwrap();
    fs::write(root.path().parent().unwrap().join("codingspot-secret-test"), "secret").unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_codingspot"))
        .args(["serve", text(root.path()), "--port", "0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let get = |request: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "{request}\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    };
    let answer = get("GET /weights.safetensors HTTP/1.1\r\nRange: bytes=10-13");
    let head = String::from_utf8_lossy(&answer).to_lowercase();
    let page = String::from_utf8_lossy(&get("GET / HTTP/1.1")).to_lowercase();
    let outside = String::from_utf8_lossy(&get("GET /../codingspot-secret-test HTTP/1.1")).into_owned();
    let encoded = String::from_utf8_lossy(&get("GET /%2e%2e/codingspot-secret-test HTTP/1.1")).into_owned();
    server.kill().unwrap();
    server.wait().unwrap();
    fs::remove_file(root.path().parent().unwrap().join("codingspot-secret-test")).unwrap();
    assert!(head.starts_with("http/1.1 206") && head.contains("content-range: bytes 10-13/256"), "{head}");
    assert_eq!(answer[answer.len() - 4..], [10, 11, 12, 13]);
    for header in [
        "cross-origin-opener-policy: same-origin",
        "cross-origin-embedder-policy: require-corp",
        "x-content-type-options: nosniff",
    ] {
        assert!(page.contains(header), "{header}: {page}");
    }
    let policy = page.lines().find(|line| line.starts_with("content-security-policy")).unwrap();
    assert!(policy.contains("'wasm-unsafe-eval'") && !policy.contains("'unsafe-"), "{policy}");
    assert!(!outside.contains("secret\n") && !outside.ends_with("secret"), "{outside}");
    assert!(!encoded.ends_with("secret"), "{encoded}");
}
