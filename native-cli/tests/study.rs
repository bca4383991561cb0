//! `codingspot study` on a tiny model: it finishes, it goes on after any kill to the same findings, and its
//! figures are those of the single commands.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

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

fn succeed(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
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

/// Rows of tokens that each language has of its own, to score on (of one length) and to measure on.
fn corpora(root: &Path) {
    let mut random = Random(3);
    for (folder, rows) in [("corpus", 6), ("held", 5)] {
        fs::create_dir_all(root.join(folder)).unwrap();
        for (number, language) in (0..).zip(["go", "rust", "english", "python"]) {
            let mut lines = String::new();
            for _ in 0..rows {
                let length = if folder == "held" { 4 + random.below(14) } else { 16 };
                let ids: Vec<u64> = (0..length).map(|_| 50 * number + random.below(50)).collect();
                lines += &format!("{{\"ids\":{ids:?}}}\n");
            }
            fs::write(root.join(folder).join(format!("{language}.jsonl")), lines).unwrap();
        }
    }
}

const SMALL: [&str; 12] = [
    "--points",
    "4",
    "--random-draws",
    "2",
    "--resamples",
    "60",
    "--shuffles",
    "1",
    "--batch-size",
    "2",
    "--device",
    "cpu",
];

/// Arguments of a small study into `root/out`.
fn study(root: &Path, out: &str, more: &[&str]) -> Vec<String> {
    let (corpus, held, out) = (root.join("corpus"), root.join("held"), root.join(out));
    let mut args = vec!["study".to_owned(), text(&fixture("llama32-tiny")).to_owned()];
    args.extend(["--corpus", text(&corpus), "--held-out", text(&held), "-o", text(&out)].map(str::to_owned));
    let has = |name: &str| more.contains(&name);
    args.extend(SMALL.chunks(2).filter(|pair| !has(pair[0])).flatten().map(|part| (*part).to_owned()));
    args.extend(more.iter().map(|part| (*part).to_owned()));
    args
}

fn strs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

fn json(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap()
}

/// The findings without the time that they took.
fn findings(folder: &Path) -> Value {
    let mut study = json(&folder.join("study.json"));
    assert!(study.as_object_mut().unwrap().remove("seconds").unwrap().as_f64().unwrap() > 0.0);
    study
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

fn arm<'a>(scope: &'a Value, arm: &str) -> &'a Vec<Value> {
    let curve = scope["curves"].as_array().unwrap().iter().find(|curve| curve["arm"] == arm);
    curve.unwrap_or_else(|| panic!("{arm}"))["points"].as_array().unwrap()
}

#[test]
fn findings_are_those_of_the_single_commands() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    corpora(root);
    let args = study(root, "study", &["--k", "0.5", "--max-k", "3", "--minus-k", "2"]);
    succeed(&strs(&args));
    let found = findings(&root.join("study"));
    let names: Vec<&str> =
        found["subsets"].as_array().unwrap().iter().map(|subset| subset["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["go", "rust", "python", "english"]);
    let roles = found["subsets"].as_array().unwrap().iter().map(|subset| subset["role"].as_str().unwrap());
    assert_eq!(roles.collect::<Vec<_>>(), ["scored", "scored", "unscored", "general"]);

    let (code, general) = (root.join("study/runs/code"), root.join("study/runs/general"));
    let (spot, out, held) = (root.join("spot.safetensors"), root.join("eval.json"), root.join("held"));
    // Losses of a variant by k and language, in the order of the subsets.
    let evaluate = |variant: &str, ks: &[f64], more: &[&str]| -> Vec<Vec<f64>> {
        let model = fixture("llama32-tiny");
        let joined = ks.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let mut args =
            vec!["eval", text(&model), "--corpus", text(&held), "-o", text(&out), "--device", "cpu"];
        args.extend(["--spot", text(&spot), "--k", &joined]);
        succeed(&[&args, more].concat());
        let rows = json(&out);
        let value = |name: &str, k: f64| {
            let of = |row: &&Value| row["subset"] == name && row["k"] == k && row["variant"] == variant;
            let row = rows["results"].as_array().unwrap().iter().find(of);
            number(&row.unwrap_or_else(|| panic!("{name} {k} {variant}"))["value"])
        };
        ks.iter().map(|&k| names.iter().map(|name| value(name, k)).collect()).collect()
    };
    // A mean over 60 tokens of f32 losses, which run in other batches.
    let near = |what: &str, found: &Value, expected: f64| {
        assert!((number(found) - expected).abs() < 2e-6, "{what}: {found} instead of {expected}");
    };
    let original_losses: Vec<Value> =
        found["subsets"].as_array().unwrap().iter().map(|subset| subset["loss"]["value"].clone()).collect();
    for scope in found["scopes"].as_array().unwrap() {
        let name = scope["scope"].as_str().unwrap();
        let select = |run: &Path, more: &[&str]| {
            succeed(&[&["select", text(run), "-o", text(&spot), "--scope", name], more].concat());
        };
        // Doses are counts; k = 100 · count / parameters selects them (that of the last may be above 3 by
        // rounding of the count).
        let doses: Vec<f64> = arm(scope, "spot").iter().map(|point| number(&point["k"]).min(3.0)).collect();
        let counts: Vec<f64> = arm(scope, "spot").iter().map(|point| number(&point["count"])).collect();
        assert!(counts[0] < 2.0 && counts.is_sorted_by(|a, b| a < b) && counts.len() >= 6, "{counts:?}");
        for (arm_name, run, control) in [
            ("spot", &code, &[][..]),
            ("general", &general, &[]),
            ("random:2", &code, &["--control", "random", "--control-seeds", "2"]),
            ("magnitude", &code, &["--control", "magnitude"]),
            ("magnitude-matched", &code, &["--control", "magnitude-matched"]),
        ] {
            select(run, &["--max-k", "3"]);
            let losses = evaluate(if control.is_empty() { "spot" } else { arm_name }, &doses, control);
            let original = evaluate("original", &[0.0], &[]);
            for ((point, losses), k) in arm(scope, arm_name).iter().zip(&losses).zip(&doses) {
                let what = format!("{name} {arm_name} {k}");
                for (found, loss) in point["losses"].as_array().unwrap().iter().zip(losses) {
                    near(&what, found, *loss);
                }
                let rise = |language: usize| losses[language] - original[0][language];
                let code_rise = f64::midpoint(rise(0), rise(1));
                near(&what, &point["code"]["value"], code_rise);
                near(&what, &point["general"]["value"], rise(3));
                near(&what, &point["gap"]["value"], code_rise - rise(3));
                for measure in ["code", "general", "gap"] {
                    let estimate = &point[measure];
                    assert!(number(&estimate["low"]) <= number(&estimate["high"]), "{what}");
                }
            }
        }
        // The random arm is the mean of its draws.
        for (dose, point) in arm(scope, "random").iter().enumerate() {
            let draw = |seed: &str| number(&arm(scope, seed)[dose]["code"]["value"]);
            near("random", &point["code"]["value"], f64::midpoint(draw("random:1"), draw("random:2")));
        }
        // The language that was only measured, at the paper's k that are measured.
        let unscored = scope["unscored"].as_array().unwrap();
        assert!(
            unscored.len() >= 2 && unscored.iter().all(|found| found["language"] == "python"),
            "{unscored:?}"
        );
        for found in unscored {
            let at = |name: &str| {
                let point = arm(scope, name).iter().find(|point| point["count"] == found["count"]).unwrap();
                number(&point["losses"][2]) - number(&original_losses[2])
            };
            let code = arm(scope, "spot").iter().find(|point| point["count"] == found["count"]).unwrap();
            near("unscored", &found["spot"]["value"], at("spot"));
            near("unscored random", &found["random"]["value"], f64::midpoint(at("random:1"), at("random:2")));
            near(
                "unscored less code",
                &found["less_code"]["value"],
                at("spot") - number(&code["code"]["value"]),
            );
            assert!(number(&found["less_code"]["low"]) <= number(&found["less_code"]["high"]));
        }
        // Code minus general: the ranking beyond --max-k makes up for what is left out.
        select(&code, &["--max-k", "5", "--minus", text(&general), "--minus-k", "2"]);
        let losses = evaluate("spot", &doses, &[]);
        for (point, losses) in arm(scope, "minus-general").iter().zip(&losses) {
            point["losses"].as_array().unwrap().iter().zip(losses).for_each(|(f, l)| near("minus", f, *l));
        }
        // One language's spot, and all but one; something else than zero; given back.
        let original = evaluate("original", &[0.0], &[]);
        let matrix = &scope["matrix"];
        assert_eq!(matrix["rows"], serde_json::json!(names));
        for (row, (language, run)) in [("go", &code), ("rust", &code)].into_iter().enumerate() {
            select(run, &["--max-k", "0.5", "--languages", language]);
            for (col, loss) in evaluate("spot", &[0.5], &[])[0].iter().enumerate() {
                near("matrix", &matrix["rise"][row][col], loss - original[0][col]);
            }
            select(run, &["--max-k", "0.5", "--leave-out", language]);
            let loss = evaluate("spot", &[0.5], &[])[0][row];
            assert_eq!(scope["without"][row]["language"], language);
            near("without", &scope["without"][row]["without"]["value"], loss - original[0][row]);
        }
        select(&code, &["--max-k", "0.5"]);
        for replacement in ["zero", "mean", "flip", "shuffle", "scale=0.5", "scale=2"] {
            let losses = &evaluate("spot", &[0.5], &["--replace", replacement])[0];
            let of = |row: &&Value| row["replacement"] == replacement && row["arm"] == "spot";
            let row = scope["replacements"].as_array().unwrap().iter().find(of).unwrap();
            let code_rise = f64::midpoint(losses[0] - original[0][0], losses[1] - original[0][1]);
            near(replacement, &row["code"]["value"], code_rise);
        }
        let restore = scope["restore"].as_array().unwrap();
        let whole = &scope["replacements"][0];
        assert!(whole["replacement"] == "zero" && restore[0]["restored"] == 0);
        near("nothing is given back", &restore[0]["code"]["value"], number(&whole["code"]["value"]));
        let last = &restore[restore.len() - 1];
        assert!(last["restored"] == last["of"] && number(&last["code"]["value"]).abs() < f64::MIN_POSITIVE);
        // The spot and the general ranking.
        let more = ["--k", "0.09,1", "--scope", name, "--json"];
        let overlap: Value =
            serde_json::from_str(&succeed(&[&["overlap", text(&code), text(&general)], &more[..]].concat()))
                .unwrap();
        for at in overlap["pairs"][0]["at"].as_array().unwrap() {
            let found =
                scope["general_overlap"].as_array().unwrap().iter().find(|found| found["k"] == at["k"]);
            assert_eq!(found.unwrap(), at);
        }
        // Counts by tensor add up.
        for at in scope["location"].as_array().unwrap() {
            let sum = |field: &str| {
                at["cells"].as_array().unwrap().iter().map(|cell| number(&cell[field])).sum::<f64>()
            };
            assert!((sum("count") - number(&at["count"])).abs() < 1e-9);
            assert!((sum("expected") - number(&at["count"])).abs() < 1e-6);
        }
        let mass = scope["mass"].as_array().unwrap();
        assert!(mass.iter().map(|share| number(&share["share"])).is_sorted());
        assert!(mass.iter().all(|share| (0.0..=1.0).contains(&number(&share["share"]))));
    }
}

#[test]
fn a_study_that_is_killed_goes_on_to_the_same_findings() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    corpora(root);
    succeed(&strs(&study(root, "whole", &[])));
    let expected = findings(&root.join("whole"));
    let whole = fs::read(root.join("whole/points.jsonl")).unwrap();
    let mut hit = 0;
    for (number, out) in (0_usize..).zip(["a", "b", "c", "d", "e"]) {
        let args = study(root, out, &[]);
        let folder = root.join(out);
        // Killed twice on the way, as soon as so much of it is done; first of all while it is scored.
        for round in 0..2 {
            let mut child =
                program().args(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let goal = whole.len() * (2 * number + round) / 11;
            let done = || fs::metadata(folder.join("points.jsonl")).map_or(0, |file| file.len() as usize);
            let reached = || folder.join("settings.json").is_file() && done() >= goal;
            while !reached() && child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            child.kill().unwrap();
            hit += u32::from(child.wait().unwrap().code().is_none());
        }
        succeed(&strs(&args));
        assert!(findings(&folder) == expected, "killed in {out}");
        assert!(fs::read(folder.join("points.jsonl")).unwrap() == whole, "killed in {out}");
    }
    // A finished study is computed again from what was measured, at once.
    succeed(&strs(&study(root, "whole", &[])));
    assert!(findings(&root.join("whole")) == expected);
    // A machine that stalls may miss some of the ten.
    assert!(hit >= 3, "{hit} kills hit a running study");
    // A line that a kill cut, and settings that were not renamed yet.
    let cut = root.join("a/points.jsonl");
    fs::write(&cut, &whole[..whole.len() * 2 / 3]).unwrap();
    fs::remove_file(root.join("a/study.json")).unwrap();
    succeed(&strs(&study(root, "a", &[])));
    assert!(findings(&root.join("a")) == expected && fs::read(&cut).unwrap() == whole);
    fs::create_dir(root.join("begun")).unwrap();
    fs::write(root.join("begun/.codingspot-x1"), "{").unwrap();
    succeed(&strs(&study(root, "begun", &[])));
    assert!(findings(&root.join("begun")) == expected);
}

#[test]
fn studies_that_can_not_be_are_refused_before_they_score() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    corpora(root);
    succeed(&strs(&study(root, "study", &[])));
    let differs = |more: &[&str], parts: &[&str]| {
        let all = [&["study of other settings", "another directory"], parts].concat();
        refused(&strs(&study(root, "study", more)), 1, &all);
    };
    differs(&["--points", "5"], &["points was 4 and is 5"]);
    differs(&["--k", "0.1", "--seq-len", "64"], &["k was 0.25 and is 0.1", "seq_len was 256 and is 64"]);
    differs(&["--limit", "3"], &["limit was null and is 3"]);
    differs(&["--scope", "blocks"], &["scopes was"]);
    differs(
        &["--completions", "3"],
        &["completions was {\"prompts\":20,\"tokens\":96} and is {\"prompts\":3"],
    );
    differs(&["--completions", "0"], &["completions was", "and is null"]);
    // A text that moves from one side to the other changes both.
    let (scored, held) = (root.join("corpus/rust.jsonl"), root.join("held/rust.jsonl"));
    let (before, after) = (fs::read_to_string(&scored).unwrap(), fs::read_to_string(&held).unwrap());
    let (rest, last) = before.trim_end().rsplit_once('\n').unwrap();
    fs::write(&scored, format!("{rest}\n")).unwrap();
    fs::write(&held, format!("{last}\n{after}")).unwrap();
    differs(&[], &["texts was"]);
    fs::write(&scored, before).unwrap();
    fs::write(&held, after).unwrap();

    let early = |more: &[&str], code: i32, parts: &[&str]| {
        refused(&strs(&study(root, "new", more)), code, parts);
        assert!(!root.join("new").exists(), "{more:?}");
    };
    early(&["--languages", "rust"], 1, &["two languages or more", "rust and english"]);
    early(&["--languages", "rust,rust"], 2, &["rust is named twice"]);
    early(&["--general", "rust"], 1, &["not among them"]);
    early(&["--general", "latin"], 1, &["no latin", "go, python, rust"]);
    early(&["--k", "0"], 2, &["--k is 0 %"]);
    early(&["--k", "6"], 2, &["--k is 6 %", "--max-k"]);
    early(&["--k", "0.0001"], 1, &["--k 0.0001 %", "73,968", "less than one"]);
    early(&["--max-k", "99.5", "--k", "1"], 2, &["--max-k 99.5 %", "--minus-k 1 %"]);
    early(&["--limit", "1"], 1, &["one held-out document"]);
    early(&["--completion-tokens", "131060"], 1, &["--completion-tokens 131060", "leaves 12", "131072"]);
    let corpus = root.join("corpus");
    let listed = fs::read_dir(&corpus).unwrap().count();
    refused(&strs(&study(root, "corpus", &[])), 1, &["corpus exists and is no study"]);
    assert_eq!(fs::read_dir(&corpus).unwrap().count(), listed);
    // What the language rankings need is kept, however large k is.
    succeed(&strs(&study(root, "large", &["--k", "4", "--scope", "blocks", "--points", "3"])));
    succeed(&strs(&study(root, "full", &["--max-k", "99", "--scope", "no-norm", "--points", "2"])));
}

/// The first texts of a bundled corpus in four languages.
fn bundled_texts(root: &Path) {
    for (from, to) in [("score", "corpus"), ("eval", "held")] {
        fs::create_dir_all(root.join(to)).unwrap();
        for language in ["go", "rust", "python", "english"] {
            let file =
                Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../demo/corpus/{from}/{language}.jsonl"));
            let lines = fs::read_to_string(file).unwrap();
            let first: String = lines.split_inclusive('\n').take(5).collect();
            fs::write(root.join(to).join(format!("{language}.jsonl")), first).unwrap();
        }
    }
}

/// The lines of a study's completions, in an order that does not depend on when they were written.
fn completions(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("completions.jsonl")).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.into_iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn completions_are_judged_and_counted_and_go_on_where_they_ended() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    bundled_texts(root);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model");
    let (corpus, held, out) = (root.join("corpus"), root.join("held"), root.join("study"));
    let study = |more: &[&str]| -> Vec<String> {
        let given =
            ["--corpus", text(&corpus), "--held-out", text(&held), "-o", text(&out), "--device", "cpu"];
        let small =
            ["--points", "2", "--random-draws", "1", "--resamples", "40", "--shuffles", "0", "--limit", "2"];
        let other = ["--scope", "no-norm", "--max-k", "0.25", "--seq-len", "64", "--batch-size", "1"];
        let all = [&["study", text(&model)], &given[..], &small, &other, more].concat();
        all.into_iter().map(str::to_owned).collect()
    };
    // Begun by a program that completed nothing, and had no such setting.
    succeed(&strs(&study(&["--completions", "0"])));
    assert!(findings(&out)["completions"].is_null() && !out.join("completions.jsonl").exists());
    let mut settings = json(&out.join("settings.json"));
    assert!(settings.as_object_mut().unwrap().remove("completions").unwrap().is_null());
    fs::write(out.join("settings.json"), settings.to_string()).unwrap();
    let three = study(&["--completions", "3", "--completion-tokens", "16"]);
    let table = succeed(&strs(&three));
    assert!(table.contains("Completions of code that parse, percent"), "{table}");
    assert_eq!(
        json(&out.join("settings.json"))["completions"],
        serde_json::json!({"prompts": 3, "tokens": 16})
    );

    // Every form completes every prompt, once.
    let lines = completions(&out);
    let names = ["go", "rust", "python", "english"];
    assert_eq!(lines.len(), (1 + 4 * 4) * 3 * names.len());
    let documents = |name: &str| -> Vec<String> {
        let lines = fs::read_to_string(held.join(format!("{name}.jsonl"))).unwrap();
        let of =
            |line: &str| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned();
        lines.lines().map(of).collect()
    };
    for line in &lines {
        let name = line["language"].as_str().unwrap();
        let (prompt, written) = (line["prompt"].as_str().unwrap(), line["completion"].as_str().unwrap());
        let document = &documents(name)[usize::try_from(line["document"].as_u64().unwrap()).unwrap()];
        assert!(document.starts_with(prompt) && 3 * prompt.len() <= document.len(), "{prompt}");
        assert!(line["tokens"].as_u64().unwrap() <= 16);
        assert_eq!(line["scope"].is_null(), line["arm"] == "original");
        let Some(language) = codingspot_syntax::Language::from_name(name) else {
            assert!(name == "english" && line["outcome"].is_null());
            continue;
        };
        assert!(prompt.ends_with('\n'));
        let finished = line["finished"].as_bool().unwrap();
        let outcome = match codingspot_syntax::check(language, prompt, written, finished).unwrap() {
            codingspot_syntax::Outcome::Parses => "parses",
            codingspot_syntax::Outcome::SyntaxError { byte } => {
                assert_eq!(line["error_byte"].as_u64(), Some(byte as u64));
                "syntax_error"
            }
            codingspot_syntax::Outcome::Blank => "blank",
        };
        assert_eq!(line["outcome"], outcome);
    }
    // What the original writes is what the model writes.
    let is_original = |line: &&Value| line["arm"] == "original" && line["language"] == "rust";
    let line = lines.iter().find(is_original).unwrap();
    let prompt = line["prompt"].as_str().unwrap();
    let generate = [
        "generate",
        text(&model),
        "-p",
        prompt,
        "--max-tokens",
        "16",
        "--device",
        "cpu",
        "--temperature",
        "0",
    ];
    let generated = succeed(&generate);
    let written = line["completion"].as_str().unwrap();
    assert!(generated.contains(written.trim_end()), "{generated} instead of {written}");

    // Shares are those of the lines.
    let found = &findings(&out)["completions"];
    let parses = |line: &Value| f64::from(u8::from(line["outcome"] == "parses"));
    let forms = found["forms"].as_array().unwrap();
    assert_eq!(forms.len(), 17);
    let of_form = |form: &Value, languages: &[&str]| -> Vec<&Value> {
        let of = |line: &&Value| {
            line["arm"] == form["arm"]
                && line["count"] == form["count"]
                && languages.contains(&line["language"].as_str().unwrap())
        };
        lines.iter().filter(of).collect()
    };
    for form in forms {
        let share = |found: &Value, languages: &[&str]| {
            let of = of_form(form, languages);
            let mean = |value: &dyn Fn(&Value) -> f64| {
                of.iter().map(|line| value(line)).sum::<f64>() / of.len() as f64
            };
            assert_eq!(found["prompts"].as_u64(), Some(of.len() as u64));
            assert!((number(&found["parsing"]["value"]) - mean(&parses)).abs() < 1e-12);
            assert!(
                (number(&found["blank"]["value"]) - mean(&|l| f64::from(u8::from(l["outcome"] == "blank"))))
                    .abs()
                    < 1e-12
            );
            let before: f64 = of_form(&forms[0], languages).iter().map(|line| parses(line)).sum();
            if form["scope"].is_null() {
                assert!(found["difference"].is_null());
            } else {
                let difference = mean(&parses) - before / of.len() as f64;
                assert!((number(&found["difference"]["value"]) - difference).abs() < 1e-12);
                assert!(number(&found["difference"]["low"]) < number(&found["difference"]["high"]));
            }
        };
        share(&form["code"], &["go", "rust"]);
        (0..3).for_each(|language| share(&form["languages"][language], &names[language..=language]));
        assert!(form["languages"][3].is_null());
    }
    let samples = found["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 12);
    assert_eq!(samples[0]["texts"][1]["scope"], "no-norm");
    let html = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(html.contains("Does it still write code?") && html.contains("completions-no-norm"));
    for sample in samples {
        let prompt = sample["prompt"].as_str().unwrap();
        let quoted = prompt.lines().find(|line| line.contains(['<', '&']));
        assert!(quoted.is_none_or(|line| !html.contains(line)), "{quoted:?} is not escaped");
    }

    // Killed on the way, cut in a line, and gone on with: nothing is written twice.
    let expected = findings(&out);
    let log = out.join("completions.jsonl");
    let whole = fs::read(&log).unwrap();
    fs::remove_file(&log).unwrap();
    let mut hit = 0;
    for part in 1..4 {
        let mut child = program().args(&three).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let done = || fs::metadata(&log).map_or(0, |file| file.len());
        while done() < whole.len() as u64 * part / 5 && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        hit += u32::from(child.wait().unwrap().code().is_none());
    }
    assert!(hit >= 1, "no kill hit a running study");
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() - 3]).unwrap();
    succeed(&strs(&three));
    assert!(completions(&out) == lines && findings(&out) == expected);

    // Other settings, and completions of something else.
    for (more, part) in [
        (["--completions", "2", "--completion-tokens", "16"], "\"prompts\":2"),
        (["--completions", "3", "--completion-tokens", "8"], "\"tokens\":8"),
        (["--completions", "0", "--completion-tokens", "16"], "is null"),
    ] {
        refused(&strs(&study(&more)), 1, &["study of other settings", "completions was", part]);
    }
    for (from, to) in [("\"arm\":\"spot\"", "\"arm\":\"spit\""), ("\"document\":0", "\"document\":77")] {
        let text = String::from_utf8(whole.clone()).unwrap();
        fs::write(&log, text.replacen(from, to, 1)).unwrap();
        refused(&strs(&three), 1, &["completions.jsonl, line", "not asked now", "remove the file"]);
    }
}
