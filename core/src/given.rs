//! Fields of JSON that mean one thing when they are absent and another when they are null.

use serde::{Deserialize, Deserializer};

/// A field; to be marked `#[serde(default)]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Given<T> {
    /// Not there: the default of whoever wrote the file holds.
    #[default]
    Absent,
    /// There and null.
    Null,
    /// There.
    Value(T),
}

impl<T> Given<T> {
    /// The value, `default` where it is absent, `None` where it is null.
    pub(crate) fn or_default(self, default: Option<T>) -> Option<T> {
        match self {
            Self::Absent => default,
            Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Only called where the field is there.
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Value))
    }
}
