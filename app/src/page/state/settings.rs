//! Sampling settings, as typed.

use crate::protocol::Sampling;

/// Most new tokens of an arm.
pub const MAX_NEW_TOKENS: u32 = 512;

/// The settings, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// At most this many new tokens.
    pub max_tokens: String,
    /// 0 is greedy.
    pub temperature: String,
    /// Nucleus.
    pub top_p: String,
    /// Seed, also of the random control.
    pub seed: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_tokens: "48".into(), temperature: "0".into(), top_p: "1".into(), seed: "0".into() }
    }
}

impl Settings {
    /// The settings as numbers.
    ///
    /// # Errors
    /// A sentence that says which field is wrong and what it takes.
    pub fn sampling(&self) -> Result<Sampling, String> {
        fn read<T: std::str::FromStr>(
            text: &str,
            good: impl Fn(&T) -> bool,
            needs: &str,
        ) -> Result<T, String> {
            text.trim().parse().ok().filter(good).ok_or_else(|| format!("{needs}. Correct it in Settings."))
        }
        Ok(Sampling {
            max_tokens: read(
                &self.max_tokens,
                |value| (1..=MAX_NEW_TOKENS).contains(value),
                &format!("Max tokens must be a whole number from 1 to {MAX_NEW_TOKENS}"),
            )?,
            temperature: read(
                &self.temperature,
                |value| (0.0..=5.0).contains(value),
                "Temperature must be a number from 0 to 5",
            )?,
            top_p: read(
                &self.top_p,
                |value| (0.0..=1.0).contains(value) && *value > 0.0,
                "Top-p must be a number above 0 and at most 1",
            )?,
            seed: read(&self.seed, |_| true, "The seed must be a whole number from 0")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_number_is_refused_in_a_sentence() {
        let settings = Settings { max_tokens: "0".into(), ..Settings::default() };
        assert_eq!(
            settings.sampling().unwrap_err(),
            "Max tokens must be a whole number from 1 to 512. Correct it in Settings."
        );
        for bad in ["", "x", "-1", "NaN", "inf"] {
            assert!(Settings { temperature: bad.into(), ..Settings::default() }.sampling().is_err(), "{bad}");
        }
        assert!(Settings { top_p: "0".into(), ..Settings::default() }.sampling().is_err());
        assert_eq!(Settings::default().sampling().unwrap().max_tokens, 48);
    }
}
