//! What templates call: Python's methods and JSON, and bounds on what they build.

use crate::json::write_text;
use crate::python::{float_repr, is_space, strip};
use minijinja::value::{Kwargs, Rest, Tuple, Value, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State};
use minijinja_contrib::pycompat;

/// Filter around every value that is assigned to a name.
pub(super) const SETTLE: &str = "settle";
/// Filter around every value that is assigned to a namespace's attribute.
pub(super) const SETTLE_ATTRIBUTE: &str = "settle_attribute";
const NAMESPACE: &str = "::Namespace";
const MAP: &str = "::IndexMap<minijinja::value::Value, minijinja::value::Value>";
/// How deep lists and objects nest in what is assigned: dropping and printing them takes a frame a level.
const MAX_DEPTH: usize = 64;
/// How deep lists and objects nest in what is written as JSON, and the widest indent.
const MAX_JSON_DEPTH: usize = 256;
const MAX_INDENT: usize = 256;
/// Most digits of a number in a format string: widths and precisions become memory.
const MAX_FORMAT_DIGITS: usize = 3;

/// Gives an environment what transformers' has, but for what depends on a conversation.
pub(super) fn install(environment: &mut Environment<'_>) {
    environment.set_unknown_method_callback(method);
    environment.add_filter("trim", trim);
    environment.add_filter("tojson", to_json);
    environment.add_filter("indent", indent);
    environment.add_filter(SETTLE, |state: &State<'_, '_>, value: Value| settle(state, value, Place::Name));
    environment.add_filter(SETTLE_ATTRIBUTE, |state: &State<'_, '_>, value: Value| {
        settle(state, value, Place::Inside(0))
    });
    // Not Jinja's: the one shows the program, the others nest iterators in names.
    environment.remove_global("debug");
    environment.remove_filter("chain");
    environment.remove_filter("zip");
}

fn refused(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// A method of Python's.
fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        match (name, args) {
            // Rust's white space is without four characters of Python's.
            ("strip", []) => return Ok(strip(text).into()),
            ("lstrip", []) => return Ok(text.trim_start_matches(is_space).into()),
            ("rstrip", []) => return Ok(text.trim_end_matches(is_space).into()),
            ("format", _) => {
                let mut numbers = text.split(|c: char| !c.is_ascii_digit());
                if numbers.any(|digits| digits.len() > MAX_FORMAT_DIGITS) {
                    return Err(refused("a format string asks for more than 999 characters"));
                }
            }
            _ => {}
        }
    }
    pycompat::unknown_method_callback(state, value, name, args)
}

/// `str.strip` of what is printed.
fn trim(state: &mut State<'_, '_>, value: &Value, characters: Option<&str>) -> Result<Value, Error> {
    let text = value.to_str().map_or_else(|| value.to_string().into(), |text| text.clone());
    state.consume_fuel(text.len() as u64 / 64)?;
    Ok(match characters {
        None => strip(&text).into(),
        Some(characters) => text.trim_matches(|c| characters.contains(c)).into(),
    })
}

/// `do_indent` of Jinja.
#[expect(clippy::needless_pass_by_value, reason = "as minijinja gives arguments")]
fn indent(state: &State<'_, '_>, value: &Value, args: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let (width, first, blank): (Option<usize>, Option<bool>, Option<bool>) = from_args(&args)?;
    let width = named.get::<Option<usize>>("width")?.or(width).unwrap_or(4);
    let first = named.get::<Option<bool>>("first")?.or(first).unwrap_or(false);
    let blank = named.get::<Option<bool>>("blank")?.or(blank).unwrap_or(false);
    named.assert_all_used()?;
    if width > MAX_INDENT {
        return Err(refused(format!("an indent of more than {MAX_INDENT} characters")));
    }
    let text = value.to_string() + "\n";
    let text = text.replace("\r\n", "\n");
    // Where `str.splitlines` ends lines.
    let ends = ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
    let mut indented = String::new();
    for (i, line) in text.strip_suffix('\n').unwrap_or(&text).split(ends).enumerate() {
        state.consume_fuel(1 + width as u64 / 64)?;
        if i > 0 {
            indented.push('\n');
        }
        if if i == 0 { first } else { blank || !line.is_empty() } {
            indented.extend(std::iter::repeat_n(' ', width));
        }
        indented.push_str(line);
    }
    Ok(indented)
}

/// Where a value is assigned or stands.
#[derive(Clone, Copy)]
enum Place {
    /// A name of its own.
    Name,
    /// A list or object, or a namespace's attribute, this deep.
    Inside(usize),
}

/// A copy of a value that nests neither itself nor too deep, and no iterator in an iterator. Namespaces,
/// macros and loops only have names: a namespace that held one could hold itself.
fn settle(state: &State<'_, '_>, value: Value, place: Place) -> Result<Value, Error> {
    let depth = match place {
        Place::Name => 0,
        Place::Inside(depth) => depth,
    };
    if depth > MAX_DEPTH {
        return Err(refused(format!("lists and objects nest deeper than {MAX_DEPTH}")));
    }
    state.consume_fuel(1)?;
    let inner = |value| settle(state, value, Place::Inside(depth + 1));
    match (value.kind(), place) {
        (ValueKind::Seq | ValueKind::Iterable, _) => {
            let items = value.try_iter()?.map(inner).collect::<Result<Vec<_>, _>>()?;
            Ok(if value.is_tuple() { Tuple::from(items).into() } else { items.into() })
        }
        (ValueKind::Map, Place::Name) if is(&value, NAMESPACE) => {
            for name in value.try_iter()? {
                inner(value.get_item(&name)?)?;
            }
            Ok(value)
        }
        (ValueKind::Map, _) if is(&value, MAP) => {
            let pair = |name: Value| {
                let item = inner(value.get_item(&name)?)?;
                Ok((inner(name)?, item))
            };
            Ok(Value::from_pairs(value.try_iter()?.map(pair).collect::<Result<Vec<_>, Error>>()?))
        }
        (ValueKind::Map | ValueKind::Plain, Place::Inside(_)) => {
            Err(refused("namespaces, macros and loops can't be put into a namespace, a list or an object"))
        }
        _ => Ok(value),
    }
}

/// Whether a value is an object of a type that ends so: minijinja's have no public name.
fn is(value: &Value, kind: &str) -> bool {
    value.as_object().is_some_and(|object| object.type_name().ends_with(kind))
}

/// `json.dumps` with transformers' defaults, which leave HTML and all of Unicode as they are.
#[expect(clippy::needless_pass_by_value, reason = "as minijinja gives arguments")]
fn to_json(
    state: &State<'_, '_>,
    value: &Value,
    ensure_ascii: Option<bool>,
    indent: Option<usize>,
    named: Kwargs,
) -> Result<String, Error> {
    let ensure_ascii = named.get::<Option<bool>>("ensure_ascii")?.or(ensure_ascii).unwrap_or(false);
    let indent = named.get::<Option<usize>>("indent")?.or(indent);
    let separators = named.get::<Option<Vec<String>>>("separators")?;
    let sort_keys = named.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    named.assert_all_used()?;
    if indent > Some(MAX_INDENT) {
        return Err(refused(format!("an indent of more than {MAX_INDENT} characters")));
    }
    let (item, key) = match separators.as_deref() {
        None => (if indent.is_some() { "," } else { ", " }, ": "),
        Some([item, key]) => (&**item, &**key),
        Some(_) => return Err(refused("separators of tojson are two strings")),
    };
    let mut writer = JsonWriter { state, text: String::new(), indent, item, key, sort_keys };
    writer.write(value, 0)?;
    if !ensure_ascii {
        return Ok(writer.text);
    }
    // Only strings have other characters.
    let mut text = String::with_capacity(writer.text.len());
    for c in writer.text.chars() {
        if c.is_ascii() && c != '\u{7f}' {
            text.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        }
    }
    Ok(text)
}

struct JsonWriter<'w, 's, 'e> {
    state: &'w State<'s, 'e>,
    text: String,
    indent: Option<usize>,
    item: &'w str,
    key: &'w str,
    sort_keys: bool,
}

impl JsonWriter<'_, '_, '_> {
    fn write(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_JSON_DEPTH {
            return Err(refused(format!("lists and objects nest deeper than {MAX_JSON_DEPTH}")));
        }
        let before = self.text.len();
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => {
                self.text.push('[');
                for (i, item) in value.try_iter()?.enumerate() {
                    self.separate(i, depth + 1)?;
                    self.write(&item, depth + 1)?;
                }
                self.close(before, ']', depth);
            }
            ValueKind::Map => {
                let mut names: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    names.sort();
                }
                self.text.push('{');
                for (i, name) in names.iter().enumerate() {
                    self.separate(i, depth + 1)?;
                    match scalar(name) {
                        Some(text) => self.text.push_str(&format!("\"{text}\"")),
                        None => write_text(&mut self.text, key(name)?),
                    }
                    self.text.push_str(self.key);
                    self.write(&value.get_item(name)?, depth + 1)?;
                }
                self.close(before, '}', depth);
            }
            _ => match scalar(value) {
                Some(text) => self.text.push_str(&text),
                None => write_text(&mut self.text, key(value)?),
            },
        }
        self.state.consume_fuel(1 + (self.text.len() - before) as u64 / 64)
    }

    /// What stands before an item, paid for before it is written.
    fn separate(&mut self, i: usize, depth: usize) -> Result<(), Error> {
        if i > 0 {
            self.text.push_str(self.item);
        }
        self.state.consume_fuel(1 + (self.indent.unwrap_or(0) * depth) as u64 / 64)?;
        self.line(depth);
        Ok(())
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = self.indent {
            self.text.push('\n');
            self.text.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn close(&mut self, start: usize, bracket: char, depth: usize) {
        if self.text.len() > start + 1 {
            self.line(depth);
        }
        self.text.push(bracket);
    }
}

/// JSON of what is neither text, list nor object.
fn scalar(value: &Value) -> Option<String> {
    match value.kind() {
        ValueKind::None => Some("null".into()),
        ValueKind::Bool => Some(if value.is_true() { "true" } else { "false" }.into()),
        ValueKind::Number if value.is_integer() => Some(value.to_string()),
        ValueKind::Number => f64::try_from(value.clone()).ok().map(|number| match number {
            f64::INFINITY => "Infinity".into(),
            f64::NEG_INFINITY => "-Infinity".into(),
            number if number.is_nan() => "NaN".into(),
            number => float_repr(number),
        }),
        _ => None,
    }
}

/// A string, and nothing that Python's JSON doesn't know.
fn key(value: &Value) -> Result<&str, Error> {
    value.as_str().ok_or_else(|| refused(format!("JSON has no {}", value.kind())))
}
