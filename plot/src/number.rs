//! Numbers as people read them: groups of thousands, significant digits, a real minus sign.

/// The sign of negative numbers; a hyphen is too short and breaks lines.
pub const MINUS: char = '\u{2212}';
/// What stands for a number that is missing or not a number.
pub const MISSING: &str = "–";

/// A count in groups of three digits: `80,319`.
pub fn thousands(count: u64) -> String {
    grouped(&count.to_string())
}

/// A count in few letters: `950`, `80.3 k`, `3.21 M`, `1.24 G`.
pub fn short_count(count: u64) -> String {
    let value = count as f64;
    for (size, letter) in [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")] {
        // 999.96 k is 1 M once rounded to three digits.
        if value >= size * 0.9995 {
            return format!("{}\u{a0}{letter}", significant(value / size, 3));
        }
    }
    count.to_string()
}

/// A number with so many places after the point: `−1,234.50`.
pub fn fixed(value: f64, places: usize) -> String {
    if !value.is_finite() {
        return not_finite(value);
    }
    let digits = format!("{:.*}", places.min(20), value.abs());
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    let point = if fraction.is_empty() { "" } else { "." };
    // What rounds to zero has no sign.
    let sign = if value < 0.0 && digits.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) {
        MINUS.to_string()
    } else {
        String::new()
    };
    format!("{sign}{}{point}{fraction}", grouped(whole))
}

/// A number with a sign whatever it is, but for zero: `+0.52`, `−0.31`, `0.00`.
pub fn signed(value: f64, places: usize) -> String {
    let text = fixed(value, places);
    let zero = !text.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
    if value > 0.0 && (!zero || value.is_infinite()) { format!("+{text}") } else { text }
}

/// A number with so many significant digits and no zeros after them: `0.0001`, `4.31`, `1.5 × 10⁻⁸`.
/// Digits before the point are never rounded away below 10¹².
pub fn significant(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return not_finite(value);
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = digits.clamp(1, 17);
    // Formatting rounds first, so 9.99 with two digits has the exponent of 10.
    let scientific = format!("{:.*e}", digits - 1, value.abs());
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-7..12).contains(&exponent) {
        let places = i32::try_from(digits).unwrap_or(17) - 1 - exponent;
        return trimmed(&fixed(value, usize::try_from(places).unwrap_or(0)));
    }
    let sign = if value < 0.0 { MINUS.to_string() } else { String::new() };
    match trimmed(mantissa).as_str() {
        "1" => format!("{sign}10{}", superscript(exponent)),
        mantissa => format!("{sign}{mantissa}\u{a0}×\u{a0}10{}", superscript(exponent)),
    }
}

/// A share as percent with significant digits: `percent(0.0025, 3)` is `0.25 %`.
pub fn percent(share: f64, digits: usize) -> String {
    format!("{}\u{a0}%", significant(share * 100.0, digits))
}

/// A value and its interval: `4.31 [4.10, 4.52]`; without a whole interval the value alone.
pub fn interval(value: f64, low: Option<f64>, high: Option<f64>, places: usize) -> String {
    with_interval(value, low, high, |number| fixed(number, places))
}

/// A value and its interval, each written by `write`.
pub(crate) fn with_interval(
    value: f64,
    low: Option<f64>,
    high: Option<f64>,
    write: impl Fn(f64) -> String,
) -> String {
    match (low, high) {
        (Some(low), Some(high)) if low.is_finite() && high.is_finite() => {
            format!("{} [{}, {}]", write(value), write(low), write(high))
        }
        _ => write(value),
    }
}

/// A power of ten in raised digits.
pub(crate) fn superscript(exponent: i32) -> String {
    exponent
        .to_string()
        .chars()
        .map(|letter| match letter {
            '-' => '⁻',
            '0' => '⁰',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            '4' => '⁴',
            '5' => '⁵',
            '6' => '⁶',
            '7' => '⁷',
            '8' => '⁸',
            _ => '⁹',
        })
        .collect()
}

fn not_finite(value: f64) -> String {
    if value.is_nan() {
        MISSING.to_owned()
    } else if value > 0.0 {
        "∞".to_owned()
    } else {
        format!("{MINUS}∞")
    }
}

fn trimmed(text: &str) -> String {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text.to_owned()
    }
}

/// Digits with a comma before every third from the end.
fn grouped(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Reading and writing of numbers that may not be finite. JSON has no such numbers: they are written
/// as null and come back as NaN.
pub(crate) mod json {
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(*value)
    }

    pub(crate) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
    }

    /// A number within a list or a pair.
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Lenient(#[serde(deserialize_with = "deserialize")] f64);

    pub(crate) fn list<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Option<Vec<f64>>, D::Error> {
        let list = Option::<Vec<Lenient>>::deserialize(deserializer)?;
        Ok(list.map(|list| list.into_iter().map(|number| number.0).collect()))
    }

    pub(crate) fn pair<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Option<(f64, f64)>, D::Error> {
        let pair = Option::<(Lenient, Lenient)>::deserialize(deserializer)?;
        Ok(pair.map(|(low, high)| (low.0, high.0)))
    }

    pub(crate) fn labelled<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Vec<(f64, String)>, D::Error> {
        let list = Vec::<(Lenient, String)>::deserialize(deserializer)?;
        Ok(list.into_iter().map(|(number, label)| (number.0, label)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(80_319), "80,319");
        assert_eq!(thousands(u64::MAX), "18,446,744,073,709,551,615");
        assert_eq!(short_count(950), "950");
        assert_eq!(short_count(80_319), "80.3\u{a0}k");
        assert_eq!(short_count(999_960), "1\u{a0}M");
        assert_eq!(short_count(3_212_749_824), "3.21\u{a0}G");
        assert_eq!(fixed(-1234.5, 2), "−1,234.50");
        assert_eq!(fixed(-0.001, 2), "0.00");
        assert_eq!(fixed(f64::NAN, 2), "–");
        assert_eq!(fixed(f64::NEG_INFINITY, 2), "−∞");
        assert_eq!(signed(0.52, 2), "+0.52");
        assert_eq!(signed(-0.31, 2), "−0.31");
        assert_eq!(signed(0.001, 2), "0.00");
        assert_eq!(signed(-0.0, 2), "0.00");
        assert_eq!(significant(0.0001, 3), "0.0001");
        assert_eq!(significant(9.99, 2), "10");
        assert_eq!(significant(80_319.4, 3), "80,319");
        assert_eq!(significant(1.5e-9, 3), "1.5\u{a0}×\u{a0}10⁻⁹");
        assert_eq!(significant(-1e20, 3), "−10²⁰");
        assert_eq!(significant(f64::MAX, 3), "1.8\u{a0}×\u{a0}10³⁰⁸");
        assert_eq!(significant(5e-324, 3), "4.94\u{a0}×\u{a0}10⁻³²⁴");
        assert_eq!(percent(0.0025, 3), "0.25\u{a0}%");
        assert_eq!(interval(4.31, Some(4.1), Some(4.52), 2), "4.31 [4.10, 4.52]");
        assert_eq!(interval(4.31, Some(f64::NAN), Some(4.52), 2), "4.31");
    }
}
