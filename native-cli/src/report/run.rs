//! A run as sections: what was scored, where the highest scores lie, how alike languages are.

use crate::overlap;
use crate::run::{Choice, Run, TOP_PERCENT};
use codingspot_core::spot::{Scope, count_tensors};
use codingspot_plot::number::{percent, significant, thousands};
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
    let cells = count_tensors(&spot, 0..spot.len(), &run.layout);
    let tensors = run.layout.tensors();
    let mut modules: Vec<&str> = Vec::new();
    for cell in &cells {
        let name = tensors[cell.tensor].module.name();
        if !modules.contains(&name) {
            modules.push(name);
        }
    }
    let layers = tensors.iter().filter_map(|spec| spec.layer).max().map_or(0, |last| last + 1);
    let mut cols: Vec<String> = (0..layers).map(|layer| layer.to_string()).collect();
    cols.push("outside".to_owned());
    let find = |module: &str, layer: Option<usize>| {
        let cell = cells
            .iter()
            .find(|cell| tensors[cell.tensor].module.name() == module && tensors[cell.tensor].layer == layer);
        cell.and_then(codingspot_core::spot::TensorCount::enrichment)
    };
    let values = modules
        .iter()
        .map(|module| (0..layers).map(Some).chain([None]).map(|layer| find(module, layer)).collect())
        .collect();
    let densest =
        cells.iter().max_by(|a, b| a.enrichment().unwrap_or(0.0).total_cmp(&b.enrichment().unwrap_or(0.0)));
    let norms: u64 =
        cells.iter().filter(|cell| tensors[cell.tensor].module.is_norm()).map(|cell| cell.count).sum();
    let sentence = densest.map_or(String::new(), |cell| {
        format!(
            "Of the top {K} % ({} parameters) {} lie in gains of norms. The densest tensor is {}: {} times its even \
             share.",
            thousands(spot.len() as u64),
            thousands(norms),
            tensors[cell.tensor].name,
            significant(cell.enrichment().unwrap_or(0.0), 3)
        )
    });
    let chart = HeatMap {
        title: format!("Highest scores over their even share: scope {}, k = {K} %", scope.name()),
        row_label: "Module".to_owned(),
        col_label: "Layer".to_owned(),
        rows: modules.iter().map(|&name| name.to_owned()).collect(),
        cols,
        cells: values,
        scale: ColorScale::Log2Enrichment,
        cell_digits: 1,
        group_breaks: Vec::new(),
        emphasize: None,
        diagonal: false,
    };
    let id = format!("where-{}", scope.name());
    let figure = Block::figure(format!("location-{}", scope.name()), chart, sentence);
    Ok(Section::new(id, format!("Where the highest scores lie: scope {}", scope.name()), vec![figure]))
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
