//! Results as tables for a terminal.

use crate::output::grouped;
use crate::results::{ORIGINAL, ResultRow};
use crate::study::{CompletionFindings, FormFinding, Study};
use std::fmt::Write as _;

/// Values of `key` in order of first appearance.
pub(crate) fn distinct<'a, T: PartialEq>(rows: &'a [ResultRow], key: impl Fn(&'a ResultRow) -> T) -> Vec<T> {
    let mut seen = Vec::new();
    for row in rows {
        let value = key(row);
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

/// The row of a subset, variant and k.
pub(crate) fn find<'a>(rows: &'a [ResultRow], subset: &str, variant: &str, k: f64) -> Option<&'a ResultRow> {
    rows.iter().find(|row| row.subset == subset && row.variant == variant && row.k.to_bits() == k.to_bits())
}

/// A loss for people: four significant digits at most; an overflow is named.
pub(crate) fn loss(row: Option<&ResultRow>) -> String {
    match row {
        None => "-".to_owned(),
        Some(row) => row.value.map_or("overflow".to_owned(), |value| format!("{value:.3}")),
    }
}

/// One table a variant: a row a language, a column a k; loss in nats per `unit`, token or character.
pub(crate) fn nll_by_variant(rows: &[ResultRow], unit: &str) -> String {
    let subsets = distinct(rows, |row| row.subset.as_str());
    let variants = distinct(rows, |row| row.variant.as_str());
    let arms: Vec<&str> = variants.iter().copied().filter(|variant| *variant != ORIGINAL).collect();
    let mut text = String::new();
    let shown = if arms.is_empty() { vec![ORIGINAL] } else { arms };
    for variant in shown {
        let ks: Vec<(f64, u64)> = distinct(rows, |row| {
            (row.variant == variant && row.k > 0.0).then_some((row.k, row.ablated_parameters))
        })
        .into_iter()
        .flatten()
        .collect();
        let title = if variant == ORIGINAL { String::new() } else { format!("{variant}: ") };
        write_line(&mut text, &format!("{title}loss in nats per {unit} (lower is better)"));
        let mut header = format!("{:<12} {:>10}", "k, %", "0");
        let mut counts = format!("{:<12} {:>10}", "parameters", "0");
        for (k, count) in &ks {
            header += &format!(" {k:>10}");
            counts += &format!(" {:>10}", grouped(*count));
        }
        write_line(&mut text, &header);
        write_line(&mut text, &counts);
        for subset in &subsets {
            let mut line = format!("{subset:<12} {:>10}", loss(find(rows, subset, ORIGINAL, 0.0)));
            for (k, _) in &ks {
                line += &format!(" {:>10}", loss(find(rows, subset, variant, *k)));
            }
            write_line(&mut text, &line);
        }
        text.push('\n');
    }
    text
}

fn write_line(text: &mut String, line: &str) {
    writeln!(text, "{}", line.trim_end()).expect("a String takes every line");
}

/// Spot and matched random control side by side, `spot / random` in each cell; loss in nats per
/// token. `norms` counts the gains of norms in the spot at each of `ks`.
pub(crate) fn spot_and_random(rows: &[ResultRow], norms: &[u64], ks: &[f64]) -> String {
    let random = distinct(rows, |row| row.variant.as_str()).into_iter().find(|v| v.starts_with("random"));
    let random = random.unwrap_or(ORIGINAL);
    let above_zero: Vec<f64> = ks.iter().copied().filter(|&k| k > 0.0).collect();
    let mut text = String::from(
        "Loss in nats per token on held-out text: spot removed / as many random parameters removed\n",
    );
    let mut header = format!("{:<12} {:>8}", "k, %", "0");
    let mut counts = format!("{:<12} {:>8}", "parameters", "0");
    let mut gains = format!("{:<12} {:>8}", "norm gains", "0");
    for &k in &above_zero {
        header += &format!(" {k:>15}");
        let count =
            rows.iter().find(|row| row.k.to_bits() == k.to_bits()).map_or(0, |row| row.ablated_parameters);
        counts += &format!(" {:>15}", grouped(count));
    }
    for count in norms.iter().skip(ks.len() - above_zero.len()) {
        gains += &format!(" {:>15}", grouped(*count));
    }
    write_line(&mut text, &header);
    write_line(&mut text, &counts);
    write_line(&mut text, &gains);
    for subset in distinct(rows, |row| row.subset.as_str()) {
        let mut line = format!("{subset:<12} {:>8}", loss(find(rows, subset, ORIGINAL, 0.0)));
        for &k in &above_zero {
            let pair =
                format!("{} / {}", loss(find(rows, subset, "spot", k)), loss(find(rows, subset, random, k)));
            line += &format!(" {pair:>15}");
        }
        write_line(&mut text, &line);
    }
    text
}

/// The first table of a study: rises of losses at the paper's k.
pub(crate) fn study(study: &Study) -> String {
    let general = &study.settings.general;
    let mut text = String::new();
    for scope in &study.scopes {
        write_line(
            &mut text,
            &format!(
                "Scope {} ({} parameters): rise of the loss in nats per token [95 % interval]",
                scope.scope.name(),
                grouped(scope.parameters)
            ),
        );
        let columns = [
            ("code, spot", "spot", true),
            ("code, random", "random", true),
            ("code, largest weights", "magnitude", true),
            ("code, general spot", "general", true),
            ("general, spot", "spot", false),
        ];
        let mut header = format!("{:>8} {:>10} {:>7}", "k, %", "parameters", "norms");
        for (name, ..) in columns {
            header += &format!(" {name:>23}");
        }
        write_line(&mut text, &header);
        let mut counts: Vec<u64> = scope.verdicts.iter().map(|verdict| verdict.count).collect();
        counts.dedup();
        for count in counts {
            let point = |arm: &str| {
                let curve = scope.curves.iter().find(|curve| curve.arm == arm)?;
                curve.points.iter().find(|point| point.count == count)
            };
            let Some(spot) = point("spot") else { continue };
            let mut line = format!("{:>8.4} {:>10} {:>7}", spot.k, grouped(count), grouped(spot.norms));
            for (_, arm, code) in columns {
                let found = point(arm).and_then(|point| if code { point.code } else { point.general });
                let cell = found.map_or("overflow".to_owned(), |found| {
                    format!("{:+.3} [{:+.3}, {:+.3}]", found.value, found.low, found.high)
                });
                line += &format!(" {cell:>23}");
            }
            write_line(&mut text, &line);
        }
        text.push('\n');
    }
    if let Some(completions) = &study.completions {
        text += &parsing(completions, study);
    }
    write_line(&mut text, &format!("general: {general}; norms: gains of norms among the spot's parameters"));
    text
}

/// Shares of completions that parse, of all scored languages together.
fn parsing(found: &CompletionFindings, study: &Study) -> String {
    let cell = |form: Option<&FormFinding>| {
        let share = form.and_then(|form| form.code).map(|code| code.parsing);
        share.map_or("-".to_owned(), |share| {
            format!("{:.0} [{:.0}, {:.0}]", 100.0 * share.value, 100.0 * share.low, 100.0 * share.high)
        })
    };
    let original = found.forms.iter().find(|form| form.scope.is_none());
    let Some(code) = original.and_then(|form| form.code) else { return String::new() };
    let mut text = String::new();
    write_line(
        &mut text,
        &format!(
            "Completions of code that parse, percent [95 % interval] of {}; the original's {}",
            grouped(code.prompts),
            cell(original)
        ),
    );
    let columns = [
        ("without spot", "spot"),
        ("without random", "random:1"),
        ("without largest weights", "magnitude"),
        ("without spot less general", "minus-general"),
    ];
    let mut header = format!("{:<9} {:>8} {:>10}", "scope", "k, %", "parameters");
    for (name, _) in columns {
        header += &format!(" {name:>25}");
    }
    write_line(&mut text, &header);
    for scope in study.scopes.iter().map(|scope| scope.scope) {
        let of_scope = |arm: &'static str| {
            found.forms.iter().filter(move |form| form.scope == Some(scope) && form.arm == arm)
        };
        for spot in of_scope("spot") {
            let mut line = format!("{:<9} {:>8.4} {:>10}", scope.name(), spot.k, grouped(spot.count));
            for (_, arm) in columns {
                let form = of_scope(arm).find(|form| form.count == spot.count);
                line += &format!(" {:>25}", cell(form));
            }
            write_line(&mut text, &line);
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_row_a_language_and_a_column_a_k() {
        let row = |subset: &str, variant: &str, k: f64, value: Option<f64>| ResultRow {
            task: "nll".into(),
            subset: subset.into(),
            variant: variant.into(),
            k,
            ablated_parameters: 7,
            metric: "nats_per_token".into(),
            value,
            stderr: None,
            n: 1,
            tokens: 1,
            ..ResultRow::default()
        };
        let rows = [
            row("rust", ORIGINAL, 0.0, Some(1.5)),
            row("go", ORIGINAL, 0.0, Some(2.5)),
            row("rust", "spot", 0.25, Some(9.125)),
            row("go", "spot", 0.25, None),
            row("rust", "random:1", 0.25, Some(1.625)),
            row("go", "random:1", 0.25, Some(2.625)),
        ];
        let text = spot_and_random(&rows, &[0, 3], &[0.0, 0.25]);
        assert!(text.contains("9.125 / 1.625") && text.contains("overflow / 2.625"), "{text}");
        assert_eq!(text.lines().count(), 6);
        let text = nll_by_variant(&rows, "token");
        assert!(text.contains("spot: loss") && text.contains("random:1: loss"), "{text}");
    }
}
