//! The spot against the original and against its controls, on the same questions.

use super::super::words::{arm, list, metric, task, task_and_metric};
use super::{Benchmarks, Quantity, SPOT, form, same, share};
use crate::results::{ALL, Comparison, ORIGINAL};
use codingspot_plot::number::{fixed, significant, thousands};
use codingspot_plot::{Block, Cell, Section, Table};
use codingspot_tasks::paper::COLUMNS;

/// What a comparison is of.
fn quantity(comparison: &Comparison) -> Quantity<'_> {
    Quantity {
        task: &comparison.task,
        subset: ALL,
        metric: &comparison.metric,
        filter: comparison.filter.as_deref(),
    }
}

/// Whether it is of the spot and a control at the same k.
fn is_beside_control(comparison: &Comparison) -> bool {
    comparison.variant == SPOT
        && comparison.against != ORIGINAL
        && comparison.against != SPOT
        && same(comparison.k, comparison.against_k)
}

pub(super) fn section(benchmarks: &Benchmarks<'_>) -> Section {
    let all = &benchmarks.file.comparisons;
    let mut section = Section::new("comparisons", "Does the spot do more than its controls?", Vec::new());
    if all.is_empty() {
        return section;
    }
    let main = main_quantities(benchmarks);
    let is_main = |comparison: &&Comparison| main.contains(&quantity(comparison));
    let controls: Vec<&Comparison> = all.iter().filter(is_main).filter(|c| is_beside_control(c)).collect();
    let originals: Vec<&Comparison> = all.iter().filter(is_main).filter(|c| c.against == ORIGINAL).collect();
    section.paragraphs.push(
        "Differences are in percentage points, of the mean over the same questions; below 0 the form named first does worse. \
         Intervals are 95\u{a0}%, p values two-sided, both by bootstrap over questions. Neither is corrected for the number of \
         comparisons."
            .to_owned(),
    );
    for of_code in [true, false] {
        let of_kind = controls.iter().filter(|comparison| quantity(comparison).is_code() == of_code);
        section.paragraphs.extend(sentence(&of_kind.copied().collect::<Vec<_>>(), of_code));
    }
    if !controls.is_empty() {
        let row = |comparison: &Comparison| {
            format!("{}, against {}", share(comparison.k), arm(&comparison.against, "English"))
        };
        section.blocks.push(Block::Table(table(
            "The coding spot against controls with as many zeros",
            "k and control",
            &main,
            &controls,
            row,
        )));
    }
    if !originals.is_empty() {
        section.blocks.push(Block::Table(table(
            "Every form against the original",
            "form",
            &main,
            &originals,
            |comparison| form(&comparison.variant, comparison.k),
        )));
    }
    let rest: Vec<&Comparison> = all
        .iter()
        .filter(|comparison| {
            !(is_main(comparison) && (is_beside_control(comparison) || comparison.against == ORIGINAL))
        })
        .collect();
    if !rest.is_empty() {
        section.blocks.push(Block::Details {
            summary: "Other comparisons".to_owned(),
            blocks: vec![Block::Table(long_table(&rest))],
        });
    }
    section
}

/// Of every task the metric of the paper's table, or the first that is compared: code first.
fn main_quantities<'f>(benchmarks: &Benchmarks<'f>) -> Vec<Quantity<'f>> {
    let all = &benchmarks.file.comparisons;
    let mut main: Vec<Quantity<'f>> = Vec::new();
    let of_paper = |quantity: Quantity<'_>| {
        COLUMNS.iter().find(|column| column.tasks.iter().any(|task| task.name() == quantity.task))
    };
    for comparison in all {
        let quantity = quantity(comparison);
        let is_first = match of_paper(quantity) {
            None => !main.iter().any(|other| other.task == quantity.task),
            Some(column) => {
                quantity.metric == column.metric
                    && quantity.filter.is_none_or(|filter| filter == column.filter)
            }
        };
        if is_first && !main.contains(&quantity) {
            main.push(quantity);
        }
    }
    main.sort_by_key(|quantity| !quantity.is_code());
    main
}

/// Counts of what the intervals of differences say.
#[derive(Debug, Default)]
struct Tally {
    worse: usize,
    better: usize,
    unclear: usize,
}

impl Tally {
    fn of(comparisons: &[&Comparison]) -> Self {
        let mut tally = Self::default();
        for comparison in comparisons {
            let [low, high] = comparison.interval;
            if high < 0.0 {
                tally.worse += 1;
            } else if low > 0.0 {
                tally.better += 1;
            } else {
                tally.unclear += 1;
            }
        }
        tally
    }
}

/// In how many comparisons the spot costs more than a control.
fn sentence(comparisons: &[&Comparison], of_code: bool) -> Option<String> {
    let mut names: Vec<String> = Vec::new();
    for comparison in comparisons {
        let of = metric(&comparison.metric, comparison.filter.as_deref());
        let name = format!("{} ({of})", task(&comparison.task));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return None;
    }
    let Tally { worse, better, unclear } = Tally::of(comparisons);
    let kind = if of_code { "Code" } else { "General tasks" };
    let all = comparisons.len();
    let times = if all == 1 { "comparison" } else { "comparisons" };
    Some(format!(
        "{kind}, {}: the coding spot costs more than the control in {worse} of {all} {times}, less in {better}; in {unclear} \
         the interval includes no difference.",
        list(&names)
    ))
}

fn difference(comparison: &Comparison) -> Cell {
    let [low, high] = comparison.interval.map(|end| 100.0 * end);
    let value = 100.0 * comparison.difference;
    Cell::Number {
        text: format!(
            "{} [{}, {}], p {}",
            fixed(value, 1),
            fixed(low, 1),
            fixed(high, 1),
            significant(comparison.p_value, 2)
        ),
        value: Some(value),
        low: Some(low),
        high: Some(high),
    }
}

/// A row by what `name` gives, in order of k; a column a task.
fn table(
    caption: &str,
    first: &str,
    main: &[Quantity<'_>],
    comparisons: &[&Comparison],
    name: impl Fn(&Comparison) -> String,
) -> Table {
    let columns: Vec<Quantity<'_>> = main
        .iter()
        .copied()
        .filter(|column| comparisons.iter().any(|comparison| quantity(comparison) == *column))
        .collect();
    let mut rows: Vec<(f64, String)> = Vec::new();
    for comparison in comparisons {
        let name = name(comparison);
        if !rows.iter().any(|(_, other)| *other == name) {
            rows.push((comparison.k, name));
        }
    }
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut head = vec![first.to_owned()];
    head.extend(columns.iter().map(|column| task_and_metric(column.task, column.metric, column.filter)));
    let cells = |row: &String| {
        let of = |column: &Quantity<'_>| {
            comparisons
                .iter()
                .find(|comparison| quantity(comparison) == *column && name(comparison) == *row)
                .map_or(Cell::Empty, |comparison| difference(comparison))
        };
        std::iter::once(Cell::head(row)).chain(columns.iter().map(of)).collect()
    };
    let mut table = Table::new(caption, head, rows.iter().map(|(_, row)| cells(row)).collect()).stacked();
    let counts: Vec<String> = columns
        .iter()
        .filter_map(|column| {
            let n = comparisons.iter().find(|comparison| quantity(comparison) == *column)?.n;
            Some(format!("{} {}", task(column.task), thousands(n)))
        })
        .collect();
    table
        .notes
        .push(format!("Percentage points with 95\u{a0}% intervals. Questions: {}.", counts.join(", ")));
    table
}

/// A row a comparison.
fn long_table(comparisons: &[&Comparison]) -> Table {
    let head = ["what", "form", "against", "difference, points", "questions"].map(str::to_owned).to_vec();
    let row = |comparison: &&Comparison| {
        vec![
            Cell::head(task_and_metric(&comparison.task, &comparison.metric, comparison.filter.as_deref())),
            Cell::label(form(&comparison.variant, comparison.k)),
            Cell::label(form(&comparison.against, comparison.against_k)),
            difference(comparison),
            Cell::count(comparison.n),
        ]
    };
    Table::new("Other metrics and forms", head, comparisons.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(interval: [f64; 2]) -> Comparison {
        Comparison {
            task: "humaneval".to_owned(),
            metric: "pass@1".to_owned(),
            filter: None,
            variant: SPOT.to_owned(),
            k: 0.01,
            against: "random:1".to_owned(),
            against_k: 0.01,
            difference: f64::midpoint(interval[0], interval[1]),
            stderr: 0.1,
            interval,
            p_value: 0.002,
            n: 164,
        }
    }

    #[test]
    fn intervals_decide_who_does_worse() {
        let all = [[-0.3, -0.1], [-0.2, 0.0], [0.1, 0.2], [-0.5, -0.4]].map(comparison);
        let text = sentence(&all.iter().collect::<Vec<_>>(), true).unwrap();
        assert!(
            text.contains("in 2 of 4 comparisons, less in 1; in 1 the interval includes no difference"),
            "{text}"
        );
        assert_eq!(sentence(&[], true), None);
        assert_eq!(difference(&all[0]).text(), "−20.0 [−30.0, −10.0], p 0.002");
    }
}
