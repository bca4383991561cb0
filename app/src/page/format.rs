//! Numbers as people read them.

/// A count with its thousands apart: `80,319`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 parameter`, `80,319 parameters`.
pub fn parameters(value: u64) -> String {
    counted(value, "parameter")
}

/// `1 token`, `48 tokens`.
pub fn tokens(value: u64) -> String {
    counted(value, "token")
}

fn counted(value: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(value), if value == 1 { "" } else { "s" })
}

/// Bytes in decimal units: `3.1 MB`, `812 MB`, `2.47 GB`.
pub fn bytes(value: u64) -> String {
    let value = value as f64;
    if value >= 1e9 {
        format!("{:.2} GB", value / 1e9)
    } else if value >= 99.95e6 {
        format!("{:.0} MB", value / 1e6)
    } else if value >= 0.1e6 {
        format!("{:.1} MB", value / 1e6)
    } else {
        format!("{:.0} kB", value / 1e3)
    }
}

/// Bytes per second: `12 MB/s`, `0.4 MB/s`.
pub fn rate(bytes_per_s: f64) -> String {
    let megabytes = bytes_per_s / 1e6;
    if megabytes >= 10.0 { format!("{megabytes:.0} MB/s") } else { format!("{megabytes:.1} MB/s") }
}

/// A share in percent, two digits that count: `0.0025 %`.
pub fn percent(value: f64) -> String {
    if value <= 0.0 {
        return "0 %".to_owned();
    }
    // The first digit that counts is at 10^magnitude.
    let magnitude = value.log10().floor();
    let decimals = (1.0 - magnitude).clamp(0.0, 12.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 12")]
    let text = format!("{value:.*}", decimals as usize);
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} %")
}

/// With a capital letter and a full stop.
pub fn capitalized(sentence: &str) -> String {
    let mut letters = sentence.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let end = if sentence.ends_with('.') { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

/// Time that is left: `about 44 s left`, `about 2 min left`.
pub fn time_left(seconds: f64) -> String {
    if seconds < 90.0 {
        format!("about {:.0} s left", seconds.max(1.0))
    } else {
        format!("about {:.0} min left", seconds / 60.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_their_thousands_apart() {
        assert_eq!(
            [0, 999, 1_000, 80_319, 3_212_749_824].map(count),
            ["0", "999", "1,000", "80,319", "3,212,749,824"]
        );
        assert_eq!(parameters(1), "1 parameter");
        assert_eq!(tokens(48), "48 tokens");
    }

    #[test]
    fn bytes_take_the_unit_that_fits() {
        let texts = [258_300, 3_100_000, 10_809_704, 812_000_000, 2_471_645_608].map(bytes);
        assert_eq!(texts, ["0.3 MB", "3.1 MB", "10.8 MB", "812 MB", "2.47 GB"]);
        assert_eq!(bytes(512), "1 kB");
        assert_eq!([rate(12.4e6), rate(0.44e6)], ["12 MB/s", "0.4 MB/s"]);
    }

    #[test]
    fn percents_have_two_digits_that_count() {
        let texts = [0.0, 0.002_499, 0.01, 0.09, 0.25, 0.000_018_6, 12.0].map(percent);
        assert_eq!(texts, ["0 %", "0.0025 %", "0.01 %", "0.09 %", "0.25 %", "0.000019 %", "12 %"]);
    }

    #[test]
    fn sentences_have_a_beginning_and_an_end() {
        assert_eq!(capitalized("it is bad"), "It is bad.");
        assert_eq!(capitalized("It is."), "It is.");
    }

    #[test]
    fn time_left_is_never_nothing() {
        assert_eq!(
            [time_left(0.2), time_left(44.4), time_left(130.0)],
            ["about 1 s left", "about 44 s left", "about 2 min left"]
        );
    }
}
