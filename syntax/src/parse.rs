//! Where a parse meets its first error.
//!
//! Tree-sitter's grammars are LR: a token that can't continue what stands before it is noticed when it is reached, and never
//! later, in every reading of an ambiguous text at once. What the parser does then, to guess what was meant, depends
//! on everything around the error, and the tree says little about where it was. So the tree is not looked at: the
//! parse is followed by its log up to the moment in which no reading is left ("resume version"), and ends there.

use crate::{CheckError, Language};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use tree_sitter::{LogType, ParseOptions, Parser};

/// Messages of the log after which a parse is given up, some seconds: code of `MAX_BYTES` needs a hundredth.
const MAX_MESSAGES: u64 = 40_000_000;

/// A token that can't stand where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Byte at which the token begins.
    pub(crate) start: usize,
    /// Byte after it.
    pub(crate) end: usize,
}

/// A token's place: line, byte in it where the last token ended, and bytes from there to the end of this one.
type Place = (usize, usize, usize);

/// What has been read of the log.
#[derive(Debug, Default)]
struct Trace {
    row: usize,
    column: usize,
    size: usize,
    /// The farthest token that a reading ended at.
    farthest: Option<Place>,
    /// No reading is left.
    failed: bool,
    messages: u64,
}

impl Trace {
    fn read(&mut self, message: &str) {
        if self.failed {
            return;
        }
        if message.starts_with("process version:") {
            let number = |name: &str| {
                let rest = message.split_once(name)?.1;
                rest.split(',').next()?.parse().ok()
            };
            self.row = number("row:").unwrap_or(self.row);
            self.column = number("col:").unwrap_or(self.column);
        } else if message.starts_with("lexed_lookahead ") {
            let size = message.rsplit_once("size:").and_then(|(_, size)| size.parse().ok());
            self.size = size.unwrap_or(self.size);
        } else if message.starts_with("detect_error ") {
            self.farthest = self.farthest.max(Some((self.row, self.column, self.size)));
        } else if message.starts_with("resume version:") {
            self.failed = true;
        }
    }
}

/// The first error of `text`; `None` of a whole program.
pub(crate) fn first_fault(language: Language, text: &str) -> Result<Option<Fault>, CheckError> {
    let mut parser = Parser::new();
    parser.set_language(&language.grammar()).map_err(|source| CheckError::Grammar { language, source })?;
    let trace = Arc::new(Mutex::new(Trace::default()));
    let log = Arc::clone(&trace);
    parser.set_logger(Some(Box::new(move |kind, message| {
        let mut trace = log.lock().unwrap_or_else(PoisonError::into_inner);
        trace.messages += 1;
        if kind == LogType::Parse {
            trace.read(message);
        }
    })));
    let mut progress = |_: &tree_sitter::ParseState| {
        let trace = trace.lock().unwrap_or_else(PoisonError::into_inner);
        if trace.failed || trace.messages > MAX_MESSAGES {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let options = ParseOptions::new().progress_callback(&mut progress);
    let tree = parser.parse_with_options(
        &mut |byte, _| text.as_bytes().get(byte..).unwrap_or_default(),
        None,
        Some(options),
    );
    let trace = trace.lock().unwrap_or_else(PoisonError::into_inner);
    if !trace.failed {
        return if tree.is_some() {
            Ok(None)
        } else {
            Err(CheckError::Effort { language, bytes: text.len() })
        };
    }
    let (row, column, size) = trace.farthest.unwrap_or_default();
    let line: usize = text.split_inclusive('\n').take(row).map(str::len).sum();
    let after = (line + column).min(text.len());
    let end = (after + size).min(text.len());
    let start = text.as_bytes()[after..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    Ok(Some(Fault { start: after + start, end }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_at_their_tokens() {
        for (text, expected) in [
            ("fn f() {}\n", None),
            ("fn f() { let = 3; }", Some((13, 14))),
            ("// ä\n\nfn é() { let é = }; }", Some((26, 27))),
            ("fn f() {", Some((8, 8))),
            ("fn f() {}\n}", Some((10, 11))),
        ] {
            let found = first_fault(Language::Rust, text).unwrap();
            assert_eq!(found.map(|fault| (fault.start, fault.end)), expected, "{text}");
        }
    }
}
