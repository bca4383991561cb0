//! `select`, `combine`, `overlap`, `ablate`, `eval` and halves of a corpus, from the outside: what they
//! write is computed here once more from the files that they read, by sorting and counting.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test that can't go on fails; models are tiny"
)]

use rand::{SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Tokens that both fixtures have.
const VOCABULARY: u64 = 200;
const LANGUAGES: &str = "rust,go,bash";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_codingspot")).args(args).output().expect("the program starts")
}

fn succeed(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&succeed(&[args, &["--json"]].concat())).expect("one JSON document")
}

/// Asserts the exit code, and that stderr has all of `parts`.
fn refused(args: &[&str], code: i32, parts: &[&str]) {
    let output = run(args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{args:?}: {part:?} is not in {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
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

/// A corpus of pre-tokenised rows: every language has tokens of its own and some of all.
fn corpus(root: &Path, rows: usize) -> PathBuf {
    let folder = root.join("corpus");
    fs::create_dir_all(&folder).unwrap();
    let mut random = Random(1);
    for (number, language) in (0..).zip(["rust", "go", "bash", "english"]) {
        let mut token = || {
            let own = random.below(4) > 0;
            if own { 45 * number + random.below(60) } else { random.below(VOCABULARY) }
        };
        let mut lines = String::new();
        for _ in 0..rows {
            let ids: Vec<u64> = (0..20).map(|_| token() % VOCABULARY).collect();
            lines += &format!("{{\"ids\":{ids:?}}}\n");
        }
        fs::write(folder.join(format!("{language}.jsonl")), lines).unwrap();
    }
    folder
}

/// Scores `languages` into `root/name`.
fn score(root: &Path, name: &str, model: &Path, languages: &str, more: &[&str]) -> PathBuf {
    let out = root.join(name);
    let corpus = root.join("corpus");
    let mut args = vec!["score", text(model), "--corpus", text(&corpus), "-o", text(&out), "--device", "cpu"];
    args.extend(["--languages", languages]);
    if !more.contains(&"--batch-size") {
        args.extend(["--batch-size", "2"]);
    }
    succeed(&[&args, more].concat());
    out
}

/// A tensor of a file as it is stored.
#[derive(Debug, Clone, PartialEq)]
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

/// All tensors of a safetensors file.
fn tensors(file: &Path) -> BTreeMap<String, Stored> {
    let bytes = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .map(|(name, view)| {
            let (dtype, shape, data) = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            (name.to_owned(), Stored { dtype, shape, data })
        })
        .collect()
}

/// An IEEE half, by its definition.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    match exponent {
        0 => sign * fraction * 2_f32.powi(-24),
        31 => sign * if fraction > 0.0 { f32::NAN } else { f32::INFINITY },
        _ => sign * (1024.0 + fraction) * 2_f32.powi(exponent - 25),
    }
}

impl Stored {
    fn width(&self) -> usize {
        if self.dtype == Dtype::F32 { 4 } else { 2 }
    }

    fn values(&self) -> Vec<f32> {
        let of = |bytes: &[u8]| match self.dtype {
            Dtype::F32 => f32::from_le_bytes(bytes.try_into().unwrap()),
            Dtype::BF16 => f32::from_le_bytes([0, 0, bytes[0], bytes[1]]),
            Dtype::F16 => half(u16::from_le_bytes([bytes[0], bytes[1]])),
            other => panic!("{other:?}"),
        };
        self.data.chunks_exact(self.width()).map(of).collect()
    }

    /// The nearest number of this type, of two the one with an even last bit: among all of them.
    fn nearest(&self, value: f32) -> Vec<u8> {
        let (end, of): (u16, fn(u16) -> f32) = match self.dtype {
            Dtype::F32 => return value.to_le_bytes().to_vec(),
            Dtype::F16 => (0x7c00, half),
            _ => (0x7f80, |bits| f32::from_bits(u32::from(bits) << 16)),
        };
        // Numbers that are not negative ascend with their bits.
        let all: Vec<u16> = (0..end).collect();
        let above = all.partition_point(|&bits| of(bits) < value.abs());
        let distance = |bits: u16| (f64::from(of(bits)) - f64::from(value.abs())).abs();
        let neighbours = all[above.saturating_sub(1)..all.len().min(above + 1)].iter().copied();
        let found =
            neighbours.min_by(|&a, &b| distance(a).total_cmp(&distance(b)).then((a & 1).cmp(&(b & 1))));
        let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
        (found.unwrap() | sign).to_le_bytes().to_vec()
    }
}

/// The weights of a model's directory.
fn weights(model: &Path) -> BTreeMap<String, Stored> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(model).unwrap() {
        let path = entry.unwrap().path();
        let name = text(path.file_name().map(Path::new).unwrap());
        if name.starts_with("model") && name.ends_with(".safetensors") {
            found.extend(tensors(&path));
        }
    }
    found
}

/// A parameter: tensor and offset.
type Place = (String, usize);

/// A spot file, read without the program.
#[derive(Debug, Clone)]
struct Spot {
    header: Value,
    /// Names in the order of the layout.
    order: Vec<String>,
    places: Vec<Place>,
    scores: Vec<f32>,
}

impl Spot {
    fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let header: Value =
            serde_json::from_str(&metadata.metadata().as_ref().unwrap()["codingspot"]).unwrap();
        let names = header["tensors"].as_array().unwrap();
        let order: Vec<String> = names.iter().map(|t| t["name"].as_str().unwrap().to_owned()).collect();
        let columns = tensors(path);
        let tensor = columns["tensor"].data.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b));
        let offset = columns["offset"].data.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b));
        let places = tensor.zip(offset).map(|(t, o)| (order[usize::from(t)].clone(), o as usize)).collect();
        Self { header, places, scores: columns["score"].values(), order }
    }

    /// Writes these places under this header.
    fn write(path: &Path, header: &Value, order: &[String], places: &[Place]) {
        let index = |name: &str| order.iter().position(|known| known == name).unwrap() as u16;
        let tensor: Vec<u8> = places.iter().flat_map(|(name, _)| index(name).to_le_bytes()).collect();
        let offset: Vec<u8> = places.iter().flat_map(|(_, offset)| (*offset as u32).to_le_bytes()).collect();
        let score = vec![0; 4 * places.len()];
        Self::write_columns(path, &header.to_string(), &tensor, &offset, &score);
    }

    fn write_columns(path: &Path, header: &str, tensor: &[u8], offset: &[u8], score: &[u8]) {
        let n = tensor.len() / 2;
        let view = |dtype, data| TensorView::new(dtype, vec![n], data).unwrap();
        let views = [
            ("tensor", view(Dtype::U16, tensor)),
            ("offset", view(Dtype::U32, offset)),
            ("score", view(Dtype::F32, score)),
        ];
        let metadata = HashMap::from([("codingspot".to_owned(), header.to_owned())]);
        safetensors::serialize_to_file(views, Some(metadata), path).unwrap();
    }
}

fn in_scope(name: &str, scope: &str) -> bool {
    let (norm, vocabulary) =
        (name.contains("norm"), name.contains("embed_tokens") || name.contains("lm_head"));
    match scope {
        "all" => true,
        "no-norm" => !norm,
        "no-embedding" => !vocabulary,
        "blocks" => !norm && !vocabulary,
        other => panic!("{other}"),
    }
}

/// round(n · k / 100)
fn count_of(n: usize, k: f64) -> usize {
    (n as f64 * k / 100.0).round() as usize
}

/// Scores by tensor in the order of the layout.
type Scores = Vec<(String, Vec<f32>)>;

fn scores_of(file: &Path, order: &[String]) -> Scores {
    let stored = tensors(file);
    order.iter().map(|name| (name.clone(), stored[name].values())).collect()
}

fn total(run: &Path, order: &[String]) -> Scores {
    scores_of(&run.join("total/model.safetensors"), order)
}

fn language(run: &Path, name: &str, order: &[String]) -> Scores {
    scores_of(&run.join("languages").join(name).join("scores.safetensors"), order)
}

fn order_of(model: &str) -> Vec<String> {
    let golden: Value =
        serde_json::from_slice(&fs::read(fixture(model).join("golden.json")).unwrap()).unwrap();
    let names = golden["tensor_order"].as_array().unwrap();
    names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// The sum in f32, in this order.
fn sum(parts: &[Scores]) -> Scores {
    let mut sum = parts[0].clone();
    for part in &parts[1..] {
        for ((_, sum), (_, scores)) in sum.iter_mut().zip(part) {
            sum.iter_mut().zip(scores).for_each(|(sum, score)| *sum += score);
        }
    }
    sum
}

/// All parameters in scope, the highest scores first, equal ones by position.
fn ranking(scores: &Scores, scope: &str) -> Vec<(Place, f32)> {
    let mut all: Vec<(Place, f32)> = Vec::new();
    for (name, scores) in scores.iter().filter(|(name, _)| in_scope(name, scope)) {
        all.extend(scores.iter().enumerate().map(|(offset, &score)| ((name.clone(), offset), score)));
    }
    // Stable.
    all.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap());
    all
}

/// The highest k percent in scope.
fn top(scores: &Scores, scope: &str, k: f64) -> Vec<Place> {
    let all = ranking(scores, scope);
    let count = count_of(all.len(), k);
    all.into_iter().take(count).map(|(place, _)| place).collect()
}

fn set(places: &[Place]) -> BTreeSet<Place> {
    let set: BTreeSet<Place> = places.iter().cloned().collect();
    assert_eq!(set.len(), places.len(), "a parameter is there twice");
    set
}

fn select(run: &Path, out: &Path, more: &[&str]) -> Spot {
    succeed(&[&["select", text(run), "-o", text(out)], more].concat());
    Spot::read(out)
}

#[test]
fn selections_are_those_of_sorting() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    corpus(root, 8);
    let (model, order) = (fixture("llama32-tiny"), order_of("llama32-tiny"));
    let kept = score(root, "kept", &model, LANGUAGES, &["--keep-language-scores"]);
    let plain = score(root, "plain", &model, LANGUAGES, &[]);
    let general = score(root, "general", &model, "english", &[]);
    let out = root.join("spot.safetensors");
    let code = total(&kept, &order);
    let by_language: Vec<Scores> = LANGUAGES.split(',').map(|name| language(&kept, name, &order)).collect();
    assert!(sum(&by_language) == code);

    for scope in ["all", "no-norm", "no-embedding", "blocks"] {
        let pick = |run: &Path, more: &[&str]| select(run, &out, &[more, &["--scope", scope]].concat());
        let spot = pick(&kept, &["--max-k", "2"]);
        let expected = ranking(&code, scope);
        assert_eq!(spot.header["parameters_in_scope"], expected.len());
        let (places, scores): (Vec<Place>, Vec<f32>) = expected.into_iter().take(spot.places.len()).unzip();
        assert!(spot.places == places && spot.scores == scores, "{scope}");
        assert_eq!(spot.places, top(&code, scope, 2.0));

        // Languages, some of them, and all but some.
        assert_eq!(
            pick(&kept, &["--languages", "go", "--max-k", "2"]).places,
            top(&by_language[1], scope, 2.0)
        );
        let two = top(&sum(&[by_language[2].clone(), by_language[0].clone()]), scope, 2.0);
        assert_eq!(pick(&kept, &["--languages", "bash,rust", "--max-k", "2"]).places, two);
        let rest = pick(&kept, &["--leave-out", "go", "--max-k", "2"]);
        assert_eq!(rest.places, top(&sum(&[by_language[0].clone(), by_language[2].clone()]), scope, 2.0));
        assert_eq!(rest.header["languages"], serde_json::json!(["rust", "bash"]));
        // From what a run keeps anyway: the highest hundredth of all parameters.
        let from_top = pick(&plain, &["--languages", "go", "--max-k", "0.3"]);
        assert_eq!(from_top.places, top(&by_language[1], scope, 0.3));
        assert_eq!(from_top.header, pick(&kept, &["--languages", "go", "--max-k", "0.3"]).header);

        // Without another run's.
        for (k, minus_k) in [(1.0, None), (0.5, Some(3.0)), (2.0, Some(0.0))] {
            let mut args = vec!["--minus".to_owned(), text(&general).to_owned()];
            args.extend(["--max-k".to_owned(), k.to_string()]);
            args.extend(minus_k.iter().flat_map(|k: &f64| ["--minus-k".to_owned(), k.to_string()]));
            let spot = pick(&kept, &args.iter().map(String::as_str).collect::<Vec<_>>());
            let without = set(&top(&total(&general, &order), scope, minus_k.unwrap_or(k)));
            let mut expected = top(&code, scope, k);
            expected.retain(|place| !without.contains(place));
            assert!(spot.places == expected && !expected.is_empty(), "{scope} {k} {minus_k:?}");
            // All of the file is a k.
            let max_k = spot.header["max_k"].as_f64().unwrap();
            let parameters = spot.header["parameters_in_scope"].as_u64().unwrap() as usize;
            assert_eq!(count_of(parameters, max_k), expected.len());
            assert!(spot.header["derived"].as_str().unwrap().contains("general"));
        }
        // Without any other language's.
        let spot = pick(&kept, &["--unique", "--languages", "bash", "--max-k", "2", "--minus-k", "1"]);
        let mut expected = top(&by_language[2], scope, 2.0);
        for other in &by_language[..2] {
            let without = set(&top(other, scope, 1.0));
            expected.retain(|place| !without.contains(place));
        }
        assert!(spot.places == expected && !expected.is_empty(), "{scope}");
    }
}

#[test]
fn selections_that_can_not_be_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    corpus(root, 6);
    let model = fixture("llama32-tiny");
    let plain = score(root, "plain", &model, LANGUAGES, &[]);
    let other = score(root, "other", &fixture("codellama-tiny"), LANGUAGES, &[]);
    let abs = score(root, "abs", &model, "english", &["--estimator", "abs"]);
    let out = root.join("spot.safetensors");
    let select = ["select", text(&plain), "-o", text(&out)];
    let refused = |more: &[&str], code, parts: &[&str]| {
        refused(&[&select, more].concat(), code, parts);
        assert!(!out.exists(), "{more:?}");
    };
    let keep = "--keep-language-scores";
    refused(
        &["--languages", "go", "--max-k", "1.5"],
        1,
        &["k = 1.5 %", text(&plain), "1 % highest", "go", keep],
    );
    refused(&["--languages", "go", "--max-k", "0.5", "--group", "row"], 1, &["row", "1 %", keep]);
    refused(&["--languages", "go,bash", "--max-k", "0.5"], 1, &["scores.safetensors", keep]);
    refused(&["--leave-out", "go"], 1, &["scores.safetensors", keep]);
    refused(&["--leave-out", LANGUAGES], 1, &["nothing is left", text(&plain)]);
    refused(&["--leave-out", "cobol"], 1, &["cobol", "rust, go, bash"]);
    refused(&["--languages", "go,go"], 2, &["go is named twice"]);
    refused(&["--unique"], 2, &["--languages"]);
    refused(&["--minus-k", "1"], 2, &["--minus-k needs --minus or --unique"]);
    refused(&["--across-settings"], 2, &["--minus"]);
    let (other, abs) = (text(&other), text(&abs));
    refused(&["--minus", other], 1, &[text(&plain), other, "llama32-tiny", "codellama-tiny", "one model"]);
    refused(&["--minus", other, "--across-settings"], 1, &[text(&plain), other, "weights"]);
    refused(&["--minus", abs], 1, &["estimator is signed", text(&plain), "abs in", "--across-settings"]);
    refused(&["--minus", text(&plain)], 1, &["nothing is left of", text(&plain)]);
    succeed(&[&select[..], &["--minus", abs, "--across-settings"]].concat());
}

#[test]
fn groups_have_their_share_at_every_k() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let corpus = corpus(root, 6);
    let (model, order) = (fixture("llama32-tiny"), order_of("llama32-tiny"));
    let run = score(root, "run", &model, LANGUAGES, &["--keep-language-scores"]);
    let code = total(&run, &order);
    let shapes = weights(&model);
    let held: PathBuf = root.join("held");
    fs::create_dir(&held).unwrap();
    fs::copy(corpus.join("english.jsonl"), held.join("english.jsonl")).unwrap();
    let held = text(&held);
    for (group, scope) in [("tensor", "all"), ("row", "all"), ("row", "blocks"), ("tensor", "no-norm")] {
        let path = root.join(format!("{group}-{scope}.safetensors"));
        let spot = select(&run, &path, &["--group", group, "--scope", scope, "--max-k", "7.5"]);
        // What k names, by tensor, first offset and length of the group.
        let chosen = |k: f64| {
            let mut chosen: Vec<Place> = Vec::new();
            for (name, scores) in code.iter().filter(|(name, _)| in_scope(name, scope)) {
                let size = if group == "row" { *shapes[name].shape.last().unwrap() } else { scores.len() };
                for (number, part) in scores.chunks(size).enumerate() {
                    let mut part: Vec<(usize, f32)> = part.iter().copied().enumerate().collect();
                    part.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap());
                    let inside = part.iter().take(count_of(size, k));
                    chosen.extend(inside.map(|(place, _)| (name.clone(), number * size + place)));
                }
            }
            chosen
        };
        assert_eq!(set(&spot.places), set(&chosen(7.5)), "{group} {scope}");
        let mut args = vec!["eval", text(&model), "--corpus", held, "--device", "cpu", "--spot", text(&path)];
        let (evaluation, ks) = (root.join("eval.json"), [0.3, 1.0, 1.05, 3.7, 7.5]);
        let joined = ks.map(|k| k.to_string()).join(",");
        args.extend(["-o", text(&evaluation), "--k", &joined]);
        let rows = json(&args);
        for k in ks {
            let expected = chosen(k);
            assert_eq!(set(&spot.places[..expected.len()]), set(&expected), "{group} {scope} {k}");
            let row = row(&rows, "english", "spot", k);
            assert_eq!(row["ablated_parameters"], expected.len(), "{group} {scope} {k}");
        }
        // The same on disk and while generating.
        let ablated = root.join(format!("{group}-{scope}"));
        let k = ["--spot", text(&path), "--k", "3.7"];
        let done = json(&[&["ablate", text(&model), "-o", text(&ablated)], &k[..]].concat());
        assert_eq!(done["ablated_parameters"], chosen(3.7).len());
        let after = weights(&ablated);
        let zero: BTreeSet<Place> = set(&chosen(3.7));
        for (name, stored) in weights(&model) {
            let pairs = stored.values().into_iter().zip(after[&name].values()).enumerate();
            for (offset, (before, after)) in pairs {
                let expected = if zero.contains(&(name.clone(), offset)) { 0.0 } else { before };
                assert_eq!(after.to_bits(), expected.to_bits(), "{name} {offset}");
            }
        }
        let generate = |model: &Path, more: &[&str]| {
            let args =
                ["generate", text(model), "--prompt-ids", "1,5,9", "--max-tokens", "6", "--device", "cpu"];
            json(&[&args[..], more].concat())["logprobs"].clone()
        };
        assert_eq!(generate(&model, &k), generate(&ablated, &[]), "{group} {scope}");
        assert_ne!(generate(&model, &k), generate(&model, &[]), "{group} {scope}");
    }
}

/// The row of an evaluation.
fn row<'a>(rows: &'a Value, subset: &str, variant: &str, k: f64) -> &'a Value {
    let found = rows["results"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["subset"] == subset && row["variant"] == variant && row["k"].as_f64() == Some(k));
    found.unwrap_or_else(|| panic!("{subset} {variant} {k} is not in {rows}"))
}

#[test]
fn combined_spots_are_sets_in_order() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    corpus(root, 6);
    let model = fixture("llama32-tiny");
    let run = score(root, "run", &model, LANGUAGES, &["--keep-language-scores"]);
    let path = |name: &str| root.join(format!("{name}.safetensors"));
    let spots: BTreeMap<&str, Spot> = LANGUAGES
        .split(',')
        .map(|name| (name, select(&run, &path(name), &["--languages", name, "--max-k", "1"])))
        .collect();
    let (rust, go, bash) = (path("rust"), path("go"), path("bash"));
    let (rust, go, bash) = (text(&rust), text(&go), text(&bash));
    let out = path("out");
    let combine = |operation: &str, spots: &[&str], more: &[&str]| {
        succeed(&[&["combine", operation, "-o", text(&out)], spots, more].concat());
        Spot::read(&out)
    };
    let prefix = |name: &str, k: f64| spots[name].places[..count_of(73_968, k)].to_vec();

    let union = combine("union", &[rust, go, bash], &["--k", "1,0.5,0.1"]);
    let parts = [prefix("rust", 1.0), prefix("go", 0.5), prefix("bash", 0.1)];
    let expected: BTreeSet<Place> = parts.iter().flatten().cloned().collect();
    assert_eq!(set(&union.places), expected);
    // By the best rank in one of them.
    let best = |place: &Place| parts.iter().filter_map(|p| p.iter().position(|x| x == place)).min();
    assert!(union.places.iter().map(best).is_sorted());

    let both = combine("intersection", &[go, rust, bash], &[]);
    let mut expected = prefix("go", 1.0);
    for other in ["rust", "bash"] {
        let other = set(&prefix(other, 1.0));
        expected.retain(|place| other.contains(place));
    }
    assert!(both.places == expected && !expected.is_empty());
    assert!(both.scores.is_sorted_by(|a, b| a >= b));

    let difference = combine("difference", &[go, rust, bash], &["--k", "0.8"]);
    let mut expected = prefix("go", 0.8);
    for other in ["rust", "bash"] {
        let other = set(&prefix(other, 0.8));
        expected.retain(|place| !other.contains(place));
    }
    assert!(difference.places == expected && !expected.is_empty());
    let derived = difference.header["derived"].as_str().unwrap();
    assert!(derived.contains(go) && derived.contains(rust) && derived.contains(bash), "{derived}");
    // What comes out is a spot: its largest k is all of it.
    let max_k = difference.header["max_k"].to_string();
    let done =
        json(&["ablate", text(&model), "--spot", text(&out), "--k", &max_k, "-o", text(&root.join("a"))]);
    assert_eq!(done["ablated_parameters"], expected.len());

    // What can't be put together, and leaves nothing.
    fs::remove_file(&out).unwrap();
    let refused = |operation: &str, spots: &[&str], more: &[&str], code, parts: &[&str]| {
        refused(&[&["combine", operation, "-o", text(&out)], spots, more].concat(), code, parts);
        assert!(!out.exists());
    };
    select(&run, &path("blocks"), &["--max-k", "1", "--scope", "blocks"]);
    let other_run = score(root, "other", &fixture("codellama-tiny"), "go", &[]);
    select(&other_run, &path("codellama"), &["--max-k", "1"]);
    let (blocks, codellama) = (path("blocks"), path("codellama"));
    for operation in ["union", "intersection", "difference"] {
        refused(operation, &[go, text(&blocks)], &[], 1, &["go.safetensors has scope all", "scope blocks"]);
        let parts = ["go.safetensors is of weights", "codellama.safetensors of weights"];
        refused(operation, &[go, text(&codellama)], &[], 1, &parts);
    }
    refused(
        "difference",
        &[go, go],
        &[],
        1,
        &["nothing is left of", "without", "go.safetensors (740 parameters)"],
    );
    refused(
        "intersection",
        &[go, rust],
        &["--k", "0.5,0"],
        1,
        &["nothing is left of", "within", "rust.safetensors"],
    );
    refused("union", &[go, rust], &["--k", "0.5,2"], 1, &["rust.safetensors", "k = 2 %", "1 %"]);
    refused("union", &[go, rust, bash], &["--k", "0.5,1"], 2, &["2 values for 3 spots"]);
    refused("union", &[go], &[], 2, &["SPOTS"]);
}

/// Midranks of values, 1 the lowest.
fn midranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].partial_cmp(&values[b]).unwrap());
    let mut ranks = vec![0.0; values.len()];
    let mut below = 0;
    for group in order.chunk_by(|&a, &b| values[a].to_bits() == values[b].to_bits()) {
        let rank = f64::midpoint(1.0, group.len() as f64) + f64::from(below);
        group.iter().for_each(|&index| ranks[index] = rank);
        below += group.len() as u32;
    }
    ranks
}

fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (x, y) = (mean(a), mean(b));
    let product: f64 = a.iter().zip(b).map(|(a, b)| (a - x) * (b - y)).sum();
    let square = |v: &[f64], mean: f64| v.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
    product / (square(a, x) * square(b, y)).sqrt()
}

/// Spearman's correlation of the scores in scope with the lower 16 bits cleared.
fn spearman(a: &Scores, b: &Scores, scope: &str) -> f64 {
    let ranks = |scores: &Scores| {
        let inside = scores.iter().filter(|(name, _)| in_scope(name, scope));
        let bits = |score: &f32| f32::from_bits(score.to_bits() & 0xffff_0000);
        midranks(&inside.flat_map(|(_, scores)| scores.iter().map(bits)).collect::<Vec<_>>())
    };
    pearson(&ranks(a), &ranks(b))
}

fn near(found: &Value, expected: f64, tolerance: f64, what: &str) {
    let found = found.as_f64().unwrap_or_else(|| panic!("{what}: {found}"));
    assert!((found - expected).abs() <= tolerance, "{what}: {found} instead of {expected}");
}

/// Mean and standard error of the Jaccard index of random subsets with these sizes of parts of the
/// population: (parameters, of the one, of the other).
fn simulated(parts: &[(usize, usize, usize)], random: &mut Random) -> (f64, f64) {
    const DRAWS: usize = 300;
    let mut draw = |n: usize, count: usize, hits: &mut [u8]| {
        let mut left = count;
        while left > 0 {
            let place = random.below(n as u64) as usize;
            if hits[place] == 0 {
                hits[place] = 1;
                left -= 1;
            }
        }
    };
    let found: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let (mut common, mut both) = (0_usize, 0_usize);
            for &(n, a, b) in parts {
                let (mut one, mut other) = (vec![0; n], vec![0; n]);
                draw(n, a, &mut one);
                draw(n, b, &mut other);
                common += one.iter().zip(&other).filter(|(one, other)| **one + **other == 2).count();
                both += a + b;
            }
            common as f64 / (both - common) as f64
        })
        .collect();
    let mean = found.iter().sum::<f64>() / DRAWS as f64;
    let variance = found.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (DRAWS - 1) as f64;
    (mean, (variance / DRAWS as f64).sqrt())
}

/// log₁₀ P(common or more) of two random subsets, from logarithms of factorials.
fn log10_upper_tail(n: usize, a: usize, b: usize, common: usize) -> f64 {
    let mut factorials = vec![0.0_f64];
    (1..=n).for_each(|i| factorials.push(factorials[i - 1] + (i as f64).ln()));
    let choose = |n: usize, k: usize| factorials[n] - factorials[k] - factorials[n - k];
    let low = (a + b).saturating_sub(n).max(common);
    let terms: Vec<f64> =
        (low..=a.min(b)).map(|k| choose(a, k) + choose(n - a, b - k) - choose(n, b)).collect();
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (largest + terms.iter().map(|term| (term - largest).exp()).sum::<f64>().ln()) / std::f64::consts::LN_10
}

/// Checks what `overlap` says of two rankings at one k against the rankings themselves.
fn check_pair(at: &Value, left: &[Place], right: &[Place], sizes: &[(String, usize)], random: &mut Random) {
    let (one, other) = (set(left), set(right));
    let common = one.intersection(&other).count();
    assert_eq!(
        (&at["left"], &at["right"], &at["common"]),
        (&left.len().into(), &right.len().into(), &common.into())
    );
    near(&at["jaccard"], common as f64 / one.union(&other).count() as f64, 1e-12, "Jaccard");
    // Chance, over the scope and inside tensors.
    let n: usize = sizes.iter().map(|(_, n)| n).sum();
    let (chance, error) = simulated(&[(n, left.len(), right.len())], random);
    near(&at["chance"], chance, 4.5 * error + 1e-4, "chance");
    let inside = |places: &[Place], name: &str| places.iter().filter(|(tensor, _)| tensor == name).count();
    let parts: Vec<(usize, usize, usize)> =
        sizes.iter().map(|(name, n)| (*n, inside(left, name), inside(right, name))).collect();
    let (chance, error) = simulated(&parts, random);
    near(&at["chance_by_tensor"], chance, 4.5 * error + 1e-4, "chance by tensor");
    let log10_p = log10_upper_tail(n, left.len(), right.len(), common);
    near(&at["log10_p"], log10_p, 1e-6 * log10_p.abs() + 1e-9, "log10 p");
    // Parts of the model.
    let part = |name: &str| -> (String, Option<String>) {
        let layer = name.strip_prefix("model.layers.").map(|rest| rest.split('.').next().unwrap());
        let module = name.trim_end_matches(".weight").rsplit('.').next().unwrap();
        (module.to_owned(), layer.map(|layer| format!("layer {layer}")))
    };
    for (list, of) in [("by_module", true), ("by_layer", false)] {
        let mut counted = BTreeMap::new();
        for (name, _) in sizes {
            let (module, layer) = part(name);
            let Some(key) = (if of { Some(module) } else { layer }) else { continue };
            let count = |set: &BTreeSet<Place>| set.iter().filter(|(tensor, _)| tensor == name).count();
            let shared = one.iter().filter(|place| place.0 == *name && other.contains(*place)).count();
            let entry: &mut [usize; 3] = counted.entry(key).or_default();
            entry.iter_mut().zip([count(&one), count(&other), shared]).for_each(|(sum, n)| *sum += n);
        }
        let found: BTreeMap<String, [usize; 3]> = at[list]
            .as_array()
            .unwrap()
            .iter()
            .map(|part| {
                let number = |field: &str| part[field].as_u64().unwrap() as usize;
                (part["part"].as_str().unwrap().to_owned(), ["left", "right", "common"].map(number))
            })
            .collect();
        assert_eq!(found, counted, "{list}");
    }
    // Ranks of what both have.
    let ranks = |places: &[Place]| -> Vec<f64> {
        let ranks: BTreeMap<&Place, usize> = places.iter().zip(0..).collect();
        let shared = one.intersection(&other).map(|place| ranks[place] as f32).collect::<Vec<_>>();
        midranks(&shared)
    };
    if common > 2 {
        near(&at["rank_correlation"], pearson(&ranks(left), &ranks(right)), 1e-9, "rank correlation");
    } else {
        assert!(at["rank_correlation"].is_null());
    }
}

#[test]
fn overlaps_are_those_of_counting() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    corpus(root, 8);
    let (model, order) = (fixture("llama32-tiny"), order_of("llama32-tiny"));
    let code = score(root, "code", &model, LANGUAGES, &["--keep-language-scores"]);
    let general = score(root, "general", &model, "english", &[]);
    let (code_scores, general_scores) = (total(&code, &order), total(&general, &order));
    let mut random = Random(5);
    for scope in ["all", "blocks"] {
        let sizes: Vec<(String, usize)> = code_scores
            .iter()
            .filter(|(name, _)| in_scope(name, scope))
            .map(|(name, scores)| (name.clone(), scores.len()))
            .collect();
        let ks = [0.0025, 0.5, 6.0];
        let joined = ks.map(|k| k.to_string()).join(",");
        let found = json(&["overlap", text(&code), text(&general), "--k", &joined, "--scope", scope]);
        assert_eq!(found["rankings"], serde_json::json!([text(&code), text(&general)]));
        assert_eq!(found["parameters_in_scope"], sizes.iter().map(|(_, n)| n).sum::<usize>());
        for (at, k) in found["pairs"][0]["at"].as_array().unwrap().iter().zip(ks) {
            assert_eq!(at["k"].as_f64(), Some(k));
            let (left, right) = (top(&code_scores, scope, k), top(&general_scores, scope, k));
            check_pair(at, &left, &right, &sizes, &mut random);
        }
        near(&found["spearman"][0], spearman(&code_scores, &general_scores, scope), 1e-9, "Spearman");

        // The same of spots, and of a spot and a run.
        let path = |name: &str| root.join(format!("{name}-{scope}.safetensors"));
        let (a, b) = (path("code"), path("general"));
        select(&code, &a, &["--max-k", "6", "--scope", scope]);
        select(&general, &b, &["--max-k", "6", "--scope", scope]);
        let spots = json(&["overlap", text(&a), text(&b), "--k", &joined]);
        assert_eq!(spots["pairs"][0]["at"], found["pairs"][0]["at"]);
        assert!(spots["spearman"][0].is_null());
        let mixed = json(&["overlap", text(&a), text(&general), "--k", &joined]);
        assert_eq!(mixed["pairs"][0]["at"], found["pairs"][0]["at"]);
        // Beyond what one of them holds.
        // Nobody asked for a k that the spots don't hold.
        let half = root.join("half");
        select(&code, &half, &["--max-k", "0.5", "--scope", scope]);
        let found = json(&["overlap", text(&half), text(&half)]);
        let ks: Vec<f64> =
            found["pairs"][0]["at"].as_array().unwrap().iter().map(|at| at["k"].as_f64().unwrap()).collect();
        assert_eq!(ks, [0.0025, 0.01, 0.09, 0.25]);
        refused(&["overlap", text(&a), text(&b), "--k", "6.5"], 1, &[text(&a), "k = 6.5 %", "6 %"]);
        refused(&["overlap", text(&a), text(&b), "--scope", "no-norm"], 1, &[text(&a), scope, "no-norm"]);
    }

    // One run: its languages, all pairs of them.
    let found = json(&["overlap", text(&code), "--k", "2"]);
    assert_eq!(found["rankings"], serde_json::json!(["rust", "go", "bash"]));
    let pairs = [("rust", "go"), ("rust", "bash"), ("go", "bash")];
    assert_eq!(found["pairs"].as_array().unwrap().len(), pairs.len());
    for (pair, (left, right)) in found["pairs"].as_array().unwrap().iter().zip(pairs) {
        assert_eq!((pair["left"].as_str(), pair["right"].as_str()), (Some(left), Some(right)));
        let of = |name: &str| set(&top(&language(&code, name, &order), "all", 2.0));
        let (left, right) = (of(left), of(right));
        let common = left.intersection(&right).count();
        assert_eq!(pair["at"][0]["common"], common);
        near(&pair["at"][0]["jaccard"], common as f64 / left.union(&right).count() as f64, 1e-12, "Jaccard");
    }
    let table = succeed(&["overlap", text(&code), text(&general), "--k", "0.5"]);
    let jaccard =
        json(&["overlap", text(&code), text(&general), "--k", "0.5"])["pairs"][0]["at"][0]["jaccard"]
            .as_f64()
            .unwrap();
    assert!(table.contains(&format!("{jaccard:.4}")) && table.contains("Spearman's"), "{table}");
}

#[test]
fn runs_that_mean_something_else_are_not_compared() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    corpus(root, 6);
    let model = fixture("llama32-tiny");
    let code = score(root, "code", &model, LANGUAGES, &[]);
    let general = score(root, "general", &model, "english", &[]);
    let variants: [(&str, &[&str], &str); 3] = [
        ("abs", &["--estimator", "abs"], "the estimator is signed in"),
        ("long", &["--seq-len", "64"], "the sequence length is 512 in"),
        ("wide", &["--batch-size", "3"], "the batch size is 2 in"),
    ];
    for (name, more, what) in variants {
        let other = score(root, name, &model, "english", more);
        let (one, other) = (text(&code), text(&other));
        let args = ["overlap", one, other, "--k", "0.5"];
        let both = [format!("{what} {one}"), format!("in {other}"), "--across-settings".to_owned()];
        refused(&args, 1, &both.each_ref().map(String::as_str));
        succeed(&[&args[..], &["--across-settings"]].concat());
    }
    let other = score(root, "codellama", &fixture("codellama-tiny"), "english", &[]);
    let both = ["llama32-tiny", "codellama-tiny", text(&code), text(&other)];
    refused(&["overlap", text(&code), text(&other)], 1, &both);
    // Not even across settings: no parameter of the one is one of the other.
    let both = [text(&code), text(&other), "weights"];
    refused(&["overlap", text(&code), text(&other), "--across-settings"], 1, &both);
    // Spots carry the estimator.
    let path = |name: &str| root.join(format!("{name}.safetensors"));
    let (signed, abs, blocks) = (path("signed"), path("abs-spot"), path("blocks"));
    select(&general, &signed, &[]);
    select(&root.join("abs"), &abs, &[]);
    select(&general, &blocks, &["--scope", "blocks"]);
    refused(&["overlap", text(&signed), text(&abs)], 1, &["signed", "abs", "--across-settings"]);
    succeed(&["overlap", text(&signed), text(&abs), "--across-settings"]);
    refused(&["overlap", text(&signed), text(&blocks)], 1, &["scope all", "scope blocks"]);
    // Too few, and too much.
    refused(&["overlap", text(&general)], 1, &[text(&general), "a second run or spot"]);
    refused(&["overlap", text(&signed)], 1, &["signed.safetensors", "single ranking"]);
    refused(&["overlap", text(&code), "--k", "1.5"], 1, &["k = 1.5 %", "1 %", "--keep-language-scores"]);
    refused(&["overlap", text(&code), text(&general), "--k", "0"], 2, &["--k"]);
    refused(&["overlap", text(&root.join("corpus"))], 1, &["corpus", "not a finished run"]);
}

/// Tensors in the order of a layout, with the ranks of a spot in each.
fn ranks_by_tensor(spot: &Spot, count: usize) -> BTreeMap<&str, Vec<usize>> {
    let mut found: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (name, offset) in &spot.places[..count] {
        found.entry(name).or_default().push(*offset);
    }
    found
}

/// What the definition of a replacement makes of the values at `offsets` of a tensor.
fn replaced(replacement: &str, tensor: &Stored, number: u64, offsets: &[usize]) -> Vec<Vec<u8>> {
    let (values, width) = (tensor.values(), tensor.width());
    let bytes = |offset: &usize| tensor.data[width * offset..width * (offset + 1)].to_vec();
    let (name, argument) = replacement.split_once('=').unwrap_or((replacement, ""));
    match name {
        "zero" => vec![vec![0; width]; offsets.len()],
        "mean" => {
            let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64;
            vec![tensor.nearest(mean as f32); offsets.len()]
        }
        "flip" => {
            let flip = |mut bytes: Vec<u8>| {
                *bytes.last_mut().unwrap() ^= 0x80;
                bytes
            };
            offsets.iter().map(|offset| flip(bytes(offset))).collect()
        }
        "shuffle" => {
            let mut rng = ChaCha8Rng::seed_from_u64(argument.parse().unwrap_or(0));
            rng.set_stream(number);
            let mut all: Vec<Vec<u8>> = offsets.iter().map(bytes).collect();
            all.shuffle(&mut rng);
            all
        }
        "scale" => {
            let factor: f32 = argument.parse().unwrap();
            offsets.iter().map(|&offset| tensor.nearest(values[offset] * factor)).collect()
        }
        other => panic!("{other}"),
    }
}

/// A model of random weights of the shape of a fixture, and a random ranking of all of its parameters.
fn synthesised(root: &Path, dtype: &str) -> (PathBuf, PathBuf) {
    let (model, run) = (root.join(dtype), root.join(format!("{dtype}-run")));
    let config = fixture("llama32-tiny").join("config.json");
    succeed(&["synth", text(&config), "-o", text(&model), "--dtype", dtype, "--seed", "3"]);
    succeed(&["score", text(&model), "--estimator", "random", "-o", text(&run), "--device", "cpu"]);
    let spot = root.join(format!("{dtype}.safetensors"));
    select(&run, &spot, &["--max-k", "100"]);
    (model, spot)
}

fn losses(model: &Path, root: &Path, more: &[&str]) -> Value {
    let corpus = root.join("corpus");
    let out = root.join("eval.json");
    let args = ["eval", text(model), "--corpus", text(&corpus), "-o", text(&out), "--device", "cpu"];
    json(&[&args[..], more].concat())
}

#[test]
fn replaced_parameters_are_on_disk_what_they_are_in_memory() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    corpus(root, 3);
    let languages = ["rust", "go", "bash", "english"];
    let mut models: Vec<(PathBuf, PathBuf)> =
        ["f32", "f16", "bf16"].map(|dtype| synthesised(root, dtype)).into();
    // Trained weights in two shards, a head of its own, and a real spot.
    let run = score(root, "codellama-run", &fixture("codellama-tiny"), LANGUAGES, &[]);
    let spot = root.join("codellama.safetensors");
    select(&run, &spot, &["--max-k", "5"]);
    models.push((fixture("codellama-tiny"), spot));
    for (model, spot_path) in &models {
        let spot = Spot::read(spot_path);
        let original = weights(model);
        let k = "3";
        let count = count_of(spot.header["parameters_in_scope"].as_u64().unwrap() as usize, 3.0);
        for replacement in ["zero", "mean", "flip", "shuffle", "shuffle=9", "scale=0.5", "scale=-1.3"] {
            let what = format!("{} {replacement}", model.display());
            let out = root.join("out");
            let spot_args = ["--spot", text(spot_path), "--k", k, "--replace", replacement];
            let done = json(&[&["ablate", text(model), "-o", text(&out)], &spot_args[..]].concat());
            assert_eq!((&done["ablated_parameters"], &done["replace"]), (&count.into(), &replacement.into()));
            let mut expected = original.clone();
            for (name, offsets) in ranks_by_tensor(&spot, count) {
                let number = spot.order.iter().position(|known| known == name).unwrap() as u64;
                let tensor = expected.get_mut(name).unwrap();
                let (width, values) = (tensor.width(), replaced(replacement, tensor, number, &offsets));
                for (offset, value) in offsets.into_iter().zip(values) {
                    tensor.data[width * offset..width * (offset + 1)].copy_from_slice(&value);
                }
            }
            assert!(weights(&out) == expected && expected != original, "{what}");
            // Nothing else of a file is touched: it is the old one but for the replaced bytes.
            for entry in fs::read_dir(model).unwrap() {
                let path = entry.unwrap().path();
                let name = text(path.file_name().map(Path::new).unwrap()).to_owned();
                if name.contains("golden") {
                    continue;
                }
                let (before, after) = (fs::read(&path).unwrap(), fs::read(out.join(&name)).unwrap());
                assert_eq!(before.len(), after.len(), "{what}: {name}");
                let differing = before.iter().zip(&after).filter(|(a, b)| a != b).count();
                assert!(
                    if name.ends_with(".json") { differing == 0 } else { differing <= 4 * count },
                    "{what}: {name}"
                );
            }
            let on_disk = losses(&out, root, &[]);
            let in_memory = losses(model, root, &spot_args);
            assert_eq!(in_memory["config"]["replace"], replacement);
            for language in languages {
                let disk = row(&on_disk, language, "original", 0.0)["value"].as_f64().unwrap();
                let memory = row(&in_memory, language, "spot", 3.0)["value"].as_f64().unwrap();
                let before = row(&in_memory, language, "original", 0.0)["value"].as_f64().unwrap();
                assert!((memory - before).abs() > 0.0, "{what} {language}");
                // Memory keeps f32 where the file rounds: relative 2⁻⁹ (bf16) of 3 % of the weights, and the
                // last bit of halved subnormals. A mean in f32 may round otherwise, as memory adds it up in
                // bands.
                let stored = original["model.norm.weight"].dtype;
                let tolerance = match (replacement, stored) {
                    ("zero" | "flip" | "shuffle" | "shuffle=9", _)
                    | ("scale=0.5" | "scale=-1.3", Dtype::F32) => 0.0,
                    ("scale=0.5", _) | ("mean", Dtype::F32) => 1e-6,
                    _ => 1e-2,
                };
                assert!((disk - memory).abs() <= tolerance, "{what} {language}: {disk} {memory}");
            }
            fs::remove_dir_all(&out).unwrap();
        }
    }
}

#[test]
fn what_a_type_can_not_hold_is_not_written() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let (model, _) = synthesised(root, "f16");
    // One weight near the end of the range of halves: 60,000 = 0x7B53.
    let file = model.join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let (header, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let name = "model.layers.1.mlp.up_proj.weight";
    let start = 8 + header + metadata.info(name).unwrap().data_offsets.0 + 2 * 77;
    bytes[start..start + 2].copy_from_slice(&0x7b53_u16.to_le_bytes());
    fs::write(&file, bytes).unwrap();
    let (run, spot, out) = (root.join("run"), root.join("spot.safetensors"), root.join("new/out"));
    fs::create_dir(root.join("new")).unwrap();
    succeed(&["score", text(&model), "--estimator", "magnitude", "-o", text(&run), "--device", "cpu"]);
    select(&run, &spot, &[]);
    let ablate = |factor: &str, k: &str| {
        let replace = format!("scale={factor}");
        let args = [
            "ablate",
            text(&model),
            "--spot",
            text(&spot),
            "--k",
            k,
            "-o",
            text(&out),
            "--replace",
            &replace,
        ];
        args.map(str::to_owned)
    };
    let args = ablate("1.2", "0.5");
    refused(&args.each_ref().map(String::as_str), 1, &[name, "offset 77", "72000", "F16", "smaller factor"]);
    assert_eq!(fs::read_dir(root.join("new")).unwrap().count(), 0);
    succeed(&ablate("1.05", "0.5").each_ref().map(String::as_str));
    refused(&ablate("1.05", "0.5").each_ref().map(String::as_str), 1, &["exists already"]);
    for bad in ["scale=1e9", "scale=", "nothing", "zero=1"] {
        let args =
            ["ablate", text(&model), "--spot", text(&spot), "--k", "1", "-o", text(&out), "--replace", bad];
        refused(&args, 2, &[bad, "scale=FACTOR"]);
    }
    refused(
        &["eval", text(&model), "--corpus", text(root), "-o", text(&out), "--replace", "flip"],
        2,
        &["--spot"],
    );
}

#[test]
fn controls_are_matched_and_magnitudes_are_sorted() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    corpus(root, 4);
    let (model, order) = (fixture("llama32-tiny"), order_of("llama32-tiny"));
    let run = score(root, "run", &model, LANGUAGES, &[]);
    let path = |name: &str| root.join(format!("{name}.safetensors"));
    let spot = select(&run, &path("spot"), &["--max-k", "2", "--scope", "no-norm"]);
    let evaluate = |spot: &Path, more: &[&str]| {
        losses(&model, root, &[&["--spot", text(spot), "--k", "0,0.5,2"], more].concat())
    };
    let controls = ["--control", "random,magnitude,magnitude-matched", "--control-seeds", "4,7"];
    let rows = evaluate(&path("spot"), &controls);
    let variants = ["spot", "random:4", "random:7", "magnitude", "magnitude-matched"];
    let results = rows["results"].as_array().unwrap();
    assert_eq!(results.len(), 4 * (1 + variants.len() * 2));
    for language in ["rust", "go", "bash", "english"] {
        assert_eq!(row(&rows, language, "original", 0.0)["ablated_parameters"], 0);
        for variant in variants {
            for k in [0.5, 2.0] {
                let row = row(&rows, language, variant, k);
                let parameters = spot.header["parameters_in_scope"].as_u64().unwrap() as usize;
                assert_eq!(row["ablated_parameters"], count_of(parameters, k));
                assert!(
                    row["value"].is_f64() && row["stderr"].is_f64() && row["tokens"] == 76 && row["n"] == 4
                );
            }
        }
        assert_ne!(
            row(&rows, language, "random:4", 2.0)["value"],
            row(&rows, language, "random:7", 2.0)["value"]
        );
    }
    assert_eq!(evaluate(&path("spot"), &controls)["results"], rows["results"], "controls are reproducible");

    // The largest weights: of the scope, and of each tensor as many as the spot has at that rank.
    let original = weights(&model);
    let sizes: Scores = order
        .iter()
        .map(|name| (name.clone(), original[name].values().iter().map(|value| value.abs()).collect()))
        .collect();
    let largest: Vec<Place> =
        ranking(&sizes, "no-norm").into_iter().take(spot.places.len()).map(|(place, _)| place).collect();
    Spot::write(&path("largest"), &spot.header, &order, &largest);
    let mut queues: BTreeMap<String, std::vec::IntoIter<(Place, f32)>> = sizes
        .iter()
        .map(|tensor| (tensor.0.clone(), ranking(&vec![tensor.clone()], "all").into_iter()))
        .collect();
    let matched: Vec<Place> =
        spot.places.iter().map(|(name, _)| queues.get_mut(name).unwrap().next().unwrap().0).collect();
    Spot::write(&path("matched"), &spot.header, &order, &matched);
    for (control, file) in [("magnitude", "largest"), ("magnitude-matched", "matched")] {
        let by_hand = evaluate(&path(file), &[]);
        for language in ["rust", "go", "bash", "english"] {
            for k in [0.5, 2.0] {
                let (found, expected) =
                    (row(&rows, language, control, k), row(&by_hand, language, "spot", k));
                assert_eq!(found["value"], expected["value"], "{control} {language} {k}");
            }
        }
    }
    // Scoring by magnitude is the same ranking.
    let magnitude = root.join("magnitude");
    succeed(&["score", text(&model), "--estimator", "magnitude", "-o", text(&magnitude), "--device", "cpu"]);
    assert_eq!(select(&magnitude, &path("m"), &["--max-k", "2", "--scope", "no-norm"]).places, largest);
    refused(&["eval", text(&model), "--corpus", "x", "-o", "x", "--control", "random"], 2, &["--spot"]);
    let corpus = root.join("corpus");
    let twice = ["eval", text(&model), "--corpus", text(&corpus), "-o", "x", "--languages", "go,go"];
    refused(&twice, 2, &["go is named twice"]);
}

#[test]
fn halves_of_a_corpus_are_a_partition() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let corpus_folder = corpus(root, 7);
    let model = fixture("llama32-tiny");
    let manifest = |run: &Path| -> Value {
        serde_json::from_slice(&fs::read(run.join("manifest.json")).unwrap()).unwrap()
    };
    let run = |name: &str, more: &[&str]| {
        let run = score(root, name, &model, LANGUAGES, &[more, &["--batch-size", "1"]].concat());
        let losses = |language: &Value| {
            let losses = language["batch_losses_nats"].as_array().unwrap();
            losses.iter().map(|loss| loss.as_f64().unwrap().to_bits()).collect::<Vec<u64>>()
        };
        let manifest = manifest(&run);
        let languages = manifest["languages"].as_array().unwrap();
        (languages.iter().map(losses).collect::<Vec<_>>(), manifest.clone(), run)
    };
    let (whole, _, _) = run("whole", &[]);
    let (shuffled, _, _) = run("shuffled", &["--shuffle", "5"]);
    let (other, _, _) = run("other", &["--shuffle", "6"]);
    let sorted = |losses: &[Vec<u64>]| -> Vec<Vec<u64>> {
        losses
            .iter()
            .map(|l| {
                let mut l = l.clone();
                l.sort_unstable();
                l
            })
            .collect()
    };
    // A document is a batch here, so its loss names it.
    assert!(shuffled != whole && other != shuffled && sorted(&shuffled) == sorted(&whole));
    assert!(whole.iter().all(|losses| losses.iter().collect::<BTreeSet<_>>().len() == 7));
    let (first, one, one_path) = run("first", &["--shuffle", "5", "--part", "1/2"]);
    let (second, two, _) = run("second", &["--shuffle", "5", "--part", "2/2"]);
    for (language, order) in shuffled.iter().enumerate() {
        let every_other = |from: usize| order.iter().skip(from).step_by(2).copied().collect::<Vec<_>>();
        assert_eq!((&first[language], &second[language]), (&every_other(0), &every_other(1)));
        let number = |manifest: &Value, field: &str| manifest["languages"][language][field].as_u64().unwrap();
        assert_eq!((number(&one, "documents"), number(&two, "documents")), (4, 3));
        assert_eq!(number(&one, "tokens") + number(&two, "tokens"), 7 * 20);
    }
    assert_eq!(
        two["settings"]["sample"],
        serde_json::json!({"shuffle": 5, "part": {"index": 2, "count": 2}})
    );
    // The same again, to the bit.
    let (_, _, again) = run("again", &["--shuffle", "5", "--part", "1/2"]);
    let total = |run: &Path| fs::read(run.join("total/model.safetensors")).unwrap();
    assert!(total(&again) == total(&one_path));
    // Other languages do not matter to one.
    let alone = score(root, "alone", &model, "go", &["--shuffle", "5", "--part", "1/2", "--batch-size", "1"]);
    assert_eq!(
        manifest(&alone)["languages"][0]["batch_losses_nats"],
        one["languages"][1]["batch_losses_nats"]
    );

    let out = root.join("none");
    let args = ["score", text(&model), "--corpus", text(&corpus_folder), "-o", text(&out), "--device", "cpu"];
    refused(&[&args[..], &["--part", "8/8"]].concat(), 1, &["part 8 of 8", "no document", "fewer parts"]);
    refused(&[&args[..], &["--part", "3/2"]].concat(), 2, &["3/2", "i/n"]);
    refused(&[&args[..], &["--languages", "go,go"]].concat(), 2, &["go is named twice"]);
    assert!(!out.exists());
}

/// Headers and columns that no program writes: refused or served, but never a panic.
#[test]
fn forged_spots_are_refused_or_harmless() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    corpus(root, 3);
    let model = fixture("llama32-tiny");
    let run = score(root, "run", &model, LANGUAGES, &[]);
    let path = |name: &str| root.join(format!("{name}.safetensors"));
    let other = score(root, "other", &fixture("codellama-tiny"), LANGUAGES, &[]);
    let honest = select(&run, &path("row"), &["--group", "row", "--max-k", "3"]);
    select(&run, &path("good"), &["--max-k", "3"]);
    let forged = path("forged");
    let column = |bytes: &[[u8; 4]]| bytes.iter().flatten().copied().collect::<Vec<u8>>();
    let columns = tensors(&path("row"));
    let (tensor, offset, score) = (&columns["tensor"].data, &columns["offset"].data, &columns["score"].data);
    let huge = serde_json::json!([{"size": u64::MAX, "count": u64::MAX}, {"size": 0, "count": 7}]);
    let mut changes: Vec<(&str, Value)> = vec![
        ("group_sizes", huge),
        ("group_sizes", serde_json::json!([])),
        ("group_sizes", serde_json::json!([{"size": 1, "count": 1}])),
        ("group_sizes", serde_json::json!([{"size": -1, "count": 1}])),
        ("group", "column".into()),
        ("group", "global".into()),
        ("parameters_in_scope", 0.into()),
        ("parameters_in_scope", u64::MAX.into()),
        ("max_k", 1e300.into()),
        ("max_k", (-1.0).into()),
        ("max_k", 100.into()),
        ("max_k", Value::Null),
        ("scope", "blocks".into()),
        ("fingerprint", "00".into()),
        ("tensors", serde_json::json!([])),
        ("format", 2.into()),
    ];
    let mut tensors = honest.header["tensors"].clone();
    tensors[0]["shape"] = serde_json::json!([u64::MAX, u64::MAX]);
    changes.push(("tensors", tensors.clone()));
    for tensor in tensors.as_array_mut().unwrap() {
        tensor["shape"] = serde_json::json!([u64::MAX]);
        tensor["name"] = "model.layers.18446744073709551616.mlp.up_proj.weight".into();
    }
    changes.push(("tensors", tensors));
    let (good, out) = (path("good"), root.join("out"));
    let try_all = || {
        let spot = text(&forged);
        for args in [
            &["overlap", spot, spot, "--k", "1,3"][..],
            &["overlap", spot, text(&good), "--k", "1"],
            &["overlap", text(&run), spot, "--k", "1"],
            &["combine", "union", spot, spot, "-o", text(&path("c"))],
            &["combine", "difference", spot, text(&good), "--k", "3", "-o", text(&path("c"))],
            &["ablate", text(&model), "--spot", spot, "--k", "3", "-o", text(&out), "--replace", "shuffle"],
            &["generate", text(&model), "--prompt-ids", "1", "--max-tokens", "1", "--spot", spot, "--k", "2"],
        ] {
            let output = Command::new(env!("CARGO_BIN_EXE_codingspot")).args(args).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
            assert!(matches!(output.status.code(), Some(0 | 1)), "{args:?}: {:?} {stderr}", output.status);
            assert!(output.status.success() || stderr.contains(".safetensors"), "{args:?}: {stderr}");
            if out.exists() {
                fs::remove_dir_all(&out).unwrap();
            }
        }
    };
    for (field, value) in changes {
        let mut header = honest.header.clone();
        header[field] = value;
        Spot::write_columns(&forged, &header.to_string(), tensor, offset, score);
        try_all();
    }
    // Columns: a tensor that is not there, an offset outside, one twice, no numbers.
    let header = honest.header.to_string();
    let n = tensor.len() / 2;
    let nan = column(&vec![f32::NAN.to_le_bytes(); n]);
    for (tensor, offset, score) in [
        (&vec![0xff; 2 * n], offset, score),
        (tensor, &column(&vec![u32::MAX.to_le_bytes(); n]), score),
        (&vec![0; 2 * n], &column(&vec![7_u32.to_le_bytes(); n]), score),
        (tensor, offset, &nan),
    ] {
        Spot::write_columns(&forged, &header, tensor, offset, score);
        try_all();
        let args = ["generate", text(&model), "--prompt-ids", "1", "--spot", text(&forged), "--k", "1"];
        refused(&[&args[..], &["--device", "cpu"]].concat(), 1, &["forged.safetensors", "not a spot file"]);
    }
    // The top that a run keeps of a language is a spot too.
    fs::copy(&forged, run.join("languages/go/top.safetensors")).unwrap();
    let combined = path("c");
    let args = ["select", text(&run), "-o", text(&combined), "--languages", "go", "--max-k", "0.1"];
    refused(&args, 1, &["top.safetensors"]);
    fs::copy(other.join("languages/go/top.safetensors"), run.join("languages/go/top.safetensors")).unwrap();
    refused(&args, 1, &["top.safetensors", "weights"]);
}
