//! Axes: from values to places, and the ticks between.

use crate::number;
use serde::{Deserialize, Serialize};

/// Beyond this a number can't be drawn without overflow in the arithmetic of scales.
const LARGEST: f64 = 1e200;

/// How values become places along an axis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Equal differences are equally far apart.
    #[default]
    Linear,
    /// Equal ratios are equally far apart; values of 0 and below are left out, and the chart says so.
    Log10,
}

/// A second labelling below the first, as the number of parameters below a percentage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Secondary {
    /// What the second labels are.
    pub label: String,
    /// Values of the axis and what to write there.
    #[serde(deserialize_with = "number::json::labelled")]
    pub ticks: Vec<(f64, String)>,
}

/// One axis of a chart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Axis {
    /// What is measured.
    pub label: String,
    /// Its unit; empty if it has none.
    pub unit: String,
    /// Linear or logarithmic.
    pub scale: Scale,
    /// Where ticks are; chosen from the data if absent. Ticks widen the range if they lie outside.
    #[serde(deserialize_with = "number::json::list")]
    pub ticks: Option<Vec<f64>>,
    /// The range shown; chosen from the data if absent. What lies outside is cut, and the chart says so.
    #[serde(deserialize_with = "number::json::pair")]
    pub range: Option<(f64, f64)>,
    /// A second labelling; drawn for the x axis of a line chart.
    pub secondary: Option<Secondary>,
    /// Places after the point of values in labels and tables; significant digits if absent.
    pub decimals: Option<u8>,
}

impl Axis {
    /// A linear axis.
    pub fn new(label: impl Into<String>, unit: impl Into<String>) -> Self {
        Self { label: label.into(), unit: unit.into(), ..Self::default() }
    }

    /// The same axis, logarithmic.
    #[must_use]
    pub fn log(mut self) -> Self {
        self.scale = Scale::Log10;
        self
    }

    /// The same axis with these ticks.
    #[must_use]
    pub fn with_ticks(mut self, ticks: impl Into<Vec<f64>>) -> Self {
        self.ticks = Some(ticks.into());
        self
    }

    /// The same axis over this range whatever the data are.
    #[must_use]
    pub fn with_range(mut self, low: f64, high: f64) -> Self {
        self.range = Some((low, high));
        self
    }

    /// The same axis with a second row of labels.
    #[must_use]
    pub fn with_secondary(mut self, label: impl Into<String>, ticks: Vec<(f64, String)>) -> Self {
        self.secondary = Some(Secondary { label: label.into(), ticks });
        self
    }

    /// The same axis with so many places after the point in values.
    #[must_use]
    pub fn with_decimals(mut self, places: u8) -> Self {
        self.decimals = Some(places);
        self
    }

    /// Label and unit: `Loss (nats per token)`.
    pub fn title(&self) -> String {
        match (self.label.is_empty(), self.unit.is_empty()) {
            (_, true) => self.label.clone(),
            (true, false) => self.unit.clone(),
            (false, false) => format!("{} ({})", self.label, self.unit),
        }
    }

    /// A value as labels and tables have it.
    pub fn write(&self, value: f64) -> String {
        match self.decimals {
            // A number too long for fixed places would fill the page.
            Some(places) if value.abs() < 1e12 => number::fixed(value, usize::from(places)),
            _ => number::significant(value, 4),
        }
    }

    /// Whether a value has a place on this axis.
    pub(crate) fn can_draw(&self, value: f64) -> bool {
        value.is_finite() && value.abs() <= LARGEST && (self.scale == Scale::Linear || value > 0.0)
    }

    /// The scale over the values, from one pixel to another.
    pub(crate) fn fit(&self, values: impl Iterator<Item = f64>, ticks_wanted: usize) -> Fitted {
        let drawable = |value: &f64| self.can_draw(*value);
        let given: Option<Vec<f64>> = self.ticks.as_ref().map(|ticks| {
            let mut ticks: Vec<f64> = ticks.iter().copied().filter(drawable).collect();
            ticks.sort_by(f64::total_cmp);
            ticks.dedup();
            ticks
        });
        let given = given.filter(|ticks| !ticks.is_empty());
        let range = self.range.filter(|(low, high)| drawable(low) && drawable(high) && low < high);
        let mut low = f64::INFINITY;
        let mut high = f64::NEG_INFINITY;
        if let Some((from, to)) = range {
            (low, high) = (from, to);
        } else {
            for value in values.filter(drawable).chain(given.iter().flatten().copied()) {
                low = low.min(value);
                high = high.max(value);
            }
        }
        if low > high {
            (low, high) = if self.scale == Scale::Log10 { (1.0, 10.0) } else { (0.0, 1.0) };
        }
        let mut fitted = match self.scale {
            Scale::Linear => linear(low, high, ticks_wanted, range.is_some() || given.is_some()),
            Scale::Log10 => log(low, high, range.is_some() || given.is_some()),
        };
        if let Some(given) = given {
            fitted.labels = given.iter().map(|&tick| number::significant(tick, 6)).collect();
            fitted.ticks = given;
            let inside = |value: &f64| *value >= fitted.low && *value <= fitted.high;
            let keep: Vec<bool> = fitted.ticks.iter().map(inside).collect();
            let mut kept = keep.iter();
            fitted.ticks.retain(|_| kept.next().copied().unwrap_or(false));
            let mut kept = keep.iter();
            fitted.labels.retain(|_| kept.next().copied().unwrap_or(false));
            fitted.minor.clear();
        }
        fitted
    }
}

/// A range with its ticks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fitted {
    pub(crate) scale: Scale,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) ticks: Vec<f64>,
    pub(crate) labels: Vec<String>,
    /// Ticks without labels.
    pub(crate) minor: Vec<f64>,
}

impl Fitted {
    /// Where a value lies between 0 and 1; beyond these outside the range.
    pub(crate) fn share(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log10 => (value.log10() - self.low.log10()) / (self.high.log10() - self.low.log10()),
        };
        // A place far outside is as good as one farther, and can be written.
        if share.is_finite() { share.clamp(-10.0, 11.0) } else { 0.0 }
    }

    pub(crate) fn holds(&self, value: f64) -> bool {
        let slack = 1e-9;
        (-slack..=1.0 + slack).contains(&self.share(value))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "exponents of floats are small")]
pub(crate) fn exponent(value: f64) -> i32 {
    value.log10().floor() as i32
}

/// The least of 1, 2, 5 and 10 times a power of ten that is not below.
pub(crate) fn nice_step(least: f64) -> f64 {
    let power = 10_f64.powi(exponent(least));
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= least * (1.0 - 1e-9))
        .unwrap_or(least)
}

/// Places after the point that tell multiples of a step apart.
pub(crate) fn step_places(step: f64) -> usize {
    usize::try_from(-exponent(step * (1.0 + 1e-9))).unwrap_or(0)
}

/// How far beyond a tick, in steps, a range may end without getting another tick.
const SPILL: f64 = 0.25;

fn linear(mut low: f64, mut high: f64, wanted: usize, fixed: bool) -> Fitted {
    let size = low.abs().max(high.abs());
    // Equal values, or so near that ticks could not be told apart.
    if high - low <= size * 1e-9 {
        let pad = if size < 1e-200 { 1.0 } else { size * 0.1 };
        (low, high) = (low - pad, high + pad);
    }
    let step = nice_step((high - low) / wanted.max(2) as f64);
    // A range that ends just beyond a tick ends there, and not at the next one: most of a step would be
    // empty.
    let spill = |beyond: f64| fixed || (beyond > 1e-9 && beyond < SPILL);
    let below = (low / step).ceil() - low / step;
    let above = high / step - (high / step).floor();
    let first = if spill(below) { (low / step - 1e-9).ceil() } else { (low / step + 1e-9).floor() };
    let last = if spill(above) { (high / step + 1e-9).floor() } else { (high / step - 1e-9).ceil() };
    let mut ticks = Vec::new();
    let mut at = first;
    while at <= last && ticks.len() < 100 {
        // Dividing by the inverse of a small step is exact where multiplying is not: 3 / 10, not 3 · 0.1.
        let inverse = (1.0 / step).round();
        ticks.push(if step < 1.0 && inverse < 1e15 { at / inverse } else { at * step });
        at += 1.0;
    }
    if !fixed {
        let room = step * SPILL / 4.0;
        low = ticks.first().map_or(low, |&tick| tick.min(if spill(below) { low - room } else { low }));
        high = ticks.last().map_or(high, |&tick| tick.max(if spill(above) { high + room } else { high }));
    }
    let plain = size < 1e9 && step >= 1e-6;
    let digits = usize::try_from(exponent(size.max(step)) - exponent(step)).unwrap_or(0) + 2;
    let label = |tick: &f64| {
        if plain { number::fixed(*tick, step_places(step)) } else { number::significant(*tick, digits) }
    };
    Fitted {
        scale: Scale::Linear,
        low,
        high,
        labels: ticks.iter().map(label).collect(),
        ticks,
        minor: Vec::new(),
    }
}

fn log(mut low: f64, mut high: f64, fixed: bool) -> Fitted {
    let from = exponent(low).max(-320) - 1;
    let to = exponent(high) + 1;
    let power = |exponent: i32| 10_f64.powi(exponent);
    let multiples = |factors: &'static [f64]| {
        (from..=to).flat_map(move |exponent| factors.iter().map(move |factor| factor * power(exponent)))
    };
    if !fixed {
        low = multiples(&[1.0, 2.0, 5.0])
            .filter(|tick| *tick <= low * (1.0 + 1e-9))
            .fold(0.0, f64::max)
            .max(f64::MIN_POSITIVE)
            .min(low);
        high = multiples(&[1.0, 2.0, 5.0])
            .filter(|tick| *tick >= high * (1.0 - 1e-9))
            .fold(f64::INFINITY, f64::min)
            .min(f64::MAX)
            .max(high);
    }
    if high <= low * (1.0 + 1e-9) {
        (low, high) = (low / 10.0, high * 10.0);
        low = low.max(f64::MIN_POSITIVE);
    }
    let inside = |tick: &f64| *tick >= low * (1.0 - 1e-9) && *tick <= high * (1.0 + 1e-9);
    let decades = high.log10() - low.log10();
    let mut ticks: Vec<f64> = if decades <= 3.0 {
        multiples(&[1.0, 2.0, 5.0]).filter(inside).collect()
    } else {
        let every = |step: &i32| f64::from(*step) >= decades / 8.0;
        let step = if decades <= 9.0 { 1 } else { [2, 5, 10, 20, 50].into_iter().find(every).unwrap_or(100) };
        (from..=to).filter(|exponent| exponent.rem_euclid(step) == 0).map(power).filter(inside).collect()
    };
    if !fixed || ticks.is_empty() {
        ticks.push(low);
        ticks.push(high);
        ticks.sort_by(f64::total_cmp);
        ticks.dedup_by(|one, other| *one <= *other * (1.0 + 1e-9));
    }
    let minor = if decades <= 9.0 {
        multiples(&[2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]).filter(inside).collect()
    } else {
        Vec::new()
    };
    let labels = ticks.iter().map(|tick| number::significant(*tick, 3)).collect();
    Fitted { scale: Scale::Log10, low, high, ticks, labels, minor }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ticks_are_round_numbers() {
        let axis = Axis::new("loss", "nats");
        assert_eq!(axis.fit([0.13, 3.8].into_iter(), 5).labels, ["0", "1", "2", "3", "4"]);
        assert_eq!(axis.fit([0.1, 0.52].into_iter(), 5).labels, ["0.1", "0.2", "0.3", "0.4", "0.5"]);
        // What is just below zero gets no tick of its own, and has room all the same.
        let fitted = axis.fit([-0.01, 5.9].into_iter(), 5);
        assert_eq!(fitted.labels, ["0", "2", "4", "6"]);
        assert!(fitted.low < -0.01 && fitted.low > -0.5);
        let log = axis.log();
        assert_eq!(
            log.fit([1e-5, 0.3, 5.0].into_iter(), 5).labels,
            ["0.00001", "0.0001", "0.001", "0.01", "0.1", "1", "5"]
        );
        assert_eq!(log.fit([0.3, 4.0].into_iter(), 5).labels, ["0.2", "0.5", "1", "2", "5"]);
    }

    #[test]
    fn given_ticks_and_ranges_are_kept() {
        let axis = Axis::new("k", "%").log().with_ticks([0.01, 1.0, 0.1, f64::NAN, -1.0]);
        let fitted = axis.fit([0.05].into_iter(), 5);
        assert_eq!(fitted.ticks, [0.01, 0.1, 1.0]);
        assert!((fitted.low - 0.01).abs() < 1e-12 && (fitted.high - 1.0).abs() < 1e-12);
        let fitted = Axis::new("share", "").with_range(0.0, 1.0).fit([0.4, 7.0].into_iter(), 5);
        assert!(
            fitted.low.abs() < 1e-9
                && (fitted.high - 1.0).abs() < 1e-9
                && !fitted.holds(7.0)
                && fitted.holds(0.4)
        );
    }

    #[test]
    fn nothing_to_fit_is_no_failure() {
        for axis in [Axis::default(), Axis::default().log()] {
            for values in [
                vec![],
                vec![f64::NAN],
                vec![f64::INFINITY, -1.0],
                vec![5.0; 3],
                vec![1e-320],
                vec![f64::MAX, f64::MIN],
            ] {
                let fitted = axis.fit(values.into_iter(), 5);
                assert!(fitted.ticks.len() >= 2 && fitted.low < fitted.high, "{fitted:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn ticks_rise_and_cover(
            values in proptest::collection::vec(-1e6..1e6_f64, 1..9), power in -30_i32..30, log: bool,
        ) {
            let mut axis = Axis::default();
            if log {
                axis = axis.log();
            }
            let values: Vec<f64> = values.into_iter().map(|value| value * 10_f64.powi(power)).collect();
            let fitted = axis.fit(values.iter().copied(), 5);
            prop_assert!(fitted.ticks.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", fitted);
            prop_assert!((2..=40).contains(&fitted.ticks.len()), "{:?}", fitted);
            prop_assert_eq!(fitted.ticks.len(), fitted.labels.len());
            let mut labels = fitted.labels.clone();
            labels.dedup();
            prop_assert_eq!(labels.len(), fitted.ticks.len(), "{:?}", fitted);
            for value in values.into_iter().filter(|value| axis.can_draw(*value)) {
                prop_assert!(fitted.holds(value), "{} {:?}", value, fitted);
                let [first, second, ..] = fitted.ticks[..] else { panic!("one tick") };
                let last = fitted.ticks[fitted.ticks.len() - 1];
                // On a linear axis what is less than a quarter of a step beyond a tick has none of its own.
                let spill = if log { 0.0 } else { SPILL * (second - first) };
                let slack = value.abs() * 1e-6 + spill;
                prop_assert!(first <= value + slack && last >= value - slack, "{} {:?}", value, fitted);
            }
        }

        #[test]
        fn no_number_breaks_a_scale(
            values in proptest::collection::vec(proptest::num::f64::ANY, 0..9),
            range: Option<(f64, f64)>,
            log: bool,
        ) {
            let axis = Axis { range, scale: if log { Scale::Log10 } else { Scale::Linear }, ..Axis::default() };
            let fitted = axis.fit(values.iter().copied(), 5);
            prop_assert!(values.iter().all(|value| fitted.share(*value).is_finite()));
            prop_assert!(fitted.ticks.len() < 200);
        }
    }
}
