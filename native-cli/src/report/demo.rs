//! The demo's report.

use super::rows;
use super::words::competing;
use crate::output::grouped;
use crate::results::{ORIGINAL, ResultRow};
use crate::run::Manifest;
use crate::table::distinct;
use codingspot_core::spot::Scope;
use codingspot_plot::number::signed;
use codingspot_plot::{Block, Page, Pane, Section, SeriesStyle};
use serde::Serialize;

/// One prompt completed by one form of the model.
#[derive(Debug, Serialize)]
pub(crate) struct Completion {
    pub(crate) label: String,
    pub(crate) text: String,
}

/// What one scope gave.
#[derive(Debug, Serialize)]
pub(crate) struct ScopeReport {
    pub(crate) scope: Scope,
    pub(crate) results: Vec<ResultRow>,
    /// Norm gains in the spot at each k.
    pub(crate) norms: Vec<u64>,
}

/// All that the demo found.
#[derive(Debug, Serialize)]
pub(crate) struct DemoReport {
    pub(crate) schema_version: u32,
    pub(crate) manifest: Manifest,
    /// Percent.
    pub(crate) ks: Vec<f64>,
    pub(crate) scopes: Vec<ScopeReport>,
    pub(crate) prompt: String,
    pub(crate) prompt_k: f64,
    pub(crate) completions: Vec<Completion>,
    pub(crate) seconds: f64,
    pub(crate) versions: serde_json::Value,
}

/// What no knowledge at all costs, as a sentence: the scale that losses are read on.
pub(crate) fn chance(report: &DemoReport) -> String {
    let vocabulary = report.manifest.model.config.get("vocab_size").and_then(serde_json::Value::as_u64);
    vocabulary.map_or(String::new(), |size| {
        format!("Guessing every token alike costs ln {} = {:.3} nats.", grouped(size), (size as f64).ln())
    })
}

/// The report as a page.
pub(crate) fn page(report: &DemoReport) -> Page {
    let model = &report.manifest.model;
    let mut contents: Vec<Section> = report.scopes.iter().map(|scope| section(scope, &report.ks)).collect();
    let panes = report
        .completions
        .iter()
        .map(|completion| Pane {
            label: completion.label.clone(),
            style: look(&completion.label),
            text: completion.text.clone(),
        })
        .collect();
    contents.push(Section::new(
        "completions",
        "One prompt, before and after",
        vec![
            Block::pre(format!("Prompt; greedy completions at k = {} %", report.prompt_k), &report.prompt),
            Block::Panes(panes),
        ],
    ));
    contents.push(settings(report));
    Page {
        title: "What a model loses with its coding spot".to_owned(),
        lead: vec![format!(
            "Every parameter of {} ({} parameters) was scored by |∂L/∂θ|·|θ| on code in {} languages. The \
             highest-scored k % were set to zero, and beside them as many random parameters of the same tensors. \
             The figures give the loss on held-out text: lower is better. {}",
            model.name,
            grouped(model.parameters),
            report.manifest.languages.len(),
            chance(report)
        )],
        contents,
        footer: vec![
            "The command “codingspot study” compares the spot with more controls, over more doses, with intervals."
                .to_owned(),
            format!("Made by codingspot {}.", env!("CARGO_PKG_VERSION")),
        ],
        ..Page::default()
    }
}

fn look(label: &str) -> SeriesStyle {
    if label.contains("spot") {
        SeriesStyle::Spot
    } else if label.contains("random") {
        SeriesStyle::Random
    } else {
        SeriesStyle::Original
    }
}

fn section(scope: &ScopeReport, ks: &[f64]) -> Section {
    let name = scope.scope.name();
    let chart = rows::chart(&scope.results, &format!("Loss by share removed: scope {name}"));
    let mut blocks = vec![Block::figure(format!("dose-{name}"), chart, sentence(scope, ks))];
    for variant in distinct(&scope.results, |row| row.variant.clone()) {
        if variant != ORIGINAL {
            blocks.push(Block::Table(rows::table(&scope.results, &variant)));
        }
    }
    Section::new(format!("scope-{name}"), format!("Scope {name}: {}", competing(scope.scope)), blocks)
}

/// What the figures say at the largest of the paper's k.
fn sentence(scope: &ScopeReport, ks: &[f64]) -> String {
    let Some((place, &k)) = ks.iter().enumerate().find(|(_, k)| (**k - 0.25).abs() < 1e-9) else {
        return String::new();
    };
    let rows = &scope.results;
    let all = distinct(rows, |row| row.subset.clone());
    let random = distinct(rows, |row| row.variant.clone()).into_iter().find(|v| v.starts_with("random"));
    let random = random.unwrap_or_else(|| ORIGINAL.to_owned());
    let rise = |variant: &str, english: bool| {
        let subsets: Vec<String> = all
            .iter()
            .filter(|name| {
                if english { *name == "english" } else { !["english", "python"].contains(&name.as_str()) }
            })
            .cloned()
            .collect();
        let mean = |variant: &str, k: f64| rows::mean(rows, &subsets, variant, k).map(|(value, _)| value);
        let change = mean(variant, k).zip(mean(ORIGINAL, 0.0)).map(|(after, before)| after - before);
        change.map_or("an overflow".to_owned(), |change| format!("{} nats", signed(change, 2)))
    };
    let count =
        rows.iter().find(|row| row.k.to_bits() == k.to_bits()).map_or(0, |row| row.ablated_parameters);
    format!(
        "At k = {k} % the spot's removal changes the mean loss of the ten languages by {} and English by {}; as many \
         random parameters change them by {} and {}. {} of the spot's {} parameters are gains of norms.",
        rise("spot", false),
        rise("spot", true),
        rise(&random, false),
        rise(&random, true),
        grouped(scope.norms.get(place).copied().unwrap_or(0)),
        grouped(count)
    )
}

fn settings(report: &DemoReport) -> Section {
    let manifest = &report.manifest;
    let settings = &manifest.settings;
    let tokens: u64 = manifest.languages.iter().map(|language| language.tokens).sum();
    let languages: Vec<&str> = manifest.languages.iter().map(|language| language.name.as_str()).collect();
    let facts = [
        ("Model", format!("{} ({} parameters)", manifest.model.name, grouped(manifest.model.parameters))),
        ("Fingerprint", manifest.model.fingerprint.to_string()),
        ("Languages", languages.join(", ")),
        ("Estimator", settings.estimator.name().to_owned()),
        (
            "Batches",
            format!(
                "{} × {} tokens, {} tokens in all",
                settings.batch_size,
                settings.seq_len,
                grouped(tokens)
            ),
        ),
        ("Device", format!("{} ({})", settings.device, settings.dtype)),
        ("Time", format!("{:.0} s", report.seconds)),
        ("Versions", report.versions.to_string()),
    ];
    let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Section::new("settings", "Settings", vec![Block::Facts(facts)])
}
