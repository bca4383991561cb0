//! What the paper prints.

use super::PaperRow;

/// Sizes of a model by which one of the paper's is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Tokens of the vocabulary (`vocab_size`).
    pub vocabulary: u64,
    /// Width of the residual stream (`hidden_size`).
    pub hidden: u64,
    /// Blocks (`num_hidden_layers`).
    pub layers: u64,
    /// Width of the MLPs (`intermediate_size`).
    pub intermediate: u64,
}

/// One of the paper's models, with its rows of Tables 1 and 2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PublishedModel {
    /// Its name there.
    pub name: &'static str,
    /// Its shape.
    pub shape: Shape,
    /// Scores of the original, percent.
    pub original: PaperRow,
    /// Mean of its general tasks, as printed.
    pub average: &'static str,
    /// What was measured without a spot, from the smallest on.
    pub ablated: [PublishedRow; 4],
}

/// A row of Tables 1 and 2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PublishedRow {
    /// Share of the parameters that is zero, percent.
    pub k: f64,
    /// Scores, percent.
    pub scores: PaperRow,
    /// What follows from them, as printed.
    pub printed: PrintedImpact,
}

/// What the paper prints of an [`Impact`](super::Impact), to its two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrintedImpact {
    /// Mean of the general tasks, percent.
    pub average: &'static str,
    /// GTC, percent.
    pub general_change: &'static str,
    /// Change of `HumanEval`, percent.
    pub code_change: &'static str,
    /// `M_s` in percentage points.
    pub m_s: &'static str,
}

const fn row(k: f64, scores: [f64; 6], printed: [&'static str; 4]) -> PublishedRow {
    let [average, general_change, code_change, m_s] = printed;
    PublishedRow {
        k,
        scores: PaperRow::from_scores(scores),
        printed: PrintedImpact { average, general_change, code_change, m_s },
    }
}

static PUBLISHED: [PublishedModel; 3] = [
    PublishedModel {
        name: "CodeLlama 7B Instruct",
        shape: Shape { vocabulary: 32_016, hidden: 4096, layers: 32, intermediate: 11_008 },
        original: PaperRow::from_scores([18.12, 48.32, 39.54, 39.21, 64.56, 87.2]),
        average: "41.95",
        ablated: [
            row(0.0025, [1.90, 36.01, 24.63, 39.32, 53.51, 22.56], ["31.07", "-25.93", "-74.13", "5.44"]),
            row(0.01, [2.27, 35.08, 23.99, 36.91, 52.41, 16.46], ["30.13", "-28.17", "-81.12", "5.52"]),
            row(0.09, [0.23, 27.23, 22.94, 49.72, 51.38, 1.83], ["30.30", "-27.77", "-97.90", "6.75"]),
            row(0.25, [0.00, 25.85, 22.93, 51.52, 50.51, 0.00], ["30.16", "-28.10", "-100.00", "6.82"]),
        ],
    },
    PublishedModel {
        name: "Llama 3.1 8B Instruct",
        shape: Shape { vocabulary: 128_256, hidden: 4096, layers: 32, intermediate: 14_336 },
        original: PaperRow::from_scores([76.72, 59.10, 67.96, 54.08, 73.64, 97.56]),
        average: "66.30",
        ablated: [
            row(0.0025, [2.35, 44.47, 42.32, 43.61, 60.14, 20.12], ["38.58", "-41.81", "-79.38", "2.70"]),
            row(0.01, [2.65, 38.83, 29.47, 41.55, 58.41, 9.76], ["34.18", "-48.44", "-90.00", "2.65"]),
            row(0.09, [0.61, 26.82, 23.57, 49.58, 49.17, 0.00], ["29.95", "-54.83", "-100.00", "2.61"]),
            row(0.25, [0.15, 26.36, 22.95, 51.03, 48.46, 0.00], ["29.79", "-55.07", "-100.00", "2.60"]),
        ],
    },
    PublishedModel {
        name: "Llama 3.2 3B Instruct",
        shape: Shape { vocabulary: 128_256, hidden: 3072, layers: 28, intermediate: 8192 },
        original: PaperRow::from_scores([64.67, 52.22, 60.42, 49.77, 67.56, 94.51]),
        average: "58.93",
        ablated: [
            row(0.0025, [2.35, 41.39, 38.71, 45.07, 55.96, 15.24], ["36.70", "-37.73", "-83.87", "3.41"]),
            row(0.01, [2.20, 36.31, 30.30, 45.66, 53.75, 6.71], ["33.64", "-42.91", "-92.90", "3.34"]),
            row(0.09, [1.29, 26.66, 23.36, 50.53, 49.49, 0.00], ["30.27", "-48.64", "-100.00", "3.19"]),
            row(0.25, [1.21, 26.21, 22.94, 49.54, 49.96, 0.00], ["29.97", "-49.14", "-100.00", "3.15"]),
        ],
    },
];

/// The three models of the paper's Tables 1 and 2, in their order.
pub fn published() -> &'static [PublishedModel; 3] {
    &PUBLISHED
}

/// The paper's model of a shape, if it is of one. The paper measured the Instruct models alone, but base models have the
/// same shape (and `CodeLlama` may have 32,000 tokens as well): who shows its rows beside another model's has to say so.
pub fn published_model(shape: Shape) -> Option<&'static PublishedModel> {
    let same = |model: &&PublishedModel| {
        let vocabulary = if model.shape.vocabulary == 32_016 && shape.vocabulary == 32_000 {
            32_016
        } else {
            shape.vocabulary
        };
        model.shape == Shape { vocabulary, ..shape }
    };
    PUBLISHED.iter().find(same)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paper::impact;

    #[test]
    fn the_papers_tables_come_out() {
        for model in published() {
            assert_eq!(format!("{:.2}", model.original.average()), model.average);
            for row in model.ablated {
                let found = impact(&model.original, &row.scores).unwrap();
                let found = [
                    found.average,
                    found.general_change.unwrap(),
                    found.code_change.unwrap(),
                    found.m_s.unwrap(),
                ];
                let PrintedImpact { average, general_change, code_change, m_s } = row.printed;
                assert_eq!(
                    found.map(|value| format!("{value:.2}")),
                    [average, general_change, code_change, m_s],
                    "{} at {}",
                    model.name,
                    row.k
                );
            }
        }
    }

    #[test]
    fn models_are_known_by_their_shape() {
        for model in published() {
            assert_eq!(published_model(model.shape), Some(model));
            let other = Shape { layers: model.shape.layers - 1, ..model.shape };
            assert_eq!(published_model(other), None);
        }
        let code = published()[0].shape;
        assert_eq!(published_model(Shape { vocabulary: 32_000, ..code }), Some(&published()[0]));
        assert_eq!(published_model(Shape { vocabulary: 32_000, ..published()[1].shape }), None);
    }
}
