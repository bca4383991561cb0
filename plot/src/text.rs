//! How wide text will be, without a font at hand.

/// How much wider bold text is.
pub(crate) const BOLD: f64 = 1.12;

/// The width of text in em. Fonts differ; this leans to the wide ones, so that labels rather keep apart.
pub(crate) fn width(text: &str, size: f64) -> f64 {
    let em: f64 = text
        .chars()
        .map(|letter| match letter {
            'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '|' | '!' | '\'' => 0.33,
            ' ' | '\u{a0}' | 'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '/' | '-' => 0.4,
            'm' | 'w' | 'M' | 'W' | '@' | '%' => 0.96,
            'A'..='Z' => 0.7,
            '⁰'..='⁹' | '⁻' | '¹' | '²' | '³' => 0.42,
            '\u{300}'..='\u{36f}' => 0.0,
            '\u{1100}'..='\u{11ff}' | '\u{2e80}'..='\u{ffef}' | '\u{1f000}'.. => 1.05,
            'a'..='z' | '0'..='9' => 0.62,
            _ => 0.72,
        })
        .sum();
    em * size
}

/// What is written of each, one after the other.
pub(crate) fn concat<T>(items: impl IntoIterator<Item = T>, write: impl Fn(T) -> String) -> String {
    let mut text = String::new();
    for item in items {
        text.push_str(&write(item));
    }
    text
}

/// Text that fits a width, with an ellipsis where it was cut.
pub(crate) fn fitted(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut used = width("…", size);
    for letter in text.chars() {
        used += width(letter.encode_utf8(&mut [0; 4]), size);
        if used > room {
            break;
        }
        cut.push(letter);
    }
    cut.truncate(cut.trim_end().len());
    cut.push('…');
    cut
}

/// Text broken at spaces into at most so many lines; the last is cut where it doesn't fit.
pub(crate) fn wrapped(text: &str, size: f64, room: f64, lines: usize) -> Vec<String> {
    let mut done: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
        if line.is_empty() || width(&longer, size) <= room {
            line = longer;
        } else if done.len() + 1 < lines {
            done.push(fitted(&line, size, room));
            word.clone_into(&mut line);
        } else {
            // A rest that is far too long needs not be joined to be cut.
            let rest: Vec<&str> = words.by_ref().take(200).collect();
            line = format!("{longer} {}", rest.join(" "));
            break;
        }
    }
    if !line.is_empty() {
        done.push(fitted(line.trim_end(), size, room));
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_fits_and_says_so() {
        assert_eq!(fitted("short", 12.0, 100.0), "short");
        let cut = fitted("a label that is far too long for its place", 12.0, 100.0);
        assert!(cut.ends_with('…') && width(&cut, 12.0) <= 100.0, "{cut}");
        assert_eq!(fitted("anything", 12.0, 0.0), "…");
    }

    #[test]
    fn words_are_kept_until_the_last_line() {
        let lines = wrapped("one two three four five six seven", 12.0, 80.0, 2);
        assert_eq!(lines.len(), 2);
        assert!(lines[1].ends_with('…'), "{lines:?}");
        assert_eq!(wrapped("one two", 12.0, 500.0, 2), ["one two"]);
        assert!(wrapped("", 12.0, 80.0, 2).is_empty());
    }
}
