//! Where a spot lies: figures and tables of studies and of runs.

use super::words::list;
use crate::study::{LocationAt, LocationCell, ScopeFindings, Study};
use codingspot_core::spot::{Lines, Scope};
use codingspot_plot::number::{percent, significant, thousands};
use codingspot_plot::{Axis, Block, Cell, ColorScale, HeatMap, LineChart, Point, Series, SeriesStyle, Table};

/// Modules in layout order: those of blocks, then what is not in a block.
fn modules(at: &LocationAt) -> (Vec<String>, Vec<String>) {
    let mut inside = Vec::new();
    let mut outside = Vec::new();
    for cell in &at.cells {
        let list = if cell.layer.is_some() { &mut inside } else { &mut outside };
        if !list.contains(&cell.module) {
            list.push(cell.module.clone());
        }
    }
    (inside, outside)
}

/// The answer of a study: where its spot lies, and how it bunches up.
pub(super) fn place(study: &Study, scope: &ScopeFindings) -> Vec<Block> {
    let mut blocks = Vec::new();
    let k = study.settings.k;
    if let Some(at) = scope.location.iter().min_by(|a, b| (a.k - k).abs().total_cmp(&(b.k - k).abs())) {
        blocks.push(figure(scope.scope, at));
        blocks.push(Block::Table(module_table(scope)));
    }
    blocks.push(mass_figure(scope));
    if let Some(found) = &scope.residual {
        let fullest: Vec<String> = found
            .fullest
            .iter()
            .take(5)
            .map(|(dimension, count)| format!("{dimension} ({})", thousands(*count)))
            .collect();
        blocks.push(Block::Paragraph(format!(
            "By dimension of the residual stream, which {} parameters each read or write: two parameters of the \
             spot share one {} times as often as by chance (Morisita's index); the fullest are {}.",
            thousands(found.parameters_per_dimension),
            significant(found.morisita, 3),
            list(&fullest)
        )));
    }
    blocks.push(Block::Table(concentration_table(scope)));
    blocks
}

/// `model.layers.4.mlp.down_proj.weight` without what all names have.
fn short(tensor: &str) -> String {
    tensor.trim_start_matches("model.").trim_end_matches(".weight").to_owned()
}

/// Enrichment by module and layer, norms and what is outside of blocks on rows of their own.
pub(super) fn figure(scope: Scope, at: &LocationAt) -> Block {
    let layers = at.cells.iter().filter_map(|cell| cell.layer).max().map_or(0, |last| last + 1);
    let (inside, outside) = modules(at);
    let mut cols: Vec<String> = (0..layers).map(|layer| layer.to_string()).collect();
    if !outside.is_empty() {
        cols.push("outside".to_owned());
    }
    let cells: Vec<Vec<Option<f64>>> = inside
        .iter()
        .chain(&outside)
        .map(|module| {
            let find = |layer: Option<usize>| {
                let cell = at.cells.iter().find(|cell| cell.module == *module && cell.layer == layer)?;
                cell.enrichment
            };
            let mut row: Vec<Option<f64>> = (0..layers).map(|layer| find(Some(layer))).collect();
            if !outside.is_empty() {
                row.push(find(None));
            }
            row
        })
        .collect();
    let rows: Vec<String> = inside.iter().chain(&outside).cloned().collect();
    // A gap wherever another kind of tensor begins.
    let kind = |row: usize| (row >= inside.len(), rows[row].contains("norm"), rows[row].ends_with(".bias"));
    let group_breaks: Vec<usize> =
        (1..rows.len()).filter(|&row| kind(row) != kind(row - 1)).map(|row| row - 1).collect();
    let most =
        at.cells.iter().filter_map(|cell| Some((cell, cell.enrichment?))).max_by(|a, b| a.1.total_cmp(&b.1));
    let fullest = at.cells.iter().max_by_key(|cell| cell.count);
    let sentence = most.zip(fullest).map_or(String::new(), |((most, enrichment), fullest)| {
        format!(
            "1 is what an even spread over the scope would give. At k = {} % ({} parameters) the densest tensor is \
             {} with {} times its share; most parameters, {} of {}, lie in {}.",
            at.k,
            thousands(at.count),
            short(&most.tensor),
            significant(enrichment, 3),
            thousands(fullest.count),
            thousands(at.count),
            short(&fullest.tensor)
        )
    });
    let chart = HeatMap {
        title: format!(
            "Parameters of the spot over their even share: scope {}, k = {} %",
            scope.name(),
            at.k
        ),
        row_label: "Module".to_owned(),
        col_label: "Layer".to_owned(),
        rows,
        cols,
        cells,
        scale: ColorScale::Log2Enrichment,
        cell_digits: 1,
        group_breaks,
        emphasize: None,
        diagonal: false,
    };
    Block::figure(format!("location-{}", scope.name()), chart, sentence)
}

fn module_table(scope: &ScopeFindings) -> Table {
    let mut head = vec!["module".to_owned(), "share of the scope".to_owned()];
    head.extend(scope.location.iter().map(|at| format!("{} %", at.k)));
    let names = scope.location.first().map_or(Vec::new(), |at| {
        let (inside, outside) = modules(at);
        inside.into_iter().chain(outside).collect::<Vec<_>>()
    });
    let rows = names
        .iter()
        .map(|module| {
            let sum = |at: &LocationAt, of: &dyn Fn(&LocationCell) -> u64| {
                at.cells.iter().filter(|cell| cell.module == *module).map(of).sum::<u64>()
            };
            let size = scope.location.first().map_or(0, |at| sum(at, &|cell| cell.numel));
            let share = size as f64 / scope.parameters as f64;
            let mut row = vec![Cell::head(module), Cell::number_as(share, percent(share, 3))];
            row.extend(scope.location.iter().map(|at| {
                let share = sum(at, &|cell| cell.count) as f64 / at.count.max(1) as f64;
                Cell::number_as(share, percent(share, 3))
            }));
            row
        })
        .collect();
    Table::new("Share of the spot in each kind of tensor, by k", head, rows)
}

fn mass_figure(scope: &ScopeFindings) -> Block {
    let points = scope.mass.iter().map(|mass| Point::new(mass.top as f64, 100.0 * mass.share)).collect();
    let even = scope
        .mass
        .iter()
        .map(|mass| Point::new(mass.top as f64, 100.0 * mass.top as f64 / scope.parameters as f64))
        .collect();
    let share = |top: u64| scope.mass.iter().find(|mass| mass.top == top).map(|mass| mass.share);
    let say =
        |top: u64| share(top).map(|share| format!("the top {} hold {}", thousands(top), percent(share, 3)));
    let parts: Vec<String> = [1, 10, 100, 1000].into_iter().filter_map(say).collect();
    let chart = LineChart {
        title: format!("Share of all scores that the highest hold: scope {}", scope.scope.name()),
        x: Axis::new("Highest-scored parameters", "").log(),
        y: Axis::new("Share of the sum of scores", "%").with_decimals(1),
        series: vec![
            Series::new("scores", SeriesStyle::Spot, points),
            Series::new("if all were alike", SeriesStyle::Random, even),
        ],
        marks: Vec::new(),
    };
    Block::figure(
        format!("mass-{}", scope.scope.name()),
        chart,
        format!("Of the sum of all scores in scope, {}.", list(&parts)),
    )
}

fn concentration_table(scope: &ScopeFindings) -> Table {
    let mut found: Vec<_> = scope.concentration.iter().collect();
    found.sort_by(|a, b| b.morisita.total_cmp(&a.morisita));
    found.truncate(12);
    let rows = found
        .into_iter()
        .map(|found| {
            let lines = match found.lines {
                Lines::Rows => "row",
                Lines::Columns => "column",
            };
            vec![
                Cell::head(short(&found.tensor)),
                Cell::label(lines),
                Cell::count(found.count),
                Cell::number_as(found.morisita, significant(found.morisita, 3)),
                found.z.map_or(Cell::Empty, |z| Cell::fixed(z, 0)),
                Cell::label(format!(
                    "{lines} {}: {} of {}",
                    found.fullest,
                    thousands(found.fullest_count),
                    thousands(found.line_len)
                )),
            ]
        })
        .collect();
    Table::new(
        "Tensors where the spot bunches up most in rows or columns: Morisita's index over its value by chance",
        ["tensor", "lines", "parameters", "times chance", "standard deviations", "fullest line"]
            .map(str::to_owned)
            .to_vec(),
        rows,
    )
}
