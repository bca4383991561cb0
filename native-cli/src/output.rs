//! The only place that writes to stdout and stderr: results to stdout, everything else to stderr.

use anyhow::Context as _;
use serde::Serialize;
use std::io::{self, Write as _};

/// Writes `text` to stdout as it is.
pub(crate) fn result(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("stdout can't be written")
}

/// Writes one JSON document and a newline to stdout.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value).context("the result can't be written as JSON")?;
    text.push('\n');
    result(&text)
}

/// Writes a line to stderr: what is going on, never a result.
pub(crate) fn note(text: &str) {
    // A closed stderr is no reason to stop working.
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Writes a failure to stderr, its causes on the same line.
pub(crate) fn error(error: &anyhow::Error) {
    note(&format!("error: {error:#}"));
}

/// Whether the reader of stdout went away, which is no failure of ours (`codingspot … | head`).
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes in the largest binary unit that keeps a whole part: `10.3 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (5_401_856, "5,401,856")] {
            assert_eq!(super::grouped(number), text);
        }
    }
}
