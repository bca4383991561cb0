//! The arithmetic of the paper's Tables 1 and 2, and two other forms of its score beside it.

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

impl PaperRow {
    /// The row of a model, of the metrics that fit the paper's figures: `acc` of `HellaSwag`, whose 59.1 % of Llama 3.1
    /// 8B are no `acc_norm`, `truthfulqa_mc2`, strict matches of GSM8K, and `pass@1` of `HumanEval` in either form.
    /// `None` where a task is missing.
    pub fn of(evaluations: &[Evaluation]) -> Option<Self> {
        let percent = |tasks: &[Task], metric: &str| {
            let evaluation = evaluations.iter().find(|evaluation| tasks.contains(&evaluation.task))?;
            let summaries = evaluation.summaries();
            // The first is of the whole task, and of the strict filter.
            let name = evaluation.task.name();
            let found = summaries.iter().find(|found| found.name == name && found.metric == metric)?;
            Some(100.0 * found.value)
        };
        Some(Self {
            gsm8k: percent(&[Task::Gsm8k], "exact_match")?,
            hellaswag: percent(&[Task::HellaSwag], "acc")?,
            mmlu: percent(&[Task::Mmlu], "acc")?,
            truthfulqa: percent(&[Task::TruthfulQaMc2], "acc")?,
            winogrande: percent(&[Task::WinoGrande], "acc")?,
            humaneval: percent(&[Task::HumanEval, Task::HumanEvalStripped], "pass@1")?,
        })
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
        let [gsm8k, hellaswag, mmlu, truthfulqa, winogrande, humaneval] = scores;
        PaperRow { gsm8k, hellaswag, mmlu, truthfulqa, winogrande, humaneval }
    }

    /// Table 1: the original's scores and average, then of every k scores, average, GTC, code change, and `M_s` of
    /// Table 2; as printed.
    type Model = ([f64; 6], &'static str, [([f64; 6], [&'static str; 4]); 4]);

    const TABLE: [Model; 3] = [
        (
            [18.12, 48.32, 39.54, 39.21, 64.56, 87.2],
            "41.95",
            [
                ([1.90, 36.01, 24.63, 39.32, 53.51, 22.56], ["31.07", "-25.93", "-74.13", "5.44"]),
                ([2.27, 35.08, 23.99, 36.91, 52.41, 16.46], ["30.13", "-28.17", "-81.12", "5.52"]),
                ([0.23, 27.23, 22.94, 49.72, 51.38, 1.83], ["30.30", "-27.77", "-97.90", "6.75"]),
                ([0.00, 25.85, 22.93, 51.52, 50.51, 0.00], ["30.16", "-28.10", "-100.00", "6.82"]),
            ],
        ),
        (
            [76.72, 59.10, 67.96, 54.08, 73.64, 97.56],
            "66.30",
            [
                ([2.35, 44.47, 42.32, 43.61, 60.14, 20.12], ["38.58", "-41.81", "-79.38", "2.70"]),
                ([2.65, 38.83, 29.47, 41.55, 58.41, 9.76], ["34.18", "-48.44", "-90.00", "2.65"]),
                ([0.61, 26.82, 23.57, 49.58, 49.17, 0.00], ["29.95", "-54.83", "-100.00", "2.61"]),
                ([0.15, 26.36, 22.95, 51.03, 48.46, 0.00], ["29.79", "-55.07", "-100.00", "2.60"]),
            ],
        ),
        (
            [64.67, 52.22, 60.42, 49.77, 67.56, 94.51],
            "58.93",
            [
                ([2.35, 41.39, 38.71, 45.07, 55.96, 15.24], ["36.70", "-37.73", "-83.87", "3.41"]),
                ([2.20, 36.31, 30.30, 45.66, 53.75, 6.71], ["33.64", "-42.91", "-92.90", "3.34"]),
                ([1.29, 26.66, 23.36, 50.53, 49.49, 0.00], ["30.27", "-48.64", "-100.00", "3.19"]),
                ([1.21, 26.21, 22.94, 49.54, 49.96, 0.00], ["29.97", "-49.14", "-100.00", "3.15"]),
            ],
        ),
    ];

    #[test]
    fn the_papers_tables_come_out() {
        for (original, average, ablations) in TABLE {
            let original = row(original);
            assert_eq!(format!("{:.2}", original.average()), average);
            for (scores, printed) in ablations {
                let found = impact(&original, &row(scores)).unwrap();
                let found = [
                    found.average,
                    found.general_change.unwrap(),
                    found.code_change.unwrap(),
                    found.m_s.unwrap(),
                ];
                assert_eq!(found.map(|value| format!("{value:.2}")), printed, "{scores:?}");
            }
        }
    }

    #[test]
    fn where_m_s_peaks_depends_on_its_unit() {
        let peak = |(original, _, ablations): &Model, of: fn(Impact) -> Option<f64>| {
            let scores =
                ablations.map(|(scores, _)| of(impact(&row(*original), &row(scores)).unwrap()).unwrap());
            (0..4).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap()
        };
        assert_eq!(TABLE.each_ref().map(|model| peak(model, |found| found.m_s)), [3, 0, 0]);
        // In fractions the largest spots have the largest score everywhere.
        for model in &TABLE {
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
