//! Every language that is installed here, in the sandbox.

#![cfg(target_os = "linux")]

#[expect(dead_code, reason = "for other tests")]
mod common;

use codingspot_sandbox::toolchain::{Toolchain, recipe};
use codingspot_sandbox::{Limits, Stage, Verdict};
use common::{sandbox, text};

#[test]
fn what_is_installed_works() {
    let Some(sandbox) = sandbox() else { return };
    let mut broken = Vec::new();
    for (recipe, found) in Toolchain::detect_all() {
        match found {
            Err(missing) => println!("skipped: {missing}"),
            Ok(toolchain) => match toolchain.try_out(sandbox) {
                Ok(()) => println!("{}: {}", recipe.name, toolchain.version),
                // A library of MultiPL-E's tests is missing; or root's own tools are not for others to run.
                Err(missing)
                    if missing.to_string().contains("Can't locate Test/Deep")
                        || toolchain.read_only.iter().any(|path| path.starts_with("/root")) =>
                {
                    println!("skipped: {missing}");
                }
                Err(missing) => broken.push(missing.to_string()),
            },
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn compile_errors_and_failures_are_told_apart() {
    let Some(sandbox) = sandbox() else { return };
    for (language, unbuildable, failing) in [
        ("cpp", "int main() { return x; }", "#include <cassert>\nint main() { assert(1 == 2); }"),
        (
            "java",
            "class Problem {",
            "class Problem { public static void main(String[] a) { assert 1 == 2; } }",
        ),
        ("rs", "fn main() { x }", "fn main() { assert_eq!(1, 2); }"),
        (
            "go",
            "package main\nfunc x() { y }",
            "package main\nimport \"testing\"\nfunc TestX(t *testing.T) { t.Fatal() }",
        ),
    ] {
        let Ok(toolchain) = Toolchain::detect(recipe(language).unwrap()) else {
            println!("skipped: {language} is not installed");
            continue;
        };
        if toolchain.try_out(sandbox).is_err() {
            println!("skipped: {language} does not work");
            continue;
        }
        let outcome = sandbox.run(&toolchain.program(unbuildable, Limits::default())).unwrap();
        assert_eq!(outcome.stage, Stage::Build, "{language}: {outcome:?}");
        assert!(matches!(outcome.verdict, Verdict::Exited(1..)), "{language}: {outcome:?}");
        let outcome = sandbox.run(&toolchain.program(failing, Limits::default())).unwrap();
        assert_eq!(outcome.stage, Stage::Run, "{language}: {outcome:?}");
        assert!(!toolchain.passed(&outcome), "{language}: {outcome:?}");
    }
}

#[test]
fn a_written_failure_fails_where_the_exit_code_does_not() {
    let Some(sandbox) = sandbox() else { return };
    let Ok(toolchain) = Toolchain::detect(recipe("cs").unwrap()) else {
        println!("skipped: no mono");
        return;
    };
    let source = "using System.Diagnostics; class P { static void Main() { Debug.Assert(1 == 2); System.Console.WriteLine(\"on\"); } }";
    let outcome = sandbox.run(&toolchain.program(source, Limits::default())).unwrap();
    assert_eq!((outcome.passed(), text(&outcome.stdout).as_str()), (true, "on\n"), "{outcome:?}");
    assert!(!toolchain.passed(&outcome), "{outcome:?}");
}
