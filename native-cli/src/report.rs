//! The demo's report: one HTML file without scripts and without the network.

use crate::output::grouped;
use crate::results::{ORIGINAL, ResultRow};
use crate::run::Manifest;
use crate::table::{distinct, find, loss};
use codingspot_core::spot::Scope;
use serde::Serialize;
use std::fmt::Write as _;

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

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1d2327; --paper: #fff; --line: #c9ced3; --spot: #b35806; --random: #6b6b6b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --paper: #16191c; --line: #454b51; --spot: #f1a340; --random: #b8bcc4; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
caption { text-align: left; padding-bottom: .3rem; }
th:first-child, td:first-child { text-align: left; }
.spot { color: var(--spot); font-weight: 600; } .random { color: var(--random); }
pre { border: 1px solid var(--line); border-radius: .3rem; padding: .7rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
svg { max-width: 100%; height: auto; } svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
dt { font-weight: 600; } dd { margin: 0 0 .4rem; overflow-wrap: anywhere; }
";

/// What no knowledge at all costs, as a sentence: the scale that losses are read on.
pub(crate) fn chance(report: &DemoReport) -> String {
    let vocabulary = report.manifest.model.config.get("vocab_size").and_then(serde_json::Value::as_u64);
    vocabulary.map_or(String::new(), |size| {
        format!("Guessing every token alike costs ln {} = {:.3} nats.", grouped(size), (size as f64).ln())
    })
}

/// The report as HTML.
pub(crate) fn html(report: &DemoReport) -> String {
    let mut body = String::new();
    let model = &report.manifest.model;
    let languages: Vec<&str> = report.manifest.languages.iter().map(|l| l.name.as_str()).collect();
    push(
        &mut body,
        &format!(
            "<h1>What a model loses with its coding spot</h1>\
         <p>Every parameter of {} ({} parameters) was scored by |∂L/∂θ|·|θ| on code in {} languages. The \
         highest-scored k % were set to zero, and beside them as many random parameters of the same tensors. \
         The tables give the loss on held-out text: lower is better. {}</p>",
            escape(&model.name),
            grouped(model.parameters),
            languages.len(),
            chance(report)
        ),
    );
    for scope in &report.scopes {
        scope_section(&mut body, scope, &report.ks);
    }
    push(
        &mut body,
        &format!(
            "<h2>One prompt, before and after</h2><p>Greedy completions at k = {} %.</p><pre>{}</pre>",
            report.prompt_k,
            escape(&report.prompt)
        ),
    );
    for completion in &report.completions {
        push(
            &mut body,
            &format!("<h3>{}</h3><pre>{}</pre>", escape(&completion.label), escape(&completion.text)),
        );
    }
    settings(&mut body, report);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Coding spot: demo report</title><style>{STYLE}</style></head>\n<body><main>\n{body}</main></body></html>\n"
    )
}

fn scope_section(body: &mut String, scope: &ScopeReport, ks: &[f64]) {
    let rows = &scope.results;
    let random = distinct(rows, |row| row.variant.as_str()).into_iter().find(|v| v.starts_with("random"));
    let random = random.unwrap_or(ORIGINAL);
    let what = match scope.scope {
        Scope::All => "every parameter competes",
        Scope::NoNorm => "all but the gains of norms compete",
        Scope::NoEmbedding => "all but the embedding and the head compete",
        Scope::Blocks => "the linear layers of the blocks compete",
    };
    push(body, &format!("<h2>Scope {}: {what}</h2>", scope.scope.name()));
    push(body, &chart(rows, random, ks));
    push(body, &format!("<p>{}</p>", escape(&sentence(rows, random, ks, &scope.norms))));
    push(
        body,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Loss by language\"><table><caption>Nats per token: <span class=\"spot\">spot removed</span> / <span class=\"random\">random removed</span></caption><thead><tr><th scope=\"col\">k, % (parameters)</th><th scope=\"col\">0</th>",
    );
    for &k in ks.iter().filter(|&&k| k > 0.0) {
        let count =
            rows.iter().find(|row| row.k.to_bits() == k.to_bits()).map_or(0, |row| row.ablated_parameters);
        push(body, &format!("<th scope=\"col\">{k} ({})</th>", grouped(count)));
    }
    push(body, "</tr></thead><tbody>");
    for subset in distinct(rows, |row| row.subset.as_str()) {
        push(
            body,
            &format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td>",
                escape(subset),
                loss(find(rows, subset, ORIGINAL, 0.0))
            ),
        );
        for &k in ks.iter().filter(|&&k| k > 0.0) {
            push(
                body,
                &format!(
                    "<td><span class=\"spot\">{}</span> / <span class=\"random\">{}</span></td>",
                    loss(find(rows, subset, "spot", k)),
                    loss(find(rows, subset, random, k))
                ),
            );
        }
        push(body, "</tr>");
    }
    push(body, "<tr><th scope=\"row\">norm gains in the spot</th>");
    for count in &scope.norms {
        push(body, &format!("<td>{}</td>", grouped(*count)));
    }
    push(body, "</tr></tbody></table></div>");
}

/// Mean loss over the ten languages and over English, at each k.
fn mean(rows: &[ResultRow], variant: &str, k: f64, english: bool) -> Option<f64> {
    let values: Vec<Option<f64>> = rows
        .iter()
        .filter(|row| {
            row.k.to_bits() == k.to_bits() && row.variant == if k > 0.0 { variant } else { ORIGINAL }
        })
        .filter(|row| {
            if english {
                row.subset == "english"
            } else {
                !["english", "python"].contains(&row.subset.as_str())
            }
        })
        .map(|row| row.value)
        .collect();
    let known: Option<Vec<f64>> = values.into_iter().collect();
    known.filter(|values| !values.is_empty()).map(|values| values.iter().sum::<f64>() / values.len() as f64)
}

/// What the figures say at the largest of the paper's k.
fn sentence(rows: &[ResultRow], random: &str, ks: &[f64], norms: &[u64]) -> String {
    let Some((place, &k)) = ks.iter().enumerate().find(|(_, k)| (**k - 0.25).abs() < 1e-9) else {
        return String::new();
    };
    let rise =
        |variant: &str, english| Some(mean(rows, variant, k, english)? - mean(rows, variant, 0.0, english)?);
    let number =
        |value: Option<f64>| value.map_or("an overflow".to_owned(), |value| format!("{value:+.2} nats"));
    let count =
        rows.iter().find(|row| row.k.to_bits() == k.to_bits()).map_or(0, |row| row.ablated_parameters);
    format!(
        "At k = {k} % the spot's removal changes the mean loss of the ten languages by {} and English by {}; as many random parameters change them by {} and {}. {} of the spot's {} parameters are gains of norms.",
        number(rise("spot", false)),
        number(rise("spot", true)),
        number(rise(random, false)),
        number(rise(random, true)),
        grouped(norms.get(place).copied().unwrap_or(0)),
        grouped(count)
    )
}

/// Dose-response as inline SVG: mean over the ten languages (solid) and English (dashed), spot and
/// random, against k on a log axis.
fn chart(rows: &[ResultRow], random: &str, ks: &[f64]) -> String {
    const WIDTH: f64 = 720.0;
    const HEIGHT: f64 = 300.0;
    const LEFT: f64 = 56.0;
    const RIGHT: f64 = 190.0;
    const TOP: f64 = 16.0;
    const BOTTOM: f64 = 44.0;
    let ks: Vec<f64> = ks.iter().copied().filter(|&k| k > 0.0).collect();
    let series = [
        ("ten languages, spot", "spot", false, "var(--spot)", ""),
        ("English, spot", "spot", true, "var(--spot)", "6 4"),
        ("ten languages, random", random, false, "var(--random)", ""),
        ("English, random", random, true, "var(--random)", "6 4"),
    ];
    let points = |variant, english| -> Vec<(f64, f64)> {
        ks.iter().filter_map(|&k| Some((k, mean(rows, variant, k, english)?))).collect()
    };
    let originals = [false, true].map(|english| mean(rows, ORIGINAL, 0.0, english));
    let all: Vec<f64> = series
        .iter()
        .flat_map(|(_, variant, english, ..)| points(variant, *english).into_iter().map(|(_, y)| y))
        .chain(originals.into_iter().flatten())
        .collect();
    let (Some(first), Some(last)) = (ks.first(), ks.last()) else { return String::new() };
    let low = all.iter().copied().fold(f64::INFINITY, f64::min).floor();
    let high = all.iter().copied().fold(low + 1.0, f64::max).ceil();
    let x = |k: f64| LEFT + (k / first).ln() / (last / first).ln().max(1e-9) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Mean loss against the share of parameters removed; the table below has the figures\">"
    );
    let step = ((high - low) / 5.0).ceil().max(1.0);
    let mut tick = low;
    while tick <= high {
        push(
            &mut svg,
            &format!(
                "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{1}\" y2=\"{1}\" stroke=\"var(--line)\"/><text x=\"{2}\" y=\"{3}\" text-anchor=\"end\">{tick}</text>",
                WIDTH - RIGHT,
                y(tick),
                LEFT - 6.0,
                y(tick) + 4.0
            ),
        );
        tick += step;
    }
    for &k in &ks {
        push(
            &mut svg,
            &format!(
                "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{k}</text>",
                x(k),
                HEIGHT - BOTTOM + 18.0
            ),
        );
    }
    push(
        &mut svg,
        &format!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">k, % of the scope (log)</text><text transform=\"translate(14 {}) rotate(-90)\" text-anchor=\"middle\">nats per token</text>",
            f64::midpoint(LEFT, WIDTH - RIGHT),
            HEIGHT - 6.0,
            f64::midpoint(TOP, HEIGHT - BOTTOM)
        ),
    );
    let mut labels: Vec<(f64, &str, &str)> = Vec::new();
    for (name, variant, english, colour, dash) in series {
        let points = points(variant, english);
        let path: Vec<String> =
            points.iter().map(|(k, value)| format!("{:.1},{:.1}", x(*k), y(*value))).collect();
        push(
            &mut svg,
            &format!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"/>",
                path.join(" ")
            ),
        );
        for (k, value) in &points {
            let mark = if variant == "spot" {
                format!("<path d=\"M{0:.1} {1:.1}l5 9h-10z\" fill=\"{colour}\"/>", x(*k), y(*value) - 6.0)
            } else {
                format!(
                    "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"8\" height=\"8\" fill=\"{colour}\"/>",
                    x(*k) - 4.0,
                    y(*value) - 4.0
                )
            };
            push(&mut svg, &mark);
        }
        if let Some((_, value)) = points.last() {
            labels.push((y(*value), name, colour));
        }
    }
    // Labels that would lie on each other move apart.
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut lowest = TOP;
    for (place, name, colour) in labels {
        let place = place.max(lowest);
        lowest = place + 16.0;
        push(
            &mut svg,
            &format!(
                "<text x=\"{}\" y=\"{}\" style=\"fill:{colour}\">{name}</text>",
                WIDTH - RIGHT + 10.0,
                place + 4.0
            ),
        );
    }
    svg.push_str("</svg>");
    svg
}

fn settings(body: &mut String, report: &DemoReport) {
    let settings = &report.manifest.settings;
    let tokens: u64 = report.manifest.languages.iter().map(|l| l.tokens).sum();
    push(
        body,
        &format!(
            "<h2>Settings</h2><dl><dt>Weights</dt><dd>fingerprint {}</dd><dt>Scores</dt><dd>estimator {}, batches of {} × {} tokens, {} tokens, {} on {}</dd><dt>Versions</dt><dd>{}</dd><dt>Time</dt><dd>{:.0} s</dd></dl>",
            report.manifest.model.fingerprint,
            settings.estimator.name(),
            settings.batch_size,
            settings.seq_len,
            grouped(tokens),
            settings.dtype,
            escape(&settings.device),
            escape(&report.versions.to_string()),
            report.seconds
        ),
    );
    push(
        body,
        "<p>Limits: the bundled model is small and completes code that looks like code, no more. Intervals and more controls are in EVAL.json of <code>codingspot eval</code>.</p>",
    );
}

fn push(text: &mut String, more: &str) {
    writeln!(text, "{more}").expect("a String takes every line");
}

/// Text that may come from a model, made safe inside HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn generated_text_can_not_become_markup() {
        assert_eq!(super::escape("<img src=\"x\">&"), "&lt;img src=&quot;x&quot;&gt;&amp;");
    }
}
