//! How sure the paper's figures are: intervals by resampling questions.

use super::{COLUMNS, Impact, PaperRow, impact};
use crate::score::Scored;
use crate::summary::{Evaluation, LEVEL};
use crate::task::Task;
use codingspot_stats::Interval;
use codingspot_stats::bootstrap::{BootstrapError, BootstrapSample, Resamples};

/// Percentile intervals at [`LEVEL`] of the numbers of an [`Impact`]. `None` where the number is not defined, and where
/// it is not for so many draws that an end is unknown, as of a code change where hardly a problem was solved before.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ImpactIntervals {
    /// Of [`Impact::average`].
    pub average: Option<Interval>,
    /// Of [`Impact::general_change`].
    pub general_change: Option<Interval>,
    /// Of [`Impact::code_change`].
    pub code_change: Option<Interval>,
    /// Of [`Impact::m_s`].
    pub m_s: Option<Interval>,
    /// Of [`Impact::m_s_fractions`].
    pub m_s_fractions: Option<Interval>,
    /// Of [`Impact::m_s_above_chance`].
    pub m_s_above_chance: Option<Interval>,
}

/// What an ablation did to a model, and how sure that is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoundedImpact {
    /// Scores of the ablated form, percent.
    pub scores: PaperRow,
    /// What follows from them and those of the original: that of [`impact`].
    pub impact: Impact,
    /// Intervals of that.
    pub intervals: ImpactIntervals,
}

/// Why figures have no intervals.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ImpactError {
    /// Original and ablated form were not asked as many questions.
    #[error("{task}: {original} questions of the original and {ablated} of the ablated form: not the same")]
    Questions {
        /// Task.
        task: Task,
        /// Questions of the original.
        original: usize,
        /// Questions of the ablated form.
        ablated: usize,
    },
    /// They were not asked the same question.
    #[error("{task}: question {place} (from 0) of the ablated form is not that of the original")]
    Question {
        /// Task.
        task: Task,
        /// Place of the question.
        place: usize,
    },
    /// There is no bootstrap of them.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
}

/// A column's scores of every question and of every draw of them.
#[derive(Debug)]
struct ColumnSample<'a> {
    task: Task,
    scored: &'a [Scored],
    sample: BootstrapSample,
}

/// The questions of the six tasks, resampled, with the original's answers to them.
///
/// A draw takes, of every task, as many questions as it has, with replacement; the same of the original and of every
/// ablated form. MMLU's are drawn from all subjects together, as its score is the mean over all its questions. So an
/// interval says how sure a figure is about the questions, not about the choice of the parameters.
#[derive(Debug)]
pub struct ImpactBootstrap<'a> {
    resamples: Resamples,
    scores: PaperRow,
    columns: Vec<ColumnSample<'a>>,
}

impl<'a> ImpactBootstrap<'a> {
    /// Draws the questions of the original's evaluations; `None` where one of the six tasks is missing. Memory: a byte a
    /// question and draw, with the full sets 27,651 bytes a draw.
    ///
    /// # Errors
    /// [`ImpactError::Bootstrap`].
    pub fn new(original: &'a [Evaluation], draws: usize, seed: u64) -> Result<Option<Self>, ImpactError> {
        let Some((scores, values)) = PaperRow::of(original).zip(values(original)) else { return Ok(None) };
        let sizes: Vec<usize> = values.iter().map(|(_, values)| values.len()).collect();
        let resamples = Resamples::new(&sizes, draws, seed)?;
        let columns = samples(&resamples, values)?;
        Ok(Some(Self { resamples, scores, columns }))
    }

    /// Scores of the original, percent.
    pub fn scores(&self) -> PaperRow {
        self.scores
    }

    /// Interval of the mean of the original's general tasks, in percent; `None` where it is not finite.
    ///
    /// # Errors
    /// [`ImpactError::Bootstrap`].
    pub fn average(&self) -> Result<Option<Interval>, ImpactError> {
        let samples: Vec<&BootstrapSample> = self.columns.iter().map(|column| &column.sample).collect();
        interval(&BootstrapSample::combine(&samples, |scores| {
            row(scores).map_or(f64::NAN, |row| row.average())
        })?)
    }

    /// What an ablation did, by the evaluations of the ablated form; `None` where one of the six tasks is missing or has a
    /// score that is not finite.
    ///
    /// # Errors
    /// [`ImpactError`].
    pub fn impact(&self, ablated: &[Evaluation]) -> Result<Option<BoundedImpact>, ImpactError> {
        let Some((scores, values)) = PaperRow::of(ablated).zip(values(ablated)) else { return Ok(None) };
        let Some(found) = impact(&self.scores, &scores) else { return Ok(None) };
        for (before, (after, values)) in self.columns.iter().zip(&values) {
            same_questions(before, after, values.len())?;
        }
        let after = samples(&self.resamples, values)?;
        let both: Vec<&BootstrapSample> =
            self.columns.iter().chain(&after).map(|column| &column.sample).collect();
        let bound = |of: fn(&Impact) -> Option<f64>| {
            let sample = BootstrapSample::combine(&both, |scores| {
                let (before, after) = scores.split_at(COLUMNS.len());
                let found = row(before).zip(row(after)).and_then(|(before, after)| impact(&before, &after));
                found.and_then(|found| of(&found)).unwrap_or(f64::NAN)
            });
            interval(&sample?)
        };
        let intervals = ImpactIntervals {
            average: bound(|found| Some(found.average))?,
            general_change: bound(|found| found.general_change)?,
            code_change: bound(|found| found.code_change)?,
            m_s: bound(|found| found.m_s)?,
            m_s_fractions: bound(|found| found.m_s_fractions)?,
            m_s_above_chance: bound(|found| found.m_s_above_chance)?,
        };
        Ok(Some(BoundedImpact { scores, impact: found, intervals }))
    }
}

/// Values of every question by column; `None` where a column is missing.
fn values(evaluations: &[Evaluation]) -> Option<Vec<(&Evaluation, Vec<f64>)>> {
    let of = |column: &super::Column| {
        let evaluation = evaluations.iter().find(|evaluation| column.tasks.contains(&evaluation.task))?;
        let is =
            |metric: &crate::task::Metric| metric.name == column.metric && metric.filter == column.filter;
        let place = evaluation.task.metrics().iter().position(is)?;
        Some((evaluation, evaluation.values(place, None)))
    };
    COLUMNS.iter().map(of).collect()
}

fn samples<'a>(
    resamples: &Resamples,
    values: Vec<(&'a Evaluation, Vec<f64>)>,
) -> Result<Vec<ColumnSample<'a>>, ImpactError> {
    let ones: Vec<Vec<f64>> = values.iter().map(|(_, values)| vec![1.0; values.len()]).collect();
    let (evaluations, values): (Vec<&Evaluation>, Vec<Vec<f64>>) = values.into_iter().unzip();
    let sample = |(place, evaluation): (usize, &'a Evaluation)| {
        let mut weights = vec![0.0; values.len()];
        weights[place] = 1.0;
        let sample = resamples.weighted_ratio_means(&values, &ones, &weights)?;
        Ok(ColumnSample { task: evaluation.task, scored: &evaluation.scored, sample })
    };
    evaluations.into_iter().enumerate().map(sample).collect()
}

/// A row of shares from 0 to 1.
fn row(shares: &[f64]) -> Option<PaperRow> {
    let shares: [f64; 6] = shares.try_into().ok()?;
    Some(PaperRow::from_scores(shares.map(|share| 100.0 * share)))
}

fn interval(sample: &BootstrapSample) -> Result<Option<Interval>, ImpactError> {
    match sample.interval(LEVEL) {
        Ok(interval) => Ok(Some(interval)),
        Err(BootstrapError::Undefined) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn same_questions(before: &ColumnSample<'_>, after: &Evaluation, values: usize) -> Result<(), ImpactError> {
    let (task, original) = (before.task, before.scored.len());
    if values != original || after.scored.len() != original || after.task != task {
        return Err(ImpactError::Questions { task: after.task, original, ablated: after.scored.len() });
    }
    // The row, the first context and the right answer.
    let is_other = |(one, other): (&Scored, &Scored)| {
        one.subset != other.subset || one.index != other.index || one.hashes != other.hashes
    };
    match before.scored.iter().zip(&after.scored).position(is_other) {
        Some(place) => Err(ImpactError::Question { task, place }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::Value;

    const SIZES: [(Task, usize); 6] = [
        (Task::HumanEval, 40),
        (Task::Gsm8k, 60),
        (Task::HellaSwag, 80),
        (Task::Mmlu, 90),
        (Task::TruthfulQaMc2, 50),
        (Task::WinoGrande, 70),
    ];

    /// Evaluations whose question i of task t has the value `value(t, i)`; of MMLU, three subjects of 20, 30 and 40.
    fn evaluations(value: impl Fn(usize, usize) -> f64) -> Vec<Evaluation> {
        let of = |(t, (task, n)): (usize, (Task, usize))| {
            let subject = |i: usize| match (task, i) {
                (Task::Mmlu, 0..20) => Some("anatomy"),
                (Task::Mmlu, 20..50) => Some("law"),
                (Task::Mmlu, _) => Some("virology"),
                _ => None,
            };
            let mut original: Vec<(Option<String>, usize)> = Vec::new();
            let scored = (0..n).map(|i| {
                let subset = subject(i).map(str::to_owned);
                match original.last_mut() {
                    Some((name, count)) if *name == subset => *count += 1,
                    _ => original.push((subset.clone(), 1)),
                }
                let metrics = task.metrics().iter();
                // What is not asked for is something else.
                let other = |place: usize| if place == 0 { value(t, i) } else { 1.0 - value(t, i) };
                Scored {
                    subset,
                    index: i,
                    values: metrics
                        .enumerate()
                        .map(|(p, metric)| Value { metric, value: other(p) })
                        .collect(),
                    filtered: Vec::new(),
                    hashes: [format!("{t}/{i}"), String::new(), String::new()],
                }
            });
            let scored = scored.collect();
            Evaluation {
                task,
                num_fewshot: 0,
                seed: 0,
                original,
                sha256: (String::new(), None),
                known: None,
                scored,
            }
        };
        SIZES.into_iter().enumerate().map(of).collect()
    }

    fn right(is: bool) -> f64 {
        f64::from(u8::from(is))
    }

    /// Right of every question but the fifths; `TruthfulQA` between.
    fn good(t: usize, i: usize) -> f64 {
        if t == 4 { (i % 7) as f64 / 7.0 } else { right(!(i + t).is_multiple_of(5)) }
    }

    /// Right of every third question that the other is right of.
    fn bad(t: usize, i: usize) -> f64 {
        if t == 4 { good(t, i) / 3.0 } else { good(t, i) * right(i.is_multiple_of(3)) }
    }

    #[test]
    fn figures_are_those_without_intervals() {
        let (before, after) = (evaluations(good), evaluations(bad));
        let bootstrap = ImpactBootstrap::new(&before, 999, 1).unwrap().unwrap();
        let found = bootstrap.impact(&after).unwrap().unwrap();
        let rows = [&before, &after].map(|evaluations| PaperRow::of(evaluations).unwrap());
        assert_eq!((bootstrap.scores(), found.scores), (rows[0], rows[1]));
        assert_eq!(found.impact, impact(&rows[0], &rows[1]).unwrap());
        let (values, intervals) = (found.impact, found.intervals);
        for (value, interval) in [
            (Some(values.average), intervals.average),
            (values.general_change, intervals.general_change),
            (values.code_change, intervals.code_change),
            (values.m_s, intervals.m_s),
            (values.m_s_fractions, intervals.m_s_fractions),
            (values.m_s_above_chance, intervals.m_s_above_chance),
            (Some(rows[0].average()), bootstrap.average().unwrap()),
        ] {
            let (value, interval) = (value.unwrap(), interval.unwrap());
            assert!(interval.contains(value) && interval.width() > 0.0, "{value} {interval:?}");
        }
        // The same draws give the same intervals.
        let again = ImpactBootstrap::new(&before, 999, 1).unwrap().unwrap();
        assert_eq!(again.impact(&after).unwrap().unwrap(), found);
        let other = ImpactBootstrap::new(&before, 999, 2).unwrap().unwrap();
        assert_ne!(other.impact(&after).unwrap().unwrap().intervals, found.intervals);
    }

    #[test]
    fn the_interval_of_the_mean_is_that_of_its_theory() {
        let before = evaluations(good);
        let bootstrap = ImpactBootstrap::new(&before, 4999, 1).unwrap().unwrap();
        let variance: f64 = before[1..]
            .iter()
            .map(|evaluation| {
                let values = evaluation.values(0, None);
                let n = values.len() as f64;
                let mean = values.iter().sum::<f64>() / n;
                values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n / n
            })
            .sum();
        let expected = 2.0 * 1.96 * 100.0 * variance.sqrt() / 5.0;
        let found = bootstrap.average().unwrap().unwrap().width();
        assert!((found / expected - 1.0).abs() < 0.05, "{found} {expected}");
    }

    #[test]
    fn nothing_changes_where_nothing_is_ablated() {
        let before = evaluations(good);
        let bootstrap = ImpactBootstrap::new(&before, 199, 1).unwrap().unwrap();
        let found = bootstrap.impact(&evaluations(good)).unwrap().unwrap();
        let zero = Some(Interval { low: 0.0, high: 0.0 });
        let ImpactIntervals { average, general_change, code_change, m_s, m_s_fractions, m_s_above_chance } =
            found.intervals;
        assert_eq!(average, bootstrap.average().unwrap());
        assert_eq!([general_change, code_change, m_s, m_s_fractions, m_s_above_chance], [zero; 5]);
        assert_eq!((found.impact.general_change, found.impact.code_change), (Some(0.0), Some(0.0)));
        // One question of 60 less: the questions that both get right say nothing.
        let one = evaluations(|t, i| if (t, i) == (1, 0) { 0.0 } else { good(t, i) });
        let found = bootstrap.impact(&one).unwrap().unwrap().intervals;
        assert!(found.general_change.unwrap().width() < found.average.unwrap().width() / 5.0);
    }

    #[test]
    fn what_is_not_defined_has_no_interval() {
        // No program passes before.
        let before = evaluations(|t, i| if t == 0 { 0.0 } else { good(t, i) });
        let bootstrap = ImpactBootstrap::new(&before, 99, 1).unwrap().unwrap();
        let found = bootstrap.impact(&evaluations(bad)).unwrap().unwrap();
        assert_eq!((found.impact.code_change, found.intervals.code_change), (None, None));
        assert!(found.intervals.m_s.is_some());
        // One does, so that a third of the draws have nothing to divide by.
        let before = evaluations(|t, i| if t == 0 { right(i == 3) } else { good(t, i) });
        let bootstrap = ImpactBootstrap::new(&before, 999, 1).unwrap().unwrap();
        let found = bootstrap.impact(&before).unwrap().unwrap();
        assert_eq!((found.impact.code_change, found.intervals.code_change), (Some(0.0), None));
        // A task too few.
        assert!(ImpactBootstrap::new(&before[1..], 99, 1).unwrap().is_none());
        assert_eq!(bootstrap.impact(&before[..5]), Ok(None));
    }

    #[test]
    fn other_questions_are_refused() {
        let before = evaluations(good);
        let bootstrap = ImpactBootstrap::new(&before, 99, 1).unwrap().unwrap();
        let mut fewer = evaluations(bad);
        fewer[2].scored.pop();
        let expected = ImpactError::Questions { task: Task::HellaSwag, original: 80, ablated: 79 };
        assert_eq!(bootstrap.impact(&fewer), Err(expected));
        let mut other = evaluations(bad);
        other[3].scored[7].hashes[0] = "another".to_owned();
        let error = bootstrap.impact(&other).unwrap_err();
        assert_eq!(error, ImpactError::Question { task: Task::Mmlu, place: 7 });
        let mut stripped = evaluations(bad);
        stripped[0].task = Task::HumanEvalStripped;
        assert!(matches!(bootstrap.impact(&stripped), Err(ImpactError::Questions { .. })));
        assert!(matches!(
            ImpactBootstrap::new(&before, 0, 1),
            Err(ImpactError::Bootstrap(BootstrapError::NoDraws))
        ));
    }
}
