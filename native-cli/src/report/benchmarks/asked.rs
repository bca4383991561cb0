//! What was asked: data sets, what was not measured and why, settings.

use super::super::rows;
use super::super::words::task;
use super::{Benchmarks, LOSSES};
use crate::results::DatasetRecord;
use codingspot_plot::{Block, Cell, Section, Table};

/// Letters of a hash that are shown; the evaluation has all.
const SHOWN: usize = 12;

pub(super) fn section(benchmarks: &Benchmarks<'_>) -> Section {
    let file = benchmarks.file;
    let mut section = Section::new("asked", "What was asked", Vec::new());
    if !file.datasets.is_empty() {
        section.blocks.push(Block::Table(datasets(&file.datasets)));
    }
    if !file.not_run.is_empty() {
        let items = file
            .not_run
            .iter()
            .map(|not| format!("{}: {}.", task(&not.task), not.reason.trim_end_matches('.')));
        section.blocks.push(Block::Heading("Not measured".to_owned()));
        section.blocks.push(Block::List(items.collect()));
    }
    if !file.samples.is_empty() {
        let row = |record: &crate::results::SamplesRecord| {
            vec![Cell::head(&record.file), Cell::label(short(&record.sha256))]
        };
        let head = ["file", "SHA-256"].map(str::to_owned).to_vec();
        let table = Table::new(
            "Files of answers, from which every figure follows",
            head,
            file.samples.iter().map(row).collect(),
        );
        section.blocks.push(Block::Details {
            summary: "Files of answers".to_owned(),
            blocks: vec![Block::Table(table)],
        });
    }
    // Losses have settings in their own section.
    let has_benchmarks = !section.blocks.is_empty() || !benchmarks.rows.is_empty();
    if has_benchmarks && !file.results.iter().any(|row| row.task == LOSSES) {
        section.blocks.push(rows::settings(file));
    }
    section
}

fn short(hash: &str) -> String {
    hash.chars().take(SHOWN).collect()
}

fn datasets(datasets: &[DatasetRecord]) -> Table {
    let head = [
        "task",
        "in the set",
        "examples",
        "questions’ hash",
        "examples’ hash",
        "prompts’ hash",
        "published set",
    ];
    let row = |record: &DatasetRecord| {
        vec![
            Cell::head(task(&record.task)),
            Cell::count(record.documents),
            Cell::count(record.num_fewshot.into()),
            Cell::label(short(&record.sha256)),
            record.pool_sha256.as_deref().map_or(Cell::Empty, |hash| Cell::label(short(hash))),
            Cell::label(short(&record.requests_sha256)),
            Cell::label(record.known.as_deref().unwrap_or("none that is known")),
        ]
    };
    let mut table = Table::new(
        "Questions, and the examples before each",
        head.map(str::to_owned).to_vec(),
        datasets.iter().map(row).collect(),
    )
    .stacked();
    table.notes.push(
        "Hashes are SHA-256, of which the first 12 letters are shown. Questions whose hash is that of a published set are that \
         set, whole and unchanged; prompts are all that the model was asked, examples included."
            .to_owned(),
    );
    table
}
