//! `score`, `merge` and `select` on tiny models: the same bits whatever the memory, the threads and
//! the interruptions, and one clear sentence where there can be no result.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Tied embeddings, and a head of its own in two shards of weights.
const MODELS: [&str; 2] = ["llama32-tiny", "codellama-tiny"];
/// Tokens that both models have.
const VOCABULARY: u64 = 200;
/// Tokens of a row.
const ROW: usize = 24;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_codingspot"))
}

fn run(args: &[&str]) -> Output {
    program().args(args).output().expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn succeed(args: &[&str]) -> Output {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    output
}

/// Asserts the exit code, and that stderr has all of `parts`; returns stderr.
fn refused(args: &[&str], code: i32, parts: &[&str]) -> String {
    let output = run(args);
    let stderr = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{args:?}: {part:?} is not in {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    stderr
}

/// Random numbers of a seed (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// A corpus of random pre-tokenised rows: languages with their numbers of rows.
fn corpus(root: &Path, languages: &[(&str, usize)]) -> PathBuf {
    corpus_below(VOCABULARY, root, languages)
}

/// The same of tokens below `vocabulary`.
fn corpus_below(vocabulary: u64, root: &Path, languages: &[(&str, usize)]) -> PathBuf {
    let folder = root.join("corpus");
    fs::create_dir_all(&folder).unwrap();
    let mut random = Random(1);
    for (language, rows) in languages {
        let mut lines = String::new();
        for _ in 0..*rows {
            let ids: Vec<u64> = (0..ROW).map(|_| random.below(vocabulary)).collect();
            lines += &format!("{{\"ids\":{ids:?}}}\n");
        }
        fs::write(folder.join(format!("{language}.jsonl")), lines).unwrap();
    }
    folder
}

/// Arguments of a scoring in batches of two rows.
fn score<'a>(model: &'a Path, corpus: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["score", text(model), "--corpus", text(corpus), "-o", text(out), "--device", "cpu"];
    if !more.contains(&"--batch-size") {
        args.extend(["--batch-size", "2"]);
    }
    args.extend(more);
    args
}

/// Every file below a run by its path, hidden ones too; manifests without the seconds that they
/// took.
fn files(run: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = text(path.strip_prefix(root).unwrap()).to_owned();
            if path.is_dir() {
                found.insert(format!("{name}/"), Vec::new());
                walk(root, &path, found);
            } else if path.ends_with("manifest.json") {
                let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
                for language in manifest["languages"].as_array_mut().unwrap() {
                    assert!(language.as_object_mut().unwrap().remove("seconds").is_some());
                }
                found.insert(name, serde_json::to_vec(&manifest).unwrap());
            } else {
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(run, run, &mut found);
    found
}

/// Asserts that two runs are the same to the bit, and have the same files.
fn same(what: &str, actual: &BTreeMap<String, Vec<u8>>, expected: &BTreeMap<String, Vec<u8>>) {
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(actual), names(expected), "{what}: files");
    for (name, bytes) in expected {
        assert!(actual[name] == *bytes, "{what}: {name} differs");
    }
}

/// All values of a safetensors file in the order of names.
fn values(file: &Path) -> BTreeMap<String, Vec<f32>> {
    let bytes = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |data: &[u8]| data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    tensors.iter().map(|(name, view)| (name.to_owned(), floats(view.data()))).collect()
}

/// Asserts a relative error of every tensor.
fn close(what: &str, actual: &Path, expected: &Path, tolerance: f64) {
    let (actual, expected) = (values(actual), values(expected));
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (name, expected) in &expected {
        let actual = &actual[name];
        assert_eq!(actual.len(), expected.len(), "{what}: {name}");
        let norm: f64 = expected.iter().map(|value| f64::from(*value).powi(2)).sum();
        let error: f64 =
            actual.iter().zip(expected).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
        assert!(norm > 0.0, "{what}: {name} is all zero");
        assert!((error / norm).sqrt() <= tolerance, "{what}: {name} is off by {:e}", (error / norm).sqrt());
    }
}

const TOTAL: &str = "total/model.safetensors";

/// The least memory that a scoring says it needs, bytes.
fn least_memory(args: &[&str]) -> u64 {
    let message = refused(&[args, &["--memory-limit", "1"]].concat(), 1, &["at least", "--memory-limit"]);
    let number = message.split("at least ").nth(1).unwrap().split(' ').next().unwrap();
    number.parse().unwrap_or_else(|_| panic!("{message}"))
}

/// What stays where, from what a scoring says about its plan.
fn plan(output: &Output) -> String {
    let stderr = stderr(output);
    let lines = stderr.lines().map(str::trim_start);
    let plan =
        lines.filter(|line| ["weights ", "sums ", "activations "].iter().any(|name| line.starts_with(name)));
    plan.map(|line| line.rsplit_once("  ").map_or(line, |(what, _)| what.trim_end()))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn memory_threads_and_checkpoints_change_no_bit() {
    let root = tempfile::tempdir().unwrap();
    let corpus = corpus(root.path(), &[("rust", 14), ("go", 10), ("bash", 7)]);
    for name in MODELS {
        let model = fixture(name);
        for estimators in ["signed", "abs", "wanda", "signed,abs,fisher,wanda"] {
            let options =
                ["--estimator", estimators, "--keep-language-scores", "--languages", "rust,go,bash"];
            let expected_path = root.path().join(format!("{name} {estimators}"));
            let args = score(&model, &corpus, &expected_path, &options);
            let least = if estimators == "wanda" { 0 } else { least_memory(&args) };
            assert!(!expected_path.exists(), "a refused scoring leaves nothing");
            let mut plans = BTreeSet::from([plan(&succeed(&args))]);
            let expected = files(&expected_path);
            let number = estimators.split(',').count();
            let totals = expected.keys().filter(|file| file.ends_with(TOTAL)).count();
            assert_eq!(totals, number, "{:?}", expected.keys());

            let out = root.path().join("again");
            let mut again = |more: &[&str], threads: Option<&str>| {
                let what = format!("{name} {estimators} {more:?} threads {threads:?}");
                let mut command = program();
                command.args(score(&model, &corpus, &out, &[&options[..], more].concat()));
                threads.map(|threads| command.env("RAYON_NUM_THREADS", threads));
                let output = command.output().unwrap();
                assert!(output.status.success(), "{what}: {}", stderr(&output));
                same(&what, &files(&out), &expected);
                fs::remove_dir_all(&out).unwrap();
                plans.insert(plan(&output));
            };
            again(&[], None);
            again(&[], Some("1"));
            again(&["--checkpoint-every", "1"], Some("3"));
            if least == 0 {
                continue;
            }
            for more in [0, 1 << 17, 1 << 18, 3 << 17, 1 << 19, 1 << 20, 3 << 19] {
                again(&["--memory-limit", &(least + more).to_string()], None);
            }
            again(&["--memory-limit", &least.to_string(), "--checkpoint-every", "2"], None);
            let has = |part: &str| plans.iter().any(|plan| plan.contains(part));
            assert!(
                plans.len() >= 4 && has("block by block from") && has("visit the device once a pass"),
                "limits gave few plans: {plans:#?}"
            );
            assert!(has("computed again") && has("batches a pass"), "limits gave few plans: {plans:#?}");
        }
    }
}

/// Biases and a window, in the plans that keep least.
#[test]
fn other_families_score_to_the_same_bits_in_little_memory() {
    let root = tempfile::tempdir().unwrap();
    let corpus = corpus_below(53, root.path(), &[("rust", 7), ("go", 5)]);
    for name in ["qwen2-tiny", "mistral-tiny"] {
        let model = fixture(name);
        let options = ["--estimator", "signed,abs,fisher,wanda", "--keep-language-scores"];
        let expected_path = root.path().join(name);
        let args = score(&model, &corpus, &expected_path, &options);
        let least = least_memory(&args);
        succeed(&args);
        let expected = files(&expected_path);
        let biases = values(&expected_path.join("wanda").join(TOTAL));
        let biases: Vec<_> = biases.iter().filter(|(name, _)| name.ends_with(".bias")).collect();
        assert_eq!(biases.len(), if name == "qwen2-tiny" { 6 } else { 0 });
        assert!(biases.iter().all(|(_, scores)| scores.iter().all(|score| *score == 0.0)), "{biases:?}");
        for limit in [least, least + (1 << 18), least + (1 << 20)] {
            let limit = limit.to_string();
            let out = root.path().join("again");
            let more = [&options[..], &["--memory-limit", &limit, "--checkpoint-every", "1"]].concat();
            succeed(&score(&model, &corpus, &out, &more));
            same(&format!("{name} within {limit}"), &files(&out), &expected);
            fs::remove_dir_all(&out).unwrap();
        }
    }
}

/// Whether a second try found that the first had finished.
fn had_finished(output: &Output, out: &Path) -> bool {
    let stderr = stderr(output);
    output.status.code() == Some(1)
        && (stderr.contains("exists already") || stderr.contains("finished run"))
        && !out.join("progress.json").exists()
}

#[test]
fn a_scoring_that_is_killed_anywhere_goes_on_to_the_same_bits() {
    const KILLS: u32 = 20;
    let root = tempfile::tempdir().unwrap();
    let corpus = corpus(root.path(), &[("rust", 30), ("go", 24)]);
    let model = fixture(MODELS[0]);
    let options = ["--estimator", "signed,abs,wanda", "--keep-language-scores", "--checkpoint-every", "1"];
    let expected_path = root.path().join("expected");
    let args = score(&model, &corpus, &expected_path, &options);
    let least = least_memory(&args).to_string();
    let begun = Instant::now();
    succeed(&args);
    let mut length = begun.elapsed();
    let expected = files(&expected_path);
    let mut random = Random(2);
    let (mut hit, mut missed, mut resumed) = (0, 0, 0);
    while hit < KILLS {
        let out = root.path().join(format!("killed {hit} {missed}"));
        // Half of them with sums in files; half of them go on under another plan than they began.
        let limited = |yes: bool| {
            let mut args = score(&model, &corpus, &out, &options);
            if yes {
                args.extend(["--memory-limit", &least]);
            }
            args
        };
        let mut child = program()
            .args(limited(hit % 2 == 1))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // One moment in every twentieth of a run.
        let part = (f64::from(hit) + random.below(1000) as f64 / 1000.0) / f64::from(KILLS);
        std::thread::sleep(length.mul_f64(part));
        child.kill().unwrap();
        if child.wait().unwrap().code().is_none() {
            hit += 1;
            let output = run(&limited(hit / 2 % 2 == 1));
            resumed += u32::from(stderr(&output).contains("Going on with"));
            assert!(output.status.success() || had_finished(&output, &out), "{part}: {}", stderr(&output));
        } else {
            // The machine is faster now than when the length was taken.
            missed += 1;
            length = length.mul_f64(0.9);
        }
        same(&format!("killed at {part:.3} of a run"), &files(&out), &expected);
        fs::remove_dir_all(&out).unwrap();
        assert!(missed < KILLS, "{hit} kills hit a running scoring, {missed} did not");
    }
    println!("{hit} kills hit a running scoring, {missed} did not; {resumed} went on from a checkpoint");
    assert!(resumed >= KILLS / 2, "{resumed} of {hit} went on from a checkpoint");
    let left: Vec<_> = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

/// What a kill at the worst moments leaves: a temporary file of the first, or of a later, write.
#[test]
fn temporary_files_of_a_killed_scoring_are_removed() {
    let root = tempfile::tempdir().unwrap();
    let corpus = corpus(root.path(), &[("rust", 6), ("go", 6)]);
    let model = fixture(MODELS[1]);
    let options = ["--estimator", "signed,abs"];
    let expected_path = root.path().join("expected");
    succeed(&score(&model, &corpus, &expected_path, &options));
    let expected = files(&expected_path);
    // Before there is any progress.
    let out = root.path().join("first write");
    fs::create_dir(&out).unwrap();
    fs::write(out.join(".codingspot-a1b2c3"), "{").unwrap();
    succeed(&score(&model, &corpus, &out, &options));
    same("first write", &files(&out), &expected);
    // Once there is.
    let out = root.path().join("later write");
    unfinished(&score(&model, &corpus, &out, &options), &out);
    fs::write(out.join(".codingspot-a1b2c3"), "{").unwrap();
    fs::create_dir_all(out.join("abs")).unwrap();
    fs::write(out.join("abs/.codingspot-d4e5f6"), "{").unwrap();
    succeed(&score(&model, &corpus, &out, &options));
    same("later write", &files(&out), &expected);
    // What is not of this program is not touched.
    let out = root.path().join("taken");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("precious"), "x").unwrap();
    refused(&score(&model, &corpus, &out, &options), 1, &["taken", "not empty"]);
    assert_eq!(fs::read(out.join("precious")).unwrap(), b"x");
}

/// Runs a scoring until its first checkpoint and kills it.
fn unfinished(args: &[&str], out: &Path) {
    for _ in 0..20 {
        let mut child = program()
            .args(args)
            .args(["--checkpoint-every", "1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let checkpointed = || {
            let progress = fs::read(out.join("progress.json")).ok()?;
            let progress: Value = serde_json::from_slice(&progress).ok()?;
            progress["current"].is_object().then_some(())
        };
        while checkpointed().is_none() && begun.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if out.join("progress.json").is_file() && out.join("checkpoint").is_dir() {
            return;
        }
        // It was faster than this test.
        fs::remove_dir_all(out).unwrap();
    }
    panic!("every scoring finished before it could be killed");
}

#[test]
fn an_unfinished_scoring_goes_on_with_its_own_settings_alone() {
    let root = tempfile::tempdir().unwrap();
    let corpus_path = corpus(root.path(), &[("rust", 24), ("go", 16)]);
    let model = fixture(MODELS[0]);
    let expected_path = root.path().join("expected");
    succeed(&score(&model, &corpus_path, &expected_path, &[]));
    let expected = files(&expected_path);
    let out = root.path().join("run");
    let args = score(&model, &corpus_path, &out, &[]);
    unfinished(&args, &out);
    let before = files(&out);

    let say = |more: &[&str], what: &str| {
        refused(&score(&model, &corpus_path, &out, more), 1, &[text(&out), "unfinished run", what]);
    };
    say(&["--seq-len", "100"], "another seq-len (512 there, 100 asked for)");
    say(&["--batch-size", "3"], "another batch-size (2 there, 3 asked for)");
    say(&["--estimator", "abs"], "another estimator");
    say(&["--estimator", "signed,abs"], "another estimator");
    say(&["--max-batches", "3"], "another max-batches");
    say(&["--keep-language-scores"], "another keep-language-scores");
    say(&["--shard", "1/2"], "another shard");
    say(&["--languages", "rust"], "another corpus");
    say(&["--languages", "rust,go"], "another corpus");
    let other = fixture(MODELS[1]);
    refused(&score(&other, &corpus_path, &out, &[]), 1, &["unfinished run", "another model", "fingerprint"]);
    let rust = corpus_path.join("rust.jsonl");
    let rows = fs::read_to_string(&rust).unwrap();
    fs::write(&rust, rows.replacen("[1", "[2", 1)).unwrap();
    assert!(fs::read_to_string(&rust).unwrap() != rows);
    say(&[], "another corpus (");
    fs::write(&rust, rows).unwrap();
    let spot = root.path().join("spot.safetensors");
    refused(
        &["select", text(&out), "-o", text(&spot)],
        1,
        &["not finished", "goes on from its last checkpoint"],
    );
    assert!(!spot.exists());
    let merged = root.path().join("merged");
    refused(&["merge", text(&out), "-o", text(&merged)], 1, &["not finished"]);
    assert!(!merged.exists());

    same("refused commands", &files(&out), &before);
    let output = succeed(&args);
    assert!(stderr(&output).contains("Going on with"), "{}", stderr(&output));
    same("the same command", &files(&out), &expected);
    // A finished run stays as it is, whatever is asked for.
    for more in [&[][..], &["--estimator", "abs"], &["--estimator", "signed,abs"]] {
        refused(&score(&model, &corpus_path, &out, more), 1, &[text(&out), "finished run"]);
    }
    same("asked again", &files(&out), &expected);
    // Progress that can't be read.
    let out = root.path().join("damaged");
    let args = score(&model, &corpus_path, &out, &[]);
    unfinished(&args, &out);
    fs::write(out.join("progress.json"), "{").unwrap();
    refused(&args, 1, &["progress.json", "was refused", "remove"]);
}

#[test]
fn shards_merge_to_the_run_that_they_are_parts_of() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let corpus = corpus(root, &[("rust", 11), ("go", 8), ("bash", 6)]);
    for name in MODELS {
        let model = fixture(name);
        // One estimator by itself, and one of several.
        for (estimators, sub) in [("signed", "."), ("abs,fisher", "fisher")] {
            let options = ["--estimator", estimators, "--keep-language-scores"];
            let whole = root.join(format!("{name} {estimators}"));
            succeed(&score(&model, &corpus, &whole, &options));
            let whole = whole.join(sub);
            for (count, order) in [
                (1, &[1][..]),
                (2, &[1, 2]),
                (2, &[2, 1]),
                (3, &[3, 1, 2]),
                (3, &[1, 2, 3]),
                (4, &[2, 4, 3, 1]),
                (5, &[5, 4, 3, 2, 1]),
            ] {
                let shard = |index: usize| root.join(format!("{name} {estimators} {index} of {count}"));
                for &index in order {
                    let (out, number) = (shard(index), format!("{index}/{count}"));
                    if !out.exists() {
                        succeed(&score(
                            &model,
                            &corpus,
                            &out,
                            &[&options[..], &["--shard", &number]].concat(),
                        ));
                    }
                    refused(
                        &["select", text(&out.join(sub)), "-o", text(&root.join("spot"))],
                        1,
                        &[&format!("shard {index} of {count}"), "codingspot merge"],
                    );
                }
                let merged = root.join("merged");
                let runs: Vec<PathBuf> = order.iter().map(|&index| shard(index).join(sub)).collect();
                let mut args = vec!["merge"];
                args.extend(runs.iter().map(|run| text(run)));
                args.extend(["-o", text(&merged)]);
                succeed(&args);
                let what = format!("{name} {estimators} {order:?}");
                if count <= 3 {
                    same(&what, &files(&merged), &files(&whole));
                } else {
                    // A language that is cut has its sums added in another order.
                    close(&what, &merged.join(TOTAL), &whole.join(TOTAL), 1e-6);
                    let names = |run: &Path| files(run).into_keys().collect::<Vec<_>>();
                    assert_eq!(names(&merged), names(&whole), "{what}");
                }
                // The merged run is taken, and stays.
                refused(&args, 1, &["merged", "exists already"]);
                fs::remove_dir_all(&merged).unwrap();
            }
        }
    }
}

#[test]
fn shards_that_do_not_belong_together_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let corpus = corpus(root, &[("rust", 6), ("go", 4)]);
    let [model, other] = MODELS.map(fixture);
    let shard = |name: &str, model: &Path, number: &str, more: &[&str]| -> PathBuf {
        let out = root.join(name);
        succeed(&score(model, &corpus, &out, &[&["--shard", number][..], more].concat()));
        out
    };
    let first = shard("first", &model, "1/2", &[]);
    let second = shard("second", &model, "2/2", &[]);
    let merged = root.join("merged");
    let say = |runs: &[&Path], parts: &[&str]| {
        let runs: Vec<&str> = runs.iter().map(|run| text(run)).collect();
        refused(&[&["merge"][..], &runs, &["-o", text(&merged)]].concat(), 1, parts);
        assert!(!merged.exists(), "{parts:?}");
    };
    say(&[&first], &["shard 2 of 2 is missing"]);
    say(&[&second], &["shard 1 of 2 is missing"]);
    say(&[&first, &first], &["shard 2 of 2 is missing"]);
    say(&[&first, &second, &first], &["named twice"]);
    let foreign = shard("foreign", &other, "2/2", &[]);
    say(&[&first, &foreign], &["foreign", "other weights", "first"]);
    for (name, more) in [
        ("abs", &["--estimator", "abs"][..]),
        ("size", &["--batch-size", "1"]),
        ("most", &["--max-batches", "1"]),
        ("kept", &["--keep-language-scores"]),
    ] {
        let different = shard(name, &model, "2/2", more);
        say(&[&first, &different], &[name, "other settings", "first"]);
    }
    let third = shard("third", &model, "3/3", &[]);
    say(&[&first, &second, &third], &["third", "other settings"]);
    let whole = root.join("whole");
    succeed(&score(&model, &corpus, &whole, &[]));
    say(&[&first, &whole], &["whole", "is not a shard", "--shard i/n"]);
    say(&[&first, &root.join("nowhere")], &["nowhere", "not a finished run"]);
    // Two batches can't be cut into forty parts that all have something.
    let out = root.join("many");
    refused(
        &score(&model, &corpus, &out, &["--shard", "1/40", "--max-batches", "1"]),
        1,
        &["shard 1 of 40 has nothing to score"],
    );
    assert!(!out.exists());
    for number in ["0/2", "3/2", "1", "a/b", "1/0"] {
        refused(&score(&model, &corpus, &out, &["--shard", number]), 2, &["--shard"]);
    }
    for estimator in ["magnitude", "random", "wanda", "signed,wanda"] {
        let args = score(&model, &corpus, &out, &["--shard", "1/2", "--estimator", estimator]);
        refused(&args, 2, &["--shard", "wanda"]);
    }
    assert!(!out.exists());
    // A shard whose sums were lost.
    fs::remove_file(second.join("languages/rust/contributions.safetensors")).unwrap();
    say(&[&first, &second], &["rust/contributions.safetensors"]);
}

#[test]
fn several_estimators_at_once_equal_each_by_itself() {
    let root = tempfile::tempdir().unwrap();
    let corpus = corpus(root.path(), &[("rust", 9), ("go", 6)]);
    for name in MODELS {
        let model = fixture(name);
        let all = root.path().join(format!("{name} all"));
        let estimators = "wanda,abs,signed,random,fisher,magnitude";
        succeed(&score(&model, &corpus, &all, &["--estimator", estimators, "--keep-language-scores"]));
        for estimator in estimators.split(',') {
            let alone = root.path().join(format!("{name} {estimator}"));
            succeed(&score(&model, &corpus, &alone, &["--estimator", estimator, "--keep-language-scores"]));
            let together = all.join(estimator);
            if estimator == "signed" {
                // Alone, a gradient's products go straight into its sum; else it is formed first.
                close(name, &together.join(TOTAL), &alone.join(TOTAL), 1e-5);
                let languages = "languages/go/scores.safetensors";
                close(name, &together.join(languages), &alone.join(languages), 1e-5);
            } else {
                same(&format!("{name} {estimator}"), &files(&together), &files(&alone));
            }
        }
        let spot = root.path().join("spot");
        refused(&["select", text(&all), "-o", text(&spot)], 1, &["one run for each estimator", "fisher"]);
        succeed(&["select", text(&all.join("fisher")), "-o", text(&spot)]);
        let taken = score(&model, &corpus, &all, &["--estimator", estimators]);
        refused(&taken, 1, &["exists already"]);
    }
}

#[test]
fn magnitude_and_random_need_no_corpus() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    for name in MODELS {
        let model = fixture(name);
        let of = |folder: &str, more: &[&str]| -> BTreeMap<String, Vec<u8>> {
            let out = root.join(format!("{name} {folder}"));
            succeed(&[&["score", text(&model), "-o", text(&out), "--device", "cpu"][..], more].concat());
            files(&out)
        };
        let magnitude = of("magnitude", &["--estimator", "magnitude"]);
        let seeded = of("magnitude of any seed", &["--estimator", "magnitude", "--seed", "9"]);
        assert!(seeded[TOTAL] == magnitude[TOTAL], "{name}");
        let random = of("random", &["--estimator", "random"]);
        same(name, &of("the seed 0", &["--estimator", "random", "--seed", "0"]), &random);
        assert!(of("another seed", &["--estimator", "random", "--seed", "1"])[TOTAL] != random[TOTAL]);
        let both = of("both", &["--estimator", "magnitude,random"]);
        assert!(both[&format!("magnitude/{TOTAL}")] == magnitude[TOTAL]);
        assert!(both[&format!("random/{TOTAL}")] == random[TOTAL]);
        let random = values(&root.join(format!("{name} random")).join(TOTAL));
        assert!(random.values().flatten().all(|score| (0.0..1.0).contains(score)));
    }
    // Others do.
    let out = root.join("out");
    let model = fixture(MODELS[0]);
    refused(&["score", text(&model), "-o", text(&out), "--estimator", "wanda"], 2, &["--corpus"]);
    refused(&["score", text(&model), "-o", text(&out), "--estimator", "random,abs"], 2, &["--corpus"]);
    assert!(!out.exists());
}

#[test]
fn a_corpus_that_is_too_short_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let corpus = root.path().join("corpus");
    fs::create_dir(&corpus).unwrap();
    let out = root.path().join("out");
    let bundled = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model");
    fs::write(corpus.join("rust.jsonl"), "{\"text\":\"fn main() {}\"}\n").unwrap();
    let args = score(&bundled, &corpus, &out, &["--seq-len", "64"]);
    refused(&args, 1, &["rust", " tokens are too few for one sequence of 64", "--seq-len"]);
    assert!(!out.exists());
    // As short as it is, it fills one of this length.
    succeed(&score(&bundled, &corpus, &out, &["--seq-len", "4"]));
    // A row of one token has no target.
    let model = fixture(MODELS[0]);
    let out = root.path().join("single");
    fs::write(corpus.join("rust.jsonl"), "{\"ids\":[1]}\n").unwrap();
    refused(&score(&model, &corpus, &out, &[]), 1, &["rust"]);
    assert!(!out.exists());
    // What the last language has is known before the first is scored.
    fs::write(corpus.join("go.jsonl"), "{\"ids\":[1,2,3]}\n").unwrap();
    fs::write(corpus.join("rust.jsonl"), "{\"ids\":[1,2,256]}\n").unwrap();
    refused(&score(&model, &corpus, &out, &["--languages", "go,rust"]), 1, &["rust", "token 256"]);
    assert!(!out.exists());
    fs::remove_file(corpus.join("go.jsonl")).unwrap();
    // Rows that are longer than the sequences asked for keep their length; fewer than a batch make
    // a smaller one.
    fs::write(corpus.join("rust.jsonl"), "{\"ids\":[1,2,3]}\n").unwrap();
    let out = root.path().join("one row");
    succeed(&score(&model, &corpus, &out, &[]));
    let manifest: Value = serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(
        (&manifest["languages"][0]["sequences"], &manifest["languages"][0]["tokens"]),
        (&1.into(), &3.into())
    );
}

/// A copy of a fixture with one weight set to `bytes`, as it is stored.
fn damaged(name: &str, root: &Path, tensor: &str, index: usize, value: f32) -> PathBuf {
    let target = root.join("damaged");
    fs::create_dir_all(&target).unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let file = entry.unwrap().path();
        let mut bytes = fs::read(&file).unwrap();
        if file.extension().is_some_and(|extension| extension == "safetensors")
            && !text(&file).contains("golden")
        {
            let (header, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
            if let Some(info) = metadata.info(tensor) {
                let start = 8 + header + info.data_offsets.0;
                match info.dtype {
                    safetensors::Dtype::F32 => {
                        bytes[start + 4 * index..start + 4 * index + 4].copy_from_slice(&value.to_le_bytes());
                    }
                    // The upper half of an f32.
                    safetensors::Dtype::BF16 => bytes[start + 2 * index..start + 2 * index + 2]
                        .copy_from_slice(&value.to_le_bytes()[2..]),
                    other => panic!("the fixtures hold no {other:?}"),
                }
            }
        }
        fs::write(target.join(file.file_name().unwrap()), bytes).unwrap();
    }
    target
}

#[test]
fn weights_that_are_not_finite_are_named() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let corpus = corpus(root, &[("rust", 4)]);
    for (name, tensor, index, value) in [
        (MODELS[0], "model.layers.1.mlp.up_proj.weight", 77, f32::NAN),
        (MODELS[1], "lm_head.weight", 1234, f32::INFINITY),
        (MODELS[1], "model.norm.weight", 3, f32::NEG_INFINITY),
    ] {
        let model = damaged(name, root, tensor, index, value);
        let out = root.join("out");
        let least = least_memory(&score(&fixture(name), &corpus, &out, &[])).to_string();
        for more in
            [&[][..], &["--memory-limit", &least], &["--estimator", "magnitude"], &["--estimator", "wanda"]]
        {
            let args = score(&model, &corpus, &out, more);
            let message = refused(&args, 1, &[tensor, &index.to_string()]);
            assert!(message.contains("finite"), "{message}");
            assert!(!out.join("manifest.json").exists(), "{more:?}");
            if out.exists() {
                fs::remove_dir_all(&out).unwrap();
            }
        }
        fs::remove_dir_all(&model).unwrap();
    }
}

/// Files may not grow beyond a limit: the nearest to a full disk that needs no rights.
#[test]
fn a_full_disk_ends_a_scoring_that_goes_on_when_there_is_room() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let corpus = corpus(root, &[("rust", 8), ("go", 6)]);
    let model = fixture(MODELS[0]);
    let options = ["--estimator", "signed,fisher", "--keep-language-scores", "--checkpoint-every", "2"];
    let expected_path = root.join("expected");
    succeed(&score(&model, &corpus, &expected_path, &options));
    let expected = files(&expected_path);
    let least = least_memory(&score(&model, &corpus, &root.join("least"), &options)).to_string();
    let mut failed = 0;
    // Kibibytes: nothing at all, small files, and files of sums but for their end.
    for limit in [0, 1, 64, 200, 280] {
        for more in [&[][..], &["--memory-limit", &least]] {
            let out = root.join(format!("full {limit} {}", more.len()));
            let args = score(&model, &corpus, &out, &[&options[..], more].concat());
            let output = Command::new("bash")
                .args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"", &limit.to_string()])
                .arg(env!("CARGO_BIN_EXE_codingspot"))
                .args(&args)
                .output()
                .expect("bash starts");
            let message = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{limit}: {message}");
            assert!(
                message.contains("can't be written") && message.contains(text(&out)),
                "{limit}: {message}"
            );
            assert!(
                message.contains("File too large") && !message.contains("panicked"),
                "{limit}: {message}"
            );
            if out.join("progress.json").is_file() {
                assert!(message.contains("the same command goes on"), "{limit}: {message}");
            }
            assert!(!out.join("manifest.json").exists());
            failed += 1;
            succeed(&args);
            same(&format!("after a limit of {limit} KiB"), &files(&out), &expected);
        }
    }
    assert_eq!(failed, 10);
}
