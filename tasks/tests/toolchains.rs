//! Bundled programs of every language through the toolchain that the crate names, where it is installed.
#![cfg(not(target_arch = "wasm32"))]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't go on fails or says so")]

use codingspot_tasks::bundled;
use codingspot_tasks::document::{Cut, Document, Options, Request, Target};
use codingspot_tasks::json::Json;
use codingspot_tasks::program::Language;
use codingspot_tasks::task::Task;
use std::path::Path;
use std::process::Command;

/// Whether a program passes; `None` where a command isn't installed.
fn passes(language: Language, source: &str, dir: &Path) -> Option<bool> {
    let toolchain = language.toolchain();
    std::fs::write(dir.join(toolchain.file_name), source).unwrap();
    for step in toolchain.steps {
        let arguments = step.resolve(dir.to_str().unwrap(), toolchain.file_name, "javatuples.jar");
        let mut command = Command::new(&arguments[0]);
        command.args(&arguments[1..]).envs(step.environment.iter().copied()).current_dir(dir);
        let Ok(output) = command.output() else {
            println!("skipped: {} is not installed for {}", arguments[0], language.name());
            return None;
        };
        let errors = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() || toolchain.failure_marks.iter().any(|mark| errors.contains(mark)) {
            println!("{}: {}{errors}", language.name(), String::from_utf8_lossy(&output.stdout));
            return Some(false);
        }
    }
    Some(true)
}

fn document(language: Language) -> Document {
    let data = bundled::dataset(Task::MultiPlE(language)).unwrap();
    data.documents(&Options::default()).unwrap().next().unwrap().unwrap()
}

#[test]
fn known_solutions_pass_and_empty_ones_do_not() {
    for language in Language::ALL {
        let document = document(language);
        let (Target::Program(parts), Some(Request::Generate { stop, cut, .. })) =
            (&document.target, document.requests.first())
        else {
            panic!("no program");
        };
        assert_eq!(*cut, Cut::Earliest);
        let Some(Json::Text(solution)) = document.doc.get("canonical_solution") else {
            panic!("no solution")
        };
        // A model writes on; what it writes past a stop string has to go.
        let written = format!("{solution}{}and more", stop[0]);
        let completion = cut.apply(&written, stop);
        assert_eq!(completion, solution, "{}", language.name());
        let dir =
            std::env::temp_dir().join(format!("codingspot-tasks-{}-{}", std::process::id(), language.name()));
        std::fs::create_dir_all(&dir).unwrap();
        if let Some(passed) = passes(language, &parts.program(completion), &dir) {
            assert!(passed, "{}", language.name());
            assert_eq!(passes(language, &parts.program(""), &dir), Some(false), "{}", language.name());
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
