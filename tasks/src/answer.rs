//! Answers in generated texts of GSM8K (`lm_eval/tasks/gsm8k/gsm8k.yaml`, `lm_eval/filters/extraction.py`,
//! `lm_eval/api/metrics.py`).

/// What an answer is read as where there is none.
pub const INVALID: &str = "[invalid]";

/// The filter `strict-match`: the first `#### (\-?[0-9\.\,]+)`.
pub fn strict(text: &str) -> &str {
    let mut rest = text;
    while let Some(at) = rest.find("#### ") {
        let number = &rest[at + 5..];
        let digits = number.strip_prefix('-').unwrap_or(number);
        let len = digits.bytes().take_while(|byte| matches!(byte, b'0'..=b'9' | b'.' | b',')).count();
        if len > 0 {
            return &number[..number.len() - digits.len() + len];
        }
        // A match could begin at the next hash sign.
        rest = &rest[at + 1..];
    }
    INVALID
}

/// The filter `flexible-extract`: the last `(-?[$0-9.,]{2,})|(-?[0-9]+)`.
pub fn flexible(text: &str) -> &str {
    let bytes = text.as_bytes();
    let mut found = INVALID;
    let mut at = 0;
    while at < bytes.len() {
        let minus = usize::from(bytes[at] == b'-');
        let run = |kind: fn(&u8) -> bool| bytes[at + minus..].iter().take_while(|byte| kind(byte)).count();
        let long = run(|byte| matches!(byte, b'$' | b'0'..=b'9' | b'.' | b','));
        // The first form wants two characters; what it leaves are single digits.
        let len = if long >= 2 { long } else { run(u8::is_ascii_digit) };
        if len > 0 {
            found = &text[at..at + minus + len];
        }
        at += if len > 0 { minus + len } else { 1 };
    }
    found
}

/// The metric `exact_match` as GSM8K has it: equal once both sides are rid of, in order, commas, dollar signs,
/// all up to the last `#### ` and a full stop at the end, in lower case.
pub fn exact_match(prediction: &str, target: &str) -> bool {
    normal(prediction) == normal(target)
}

fn normal(text: &str) -> String {
    let text = text.replace([',', '$'], "");
    // (?s).*####␠
    let text = text.rsplit_once("#### ").map_or(&*text, |(_, tail)| tail);
    // \.$ also matches before a line break that ends the text.
    let text = match text.strip_suffix('\n') {
        Some(line) if line.ends_with('.') => line[..line.len() - 1].to_owned() + "\n",
        _ => text.strip_suffix('.').unwrap_or(text).to_owned(),
    };
    // As numpy compares: without zeros at the end.
    text.to_lowercase().trim_end_matches('\0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The right sides are what the harness' regexes find in Python; `tests/python.rs` compares more.
    #[test]
    fn strict_takes_the_first_marked_number() {
        for (text, expected) in [
            ("So 3.\n#### 1,234.", "1,234."),
            ("#### -5 #### 6", "-5"),
            ("#### x #### 7", "7"),
            ("##### 8", "8"),
            ("#### #### 9", "9"),
            ("#### $9", INVALID),
            ("####9", INVALID),
            ("#### -", INVALID),
            ("", INVALID),
        ] {
            assert_eq!(strict(text), expected, "{text:?}");
        }
    }

    #[test]
    fn flexible_takes_the_last_number() {
        for (text, expected) in [
            ("1 and 2", "2"),
            ("It is $1,234.50.", "$1,234.50."),
            ("a - b 7 .", "7"),
            ("x-3", "-3"),
            ("--$5", "-$5"),
            ("ends in ...", "..."),
            ("5 -.", "5"),
            ("é7é", "7"),
            ("none", INVALID),
            ("", INVALID),
        ] {
            assert_eq!(flexible(text), expected, "{text:?}");
        }
    }

    #[test]
    fn answers_match_as_in_the_harness() {
        for (prediction, target, expected) in [
            ("1,234.", "She pays $5.\n#### 1234", true),
            ("$18", "#### 18", true),
            ("18.0", "#### 18", false),
            ("[invalid]", "#### 18", false),
            ("18.\n", "18\n", true),
            ("18..", "18.", false),
            ("A", "#### a", true),
            ("1", "#### 2 #### 1", true),
        ] {
            assert_eq!(exact_match(prediction, target), expected, "{prediction:?} {target:?}");
        }
    }
}
