//! `codingspot pack`: what it writes is the checkpoint, as near as its encoding, and damage is noticed.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use codingspot_core::config::LlamaConfig;
use codingspot_core::layout::ParameterLayout;
use codingspot_core::spot::{Spot, count_of};
use codingspot_pack::levels::{Levels, PUBLISHED_PERCENT};
use codingspot_pack::manifest::{MANIFEST, Manifest};
use codingspot_pack::{Encoding, scale, unpack_rows};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The bundled model.
const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../demo/model");
/// Its spots.
const SPOTS: [&str; 2] = ["all", "no-norm"];

/// Number of its parameters.
fn parameters() -> u64 {
    let config = fs::read_to_string(demo().join("config.json")).unwrap();
    ParameterLayout::new(&LlamaConfig::from_json(&config).unwrap()).num_parameters()
}

/// A count below a billion, as people read it.
fn grouped(count: u64) -> String {
    match (count / 1_000_000, count / 1000 % 1000, count % 1000) {
        (0, thousands, rest) => format!("{thousands},{rest:03}"),
        (millions, thousands, rest) => format!("{millions},{thousands:03},{rest:03}"),
    }
}

fn demo() -> PathBuf {
    DEMO.into()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(name)
}

fn spot(name: &str) -> PathBuf {
    demo().join(format!("spot-{name}.safetensors"))
}

fn held_out() -> PathBuf {
    demo().join("../corpus/eval")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn run(threads: usize, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_codingspot"));
    command.env("RAYON_NUM_THREADS", threads.to_string()).args(args).output().expect("the program starts")
}

fn stdout(args: &[&str]) -> String {
    let output = run(2, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Asserts the exit code, and one line on stderr that has all of `parts`.
fn refused(args: &[&str], code: i32, parts: &[&str]) {
    let output = run(2, args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{args:?}: {part:?} is not in {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| (text(Path::new(path.file_name().unwrap())).to_owned(), fs::read(&path).unwrap()))
        .collect()
}

/// Packs the bundled model with its spots.
fn pack(encoding: Encoding, out: &Path) -> Value {
    let (all, no_norm) = (spot("all"), spot("no-norm"));
    let args = [
        "pack",
        DEMO,
        "--spot",
        text(&all),
        "--spot",
        text(&no_norm),
        "--encoding",
        encoding.name(),
        "--name",
        "demo",
        "-o",
        text(out),
        "--json",
    ];
    serde_json::from_str(&stdout(&args)).expect("one JSON document")
}

/// The values of every tensor of a pack, and the scale of each where it has one.
fn decode(folder: &Path, manifest: &Manifest) -> BTreeMap<String, (Vec<f32>, Vec<f32>)> {
    let mut tensors: BTreeMap<String, (Vec<f32>, Vec<f32>)> = BTreeMap::new();
    for piece in manifest.pieces() {
        let shard = fs::read(folder.join(&manifest.shards[piece.shard].name)).unwrap();
        let place = usize::try_from(piece.range.start).unwrap()..usize::try_from(piece.range.end).unwrap();
        let rows = piece.decode(&shard[place]).unwrap();
        let values =
            unpack_rows(&rows.words, &rows.scales, usize::try_from(piece.cols).unwrap(), piece.encoding);
        let (all, scales) = tensors.entry(piece.name.to_owned()).or_default();
        if piece.encoding.has_scales() {
            scales.extend((0..values.len()).map(|element| scale(&rows.scales, element / 32)));
        }
        all.extend(values);
    }
    tensors
}

/// The values of every tensor of the bundled checkpoint, which is in f16.
fn originals() -> BTreeMap<String, Vec<f32>> {
    let bytes = fs::read(demo().join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let dtype = codingspot_core::checkpoint::CheckpointDtype::F16;
    file.tensors()
        .into_iter()
        .map(|(name, view)| {
            let mut values = Vec::new();
            dtype.extend_f32(view.data(), &mut values);
            (name, values)
        })
        .collect()
}

#[test]
fn every_encoding_is_as_near_to_the_checkpoint_as_it_can_be() {
    let root = tempfile::tempdir().unwrap();
    let originals = originals();
    for encoding in Encoding::ALL {
        let out = root.path().join(encoding.name());
        let report = pack(encoding, &out);
        let manifest = Manifest::parse(&fs::read(out.join(MANIFEST)).unwrap()).unwrap();
        assert_eq!(manifest.encoding, encoding);
        assert_eq!(
            manifest.num_parameters(),
            originals.values().map(|values| values.len() as u64).sum::<u64>()
        );
        // Every file but the manifest is in it, with its length and hash.
        let files = contents(&out);
        let sizes: u64 =
            files.iter().filter(|(name, _)| *name != MANIFEST).map(|(_, file)| file.len() as u64).sum();
        assert_eq!((manifest.total_bytes, report["total_bytes"].as_u64()), (sizes, Some(sizes)));
        for file in &manifest.files {
            assert_eq!(blake3::hash(&files[&file.name]).to_string(), file.blake3, "{}", file.name);
            assert_eq!(files[&file.name], fs::read(demo().join(&file.name)).unwrap());
        }
        // Rows that are no whole blocks stay in halves.
        let broken =
            manifest.tensors.iter().filter(|tensor| tensor.shape.len() == 2 && tensor.shape[1] % 32 != 0);
        let broken: u64 = broken.map(|tensor| tensor.shape.iter().product::<u64>()).sum();
        let [words, halves, singles] = [encoding, Encoding::F16, Encoding::F32].map(|encoding| {
            let of = manifest.tensors.iter().filter(move |tensor| tensor.encoding == encoding);
            of.map(|tensor| tensor.shape.iter().product::<u64>()).sum::<u64>()
        });
        let bytes = match encoding {
            Encoding::F32 => 4 * words,
            Encoding::F16 => 2 * words + 4 * singles,
            Encoding::Q8 => words * 34 / 32 + 2 * halves + 4 * singles,
            Encoding::Q4 => words * 18 / 32 + 2 * halves + 4 * singles,
        };
        assert_eq!(report["weight_bytes"], bytes, "{encoding}");
        assert_eq!(
            halves,
            if encoding == Encoding::F16 {
                words
            } else if encoding.has_scales() {
                broken
            } else {
                0
            }
        );

        let decoded = decode(&out, &manifest);
        assert_eq!(decoded.keys().collect::<Vec<_>>(), originals.keys().collect::<Vec<_>>());
        let (mut error, mut power) = (0.0, 0.0);
        for (name, (values, scales)) in &decoded {
            let original = &originals[name];
            assert_eq!(values.len(), original.len(), "{name}");
            if scales.is_empty() {
                // Halves are in f16 and f32 what they were.
                assert!(values.iter().zip(original).all(|(a, b)| a.to_bits() == b.to_bits()), "{name}");
            }
            for ((value, original), scale) in values.iter().zip(original).zip(scales) {
                let off = f64::from(value - original);
                error += off * off;
                power += f64::from(*original).powi(2);
                if encoding == Encoding::Q8 {
                    assert!(off.abs() <= 0.51 * f64::from(*scale), "{name}: {value} for {original}");
                }
            }
        }
        if encoding.has_scales() {
            let (share, most) = (error / power, if encoding == Encoding::Q8 { 1e-4 } else { 8e-3 });
            println!("{encoding}: squared error {share:.2e} of the squared weights");
            assert!(share < most && share > most / 20.0, "{encoding}: {share:e}");
        }
    }
}

#[test]
fn levels_hold_the_ranking() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("pack");
    pack(Encoding::Q4, &out);
    let manifest = Manifest::parse(&fs::read(out.join(MANIFEST)).unwrap()).unwrap();
    assert_eq!(manifest.spots.iter().map(|spot| spot.name.as_str()).collect::<Vec<_>>(), SPOTS);
    for name in SPOTS {
        let ranking = Spot::from_bytes(&fs::read(spot(name)).unwrap()).unwrap();
        let entry = manifest.spot(name).unwrap();
        let bytes = fs::read(out.join(&entry.file)).unwrap();
        assert_eq!((entry.bytes, entry.len), (bytes.len() as u64, ranking.len() as u64));
        assert_eq!(blake3::hash(&bytes).to_string(), entry.blake3);
        let levels = Levels::open(bytes).unwrap();
        let tensors = manifest.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice()));
        levels.check(&manifest.fingerprint, tensors).unwrap();
        for k in PUBLISHED_PERCENT {
            let count = ranking.prefix_len(k).unwrap() as u64;
            assert!(levels.header().levels.contains(&count), "{name}: {k} % is {count}");
        }
        let mut start = 0;
        for (level, &end) in levels.header().levels.iter().enumerate() {
            let end = usize::try_from(end).unwrap();
            let mut expected: Vec<(usize, u32)> =
                ranking.ranked(start..end).map(|entry| (usize::from(entry.tensor), entry.offset)).collect();
            expected.sort_unstable();
            let found: Vec<(usize, u32)> = levels
                .level(level)
                .flat_map(|segment| segment.offsets.into_iter().map(move |offset| (segment.tensor, offset)))
                .collect();
            assert_eq!(found, expected, "level {level} of {name}");
            start = end;
        }
        assert_eq!(start, ranking.len());
    }
}

#[test]
fn the_bytes_depend_on_the_model_alone() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    for (threads, name) in [(1, "one"), (3, "three")] {
        let output =
            run(threads, &["pack", DEMO, "--name", "demo", "--encoding", "q4", "-o", text(&path(name))]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(contents(&path("one")), contents(&path("three")));
}

/// Loss of each language, by `eval`.
fn losses(model: &Path, out: &Path) -> BTreeMap<String, f64> {
    let corpus = held_out();
    let args = ["eval", text(model), "--corpus", text(&corpus), "--limit", "3", "--languages", "rust,python"];
    let args = [&args[..], &["--seq-len", "128", "--device", "cpu", "--json", "-o", text(out)]].concat();
    let report: Value = serde_json::from_str(&stdout(&args)).unwrap();
    let rows = report["results"].as_array().unwrap();
    rows.iter()
        .map(|row| (row["subset"].as_str().unwrap().to_owned(), row["value"].as_f64().unwrap()))
        .collect()
}

#[test]
fn a_pack_is_a_model_whose_loss_is_near_the_checkpoints() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    let original = losses(&demo(), &path("original.json"));
    for (encoding, near) in [(Encoding::F16, 0.0), (Encoding::Q8, 0.01), (Encoding::Q4, 0.25)] {
        let out = path(encoding.name());
        pack(encoding, &out);
        for (language, loss) in losses(&out, &path("pack.json")) {
            let off = (loss - original[&language]).abs();
            assert!(off <= near, "{encoding} is off by {off} on {language}");
            assert_eq!(off > 0.0, encoding.has_scales(), "{encoding} on {language}");
        }
        // The bundled spot is the pack's as it is the checkpoint's.
        let all = spot("all");
        let prompt = ["generate", text(&out), "--prompt-ids", "0,5,6", "--max-tokens", "2", "--json"];
        let ablated: Value =
            serde_json::from_str(&stdout(&[&prompt[..], &["--spot", text(&all), "--k", "0.25"]].concat()))
                .unwrap();
        let count = count_of(parameters(), 0.25);
        assert_eq!(ablated["ablated_parameters"], count);
    }
    let inspected = stdout(&["inspect", text(&path("q4"))]);
    assert!(inspected.contains("q4") && inspected.contains(&grouped(parameters())), "{inspected}");
}

#[test]
fn quality_is_measured_written_and_printed() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("pack");
    let corpus = held_out();
    let args = ["pack", DEMO, "--encoding", "q4", "--name", "demo", "--corpus", text(&corpus)];
    let args =
        [&args[..], &["--seq-len", "64", "--limit", "1", "--device", "cpu", "-o", text(&out)]].concat();
    let printed = stdout(&args);
    let manifest = Manifest::parse(&fs::read(out.join(MANIFEST)).unwrap()).unwrap();
    let quality = manifest.quality.unwrap();
    assert_eq!((quality.corpus.as_str(), quality.seq_len), ("eval", 64));
    let cost = quality.nats_per_token - quality.nats_per_token_f32;
    assert!(cost.abs() < 0.3 && cost.abs() > 1e-6, "{quality:?}");
    for part in [
        &format!("{} parameters in q4", grouped(parameters())),
        "bytes a parameter",
        &format!("{:.4}", quality.nats_per_token),
        &format!("{:.4}", quality.nats_per_token_f32),
        "typescript",
    ] {
        assert!(printed.contains(part), "{part:?} is not in {printed}");
    }
}

#[test]
fn damage_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("pack");
    pack(Encoding::Q8, &out);
    let generate = ["generate", text(&out), "--prompt-ids", "0,5", "--max-tokens", "1", "--device", "cpu"];
    stdout(&generate);
    let damage = |name: &str, change: fn(&mut Vec<u8>), parts: &[&str]| {
        let path = out.join(name);
        let whole = fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        change(&mut damaged);
        fs::write(&path, damaged).unwrap();
        refused(&generate, 1, parts);
        fs::write(&path, whole).unwrap();
    };
    for place in [0, 1 << 20, 5 << 20] {
        let path = out.join("weights-00001.bin");
        let whole = fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        damaged[place] ^= 0x10;
        fs::write(&path, damaged).unwrap();
        refused(&generate, 1, &["rows ", "have hash", "expected"]);
        fs::write(&path, whole).unwrap();
    }
    damage("weights-00001.bin", |bytes| bytes.truncate(1 << 20), &["weights-00001.bin", "1048576 bytes"]);
    damage("weights-00001.bin", |bytes| bytes.push(0), &["weights-00001.bin", "expected"]);
    damage("tokenizer.json", |bytes| bytes.push(b' '), &["tokenizer.json", "has hash"]);
    damage("manifest.json", |bytes| bytes.truncate(1000), &["manifest.json"]);
    damage(
        "manifest.json",
        |bytes| {
            *bytes = String::from_utf8(bytes.clone()).unwrap().replacen("weights-00001", "../w", 1).into();
        },
        &["manifest.json", "../w"],
    );
    fs::remove_file(out.join("weights-00001.bin")).unwrap();
    refused(&generate, 1, &["weights-00001.bin"]);
}

#[test]
fn what_can_not_be_packed_is_refused_and_nothing_is_left() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("pack");
    let all = spot("all");
    let tiny = fixture("llama32-tiny");
    refused(
        &["pack", text(&tiny), "--spot", text(&all), "-o", text(&out)],
        1,
        &["spot-all", "was made for weights", "not applied"],
    );
    refused(
        &["pack", DEMO, "--spot", text(&all), "--spot", text(&all), "-o", text(&out)],
        1,
        &["called all"],
    );
    refused(&["pack", DEMO, "--name", "", "-o", text(&out)], 1, &["name"]);
    refused(&["pack", DEMO, "--seq-len", "8", "-o", text(&out)], 2, &["--corpus"]);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);

    fs::create_dir(&out).unwrap();
    fs::write(out.join("precious"), "x").unwrap();
    refused(&["pack", DEMO, "-o", text(&out)], 1, &["not empty"]);
    fs::remove_file(out.join("precious")).unwrap();
    // A scoring's directory has a manifest.json too.
    fs::write(out.join(MANIFEST), "{\"schema_version\":1}").unwrap();
    refused(&["pack", DEMO, "-o", text(&out)], 1, &["not empty"]);
    fs::remove_file(out.join(MANIFEST)).unwrap();

    // A pack in place of a pack; and no results that would pass for the checkpoint's.
    pack(Encoding::Q8, &out);
    pack(Encoding::Q4, &out);
    let corpus = held_out();
    let other = root.path().join("other");
    let is_pack = ["is a web pack", "checkpoint"];
    refused(&["pack", text(&out), "-o", text(&other)], 1, &is_pack);
    refused(&["ablate", text(&out), "--spot", text(&all), "--k", "0.01", "-o", text(&other)], 1, &is_pack);
    refused(&["score", text(&out), "--corpus", text(&corpus), "-o", text(&other)], 1, &is_pack);
}

#[test]
fn size_and_storage_choose_where_nothing_is_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let (out, single) = (root.path().join("pack"), root.path().join("single"));
    let config = fixture("llama32-tiny").join("config.json");
    stdout(&["synth", text(&config), "--dtype", "f32", "-o", text(&single)]);
    for (model, encoding) in [(demo(), "f16"), (fixture("llama32-tiny"), "f16"), (single, "f32")] {
        let printed = stdout(&["pack", text(&model), "-o", text(&out)]);
        assert!(printed.contains(&format!("in {encoding}, chosen by its size")), "{printed}");
    }
}

#[test]
fn the_catalogue_keeps_what_else_it_lists() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    let (index, out) = (path("models/index.json"), path("models/packed"));
    let all = spot("all");
    let pack = |name: &str, encoding: &str| {
        let args = ["pack", DEMO, "--spot", text(&all), "--name", name, "--encoding", encoding];
        stdout(&[&args[..], &["--index", text(&index), "-o", text(&out)]].concat())
    };
    assert!(pack("one", "q8").contains("added to"));
    let read = || -> Value { serde_json::from_slice(&fs::read(&index).unwrap()).unwrap() };
    let mut catalogue = read();
    catalogue["models"][0]["title"] = json!("Model one");
    catalogue["models"].as_array_mut().unwrap().insert(0, json!({ "name": "other", "directory": "other/" }));
    fs::write(&index, catalogue.to_string()).unwrap();
    assert!(pack("one", "q4").contains("replaced in"));
    let manifest = Manifest::parse(&fs::read(out.join(MANIFEST)).unwrap()).unwrap();
    assert_eq!(
        read()["models"],
        json!([
            { "name": "other", "directory": "other/" },
            {
                "name": "one", "title": "Model one", "directory": "packed/", "pack": true, "bytes": manifest.total_bytes,
                "parameters": manifest.num_parameters(), "encoding": "q4", "fingerprint": manifest.fingerprint,
                "spots": [{ "name": "all", "file": "spot-all.levels" }],
            },
        ])
    );
    fs::write(&index, "[]").unwrap();
    let args = ["pack", DEMO, "--index", text(&index), "-o", text(&out)];
    refused(&args, 1, &["index.json", "\"models\""]);
}
