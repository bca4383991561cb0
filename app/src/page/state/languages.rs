//! The loss of each arm on short texts of several languages.

use super::{Command, Pending, Phase, State, send};
use crate::protocol::{Arm, Snippet, ToEngine};
use serde::Deserialize;

/// Longest file of texts that is read, bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// A language with its texts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Language {
    /// Names it in messages and test ids.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The texts.
    pub texts: Vec<String>,
}

#[derive(Deserialize)]
struct File {
    languages: Vec<Language>,
}

/// Reads texts by language.
///
/// # Errors
/// One sentence: the text is too long or not of this form.
pub fn read_languages(text: &str) -> Result<Vec<Language>, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("the texts are longer than {MAX_BYTES} bytes"));
    }
    let file: File =
        serde_json::from_str(text).map_err(|error| format!("the texts can't be read: {error}"))?;
    Ok(file.languages)
}

/// A loss, with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loss {
    /// Nats per token.
    pub mean: f64,
    /// Half the width of the 95 % interval.
    pub half_width: Option<f64>,
    /// Tokens.
    pub tokens: u32,
}

impl Loss {
    /// `1.23 ± 0.10`.
    pub fn text(&self) -> String {
        match self.half_width {
            Some(half_width) => format!("{:.2} ± {half_width:.2}", self.mean),
            None => format!("{:.2}", self.mean),
        }
    }
}

/// A language and what was measured on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The language's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Losses of the original, the spot's and the random arm.
    pub losses: [Option<Loss>; 3],
}

/// The texts and the losses.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Languages {
    /// The texts.
    pub texts: Vec<Language>,
    /// The losses, a row a language.
    pub rows: Vec<Row>,
    /// How many parameters were zero in the ablated arms.
    pub count: u64,
    /// They are being measured.
    pub running: bool,
}

impl Languages {
    pub(super) fn put(&mut self, arm: Arm, language: &str, loss: Loss) {
        let place = match arm {
            Arm::Original => 0,
            Arm::Spot => 1,
            Arm::Random => 2,
        };
        if let Some(row) = self.rows.iter_mut().find(|row| row.id == language) {
            row.losses[place] = Some(loss);
        }
    }

    /// The end of a common axis for all bars, nats: a round number above the highest interval.
    pub fn axis_end(&self) -> f64 {
        let high = self
            .rows
            .iter()
            .flat_map(|row| row.losses.iter().flatten())
            .map(|loss| loss.mean + loss.half_width.unwrap_or(0.0))
            .filter(|value| value.is_finite())
            .fold(0.0_f64, f64::max);
        [1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 50.0].into_iter().find(|end| *end >= high).unwrap_or(high)
    }
}

impl State {
    /// Measures every arm on every text.
    pub fn measure_languages(&mut self) -> Vec<Command> {
        if !self.can_generate() || self.languages.texts.is_empty() {
            return Vec::new();
        }
        let has_spot = self.spot.is_some();
        let arms = if has_spot { vec![Arm::Original, Arm::Spot, Arm::Random] } else { vec![Arm::Original] };
        let count = if has_spot { self.count } else { 0 };
        let id = self.next_id();
        self.alert = None;
        self.languages.count = count;
        self.languages.running = true;
        self.languages.rows = self
            .languages
            .texts
            .iter()
            .map(|language| Row { id: language.id.clone(), name: language.name.clone(), losses: [None; 3] })
            .collect();
        let snippets = self.languages.texts.iter().flat_map(|language| {
            language.texts.iter().map(|text| Snippet { language: language.id.clone(), text: text.clone() })
        });
        let message = ToEngine::ScoreLanguages { id, snippets: snippets.collect(), count, arms };
        self.pending = Some(Pending::Languages(id));
        self.phase = Phase::Measuring;
        vec![send(message)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundled_texts_are_three_for_each_language() {
        let languages = read_languages(include_str!("../../../../demo/snippets.json")).unwrap();
        assert_eq!(languages.len(), 12);
        for language in &languages {
            assert_eq!(language.texts.len(), 3, "{}", language.id);
            assert!(language.texts.iter().all(|text| (80..2000).contains(&text.len())), "{}", language.id);
        }
    }

    #[test]
    fn an_axis_ends_above_every_interval() {
        let mut languages = Languages::default();
        languages.rows.push(Row { id: "go".into(), name: "Go".into(), losses: [None; 3] });
        languages.put(Arm::Spot, "go", Loss { mean: 3.9, half_width: Some(0.3), tokens: 50 });
        languages.put(Arm::Spot, "other", Loss { mean: 90.0, half_width: None, tokens: 50 });
        assert!((languages.axis_end() - 6.0).abs() < 1e-9);
        assert_eq!(languages.rows[0].losses[1].unwrap().text(), "3.90 ± 0.30");
    }
}
