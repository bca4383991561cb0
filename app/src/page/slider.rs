//! The k slider: ticks of an input, counts of parameters.
//!
//! The state is always a count, never a share: a share can't be turned back into its count.

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

/// How many parameters each tick stands for, given the count of the last tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    last: u64,
}

impl Scale {
    /// The scale for a spot that ranks `ranked` of `in_scope` parameters.
    pub fn new(in_scope: u64, ranked: u64) -> Self {
        Self { last: count_for_percent(in_scope, LAST_PERCENT).min(ranked) }
    }

    /// The count of the last tick.
    pub fn last(self) -> u64 {
        self.last
    }

    /// The count of a tick: 0 is nothing, 1 is one parameter, the rest is logarithmic.
    ///
    /// Where the logarithm's steps are less than a parameter each tick adds one, so that a key press
    /// always changes something.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and `last`, which is a count"
    )]
    pub fn count(self, tick: u32) -> u64 {
        if tick == 0 || self.last == 0 {
            return 0;
        }
        let tick = tick.min(LAST_TICK);
        let along = f64::from(tick - 1) / f64::from(LAST_TICK - 1);
        let logarithmic = (self.last as f64).powf(along).round() as u64;
        logarithmic.max(u64::from(tick)).min(self.last)
    }

    /// The tick whose count is nearest; the lower of two.
    pub fn tick(self, count: u64) -> u32 {
        (0..=LAST_TICK).min_by_key(|&tick| self.count(tick).abs_diff(count)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMO: u64 = 5_401_856;

    #[test]
    fn ends_and_first_step_are_what_they_say() {
        let scale = Scale::new(DEMO, u64::MAX);
        assert_eq!(scale.count(0), 0);
        assert_eq!(scale.count(1), 1);
        assert_eq!(scale.count(LAST_TICK), count_for_percent(DEMO, 0.25));
        assert_eq!(scale.count(LAST_TICK + 1), scale.last());
    }

    #[test]
    fn every_tick_adds_parameters_and_finds_itself() {
        for in_scope in [DEMO, 3_212_749_824] {
            let scale = Scale::new(in_scope, u64::MAX);
            for tick in 0..LAST_TICK {
                assert!(scale.count(tick) < scale.count(tick + 1), "tick {tick}");
                assert_eq!(scale.tick(scale.count(tick)), tick);
            }
        }
    }

    #[test]
    fn presets_are_exact_counts_at_the_nearest_tick() {
        let scale = Scale::new(DEMO, u64::MAX);
        assert_eq!(PRESETS_PERCENT.map(|percent| count_for_percent(DEMO, percent)), [135, 540, 4862, 13_505]);
        assert_eq!(count_for_percent(3_212_749_824, 0.0025), 80_319);
        let tick = scale.tick(135);
        assert!(scale.count(tick - 1) < 135 && 135 < scale.count(tick + 1));
        assert_eq!(scale.tick(13_505), LAST_TICK);
    }

    #[test]
    fn a_short_spot_ends_the_scale() {
        assert_eq!(Scale::new(DEMO, 40).count(LAST_TICK), 40);
        assert_eq!(Scale::new(DEMO, 0).count(1), 0);
    }
}
