//! What is read aloud, and how often.

/// Least time between two announcements, milliseconds.
pub const BETWEEN_MS: f64 = 5_000.0;

/// A live region that speaks seldom: a text that comes too soon waits, and only the last that waits is spoken.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Announcer {
    spoken: String,
    at_ms: Option<f64>,
    waits: bool,
}

/// What to do with a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Turn {
    /// Speak it.
    Now,
    /// Offer the text that is current then, after this time in milliseconds.
    Later(f64),
    /// It was spoken last, or one waits already.
    Nothing,
}

impl Announcer {
    /// Offers a text; `due` says that this is the end of a wait.
    pub fn offer(&mut self, text: &str, now_ms: f64, due: bool) -> Turn {
        if due {
            self.waits = false;
        }
        if text == self.spoken || self.waits {
            return Turn::Nothing;
        }
        let left = self.at_ms.map_or(0.0, |at| at + BETWEEN_MS - now_ms);
        if left > 0.5 {
            self.waits = true;
            return Turn::Later(left);
        }
        text.clone_into(&mut self.spoken);
        self.at_ms = Some(now_ms);
        Turn::Now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_announcements_are_five_seconds_apart_and_the_last_text_wins() {
        let mut announcer = Announcer::default();
        assert_eq!(announcer.offer("a", 0.0, false), Turn::Now);
        assert_eq!(announcer.offer("a", 100.0, false), Turn::Nothing);
        assert_eq!(announcer.offer("b", 1_000.0, false), Turn::Later(4_000.0));
        assert_eq!(announcer.offer("c", 2_000.0, false), Turn::Nothing);
        assert_eq!(announcer.offer("c", 5_000.0, true), Turn::Now);
        assert_eq!(announcer.offer("d", 20_000.0, false), Turn::Now);
    }

    #[test]
    fn a_text_that_comes_back_in_the_meantime_is_not_repeated() {
        let mut announcer = Announcer::default();
        assert_eq!(announcer.offer("a", 0.0, false), Turn::Now);
        assert!(matches!(announcer.offer("b", 1_000.0, false), Turn::Later(_)));
        assert_eq!(announcer.offer("a", 5_000.0, true), Turn::Nothing);
        assert_eq!(announcer.offer("b", 5_100.0, false), Turn::Now);
    }
}
