//! Spots: ranked sets of parameters, how they are chosen, stored and matched.

mod control;
mod file;
mod group;
mod location;
mod select;
mod set;
mod top;

pub use control::{magnitude, matched_magnitude, matched_random, random_offsets};
pub use file::{Spot, SpotError, SpotHeader, SpotTensor};
pub use group::{Group, GroupRanked, GroupSize, group_sizes, top_of_groups};
pub use location::{Lines, TensorCount, count_tensors, line_counts, residual_counts};
pub use select::{
    Ranked, Scope, SelectError, check_count, competing, parameters_in_scope, parameters_of, select_top,
};
pub use set::{Operand, ParameterSet, SetError, check_comparable, difference, intersection, union};
pub use top::{BadScore, Collector, ScoreHistogram, StreamingTop, Threshold};

/// Number of parameters of `percent` of `parameters`, to the nearest whole one (paper: top k %).
pub fn count_of(parameters: u64, percent: f64) -> u64 {
    // Exact for every model below 2⁵³ parameters; `as` saturates.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded, not negative")]
    let count = (parameters as f64 * percent / 100.0).round() as u64;
    count.min(parameters)
}
