//! `codingspot generate --chat`: which tokens a question becomes, and what is said where there is no template.

#![expect(clippy::unwrap_used, reason = "what a test's helper can't do fails the test")]

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn generate(model: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_codingspot"));
    command.arg("generate").arg(model).args(["--device", "cpu", "--max-tokens", "1", "--json"]);
    command.args(args).output().expect("the program starts")
}

fn prompt_ids(model: &Path, args: &[&str]) -> Vec<u64> {
    let output = generate(model, args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    result["prompt_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
}

fn refused(model: &Path, args: &[&str], code: i32, parts: &[&str]) {
    let output = generate(model, args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{args:?}: {part:?} is not in {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
}

/// A copy of files of a model in the repository.
fn copy(from: &str, names: &[&str], to: &Path) -> PathBuf {
    for name in names {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(from).join(name);
        fs::copy(from, to.join(name)).unwrap();
    }
    to.to_owned()
}

/// A tiny model with a tokenizer of words that begins texts with `<s>`.
fn tiny(root: &Path) -> PathBuf {
    let words = ["?", "<s>", "</s>", "[INST]", "[/INST]", "add", "two", "numbers", "briefly"];
    let added = |(id, content): (usize, &&str)| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let vocabulary: serde_json::Map<_, _> =
        words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "decoder": null,
        "added_tokens": words.iter().enumerate().skip(1).take(4).map(added).collect::<Vec<_>>(),
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "model": {"type": "WordLevel", "unk_token": "?", "vocab": vocabulary},
    });
    let model = copy("tests/fixtures/llama32-tiny", &["config.json", "model.safetensors"], root);
    fs::write(model.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    model
}

const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}[INST] {{ m.content }} {% if m.role == 'user' %}[/INST]\
                        {% endif %}{% endfor %}{% if not add_generation_prompt %}{{ eos_token }}{% endif %}";

#[test]
fn a_question_becomes_the_tokens_of_its_template() {
    let root = tempfile::tempdir().unwrap();
    let model = tiny(root.path());
    let question = ["-p", "add two numbers"];
    assert_eq!(prompt_ids(&model, &question), [1, 5, 6, 7]);
    let chat = [&question[..], &["--chat"]].concat();
    refused(&model, &chat, 1, &["has no chat template", "--chat"]);

    // One BOS, which is the template's.
    let config = json!({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": TEMPLATE});
    fs::write(model.join("tokenizer_config.json"), config.to_string()).unwrap();
    assert_eq!(prompt_ids(&model, &chat), [1, 3, 5, 6, 7, 4]);
    assert_eq!(prompt_ids(&model, &question), [1, 5, 6, 7]);
    let system = [&chat[..], &["--system", "briefly"]].concat();
    assert_eq!(prompt_ids(&model, &system), [1, 3, 8, 3, 5, 6, 7, 4]);

    // The file of its own comes first, and none is added to a template without BOS.
    fs::write(model.join("chat_template.jinja"), "[INST] {{ messages[0].content }}{{ strftime_now('%%') }}")
        .unwrap();
    assert_eq!(prompt_ids(&model, &chat), [3, 5, 6, 7, 0]);

    for (template, said) in [
        ("{{ raise_exception('Only bots talk here.') }}", "Only bots talk here."),
        ("{% if %}", "can't be read"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "was stopped"),
    ] {
        fs::write(model.join("chat_template.jinja"), template).unwrap();
        refused(&model, &chat, 1, &["chat template", said]);
    }
    refused(&model, &["--prompt-ids", "1", "--chat"], 2, &["--chat"]);
    refused(&model, &["-p", "add", "--system", "briefly"], 2, &["--chat"]);
}

#[test]
fn the_bundled_tokenizer_knows_special_tokens_in_a_text() {
    let root = tempfile::tempdir().unwrap();
    let names = ["config.json", "model.safetensors", "tokenizer.json"];
    let model = copy("demo/model", &names, root.path());
    let template = "<|begin_of_text|>{{ messages[0].content }}<|end_of_text|>\n";
    fs::write(model.join("chat_template.jinja"), template).unwrap();
    let plain = prompt_ids(&model, &["-p", "fn main() {"]);
    let chat = prompt_ids(&model, &["-p", "fn main() {", "--chat"]);
    assert_eq!(plain[0], 0);
    assert_eq!(chat, [&plain[..], &[1]].concat());
}
