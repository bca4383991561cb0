//! Problems in Python: each arm completes them, and their tests run in this tab.

use super::{Command, Pending, Phase, State, send};
use crate::page::python_protocol::{FromPython, TIMEOUT_MS, ToPython};
use crate::protocol::{Arm, RequestId, RunMode, Sampling, ToEngine, TokenInfo};
use serde::Deserialize;

/// Longest file of problems that is read, bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Most problems that are read.
const MAX_PROBLEMS: usize = 200;
/// New tokens of a completion.
const MAX_TOKENS: u32 = 128;
/// A completion ends before any of these, as in `HumanEval`.
const STOPS: [&str; 5] = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"];

/// A function to complete, and its tests.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// Names it.
    pub task_id: String,
    /// Signature and docstring.
    pub prompt: String,
    /// The function.
    pub entry_point: String,
    /// Defines `check(candidate)`.
    pub test: String,
}

impl Problem {
    /// The name in test ids.
    pub fn slug(&self) -> String {
        self.task_id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect()
    }
}

/// Reads problems.
///
/// # Errors
/// One sentence: the text is too long, not a list of problems, or holds too many.
pub fn read_problems(text: &str) -> Result<Vec<Problem>, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("the problems are longer than {MAX_BYTES} bytes"));
    }
    let problems: Vec<Problem> =
        serde_json::from_str(text).map_err(|error| format!("the problems can't be read: {error}"))?;
    if problems.len() > MAX_PROBLEMS {
        return Err(format!("there are {} problems, at most {MAX_PROBLEMS} are read", problems.len()));
    }
    Ok(problems)
}

/// The completion up to where a new definition or statement begins.
pub fn cut(completion: &str) -> &str {
    let end = STOPS.iter().filter_map(|stop| completion.find(stop)).min();
    &completion[..end.unwrap_or(completion.len())]
}

/// The function that a prompt defines last.
pub fn entry_point(prompt: &str) -> Option<&str> {
    let line = prompt.lines().rev().find_map(|line| line.strip_prefix("def "))?;
    let name = line.split('(').next()?.trim();
    (!name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_')).then_some(name)
}

/// What became of a program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Verdict {
    /// Nothing yet.
    #[default]
    None,
    /// The arm writes.
    Writing,
    /// The tests run.
    Running,
    /// All tests passed.
    Passed,
    /// A test failed, or the program did.
    Failed(String),
    /// It is no Python.
    SyntaxError(String),
    /// It ran too long.
    TimedOut(String),
    /// Python itself ended, or the run was stopped.
    NotRun(String),
}

impl Verdict {
    /// In a word or two.
    pub fn word(&self) -> &'static str {
        match self {
            Self::None => "–",
            Self::Writing => "writing",
            Self::Running => "running",
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::SyntaxError(_) => "syntax error",
            Self::TimedOut(_) => "timed out",
            Self::NotRun(_) => "not run",
        }
    }

    /// What there is to say beyond the word.
    pub fn detail(&self) -> &str {
        match self {
            Self::None | Self::Writing | Self::Running | Self::Passed => "",
            Self::Failed(text) | Self::SyntaxError(text) | Self::TimedOut(text) | Self::NotRun(text) => text,
        }
    }

    /// Whether it says something of the program.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Passed | Self::Failed(_) | Self::SyntaxError(_) | Self::TimedOut(_))
    }
}

/// A problem with what each arm made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestRow {
    /// The problem.
    pub problem: Problem,
    /// Verdicts of the original, the spot's and the random arm.
    pub verdicts: [Verdict; 3],
    /// Their completions, cut.
    pub completions: [String; 3],
}

/// The problems, and what is being done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tests {
    /// Problems that come with the page.
    pub problems: Vec<Problem>,
    /// Those that run or have run.
    pub rows: Vec<TestRow>,
    /// How many parameters were zero in the ablated arms.
    pub count: u64,
    /// Python's version, once it is there.
    pub python: Option<String>,
    /// Why Python can't be started.
    pub trouble: Option<String>,
    arms: Vec<Arm>,
    row: usize,
    text: String,
    /// Which run is which arm of which row.
    runs: Vec<(u32, usize, usize)>,
    last_run: u32,
}

fn place(arm: Arm) -> usize {
    match arm {
        Arm::Original => 0,
        Arm::Spot => 1,
        Arm::Random => 2,
    }
}

impl Tests {
    pub(super) fn arm_started(&mut self) {
        self.text.clear();
    }

    pub(super) fn tokens(&mut self, tokens: &[TokenInfo]) {
        for token in tokens {
            self.text += &token.text;
        }
    }

    /// An arm's completion is whole: its tests can run.
    pub(super) fn arm_finished(&mut self, arm: Arm) -> Vec<Command> {
        let Some(row) = self.rows.get_mut(self.row) else { return Vec::new() };
        let column = place(arm);
        let completion = cut(&self.text).to_owned();
        self.last_run += 1;
        let run = ToPython::Run {
            id: self.last_run,
            program: format!("{}{completion}\n", row.problem.prompt),
            tests: row.problem.test.clone(),
            entry_point: row.problem.entry_point.clone(),
            timeout_ms: TIMEOUT_MS,
        };
        row.completions[column] = completion;
        row.verdicts[column] = Verdict::Running;
        self.runs.push((self.last_run, self.row, column));
        vec![Command::Python(run)]
    }

    /// What was being written or waited for will not come.
    pub(super) fn interrupt(&mut self) {
        for verdict in self.rows.iter_mut().flat_map(|row| &mut row.verdicts) {
            if *verdict == Verdict::Writing {
                *verdict = Verdict::NotRun("The run was stopped.".to_owned());
            }
        }
    }

    fn settle(&mut self, id: u32, verdict: Verdict) {
        if let Some(at) = self.runs.iter().position(|(run, ..)| *run == id) {
            let (_, row, column) = self.runs.swap_remove(at);
            if let Some(row) = self.rows.get_mut(row) {
                row.verdicts[column] = verdict;
            }
        }
    }

    fn give_up(&mut self, why: &str) {
        for (_, row, column) in std::mem::take(&mut self.runs) {
            if let Some(row) = self.rows.get_mut(row) {
                row.verdicts[column] = Verdict::NotRun(why.to_owned());
            }
        }
    }

    /// How many problems an arm has passed, and of how many.
    pub fn passed(&self, arm: Arm) -> (usize, usize) {
        let verdicts =
            self.rows.iter().map(|row| &row.verdicts[place(arm)]).filter(|verdict| verdict.is_final());
        let (mut passed, mut all) = (0, 0);
        for verdict in verdicts {
            all += 1;
            passed += usize::from(*verdict == Verdict::Passed);
        }
        (passed, all)
    }
}

impl State {
    /// Lets every arm complete problems and runs their tests: those that come with the page, or one's own.
    pub fn run_tests(&mut self, own: Option<Problem>) -> Vec<Command> {
        if !self.can_generate() {
            return Vec::new();
        }
        let problems = match own {
            Some(problem) => vec![problem],
            None => self.tests.problems.clone(),
        };
        if problems.is_empty() {
            self.refuse("There are no problems to run. Write one of your own.");
            return Vec::new();
        }
        self.alert = None;
        self.tests.arms = if self.spot.is_some() {
            vec![Arm::Original, Arm::Spot, Arm::Random]
        } else {
            vec![Arm::Original]
        };
        self.tests.rows = problems
            .into_iter()
            .map(|problem| TestRow { problem, verdicts: Default::default(), completions: Default::default() })
            .collect();
        self.tests.count = if self.spot.is_some() { self.count } else { 0 };
        self.tests.trouble = None;
        self.tests.runs.clear();
        self.tests.row = 0;
        let mut commands = vec![Command::Python(ToPython::Boot { id: 0 })];
        commands.extend(self.write_test());
        commands
    }

    fn write_test(&mut self) -> Vec<Command> {
        let arms = self.tests.arms.clone();
        let Some(row) = self.tests.rows.get_mut(self.tests.row) else { return Vec::new() };
        for arm in &arms {
            row.verdicts[place(*arm)] = Verdict::Writing;
        }
        let prompt = row.problem.prompt.clone();
        let id: RequestId = self.next_id();
        self.pending = Some(Pending::Tests(id));
        self.phase = Phase::Measuring;
        let sampling = Sampling { max_tokens: MAX_TOKENS, temperature: 0.0, top_p: 1.0, seed: self.seed };
        let count = self.tests.count;
        vec![send(ToEngine::Generate {
            id,
            prompt,
            count,
            arms,
            mode: RunMode::OwnText,
            given: Vec::new(),
            sampling,
        })]
    }

    pub(super) fn next_test(&mut self) -> Vec<Command> {
        self.tests.row += 1;
        self.write_test()
    }

    /// What the frame says.
    pub fn receive_python(&mut self, message: FromPython) {
        match message {
            FromPython::Listening | FromPython::Output {} | FromPython::Crashed { id: None, .. } => {}
            FromPython::Booted { python } => self.tests.python = Some(python),
            FromPython::Result { id, verdict, message } => {
                let verdict = match verdict.as_str() {
                    "passed" => Verdict::Passed,
                    "syntax error" => Verdict::SyntaxError(message),
                    _ => Verdict::Failed(message),
                };
                self.tests.settle(id, verdict);
            }
            FromPython::TimedOut { id, message } => self.tests.settle(id, Verdict::TimedOut(message)),
            FromPython::Crashed { id: Some(id), message } => self.tests.settle(id, Verdict::Failed(message)),
            FromPython::Stopped { id } => {
                self.tests.settle(id, Verdict::NotRun("The run was stopped.".to_owned()));
            }
            FromPython::BootFailed { message } => {
                self.tests.give_up("Python could not be started.");
                self.tests.trouble = Some(message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_end_where_something_new_begins() {
        assert_eq!(cut("    return 1\n\ndef g():\n"), "    return 1\n");
        assert_eq!(cut("    return 1\nprint(f())\n# more"), "    return 1");
        assert_eq!(cut("    return 1"), "    return 1");
        assert_eq!(cut("    if x:\n        return 1\n"), "    if x:\n        return 1\n");
    }

    #[test]
    fn the_function_under_test_is_the_last_of_the_prompt() {
        assert_eq!(
            entry_point("def help():\n    pass\n\ndef add(a, b):\n    \"\"\"Sum.\"\"\"\n"),
            Some("add")
        );
        assert_eq!(entry_point("x = 1"), None);
        assert_eq!(entry_point("def a b(c):"), None);
    }

    #[test]
    fn bundled_problems_are_read() {
        let problems = read_problems(include_str!("../../../../demo/problems.json")).unwrap();
        assert!(problems.len() >= 10);
        assert_eq!(problems[0].slug(), "codingspot-0");
        for problem in &problems {
            assert_eq!(
                entry_point(&problem.prompt),
                Some(problem.entry_point.as_str()),
                "{}",
                problem.task_id
            );
        }
    }
}
