//! Beginnings of documents.

use codingspot_core::corpus::Document;
use codingspot_core::tokenizer::Tokenizer;
use codingspot_syntax::{CheckError, Language, inside_text};

/// Most tokens of a prompt.
pub(super) const MAX_TOKENS: usize = 160;
/// Fewest tokens that a model has to have room for.
pub(super) const MIN_ROOM: usize = 16;
/// A prompt is at most one part in so many of its document,
const PART: usize = 3;
/// and so many lines with something on them are left after it.
const LINES_LEFT: usize = 4;
/// Bytes of a document that are looked at, by token of the longest prompt: more is no prompt of any tokenizer's.
const BYTES_BY_TOKEN: usize = 8;

/// The beginning of a document, which the model goes on with.
#[derive(Debug)]
pub(in crate::study) struct Prompt {
    /// Number of the document in its corpus, from 0.
    pub(super) document: usize,
    pub(super) text: String,
    pub(super) ids: Vec<u32>,
}

/// The prompts of a language.
#[derive(Debug)]
pub(in crate::study) struct PromptSet {
    pub(super) name: String,
    /// What decides whether completions parse; `None` of a language without a grammar.
    pub(super) grammar: Option<Language>,
    pub(super) prompts: Vec<Prompt>,
    /// Documents before the last prompt's that have no beginning to complete.
    pub(super) passed_over: usize,
}

impl PromptSet {
    /// The beginnings of the first documents that have one, at most `most`, each of at most `max_tokens` tokens.
    pub(super) fn new(
        name: &str,
        prose: bool,
        documents: &[Document],
        tokenizer: &Tokenizer,
        most: usize,
        max_tokens: usize,
    ) -> anyhow::Result<Self> {
        let grammar = Language::from_name(name);
        let mut prompts = Vec::new();
        let mut passed_over = 0;
        for (document, content) in documents.iter().enumerate() {
            if prompts.len() == most {
                break;
            }
            let Document::Text(text) = content else { continue };
            let ends = if prose && grammar.is_none() { ends_of_words(text) } else { ends_of_lines(text) };
            match beginning(text, &ends, grammar, tokenizer, max_tokens)? {
                Some((text, ids)) => prompts.push(Prompt { document, text, ids }),
                None => passed_over += 1,
            }
        }
        Ok(Self { name: name.to_owned(), grammar, prompts, passed_over })
    }
}

/// Ends of lines after which lines enough are left, ascending.
fn ends_of_lines(text: &str) -> Vec<usize> {
    let mut left = text.lines().filter(|line| !line.trim().is_empty()).count();
    let mut end = 0;
    let mut ends = Vec::new();
    for line in text.split_inclusive('\n') {
        end += line.len();
        left -= usize::from(!line.trim().is_empty());
        if left < LINES_LEFT {
            break;
        }
        ends.push(end);
    }
    ends
}

/// Ends of words, ascending.
fn ends_of_words(text: &str) -> Vec<usize> {
    let is_end = |&(at, letter): &(usize, char)| {
        letter.is_whitespace() && !text[..at].ends_with(|before: char| before.is_whitespace())
    };
    text.char_indices().filter(is_end).map(|(at, _)| at).collect()
}

/// The longest beginning of `text` that ends at one of `ends`, is no more than a third of it and no longer than `max_tokens`
/// with the token that documents begin with; of code one that its grammar can read, and that ends in no string or
/// comment, where anything would parse. Also its tokens.
fn beginning(
    text: &str,
    ends: &[usize],
    grammar: Option<Language>,
    tokenizer: &Tokenizer,
    max_tokens: usize,
) -> anyhow::Result<Option<(String, Vec<u32>)>> {
    let most = (text.len() / PART).min(max_tokens * BYTES_BY_TOKEN);
    let within = ends.partition_point(|&end| end <= most);
    for &end in ends[..within].iter().rev() {
        let beginning = &text[..end];
        if !beginning.contains(char::is_alphanumeric) {
            break;
        }
        let ids = tokenizer.encode_document(beginning)?;
        if ids.len() > max_tokens {
            continue;
        }
        match grammar.map(|language| inside_text(language, beginning)).transpose() {
            Ok(None | Some(false)) => return Ok(Some((beginning.to_owned(), ids))),
            Ok(Some(true))
            | Err(CheckError::Prompt { .. } | CheckError::TooLong { .. } | CheckError::Effort { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundled;
    use codingspot_core::config::LlamaConfig;

    fn tokenizer() -> Tokenizer {
        let config = LlamaConfig::from_json(bundled::CONFIG).unwrap();
        Tokenizer::from_bytes(bundled::TOKENIZER, &config).unwrap()
    }

    #[test]
    fn prompts_are_the_longest_beginnings_that_may_be() {
        let tokenizer = tokenizer();
        let lines: String = "let abc = [1, 2];\n".repeat(30);
        let documents = [
            Document::Text("too short\n".repeat(3)),
            Document::Text(lines.clone()),
            Document::Ids(vec![1, 2, 3]),
            // All of its first third is a comment, or what no grammar reads.
            Document::Text(format!("/*\n{}*/\nfn f() {{}}\n{lines}", " * words\n".repeat(300))),
            Document::Text(format!(") ) }}\n{lines}")),
            Document::Text(lines.clone()),
        ];
        let set = PromptSet::new("rust", false, &documents, &tokenizer, 2, 160).unwrap();
        assert_eq!(set.grammar, Some(Language::Rust));
        assert_eq!((set.prompts.len(), set.passed_over), (2, 3));
        assert_eq!([set.prompts[0].document, set.prompts[1].document], [1, 5]);
        let prompt = &set.prompts[0];
        assert!(lines.starts_with(&prompt.text) && prompt.text.ends_with(";\n"));
        assert_eq!(prompt.ids, tokenizer.encode_document(&prompt.text).unwrap());
        // One more line would be too long.
        let next = prompt.text.len() + lines[prompt.text.len()..].find('\n').unwrap() + 1;
        assert!(3 * prompt.text.len() <= lines.len() && 3 * next > lines.len());
        let short = PromptSet::new("rust", false, &documents, &tokenizer, 1, 20).unwrap();
        let prompt = &short.prompts[0];
        let next = prompt.text.len() + lines[prompt.text.len()..].find('\n').unwrap() + 1;
        assert!(prompt.ids.len() <= 20 && tokenizer.encode_document(&lines[..next]).unwrap().len() > 20);
    }

    #[test]
    fn prose_ends_at_words_and_code_where_lines_are_left() {
        let text = "He stood there for a long time, and nobody  answered.";
        let set = PromptSet::new("english", true, &[Document::Text(text.to_owned())], &tokenizer(), 5, 160)
            .unwrap();
        assert_eq!(set.prompts[0].text, "He stood there");
        assert_eq!(ends_of_lines("a\n\nb\nc\nd\ne\n"), [2, 3]);
        assert_eq!(ends_of_lines("a\nb\nc\n"), [0; 0]);
        assert_eq!(ends_of_words("a  bü c"), [1, 6]);
    }

    #[test]
    fn every_bundled_language_has_prompts() {
        let tokenizer = tokenizer();
        for name in bundled::languages() {
            let documents = Document::from_json_lines(bundled::held_out(&name).unwrap()).unwrap();
            let set =
                PromptSet::new(&name, name == "english", &documents, &tokenizer, 20, MAX_TOKENS).unwrap();
            assert!(set.prompts.len() >= 10, "{name}: {}", set.prompts.len());
            assert_eq!(set.grammar.is_none(), name == "english");
        }
    }
}
