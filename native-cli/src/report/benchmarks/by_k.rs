//! Scores by k as charts: the spot's tasks, and its code and its general tasks beside its controls'.

use super::super::words::{arm, list, style};
use super::{Benchmarks, CODE, Quantity, SPOT, ends, percent_text, share};
use crate::results::ORIGINAL;
use codingspot_plot::number::fixed;
use codingspot_plot::{Axis, Block, LineChart, Mark, Point, Section, Series, SeriesStyle};

/// How variants of random controls begin.
const RANDOM: &str = "random:";

pub(super) fn section(benchmarks: &Benchmarks<'_>) -> Section {
    let figures = [tasks(benchmarks), code(benchmarks), general(benchmarks)];
    Section::new("by-k", "How scores fall with k", figures.into_iter().flatten().collect())
}

fn point(benchmarks: &Benchmarks<'_>, quantity: Quantity<'_>, variant: &str, k: f64) -> Point {
    let row = benchmarks.find(quantity, variant, k);
    match row.and_then(|row| row.value.map(|value| (100.0 * value, ends(row)))) {
        None => Point::gap(k),
        Some((value, Some([low, high]))) => Point::with_interval(k, value, 100.0 * low, 100.0 * high),
        Some((value, None)) => Point::new(k, value),
    }
}

fn above_zero(benchmarks: &Benchmarks<'_>, variant: &str) -> Vec<f64> {
    benchmarks.ks(variant).into_iter().filter(|&k| k > 0.0).collect()
}

/// All k above 0, ascending.
fn all_ks(benchmarks: &Benchmarks<'_>) -> Vec<f64> {
    let mut ks: Vec<f64> = benchmarks.forms.iter().map(|form| form.k).filter(|&k| k > 0.0).collect();
    ks.dedup_by(|a, b| a.to_bits() == b.to_bits());
    ks
}

fn chart(title: &str, ks: Vec<f64>, what: &str, series: Vec<Series>, marks: Vec<Mark>) -> LineChart {
    LineChart {
        title: title.to_owned(),
        x: Axis::new("Share of the scope set to zero", "%").log().with_ticks(ks),
        y: Axis::new(what, "%").with_decimals(1),
        series,
        marks,
    }
}

/// A line a task, of the spot.
fn tasks(benchmarks: &Benchmarks<'_>) -> Option<Block> {
    let ks = above_zero(benchmarks, SPOT);
    let last = *ks.last()?;
    if benchmarks.columns.len() < 2 {
        return None;
    }
    let mut place = 0;
    let lines = benchmarks.columns.iter().map(|(column, quantity)| {
        let look = if column.name == CODE {
            SeriesStyle::Spot
        } else {
            place += 1;
            SeriesStyle::Other(place - 1)
        };
        // Bands of six lines would hide each other; the table of scores has the intervals.
        let bare = |k: &f64| Point { low: None, high: None, ..point(benchmarks, *quantity, SPOT, *k) };
        Series::new(column.name, look, ks.iter().map(bare).collect())
    });
    let series = lines.collect();
    let falls: Vec<String> = benchmarks
        .columns
        .iter()
        .filter_map(|(column, quantity)| {
            let before = percent_text(benchmarks.find(*quantity, ORIGINAL, 0.0)?)?;
            let after = percent_text(benchmarks.find(*quantity, SPOT, last)?)?;
            Some(format!("{} from {before} to {after}", column.name))
        })
        .collect();
    let sentence = if falls.is_empty() {
        format!("At k = {} no task has a score both before and after.", share(last))
    } else {
        format!("From the original to k = {} of the coding spot: {}.", share(last), list(&falls))
    };
    let chart = chart("Scores without the coding spot, by share removed", ks, "Score", series, Vec::new());
    Some(Block::figure("scores-by-k", chart, sentence))
}

/// Lines of the ablated variants; random draws are one line, their mean, with the lowest and the highest as its band.
fn arms(benchmarks: &Benchmarks<'_>, of: impl Fn(&str, f64) -> Point) -> Vec<Series> {
    let arms = benchmarks.arms();
    let random: Vec<&str> = arms.iter().copied().filter(|arm| arm.starts_with(RANDOM)).collect();
    let mut series = Vec::new();
    for variant in &arms {
        let is_random = variant.starts_with(RANDOM) && random.len() > 1;
        if is_random && random.first() != Some(variant) {
            continue;
        }
        let ks = above_zero(benchmarks, variant);
        let (name, points): (String, Vec<Point>) = if is_random {
            let name = format!("mean of {} random draws", random.len());
            (name, ks.iter().map(|&k| mean(k, random.iter().map(|draw| of(draw, k)))).collect())
        } else {
            (arm(variant, "English"), ks.iter().map(|&k| of(variant, k)).collect())
        };
        series.push(Series::new(name, style(variant), points));
    }
    series
}

/// Mean of the points that are there, with the lowest and the highest.
fn mean(k: f64, points: impl Iterator<Item = Point>) -> Point {
    let values: Vec<f64> = points.filter_map(|point| point.y).collect();
    if values.is_empty() {
        return Point::gap(k);
    }
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Point::with_interval(k, values.iter().sum::<f64>() / values.len() as f64, low, high)
}

/// What the lines are at the largest k that all of them have.
fn sentence(series: &[Series], original: Option<f64>) -> String {
    let at = |series: &Series, k: f64| {
        series.points.iter().find(|point| point.x.to_bits() == k.to_bits()).and_then(|point| point.y)
    };
    let mut ks: Vec<f64> = series.iter().flat_map(|series| &series.points).map(|point| point.x).collect();
    ks.sort_by(f64::total_cmp);
    let shared = ks.into_iter().rev().find(|&k| series.iter().all(|series| at(series, k).is_some()));
    let Some(k) = shared else { return "The forms share no k at which all have a score.".to_owned() };
    let values: Vec<String> = series
        .iter()
        .filter_map(|series| Some(format!("{} {}\u{a0}%", series.name, fixed(at(series, k)?, 1))))
        .collect();
    let original =
        original.map_or(String::new(), |value| format!("; the original {}\u{a0}%", fixed(value, 1)));
    let band = if series.iter().any(|series| series.name.starts_with("mean of")) {
        " The band of the random draws is from the lowest to the highest of them."
    } else {
        ""
    };
    format!("At k = {}: {}{original}.{band}", share(k), list(&values))
}

fn beside_controls(
    benchmarks: &Benchmarks<'_>,
    (id, title, what): (&str, &str, &str),
    original: Option<f64>,
    of: impl Fn(&str, f64) -> Point,
) -> Option<Block> {
    let series = arms(benchmarks, of);
    if !series.iter().flat_map(|series| &series.points).any(|point| point.y.is_some()) {
        return None;
    }
    let marks = original.map(|value| Mark::horizontal(value, "original")).into_iter().collect();
    let sentence = sentence(&series, original);
    Some(Block::figure(id, chart(title, all_ks(benchmarks), what, series, marks), sentence))
}

/// `HumanEval` by variant.
fn code(benchmarks: &Benchmarks<'_>) -> Option<Block> {
    let quantity = benchmarks.column(CODE)?;
    let original =
        benchmarks.find(quantity, ORIGINAL, 0.0).and_then(|row| row.value).map(|value| 100.0 * value);
    let names = ("code-by-k", "Code: HumanEval by share removed", "HumanEval, pass@1");
    beside_controls(benchmarks, names, original, |variant, k| point(benchmarks, quantity, variant, k))
}

/// The mean of the general tasks by variant.
fn general(benchmarks: &Benchmarks<'_>) -> Option<Block> {
    let average = |variant: &str, k: f64| benchmarks.impact(variant, k).and_then(|impact| impact.average);
    let names = ("general-by-k", "General tasks: their mean by share removed", "Avg of five tasks");
    beside_controls(benchmarks, names, average(ORIGINAL, 0.0).map(|found| found.value), |variant, k| {
        average(variant, k).map_or(Point::gap(k), |found| Point {
            x: k,
            y: Some(found.value),
            low: found.low,
            high: found.high,
        })
    })
}
