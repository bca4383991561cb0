//! Benchmarks of an evaluation as sections: the paper's tables with intervals, what the spot does beside its controls,
//! and what was asked.

mod asked;
mod by_k;
mod comparisons;
mod metrics;
mod tables;

use super::words::arm;
use crate::results::{ALL, EvalFile, Impact, ORIGINAL, ResultRow};
use codingspot_plot::number::fixed;
use codingspot_plot::{Block, Cell, Section};
use codingspot_tasks::paper::{COLUMNS, Column};
use codingspot_tasks::task::Task;

/// 97.5 % quantile of the normal distribution: ends of a 95 % interval in standard errors.
const Z: f64 = 1.96;
/// What the coding spot is called in an evaluation.
const SPOT: &str = "spot";
/// The paper's column of code.
const CODE: &str = "HumanEval";
/// Task of losses, which have sections of their own.
const LOSSES: &str = "nll";

/// A form of the model.
#[derive(Debug, Clone, PartialEq)]
struct Form {
    variant: String,
    /// Percent; 0 of the original.
    k: f64,
    ablated_parameters: u64,
}

impl Form {
    fn is(&self, variant: &str, k: f64) -> bool {
        self.variant == variant && self.k.to_bits() == k.to_bits()
    }

    fn is_original(&self) -> bool {
        self.variant == ORIGINAL
    }

    /// `coding spot, 0.01 %`.
    fn label(&self) -> String {
        if self.is_original() { ORIGINAL.to_owned() } else { form(&self.variant, self.k) }
    }

    /// Where it stands among those of its k.
    fn rank(&self) -> u8 {
        if self.is_original() || self.variant == SPOT { 0 } else { 2 }
    }
}

/// A variant at a k, for people.
fn form(variant: &str, k: f64) -> String {
    if variant == ORIGINAL {
        ORIGINAL.to_owned()
    } else {
        format!("{}, {}", arm(variant, "English"), share(k))
    }
}

/// A k in percent, whose sign stays on its line.
fn share(k: f64) -> String {
    format!("{k}\u{a0}%")
}

/// What was measured of the questions of a task or of a part of it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Quantity<'f> {
    task: &'f str,
    subset: &'f str,
    metric: &'f str,
    filter: Option<&'f str>,
}

impl<'f> Quantity<'f> {
    fn of(row: &'f ResultRow) -> Self {
        Self { task: &row.task, subset: &row.subset, metric: &row.metric, filter: row.filter.as_deref() }
    }

    fn is_code(&self) -> bool {
        Task::from_name(self.task).is_some_and(Task::is_code)
    }
}

/// The benchmarks of an evaluation.
#[derive(Debug)]
struct Benchmarks<'f> {
    file: &'f EvalFile,
    rows: Vec<&'f ResultRow>,
    /// By k; the original and the spot before controls.
    forms: Vec<Form>,
    /// Of every column of the paper's table that was measured, its quantity.
    columns: Vec<(&'static Column, Quantity<'f>)>,
}

impl<'f> Benchmarks<'f> {
    fn new(file: &'f EvalFile) -> Self {
        let rows: Vec<&ResultRow> = file.results.iter().filter(|row| row.task != LOSSES).collect();
        let mut forms: Vec<Form> = Vec::new();
        for row in &rows {
            if !forms.iter().any(|form| form.is(&row.variant, row.k)) {
                let variant = row.variant.clone();
                forms.push(Form { variant, k: row.k, ablated_parameters: row.ablated_parameters });
            }
        }
        forms.sort_by(|a, b| a.k.total_cmp(&b.k).then(a.rank().cmp(&b.rank())));
        let columns = COLUMNS.iter().filter_map(|column| Some((column, quantity(&rows, column)?))).collect();
        Self { file, rows, forms, columns }
    }

    fn find(&self, quantity: Quantity<'_>, variant: &str, k: f64) -> Option<&'f ResultRow> {
        let is = |row: &&&ResultRow| {
            row.variant == variant && row.k.to_bits() == k.to_bits() && Quantity::of(row) == quantity
        };
        self.rows.iter().find(is).copied()
    }

    fn impact(&self, variant: &str, k: f64) -> Option<&'f Impact> {
        let is = |impact: &&Impact| impact.variant == variant && impact.k.to_bits() == k.to_bits();
        self.file.impacts.iter().find(is)
    }

    /// Ablated variants in order of their appearance.
    fn arms(&self) -> Vec<&'f str> {
        let mut arms: Vec<&str> = Vec::new();
        for row in &self.rows {
            if row.variant != ORIGINAL && !arms.contains(&row.variant.as_str()) {
                arms.push(&row.variant);
            }
        }
        arms
    }

    /// The k at which a variant was measured, ascending.
    fn ks(&self, variant: &str) -> Vec<f64> {
        self.forms.iter().filter(|form| form.variant == variant).map(|form| form.k).collect()
    }

    fn column(&self, name: &str) -> Option<Quantity<'f>> {
        self.columns.iter().find(|(column, _)| column.name == name).map(|(_, quantity)| *quantity)
    }
}

/// The measured quantity of a column of the paper's table.
fn quantity<'f>(rows: &[&'f ResultRow], column: &Column) -> Option<Quantity<'f>> {
    column.tasks.iter().find_map(|task| {
        let is = |row: &&&ResultRow| {
            row.task == task.name()
                && row.subset == ALL
                && row.metric == column.metric
                && row.filter.as_deref().is_none_or(|filter| filter == column.filter)
        };
        rows.iter().find(is).map(|row| Quantity::of(row))
    })
}

/// The sections of one evaluation. `suffix` tells it from others of the page.
pub(super) fn sections(name: &str, suffix: &str, file: &EvalFile) -> Vec<Section> {
    let benchmarks = Benchmarks::new(file);
    let mut sections = Vec::new();
    if !benchmarks.rows.is_empty() {
        sections.extend([
            tables::scores(&benchmarks),
            tables::monosemanticity(&benchmarks),
            by_k::section(&benchmarks),
            comparisons::section(&benchmarks),
            metrics::programs(&benchmarks),
            metrics::all(&benchmarks),
        ]);
    }
    sections.push(asked::section(&benchmarks));
    let named = |mut section: Section| {
        section.id = format!("{}-{name}", section.id);
        section.heading.push_str(suffix);
        for block in &mut section.blocks {
            if let Block::Figure(figure) = block {
                figure.id = format!("{}-{name}", figure.id);
            }
        }
        section
    };
    sections.into_iter().filter(|section| !section.blocks.is_empty()).map(named).collect()
}

/// Ends of a row's 95 % interval: its own, or by its standard error, within what a share can be. Where all questions
/// scored the same there is no error to tell how sure that is.
fn ends(row: &ResultRow) -> Option<[f64; 2]> {
    let by_error = || {
        let (value, half) = (row.value?, Z * row.stderr.filter(|&stderr| stderr > 0.0)?);
        Some([(value - half).max(0.0), (value + half).min(1.0)])
    };
    row.interval.or_else(by_error)
}

/// A share in percent with its interval.
fn percent_cell(row: Option<&ResultRow>) -> Cell {
    let Some(row) = row else { return Cell::Empty };
    match (row.value, ends(row)) {
        (None, _) => Cell::label("overflow"),
        (Some(value), Some([low, high])) => bounded_cell(100.0 * value, 100.0 * low, 100.0 * high),
        (Some(value), None) => Cell::fixed(100.0 * value, 2),
    }
}

/// A number in percent or points to two places, as the paper prints them, with its interval to one.
fn bounded_cell(value: f64, low: f64, high: f64) -> Cell {
    Cell::Number {
        text: format!("{} [{}, {}]", fixed(value, 2), fixed(low, 1), fixed(high, 1)),
        value: Some(value),
        low: Some(low),
        high: Some(high),
    }
}

/// A share in percent, in a sentence.
fn percent_text(row: &ResultRow) -> Option<String> {
    Some(format!("{}\u{a0}%", fixed(100.0 * row.value?, 1)))
}

/// Whether two k are the same.
fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

/// What rows are of, in order of first appearance.
fn quantities<'f>(rows: &[&'f ResultRow], keep: impl Fn(Quantity<'f>) -> bool) -> Vec<Quantity<'f>> {
    let mut found: Vec<Quantity<'f>> = Vec::new();
    for row in rows {
        let quantity = Quantity::of(row);
        if keep(quantity) && !found.contains(&quantity) {
            found.push(quantity);
        }
    }
    found
}
