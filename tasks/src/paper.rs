//! The arithmetic of the paper's Tables 1 and 2, and two other forms of its score beside it; what the paper prints
//! there; and intervals of all that.

mod bounded;
mod published;

pub use bounded::{BoundedImpact, ImpactBootstrap, ImpactError, ImpactIntervals};
pub use published::{PrintedImpact, PublishedModel, PublishedRow, Shape, published, published_model};

use crate::summary::Evaluation;
use crate::task::Task;
use serde::{Deserialize, Serialize};

/// A model's scores, all in percent: a row of Table 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PaperRow {
    /// GSM8K.
    pub gsm8k: f64,
    /// `HellaSwag`.
    pub hellaswag: f64,
    /// MMLU.
    pub mmlu: f64,
    /// `TruthfulQA`.
    pub truthfulqa: f64,
    /// `WinoGrande`.
    pub winogrande: f64,
    /// `HumanEval`.
    pub humaneval: f64,
}

/// Scores of guessing, in percent, of the general tasks that have one.
const CHANCE: [Option<f64>; 5] = [Some(0.0), Some(25.0), Some(25.0), None, Some(50.0)];

/// A column of Table 1: the task and metric that fit its figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name there.
    pub name: &'static str,
    /// Forms of the task; the first that was measured counts.
    pub tasks: &'static [Task],
    /// Name of the metric.
    pub metric: &'static str,
    /// Reading of the answer.
    pub filter: &'static str,
}

const fn column(
    name: &'static str,
    tasks: &'static [Task],
    metric: &'static str,
    filter: &'static str,
) -> Column {
    Column { name, tasks, metric, filter }
}

/// The columns of [`PaperRow`]: five general tasks, then `HumanEval`. `acc` of `HellaSwag`, because the 59.1 % of Llama
/// 3.1 8B are no `acc_norm`; strict matches of GSM8K; `HumanEval` in either form.
pub const COLUMNS: [Column; 6] = [
    column("GSM8K", &[Task::Gsm8k], "exact_match", "strict-match"),
    column("HellaSwag", &[Task::HellaSwag], "acc", "none"),
    column("MMLU", &[Task::Mmlu], "acc", "none"),
    column("TruthfulQA", &[Task::TruthfulQaMc2], "acc", "none"),
    column("WinoGrande", &[Task::WinoGrande], "acc", "none"),
    column("HumanEval", &[Task::HumanEval, Task::HumanEvalStripped], "pass@1", "create_test"),
];

impl PaperRow {
    /// A row of scores in percent, in the order of [`COLUMNS`].
    pub const fn from_scores(scores: [f64; 6]) -> Self {
        let [gsm8k, hellaswag, mmlu, truthfulqa, winogrande, humaneval] = scores;
        Self { gsm8k, hellaswag, mmlu, truthfulqa, winogrande, humaneval }
    }

    /// Its scores in percent, in the order of [`COLUMNS`].
    pub fn scores(&self) -> [f64; 6] {
        [self.gsm8k, self.hellaswag, self.mmlu, self.truthfulqa, self.winogrande, self.humaneval]
    }

    /// The row of a model, of the tasks and metrics of [`COLUMNS`]. `None` where a task is missing.
    pub fn of(evaluations: &[Evaluation]) -> Option<Self> {
        let mut scores = [0.0; 6];
        for (score, column) in scores.iter_mut().zip(&COLUMNS) {
            let evaluation = evaluations.iter().find(|evaluation| column.tasks.contains(&evaluation.task))?;
            // The name of the whole task, whose subsets have names of their own.
            let name = evaluation.task.name();
            let found = evaluation.summaries().into_iter().find(|found| {
                found.name == name && found.metric == column.metric && found.filter == column.filter
            });
            *score = 100.0 * found?.value;
        }
        Some(Self::from_scores(scores))
    }

    /// The general tasks, in the table's order.
    pub fn general(&self) -> [f64; 5] {
        [self.gsm8k, self.hellaswag, self.mmlu, self.truthfulqa, self.winogrande]
    }

    /// Mean of the general tasks, in percent: the table's Avg.
    pub fn average(&self) -> f64 {
        self.general().iter().sum::<f64>() / 5.0
    }

    /// Mean of the general tasks above chance, in percent of what is above it: 100·(s − c)/(100 − c), c being 0 of
    /// GSM8K, 25 of `HellaSwag` and MMLU and 50 of `WinoGrande`. `TruthfulQA` has no one chance and is left out.
    pub fn average_above_chance(&self) -> f64 {
        let above = |(score, chance): (f64, Option<f64>)| {
            chance.map(|chance| 100.0 * (score - chance) / (100.0 - chance))
        };
        let scores: Vec<f64> = self.general().into_iter().zip(CHANCE).filter_map(above).collect();
        scores.iter().sum::<f64>() / scores.len() as f64
    }

    fn is_finite(&self) -> bool {
        self.general().iter().chain([&self.humaneval]).all(|score| score.is_finite())
    }
}

/// What an ablation did to a model. Numbers that are not defined, as a change of nothing, are `None`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Impact {
    /// Mean of the general tasks, in percent.
    pub average: f64,
    /// Change of that mean, in percent of what it was: GTC.
    pub general_change: Option<f64>,
    /// Change of `HumanEval`, in percent of what it was.
    pub code_change: Option<f64>,
    /// Monosemanticity `M_s` = Δcode/(1 + Δgeneral), both drops in percentage points (the paper's eq. 4 and Table 2).
    /// Its 1 is one point, so that where it peaks depends on the unit.
    pub m_s: Option<f64>,
    /// The same with both drops as fractions, so that the 1 is 100 points: at most 1.
    pub m_s_fractions: Option<f64>,
    /// The same as fractions, with the general drop of the mean above chance.
    pub m_s_above_chance: Option<f64>,
    /// Share of the score above chance that is left of each general task, in the table's order: (s − c)/(s₀ − c);
    /// below 0 where it falls below chance. `None` of `TruthfulQA`, and where there was nothing above chance.
    pub retention: [Option<f64>; 5],
    /// Share of `HumanEval` that is left.
    pub code_retention: Option<f64>,
}

/// Compares an ablated model with the original. Nothing is rounded. `None` where a score is not finite.
pub fn impact(original: &PaperRow, ablated: &PaperRow) -> Option<Impact> {
    if !original.is_finite() || !ablated.is_finite() {
        return None;
    }
    let ratio = |part: f64, whole: f64| Some(part / whole).filter(|ratio| ratio.is_finite());
    let change = |from: f64, to: f64| ratio(100.0 * (to - from), from);
    let drop = original.humaneval - ablated.humaneval;
    let general = original.average() - ablated.average();
    let above = original.average_above_chance() - ablated.average_above_chance();
    let mut retention = [None; 5];
    for (i, kept) in retention.iter_mut().enumerate() {
        let (before, after) = (original.general()[i], ablated.general()[i]);
        // Below chance, what is left of nothing has no meaning.
        *kept = CHANCE[i]
            .filter(|chance| before > *chance)
            .and_then(|chance| ratio(after - chance, before - chance));
    }
    Some(Impact {
        average: ablated.average(),
        general_change: change(original.average(), ablated.average()),
        code_change: change(original.humaneval, ablated.humaneval),
        m_s: ratio(drop, 1.0 + general),
        m_s_fractions: ratio(drop / 100.0, 1.0 + general / 100.0),
        m_s_above_chance: ratio(drop / 100.0, 1.0 + above / 100.0),
        retention,
        code_retention: ratio(ablated.humaneval, original.humaneval),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn row(scores: [f64; 6]) -> PaperRow {
        PaperRow::from_scores(scores)
    }

    #[test]
    fn where_m_s_peaks_depends_on_its_unit() {
        let peak = |model: &PublishedModel, of: fn(Impact) -> Option<f64>| {
            let scores = model.ablated.map(|row| of(impact(&model.original, &row.scores).unwrap()).unwrap());
            (0..4).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap()
        };
        assert_eq!(published().each_ref().map(|model| peak(model, |found| found.m_s)), [3, 0, 0]);
        // In fractions the largest spots have the largest score everywhere.
        for model in published() {
            assert!(peak(model, |found| found.m_s_fractions) >= 2);
            assert!(peak(model, |found| found.m_s_above_chance) >= 2);
        }
    }

    #[test]
    fn retention_is_above_chance() {
        let original = row([80.0, 75.0, 65.0, 50.0, 70.0, 60.0]);
        let found = impact(&original, &row([20.0, 50.0, 25.0, 40.0, 45.0, 15.0])).unwrap();
        assert_eq!(found.retention[3], None);
        for (i, expected) in [(0, 0.25), (1, 0.5), (2, 0.0), (4, -0.25)] {
            assert!((found.retention[i].unwrap() - expected).abs() < 1e-12);
        }
        assert!((found.code_retention.unwrap() - 0.25).abs() < 1e-12);
        assert!(
            (original.average_above_chance() - (80.0 + 200.0 / 3.0 + 160.0 / 3.0 + 40.0) / 4.0).abs() < 1e-12
        );
    }

    #[test]
    fn what_is_not_defined_is_none() {
        let guess = row([0.0, 25.0, 20.0, 50.0, 50.0, 0.0]);
        let found = impact(&guess, &guess).unwrap();
        assert_eq!((found.code_change, found.code_retention), (None, None));
        assert_eq!(found.retention, [None; 5]);
        assert_eq!(found.m_s, Some(0.0));
        // One point better on average: a division by 0.
        let better = row([5.0, 25.0, 20.0, 50.0, 50.0, 0.0]);
        assert_eq!(impact(&guess, &better).unwrap().m_s, None);
        assert_eq!(impact(&row([f64::NAN; 6]), &guess), None);
    }
}
