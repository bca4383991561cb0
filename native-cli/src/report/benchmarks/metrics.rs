//! Everything that was measured, and whether programs that fail are programs at all.

use super::super::words::{self, capitalised, list, task, task_and_metric};
use super::{Benchmarks, Quantity, SPOT, percent_cell, percent_text, quantities, share};
use crate::results::{ALL, ORIGINAL, ResultRow};
use codingspot_plot::number::{fixed, thousands};
use codingspot_plot::{Block, Cell, Section, Table};
use codingspot_tasks::task::{MmluGroup, Task};

/// Share of completions whose program does not parse.
const SYNTAX_ERROR: &str = "syntax_error";
const PASS: &str = "pass@1";

/// Collapse or wrong algorithm: what does not parse beside what passes.
pub(super) fn programs(benchmarks: &Benchmarks<'_>) -> Section {
    let mut section = Section::new("programs", "Collapse or wrong algorithm?", Vec::new());
    let broken = quantities(&benchmarks.rows, |quantity| quantity.metric == SYNTAX_ERROR);
    if broken.is_empty() {
        return section;
    }
    let passing: Vec<Option<Quantity<'_>>> = broken
        .iter()
        .map(|broken| {
            let is = |quantity: Quantity<'_>| {
                quantity.task == broken.task && quantity.subset == broken.subset && quantity.metric == PASS
            };
            quantities(&benchmarks.rows, is).first().copied()
        })
        .collect();
    let mut head = vec!["form".to_owned()];
    for quantity in &broken {
        let name = task(quantity.task);
        head.extend(["passes", "parses and fails", "doesn’t parse"].map(|what| format!("{name} {what}, %")));
    }
    let forms = benchmarks.forms.iter().filter(|form| {
        broken.iter().any(|quantity| benchmarks.find(*quantity, &form.variant, form.k).is_some())
    });
    let rows = forms.map(|form| {
        let mut row = vec![Cell::head(form.label())];
        for (broken, passing) in broken.iter().zip(&passing) {
            let find = |quantity: Quantity<'_>| benchmarks.find(quantity, &form.variant, form.k);
            let (passes, breaks) = (passing.and_then(find), find(*broken));
            let between = value(passes).zip(value(breaks)).map(|(pass, syntax)| 1.0 - pass - syntax);
            row.extend([
                percent_cell(passes),
                // Rounding may leave a little less than nothing.
                between.map_or(Cell::Empty, |share| Cell::fixed(100.0 * share.max(0.0), 2)),
                percent_cell(breaks),
            ]);
        }
        row
    });
    let mut table =
        Table::new("Completions by what becomes of their program, percent", head, rows.collect()).stacked();
    table.notes.push(
        "A model that lost the language writes what no parser takes; one that lost only the algorithm writes programs that run \
         and fail."
            .to_owned(),
    );
    for (broken, passing) in broken.iter().zip(&passing) {
        section.paragraphs.extend(passing.and_then(|passing| sentence(benchmarks, *broken, passing)));
    }
    section.blocks.push(Block::Table(table));
    section
}

fn value(row: Option<&ResultRow>) -> Option<f64> {
    row.and_then(|row| row.value)
}

/// Of the programs that fail, the share that does not parse.
fn broken_share(passes: &ResultRow, breaks: &ResultRow) -> Option<f64> {
    let fails = 1.0 - passes.value?;
    Some(breaks.value? / fails).filter(|share| share.is_finite())
}

/// What becomes of programs at the largest k of the spot.
fn sentence(benchmarks: &Benchmarks<'_>, broken: Quantity<'_>, passing: Quantity<'_>) -> Option<String> {
    let both =
        |variant: &str, k: f64| benchmarks.find(passing, variant, k).zip(benchmarks.find(broken, variant, k));
    let k = benchmarks.ks(SPOT).into_iter().rev().find(|&k| k > 0.0 && both(SPOT, k).is_some())?;
    let (passes, breaks) = both(SPOT, k)?;
    let part = broken_share(passes, breaks)?;
    let before = both(ORIGINAL, 0.0);
    let before_breaks = before.and_then(|(_, breaks)| percent_text(breaks));
    let before_share = before.and_then(|(passes, breaks)| broken_share(passes, breaks));
    let original = before_breaks.map_or(String::new(), |text| format!(" (original: {text})"));
    let of_original = before_share
        .map_or(String::new(), |share| format!(", of the original’s {}\u{a0}%", fixed(100.0 * share, 0)));
    let verdict = if part > 0.5 {
        "most failures are no programs, so more is lost than the right algorithm"
    } else {
        "most failures are programs that parse and do the wrong thing"
    };
    Some(format!(
        "{}: without the coding spot of k = {}, {} of the completions don’t parse{original} and {} pass. Of those that \
         fail, {}\u{a0}% don’t parse{of_original}: {verdict}.",
        task(broken.task),
        share(k),
        percent_text(breaks)?,
        percent_text(passes)?,
        fixed(100.0 * part, 0)
    ))
}

/// Whether it is of a whole task or of one of MMLU's groups.
fn is_whole(quantity: Quantity<'_>) -> bool {
    quantity.subset == ALL || (quantity.task == Task::Mmlu.name() && group(quantity.subset).is_some())
}

/// The group of MMLU that a subset is.
fn group(subset: &str) -> Option<MmluGroup> {
    MmluGroup::ALL.into_iter().find(|group| group.name().strip_prefix("mmlu_") == Some(subset))
}

/// Every figure: of tasks and groups, and of subjects where asked for.
pub(super) fn all(benchmarks: &Benchmarks<'_>) -> Section {
    let mut section = Section::new("metrics", "All that was measured", Vec::new());
    let whole = quantities(&benchmarks.rows, is_whole);
    let parts = quantities(&benchmarks.rows, |quantity| !is_whole(quantity));
    let arms = benchmarks.arms();
    // The spot's is shown, the controls' unfold.
    let shown = arms.iter().copied().find(|arm| *arm == SPOT).or(arms.first().copied()).unwrap_or(ORIGINAL);
    section.blocks.extend(table(benchmarks, &whole, shown).map(Block::Table));
    let others: Vec<Block> = arms
        .iter()
        .filter(|arm| **arm != shown)
        .filter_map(|arm| table(benchmarks, &whole, arm))
        .map(Block::Table)
        .collect();
    if !others.is_empty() {
        section.blocks.push(Block::Details { summary: "The same of controls".to_owned(), blocks: others });
    }
    let tasks: Vec<String> = {
        let mut names: Vec<String> = Vec::new();
        for part in &parts {
            let name = task(part.task);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    };
    let all_arms = if arms.is_empty() { vec![ORIGINAL] } else { arms };
    let of_parts: Vec<Block> =
        all_arms.iter().filter_map(|arm| table(benchmarks, &parts, arm)).map(Block::Table).collect();
    if !of_parts.is_empty() {
        section
            .blocks
            .push(Block::Details { summary: format!("By subject: {}", list(&tasks)), blocks: of_parts });
    }
    section
}

/// Figures of one variant: a row a quantity, a column a k.
fn table(benchmarks: &Benchmarks<'_>, quantities: &[Quantity<'_>], variant: &str) -> Option<Table> {
    let ks: Vec<f64> = benchmarks.ks(variant).into_iter().filter(|_| variant != ORIGINAL).collect();
    let cells = |quantity: Quantity<'_>| {
        let original = benchmarks.find(quantity, ORIGINAL, 0.0);
        let ablated: Vec<_> = ks.iter().map(|&k| benchmarks.find(quantity, variant, k)).collect();
        let found: Vec<&ResultRow> =
            std::iter::once(original).chain(ablated.iter().copied()).flatten().collect();
        let first = found.first()?;
        let mut row = vec![Cell::head(label(quantity)), Cell::count(first.n), percent_cell(original)];
        row.extend(ablated.into_iter().map(percent_cell));
        Some(row)
    };
    let rows: Vec<Vec<Cell>> = quantities.iter().filter_map(|quantity| cells(*quantity)).collect();
    if rows.is_empty() {
        return None;
    }
    let mut head = vec!["what".to_owned(), "questions".to_owned(), ORIGINAL.to_owned()];
    let count =
        |k: f64| benchmarks.forms.iter().find(|form| form.is(variant, k)).map(|form| form.ablated_parameters);
    head.extend(ks.iter().map(|&k| format!("{} ({})", share(k), thousands(count(k).unwrap_or(0)))));
    let what = if variant == ORIGINAL { "as it is".to_owned() } else { super::arm(variant, "English") };
    let mut table = Table::new(format!("Percent with 95\u{a0}% intervals, {what}"), head, rows).stacked();
    if quantities.iter().any(|quantity| quantity.metric == SYNTAX_ERROR) {
        table.notes.push("Lower is better of completions that don’t parse, higher of all else.".to_owned());
    }
    Some(table)
}

/// `MMLU, STEM, acc`; of a whole task without its subset.
fn label(quantity: Quantity<'_>) -> String {
    let Quantity { task: name, subset, metric, filter } = quantity;
    if subset == ALL {
        return task_and_metric(name, metric, filter);
    }
    let subset = if subset == "stem" { "STEM".to_owned() } else { capitalised(&subset.replace('_', " ")) };
    format!("{}, {subset}, {}", task(name), words::metric(metric, filter))
}
