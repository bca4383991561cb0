//! How much of a text is read.
//!
//! The hand-written scanners of the grammars keep their state in 1024 bytes, and not all of them look whether it fits. A text
//! is read only as far as it does.

use crate::Language;

/// Most bytes of a text that are read. Python's scanner needs twice as many to nest more blocks than it can keep.
pub const MAX_BYTES: usize = 16 << 10;
/// Longest name of a here document in Ruby: its scanner keeps the length in a byte.
const MAX_NAME: usize = 200;
/// Most bytes that Ruby's scanner needs for the names of all here documents of a text.
const MAX_NAMES: usize = 400;
/// Most interpolations in a text of Ruby: each nests literals by one, which take 5 bytes.
const MAX_INTERPOLATIONS: usize = 100;

/// Length of the beginning of `text` that is read, on a border of characters.
pub(crate) fn readable(language: Language, text: &str) -> usize {
    let mut end = text.len().min(MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    if language == Language::Ruby { ruby(&text[..end]) } else { end }
}

fn ruby(text: &str) -> usize {
    let names = text.match_indices("<<").scan(0, |total, (at, _)| {
        let length = name_length(&text[at + 2..]);
        *total += length + 4;
        Some((at, length > MAX_NAME || *total > MAX_NAMES))
    });
    let first_name = names.filter(|(_, long)| *long).map(|(at, _)| at).next();
    let interpolation = text.match_indices("#{").map(|(at, _)| at).nth(MAX_INTERPOLATIONS);
    [first_name, interpolation].into_iter().flatten().min().unwrap_or(text.len())
}

/// Bytes of the name that may begin a here document after `<<`.
fn name_length(after: &str) -> usize {
    let name = after.strip_prefix(['-', '~']).unwrap_or(after);
    match name.chars().next() {
        Some(quote @ ('"' | '\'' | '`')) => name[1..].find(quote).unwrap_or(name.len() - 1),
        _ => name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_far_as_scanners_keep_them() {
        assert_eq!(readable(Language::Go, &"é".repeat(MAX_BYTES)), MAX_BYTES);
        assert_eq!(readable(Language::Go, &format!("x{}", "é".repeat(MAX_BYTES))), MAX_BYTES - 1);
        let name = "a".repeat(MAX_NAME);
        let short = format!("x = <<~{name}\ntext\n{name}\n");
        assert_eq!(readable(Language::Ruby, &short), short.len());
        for quote in ["", "'", "\""] {
            let long = format!("x = <<-{quote}{name}é{quote}\n");
            assert_eq!(readable(Language::Ruby, &long), 4, "{long}");
            assert_eq!(readable(Language::Bash, &long), long.len());
        }
        let open = format!("x = <<\"{name} and what follows");
        assert_eq!(readable(Language::Ruby, &open), 4);
        let many = "f(<<~A)\n".repeat(200);
        assert!(readable(Language::Ruby, &many) < many.len());
        let nested = "\"#{".repeat(300);
        assert_eq!(readable(Language::Ruby, &nested), 3 * MAX_INTERPOLATIONS + 1);
        // Shifts are no names.
        let shifts = "a << b\n".repeat(80);
        assert_eq!(readable(Language::Ruby, &shifts), shifts.len());
    }
}
