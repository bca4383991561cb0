//! Reference lines: a threshold, a level of chance, the knee of a curve.

use crate::number;
use crate::scale::Axis;
use serde::{Deserialize, Serialize};

/// The way a reference line runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// At a value of the x axis.
    Vertical,
    /// At a value of the y axis.
    Horizontal,
}

/// A reference line with a label and, if both ends are known, an interval as a band.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Vertical or horizontal.
    pub direction: Direction,
    /// Where the line is.
    #[serde(with = "number::json")]
    pub at: f64,
    /// What it is: `knee`, `chance`.
    pub label: String,
    /// The lower end of its interval.
    pub low: Option<f64>,
    /// The upper end of its interval.
    pub high: Option<f64>,
}

impl Mark {
    /// A line at a value of the x axis.
    pub fn vertical(at: f64, label: impl Into<String>) -> Self {
        Self { direction: Direction::Vertical, at, label: label.into(), low: None, high: None }
    }

    /// A line at a value of the y axis.
    pub fn horizontal(at: f64, label: impl Into<String>) -> Self {
        Self { direction: Direction::Horizontal, at, label: label.into(), low: None, high: None }
    }

    /// The same line with an interval.
    #[must_use]
    pub fn with_interval(mut self, low: f64, high: f64) -> Self {
        self.low = Some(low);
        self.high = Some(high);
        self
    }

    /// The values that a scale should hold.
    pub(crate) fn values(&self) -> impl Iterator<Item = f64> {
        let interval = self.low.zip(self.high);
        [Some(self.at), interval.map(|ends| ends.0), interval.map(|ends| ends.1)].into_iter().flatten()
    }

    /// The line in words: `Knee: 0.09 % [0.05, 0.2]`.
    pub(crate) fn words(&self, axis: &Axis) -> String {
        let value = number::with_interval(self.at, self.low, self.high, |value| axis.write(value));
        let unit = if axis.unit.is_empty() { String::new() } else { format!(" {}", axis.unit) };
        format!("{}: {value}{unit}", self.label)
    }
}
