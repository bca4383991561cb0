//! Which tokens of a request are scored (`lm_eval/api/model.py`, `lm_eval/models/huggingface.py`).

use crate::python::rstrip;

/// Tokens before and in what is scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedPair {
    /// Tokens of the context.
    pub context: Vec<u32>,
    /// Tokens that are scored.
    pub continuation: Vec<u32>,
}

/// What of a request fits into a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Tokens that the model is given.
    pub input: Vec<u32>,
    /// Tokens that are scored: the last one by the last position's prediction, and so on forward.
    pub targets: Vec<u32>,
}

impl Window {
    /// Position in `input` whose prediction is of the first target.
    pub fn first(&self) -> usize {
        self.input.len().saturating_sub(self.targets.len())
    }
}

/// Why a request can't be put to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Nothing to go by.
    #[error("the context has no tokens")]
    NoContext,
    /// Nothing to score.
    #[error("the continuation has no tokens")]
    NoContinuation,
    /// More to score than fits.
    #[error("{tokens} tokens to score, above the {max_length} that fit")]
    LongContinuation {
        /// Tokens to score.
        tokens: usize,
        /// Tokens that fit.
        max_length: usize,
    },
    /// More to write than fits.
    #[error("{max_tokens} new tokens leave no room for a prompt within {max_length}")]
    LongGeneration {
        /// Tokens to write.
        max_tokens: usize,
        /// Tokens that fit.
        max_length: usize,
    },
}

/// The tokens of a continuation in its context: white space at the context's end goes over to the
/// continuation, and what is scored is encode(context + continuation) without as many tokens as
/// encode(context) has (`TemplateLM._encode_pair`). So tokens that span the border are scored only where the
/// context alone has fewer.
///
/// `encode` is the tokenizer with its own special tokens, as transformers applies them: a Llama's puts its
/// beginning-of-sequence token first. `prefix` is that token, or the end-of-sequence token of a model that has
/// none, and stands for an empty context.
///
/// # Errors
/// [`EncodeError::NoContext`] and [`EncodeError::NoContinuation`], where the harness fails too.
pub fn encode_pair(
    context: &str,
    continuation: &str,
    prefix: u32,
    mut encode: impl FnMut(&str) -> Vec<u32>,
) -> Result<EncodedPair, EncodeError> {
    let (context, continuation) = if context.is_empty() {
        let mut whole = encode(continuation);
        if whole.first() == Some(&prefix) {
            whole.remove(0);
        }
        (vec![prefix], whole)
    } else {
        let kept = rstrip(context);
        let moved = [&context[kept.len()..], continuation].concat();
        let mut whole = encode(&[kept, &*moved].concat());
        let before = encode(kept);
        let continuation = whole.split_off(before.len().min(whole.len()));
        (before, continuation)
    };
    if context.is_empty() {
        return Err(EncodeError::NoContext);
    }
    if continuation.is_empty() {
        return Err(EncodeError::NoContinuation);
    }
    Ok(EncodedPair { context, continuation })
}

impl EncodedPair {
    /// What a model of `max_length` positions is given: the last `max_length` + 1 tokens of both, but for the
    /// very last one, which is only predicted (`HFLM._loglikelihood_tokens`).
    ///
    /// # Errors
    /// [`EncodeError::LongContinuation`].
    pub fn window(&self, max_length: usize) -> Result<Window, EncodeError> {
        let tokens = self.continuation.len();
        if tokens > max_length {
            return Err(EncodeError::LongContinuation { tokens, max_length });
        }
        let mut input = [&*self.context, &*self.continuation].concat();
        input.drain(..input.len().saturating_sub(max_length.saturating_add(1)));
        input.pop();
        Ok(Window { input, targets: self.continuation.clone() })
    }
}

/// What of a prompt's tokens a model of `max_length` positions is given where it may write `max_tokens`: the
/// last `max_length` − `max_tokens` (`HFLM.generate_until`).
///
/// # Errors
/// [`EncodeError::LongGeneration`] where that leaves none.
pub fn prompt_window(tokens: &[u32], max_length: usize, max_tokens: usize) -> Result<&[u32], EncodeError> {
    match max_length.checked_sub(max_tokens) {
        None | Some(0) => Err(EncodeError::LongGeneration { max_tokens, max_length }),
        Some(room) => Ok(&tokens[tokens.len().saturating_sub(room)..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOS: u32 = 1;

    /// A token a word with the space before it; " ab" and "a b" are words of their own.
    fn encode(text: &str) -> Vec<u32> {
        let mut tokens = vec![BOS];
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let word = [" ab", "a b", " a", " b"].into_iter().find(|word| rest.starts_with(word));
            let len = word.map_or(c.len_utf8(), str::len);
            tokens.push(match word {
                Some(" ab") => 10,
                Some("a b") => 11,
                Some(" a") => 12,
                Some(" b") => 13,
                _ => 100 + u32::from(c),
            });
            rest = &rest[len..];
        }
        tokens
    }

    fn pair(context: &str, continuation: &str) -> Result<EncodedPair, EncodeError> {
        encode_pair(context, continuation, BOS, encode)
    }

    #[test]
    fn the_continuation_is_what_the_context_alone_lacks() {
        let encoded = pair("x", " ab").unwrap();
        assert_eq!((encoded.context, encoded.continuation), (vec![BOS, 220], vec![10]));
    }

    #[test]
    fn white_space_goes_over_to_the_continuation() {
        for context in ["x ", "x\n", "x\u{a0}\n "] {
            let encoded = pair(context, "ab").unwrap();
            assert_eq!(encoded.context, [BOS, 220]);
            let moved = &context[1..];
            assert_eq!(encoded.continuation, encode(&format!("{moved}ab"))[1..]);
        }
        // " ab" is one token only because of it.
        assert_eq!(pair("x ", "ab").unwrap().continuation, [10]);
    }

    #[test]
    fn tokens_across_the_border_count_for_the_context() {
        // "a b" is one token, "a" too: nothing is left to score.
        assert_eq!(pair("a", " b"), Err(EncodeError::NoContinuation));
        // "xa b": x and "a b" against x and a.
        assert_eq!(pair("xa", " bc").unwrap().continuation, [199]);
    }

    #[test]
    fn the_prefix_stands_for_an_empty_context() {
        let encoded = pair("", "ab").unwrap();
        assert_eq!((encoded.context, encoded.continuation), (vec![BOS], vec![197, 198]));
        let bare = encode_pair("", "ab", 2, |text| encode(text)[1..].to_vec()).unwrap();
        assert_eq!((bare.context, bare.continuation), (vec![2], vec![197, 198]));
        // White space alone is a context, of the tokenizer's own token or of none.
        assert_eq!(pair("  ", "x").unwrap().context, [BOS]);
        let none = encode_pair("  ", "x", 2, |text| encode(text)[1..].to_vec());
        assert_eq!(none, Err(EncodeError::NoContext));
        assert_eq!(pair("x", ""), Err(EncodeError::NoContinuation));
    }

    #[test]
    fn windows_keep_the_end() {
        let encoded = EncodedPair { context: vec![1, 2, 3, 4], continuation: vec![5, 6] };
        let window = encoded.window(100).unwrap();
        assert_eq!(
            (&*window.input, &*window.targets, window.first()),
            (&[1, 2, 3, 4, 5][..], &[5, 6][..], 3)
        );
        let window = encoded.window(3).unwrap();
        assert_eq!((&*window.input, window.first()), (&[3, 4, 5][..], 1));
        let window = encoded.window(2).unwrap();
        assert_eq!((&*window.input, window.first()), (&[4, 5][..], 0));
        let error = encoded.window(1).unwrap_err();
        assert_eq!(error, EncodeError::LongContinuation { tokens: 2, max_length: 1 });
        assert!(encoded.window(usize::MAX).is_ok());
    }

    #[test]
    fn prompts_leave_room_to_write() {
        assert_eq!(prompt_window(&[1, 2, 3, 4], 10, 7), Ok(&[2, 3, 4][..]));
        assert_eq!(prompt_window(&[1, 2], 10, 7), Ok(&[1, 2][..]));
        assert!(prompt_window(&[1, 2], 10, 10).is_err());
        assert!(prompt_window(&[1, 2], 10, 11).is_err());
    }
}
