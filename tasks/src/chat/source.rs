//! The text of a template before minijinja reads it: what transformers adds to Jinja is written in Jinja, and
//! what would exhaust the stack is refused or guarded.
//!
//! minijinja bounds how deep statements and brackets nest. It doesn't bound how long a chain of operators or of
//! `elif` is, each link of which is a frame of its compiler's, nor how deep values nest that statements in a loop
//! put into each other. Tags are found here by the rules of its lexer, so that none is seen there that isn't here.

use super::ChatError;
use super::values::{SETTLE, SETTLE_ATTRIBUTE};

/// Longest template, bytes; those in use have some 30 kB.
pub(super) const MAX_SOURCE: usize = 1 << 18;
/// Most words and signs of one tag: chains of operators are shorter.
const MAX_TAG_TOKENS: usize = 768;
/// Most `elif` of a template: chains of them are shorter.
const MAX_ELIFS: usize = 256;

/// A tag between its delimiters.
struct Tag {
    /// Length without the closing delimiter and its sign.
    len: usize,
    /// Length with them.
    whole: usize,
    /// Its first word.
    name: (usize, usize),
    /// Where `=` stands outside brackets, for the first time.
    assign: Option<usize>,
}

/// The template as minijinja is given it.
pub(super) fn prepare(source: &str) -> Result<String, ChatError> {
    if source.len() > MAX_SOURCE {
        return Err(ChatError::LongTemplate { bytes: source.len() });
    }
    // As Jinja's lexer does first.
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut rest = &*source;
    let mut prepared = String::with_capacity(source.len() + source.len() / 8);
    let mut elifs = 0;
    while let Some((start, kind)) = next_tag(rest) {
        prepared.push_str(&rest[..start]);
        rest = &rest[start..];
        let open = 2 + usize::from(rest[2..].starts_with(['-', '+']));
        let body = &rest[open..];
        let len = match kind {
            '#' => body.find("#}").map(|end| end + 2),
            '%' if let Some(raw) = plain_tag(body, "raw") => raw_end(&body[raw..]).map(|end| raw + end),
            _ => tag(body, if kind == '%' { "%}" } else { "}}" })?.map(|tag| {
                let name = &body[tag.name.0..tag.name.1];
                if kind == '%' && name == "elif" {
                    elifs += 1;
                }
                let rewritten = if kind == '%' { rewritten(body, &tag, name) } else { None };
                prepared.push_str(&rest[..open]);
                prepared.push_str(rewritten.as_deref().unwrap_or(&body[..tag.whole]));
                rest = &rest[open + tag.whole..];
                0
            }),
        };
        match len {
            // Without an end: minijinja's to report.
            None => break,
            Some(0) => {}
            Some(len) => {
                prepared.push_str(&rest[..open + len]);
                rest = &rest[open + len..];
            }
        }
    }
    if elifs > MAX_ELIFS {
        return Err(ChatError::ComplexTemplate { what: "elif", count: elifs, limit: MAX_ELIFS });
    }
    prepared.push_str(rest);
    Ok(prepared)
}

/// Where the next tag or comment begins, and what of.
fn next_tag(text: &str) -> Option<(usize, char)> {
    let opening = |(at, _): (usize, &str)| {
        let kind = text[at + 1..].chars().next()?;
        matches!(kind, '{' | '%' | '#').then_some((at, kind))
    };
    text.match_indices('{').find_map(opening)
}

/// Length of what is between the opening delimiter and the end of a tag of one word.
fn plain_tag(body: &str, name: &str) -> Option<usize> {
    let rest = body.trim_ascii_start().strip_prefix(name)?.trim_ascii_start();
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest).strip_prefix("%}")?;
    Some(body.len() - rest.len())
}

/// Length of a raw block with the tag that ends it.
fn raw_end(text: &str) -> Option<usize> {
    text.match_indices("{%").find_map(|(at, open)| {
        let body = &text[at + open.len()..];
        let body = body.strip_prefix(['-', '+']).unwrap_or(body);
        plain_tag(body, "endraw").map(|len| text.len() - body.len() + len)
    })
}

/// Reads a tag up to its end; `None` where it has none.
fn tag(body: &str, close: &str) -> Result<Option<Tag>, ChatError> {
    let bytes = body.as_bytes();
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let (mut at, mut depth, mut tokens) = (0, 0_usize, 0);
    let (mut name, mut assign) = (None, None);
    while let Some(&byte) = bytes.get(at) {
        if byte.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        if depth == 0 {
            let sign = usize::from(matches!(byte, b'-' | b'+'));
            if bytes[at + sign..].starts_with(close.as_bytes()) {
                if tokens > MAX_TAG_TOKENS {
                    return Err(ChatError::ComplexTemplate {
                        what: "words and signs in one tag",
                        count: tokens,
                        limit: MAX_TAG_TOKENS,
                    });
                }
                let name = name.unwrap_or((0, 0));
                return Ok(Some(Tag { len: at, whole: at + sign + close.len(), name, assign }));
            }
        }
        tokens += 1;
        let start = at;
        match byte {
            b'"' | b'\'' => {
                let Some(end) = string_end(&bytes[at + 1..], byte) else { return Ok(None) };
                at += 1 + end;
            }
            b'(' | b'[' | b'{' => {
                depth += 1;
                at += 1;
            }
            b')' | b']' | b'}' => {
                let Some(less) = depth.checked_sub(1) else {
                    return Err(ChatError::Syntax("a bracket is closed that isn't open".into()));
                };
                depth = less;
                at += 1;
            }
            byte if word(&byte) => at += bytes[at..].iter().take_while(|byte| word(byte)).count(),
            _ => {
                let double = [&b"//"[..], b"**", b"==", b"!=", b">=", b"<="];
                let double = bytes.get(at..at + 2).is_some_and(|two| double.contains(&two));
                if byte == b'=' && !double && depth == 0 {
                    assign.get_or_insert(at);
                }
                at += if double { 2 } else { 1 };
            }
        }
        name.get_or_insert((start, at));
    }
    Ok(None)
}

/// Length of a string after its opening quote, with the closing one.
fn string_end(bytes: &[u8], quote: u8) -> Option<usize> {
    let mut escaped = false;
    let end = bytes.iter().position(|&byte| {
        let ends = byte == quote && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map(|end| end + 1)
}

/// A block tag that minijinja is given in other words, from after its opening delimiter.
fn rewritten(body: &str, tag: &Tag, name: &str) -> Option<String> {
    let (inside, closing) = (&body[..tag.len], &body[tag.len..tag.whole]);
    match name {
        // transformers' mark of what an assistant said is a call block: assignments stay inside.
        "generation" | "endgeneration" if inside.trim_ascii() == name => {
            Some(format!(" {} {closing}", if name == "generation" { "with" } else { "endwith" }))
        }
        "set" => {
            let (target, value) = (&inside[..tag.assign?], &inside[tag.assign? + 1..]);
            let filter = if target.contains('.') { SETTLE_ATTRIBUTE } else { SETTLE };
            // What is missing is minijinja's to report.
            (!value.trim_ascii().is_empty()).then(|| format!("{target}= ({value})|{filter} {closing}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(source: &str) {
        assert_eq!(prepare(source).unwrap(), source);
    }

    #[test]
    fn only_generation_and_set_are_rewritten() {
        same("a {{ b['}}'] }} {# {% generation %} #} {% raw %}{% set a = 1 %}{% endraw %} { % {% if x -%} {");
        same(
            "{{ '{% generation %}' ~ \"\\\"{% set a = 1 %}\" }}{% set a %}x{% endset %}{% set a | f(b=1) %}",
        );
        same("{%- raw -%} {{ {%- endraw +%} {{ {'a': {'b': 1}}}}");
        assert_eq!(prepare("{%- generation -%}x{% endgeneration+%}").unwrap(), "{%- with -%}x{% endwith +%}");
        assert_eq!(
            prepare("{%- set a = 1 == 2 -%}{% set a.b = [1, 'x=%}'] %}{%set a, b = 1, 2%}").unwrap(),
            "{%- set a = ( 1 == 2 )|settle -%}{% set a.b = ( [1, 'x=%}'] )|settle_attribute %}{%set a, b = ( 1, \
             2)|settle %}"
        );
    }

    #[test]
    fn lines_end_as_jinja_ends_them() {
        assert_eq!(prepare("a\r\nb\rc\n").unwrap(), "a\nb\nc\n");
    }

    #[test]
    fn what_has_no_end_is_left_to_minijinja() {
        for source in
            ["{{ a", "{% set a = 'b %}", "{# a", "{% raw %} {% endraw", "{% set a = (1 %}", "{%", "{{", "{"]
        {
            same(source);
        }
        same("{% set a = %}");
    }

    #[test]
    fn long_chains_are_refused() {
        let chain = |n: usize| format!("{{{{ 1{} }}}}", " + 1".repeat(n));
        assert!(prepare(&chain(MAX_TAG_TOKENS / 2 - 1)).is_ok());
        assert!(matches!(prepare(&chain(MAX_TAG_TOKENS)), Err(ChatError::ComplexTemplate { .. })));
        let chain = |n: usize| format!("{{% if 1 %}}{}{{% endif %}}", "{% elif 1 %}".repeat(n));
        assert!(prepare(&chain(MAX_ELIFS)).is_ok());
        assert!(matches!(prepare(&chain(MAX_ELIFS + 1)), Err(ChatError::ComplexTemplate { .. })));
        assert!(matches!(prepare(&" ".repeat(MAX_SOURCE + 1)), Err(ChatError::LongTemplate { .. })));
        assert!(matches!(prepare("{{ ) }}"), Err(ChatError::Syntax(_))));
    }
}
