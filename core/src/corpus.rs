//! Documents of a language, and how they become sequences.

use crate::tokenizer::{Tokenizer, TokenizerError};
use serde::Deserialize;

/// The ten languages of the paper (appendix B), in alphabetical order.
pub const CODE_LANGUAGES: [&str; 10] =
    ["bash", "cpp", "csharp", "go", "java", "javascript", "julia", "ruby", "rust", "typescript"];

/// Longest document that is read, bytes.
pub const MAX_DOCUMENT_BYTES: usize = 64 << 20;

/// Why a corpus could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// A line is not a row.
    #[error("line {line}: {reason}; expected a JSON object with \"text\" or \"ids\"")]
    Row {
        /// Line number from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Text was given, but the model has no tokenizer.
    #[error(
        "line {line} has text, but the model has no tokenizer.json; give rows of \"ids\", or add the tokenizer"
    )]
    NoTokenizer {
        /// Line number from 1.
        line: usize,
    },
    /// Pre-tokenised rows are of different lengths.
    #[error("row {row} has {found} ids, the first has {expected}; pre-tokenised rows must be of one length")]
    UnequalIds {
        /// Row number from 1.
        row: usize,
        /// Its length.
        found: usize,
        /// The first row's.
        expected: usize,
    },
    /// Some rows are texts and some are ids.
    #[error("some rows have \"text\" and some \"ids\"; expected one kind in a file")]
    Mixed,
    /// There is not one whole sequence.
    #[error(
        "{found} tokens are too few for one sequence of {expected}; give more text or a smaller --seq-len"
    )]
    TooShort {
        /// Tokens there.
        found: usize,
        /// Tokens needed.
        expected: usize,
    },
    /// There is no document at all.
    #[error("it has no documents; expected at least one row with \"text\" or \"ids\"")]
    Empty,
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// One row of a corpus file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// Text to tokenise.
    Text(String),
    /// Tokens, used as they are.
    Ids(Vec<u32>),
}

#[derive(Deserialize)]
struct RawRow {
    text: Option<String>,
    ids: Option<Vec<u32>>,
}

impl Document {
    /// Parses line `line` (from 1) of a JSONL file.
    ///
    /// # Errors
    /// [`CorpusError::Row`].
    pub fn from_json_line(line: usize, json: &str) -> Result<Self, CorpusError> {
        let refuse = |reason: String| CorpusError::Row { line, reason };
        if json.len() > MAX_DOCUMENT_BYTES {
            return Err(refuse(format!("it has {} bytes, more than {MAX_DOCUMENT_BYTES}", json.len())));
        }
        let row: RawRow = serde_json::from_str(json).map_err(|error| refuse(error.to_string()))?;
        match (row.text, row.ids) {
            (Some(text), None) => Ok(Self::Text(text)),
            (None, Some(ids)) => Ok(Self::Ids(ids)),
            (None, None) => Err(refuse("it has neither \"text\" nor \"ids\"".to_owned())),
            (Some(_), Some(_)) => Err(refuse("it has both \"text\" and \"ids\"".to_owned())),
        }
    }

    /// Parses a whole JSONL file; blank lines are skipped.
    ///
    /// # Errors
    /// [`CorpusError::Row`] or [`CorpusError::Empty`].
    pub fn from_json_lines(text: &str) -> Result<Vec<Self>, CorpusError> {
        let documents: Vec<Self> = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(index, line)| Self::from_json_line(index + 1, line))
            .collect::<Result<_, _>>()?;
        if documents.is_empty() { Err(CorpusError::Empty) } else { Ok(documents) }
    }

    /// The document's tokens: BOS (where the model begins with one) + text, or its ids as they are. `line` is for messages.
    fn tokens(&self, line: usize, tokenizer: Option<&Tokenizer>) -> Result<Vec<u32>, CorpusError> {
        match (self, tokenizer) {
            (Self::Ids(ids), _) => Ok(ids.clone()),
            (Self::Text(_), None) => Err(CorpusError::NoTokenizer { line }),
            (Self::Text(text), Some(tokenizer)) => Ok(tokenizer.encode_document(text)?),
        }
    }
}

/// Sequences of one length for scoring.
///
/// Texts are joined, each begun by BOS where the model has one, and cut into sequences of `seq_len`; what is left over at
/// the end is dropped. Pre-tokenised rows are taken as they are.
///
/// # Errors
/// [`CorpusError`] when there is not one whole sequence, kinds are mixed, or ids differ in length.
pub fn pack(
    documents: &[Document],
    tokenizer: Option<&Tokenizer>,
    seq_len: usize,
) -> Result<Vec<Vec<u32>>, CorpusError> {
    let ids: Vec<&Vec<u32>> = documents
        .iter()
        .filter_map(|document| match document {
            Document::Ids(ids) => Some(ids),
            Document::Text(_) => None,
        })
        .collect();
    match ids.first() {
        _ if documents.is_empty() => Err(CorpusError::Empty),
        Some(_) if ids.len() < documents.len() => Err(CorpusError::Mixed),
        Some(first) => {
            if first.len() < 2 {
                return Err(CorpusError::TooShort { found: first.len(), expected: 2 });
            }
            match ids.iter().position(|row| row.len() != first.len()) {
                Some(row) => Err(CorpusError::UnequalIds {
                    row: row + 1,
                    found: ids[row].len(),
                    expected: first.len(),
                }),
                None => Ok(ids.into_iter().cloned().collect()),
            }
        }
        None => {
            let mut stream = Vec::new();
            for (index, document) in documents.iter().enumerate() {
                stream.extend(document.tokens(index + 1, tokenizer)?);
            }
            if seq_len < 2 || stream.len() < seq_len {
                return Err(CorpusError::TooShort { found: stream.len(), expected: seq_len.max(2) });
            }
            Ok(stream.chunks_exact(seq_len).map(<[u32]>::to_vec).collect())
        }
    }
}

/// The documents' tokens for a loss: BOS + text cut to `seq_len` tokens, in file order; documents
/// without a target (fewer than two tokens) are left out.
///
/// # Errors
/// [`CorpusError`] when nothing is left, or the tokenizer is missing or fails.
pub fn documents_for_loss(
    documents: &[Document],
    tokenizer: Option<&Tokenizer>,
    seq_len: usize,
) -> Result<Vec<Vec<u32>>, CorpusError> {
    let mut rows = Vec::with_capacity(documents.len());
    for (index, document) in documents.iter().enumerate() {
        let mut tokens = document.tokens(index + 1, tokenizer)?;
        tokens.truncate(seq_len);
        if tokens.len() >= 2 {
            rows.push(tokens);
        }
    }
    if rows.is_empty() { Err(CorpusError::Empty) } else { Ok(rows) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_parsed_and_bad_ones_are_named_by_line() {
        let text = "{\"text\":\"a\",\"path\":\"x\"}\n\n{\"ids\":[1,2]}\n";
        let rows = Document::from_json_lines(text).unwrap();
        assert_eq!(rows, [Document::Text("a".into()), Document::Ids(vec![1, 2])]);
        for bad in ["{", "{}", "[]", "{\"ids\":[-1]}", "{\"text\":1}", "{\"text\":\"a\",\"ids\":[1]}"] {
            let error = Document::from_json_lines(&format!("{{\"text\":\"a\"}}\n{bad}")).unwrap_err();
            assert!(error.to_string().starts_with("line 2"), "{error}");
        }
        assert!(matches!(Document::from_json_lines("\n \n"), Err(CorpusError::Empty)));
    }

    #[test]
    fn pre_tokenised_rows_are_taken_as_they_are() {
        let ids = |ids: &[u32]| Document::Ids(ids.to_vec());
        let rows = pack(&[ids(&[1, 2, 3]), ids(&[4, 5, 6])], None, 512).unwrap();
        assert_eq!(rows, [[1, 2, 3], [4, 5, 6]]);
        assert!(matches!(
            pack(&[ids(&[1, 2, 3]), ids(&[4, 5])], None, 512),
            Err(CorpusError::UnequalIds { row: 2, found: 2, expected: 3 })
        ));
        assert!(matches!(
            pack(&[ids(&[1, 2]), Document::Text("a".into())], None, 2),
            Err(CorpusError::Mixed)
        ));
        assert!(matches!(pack(&[ids(&[1])], None, 2), Err(CorpusError::TooShort { .. })));
        assert!(matches!(pack(&[], None, 2), Err(CorpusError::Empty)));
        assert!(matches!(
            pack(&[Document::Text("a".into())], None, 2),
            Err(CorpusError::NoTokenizer { line: 1 })
        ));
    }
}
