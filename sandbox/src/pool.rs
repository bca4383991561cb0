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

/// Does many pieces of work, so many at a time. Results are in the order of the pieces' indices.
///
/// `progress` gets the number of pieces done, and the index and result of the last one, from any thread but one
/// at a time.
pub fn in_parallel<T, W, F>(pieces: usize, workers: NonZeroUsize, work: W, progress: F) -> Vec<T>
where
    T: Send,
    W: Fn(usize) -> T + Sync,
    F: FnMut(usize, usize, &T) + Send,
{
    let next = AtomicUsize::new(0);
    let mut results: Vec<Option<T>> = Vec::new();
    results.resize_with(pieces, || None);
    let shared = Mutex::new((0, &mut results, progress));
    thread::scope(|scope| {
        for _ in 0..workers.get().min(pieces) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= pieces {
                        break;
                    }
                    let result = work(index);
                    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    let (done, results, progress) = &mut *shared;
                    *done += 1;
                    progress(*done, index, &result);
                    results[index] = Some(result);
                }
            });
        }
    });
    drop(shared);
    results.into_iter().map(|result| result.expect("every index was drawn, and its work ended")).collect()
}

/// Runs many programs [in parallel](in_parallel).
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
    in_parallel(programs.len(), workers, |index| runner.run(&programs[index]), progress)
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
