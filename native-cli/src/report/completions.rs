//! What a model writes with and without its spot: how much of it parses, and samples.

use super::study::dose_axis;
use super::words::{arm, capitalised, competing, list, style};
use crate::study::{
    CompletionFindings, CompletionOutcome, CompletionSample, Estimate, FormFinding, Role, SampleText,
    ScopeFindings, ShareFinding, Study,
};
use codingspot_core::spot::{Scope, count_of};
use codingspot_plot::number::{fixed, percent, signed, significant, thousands};
use codingspot_plot::{Axis, Block, Cell, LineChart, Mark, Pane, Point, Section, Series, SeriesStyle, Table};

/// The arms that write, in the order in which they are drawn.
const DRAWN: [&str; 4] = ["spot", "minus-general", "magnitude", "random:1"];

/// The section, if the study completed anything.
pub(super) fn section(study: &Study) -> Option<Section> {
    let found = study.completions.as_ref()?;
    let mut blocks = Vec::new();
    if original(found).is_some_and(|form| form.code.is_some()) {
        for scope in &study.scopes {
            let name = scope.scope.name();
            blocks.push(Block::Heading(format!("Scope {name}: {}", competing(scope.scope))));
            blocks.push(figure(study, found, scope));
            blocks.push(Block::Table(at_one_k(study, found, scope)));
            let unfolded = vec![Block::Table(over_k(found, scope)), Block::Table(blank(found, scope))];
            blocks.push(Block::Details { summary: "Every language and k".to_owned(), blocks: unfolded });
        }
    }
    blocks.push(Block::Heading("What it writes".to_owned()));
    blocks.push(Block::Paragraph(samples_sentence(study, found)));
    blocks.extend(samples(study, found));
    let mut section = Section::new("completions", "Does it still write code?", blocks);
    section.paragraphs.push(rule(found));
    Some(section)
}

/// What was done, and what counts as parsing.
fn rule(found: &CompletionFindings) -> String {
    let unparsed: Vec<String> = found
        .languages
        .iter()
        .filter(|language| !language.parsed)
        .map(|language| capitalised(&language.name))
        .collect();
    let count = |of: &dyn Fn(usize) -> bool| found.languages.iter().filter(|l| of(l.prompts)).count();
    let few = count(&|prompts| prompts < found.settings.prompts);
    let mut text = format!(
        "Each form of the model went on after the beginnings of {} held-out documents a language, by at most {} tokens, \
         the likeliest each time. A completion parses if the prompt and it are the beginning of a program to \
         tree-sitter’s grammar of the language: no token of it is one that no program has there. That it breaks off \
         is no error, unless the model itself ended it. Of real code nearly all parses by that rule; of text that is \
         none, little does, but to Bash nearly any words are a command.",
        found.settings.prompts, found.settings.tokens
    );
    if few > 0 {
        let fewest = found.languages.iter().map(|language| language.prompts).min().unwrap_or(0);
        text += &format!(
            " {few} of {} languages have fewer documents that can be cut so, {fewest} or more.",
            found.languages.len()
        );
    }
    if !unparsed.is_empty() {
        text += &format!(" {} is not parsed.", list(&unparsed));
    }
    text
}

fn original(found: &CompletionFindings) -> Option<&FormFinding> {
    found.forms.iter().find(|form| form.scope.is_none())
}

fn of_arm<'f>(found: &'f CompletionFindings, scope: Scope, arm: &str) -> Vec<&'f FormFinding> {
    found.forms.iter().filter(|form| form.scope == Some(scope) && form.arm == arm).collect()
}

/// The form of an arm at the study's own k.
fn at_k<'f>(
    study: &Study,
    found: &'f CompletionFindings,
    scope: &ScopeFindings,
    arm: &str,
) -> Option<&'f FormFinding> {
    let count = count_of(scope.parameters, study.settings.k).max(1);
    of_arm(found, scope.scope, arm).into_iter().find(|form| form.count == count)
}

/// An arm's name, without the number of the only draw.
fn arm_name(name: &str, general: &str) -> String {
    arm(if name == "random:1" { "random" } else { name }, general)
}

/// `83 % [80, 86]`.
fn share(found: Estimate) -> String {
    let whole = |value: f64| fixed(100.0 * value, 0);
    format!("{} % [{}, {}]", whole(found.value), whole(found.low), whole(found.high))
}

/// `−81 points [−85, −75]`.
fn points(found: Estimate) -> String {
    let whole = |value: f64| signed(100.0 * value, 0);
    format!("{} points [{}, {}]", whole(found.value), whole(found.low), whole(found.high))
}

fn figure(study: &Study, found: &CompletionFindings, scope: &ScopeFindings) -> Block {
    let general = &study.settings.general;
    let series = DRAWN
        .iter()
        .map(|name| (name, of_arm(found, scope.scope, name)))
        .filter(|(_, forms)| !forms.is_empty())
        .map(|(name, forms)| {
            let line = forms.iter().filter_map(|form| Some((form.count as f64, form.code?.parsing)));
            let line = line.map(|(count, share)| {
                Point::with_interval(count, 100.0 * share.value, 100.0 * share.low, 100.0 * share.high)
            });
            Series::new(arm_name(name, general), style(name), line.collect())
        })
        .collect();
    let mut marks = Vec::new();
    if let Some(share) = original(found).and_then(|form| form.code) {
        marks.push(Mark::horizontal(100.0 * share.parsing.value, "original"));
    }
    let counts: Vec<u64> = of_arm(found, scope.scope, "spot").iter().map(|form| form.count).collect();
    let name = scope.scope.name();
    let chart = LineChart {
        title: format!("Completions of code that parse: scope {name}"),
        x: dose_axis(scope, &counts),
        y: Axis::new("Completions that parse", "%").with_range(0.0, 100.0).with_decimals(0),
        series,
        marks,
    };
    Block::figure(format!("completions-{name}"), chart, sentence(study, found, scope))
}

/// What the figure says at the study's own k.
fn sentence(study: &Study, found: &CompletionFindings, scope: &ScopeFindings) -> String {
    let code = |name: &str| at_k(study, found, scope, name).and_then(|form| form.code);
    let parsing = |name: &str| code(name).map_or("none".to_owned(), |found| share(found.parsing));
    let Some(whole) = original(found).and_then(|form| form.code) else { return String::new() };
    let Some(spot) = code("spot") else { return String::new() };
    let languages =
        found.languages.iter().filter(|l| l.role == Role::Scored && l.parsed && l.prompts > 0).count();
    format!(
        "Of {} completions in {languages} languages {} of the original’s parse, and {} of those without the coding spot \
         of k = {} %: a change of {}. Without as many random parameters of the same tensors {} parse, without the \
         largest weights {}, without the coding spot less that of {} {}. {} of what is written without the coding \
         spot has no letter or digit at all, of the original’s {}.",
        thousands(whole.prompts),
        share(whole.parsing),
        share(spot.parsing),
        study.settings.k,
        spot.difference.map_or(String::new(), points),
        parsing("random:1"),
        parsing("magnitude"),
        capitalised(&study.settings.general),
        parsing("minus-general"),
        capitalised(&some_percent(spot.blank.value)),
        some_percent(whole.blank.value)
    )
}

/// `none`, or a share in percent.
fn some_percent(value: f64) -> String {
    if value <= 0.0 { "none".to_owned() } else { percent(value, 2) }
}

fn percent_cell(found: Option<Estimate>) -> Cell {
    found.map_or(Cell::Empty, |found| {
        Cell::interval(100.0 * found.value, 100.0 * found.low, 100.0 * found.high, 0)
    })
}

/// What of a share is shown.
type Pick = fn(&ShareFinding) -> Option<Estimate>;

const PARSING: Pick = |share| Some(share.parsing);

/// Rows of a table: all scored languages together, then every language that is parsed.
fn rows(found: &CompletionFindings, columns: &[(Option<&FormFinding>, Pick)]) -> Vec<Vec<Cell>> {
    let row = |name: String, prompts: u64, of_form: &dyn Fn(&FormFinding) -> Option<ShareFinding>| {
        let cell = |(form, pick): &(Option<&FormFinding>, Pick)| {
            percent_cell(form.and_then(of_form).as_ref().and_then(pick))
        };
        let first = [Cell::head(name), Cell::count(prompts)];
        first.into_iter().chain(columns.iter().map(cell)).collect()
    };
    let Some(whole) = original(found) else { return Vec::new() };
    let scored =
        found.languages.iter().filter(|language| language.role == Role::Scored && language.parsed).count();
    let pooled =
        row(format!("all {scored} scored"), whole.code.map_or(0, |code| code.prompts), &|form| form.code);
    let parsed = found
        .languages
        .iter()
        .enumerate()
        .filter(|(index, _)| whole.languages.get(*index).copied().flatten().is_some());
    let single = parsed.map(|(index, language)| {
        let role = if language.role == Role::Scored { "" } else { ", not scored" };
        row(format!("{}{role}", capitalised(&language.name)), language.prompts as u64, &|form| {
            form.languages.get(index).copied().flatten()
        })
    });
    std::iter::once(pooled).chain(single).collect()
}

/// By language, at the study's own k.
fn at_one_k(study: &Study, found: &CompletionFindings, scope: &ScopeFindings) -> Table {
    let general = &study.settings.general;
    let forms =
        std::iter::once(original(found)).chain(DRAWN.iter().map(|arm| at_k(study, found, scope, arm)));
    let mut columns: Vec<(Option<&FormFinding>, Pick)> = forms.map(|form| (form, PARSING)).collect();
    columns.push((at_k(study, found, scope, "spot"), |share| share.difference));
    let mut head = vec!["language".to_owned(), "prompts".to_owned(), "original".to_owned()];
    head.extend(DRAWN.iter().map(|name| arm_name(name, general)));
    head.push("coding spot less original".to_owned());
    let caption = format!(
        "Completions that parse, %, by what was set to zero: scope {}, k = {} %",
        scope.scope.name(),
        study.settings.k
    );
    let mut table = Table::new(caption, head, rows(found, &columns)).stacked();
    table.notes.push(
        "Intervals of shares are Wilson’s, of the difference, in points and paired over prompts, Newcombe’s."
            .to_owned(),
    );
    table
}

/// The spot over k, the original first: columns and their heads.
fn spot_columns<'f>(
    found: &'f CompletionFindings,
    scope: &ScopeFindings,
    pick: Pick,
) -> (Vec<(Option<&'f FormFinding>, Pick)>, Vec<String>) {
    let spots = of_arm(found, scope.scope, "spot");
    let mut head = vec!["language".to_owned(), "prompts".to_owned(), "0".to_owned()];
    head.extend(spots.iter().map(|form| format!("{} % ({})", significant(form.k, 2), thousands(form.count))));
    let forms = std::iter::once(original(found)).chain(spots.into_iter().map(Some));
    (forms.map(|form| (form, pick)).collect(), head)
}

fn over_k(found: &CompletionFindings, scope: &ScopeFindings) -> Table {
    let (columns, head) = spot_columns(found, scope, PARSING);
    let caption = format!(
        "Completions that parse without the coding spot, %, by its k (parameters): scope {}",
        scope.scope.name()
    );
    Table::new(caption, head, rows(found, &columns)).stacked()
}

fn blank(found: &CompletionFindings, scope: &ScopeFindings) -> Table {
    let (columns, head) = spot_columns(found, scope, |share| Some(share.blank));
    let caption = format!(
        "Completions without a letter or digit, without the coding spot, %, by its k (parameters): scope {}",
        scope.scope.name()
    );
    Table::new(caption, head, rows(found, &columns)).stacked()
}

fn samples_sentence(study: &Study, found: &CompletionFindings) -> String {
    let most = found
        .languages
        .iter()
        .map(|language| found.samples.iter().filter(|sample| sample.language == language.name).count())
        .max()
        .unwrap_or(0);
    format!(
        "The first {most} prompts of every language as they come, none picked, and what follows them: from the model as it \
         is, and without the coding spot of k = {} %.",
        study.settings.k
    )
}

fn samples(study: &Study, found: &CompletionFindings) -> Vec<Block> {
    let of_language = |name: &str| -> Vec<&CompletionSample> {
        found.samples.iter().filter(|sample| sample.language == name).collect()
    };
    found
        .languages
        .iter()
        .map(|language| (language, of_language(&language.name)))
        .filter(|(_, samples)| !samples.is_empty())
        .map(|(language, samples)| {
            let mut blocks = Vec::new();
            for (sample, number) in samples.iter().zip(1..) {
                blocks.push(Block::pre(format!("Prompt {number}"), &sample.prompt));
                blocks.push(Block::Panes(sample.texts.iter().map(|text| pane(study, text)).collect()));
            }
            let summary = format!("{}: {} prompts", capitalised(&language.name), samples.len());
            Block::Details { summary, blocks }
        })
        .collect()
}

fn pane(study: &Study, text: &SampleText) -> Pane {
    let (who, style) = match text.scope {
        None => ("Original".to_owned(), SeriesStyle::Original),
        Some(scope) if study.scopes.len() > 1 => {
            (format!("Without the coding spot of scope {}", scope.name()), SeriesStyle::Spot)
        }
        Some(_) => ("Without the coding spot".to_owned(), SeriesStyle::Spot),
    };
    let outcome = match text.outcome {
        None => "",
        Some(CompletionOutcome::Parses) => ": parses",
        Some(CompletionOutcome::SyntaxError) => ": doesn’t parse",
        Some(CompletionOutcome::Blank) => ": blank",
    };
    let end = if text.finished { ", ended by the model" } else { "" };
    Pane { label: format!("{who}{outcome}{end}"), style, text: text.completion.clone() }
}
