//! Means of a task, with their errors, as the harness aggregates them.

use crate::document::{Dataset, Options};
use crate::row::Part;
use crate::score::Scored;
use crate::task::{Metric, MmluGroup, Task};
use codingspot_stats::Interval;
use codingspot_stats::bootstrap::{BootstrapError, Resamples};
use codingspot_stats::proportion::wilson;
use serde::Serialize;

/// Confidence level of every interval.
pub const LEVEL: f64 = 0.95;

/// All scores of a task.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// Task.
    pub task: Task,
    /// Few-shot examples that were shown.
    pub num_fewshot: u32,
    /// Seed of their draw.
    pub seed: u64,
    /// Documents of the data set, scored or not, by subset.
    pub original: Vec<(Option<String>, usize)>,
    /// Hashes of documents and pool.
    pub sha256: (String, Option<String>),
    /// The published set that the documents are, where they are one.
    pub known: Option<&'static str>,
    /// What documents scored, in order.
    pub scored: Vec<Scored>,
}

/// A metric's mean.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Name of the task, subset or group in the harness, as `mmlu_stem`.
    pub name: String,
    /// Metric.
    pub metric: &'static str,
    /// Reading of the answer.
    pub filter: &'static str,
    /// Mean over documents, from 0 to 1.
    pub value: f64,
    /// Standard error of the mean; `None` of fewer than two documents.
    pub stderr: Option<f64>,
    /// Documents.
    pub n: usize,
    /// Wilson's interval at [`LEVEL`], where documents are right or wrong.
    pub interval: Option<Interval>,
    /// Whether more is better.
    pub higher_is_better: bool,
}

/// Mean and its standard error, σ/√n with n − 1 in σ (`mean`, `mean_stderr` of `lm_eval/api/metrics.py`). `None` of
/// no values, and no error of one.
pub fn mean(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let n = values.len() as f64;
    if values.is_empty() {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((mean, (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt() / n.sqrt())))
}

/// Mean of several means by their documents, and its pooled standard error: Σ nᵢ·mᵢ / N, and
/// √(Σ (nᵢ − 1)·nᵢ·sᵢ² / (N − K) / N) for K means of N documents (`aggregate_subtask_metrics`,
/// `pooled_sample_stderr` of `lm_eval/api/metrics.py`). `None` of none; no error where one has none.
pub fn pooled(parts: &[(f64, Option<f64>, usize)]) -> Option<(f64, Option<f64>)> {
    let total: usize = parts.iter().map(|(_, _, n)| n).sum();
    if total == 0 {
        return None;
    }
    let all = total as f64;
    let mean = parts.iter().map(|(mean, _, n)| mean * *n as f64).sum::<f64>() / all;
    let squares: Option<f64> = parts
        .iter()
        .map(|(_, error, n)| error.map(|error| (*n as f64 - 1.0) * error.powi(2) * *n as f64))
        .sum();
    let free = all - parts.len() as f64;
    let error = squares.filter(|_| free > 0.0).map(|squares| (squares / free / all).sqrt());
    Some((mean, error))
}

impl Evaluation {
    /// An evaluation of a data set without scores yet.
    pub fn new(data: &Dataset, options: &Options) -> Self {
        Self {
            task: data.task(),
            num_fewshot: data.task().shots(options.num_fewshot),
            seed: options.seed,
            original: data.subsets(),
            sha256: (
                data.sha256(Part::Documents).unwrap_or_default().into(),
                data.sha256(Part::Pool).map(String::from),
            ),
            known: data.known(Part::Documents),
            scored: Vec::new(),
        }
    }

    /// Values of the metric in place `metric` of the task's, in the order of documents: what a paired bootstrap
    /// takes. Of one subset, or of all.
    pub fn values(&self, metric: usize, subset: Option<&str>) -> Vec<f64> {
        let of_subset =
            self.scored.iter().filter(|scored| subset.is_none() || scored.subset.as_deref() == subset);
        of_subset.filter_map(|scored| scored.values.get(metric)).map(|value| value.value).collect()
    }

    /// Means of the task, and of MMLU those of every subject and group, the groups and the whole by
    /// documents (`weight_by_size`).
    pub fn summaries(&self) -> Vec<Summary> {
        let mut summaries = Vec::new();
        for (place, metric) in self.task.metrics().iter().enumerate() {
            if self.task != Task::Mmlu {
                let values = self.values(place, None);
                summaries.extend(summary(self.task.name().into(), metric, &values, mean(&values)));
                continue;
            }
            let mut subjects = Vec::new();
            for (subject, _) in &self.original {
                let values = self.values(place, subject.as_deref());
                let (Some(subject), Some(found)) = (subject, mean(&values)) else { continue };
                subjects.push((subject, values, found));
            }
            let mut groups = vec![(Task::Mmlu.name(), None)];
            groups.extend(MmluGroup::ALL.map(|group| (group.name(), Some(group))));
            for (name, group) in groups {
                let of_group = |subject: &str| group.is_none() || MmluGroup::of(subject) == group;
                let members: Vec<_> = subjects.iter().filter(|(subject, ..)| of_group(subject)).collect();
                let parts: Vec<_> =
                    members.iter().map(|(_, values, (mean, error))| (*mean, *error, values.len())).collect();
                let values: Vec<f64> = members.iter().flat_map(|(_, values, _)| values).copied().collect();
                summaries.extend(summary(name.into(), metric, &values, pooled(&parts)));
            }
            for (subject, values, found) in subjects {
                summaries.extend(summary(format!("mmlu_{subject}"), metric, &values, Some(found)));
            }
        }
        summaries
    }
}

fn summary(
    name: String,
    metric: &Metric,
    values: &[f64],
    found: Option<(f64, Option<f64>)>,
) -> Option<Summary> {
    let (value, stderr) = found?;
    let is = |value: &f64, share: f64| (value - share).abs() < f64::EPSILON;
    let right = values.iter().filter(|value| is(value, 1.0)).count();
    let decided = metric.is_share && values.iter().all(|value| is(value, 0.0) || is(value, 1.0));
    let interval = match (u32::try_from(right), u32::try_from(values.len())) {
        (Ok(right), Ok(n)) if decided => wilson(right, n, LEVEL).ok(),
        _ => None,
    };
    Some(Summary {
        name,
        metric: metric.name,
        filter: metric.filter,
        value,
        stderr,
        n: values.len(),
        interval,
        higher_is_better: metric.higher_is_better,
    })
}

/// How much better one model is than another on the same documents.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PairedDifference {
    /// Mean of `after` − `before`.
    pub difference: f64,
    /// Its standard error, by bootstrap over documents.
    pub stderr: f64,
    /// Its percentile interval at [`LEVEL`].
    pub interval: Interval,
    /// Two-sided p value that there is none.
    pub p_value: f64,
}

/// Why models can't be compared.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum PairError {
    /// They were not scored on the same documents.
    #[error("{before} documents before and {after} after: not the same")]
    Documents {
        /// Documents of one.
        before: usize,
        /// Documents of the other.
        after: usize,
    },
    /// There is no bootstrap of them.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
}

/// Compares two models by their values of the same documents in the same order, with `draws` resamples.
///
/// # Errors
/// [`PairError`].
pub fn paired(before: &[f64], after: &[f64], draws: usize, seed: u64) -> Result<PairedDifference, PairError> {
    if before.len() != after.len() {
        return Err(PairError::Documents { before: before.len(), after: after.len() });
    }
    let resamples = Resamples::new(&[before.len()], draws, seed)?;
    let ones = [vec![1.0; before.len()]];
    let change = (&resamples.ratio_means(&[after], &ones)? - &resamples.ratio_means(&[before], &ones)?)?;
    Ok(PairedDifference {
        difference: change.point().ok_or(BootstrapError::Undefined)?,
        stderr: change.standard_error()?,
        interval: change.interval(LEVEL)?,
        p_value: change.p_value()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_have_the_harness_error() {
        // statistics.stdev([1, 0, 1, 1])/2
        let (value, error) = mean(&[1.0, 0.0, 1.0, 1.0]).unwrap();
        assert!((value - 0.75).abs() < 1e-15 && (error.unwrap() - 0.25).abs() < 1e-15);
        assert_eq!(mean(&[1.0]), Some((1.0, None)));
        assert_eq!(mean(&[]), None);
    }

    #[test]
    fn groups_weigh_by_documents() {
        let (value, error) = pooled(&[(0.5, Some(0.1), 10), (0.8, Some(0.05), 30)]).unwrap();
        assert!((value - 0.725).abs() < 1e-15);
        // ((9*.1**2*10 + 29*.05**2*30)/38/40)**.5
        assert!((error.unwrap() - 0.044_978_064_8).abs() < 1e-9, "{error:?}");
        assert_eq!(pooled(&[(0.5, None, 1), (0.8, Some(0.05), 30)]).unwrap().1, None);
        assert_eq!(pooled(&[]), None);
        assert_eq!(pooled(&[(1.0, None, 1)]), Some((1.0, None)));
    }

    #[test]
    fn differences_are_paired() {
        let before = [1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0];
        let same = paired(&before, &before, 99, 0).unwrap();
        assert!(same.difference.abs() < 1e-15 && same.stderr.abs() < 1e-15 && same.p_value > 0.99);
        let worse = paired(&before, &[0.0; 8], 999, 0).unwrap();
        assert!((worse.difference + 0.75).abs() < 1e-15 && worse.interval.high < 0.0);
        assert!(matches!(paired(&before, &[0.0], 9, 0), Err(PairError::Documents { before: 8, after: 1 })));
        assert!(matches!(paired(&[], &[], 9, 0), Err(PairError::Bootstrap(_))));
    }
}
