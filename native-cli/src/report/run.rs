//! A run as sections: what was scored, where the highest scores lie, how alike languages are.

use super::location;
use crate::overlap;
use crate::run::{Choice, Run, TOP_PERCENT};
use crate::study::locate;
use codingspot_core::spot::Scope;
use codingspot_plot::number::{percent, thousands};
use codingspot_plot::{Block, Cell, ColorScale, HeatMap, Section, Table};

/// Share that is looked at, percent: the paper's largest.
const K: f64 = 0.25;
const SCOPES: [Scope; 2] = [Scope::All, Scope::NoNorm];

pub(super) fn sections(run: &Run) -> anyhow::Result<Vec<Section>> {
    let mut sections = vec![scored(run)];
    for scope in SCOPES {
        sections.push(place(run, scope)?);
    }
    if run.languages().len() > 1 {
        sections.push(languages(run)?);
    }
    Ok(sections)
}

fn scored(run: &Run) -> Section {
    let manifest = &run.manifest;
    let rows = manifest
        .languages
        .iter()
        .map(|language| {
            vec![
                Cell::head(&language.name),
                Cell::count(language.documents as u64),
                Cell::count(language.batches as u64),
                Cell::count(language.tokens),
                Cell::fixed(language.loss_nats_per_token, 4),
            ]
        })
        .collect();
    let head =
        ["language", "documents", "batches", "tokens", "loss, nats per token"].map(str::to_owned).to_vec();
    let settings = &manifest.settings;
    let facts = [
        ("Run", run.name()),
        ("Model", format!("{}, {} parameters", manifest.model.name, thousands(manifest.model.parameters))),
        ("Fingerprint of the weights", manifest.model.fingerprint.to_string()),
        ("Estimator", settings.estimator.name().to_owned()),
        ("Batches", format!("{} × {} tokens", settings.batch_size, settings.seq_len)),
        ("Device", format!("{} ({})", settings.device, settings.dtype)),
    ];
    let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Section::new(
        "scored",
        "What was scored",
        vec![Block::Facts(facts), Block::Table(Table::new("Texts that were scored on", head, rows))],
    )
}

fn place(run: &Run, scope: Scope) -> anyhow::Result<Section> {
    let spot = run.select(Choice::global(scope, K), None)?;
    let blocks = locate(&spot, &run.layout, &[K])?.iter().map(|at| location::figure(scope, at)).collect();
    let id = format!("where-{}", scope.name());
    Ok(Section::new(id, format!("Where the highest scores lie: scope {}", scope.name()), blocks))
}

fn languages(run: &Run) -> anyhow::Result<Section> {
    let scope = Scope::NoNorm;
    let k = K.min(TOP_PERCENT);
    let names = run.languages();
    let spots = names
        .iter()
        .map(|name| run.select_language(name, Choice::global(scope, k)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut cells = vec![vec![Some(1.0); names.len()]; names.len()];
    let (mut sum, mut chance, mut pairs) = (0.0, 0.0, 0.0);
    for a in 0..names.len() {
        for b in a + 1..names.len() {
            let alike = overlap::at(&spots[a], spots[a].len(), &spots[b], spots[b].len(), k).alike;
            (cells[a][b], cells[b][a]) = (Some(alike.jaccard), Some(alike.jaccard));
            sum += alike.jaccard;
            chance += alike.chance_by_tensor;
            pairs += 1.0;
        }
    }
    let sentence = format!(
        "Two languages' spots share {} of their union on average; random sets with the same numbers in every tensor \
         would share {}.",
        percent(sum / pairs, 3),
        percent(chance / pairs, 2)
    );
    let chart = HeatMap {
        title: format!("How alike the languages' spots are: scope {}, k = {k} %", scope.name()),
        row_label: "Spot of".to_owned(),
        col_label: "Spot of".to_owned(),
        rows: names.clone(),
        cols: names,
        cells,
        scale: ColorScale::Sequential { unit: "Jaccard index".to_owned(), range: Some((0.0, 1.0)) },
        cell_digits: 2,
        group_breaks: Vec::new(),
        emphasize: None,
        diagonal: true,
    };
    Ok(Section::new(
        "languages",
        "How alike languages are",
        vec![Block::figure("languages-figure", chart, sentence)],
    ))
}
