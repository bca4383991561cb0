//! The full sets, where they are: every known solution passes, and one that does nothing never does.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't go on fails or says so")]

mod common;

use codingspot_execution::Verdict;
use codingspot_tasks::document::{Dataset, Document};
use codingspot_tasks::json::Json;
use codingspot_tasks::program::{Language, ProgramParts};
use codingspot_tasks::task::Task;
use common::{bench, documents, parts, read, with};
use std::time::Instant;

/// Verdicts on one completion of every document, and how long they took.
fn run(what: &str, programs: &[(&ProgramParts, &str)]) -> Option<Vec<Verdict>> {
    let executor = with(programs[0].0.language)?;
    let began = Instant::now();
    let verdicts = executor.run(programs, |_| ()).unwrap();
    let passed = verdicts.iter().filter(|verdict| verdict.passed).count();
    let seconds = began.elapsed().as_secs_f64();
    println!("{what}: {passed} of {} passed in {seconds:.1} s", verdicts.len());
    Some(verdicts)
}

fn pairs<'d>(documents: &'d [Document], completions: &'d [String]) -> Vec<(&'d ProgramParts, &'d str)> {
    documents.iter().map(parts).zip(completions.iter().map(String::as_str)).collect()
}

#[test]
fn human_eval_knows_right_from_wrong() {
    let Some(bench) = bench() else { return };
    for task in [Task::HumanEval, Task::HumanEvalStripped] {
        let text = read(&bench.join("humaneval.jsonl.gz"));
        let documents = documents(&Dataset::parse(task, &text, None).unwrap());
        assert_eq!(documents.len(), 164);
        let right: Vec<_> =
            documents.iter().map(|document| document.canonical_completion().unwrap()).collect();
        let Some(verdicts) = run(&format!("{task}, known solutions"), &pairs(&documents, &right)) else {
            return;
        };
        for (document, verdict) in documents.iter().zip(verdicts) {
            assert!(verdict.passed, "{:?}: {verdict:?}", document.task_id());
        }
        let wrong = vec!["\n    return None\n".to_owned(); 164];
        let verdicts = run(&format!("{task}, `return None`"), &pairs(&documents, &wrong)).unwrap();
        for (document, verdict) in documents.iter().zip(verdicts) {
            assert!(!verdict.passed, "{:?}: {verdict:?}", document.task_id());
        }
    }
}

/// Problems of each language of HumanEval-X.
const COUNT: usize = 24;

/// HumanEval-X's program as one that the recipes run: their file and main class have other names.
fn human_eval_x(language: Language, row: &Json) -> (ProgramParts, String) {
    let text = |name: &str| {
        let Some(Json::Text(text)) = row.get(name) else { panic!("no {name}") };
        text.clone()
    };
    let (head, tail) = match language {
        Language::Java => (text("prompt"), text("test").replace("public class Main", "class Problem")),
        // Its rows import crates that std has not, and are tests of a crate.
        Language::Rust => {
            let declaration = text("declaration");
            let head = declaration.lines().filter(|line| !line.starts_with("use ")).collect::<Vec<_>>();
            let uses = "use std::{cmp::{self, max}, collections::{HashMap, HashSet}};\n";
            let tests = text("test");
            let tests = tests.split_once("use super::*;").map_or(&*tests, |(_, tests)| tests);
            let tests = tests.trim_end().strip_suffix('}').unwrap_or_default().replace("#[test]", "");
            let name = tests.split(['(', ' ']).find(|word| word.starts_with("test_")).unwrap_or("f");
            let main = format!("\nfn main() {{ {name}(); }}\n");
            (format!("{uses}{}\n", head.join("\n")), [tests, main].concat())
        }
        // A failed `console.assert` only writes.
        Language::JavaScript => {
            (text("prompt"), text("test").replace("console.assert", "require('node:assert')"))
        }
        _ => (text("prompt"), text("test")),
    };
    (ProgramParts { language, head, tail: format!("\n{tail}") }, text("canonical_solution"))
}

#[test]
fn human_eval_x_knows_right_from_wrong_in_other_languages() {
    let Some(bench) = bench() else { return };
    for (language, file) in [
        (Language::Cpp, "humaneval_x_cpp"),
        (Language::Java, "humaneval_x_java"),
        (Language::JavaScript, "humaneval_x_js"),
        (Language::Python, "humaneval_x_python"),
        (Language::Rust, "humaneval_x_rust"),
    ] {
        let text = read(&bench.join(format!("multilang/{file}.jsonl.gz")));
        let rows = text.lines().step_by(6).take(COUNT).map(|line| serde_json::from_str(line).unwrap());
        let rows: Vec<_> = rows.map(|row: Json| human_eval_x(language, &row)).collect();
        assert_eq!(rows.len(), COUNT);
        let right: Vec<_> = rows.iter().map(|(parts, solution)| (parts, &**solution)).collect();
        let Some(verdicts) = run(&format!("{file}, known solutions"), &right) else { continue };
        let failed: Vec<_> = verdicts.iter().enumerate().filter(|(_, verdict)| !verdict.passed).collect();
        assert!(failed.is_empty(), "{file}: {failed:#?}");
        // Everyone with the next one's.
        let others = rows.iter().cycle().skip(1);
        let wrong: Vec<_> =
            rows.iter().zip(others).map(|((parts, _), (_, other))| (parts, &**other)).collect();
        let verdicts = run(&format!("{file}, others' solutions"), &wrong).unwrap();
        let passed: Vec<_> = verdicts.iter().enumerate().filter(|(_, verdict)| verdict.passed).collect();
        assert!(passed.is_empty(), "{file}: {passed:#?}");
    }
}
