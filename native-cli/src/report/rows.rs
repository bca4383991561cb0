//! Rows of an evaluation as sections: losses by variant and k.

use super::words::{arm, capitalised, style};
use crate::measure::PER_TOKEN;
use crate::results::{EvalFile, ORIGINAL, ResultRow};
use crate::table::{distinct, find};
use codingspot_core::corpus::CODE_LANGUAGES;
use codingspot_plot::number::{fixed, signed, thousands};
use codingspot_plot::{Axis, Block, Cell, LineChart, Point, Section, Series, Table};

/// 97.5 % quantile of the normal distribution: ends of a 95 % interval in standard errors.
const Z: f64 = 1.96;

/// The losses of one evaluation.
pub(super) fn sections(name: &str, file: &EvalFile) -> Vec<Section> {
    let rows: Vec<ResultRow> =
        file.results.iter().filter(|row| row.task == "nll" && row.metric == PER_TOKEN).cloned().collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let mut blocks = Vec::new();
    if rows.iter().any(|row| row.k > 0.0) {
        blocks.push(Block::figure(
            format!("eval-{name}"),
            chart(&rows, "Loss of code by share removed"),
            sentence(&rows),
        ));
    }
    for variant in distinct(&rows, |row| row.variant.clone()) {
        if variant != ORIGINAL || !rows.iter().any(|row| row.k > 0.0) {
            blocks.push(Block::Table(table(&rows, &variant)));
        }
    }
    blocks.push(settings(file));
    vec![Section::new(format!("eval-section-{name}"), format!("Losses of {name}"), blocks)]
}

/// Settings of an evaluation, which unfold.
pub(super) fn settings(file: &EvalFile) -> Block {
    let facts = file.config.as_object().into_iter().flatten();
    let facts = facts
        .filter(|(_, value)| !value.is_object())
        .map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    Block::Details { summary: "Settings".to_owned(), blocks: vec![Block::Facts(facts.collect())] }
}

/// Subsets that are code: those of the ten, or all if there are none.
fn code(rows: &[ResultRow]) -> Vec<String> {
    let all = distinct(rows, |row| row.subset.clone());
    let code: Vec<String> =
        all.iter().filter(|name| CODE_LANGUAGES.contains(&name.as_str())).cloned().collect();
    if code.is_empty() { all } else { code }
}

/// Mean over subsets of a variant at k, with half the width of its 95 % interval from the standard errors
/// of the subsets; `None` where one is missing.
pub(super) fn mean(rows: &[ResultRow], subsets: &[String], variant: &str, k: f64) -> Option<(f64, f64)> {
    let variant = if k > 0.0 { variant } else { ORIGINAL };
    let found: Option<Vec<(f64, f64)>> = subsets
        .iter()
        .map(|subset| {
            let row = find(rows, subset, variant, k)?;
            Some((row.value?, row.stderr.unwrap_or(0.0)))
        })
        .collect();
    let found = found.filter(|found| !found.is_empty())?;
    let n = found.len() as f64;
    let squares: f64 = found.iter().map(|(_, stderr)| stderr * stderr).sum();
    Some((found.iter().map(|(value, _)| value).sum::<f64>() / n, Z * squares.sqrt() / n))
}

/// Mean loss of code by k, a line each variant, and of what is not code, a line each for the spot.
pub(super) fn chart(rows: &[ResultRow], title: &str) -> LineChart {
    let code = code(rows);
    let mut ks: Vec<f64> = distinct(rows, |row| row.k.to_bits()).into_iter().map(f64::from_bits).collect();
    ks.retain(|&k| k > 0.0);
    ks.sort_by(f64::total_cmp);
    let line = |subsets: &[String], variant: &str| -> Vec<Point> {
        ks.iter()
            .map(|&k| match mean(rows, subsets, variant, k) {
                Some((value, half)) => Point::with_interval(k, value, value - half, value + half),
                None => Point::gap(k),
            })
            .collect()
    };
    let mut series: Vec<Series> = distinct(rows, |row| row.variant.clone())
        .into_iter()
        .filter(|variant| variant != ORIGINAL)
        .map(|variant| {
            Series::new(format!("code, {}", arm(&variant, "English")), style(&variant), line(&code, &variant))
        })
        .collect();
    let others: Vec<String> =
        distinct(rows, |row| row.subset.clone()).into_iter().filter(|name| !code.contains(name)).collect();
    for (place, other) in (0_u8..).zip(&others) {
        let look = if other == "english" {
            codingspot_plot::SeriesStyle::General
        } else {
            codingspot_plot::SeriesStyle::Other(place)
        };
        series.push(Series::new(
            format!("{}, coding spot", capitalised(other)),
            look,
            line(std::slice::from_ref(other), "spot"),
        ));
    }
    let mut marks = Vec::new();
    if let Some((value, _)) = mean(rows, &code, ORIGINAL, 0.0) {
        marks.push(codingspot_plot::Mark::horizontal(value, "code, original"));
    }
    LineChart {
        title: title.to_owned(),
        x: Axis::new("Share of the scope set to zero", "%").log().with_ticks(ks.clone()),
        y: Axis::new("Loss", "nats per token").with_decimals(2),
        series,
        marks,
    }
}

/// What the largest k did.
fn sentence(rows: &[ResultRow]) -> String {
    let code = code(rows);
    let k = rows.iter().map(|row| row.k).fold(0.0, f64::max);
    let before = mean(rows, &code, ORIGINAL, 0.0).map(|(value, _)| value);
    let parts: Vec<String> = distinct(rows, |row| row.variant.clone())
        .into_iter()
        .filter(|variant| variant != ORIGINAL)
        .map(|variant| {
            let name = arm(&variant, "English");
            match mean(rows, &code, &variant, k).zip(before) {
                Some(((value, half), before)) => {
                    format!("{name} {} ± {} nats", signed(value - before, 2), fixed(half, 2))
                }
                None => format!("{name} an overflow"),
            }
        })
        .collect();
    format!("At k = {k} % the mean loss of code changes by: {}.", parts.join("; "))
}

/// Losses of one variant: a row a subset, a column a k.
pub(super) fn table(rows: &[ResultRow], variant: &str) -> Table {
    let mut ks: Vec<(f64, u64)> = distinct(rows, |row| {
        (row.variant == variant && row.k > 0.0).then_some((row.k.to_bits(), row.ablated_parameters))
    })
    .into_iter()
    .flatten()
    .map(|(k, count)| (f64::from_bits(k), count))
    .collect();
    ks.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut head = vec!["language".to_owned(), "original".to_owned()];
    head.extend(ks.iter().map(|(k, count)| format!("{k} % ({})", thousands(*count))));
    let cell = |row: Option<&ResultRow>| match row {
        None => Cell::Empty,
        Some(ResultRow { value: None, .. }) => Cell::label("overflow"),
        Some(ResultRow { value: Some(value), stderr: Some(stderr), .. }) => {
            Cell::interval(*value, value - Z * stderr, value + Z * stderr, 3)
        }
        Some(ResultRow { value: Some(value), .. }) => Cell::fixed(*value, 3),
    };
    let body = distinct(rows, |row| row.subset.clone())
        .into_iter()
        .map(|subset| {
            let mut line = vec![Cell::head(&subset), cell(find(rows, &subset, ORIGINAL, 0.0))];
            line.extend(ks.iter().map(|(k, _)| cell(find(rows, &subset, variant, *k))));
            line
        })
        .collect();
    let what = if variant == ORIGINAL { "as it is".to_owned() } else { arm(variant, "English") };
    Table::new(format!("Loss, {what}: nats per token with 95 % intervals"), head, body)
}
