//! The paper's Tables 1 and 2 of what was measured, beside what it prints of the same shape.

use super::super::words::{list, metric, task};
use super::{Benchmarks, CODE, Form, SPOT, bounded_cell, ends, percent_cell, same, share};
use crate::results::{Bounded, EvalFile, Impact};
use codingspot_plot::number::thousands;
use codingspot_plot::{Block, Cell, Section, Table};
use codingspot_tasks::paper::{
    COLUMNS, PaperRow, PrintedImpact, PublishedModel, Shape, impact, published_model,
};

/// A row of a table: of this evaluation, or the paper's.
#[derive(Debug)]
enum Entry<'f> {
    Measured(&'f Form),
    Original(&'static PublishedModel),
    Ablated { model: &'static PublishedModel, k: f64, scores: PaperRow, printed: PrintedImpact },
}

impl Entry<'_> {
    fn label(&self) -> String {
        match self {
            Self::Measured(form) => form.label(),
            Self::Original(_) => "paper: original".to_owned(),
            Self::Ablated { k, .. } => format!("paper: coding spot, {}", share(*k)),
        }
    }

    /// By k, the paper's after the spot and before controls.
    fn order(&self) -> (f64, u8) {
        match self {
            Self::Measured(form) => (form.k, form.rank()),
            Self::Original(_) => (0.0, 1),
            Self::Ablated { k, .. } => (*k, 1),
        }
    }
}

/// The paper's model of the evaluated one's shape.
fn paper_model(file: &EvalFile) -> Option<&'static PublishedModel> {
    let config = file.config.get("model_config")?;
    let size = |name: &str| config.get(name)?.as_u64();
    published_model(Shape {
        vocabulary: size("vocab_size")?,
        hidden: size("hidden_size")?,
        layers: size("num_hidden_layers")?,
        intermediate: size("intermediate_size")?,
    })
}

/// Rows of a table, those of the paper among them.
fn entries<'f>(
    forms: impl Iterator<Item = &'f Form>,
    model: Option<&'static PublishedModel>,
) -> Vec<Entry<'f>> {
    let mut entries: Vec<Entry<'f>> = forms.map(Entry::Measured).collect();
    if let Some(model) = model {
        entries.push(Entry::Original(model));
        entries.extend(model.ablated.iter().map(|row| Entry::Ablated {
            model,
            k: row.k,
            scores: row.scores,
            printed: row.printed,
        }));
    }
    entries.sort_by(|a, b| {
        let ((a, a_rank), (b, b_rank)) = (a.order(), b.order());
        a.total_cmp(&b).then(a_rank.cmp(&b_rank))
    });
    entries
}

/// A printed number, to be shown as it is printed.
fn printed(text: &str) -> Cell {
    text.parse().map_or(Cell::label(text), |value| Cell::number_as(value, text.replace('-', "−")))
}

/// A number with its interval; `undefined` where there is none.
fn bounded(found: Option<Bounded>) -> Cell {
    match found {
        None => Cell::label("undefined"),
        Some(Bounded { value, low: Some(low), high: Some(high) }) => bounded_cell(value, low, high),
        Some(Bounded { value, .. }) => Cell::fixed(value, 2),
    }
}

/// The same of `M_s`, whose ends are worth two places.
fn bounded_score(found: Option<Bounded>) -> Cell {
    match found {
        Some(Bounded { value, low: Some(low), high: Some(high) }) => Cell::interval(value, low, high, 2),
        found => bounded(found),
    }
}

/// The paper's Table 1: scores, the mean of the general tasks, and what became of both.
pub(super) fn scores(benchmarks: &Benchmarks<'_>) -> Section {
    let file = benchmarks.file;
    let mut section = Section::new("scores", "Scores by k", Vec::new());
    if benchmarks.columns.is_empty() {
        return section;
    }
    let with_means = !file.impacts.is_empty();
    let mut head = vec!["form".to_owned()];
    let general = |name: &str| name != CODE;
    let names = || benchmarks.columns.iter().map(|(column, _)| column.name);
    head.extend(names().filter(|name| general(name)).map(str::to_owned));
    if with_means {
        head.extend(["Avg", "GTC, %"].map(str::to_owned));
    }
    head.extend(names().filter(|name| !general(name)).map(str::to_owned));
    if with_means {
        head.push("code change, %".to_owned());
    }
    head.push("zeros".to_owned());
    let model = paper_model(file);
    let rows = entries(benchmarks.forms.iter(), model);
    let rows = rows.iter().map(|entry| scores_row(benchmarks, entry, with_means)).collect();
    let mut table =
        Table::new("Table 1 of the paper: scores in percent with 95\u{a0}% intervals", head, rows).stacked();
    table.notes = scores_notes(benchmarks, with_means, model);
    let mut text = "Scores are in percent; higher is better. k is the share of the parameters in scope that is zero, in \
                    percent; the last column counts them. Controls have as many zeros as the spot."
        .to_owned();
    if with_means {
        text.push_str(
            " Avg is the mean of the five general tasks, GTC its change and “code change” that of HumanEval, both in percent \
             of what the original has.",
        );
    }
    section.paragraphs.push(text);
    section.blocks.push(Block::Table(table));
    section
}

fn scores_row(benchmarks: &Benchmarks<'_>, entry: &Entry<'_>, with_means: bool) -> Vec<Cell> {
    let mut row = vec![Cell::head(entry.label())];
    let score = |name: &str| match entry {
        Entry::Measured(form) => percent_cell(
            benchmarks.column(name).and_then(|quantity| benchmarks.find(quantity, &form.variant, form.k)),
        ),
        Entry::Original(model) => paper_score(&model.original, name),
        Entry::Ablated { scores, .. } => paper_score(scores, name),
    };
    let of_original = matches!(entry, Entry::Measured(form) if form.is_original());
    // Of the original nothing changes; a form that lacks a task has no figures.
    let measured = |of: fn(&Impact) -> Option<Bounded>, form: &Form, is_change: bool| match benchmarks
        .impact(&form.variant, form.k)
    {
        Some(_) if of_original && is_change => Cell::Empty,
        Some(found) => bounded(of(found)),
        None => Cell::Empty,
    };
    let means = |row: &mut Vec<Cell>| match entry {
        Entry::Measured(form) => row.extend([
            measured(|impact| impact.average, form, false),
            measured(|impact| impact.general_change, form, true),
        ]),
        Entry::Original(model) => row.extend([printed(model.average), Cell::Empty]),
        Entry::Ablated { printed: found, .. } => {
            row.extend([printed(found.average), printed(found.general_change)]);
        }
    };
    let names: Vec<&str> = benchmarks.columns.iter().map(|(column, _)| column.name).collect();
    row.extend(names.iter().filter(|name| **name != CODE).map(|name| score(name)));
    if with_means {
        means(&mut row);
    }
    row.extend(names.iter().filter(|name| **name == CODE).map(|name| score(name)));
    if with_means {
        row.push(match entry {
            Entry::Measured(form) => measured(|impact| impact.code_change, form, true),
            Entry::Original(_) => Cell::Empty,
            Entry::Ablated { printed: found, .. } => printed(found.code_change),
        });
    }
    row.push(match entry {
        Entry::Measured(form) => Cell::count(form.ablated_parameters),
        _ => Cell::Empty,
    });
    row
}

/// A score of the paper's, to its two places.
fn paper_score(scores: &PaperRow, name: &str) -> Cell {
    let found = COLUMNS.iter().zip(scores.scores()).find(|(column, _)| column.name == name);
    found.map_or(Cell::Empty, |(_, score)| Cell::fixed(score, 2))
}

fn scores_notes(
    benchmarks: &Benchmarks<'_>,
    with_means: bool,
    model: Option<&'static PublishedModel>,
) -> Vec<String> {
    let mut notes = Vec::new();
    let of_columns = benchmarks.columns.iter().map(|(_, quantity)| {
        let counts =
            benchmarks.rows.iter().filter(|row| super::Quantity::of(row) == *quantity).map(|row| row.n);
        let questions = match (counts.clone().min(), counts.max()) {
            (Some(least), Some(most)) if least != most => {
                format!("{} to {} questions", thousands(least), thousands(most))
            }
            (_, most) => format!("{} questions", thousands(most.unwrap_or(0))),
        };
        let dataset = benchmarks.file.datasets.iter().find(|dataset| dataset.task == quantity.task);
        let examples = dataset.map_or(String::new(), |dataset| match dataset.num_fewshot {
            0 => ", no examples".to_owned(),
            1 => ", 1 example before each".to_owned(),
            shots => format!(", {shots} examples before each"),
        });
        format!(
            "{}: {}, {questions}{examples}.",
            task(quantity.task),
            metric(quantity.metric, quantity.filter)
        )
    });
    notes.push(of_columns.collect::<Vec<_>>().join(" "));
    let rows = || {
        let quantities = benchmarks.columns.iter().map(|(_, quantity)| *quantity);
        quantities.flat_map(|quantity| {
            benchmarks.rows.iter().filter(move |row| super::Quantity::of(row) == quantity)
        })
    };
    let mut kinds = Vec::new();
    if rows().any(|row| row.interval.is_some()) {
        kinds.push("of shares of right answers Wilson’s");
    }
    if rows().any(|row| row.interval.is_none() && ends(row).is_some()) {
        kinds.push("of other scores ±1.96 standard errors");
    }
    if with_means {
        kinds.push(
            "of Avg and of changes by bootstrap over questions, the same ones for original and ablated form",
        );
    }
    if !kinds.is_empty() {
        notes.push(format!("In brackets, 95\u{a0}% intervals: {}.", kinds.join("; ")));
    }
    if rows().any(|row| row.value.is_none()) {
        notes.push("Overflow: the form gave no finite number.".to_owned());
    }
    if with_means {
        if benchmarks.file.impacts.iter().any(|impact| impact.k > 0.0 && impact.code_change.is_none()) {
            notes.push(
                "Undefined: nothing was solved before, so that there is nothing to take a percentage of."
                    .to_owned(),
            );
        } else if benchmarks
            .file
            .impacts
            .iter()
            .any(|impact| impact.code_change.is_some_and(|found| found.low.is_none()))
        {
            notes.push(
                "A change without an interval: so few problems were solved before that many resamples hold none.".to_owned(),
            );
        }
    } else {
        notes.push(without_means(benchmarks));
    }
    if let Some(model) = model {
        notes.push(format!(
            "Rows of the paper are what it prints of {}. Base and Instruct models have the same shape, and only the shape was \
             compared: where another model was measured here, its rows are no target. The paper names neither the metrics nor \
             the examples of its prompts.",
            model.name
        ));
    }
    notes
}

/// Why there is no Avg.
fn without_means(benchmarks: &Benchmarks<'_>) -> String {
    let missing: Vec<String> = COLUMNS
        .iter()
        .filter(|column| benchmarks.column(column.name).is_none())
        .map(|column| column.name.to_owned())
        .collect();
    if missing.is_empty() {
        "There is no Avg, GTC or code change, because the evaluation has none.".to_owned()
    } else {
        let (were, all) = if missing.len() == 1 { ("was", "") } else { ("were", "s") };
        format!(
            "There is no Avg, GTC or code change: they take all six tasks, and the task{all} {} {were} not measured.",
            list(&missing)
        )
    }
}

/// The paper's Table 2: `M_s` in its units, and what is left above chance.
pub(super) fn monosemanticity(benchmarks: &Benchmarks<'_>) -> Section {
    let file = benchmarks.file;
    let mut section = Section::new("monosemanticity", "Does code lose more than the rest?", Vec::new());
    let has_impact = |form: &&Form| !form.is_original() && benchmarks.impact(&form.variant, form.k).is_some();
    let forms: Vec<&Form> = benchmarks.forms.iter().filter(has_impact).collect();
    if forms.is_empty() {
        return section;
    }
    let head = ["form", "M_s, points", "M_s, fractions", "M_s, above chance"]
        .into_iter()
        .chain([
            "GSM8K left, %",
            "HellaSwag left, %",
            "MMLU left, %",
            "WinoGrande left, %",
            "HumanEval left, %",
        ])
        .map(str::to_owned)
        .collect();
    let model = paper_model(file);
    let entries = entries(forms.iter().copied(), model);
    let rows = entries.iter().filter_map(|entry| monosemanticity_row(benchmarks, entry)).collect();
    let mut table =
        Table::new("Table 2 of the paper: monosemanticity, with 95\u{a0}% intervals", head, rows).stacked();
    table.notes = vec![
        "M_s = Δcode/(1 + Δgeneral), the drop of HumanEval over 1 plus the drop of Avg. In points (the paper’s) the 1 is one \
         percentage point, in fractions it is a hundred of them: so the unit decides where M_s peaks. Above chance, the general \
         drop is in fractions, of the mean of 100·(s − c)/(100 − c) with chance c = 0 of GSM8K, 25 of HellaSwag and MMLU and \
         50 of WinoGrande."
            .to_owned(),
        "Left: the share of the original’s score above chance that the form still has, (s − c)/(s₀ − c); below 0 where it falls \
         below chance. TruthfulQA has no one chance."
            .to_owned(),
    ];
    if let Some(model) = model {
        table.notes.push(format!(
            "Of {} the paper prints M_s in points; the other figures of its rows follow from the scores that it prints.",
            model.name
        ));
    }
    section.paragraphs.extend(peaks(benchmarks));
    section.blocks.push(Block::Table(table));
    section
}

fn monosemanticity_row(benchmarks: &Benchmarks<'_>, entry: &Entry<'_>) -> Option<Vec<Cell>> {
    let left =
        |share: Option<f64>| share.map_or(Cell::label("undefined"), |share| Cell::fixed(100.0 * share, 1));
    let mut row = vec![Cell::head(entry.label())];
    let (retention, code) = match entry {
        Entry::Measured(form) => {
            let found = benchmarks.impact(&form.variant, form.k)?;
            row.extend([found.m_s, found.m_s_fractions, found.m_s_above_chance].map(bounded_score));
            (found.retention, found.code_retention)
        }
        Entry::Original(_) => return None,
        Entry::Ablated { model, scores, printed: printed_impact, .. } => {
            let found = impact(&model.original, scores)?;
            let fixed = |value: Option<f64>| value.map_or(Cell::Empty, |value| Cell::fixed(value, 2));
            row.extend([
                printed(printed_impact.m_s),
                fixed(found.m_s_fractions),
                fixed(found.m_s_above_chance),
            ]);
            (found.retention, found.code_retention)
        }
    };
    let [gsm8k, hellaswag, mmlu, _, winogrande] = retention;
    row.extend([gsm8k, hellaswag, mmlu, winogrande, code].map(left));
    Some(row)
}

/// Where `M_s` of the spot peaks, by its unit.
fn peaks(benchmarks: &Benchmarks<'_>) -> Option<String> {
    let impacts: Vec<&Impact> = benchmarks
        .ks(SPOT)
        .iter()
        .filter(|&&k| k > 0.0)
        .filter_map(|&k| benchmarks.impact(SPOT, k))
        .collect();
    if impacts.len() < 2 {
        return None;
    }
    if impacts.iter().all(|impact| impact.m_s.is_none_or(|found| found.value.abs() < f64::EPSILON)) {
        return Some("M_s of the coding spot is 0 at every k, as HumanEval lost nothing.".to_owned());
    }
    let peak = |of: fn(&Impact) -> Option<Bounded>| {
        let scores = impacts.iter().filter_map(|impact| Some((impact.k, of(impact)?.value)));
        scores.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(k, _)| k)
    };
    let points = peak(|impact| impact.m_s)?;
    let fractions = peak(|impact| impact.m_s_fractions)?;
    let above_chance = peak(|impact| impact.m_s_above_chance)?;
    Some(if same(points, fractions) && same(points, above_chance) {
        format!("M_s of the coding spot is largest at k = {}, in every unit.", share(points))
    } else {
        format!(
            "M_s of the coding spot is largest at k = {} in points, at {} in fractions and at {} above chance: the unit \
             decides.",
            share(points),
            share(fractions),
            share(above_chance)
        )
    })
}
