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

    /// The nearest number of this type, of two the one with an even last bit: by looking at all.
    fn nearest(&self, value: f32) -> Vec<u8> {
        if self.dtype == Dtype::F32 {
            return value.to_le_bytes().to_vec();
        }
        let of = |bits: u16| {
            if self.dtype == Dtype::F16 { half(bits) } else { f32::from_bits(u32::from(bits) << 16) }
        };
        let distance = |bits: u16| (f64::from(of(bits)) - f64::from(value)).abs();
        let found = (0..=u16::MAX)
            .filter(|&bits| of(bits).is_finite() && of(bits).is_sign_negative() == value.is_sign_negative())
            .min_by(|&a, &b| distance(a).total_cmp(&distance(b)).then((a & 1).cmp(&(b & 1))));
        found.unwrap().to_le_bytes().to_vec()
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
