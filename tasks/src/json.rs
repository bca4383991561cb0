//! JSON in the order in which it was written, and as Python's `json.dumps` writes it.

use crate::python::float_repr;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// Most fields of one object: finding doubles is quadratic.
const MAX_FIELDS: usize = 4096;

/// A JSON value. Objects keep their order, which the hash of a document depends on.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// Whole numbers from −2⁶³ to 2⁶⁴ − 1.
    Integer(i128),
    /// All other numbers. Not finite ones are written as `null`.
    Float(f64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object; no name twice.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The field `name` of an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(fields) = self else { return None };
        fields.iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    /// An object of these fields.
    pub fn object<N: Into<String>>(fields: impl IntoIterator<Item = (N, Self)>) -> Self {
        Self::Object(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    /// A list of these values.
    pub fn list<T: Into<Self>>(values: impl IntoIterator<Item = T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }

    /// An object with the fields named in `first` put first, in that order.
    #[must_use]
    pub fn ordered(self, first: &[&str]) -> Self {
        let Self::Object(mut fields) = self else { return self };
        let place = |name: &str| first.iter().position(|first| *first == name).unwrap_or(first.len());
        fields.sort_by_key(|(name, _)| place(name));
        Self::Object(fields)
    }

    /// As `json.dumps(value, indent=indent, ensure_ascii=False)` writes it.
    pub fn dumps(&self, indent: Option<usize>) -> String {
        let mut text = String::new();
        self.write(&mut text, indent, 0);
        text
    }

    fn write(&self, to: &mut String, indent: Option<usize>, depth: usize) {
        match self {
            Self::Bool(value) => to.push_str(if *value { "true" } else { "false" }),
            Self::Integer(value) => to.push_str(&value.to_string()),
            Self::Float(value) if value.is_finite() => to.push_str(&float_repr(*value)),
            Self::Null | Self::Float(_) => to.push_str("null"),
            Self::Text(text) => write_text(to, text),
            Self::List(values) => {
                write_all(to, ('[', ']'), indent, depth, values, |to, value| {
                    value.write(to, indent, depth + 1);
                });
            }
            Self::Object(fields) => {
                write_all(to, ('{', '}'), indent, depth, fields, |to, (name, value)| {
                    write_text(to, name);
                    to.push_str(": ");
                    value.write(to, indent, depth + 1);
                });
            }
        }
    }
}

fn write_all<T>(
    to: &mut String,
    (open, close): (char, char),
    indent: Option<usize>,
    depth: usize,
    values: &[T],
    mut write: impl FnMut(&mut String, &T),
) {
    let line = |to: &mut String, depth: usize| {
        if let Some(indent) = indent {
            to.push('\n');
            to.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    to.push(open);
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            to.push_str(if indent.is_some() { "," } else { ", " });
        }
        line(to, depth + 1);
        write(to, value);
    }
    if !values.is_empty() {
        line(to, depth);
    }
    to.push(close);
}

/// A string as `json.dumps` writes it.
pub(crate) fn write_text(to: &mut String, text: &str) {
    to.push('"');
    for c in text.chars() {
        match c {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            '\u{8}' => to.push_str("\\b"),
            '\u{c}' => to.push_str("\\f"),
            '\0'..='\u{1f}' => to.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => to.push(c),
        }
    }
    to.push('"');
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Json {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Json {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<u32> for Json {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<usize> for Json {
    fn from(value: usize) -> Self {
        Self::Integer(value as i128)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            // All that can be read; a larger one can only have been built.
            Self::Integer(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => serializer.serialize_i64(value),
                (_, Ok(value)) => serializer.serialize_u64(value),
                _ => serializer.serialize_i128(*value),
            },
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(values) => serializer.collect_seq(values),
            Self::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Integer(value.into()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Integer(value.into()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Json, E> {
                Ok(Json::Float(value))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Json, E> {
                Ok(Json::Text(text.into()))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Json, E> {
                Ok(Json::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element()? {
                    values.push(value);
                }
                Ok(Json::List(values))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut fields: Vec<(String, Json)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Json>()? {
                    // As in Python, the last of doubles counts, in the place of the first.
                    if let Some((_, found)) = fields.iter_mut().find(|(field, _)| *field == name) {
                        *found = value;
                    } else if fields.len() < MAX_FIELDS {
                        fields.push((name, value));
                    } else {
                        return Err(de::Error::custom("more than 4096 fields"));
                    }
                }
                Ok(Json::Object(fields))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Json {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn order_is_kept_and_doubles_collapse_as_in_python() {
        let value = parse(r#"{"b": 1, "a": [true, null, -2, 1e2], "b": "x"}"#);
        assert_eq!(value.dumps(None), r#"{"b": "x", "a": [true, null, -2, 100.0]}"#);
        assert_eq!(
            value.clone().ordered(&["z", "a"]).dumps(None),
            r#"{"a": [true, null, -2, 100.0], "b": "x"}"#
        );
        assert_eq!(serde_json::to_string(&value).unwrap(), r#"{"b":"x","a":[true,null,-2,100.0]}"#);
    }

    #[test]
    fn dumps_are_those_of_python() {
        // json.dumps({"a": [], "b": {"c": [1, 2.5]}, "d": "é\"\\\n\t\x01\x7f"}, indent=2, ensure_ascii=False)
        let value = parse(r#"{"a": [], "b": {"c": [1, 2.5]}, "d": "é\"\\\n\t\u0001\u007f"}"#);
        assert_eq!(
            value.dumps(Some(2)),
            "{\n  \"a\": [],\n  \"b\": {\n    \"c\": [\n      1,\n      2.5\n    ]\n  },\n  \"d\": \"é\\\"\\\\\\n\\t\\u0001\u{7f}\"\n}"
        );
        assert_eq!(parse("{}").dumps(Some(2)), "{}");
    }

    #[test]
    fn hostile_json_is_refused() {
        let many: Vec<String> = (0..5000).map(|i| format!("\"{i}\":0")).collect();
        assert!(serde_json::from_str::<Json>(&format!("{{{}}}", many.join(","))).is_err());
        assert!(serde_json::from_str::<Json>(&"[".repeat(100_000)).is_err());
        assert!(serde_json::from_str::<Json>(r#""\ud800""#).is_err());
    }
}
