//! The counts that a slider offers.

/// Ticks of the slider above 0.
pub const TICKS: u32 = 200;
/// The percentages that were published, which are offered exactly.
pub const PUBLISHED_PERCENT: [f64; 4] = [0.0025, 0.01, 0.09, 0.25];

/// The counts of a ranking of `len` of `parameters_in_scope` parameters that can be chosen, ascending:
/// [`TICKS`] ticks from one parameter to all of them, evenly spaced by the logarithm, where they are
/// different numbers, and those of [`PUBLISHED_PERCENT`] that the ranking holds. Empty when `len` is 0.
pub fn tick_counts(parameters_in_scope: u64, len: u64) -> Vec<u64> {
    if len == 0 {
        return Vec::new();
    }
    let ticks = (0..TICKS).map(|tick| whole((len as f64).powf(f64::from(tick) / f64::from(TICKS - 1))));
    let published = PUBLISHED_PERCENT.map(|percent| whole(parameters_in_scope as f64 * percent / 100.0));
    let mut counts: Vec<u64> = ticks.chain(published).filter(|count| (1..=len).contains(count)).collect();
    // The powers may miss the end by a rounding.
    counts.push(len);
    counts.sort_unstable();
    counts.dedup();
    counts
}

/// The nearest whole number.
fn whole(value: f64) -> u64 {
    // Exact for every model below 2⁵³ parameters; `as` saturates.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded, not negative")]
    let whole = value.round() as u64;
    whole
}
