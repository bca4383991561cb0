//! Dates as Python's `datetime.strftime` writes them, in the C locale and without a time zone.

use chrono::NaiveDateTime;
use std::fmt::Write as _;

/// Directives of Python and glibc that chrono writes alike.
const DIRECTIVES: &str = "aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyY";

/// `datetime.strftime(format)`; a directive that there isn't stays as it is.
pub(super) fn strftime(date: NaiveDateTime, format: &str) -> String {
    let mut text = String::new();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        // glibc's flags: no padding, spaces, zeros.
        let flag = after.chars().next().filter(|flag| "-_0".contains(*flag));
        let directive = after.chars().nth(usize::from(flag.is_some()));
        let len = flag.map_or(0, char::len_utf8) + directive.map_or(0, char::len_utf8);
        rest = &after[len..];
        match directive {
            Some('%') => text.push('%'),
            // Microseconds, where chrono has nanoseconds.
            Some('f') => text.push_str("000000"),
            // Python's time of day has no zone.
            Some('z' | 'Z') => {}
            Some(known) if DIRECTIVES.contains(known) => {
                let one = format!("%{}{known}", flag.map_or_else(String::new, String::from));
                // The directive stays where chrono doesn't know it with this flag.
                let len = text.len();
                if write!(text, "{}", date.format(&one)).is_err() {
                    text.truncate(len);
                    text.push_str(&one);
                }
            }
            _ => {
                text.push('%');
                text.push_str(&after[..len]);
            }
        }
    }
    text + rest
}
