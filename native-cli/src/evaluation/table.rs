//! The figures of benchmarks as a table for a terminal: a row a form of the model, a column a task.

use crate::output::grouped;
use crate::results::{ALL, EvalFile, ResultRow};
use crate::table::distinct;

/// Width of a column.
const WIDTH: usize = 13;

/// Main metrics of all tasks in percent with their standard errors, the paper's figures beside them, and what was not
/// run. Empty where no benchmark was measured.
pub(crate) fn table(file: &EvalFile) -> String {
    let rows: Vec<ResultRow> =
        file.results.iter().filter(|row| row.task != "nll" && row.subset == ALL).cloned().collect();
    let mut text = String::new();
    for not_run in &file.not_run {
        text.push_str(&format!("{} was not run: {}\n", not_run.task, not_run.reason));
    }
    if rows.is_empty() {
        return text;
    }
    // The first metric of a task is its main one.
    let tasks = distinct(&rows, |row| row.task.as_str());
    let columns: Vec<&ResultRow> =
        tasks.iter().filter_map(|task| rows.iter().find(|row| row.task == *task)).collect();
    text.push_str("Right answers in percent, ± standard error\n");
    let mut names = format!("{:<20} {:>8} {:>11}", "", "", "");
    let mut metrics = format!("{:<20} {:>8} {:>11}", "variant", "k, %", "parameters");
    let mut sizes = format!("{:<20} {:>8} {:>11}", "", "", "questions");
    for column in &columns {
        let name = column.task.strip_prefix("truthfulqa_").map_or(&*column.task, |form| form);
        let metric = column.filter.as_deref().unwrap_or(&column.metric);
        names += &format!(" {name:>WIDTH$}");
        metrics += &format!(" {metric:>WIDTH$}");
        sizes += &format!(" {:>WIDTH$}", grouped(column.n));
    }
    let impacts = !file.impacts.is_empty();
    if impacts {
        metrics += &format!(" {:>7} {:>8} {:>8} {:>7}", "Avg", "GTC %", "code %", "M_s");
    }
    for line in [names, metrics, sizes] {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    for (variant, k, count) in distinct(&rows, |row| (row.variant.as_str(), row.k, row.ablated_parameters)) {
        let mut line = format!("{variant:<20} {k:>8} {:>11}", grouped(count));
        for column in &columns {
            let found = rows.iter().find(|row| {
                row.task == column.task
                    && row.metric == column.metric
                    && row.filter == column.filter
                    && row.variant == variant
                    && row.k.to_bits() == k.to_bits()
            });
            line += &format!(" {:>WIDTH$}", cell(found));
        }
        let impact =
            file.impacts.iter().find(|impact| impact.variant == variant && impact.k.to_bits() == k.to_bits());
        if let Some(impact) = impact {
            let number = |found: Option<crate::results::Bounded>| {
                // Adding 0 makes −0 a 0.
                found.map_or("-".to_owned(), |found| format!("{:.2}", found.value + 0.0))
            };
            line += &format!(
                " {:>7} {:>8} {:>8} {:>7}",
                number(impact.average),
                number(impact.general_change),
                number(impact.code_change),
                number(impact.m_s)
            );
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn cell(row: Option<&ResultRow>) -> String {
    match row {
        None => "-".to_owned(),
        Some(ResultRow { value: None, .. }) => "no number".to_owned(),
        Some(ResultRow { value: Some(value), stderr: Some(stderr), .. }) => {
            format!("{:.1} ±{:.1}", 100.0 * value, 100.0 * stderr)
        }
        Some(ResultRow { value: Some(value), .. }) => format!("{:.1}", 100.0 * value),
    }
}
