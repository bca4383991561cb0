//! Progress with ETA on stderr: a bar on a terminal, a line every ten seconds elsewhere.

use crate::output;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

/// Time between two lines where stderr is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Progress of one stage.
#[derive(Debug)]
pub(crate) struct Progress {
    name: String,
    bar: Option<ProgressBar>,
    started: Instant,
    last_line: Instant,
    total: u64,
    /// Steps that were done before this stage began.
    before: u64,
}

impl Progress {
    /// A stage of `total` steps.
    pub(crate) fn new(name: &str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{msg:<28} {wide_bar} {percent:>3} % {elapsed} ETA {eta}");
            let bar = ProgressBar::new(total);
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar.set_message(name.to_owned());
            bar
        });
        let now = Instant::now();
        Self { name: name.to_owned(), bar, started: now, last_line: now, total, before: 0 }
    }

    /// The same stage with `done` of its steps done by an earlier run, which took none of this one's time.
    pub(crate) fn resumed(mut self, done: u64) -> Self {
        self.before = done;
        self.bar = self.bar.map(|bar| bar.with_position(done));
        self
    }

    /// Another name for what is going on.
    pub(crate) fn rename(&mut self, name: &str) {
        name.clone_into(&mut self.name);
        if let Some(bar) = &self.bar {
            bar.set_message(name.to_owned());
        }
    }

    /// `done` steps of the total are done.
    pub(crate) fn set(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if self.last_line.elapsed() >= LINE_EVERY && done > self.before {
            self.last_line = Instant::now();
            let elapsed = self.started.elapsed().as_secs_f64();
            let left = elapsed * (self.total.saturating_sub(done)) as f64 / (done - self.before) as f64;
            let percent = 100.0 * done as f64 / self.total.max(1) as f64;
            output::note(&format!("{}: {percent:.0} %, about {left:.0} s left", self.name));
        }
    }

    /// The stage is done.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
