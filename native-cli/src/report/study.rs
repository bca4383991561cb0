//! A study as sections of a page: figures, each with a sentence made of its numbers.

use super::words::{arm, capitalised, competing, list, measure, rise, style};
use super::{completions, location};
use crate::overlap::PairAt;
use crate::study::{
    CurveFinding, CurvePoint, Estimate, KneeFinding, Measure, Role, ScopeFindings, Study, Verdict,
};
use codingspot_plot::number::{fixed, percent, short_count, signed, significant, thousands};
use codingspot_plot::{
    Axis, Bar, BarChart, BarForm, BarGroup, Block, Cell, ColorScale, HeatMap, Highlight, LineChart, Mark,
    Point, Section, Series, SeriesStyle, Table,
};

/// Arms of the dose-response figures, in the order in which they are drawn.
const DRAWN: [&str; 6] = ["spot", "minus-general", "general", "magnitude", "magnitude-matched", "random"];

/// What the page is about.
pub(super) fn lead(study: &Study) -> Vec<String> {
    let scored: Vec<String> = study.settings.languages.iter().map(|name| capitalised(name)).collect();
    let (documents, tokens) = study
        .subsets
        .iter()
        .fold((0, 0), |(documents, tokens), subset| (documents + subset.documents, tokens + subset.tokens));
    vec![
        format!(
            "Every parameter θ of {} ({} of them) was scored by |θ · ∂L/∂θ| on code in {}. The highest-scored \
             parameters, the coding spot, were set to zero, and so were as many parameters chosen in other \
             ways: at random in the same tensors ({} draws), the largest weights, the spot of {}, and the \
             coding spot without that. What each costs was measured on {} documents ({} tokens) that were \
             not scored.",
            study.model.name,
            thousands(study.model.parameters),
            list(&scored),
            study.settings.random_draws,
            capitalised(&study.settings.general),
            thousands(documents as u64),
            thousands(tokens)
        ),
        format!(
            "Losses are in nats per token; lower is better, and guessing every token alike costs {} nats. \
             Intervals in brackets are 95 %, from {} paired bootstrap resamples of documents (BCa), and of \
             random draws where there are any. They say how sure the measurement is, not the choice of the \
             documents that were scored, and are not corrected for the number of comparisons.",
            vocabulary(study).map_or("ln V".to_owned(), |size| fixed((size as f64).ln(), 2)),
            thousands(study.settings.resamples as u64)
        ),
    ]
}

fn vocabulary(study: &Study) -> Option<u64> {
    study.model.config.get("vocab_size").and_then(serde_json::Value::as_u64)
}

/// The numbers that matter, of the scope without norms if it was studied.
pub(super) fn highlights(study: &Study) -> Vec<Highlight> {
    let Some(scope) = study.scopes.last() else { return Vec::new() };
    let Some(point) = at_k(scope, "spot", study.settings.k) else { return Vec::new() };
    let random = at_k(scope, "random", study.settings.k);
    let general = capitalised(&study.settings.general);
    let where_ = format!(
        "k = {} % ({}), scope {}",
        significant(point.k, 3),
        short_count(point.count),
        scope.scope.name()
    );
    let note = |found: Option<Estimate>| {
        found.map_or(String::new(), |found| format!("[{}, {}]", signed(found.low, 2), signed(found.high, 2)))
    };
    let value = |found: Option<Estimate>| found.map_or("overflow".to_owned(), |found| signed(found.value, 2));
    let mut out = vec![
        Highlight::new(
            format!("{} nats", value(point.code)),
            format!("loss of code without the coding spot, {where_}"),
            note(point.code),
        ),
        Highlight::new(
            format!("{} nats", value(point.general)),
            format!("loss of {general} without it"),
            note(point.general),
        ),
    ];
    if let Some(random) = random {
        out.push(Highlight::new(
            format!("{} nats", value(random.code)),
            "loss of code without as many random parameters".to_owned(),
            note(random.code),
        ));
    }
    if let Some(half) =
        scope.knees.iter().find(|knee| knee.kind == "half").and_then(|knee| knee.k.zip(knee.count))
    {
        out.push(Highlight::new(
            format!("{} %", significant(half.0.value, 2)),
            "of the parameters do half of the damage".to_owned(),
            format!("{} of them", thousands(half.1.value.round() as u64)),
        ));
    }
    out
}

/// All sections: a question each, and in it the scopes one after another.
pub(super) fn sections(study: &Study) -> Vec<Section> {
    type Answer = fn(&Study, &ScopeFindings) -> Vec<Block>;
    let questions: [(&str, String, Answer); 5] = [
        ("dose", "How much does it take?".to_owned(), dose),
        ("where", "Where does it lie?".to_owned(), location::place),
        ("languages", format!("Is it one spot or {}?", study.settings.languages.len()), one_or_many),
        ("data", "Does it hold on other data?".to_owned(), other_data),
        ("edits", "Is it their being zero?".to_owned(), other_edits),
    ];
    let mut sections = vec![verdict(study)];
    for (id, heading, answer) in questions {
        let mut blocks = Vec::new();
        for scope in &study.scopes {
            let name = scope.scope.name();
            blocks.push(Block::Heading(format!("Scope {name}: {}", competing(scope.scope))));
            blocks.extend(answer(study, scope));
        }
        sections.push(Section::new(id, heading, blocks));
        if id == "dose" {
            sections.extend(completions::section(study));
        }
    }
    sections.push(settings(study));
    sections
}

fn id(scope: &ScopeFindings, name: &str) -> String {
    format!("{name}-{}", scope.scope.name())
}

fn at_k<'s>(scope: &'s ScopeFindings, arm: &str, k: f64) -> Option<&'s CurvePoint> {
    let count = codingspot_core::spot::count_of(scope.parameters, k).max(1);
    let curve = scope.curves.iter().find(|curve| curve.arm == arm)?;
    curve.points.iter().find(|point| point.count == count)
}

fn estimate_cell(found: Option<Estimate>) -> Cell {
    found.map_or(Cell::label("overflow"), |found| Cell::interval(found.value, found.low, found.high, 2))
}

/// The first table and the answer to the first question.
fn verdict(study: &Study) -> Section {
    let mut section = Section::new("verdict", "Does the spot do more than its controls?", Vec::new());
    for scope in &study.scopes {
        section.blocks.push(Block::Heading(format!(
            "Scope {}: {}",
            scope.scope.name(),
            competing(scope.scope)
        )));
        section.blocks.push(Block::Paragraph(verdict_sentence(study, scope)));
        section.blocks.push(Block::Table(verdict_table(study, scope)));
        for measured in [Measure::Code, Measure::Gap] {
            section.blocks.push(verdict_figure(study, scope, measured));
        }
    }
    section
}

/// The first table.
fn verdict_table(study: &Study, scope: &ScopeFindings) -> Table {
    let general = capitalised(&study.settings.general);
    let rows = paper_points(scope, "spot")
        .into_iter()
        .map(|point| {
            let other = |arm: &str| scope_point(scope, arm, point.count).and_then(|p| p.code);
            vec![
                Cell::head(format!("{} % ({})", significant(point.k, 3), thousands(point.count))),
                Cell::count(point.norms),
                estimate_cell(point.code),
                estimate_cell(other("random")),
                estimate_cell(other("magnitude")),
                estimate_cell(other("general")),
                estimate_cell(point.general),
            ]
        })
        .collect();
    let head = [
        "k (parameters)".to_owned(),
        "norm gains".to_owned(),
        "code: spot".to_owned(),
        "code: random".to_owned(),
        "code: largest weights".to_owned(),
        format!("code: {general} spot"),
        format!("{general}: spot"),
    ];
    Table::new("Rise of the loss in nats per token, by what was set to zero", head.to_vec(), rows)
}

fn paper_points<'s>(scope: &'s ScopeFindings, arm: &str) -> Vec<&'s CurvePoint> {
    let Some(curve) = scope.curves.iter().find(|curve| curve.arm == arm) else { return Vec::new() };
    let mut counts: Vec<u64> = scope.verdicts.iter().map(|verdict| verdict.count).collect();
    counts.dedup();
    curve.points.iter().filter(|point| counts.contains(&point.count)).collect()
}

fn scope_point<'s>(scope: &'s ScopeFindings, arm: &str, count: u64) -> Option<&'s CurvePoint> {
    scope.curves.iter().find(|curve| curve.arm == arm)?.points.iter().find(|point| point.count == count)
}

/// Which comparisons the spot wins, by their intervals.
fn verdict_sentence(study: &Study, scope: &ScopeFindings) -> String {
    let general = &study.settings.general;
    let mut sentences = Vec::new();
    for measured in [Measure::Code, Measure::Gap] {
        let of: Vec<&Verdict> = scope.verdicts.iter().filter(|v| v.measure == measured).collect();
        let by = |sign: i8| -> Vec<String> {
            let found = of.iter().filter(|v| v.difference.is_some_and(|d| d.sign() == sign));
            found.map(|v| format!("{} at {} %", arm(&v.control, general), v.k)).collect()
        };
        let (more, less, open) = (by(1), by(-1), by(0));
        let what = measure(measured, general);
        let lost = of.iter().filter(|v| v.difference.is_none()).count();
        if more.len() == of.len() {
            sentences.push(format!(
                "The spot's effect on {what} exceeds that of every control at every k, by intervals that \
                 exclude 0 ({} comparisons).",
                of.len()
            ));
            continue;
        }
        let mut text = format!(
            "The spot's effect on {what} exceeds its control's in {} of {} comparisons by an interval that \
             excludes 0",
            more.len(),
            of.len()
        );
        if !less.is_empty() {
            text += &format!("; it is smaller than that of {}", list(&less));
        }
        if !open.is_empty() {
            text += &format!("; in {} it can't be told from the control's", open.len());
        }
        if lost > 0 {
            text += &format!("; {lost} can't be compared, because a model overflowed");
        }
        sentences.push(text + ".");
    }
    if let Some(point) = at_k(scope, "spot", study.settings.k) {
        let random = at_k(scope, "random", study.settings.k).and_then(|point| point.code);
        sentences.push(format!(
            "At k = {} % the spot costs code {} and {} {}; as many random parameters of the same tensors cost \
             code {}. {} of the spot's {} parameters are gains of norms.",
            study.settings.k,
            rise(point.code),
            capitalised(general),
            rise(point.general),
            rise(random),
            if point.norms == 0 { "None".to_owned() } else { thousands(point.norms) },
            thousands(point.count)
        ));
    }
    sentences.join(" ")
}

fn verdict_figure(study: &Study, scope: &ScopeFindings, measured: Measure) -> Block {
    let general = &study.settings.general;
    let mut groups: Vec<BarGroup> = Vec::new();
    for verdict in scope.verdicts.iter().filter(|verdict| verdict.measure == measured) {
        let name = format!("k = {} % ({} parameters)", verdict.k, thousands(verdict.count));
        if groups.last().is_none_or(|group| group.name != name) {
            groups.push(BarGroup { name, bars: Vec::new() });
        }
        let label = arm(&verdict.control, general);
        let bar = match verdict.difference {
            Some(d) => Bar::new(label, style(&verdict.control), d.value).with_interval(d.low, d.high),
            None => Bar { label, style: style(&verdict.control), value: None, low: None, high: None },
        };
        if let Some(group) = groups.last_mut() {
            group.bars.push(bar);
        }
    }
    let what = measure(measured, general);
    let smallest = scope
        .verdicts
        .iter()
        .filter(|v| v.measure == measured)
        .filter_map(|v| Some((v, v.difference?)))
        .min_by(|a, b| a.1.value.total_cmp(&b.1.value));
    let sentence = smallest.map_or("Nothing could be compared.".to_owned(), |(v, d)| {
        format!(
            "The control that comes closest, or farthest ahead, is {} at k = {} %: the spot's effect on {what} less \
             its own is {}.",
            arm(&v.control, general),
            v.k,
            rise(Some(d))
        )
    });
    let chart = BarChart {
        title: format!("Spot less control, {what}: scope {}", scope.scope.name()),
        value: Axis::new("Difference of rises of the loss", "nats per token").with_decimals(2),
        groups,
        marks: Vec::new(),
        form: BarForm::Forest,
    };
    let name = if measured == Measure::Code { "difference-code" } else { "difference-gap" };
    Block::figure(id(scope, name), chart, sentence)
}

fn points(curve: &CurveFinding, of: impl Fn(&CurvePoint) -> Option<Estimate>) -> Vec<Point> {
    curve
        .points
        .iter()
        .map(|point| match of(point) {
            Some(found) => Point::with_interval(point.count as f64, found.value, found.low, found.high),
            None => Point::gap(point.count as f64),
        })
        .collect()
}

/// The doses of the curves.
fn doses(scope: &ScopeFindings) -> Vec<u64> {
    scope.curves.first().map_or(Vec::new(), |curve| curve.points.iter().map(|point| point.count).collect())
}

/// The x axis of doses: numbers of parameters from the first to the last of `counts`, and percent below.
pub(super) fn dose_axis(scope: &ScopeFindings, counts: &[u64]) -> Axis {
    let (first, last) = (counts.first().copied().unwrap_or(1), counts.last().copied().unwrap_or(10));
    let powers = |from: i32| (from..).map(|power| 10_f64.powi(power));
    let ticks: Vec<(f64, String)> = powers(-9)
        .map(|k| (k * scope.parameters as f64 / 100.0, k))
        .skip_while(|(count, _)| *count < first as f64)
        .take_while(|(count, _)| *count <= last as f64)
        .map(|(count, k)| (count, significant(k, 1)))
        .collect();
    Axis::new("Parameters set to zero", "").log().with_secondary("% of the scope", ticks)
}

fn arms_chart(
    study: &Study,
    scope: &ScopeFindings,
    title: String,
    y: &str,
    of: impl Fn(&CurvePoint) -> Option<Estimate>,
) -> LineChart {
    let series = DRAWN
        .iter()
        .filter_map(|name| scope.curves.iter().find(|curve| curve.arm == *name))
        .map(|curve| {
            Series::new(arm(&curve.arm, &study.settings.general), style(&curve.arm), points(curve, &of))
        })
        .collect();
    LineChart {
        title,
        x: dose_axis(scope, &doses(scope)),
        y: Axis::new(y, "nats per token").with_decimals(2),
        series,
        marks: Vec::new(),
    }
}

fn knee<'s>(scope: &'s ScopeFindings, kind: &str) -> Option<&'s KneeFinding> {
    scope.knees.iter().find(|knee| knee.kind == kind && knee.k.is_some())
}

fn dose(study: &Study, scope: &ScopeFindings) -> Vec<Block> {
    let general = capitalised(&study.settings.general);
    let name = scope.scope.name();
    let mut code = arms_chart(
        study,
        scope,
        format!("What removing parameters costs code: scope {name}"),
        "Rise of the mean loss of code",
        |point| point.code,
    );
    let mut sentence = dose_sentence(scope);
    for (kind, label) in [("elbow", "damage sets in"), ("knee", "damage saturates")] {
        if let Some(count) = knee(scope, kind).and_then(|knee| knee.count) {
            code.marks.push(Mark::vertical(count.value, label).with_interval(count.low, count.high));
        }
    }
    sentence += &knee_sentence(study, scope);
    let gap = arms_chart(
        study,
        scope,
        format!("What code loses beyond {general}: scope {name}"),
        &format!("Rise for code less rise for {general}"),
        |point| point.gap,
    );
    let language = arms_chart(
        study,
        scope,
        format!("What removing the same parameters costs {general}: scope {name}"),
        &format!("Rise of the loss of {general}"),
        |point| point.general,
    );
    vec![
        Block::figure(id(scope, "dose-code"), code, sentence),
        Block::figure(id(scope, "dose-gap"), gap, gap_sentence(study, scope)),
        Block::figure(id(scope, "dose-general"), language, general_sentence(study, scope)),
        Block::Table(knee_table(study, scope)),
        Block::Details {
            summary: "Loss of every language".to_owned(),
            blocks: vec![Block::Table(language_table(study, scope))],
        },
        prediction_figure(study, scope),
    ]
}

fn dose_sentence(scope: &ScopeFindings) -> String {
    let Some(curve) = scope.curves.iter().find(|curve| curve.arm == "spot") else { return String::new() };
    let first = curve.points.iter().find(|point| point.code.is_some_and(|rise| rise.low > 0.0));
    let top = curve
        .points
        .iter()
        .filter_map(|point| Some((point, point.code?)))
        .max_by(|a, b| a.1.value.total_cmp(&b.1.value));
    let mut text = match first {
        Some(point) => format!(
            "The smallest spot measured whose removal raises the loss of code beyond doubt has {} ({} % of the \
             scope): {}.",
            if point.count == 1 {
                "1 parameter".to_owned()
            } else {
                format!("{} parameters", thousands(point.count))
            },
            significant(point.k, 2),
            rise(point.code)
        ),
        None => "No spot up to the largest measured raises the loss of code beyond doubt.".to_owned(),
    };
    if let Some((point, found)) = top {
        text +=
            &format!(" The most it rises is {} at {} parameters.", rise(Some(found)), thousands(point.count));
    }
    text
}

fn knee_sentence(study: &Study, scope: &ScopeFindings) -> String {
    let percent_of = |knee: &KneeFinding| {
        knee.k.map_or(String::new(), |k| {
            format!("{} % [{}, {}]", significant(k.value, 3), significant(k.low, 3), significant(k.high, 3))
        })
    };
    let mut text = String::new();
    if let Some(found) = knee(scope, "elbow") {
        text += &format!(" Damage sets in at k = {}", percent_of(found));
        if let Some(found) = knee(scope, "knee") {
            text += &format!(" and saturates at {}", percent_of(found));
        }
        text += " (where the curve bends most from its chord, Kneedle).";
    }
    if let Some(found) = knee(scope, "gap") {
        // A peak at the end of the curve may be none.
        let last = doses(scope).last().copied();
        let at_end = found.count.is_some_and(|count| Some(count.value.round() as u64) == last);
        text += &format!(
            " Code has lost most beyond {} at k = {}: {}.",
            capitalised(&study.settings.general),
            percent_of(found),
            if at_end { "the largest that was measured" } else { "the k that tells code from language best" }
        );
    }
    text
}

fn gap_sentence(study: &Study, scope: &ScopeFindings) -> String {
    let general = capitalised(&study.settings.general);
    let best = |name: &str| {
        let curve = scope.curves.iter().find(|curve| curve.arm == name)?;
        let points = curve.points.iter().filter_map(|point| Some((point.count, point.gap?)));
        points.max_by(|a, b| a.1.value.total_cmp(&b.1.value))
    };
    let say = |name: &str| {
        best(name).map_or("an overflow".to_owned(), |(count, gap)| {
            format!("{} at {} parameters", rise(Some(gap)), thousands(count))
        })
    };
    format!(
        "Above 0 code loses more than {general}. The most that code loses beyond {general} is {} for the coding \
         spot, {} for the spot without {general}'s, {} for the largest weights and {} for random parameters.",
        say("spot"),
        say("minus-general"),
        say("magnitude"),
        say("random")
    )
}

fn general_sentence(study: &Study, scope: &ScopeFindings) -> String {
    let general = capitalised(&study.settings.general);
    let at = |name: &str| at_k(scope, name, study.settings.k).and_then(|point| point.general);
    format!(
        "At k = {} % {general} loses {} without the coding spot, {} without its own, and {} without the coding \
         spot less its own.",
        study.settings.k,
        rise(at("spot")),
        rise(at("general")),
        rise(at("minus-general"))
    )
}

fn knee_table(study: &Study, scope: &ScopeFindings) -> Table {
    let what = |kind: &str| match kind {
        "elbow" => "damage to code sets in".to_owned(),
        "half" => "half of the damage to code is done".to_owned(),
        "knee" => "damage to code saturates".to_owned(),
        _ => format!("code has lost most beyond {}", capitalised(&study.settings.general)),
    };
    let rows = scope
        .knees
        .iter()
        .map(|knee| {
            let interval = |found: Option<Estimate>, write: &dyn Fn(f64) -> String| match found {
                Some(found) => Cell::Number {
                    text: format!("{} [{}, {}]", write(found.value), write(found.low), write(found.high)),
                    value: Some(found.value),
                    low: Some(found.low),
                    high: Some(found.high),
                },
                None => Cell::label("none"),
            };
            vec![
                Cell::head(what(&knee.kind)),
                interval(knee.k, &|value| significant(value, 3)),
                interval(knee.count, &|value| thousands(value.round().max(0.0) as u64)),
                Cell::number_as(knee.found, percent(knee.found, 3)),
            ]
        })
        .collect();
    Table::new(
        "Points of the spot's curve, with intervals over resampled documents",
        ["where".to_owned(), "k, %".to_owned(), "parameters".to_owned(), "found in resamples".to_owned()]
            .to_vec(),
        rows,
    )
}

fn language_table(study: &Study, scope: &ScopeFindings) -> Table {
    let mut head = vec!["language".to_owned(), "0".to_owned()];
    let curve = scope.curves.iter().find(|curve| curve.arm == "spot");
    let points: Vec<&CurvePoint> = curve.map_or(Vec::new(), |curve| curve.points.iter().collect());
    head.extend(points.iter().map(|point| thousands(point.count)));
    let rows = study
        .subsets
        .iter()
        .enumerate()
        .map(|(index, subset)| {
            let value = |loss: Option<f64>| loss.map_or(Cell::label("overflow"), |loss| Cell::fixed(loss, 3));
            let mut row = vec![Cell::head(&subset.name), value(subset.loss.map(|loss| loss.value))];
            row.extend(points.iter().map(|point| value(point.losses.get(index).copied().flatten())));
            row
        })
        .collect();
    Table::new("Loss by number of the spot's parameters set to zero, nats per token", head, rows)
}

fn prediction_figure(study: &Study, scope: &ScopeFindings) -> Block {
    let mut series = Vec::new();
    for (name, predicted, measured) in [
        ("spot", SeriesStyle::Other(1), SeriesStyle::Spot),
        ("magnitude", SeriesStyle::Other(2), SeriesStyle::Magnitude),
    ] {
        let Some(found) = scope.predictions.iter().find(|found| found.arm == name) else { continue };
        let label = if name == "spot" { "spot" } else { "largest weights" };
        // Beyond this the prediction says nothing, and would flatten all else.
        let near = found.points.iter().filter(|point| point.predicted.abs() < 10.0);
        series.push(Series::new(
            format!("{label}, predicted"),
            predicted,
            near.map(|point| Point::new(point.count as f64, point.predicted)).collect(),
        ));
        series.push(Series::new(
            format!("{label}, measured"),
            measured,
            found
                .points
                .iter()
                .map(|point| match point.measured {
                    Some(m) => Point::with_interval(point.count as f64, m.value, m.low, m.high),
                    None => Point::gap(point.count as f64),
                })
                .collect(),
        ));
    }
    let languages = study.settings.languages.len().max(1) as f64;
    let spot = scope.predictions.iter().find(|found| found.arm == "spot");
    // Where it has left what is measured it would flatten all else.
    let measured = spot.into_iter().flat_map(|found| &found.points).filter_map(|point| point.measured);
    let highest = measured.map(|measured| measured.value).fold(0.1, f64::max);
    let claimed: Vec<Point> = spot
        .into_iter()
        .flat_map(|found| &found.points)
        .filter_map(|point| Some(Point::new(point.count as f64, point.scores? / languages)))
        .filter(|point| point.y.is_some_and(|sum| sum <= 1.5 * highest))
        .collect();
    series.push(Series::new("sum of the spot's scores", SeriesStyle::Other(4), claimed));
    let count = codingspot_core::spot::count_of(scope.parameters, study.settings.k).max(1);
    let claimed_at_k = spot
        .and_then(|found| found.points.iter().find(|point| point.count == count))
        .and_then(|point| Some((point.scores? / languages, point.measured?)));
    let holds = scope.predictions.iter().find(|found| found.arm == "spot");
    let (low, high) = scope
        .lowering
        .iter()
        .map(|(_, share)| *share)
        .fold((1.0_f64, 0.0_f64), |(low, high), share| (low.min(share), high.max(share)));
    let sentence = format!(
        "The gradient on the held-out documents predicts the rise to first order, −Σ θ · ∂L/∂θ over what is \
         removed. For the spot it is within a fifth of what was measured {}. By the same sign, removing {} to {} \
         of all parameters one at a time would lower the loss of a language. The sum of scores is what the spot \
         would cost if every one of its parameters raised the loss by its score{}.",
        match holds.and_then(|found| found.holds_up_to) {
            Some(count) => format!("up to {} parameters", thousands(count.round() as u64)),
            None => "at no dose from the smallest on".to_owned(),
        },
        percent(low, 3),
        percent(high, 3),
        claimed_at_k.map_or(String::new(), |(sum, measured)| format!(
            ": {} nats at k = {} %, where it costs {}",
            fixed(sum, 2),
            study.settings.k,
            rise(Some(measured))
        ))
    );
    let chart = LineChart {
        title: format!("First-order prediction beside measurement: scope {}", scope.scope.name()),
        x: dose_axis(scope, &doses(scope)),
        y: Axis::new("Rise of the mean loss of code", "nats per token").with_decimals(2),
        series,
        marks: Vec::new(),
    };
    Block::figure(id(scope, "predicted"), chart, sentence)
}

fn one_or_many(study: &Study, scope: &ScopeFindings) -> Vec<Block> {
    let found = &scope.languages;
    let general = capitalised(&study.settings.general);
    let names: Vec<String> = found.names.iter().map(|name| capitalised(name)).collect();
    // The diagonal is 1 by definition, and would flatten all else.
    let off_diagonal = found.jaccard.iter().enumerate().flat_map(|(row, values)| {
        values.iter().enumerate().filter(move |(col, _)| *col != row).map(|(_, value)| *value)
    });
    let top = (off_diagonal.fold(0.05, f64::max) * 20.0).ceil() / 20.0;
    let jaccard = HeatMap {
        title: format!(
            "How alike the languages' own spots are: scope {}, k = {} %",
            scope.scope.name(),
            found.k
        ),
        row_label: "Spot of".to_owned(),
        col_label: "Spot of".to_owned(),
        rows: names.clone(),
        cols: names,
        cells: found.jaccard.iter().map(|row| row.iter().map(|&value| Some(value)).collect()).collect(),
        scale: ColorScale::Sequential { unit: "Jaccard index".to_owned(), range: Some((0.0, top)) },
        cell_digits: 2,
        group_breaks: Vec::new(),
        emphasize: None,
        diagonal: true,
    };
    let unique: u64 = found.unique.iter().map(|(_, count)| count).sum();
    let mean_unique = unique as f64 / (found.unique.len().max(1) as f64 * found.each.max(1) as f64);
    let last = found.over_k.last();
    let alike_sentence = format!(
        "Two languages of code share {} of their union on average, with {general} {}; random sets of these sizes \
         would share {}, and random sets with the same numbers in every tensor {}. {} of a language's parameters \
         are in no other's spot, and {} are in all {}.",
        last.map_or(String::new(), |at| percent(at.code_with_code, 3)),
        last.map_or(String::new(), |at| percent(at.code_with_general, 3)),
        percent(found.chance, 2),
        percent(found.chance_by_tensor, 2),
        percent(mean_unique, 3),
        percent(found.shared_by_all as f64 / found.each.max(1) as f64, 3),
        study.settings.languages.len()
    );
    let matrix = &scope.matrix;
    let matrix_names: Vec<String> = matrix.cols.iter().map(|name| capitalised(name)).collect();
    let rises = HeatMap {
        title: format!(
            "Remove the spot of one language, measure every other: scope {}, k = {} %",
            scope.scope.name(),
            matrix.k
        ),
        row_label: "Spot removed".to_owned(),
        col_label: "Loss measured on".to_owned(),
        rows: matrix_names.clone(),
        cols: matrix_names,
        cells: matrix.rise.clone(),
        scale: ColorScale::sequential("rise of the loss, nats per token"),
        cell_digits: 2,
        group_breaks: Vec::new(),
        emphasize: None,
        diagonal: true,
    };
    let rises_sentence = format!(
        "Among the scored languages a language loses {} more by its own spot than by another's, on average.",
        rise(matrix.own_less_others)
    );
    let mut blocks = vec![
        Block::figure(id(scope, "languages"), jaccard, alike_sentence),
        Block::figure(id(scope, "languages-k"), over_k_chart(study, scope), over_k_sentence(study, scope)),
        Block::figure(id(scope, "matrix"), rises, rises_sentence),
    ];
    if !scope.without.is_empty() {
        blocks.push(without_figure(scope));
    }
    if !scope.unscored.is_empty() {
        blocks.push(Block::Table(unscored_table(scope)));
        blocks.push(Block::Paragraph(unscored_sentence(study, scope)));
    }
    blocks
}

/// Languages that no score saw, beside those that were scored.
fn unscored_table(scope: &ScopeFindings) -> Table {
    let head =
        ["language", "k, % (parameters)", "spot", "random, same tensors", "spot, less scored languages"];
    let rows = scope
        .unscored
        .iter()
        .map(|found| {
            vec![
                Cell::head(capitalised(&found.language)),
                Cell::label(format!("{} ({})", found.k, thousands(found.count))),
                estimate_cell(found.spot),
                estimate_cell(found.random),
                estimate_cell(found.less_code),
            ]
        })
        .collect();
    Table::new(
        format!(
            "Languages that were not scored: rise of the loss in nats per token, by what was set to zero: scope {}",
            scope.scope.name()
        ),
        head.map(str::to_owned).to_vec(),
        rows,
    )
}

fn unscored_sentence(study: &Study, scope: &ScopeFindings) -> String {
    let at_k = scope.unscored.iter().filter(|found| found.k == study.settings.k);
    let sentences: Vec<String> = at_k
        .map(|found| {
            let compared = match found.less_code {
                Some(less) if less.low > 0.0 => "more than the scored languages do on average",
                Some(less) if less.high < 0.0 => "less than the scored languages do on average",
                _ => "which can't be told from what the scored languages do on average",
            };
            format!(
                "{}, which was not scored, loses {} without the spot of {} %, {compared} (difference {}).",
                capitalised(&found.language),
                rise(found.spot),
                found.k,
                rise(found.less_code)
            )
        })
        .collect();
    sentences.join(" ")
}

fn over_k_chart(study: &Study, scope: &ScopeFindings) -> LineChart {
    let over = &scope.languages.over_k;
    let line = |of: &dyn Fn(&crate::study::LanguagesAt) -> f64| -> Vec<Point> {
        over.iter().map(|at| Point::new(at.k, of(at))).collect()
    };
    LineChart {
        title: format!("Overlap of languages over k: scope {}", scope.scope.name()),
        x: Axis::new("Size of each spot", "% of the scope").log(),
        y: jaccard_axis("Mean Jaccard index", over.iter().map(|at| at.code_with_code)),
        series: vec![
            Series::new("code with code", SeriesStyle::Spot, line(&|at| at.code_with_code)),
            Series::new(
                format!("code with {}", capitalised(&study.settings.general)),
                SeriesStyle::General,
                line(&|at| at.code_with_general),
            ),
            Series::new("chance, same tensors", SeriesStyle::Other(0), line(&|at| at.chance_by_tensor)),
            Series::new("chance", SeriesStyle::Random, line(&|at| at.chance)),
        ],
        marks: Vec::new(),
    }
}

/// From 0 to a little above what there is.
fn jaccard_axis(label: &str, values: impl Iterator<Item = f64>) -> Axis {
    let top = (values.fold(0.05, f64::max) * 10.0 + 0.5).ceil() / 10.0;
    Axis::new(label, "").with_range(0.0, top.min(1.0)).with_decimals(2)
}

fn over_k_sentence(study: &Study, scope: &ScopeFindings) -> String {
    let over = &scope.languages.over_k;
    let general = capitalised(&study.settings.general);
    over.first().zip(over.last()).map_or(String::new(), |(first, last)| {
        format!(
            "From k = {} to {} % the overlap of code with code goes from {} to {}, that of code with {general} from \
             {} to {}.",
            first.k,
            last.k,
            fixed(first.code_with_code, 2),
            fixed(last.code_with_code, 2),
            fixed(first.code_with_general, 2),
            fixed(last.code_with_general, 2)
        )
    })
}

fn without_figure(scope: &ScopeFindings) -> Block {
    let bar = |label: &str, style: SeriesStyle, found: Option<Estimate>| match found {
        Some(found) => Bar::new(label, style, found.value).with_interval(found.low, found.high),
        None => Bar { label: label.to_owned(), style, value: None, low: None, high: None },
    };
    let groups = scope
        .without
        .iter()
        .map(|found| BarGroup {
            name: capitalised(&found.language),
            bars: vec![
                bar("spot of all languages", SeriesStyle::Spot, found.whole),
                bar("spot of all others", SeriesStyle::Other(1), found.without),
                bar("its own spot", SeriesStyle::Difference, found.own),
            ],
        })
        .collect();
    let mean = |of: &dyn Fn(&crate::study::WithoutFinding) -> Option<Estimate>| {
        let known: Vec<f64> = scope.without.iter().filter_map(|found| Some(of(found)?.value)).collect();
        known.iter().sum::<f64>() / known.len().max(1) as f64
    };
    let overlap: f64 =
        scope.without.iter().map(|found| found.jaccard).sum::<f64>() / scope.without.len().max(1) as f64;
    let sentence = format!(
        "A spot selected without a language costs that language {} nats on average, the spot of all {}, and its \
         own {}: {}. Leaving a language out changes the spot little: Jaccard index {} on average.",
        signed(mean(&|found| found.without), 2),
        signed(mean(&|found| found.whole), 2),
        signed(mean(&|found| found.own), 2),
        if mean(&|found| found.without) > 0.5 * mean(&|found| found.whole) {
            "what the others select carries over"
        } else {
            "what the others select carries over in part only"
        },
        fixed(overlap, 2)
    );
    let chart = BarChart {
        title: format!("A language without its own vote: scope {}", scope.scope.name()),
        value: Axis::new("Rise of the language's loss", "nats per token").with_decimals(2),
        groups,
        marks: Vec::new(),
        form: BarForm::Dots,
    };
    Block::figure(id(scope, "without"), chart, sentence)
}

fn other_data(study: &Study, scope: &ScopeFindings) -> Vec<Block> {
    let general = capitalised(&study.settings.general);
    let line = |pairs: &[PairAt], of: &dyn Fn(&PairAt) -> f64| -> Vec<Point> {
        pairs.iter().map(|at| Point::new(at.k, of(at))).collect()
    };
    let mut series: Vec<Series> = scope
        .stability
        .iter()
        .enumerate()
        .map(|(index, found)| {
            let style = SeriesStyle::Other(u8::try_from(index).unwrap_or(5) % 6);
            Series::new(&found.what, style, line(&found.over_k, &|at| at.alike.jaccard))
        })
        .collect();
    series.push(Series::new(
        format!("code with {general}"),
        SeriesStyle::General,
        line(&scope.general_overlap, &|at| at.alike.jaccard),
    ));
    if let Some(found) = scope.stability.first() {
        series.push(Series::new(
            "chance, same tensors",
            SeriesStyle::Difference,
            line(&found.over_k, &|at| at.alike.chance_by_tensor),
        ));
        series.push(Series::new("chance", SeriesStyle::Random, line(&found.over_k, &|at| at.alike.chance)));
    }
    let at_k = |pairs: &[PairAt]| {
        pairs.iter().find(|at| (at.k - study.settings.k).abs() < 1e-9).map(|at| at.alike.jaccard)
    };
    let parts: Vec<String> = scope
        .stability
        .iter()
        .filter_map(|found| {
            let rho = found
                .spearman
                .map_or(String::new(), |rho| format!(", rank correlation of all scores {}", fixed(rho, 3)));
            Some(format!("{}: Jaccard index {}{rho}", found.what, fixed(at_k(&found.over_k)?, 3)))
        })
        .collect();
    let sentence = format!(
        "At k = {} %: {}; code with {general}: {}.",
        study.settings.k,
        parts.join("; "),
        at_k(&scope.general_overlap).map_or("unknown".to_owned(), |value| fixed(value, 3))
    );
    let chart = LineChart {
        title: format!("How far the spot depends on the documents: scope {}", scope.scope.name()),
        x: Axis::new("Size of each spot", "% of the scope").log(),
        y: jaccard_axis(
            "Jaccard index",
            scope.stability.iter().flat_map(|found| found.over_k.iter().map(|at| at.alike.jaccard)),
        ),
        series,
        marks: Vec::new(),
    };
    vec![Block::figure(id(scope, "stability"), chart, sentence)]
}

fn other_edits(study: &Study, scope: &ScopeFindings) -> Vec<Block> {
    let general = capitalised(&study.settings.general);
    let mut groups: Vec<BarGroup> = Vec::new();
    for found in &scope.replacements {
        if groups.last().is_none_or(|group| group.name != found.replacement) {
            groups.push(BarGroup { name: found.replacement.clone(), bars: Vec::new() });
        }
        let of = |label: String, look: SeriesStyle, value: Option<Estimate>| match value {
            Some(e) => Bar::new(label, look, e.value).with_interval(e.low, e.high),
            None => Bar { label, style: look, value: None, low: None, high: None },
        };
        let name = arm(&found.arm, &study.settings.general);
        if let Some(group) = groups.last_mut() {
            group.bars.push(of(format!("{name}, code"), style(&found.arm), found.code));
            let look = if found.arm == "spot" { SeriesStyle::General } else { SeriesStyle::Other(5) };
            group.bars.push(of(format!("{name}, {general}"), look, found.general));
        }
    }
    let of = |replacement: &str| {
        let found = scope.replacements.iter().find(|f| f.replacement == replacement && f.arm == "spot");
        rise(found.and_then(|found| found.code))
    };
    let sentence = format!(
        "In the place of the spot's {} parameters: zero costs code {}, the mean of the tensor {}, a shuffle among \
         them {}, the other sign {}, half of each {}, and twice of each {}.",
        thousands(scope.matrix.count),
        of("zero"),
        of("mean"),
        of("shuffle"),
        of("flip"),
        of("scale=0.5"),
        of("scale=2")
    );
    let chart = BarChart {
        title: format!(
            "Other values in the place of the parameters: scope {}, k = {} %",
            scope.scope.name(),
            study.settings.k
        ),
        value: Axis::new("Rise of the loss", "nats per token").with_decimals(2),
        groups,
        marks: Vec::new(),
        form: BarForm::Forest,
    };
    vec![Block::figure(id(scope, "replacements"), chart, sentence), restore_figure(study, scope)]
}

fn restore_figure(study: &Study, scope: &ScopeFindings) -> Block {
    let line = |of: &dyn Fn(&crate::study::RestorePoint) -> Option<Estimate>| -> Vec<Point> {
        scope
            .restore
            .iter()
            // Zero is not on a log axis; it is the mark.
            .filter(|point| point.restored > 0)
            .map(|point| match of(point) {
                Some(e) => Point::with_interval(point.restored as f64, e.value, e.low, e.high),
                None => Point::gap(point.restored as f64),
            })
            .collect()
    };
    let all = scope.restore.first().and_then(|point| point.code);
    let half = all.and_then(|all| {
        let mut points = scope.restore.iter().filter(|point| point.restored > 0);
        points.find(|point| point.code.is_some_and(|code| code.value < 0.5 * all.value))
    });
    let total = scope.restore.first().map_or(0, |point| point.of);
    let sentence = format!(
        "With all {} parameters removed the loss of code is {} higher. {}",
        thousands(total),
        rise(all),
        half.map_or("Nothing short of most of them halves that.".to_owned(), |point| format!(
            "Giving back the top {} ({} of them) more than halves that, to {}.",
            thousands(point.restored),
            percent(point.restored as f64 / total.max(1) as f64, 2),
            rise(point.code)
        ))
    );
    let mut marks = Vec::new();
    if let Some(all) = all {
        marks.push(Mark::horizontal(all.value, "nothing given back"));
    }
    let chart = LineChart {
        title: format!(
            "All removed, the top given back: scope {}, k = {} %",
            scope.scope.name(),
            study.settings.k
        ),
        x: Axis::new("Highest-scored parameters given back", "").log(),
        y: Axis::new("Rise of the loss that is left", "nats per token").with_decimals(2),
        series: vec![
            Series::new("code", SeriesStyle::Spot, line(&|point| point.code)),
            Series::new(
                capitalised(&study.settings.general),
                SeriesStyle::General,
                line(&|point| point.general),
            ),
        ],
        marks,
    };
    Block::figure(id(scope, "restore"), chart, sentence)
}

fn settings(study: &Study) -> Section {
    let settings = &study.settings;
    let rows = study
        .subsets
        .iter()
        .map(|subset| {
            let role = match subset.role {
                Role::Scored => "scored",
                Role::Unscored => "measured only",
                Role::General => "general",
            };
            vec![
                Cell::head(&subset.name),
                Cell::label(role),
                Cell::count(subset.documents as u64),
                Cell::count(subset.tokens),
                subset.loss.map_or(Cell::label("overflow"), |loss| {
                    Cell::interval(loss.value, loss.low, loss.high, 3)
                }),
            ]
        })
        .collect();
    let texts = Table::new(
        "Held-out texts, and the loss of the model as it is",
        ["language", "part", "documents", "tokens", "loss, nats per token"].map(str::to_owned).to_vec(),
        rows,
    );
    let facts = [
        ("Model", format!("{}, {} parameters", study.model.name, thousands(study.model.parameters))),
        ("Fingerprint of the weights", settings.fingerprint.clone()),
        ("Languages of the spot", list(&settings.languages)),
        ("General language", settings.general.clone()),
        ("Score", "signed: |1/B Σ ∂L/∂θ| · |θ|, summed over the languages".to_owned()),
        ("Scoring", format!("batches of {} × {} tokens", settings.batch_size, settings.seq_len)),
        ("Code without general", format!("the top {} % of the general ranking left out", settings.minus_k)),
        (
            "Random draws",
            format!("{}, matched by tensor, seeds 1 to {}", settings.random_draws, settings.random_draws),
        ),
        ("Shuffles for halves", settings.shuffles.to_string()),
        (
            "Bootstrap",
            format!(
                "{} resamples of documents within languages, paired across all curves, and of the random draws, \
                 whose spread then comes out a little small, by (draws − 1)/draws",
                thousands(settings.resamples as u64)
            ),
        ),
        (
            "Completions",
            settings.completions.map_or("none".to_owned(), |asked| {
                format!("at most {} prompts a language and {} tokens, greedy", asked.prompts, asked.tokens)
            }),
        ),
        ("Texts", format!("BLAKE3 {}", settings.texts)),
        ("Device", settings.device.clone()),
        ("Versions", study.versions.to_string()),
        ("Time", format!("{:.0} s in the last run of the command", study.seconds)),
    ];
    let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Section::new("settings", "What was asked", vec![Block::Facts(facts), Block::Table(texts)])
}
