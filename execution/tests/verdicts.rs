//! Bundled programs of every language that is installed: right, wrong, and all the other ways to end.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails or says so")]

mod common;

use codingspot_execution::Kind;
use codingspot_tasks::bundled;
use codingspot_tasks::document::{Cut, Document, Request};
use codingspot_tasks::program::Language;
use codingspot_tasks::task::Task;
use common::{documents, executor_of, parts, verdicts, with};
use std::num::NonZeroUsize;

fn document(language: Language) -> Document {
    documents(&bundled::dataset(Task::MultiPlE(language)).unwrap()).remove(0)
}

#[test]
fn known_solutions_pass_and_empty_ones_do_not() {
    for language in Language::ALL {
        let document = document(language);
        let Some(Request::Generate { stop, cut, .. }) = document.requests.first() else {
            panic!("no generation")
        };
        assert_eq!(*cut, Cut::Earliest);
        let solution = document.canonical_completion().unwrap();
        // A model writes on; what it writes past a stop string has to go.
        let written = format!("{solution}{}and more", stop[0]);
        let completion = cut.apply(&written, stop);
        assert_eq!(completion, solution, "{}", language.name());
        let Some(executor) = with(language) else { continue };
        let found = verdicts(executor, parts(&document), &[completion, ""]);
        assert!(found[0].passed && !found[1].passed, "{}: {found:?}", language.name());
        println!("{}: {found:?}", language.name());
    }
}

/// Completions of the bundled `half_of_even`, and how they end.
fn cases(language: Language) -> &'static [(&'static str, Kind)] {
    use Kind::{Crashed, Exception, OutOfResources, Passed, SyntaxError, TimedOut, WrongResult};
    match language {
        Language::JavaScript => &[
            ("  return n % 2 === 0 ? n / 2 : n;\n}", Passed),
            ("  return n / 2;\n}", WrongResult),
            ("  return m;\n}", Exception),
            ("  return n % ;\n}", SyntaxError),
            ("  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);\n}", TimedOut),
            ("  let a = []; while (true) a.push(new Array(1e6).fill(n));\n}", OutOfResources),
            ("  process.kill(process.pid, 'SIGSEGV');\n}", Crashed),
            ("  console.error('SyntaxError: x'); throw new Error('SyntaxError');\n}", Exception),
            ("  while (true) require('fs').writeSync(1, 'x'.repeat(1e5));\n}", OutOfResources),
            // By the exit code, as MultiPL-E counts.
            ("  process.exit(0);\n}", Passed),
        ],
        Language::Bash => &[
            ("    if (( $1 % 2 == 0 )); then echo $(( $1 / 2 )); else echo \"$1\"; fi", Passed),
            ("    echo 4", WrongResult),
            ("    no-such-command", WrongResult),
            ("    echo 4\n}\nno-such-command || exit 3\nf() {\n:", Exception),
            ("    if true; then", SyntaxError),
            ("    echo main.sh: line 3: syntax error >&2; echo 4", WrongResult),
            ("    sleep 100", TimedOut),
            ("    kill -SEGV $$", Crashed),
        ],
        Language::Cpp => &[
            ("    return n % 2 == 0 ? n / 2 : n;", Passed),
            ("    return n / 2;", WrongResult),
            ("    throw std::runtime_error(\"no\");", Crashed),
            ("    return m;", SyntaxError),
            ("    exit(3);", Exception),
            ("    std::this_thread::sleep_for(std::chrono::seconds(100)); return n;", TimedOut),
            (
                "    std::vector<std::string> a; while (true) a.push_back(std::string(1 << 20, 'x'));",
                OutOfResources,
            ),
            ("    long *p = nullptr; return *(volatile long *)p;", Crashed),
        ],
        Language::Java => &[
            ("        return n % 2 == 0 ? n / 2 : n;", Passed),
            ("        return n / 2;", WrongResult),
            ("        return m;", SyntaxError),
            ("        throw new IllegalStateException(\"no\");", Exception),
            ("        try { Thread.sleep(100000); } catch (InterruptedException e) { } return n;", TimedOut),
            (
                "        List<long[]> a = new ArrayList<>(); while (true) a.add(new long[1 << 20]);",
                OutOfResources,
            ),
        ],
        Language::Rust => &[
            ("    if n % 2 == 0 { n / 2 } else { n }", Passed),
            ("    n / 2", WrongResult),
            ("    m", SyntaxError),
            ("    panic!(\"no\")", Exception),
            ("    std::process::exit(n as i32 - 5)", Exception),
            ("    std::process::abort()", Crashed),
            ("    std::thread::sleep(std::time::Duration::from_secs(100)); n", TimedOut),
        ],
        Language::Ruby => &[
            ("  n.even? ? n / 2 : n\nend", Passed),
            ("  n / 2\nend", WrongResult),
            ("  m\nend", Exception),
            ("  n +\nend", SyntaxError),
            ("  sleep\nend", TimedOut),
        ],
        Language::Go => &[
            ("    if n%2 == 0 {\n        return n / 2\n    }\n    return n\n}", Passed),
            ("    return n / 2\n}", WrongResult),
            ("    return m\n}", SyntaxError),
            ("    panic(n)\n}", Exception),
            // Vetted as by `go test`, and not for it to pass by its exit code.
            ("    os.Exit(0)\n}", SyntaxError),
        ],
        Language::TypeScript => &[
            ("  return n % 2 === 0 ? n / 2 : n;\n}", Passed),
            ("  return n / 2;\n}", WrongResult),
            ("  return 'a';\n}", SyntaxError),
            ("  throw new Error('no');\n}", Exception),
        ],
        Language::CSharp => &[
            ("        return n % 2 == 0 ? n / 2 : n;", Passed),
            ("        return n / 2;", WrongResult),
            ("        return m;", SyntaxError),
            ("        throw new Exception(\"no\");", Exception),
        ],
        Language::Julia => &[
            ("    n % 2 == 0 ? n ÷ 2 : n\nend", Passed),
            ("    n ÷ 2\nend", WrongResult),
            ("    m\nend", Exception),
            ("    n +* 2\nend", SyntaxError),
        ],
        // In `python.rs`.
        Language::Python => &[],
    }
}

#[test]
fn every_end_has_its_kind() {
    // Those that wait for the end of their time wait side by side.
    let Some(executor) = executor_of(NonZeroUsize::new(6).unwrap()) else { return };
    let languages: Vec<_> = Language::ALL
        .into_iter()
        .filter(|language| {
            let found = executor.language(*language);
            found.inspect_err(|not_run| println!("skipped: {not_run}")).is_ok()
        })
        .map(|language| (document(language), cases(language)))
        .collect();
    let programs: Vec<_> = languages
        .iter()
        .flat_map(|(document, cases)| cases.iter().map(|(completion, _)| (parts(document), *completion)))
        .collect();
    let verdicts = executor.run(&programs, |_| ()).unwrap();
    let expected = languages.iter().flat_map(|(_, cases)| cases.iter().map(|(_, kind)| *kind));
    let mut wrong = Vec::new();
    for (((parts, completion), kind), verdict) in programs.iter().zip(expected).zip(verdicts) {
        let name = parts.language.name();
        println!("{name}, {completion:?}: {}, {}", verdict.kind.name(), verdict.result);
        if verdict.kind != kind || verdict.passed != (kind == Kind::Passed) {
            wrong.push(format!("{name}, {completion:?}: not {kind:?} but {verdict:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn java_says_where_its_tests_miss_a_library() {
    let Some(executor) = with(Language::Java) else { return };
    let document = document(Language::Java);
    let mut parts = parts(&document).clone();
    parts.head = format!("import org.javatuples.*;\n{}", parts.head);
    match executor.check([&parts]) {
        Ok(()) => {
            let uses = "        Pair<Long, Long> both = Pair.with(n, n / 2);\n\
                        return n % 2 == 0 ? both.getValue1() : both.getValue0();";
            let found = verdicts(executor, &parts, &[uses, "        return n;"]);
            assert_eq!([found[0].kind, found[1].kind], [Kind::Passed, Kind::WrongResult], "{found:?}");
        }
        Err(not_run) => {
            let classpath = std::env::var("CLASSPATH").unwrap_or_default();
            assert!(!classpath.contains("javatuples"), "{classpath}: {not_run}");
            assert!(not_run.to_string().contains("javatuples") && not_run.to_string().contains("CLASSPATH"));
            let error = executor.run(&[(&parts, "")], |_| panic!("it ran")).unwrap_err();
            assert_eq!(error.to_string(), not_run.to_string());
        }
    }
}
