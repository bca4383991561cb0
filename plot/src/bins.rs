//! The seven bins of a colour scale.

use crate::number;
use crate::palette::{DIVERGING, SEQUENTIAL};
use crate::scale::exponent;

/// Seven bins: their edges in the scale's own measure, and how the bar is labelled.
pub(crate) struct Bins {
    pub(crate) edges: [f64; 8],
    pub(crate) colours: [&'static str; 7],
    /// Labels at edges, or at the middles of bins.
    pub(crate) labels: Vec<(f64, String)>,
    /// Values below the first and above the last edge.
    pub(crate) below: bool,
    pub(crate) above: bool,
}

impl Bins {
    fn bin(&self, value: f64) -> usize {
        self.edges[1..7].iter().filter(|edge| value >= **edge).count()
    }

    pub(crate) fn colour(&self, value: f64) -> &'static str {
        self.colours[self.bin(value).min(6)]
    }

    /// Around −3 and below, −2 to 2, 3 and above, whatever the data are.
    pub(crate) fn enrichment() -> Self {
        let label = |bin: i32| match bin {
            -3 => format!("≤\u{a0}{}3", number::MINUS),
            3 => "≥\u{a0}3".to_owned(),
            bin => number::signed(f64::from(bin), 0),
        };
        Self {
            edges: [-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5],
            colours: DIVERGING,
            labels: (-3..=3).map(|bin| (f64::from(bin), label(bin))).collect(),
            below: false,
            above: false,
        }
    }

    /// From low to high in round steps, over the data or a range.
    pub(crate) fn sequential(mut low: f64, mut high: f64, range: Option<(f64, f64)>) -> Self {
        let (least, most) = (low, high);
        let given = range
            .filter(|(low, high)| low.is_finite() && high.is_finite() && low < high && high - low < 1e200);
        let (start, step) = if let Some((low, high)) = given {
            (low, (high - low) / 7.0)
        } else {
            if low > high {
                (low, high) = (0.0, 1.0);
            }
            // A scale that begins at zero is the easier one to read, unless that leaves most bins empty.
            if low > 0.0 && low < high * 0.5 {
                low = 0.0;
            }
            let size = low.abs().max(high.abs());
            let span = (high - low).max(size * 1e-6).max(1e-200);
            let mut step = fine_step(span / 7.0);
            let mut start = (low / step + 1e-9).floor() * step;
            for _ in 0..20 {
                if start + 7.0 * step >= high * (1.0 - 1e-12) {
                    break;
                }
                step = fine_step(step * 1.05);
                start = (low / step + 1e-9).floor() * step;
            }
            (start, step)
        };
        let edges = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0].map(|edge| start + edge * step);
        let beyond = step * 1e-6;
        Self {
            edges,
            colours: SEQUENTIAL,
            labels: edge_labels(edges, false),
            below: least < edges[0] - beyond,
            above: most > edges[7] + beyond && most >= least,
        }
    }

    /// Symmetric about a centre, in round steps, over the data or to a limit.
    pub(crate) fn diverging(low: f64, high: f64, center: f64, limit: Option<f64>) -> Self {
        let far = if low <= high { (high - center).abs().max((low - center).abs()) } else { 1.0 };
        let step = match limit.filter(|limit| limit.is_finite() && *limit > 0.0 && *limit < 1e200) {
            Some(limit) => limit / 3.5,
            None => fine_step((far / 3.5).max(center.abs() * 1e-9).max(1e-200)),
        };
        let edges = [-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5].map(|edge| center + edge * step);
        let beyond = step * 1e-6;
        Self {
            edges,
            colours: DIVERGING,
            labels: edge_labels(edges, center == 0.0),
            below: low < edges[0] - beyond,
            above: high > edges[7] + beyond,
        }
    }
}

/// The least step of a fine series of round numbers that is not below.
fn fine_step(least: f64) -> f64 {
    let power = 10_f64.powi(exponent(least));
    [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= least * (1.0 - 1e-9))
        .unwrap_or(least)
}

fn edge_labels(edges: [f64; 8], signed: bool) -> Vec<(f64, String)> {
    let label = |edge: f64| {
        let plus = if signed && edge > 0.0 { "+" } else { "" };
        format!("{plus}{}", number::significant(edge, 4))
    };
    let last = edges.len() - 1;
    // Of a range given by a caller the edges between may be no round numbers.
    let round = |edge: f64| {
        let digits: f64 = format!("{edge:.2e}").parse().unwrap_or(f64::NAN);
        (digits - edge).abs() <= edge.abs() * 1e-6
    };
    let kept = |(place, edge): &(usize, &f64)| *place == 0 || *place == last || round(**edge);
    edges.iter().enumerate().filter(kept).map(|(_, edge)| (*edge, label(*edge))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_cover_the_data_with_round_edges() {
        let bins = Bins::sequential(0.02, 0.97, None);
        assert!(bins.edges[0] == 0.0 && bins.edges[7] >= 0.97 && !bins.below && !bins.above);
        assert!(bins.labels.iter().all(|(_, label)| label.len() <= 5), "{:?}", bins.labels);
        assert_eq!((bins.bin(-1.0), bins.bin(0.0), bins.bin(0.97), bins.bin(99.0)), (0, 0, 6, 6));
        let bins = Bins::diverging(-0.3, 4.2, 0.0, None);
        assert!((bins.edges[0] + bins.edges[7]).abs() < 1e-9 && bins.edges[7] >= 4.2);
        assert_eq!(bins.bin(0.0), 3);
    }
}
