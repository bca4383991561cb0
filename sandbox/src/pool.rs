use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::{Outcome, Program, SandboxError};

/// Something that runs programs.
pub trait Runner {
    /// Runs a program to its end. Callable from several threads at a time.
    ///
    /// # Errors
    /// Where the program has no outcome; what a program does wrong is its outcome.
    fn run(&self, program: &Program) -> Result<Outcome, SandboxError>;
}

/// Runs many programs, so many at a time. Outcomes are in the programs' order.
///
/// `progress` gets the number of programs done, and the index and outcome of the last one, from any thread
/// but one at a time.
pub fn run_all<R, F>(
    runner: &R,
    programs: &[Program],
    workers: NonZeroUsize,
    progress: F,
) -> Vec<Result<Outcome, SandboxError>>
where
    R: Runner + Sync + ?Sized,
    F: FnMut(usize, usize, &Result<Outcome, SandboxError>) + Send,
{
    let next = AtomicUsize::new(0);
    let mut outcomes: Vec<Option<Result<Outcome, SandboxError>>> = Vec::new();
    outcomes.resize_with(programs.len(), || None);
    let shared = Mutex::new((0, &mut outcomes, progress));
    thread::scope(|scope| {
        for _ in 0..workers.get().min(programs.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(program) = programs.get(index) else { break };
                    let outcome = runner.run(program);
                    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    let (done, outcomes, progress) = &mut *shared;
                    *done += 1;
                    progress(*done, index, &outcome);
                    outcomes[index] = Some(outcome);
                }
            });
        }
    });
    drop(shared);
    outcomes.into_iter().map(|outcome| outcome.expect("every index was drawn, and its run ended")).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Stage, Verdict, python};

    /// Exits with a program's number of standard input bytes, the later programs sooner.
    struct Counting;

    impl Runner for Counting {
        fn run(&self, program: &Program) -> Result<Outcome, SandboxError> {
            let bytes = program.stdin.len();
            thread::sleep(Duration::from_millis(20_u64.saturating_sub(bytes as u64)));
            let verdict = Verdict::Exited(i32::try_from(bytes).unwrap());
            let (stdout, stderr, wall, cpu) = (vec![], vec![], Duration::ZERO, Duration::ZERO);
            Ok(Outcome { verdict, stage: Stage::Run, stdout, stderr, wall, cpu, truncated: false })
        }
    }

    #[test]
    fn outcomes_keep_the_order_and_progress_sees_each_once() {
        let programs: Vec<_> = (0..20).map(|bytes| Program { stdin: vec![0; bytes], ..python("") }).collect();
        let mut seen = Vec::new();
        let outcomes = run_all(&Counting, &programs, NonZeroUsize::new(4).unwrap(), |done, index, _| {
            seen.push(index);
            assert_eq!(done, seen.len());
        });
        let codes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.unwrap().verdict).collect();
        assert_eq!(codes, (0..20).map(Verdict::Exited).collect::<Vec<_>>());
        seen.sort_unstable();
        assert_eq!(seen, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn no_programs_have_no_outcomes() {
        assert!(run_all(&Counting, &[], NonZeroUsize::MIN, |_, _, _| ()).is_empty());
    }
}
