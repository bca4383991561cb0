//! `codingspot synth`: what it writes is a checkpoint, the same one whenever the seed is the same.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// 1.7 million parameters, a tensor of several chunks among them.
const CONFIG: &str = r#"{"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":9000,"hidden_size":64,
"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,
"max_position_embeddings":64,"rms_norm_eps":1e-5,"tie_word_embeddings":false,"initializer_range":0.05}"#;

fn codingspot(threads: usize, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_codingspot"));
    command.env("RAYON_NUM_THREADS", threads.to_string()).args(args).output().expect("the program starts")
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn synth(threads: usize, out: &Path, extra: &[&str]) -> Value {
    let config = out.with_file_name("config.json");
    fs::write(&config, CONFIG).unwrap();
    json(&codingspot(threads, &[&["synth", text(&config), "--out", text(out), "--json"], extra].concat()))
}

fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.file_name().unwrap().into(), fs::read(&path).unwrap())).collect()
}

#[test]
fn seed_and_place_decide_whatever_the_threads_and_shards() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    let one = synth(1, &path("one"), &[]);
    synth(2, &path("two"), &[]);
    synth(2, &path("other"), &["--seed", "1"]);
    let sharded = synth(2, &path("sharded"), &["--max-shard-size", "200KB"]);

    assert_eq!(contents(&path("one")), contents(&path("two")));
    assert_ne!(contents(&path("one")), contents(&path("other")));
    assert_eq!(one["files"], serde_json::json!(["model.safetensors"]));
    assert_eq!((one["dtype"].as_str(), one["seed"].as_u64()), (Some("BF16"), Some(0)));
    assert_eq!(fs::read_to_string(path("one").join("config.json")).unwrap(), CONFIG);
    let file = fs::read(path("one").join("model.safetensors")).unwrap();
    assert_eq!(one["bytes"], file.len());

    // The library reads the file, and its tensors have the spread that the config asks for.
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&file).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
    let whole = safetensors::SafeTensors::deserialize(&file).unwrap();
    let spread = |name: &str| {
        let tensor = whole.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), safetensors::Dtype::BF16);
        let values: Vec<f64> = tensor
            .data()
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[low, high]| f64::from(f32::from_le_bytes([0, 0, *low, *high])))
            .collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (mean, (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt())
    };
    let (mean, deviation) = spread("lm_head.weight");
    assert!(mean.abs() < 0.001 && (deviation - 0.05).abs() < 0.001, "{mean} {deviation}");
    let (mean, deviation) = spread("model.norm.weight");
    assert!((mean - 1.0).abs() < 0.05 && deviation < 0.1, "{mean} {deviation}");

    // Shards hold the same tensors, and the index says where.
    let index: Value =
        serde_json::from_slice(&fs::read(path("sharded").join("model.safetensors.index.json")).unwrap())
            .unwrap();
    assert_eq!(index["metadata"]["total_size"], 2 * sharded["parameters"].as_u64().unwrap());
    let files = sharded["files"].as_array().unwrap();
    assert!(files.len() > 2);
    assert_eq!(files[0], format!("model-00001-of-{:05}.safetensors", files.len()));
    let map = index["weight_map"].as_object().unwrap();
    assert_eq!(map.len(), whole.len());
    for (name, file) in map {
        let bytes = fs::read(path("sharded").join(file.as_str().unwrap())).unwrap();
        let shard = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let (found, expected) = (shard.tensor(name).unwrap(), whole.tensor(name).unwrap());
        assert!(found.data() == expected.data() && found.shape() == expected.shape(), "{name}");
        assert!(bytes.len() < 210_000 || shard.len() == 1, "{file:?} has {} bytes", bytes.len());
    }
    // Nothing temporary is left.
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 5);
}

#[test]
fn what_is_written_is_a_model() {
    let root = tempfile::tempdir().unwrap();
    for (dtype, name, size) in [("bf16", "BF16", 2), ("f16", "F16", 2), ("f32", "F32", 4)] {
        let out = root.path().join(dtype);
        let made = synth(2, &out, &["--dtype", dtype, "--max-shard-size", "1MB"]);
        let seen = json(&codingspot(2, &["inspect", text(&out), "--json"]));
        assert_eq!(seen["parameters"], made["parameters"]);
        let parameters = made["parameters"].as_u64().unwrap();
        assert!(made["bytes"].as_u64().unwrap() > parameters * size);
        assert!(seen["tensors"].as_array().unwrap().iter().all(|tensor| tensor["dtype"] == name), "{seen}");
        let args = [
            "generate",
            text(&out),
            "--prompt-ids",
            "1,2,3",
            "--max-tokens",
            "4",
            "--device",
            "cpu",
            "--json",
        ];
        let generated = json(&codingspot(2, &args));
        assert_eq!(generated["ids"].as_array().unwrap().len(), 4);
    }
}

#[test]
fn other_families_are_written_too() {
    let root = tempfile::tempdir().unwrap();
    for (family, more, tensors) in [
        (("Llama", "llama"), "", 21),
        (("Llama", "llama"), "\"attention_bias\":true,", 29),
        (("Qwen2", "qwen2"), "", 27),
        (("Mistral", "mistral"), "\"sliding_window\":5,\"head_dim\":8,", 21),
    ] {
        let (name, model_type) = family;
        let config = CONFIG
            .replace("LlamaForCausalLM", &format!("{name}ForCausalLM"))
            .replace("\"llama\"", &format!("\"{model_type}\""))
            .replace("\"vocab_size\"", &format!("{more}\"vocab_size\""));
        let (path, out) =
            (root.path().join("config.json"), root.path().join(format!("{name}{}", more.len())));
        fs::write(&path, config).unwrap();
        json(&codingspot(2, &["synth", text(&path), "--out", text(&out), "--json"]));
        let seen = json(&codingspot(2, &["inspect", text(&out), "--json"]));
        assert_eq!(seen["tensors"].as_array().unwrap().len(), tensors, "{seen}");
        let args = [
            "generate",
            text(&out),
            "--prompt-ids",
            "1,2,3",
            "--max-tokens",
            "9",
            "--device",
            "cpu",
            "--json",
        ];
        assert_eq!(json(&codingspot(2, &args))["ids"].as_array().unwrap().len(), 9);
    }
}

#[test]
fn what_can_not_be_written_is_refused_in_one_sentence() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("out");
    let refused = |config: &str, parts: &[&str]| {
        let path = root.path().join("config.json");
        fs::write(&path, config).unwrap();
        let output = codingspot(1, &["synth", text(&path), "-o", text(&out)]);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        for part in parts {
            assert!(stderr.contains(part) && !stderr.contains("panicked"), "{part:?} is not in {stderr}");
        }
        assert!(!out.exists());
    };
    let huge = CONFIG
        .replace("\"num_hidden_layers\":2", "\"num_hidden_layers\":7000")
        .replace("\"hidden_size\":64", "\"hidden_size\":262144");
    refused(&huge, &["config.json was refused", "4294967296"]);
    refused(
        &CONFIG.replace("\"num_hidden_layers\":2", "\"num_hidden_layers\":10000000"),
        &["num_hidden_layers"],
    );
    let large = CONFIG
        .replace("\"num_hidden_layers\":2", "\"num_hidden_layers\":7000")
        .replace("\"hidden_size\":64", "\"hidden_size\":65536");
    let large = large.replace("\"intermediate_size\":96", "\"intermediate_size\":65536");
    refused(&large, &["needed", "free"]);
    refused(&CONFIG.replace("0.05", "-1"), &["initializer_range", "-1"]);
    refused(r#"{"small":{},"large":{}}"#, &["config.json was refused", "of one Llama", "vocab_size"]);
    fs::create_dir(&out).unwrap();
    fs::write(out.join("precious"), "x").unwrap();
    let path = root.path().join("config.json");
    fs::write(&path, CONFIG).unwrap();
    assert_eq!(codingspot(1, &["synth", text(&path), "-o", text(&out)]).status.code(), Some(1));
    assert_eq!(fs::read(out.join("precious")).unwrap(), b"x");
}
