//! The k slider: ticks of an input, counts of parameters.
//!
//! The state is always a count, never a share: a share can't be turned back into its count.

use crate::protocol::SpotFacts;

/// The slider's last tick.
pub const LAST_TICK: u32 = 200;
/// What the last tick stands for, percent of the parameters in scope.
pub const LAST_PERCENT: f64 = 0.25;
/// Shares with a button of their own, percent: those of the paper's figures.
pub const PRESETS_PERCENT: [f64; 4] = [0.0025, 0.01, 0.09, 0.25];

/// The nearest count to `percent` of `in_scope` parameters.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "shares of a count that fits are counts that fit, and both factors are positive"
)]
pub fn count_for_percent(in_scope: u64, percent: f64) -> u64 {
    (in_scope as f64 * percent / 100.0).round() as u64
}

/// Which counts the ticks stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scale {
    /// 0, 1, then in even ratios to this count.
    Logarithmic(u64),
    /// 0, then each of these counts, ascending.
    Levels(Vec<u64>),
}

impl Scale {
    /// The scale of a spot: its levels where it has some.
    pub fn new(spot: &SpotFacts) -> Self {
        if spot.levels.is_empty() {
            Self::logarithmic(count_for_percent(spot.parameters_in_scope, LAST_PERCENT).min(spot.len))
        } else {
            let mut levels: Vec<u64> = spot.levels.iter().copied().filter(|level| *level > 0).collect();
            levels.sort_unstable();
            levels.dedup();
            Self::Levels(levels)
        }
    }

    /// A scale that ends at a count.
    pub fn logarithmic(last: u64) -> Self {
        Self::Logarithmic(last)
    }

    /// The last tick.
    pub fn last_tick(&self) -> u32 {
        match self {
            Self::Logarithmic(_) => LAST_TICK,
            Self::Levels(levels) => u32::try_from(levels.len()).unwrap_or(u32::MAX),
        }
    }

    /// The count of the last tick.
    pub fn last(&self) -> u64 {
        self.count(self.last_tick())
    }

    /// The count of a tick.
    ///
    /// Where the logarithm's steps are less than a parameter each tick adds one, so that a key press
    /// always changes something.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and `last`, which is a count"
    )]
    pub fn count(&self, tick: u32) -> u64 {
        match self {
            _ if tick == 0 => 0,
            Self::Logarithmic(0) => 0,
            Self::Logarithmic(last) => {
                let tick = tick.min(LAST_TICK);
                let along = f64::from(tick - 1) / f64::from(LAST_TICK - 1);
                let logarithmic = (*last as f64).powf(along).round() as u64;
                logarithmic.max(u64::from(tick)).min(*last)
            }
            Self::Levels(levels) => {
                let place = (tick as usize).min(levels.len());
                place.checked_sub(1).and_then(|place| levels.get(place)).copied().unwrap_or(0)
            }
        }
    }

    /// The tick whose count is nearest; the lower of two.
    pub fn tick(&self, count: u64) -> u32 {
        (0..=self.last_tick()).min_by_key(|&tick| self.count(tick).abs_diff(count)).unwrap_or(0)
    }

    /// The count that can be chosen and is nearest: any up to the last, or a level.
    pub fn nearest(&self, count: u64) -> u64 {
        match self {
            Self::Logarithmic(last) => count.min(*last),
            Self::Levels(_) => self.count(self.tick(count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMO: u64 = 5_401_856;

    fn whole(in_scope: u64) -> Scale {
        Scale::logarithmic(count_for_percent(in_scope, LAST_PERCENT))
    }

    fn spot(len: u64, levels: &[u64]) -> SpotFacts {
        SpotFacts {
            scope: "no-norm".into(),
            parameters_in_scope: DEMO,
            len,
            max_k: 1.0,
            languages: Vec::new(),
            levels: levels.to_vec(),
        }
    }

    #[test]
    fn ends_and_first_step_are_what_they_say() {
        let scale = whole(DEMO);
        assert_eq!(scale.count(0), 0);
        assert_eq!(scale.count(1), 1);
        assert_eq!(scale.count(LAST_TICK), count_for_percent(DEMO, 0.25));
        assert_eq!(scale.count(LAST_TICK + 1), scale.last());
    }

    #[test]
    fn every_tick_adds_parameters_and_finds_itself() {
        for in_scope in [DEMO, 3_212_749_824] {
            let scale = whole(in_scope);
            for tick in 0..LAST_TICK {
                assert!(scale.count(tick) < scale.count(tick + 1), "tick {tick}");
                assert_eq!(scale.tick(scale.count(tick)), tick);
            }
        }
    }

    #[test]
    fn presets_are_exact_counts_at_the_nearest_tick() {
        let scale = whole(DEMO);
        assert_eq!(PRESETS_PERCENT.map(|percent| count_for_percent(DEMO, percent)), [135, 540, 4862, 13_505]);
        assert_eq!(count_for_percent(3_212_749_824, 0.0025), 80_319);
        let tick = scale.tick(135);
        assert!(scale.count(tick - 1) < 135 && 135 < scale.count(tick + 1));
        assert_eq!(scale.tick(13_505), LAST_TICK);
    }

    #[test]
    fn a_short_spot_ends_the_scale() {
        assert_eq!(Scale::new(&spot(40, &[])).count(LAST_TICK), 40);
        assert_eq!(Scale::new(&spot(0, &[])).count(1), 0);
        assert_eq!(Scale::new(&spot(u64::MAX, &[])).nearest(20_000_000), 13_505);
    }

    #[test]
    fn levels_are_the_ticks_where_a_spot_has_some() {
        let scale = Scale::new(&spot(u64::MAX, &[10, 100, 1000]));
        assert_eq!(scale.last_tick(), 3);
        assert_eq!([0, 1, 2, 3, 4].map(|tick| scale.count(tick)), [0, 10, 100, 1000, 1000]);
        assert_eq!([scale.nearest(3), scale.nearest(90), scale.nearest(9999)], [0, 100, 1000]);
    }
}
