//! A training as a section: its losses by tokens seen, and what it was asked for.

use crate::training::{HeldOutLoss, Line, Outcome, mean};
use codingspot_core::corpus::CODE_LANGUAGES;
use codingspot_core::train::{Decay, TrainSettings};
use codingspot_plot::number::{fixed, thousands};
use codingspot_plot::{Axis, Block, Cell, LineChart, Point, Section, Series, SeriesStyle, Table};
use std::collections::BTreeMap;

/// Points of the line of training losses: each is a mean over the steps that it stands for.
const POINTS: usize = 200;

/// A training, read from its directory.
#[derive(Debug)]
pub(crate) struct Training {
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    pub(crate) lines: Vec<Line>,
}

pub(super) fn sections(training: &Training) -> Vec<Section> {
    let Training { outcome, lines, .. } = training;
    let mut blocks = vec![Block::Facts(facts(outcome))];
    blocks.push(Block::figure("training-loss", loss(lines), loss_sentence(outcome, lines)));
    let held_out = measurements(lines);
    if held_out.len() > 1 {
        blocks.push(Block::figure("training-held-out", by_language(&held_out), held_out_sentence(&held_out)));
    }
    if !outcome.held_out.is_empty() {
        blocks.push(Block::Table(table(outcome)));
    }
    vec![Section::new("training", "How it was trained", blocks)]
}

fn facts(outcome: &Outcome) -> Vec<(String, String)> {
    let Outcome { settings, parameters, steps, tokens_seen, corpus_tokens, seconds, .. } = outcome;
    let TrainSettings { adamw, muon, schedule, clip_norm, precision } = settings.train;
    let optimizer = match muon {
        Some(muon) => format!(
            "Muon for the blocks’ matrices (momentum {}), AdamW for the rest (β {} and {})",
            muon.momentum, adamw.beta_1, adamw.beta_2
        ),
        None => format!("AdamW (β {} and {})", adamw.beta_1, adamw.beta_2),
    };
    let decay = match schedule.decay {
        Decay::Cosine => "along a cosine".to_owned(),
        Decay::Linear { steps } => format!("in a line over the last {} steps", thousands(steps)),
    };
    let passes = *tokens_seen as f64 / (*corpus_tokens).max(1) as f64;
    [
        ("Parameters", thousands(*parameters)),
        ("Steps", format!("{} of {}", thousands(*steps), thousands(schedule.steps))),
        (
            "Tokens",
            format!(
                "{} ({} of {} in the corpus)",
                thousands(*tokens_seen),
                fixed(passes, 2),
                thousands(*corpus_tokens)
            ),
        ),
        (
            "A step",
            format!(
                "{} × {} sequences of {} tokens",
                settings.accumulate, settings.batch_size, settings.seq_len
            ),
        ),
        ("Optimizer", format!("{optimizer}; weight decay {}", adamw.weight_decay)),
        (
            "Learning rate",
            format!(
                "up to {} over {} steps, then down to {} of it {decay}",
                schedule.peak,
                thousands(schedule.warmup_steps),
                schedule.final_share
            ),
        ),
        ("Largest norm of a gradient", clip_norm.map_or("none".to_owned(), |norm| norm.to_string())),
        ("Products in", format!("{precision:?}").to_lowercase()),
        ("Device", settings.device.clone()),
        ("Time", format!("{} min", fixed(seconds / 60.0, 0))),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// Tokens seen and losses of every measurement.
fn measurements(lines: &[Line]) -> Vec<(u64, &BTreeMap<String, HeldOutLoss>)> {
    let measured = |line| match line {
        &Line::HeldOut { tokens_seen, ref held_out, .. } => Some((tokens_seen, held_out)),
        Line::Step { .. } => None,
    };
    lines.iter().filter_map(measured).collect()
}

/// Means of training losses over runs of steps, by the tokens seen at their ends.
fn training_points(lines: &[Line]) -> Vec<Point> {
    let steps: Vec<(u64, f64)> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Step { step, tokens_seen, .. } => Some((*tokens_seen, step.loss_nats)),
            Line::HeldOut { .. } => None,
        })
        .collect();
    let mean = |piece: &[(u64, f64)]| {
        let sum: f64 = piece.iter().map(|(_, loss)| loss).sum();
        Point::new(millions(piece[piece.len() - 1].0), sum / piece.len() as f64)
    };
    steps.chunks(steps.len().div_ceil(POINTS).max(1)).map(mean).collect()
}

fn millions(tokens: u64) -> f64 {
    tokens as f64 / 1e6
}

fn loss(lines: &[Line]) -> LineChart {
    let held_out = measurements(lines)
        .into_iter()
        .map(|(tokens, losses)| Point::new(millions(tokens), mean(losses, |loss| loss.nats_per_token)))
        .collect();
    LineChart {
        title: "Loss by tokens seen".to_owned(),
        x: Axis::new("Tokens seen", "millions"),
        y: Axis::new("Loss", "nats per token").with_decimals(2),
        series: vec![
            Series::new("training", SeriesStyle::Original, training_points(lines)),
            Series::new("held out, code", SeriesStyle::Spot, held_out),
        ],
        marks: Vec::new(),
    }
}

fn loss_sentence(outcome: &Outcome, lines: &[Line]) -> String {
    let first = training_points(lines).first().map(|point| point.y.unwrap_or(f64::NAN));
    match (first, outcome.last_losses) {
        (Some(first), Some(last)) => format!(
            "The loss on the texts of training fell from {} to {} nats per token (mean of the last 50 steps).",
            fixed(first, 2),
            fixed(last, 2)
        ),
        _ => "No step was made.".to_owned(),
    }
}

fn by_language(held_out: &[(u64, &BTreeMap<String, HeldOutLoss>)]) -> LineChart {
    let line = |of: &dyn Fn(&BTreeMap<String, HeldOutLoss>) -> Option<f64>| -> Vec<Point> {
        held_out
            .iter()
            .map(|(tokens, losses)| match of(losses) {
                Some(value) => Point::new(millions(*tokens), value),
                None => Point::gap(millions(*tokens)),
            })
            .collect()
    };
    let code = |losses: &BTreeMap<String, HeldOutLoss>| Some(mean(losses, |loss| loss.nats_per_character));
    let mut series = vec![Series::new("code, mean of the ten", SeriesStyle::Spot, line(&code))];
    let last = held_out.last().map(|(_, losses)| *losses);
    let others = last.into_iter().flatten().filter(|(name, _)| !CODE_LANGUAGES.contains(&name.as_str()));
    for (place, (name, _)) in (0_u8..).zip(others) {
        let style = if name == "english" { SeriesStyle::General } else { SeriesStyle::Other(place) };
        let points = line(&|losses| losses.get(name).map(|loss| loss.nats_per_character));
        series.push(Series::new(super::words::capitalised(name), style, points));
    }
    LineChart {
        title: "Held-out loss by character".to_owned(),
        x: Axis::new("Tokens seen", "millions"),
        y: Axis::new("Loss", "nats per character").with_decimals(2),
        series,
        marks: Vec::new(),
    }
}

fn held_out_sentence(held_out: &[(u64, &BTreeMap<String, HeldOutLoss>)]) -> String {
    let of = |losses| fixed(mean(losses, |loss| loss.nats_per_character), 3);
    match (held_out.first(), held_out.last()) {
        (Some((first, before)), Some((last, after))) => format!(
            "Held-out code: {} nats per character after {} million tokens, {} after {} million.",
            of(before),
            fixed(millions(*first), 1),
            of(after),
            fixed(millions(*last), 1)
        ),
        _ => String::new(),
    }
}

fn table(outcome: &Outcome) -> Table {
    let head = ["language", "nats per token", "nats per character"].map(str::to_owned).to_vec();
    let row = |name: String, loss: HeldOutLoss| {
        vec![Cell::head(name), Cell::fixed(loss.nats_per_token, 4), Cell::fixed(loss.nats_per_character, 4)]
    };
    let mut rows: Vec<Vec<Cell>> =
        outcome.held_out.iter().map(|(name, loss)| row(name.clone(), *loss)).collect();
    let code = HeldOutLoss {
        nats_per_token: mean(&outcome.held_out, |loss| loss.nats_per_token),
        nats_per_character: mean(&outcome.held_out, |loss| loss.nats_per_character),
    };
    rows.push(row("code, mean of the ten".to_owned(), code));
    Table::new("Held-out losses at the end", head, rows)
}
