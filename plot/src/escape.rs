//! Text from anywhere made safe inside markup, attributes and scripts.

/// Text as the content of an element or of a quoted attribute, for HTML and XML alike.
///
/// Control characters, which XML can't hold in any form, become U+FFFD.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + text.len() / 8);
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\t' | '\n' => safe.push(letter),
            // A parser would turn it into a newline.
            '\r' => safe.push_str("&#13;"),
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            _ => safe.push(letter),
        }
    }
    safe
}

/// An id made of letters, digits, `-` and `_` that begins with a letter.
///
/// Other characters become `-`, so two texts may give one id. Ids within a chart add a point and a word to
/// its own, so none of them is one that this makes.
pub fn safe_id(text: &str) -> String {
    let mut id: String = text
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || letter == '_' { letter } else { '-' })
        .collect();
    if !id.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
        id.insert_str(0, "c-");
    }
    id
}

/// JSON as the content of a script element: nothing in it can end the element or open a comment,
/// and it's the same JSON.
pub(crate) fn script_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len() + json.len() / 16);
    for letter in json.chars() {
        match letter {
            '<' => safe.push_str("\\u003c"),
            '>' => safe.push_str("\\u003e"),
            '&' => safe.push_str("\\u0026"),
            // Only strings hold these, where an escape says the same.
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}' => {
                safe.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            _ => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_becomes_text() {
        assert_eq!(
            escape("<img src=\"x\" alt='&'>\u{0}"),
            "&lt;img src=&quot;x&quot; alt=&#39;&amp;&#39;&gt;\u{fffd}"
        );
    }

    #[test]
    fn ids_are_plain() {
        assert_eq!(safe_id("dose response/2"), "dose-response-2");
        assert_eq!(safe_id("\"><script>"), "c----script-");
        assert_eq!(safe_id(""), "c-");
    }

    #[test]
    fn no_json_ends_its_script() {
        let hostile = "</script><!-- <script> ]]> & \u{2028} \u{80}";
        let safe = script_json(&serde_json::to_string(hostile).unwrap());
        assert!(!safe.contains(['<', '>', '&', '\u{2028}']));
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), hostile);
    }
}
