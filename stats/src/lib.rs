//! Statistics of spots (sets of parameters) and of what it costs to ablate them.
//!
//! | Question | Module |
//! |---|---|
//! | Do two spots share more than chance? | [`overlap`] |
//! | Do two scores order the parameters alike? | [`rank`] |
//! | Is a spot gathered in few rows or columns? | [`dispersion`] |
//! | How sure is a loss, and a difference of two? | [`bootstrap`] |
//! | At which dose does damage set in, and saturate? | [`knee`] |
//! | How sure is a share of solved problems? | [`proportion`] |
//! | Does a prediction of the damage hold? | [`agreement`] |
//!
//! Everything is a pure function of its arguments: no files, threads, clocks or global state; builds
//! for native targets and `wasm32-unknown-unknown`. No input makes it panic. Losses are in nats.
//!
//! What draws at random does so from `ChaCha8` with a seed that the caller gives, on these streams:
//!
//! | Drawn | Stream |
//! |---|---|
//! | [`bootstrap::Resamples::new`]: documents of the stratum with index i | i |
//! | [`bootstrap::resample_mean`]: control seeds | 2⁶⁴ − 1 |
//! | [`dispersion::chance`]: random counts of draw i | i |

pub mod agreement;
pub mod bootstrap;
pub mod dispersion;
mod interval;
pub mod knee;
mod normal;
pub mod overlap;
pub mod proportion;
pub mod rank;

pub use interval::Interval;
