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

/// HumanEval-X's program as one that the recipes run: their file and main class have other names.
fn human_eval_x(language: Language, row: &Json) -> (ProgramParts, String) {
    let text = |name: &str| {
        let Some(Json::Text(text)) = row.get(name) else { panic!("no {name}") };
        text.clone()
    };
    let (head, tail) = match language {
        Language::Java => (text("prompt"), text("test").replace("public class Main", "class Problem")),
        // Its rows import crates that std has not; what needs them does not compile.
        Language::Rust => {
            let declaration = text("declaration");
            let head = declaration.lines().filter(|line| !line.starts_with("use ")).collect::<Vec<_>>();
            let uses = "use std::{cmp::{self, max}, collections::{HashMap, HashSet}};\n";
            let tests = text("test").replace("#[cfg(test)]\nmod tests {", "").replace("use super::*;", "");
            let tests = tests.replace("#[test]", "").trim_end().strip_suffix('}').unwrap().to_owned();
            let name = tests.split("fn ").nth(1).unwrap().split('(').next().unwrap().to_owned();
            let main = if name == "main" { String::new() } else { format!("\nfn main() {{ {name}(); }}\n") };
            (format!("{uses}{}\n", head.join("\n")), tests + &main)
        }
        _ => (text("prompt"), text("test")),
    };
    (ProgramParts { language, head, tail: format!("\n{tail}") }, text("canonical_solution"))
}

#[test]
fn human_eval_x_passes_in_other_languages() {
    let Some(bench) = bench() else { return };
    for (language, file, least) in [
        (Language::Cpp, "humaneval_x_cpp", 40),
        (Language::Java, "humaneval_x_java", 40),
        (Language::JavaScript, "humaneval_x_js", 40),
        (Language::Python, "humaneval_x_python", 40),
        (Language::Rust, "humaneval_x_rust", 30),
    ] {
        let text = read(&bench.join(format!("multilang/{file}.jsonl.gz")));
        let rows = text.lines().step_by(4).take(40).map(|line| serde_json::from_str(line).unwrap());
        let programs: Vec<_> = rows.map(|row: Json| human_eval_x(language, &row)).collect();
        assert_eq!(programs.len(), 40);
        let programs: Vec<_> = programs.iter().map(|(parts, solution)| (parts, &**solution)).collect();
        let Some(verdicts) = run(file, &programs) else { continue };
        let failed: Vec<_> = verdicts.iter().enumerate().filter(|(_, verdict)| !verdict.passed).collect();
        println!("{failed:#?}");
        assert!(40 - failed.len() >= least, "{file}");
    }
}
