//! Messages between the page and the frame that runs Python: plain objects, by `postMessage`.

use serde::{Deserialize, Serialize};

/// Longest that a program may run, milliseconds.
pub const TIMEOUT_MS: u32 = 5_000;

/// Page → frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ToPython {
    /// Start Python, so that the first program does not wait for it.
    Boot {
        /// Request.
        id: u32,
    },
    /// Run a program and its tests.
    Run {
        /// Request.
        id: u32,
        /// Prompt and completion.
        program: String,
        /// Defines `check(candidate)`.
        tests: String,
        /// The function that the tests are of.
        entry_point: String,
        /// Longest time, milliseconds.
        timeout_ms: u32,
    },
    /// End a run.
    Kill {
        /// Request of the run.
        id: u32,
    },
}

/// Frame → page.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum FromPython {
    /// The frame listens.
    Listening,
    /// Python is there.
    Booted {
        /// Its version.
        #[serde(default)]
        python: String,
    },
    /// What a program wrote.
    Output {},
    /// A run ended by itself.
    Result {
        /// Request.
        id: u32,
        /// `passed`, `failed` or `syntax error`.
        verdict: String,
        /// What went wrong.
        #[serde(default)]
        message: String,
    },
    /// A run was ended for its time.
    TimedOut {
        /// Request.
        id: u32,
        /// In words.
        #[serde(default)]
        message: String,
    },
    /// Python itself ended.
    Crashed {
        /// Request, if one ran.
        id: Option<u32>,
        /// In words.
        #[serde(default)]
        message: String,
    },
    /// A run was ended by the page.
    Stopped {
        /// Request.
        id: u32,
    },
    /// Python can't be started.
    BootFailed {
        /// In words.
        #[serde(default)]
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_the_objects_that_the_frame_takes() {
        let run = ToPython::Run {
            id: 4,
            program: "def f():\n    return 1\n".into(),
            tests: "def check(f): assert f() == 1".into(),
            entry_point: "f".into(),
            timeout_ms: TIMEOUT_MS,
        };
        let text = serde_json::to_string(&run).unwrap();
        assert!(text.contains(r#""type":"run""#) && text.contains(r#""entry_point":"f""#), "{text}");
        let read = |text: &str| serde_json::from_str::<FromPython>(text);
        assert_eq!(
            read(r#"{"type":"result","id":4,"verdict":"syntax error","message":"line 1","extra":1}"#)
                .unwrap(),
            FromPython::Result { id: 4, verdict: "syntax error".into(), message: "line 1".into() }
        );
        assert_eq!(
            read(r#"{"type":"timed-out","id":4,"message":"Timed out after 5 s"}"#).unwrap(),
            FromPython::TimedOut { id: 4, message: "Timed out after 5 s".into() }
        );
        assert!(read(r#"{"type":"output","id":4,"stream":"stdout","text":"x","cut":false}"#).is_ok());
        assert!(read(r#"{"type":"unknown"}"#).is_err());
    }
}
