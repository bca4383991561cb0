//! Rows of data sets, in the schemas of the Hugging Face hub.

use crate::json::Json;
use crate::program::{Language, ProgramParts};
use crate::python::{capitalize, strip};
use crate::task::{MmluGroup, Task};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Longest text of one file, in bytes.
pub const MAX_TEXT: usize = 1 << 28;
/// Longest row, in bytes.
pub const MAX_ROW: usize = 1 << 20;
/// Most rows of one file.
pub const MAX_ROWS: usize = 1_000_000;
/// Most answers to choose from, and most stop strings.
pub const MAX_CHOICES: usize = 64;

/// Which of a task's two sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What is scored.
    Documents,
    /// What few-shot examples come from.
    Pool,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Documents => "documents",
            Self::Pool => "few-shot pool",
        })
    }
}

/// Where a row is: its task, set and line, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Task.
    pub task: Task,
    /// Set.
    pub part: Part,
    /// Line of the file.
    pub row: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, row {}", self.task, self.part, self.row)
    }
}

/// Why rows can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// More text than is read.
    #[error("{task}, {part}: {bytes} bytes, above the limit of {MAX_TEXT}")]
    TextTooLong {
        /// Task.
        task: Task,
        /// Set.
        part: Part,
        /// Length of the text.
        bytes: usize,
    },
    /// A longer row than is read.
    #[error("{place}: {bytes} bytes, above the limit of {MAX_ROW}")]
    RowTooLong {
        /// Row.
        place: Place,
        /// Its length.
        bytes: usize,
    },
    /// More rows than are read.
    #[error("{task}, {part}: more than {MAX_ROWS} rows")]
    TooManyRows {
        /// Task.
        task: Task,
        /// Set.
        part: Part,
    },
    /// No rows at all.
    #[error("{task}, {part}: no rows")]
    NoRows {
        /// Task.
        task: Task,
        /// Set.
        part: Part,
    },
    /// A row is no JSON.
    #[error("{place}: not JSON")]
    Json {
        /// Row.
        place: Place,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A field is not there.
    #[error("{place}: no field `{field}`")]
    Missing {
        /// Row.
        place: Place,
        /// Field.
        field: &'static str,
    },
    /// A field is of another type.
    #[error("{place}, field `{field}`: not {expected}")]
    Type {
        /// Row.
        place: Place,
        /// Field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A field has a value that the task can't use.
    #[error("{place}, field `{field}`: {problem}")]
    Value {
        /// Row.
        place: Place,
        /// Field.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// A row: as it was, and what of it is used.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// The row in the hub's order of fields.
    pub(crate) doc: Json,
    pub(crate) content: Content,
}

/// What of a row is used.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Code { prompt: String, stop: Vec<String>, program: ProgramParts },
    Gsm8k { question: String, answer: String },
    HellaSwag { query: String, choices: Vec<String>, gold: usize },
    Mmlu { subject: String, question: String, choices: [String; 4], gold: usize },
    TruthfulQa { question: String, choices: Vec<String>, labels: Vec<bool> },
    WinoGrande { before: String, after: String, options: [String; 2], gold: usize },
}

/// A row whose fields are being read.
struct Fields<'a> {
    place: Place,
    json: &'a Json,
}

impl Fields<'_> {
    fn value(&self, field: &'static str) -> Result<&Json, RowError> {
        let mut json = self.json;
        // A dot leads into an object.
        for name in field.split('.') {
            json = json.get(name).ok_or(RowError::Missing { place: self.place, field })?;
        }
        Ok(json)
    }

    fn expected<T>(&self, field: &'static str, expected: &'static str) -> Result<T, RowError> {
        Err(RowError::Type { place: self.place, field, expected })
    }

    fn bad<T>(&self, field: &'static str, problem: &'static str) -> Result<T, RowError> {
        Err(RowError::Value { place: self.place, field, problem })
    }

    fn text(&self, field: &'static str) -> Result<&str, RowError> {
        match self.value(field)? {
            Json::Text(text) => Ok(text),
            _ => self.expected(field, "text"),
        }
    }

    fn owned(&self, field: &'static str) -> Result<String, RowError> {
        self.text(field).map(String::from)
    }

    /// Whichever of two fields is there.
    fn either(&self, field: &'static str, other: &'static str) -> Result<String, RowError> {
        if self.json.get(field).is_none() && self.json.get(other).is_some() {
            return self.owned(other);
        }
        self.owned(field)
    }

    fn list(&self, field: &'static str) -> Result<&[Json], RowError> {
        match self.value(field)? {
            Json::List(values) if values.len() > MAX_CHOICES => self.bad(field, "more than 64 entries"),
            Json::List(values) => Ok(values),
            _ => self.expected(field, "a list"),
        }
    }

    fn texts(&self, field: &'static str) -> Result<Vec<String>, RowError> {
        let text = |value: &Json| match value {
            Json::Text(text) => Ok(text.clone()),
            _ => self.expected(field, "a list of texts"),
        };
        self.list(field)?.iter().map(text).collect()
    }

    fn choices(&self, field: &'static str) -> Result<Vec<String>, RowError> {
        let choices = self.texts(field)?;
        if choices.is_empty() { self.bad(field, "nothing to choose from") } else { Ok(choices) }
    }

    /// 0 or 1 for each of so many choices.
    fn labels(&self, field: &'static str, choices: usize) -> Result<Vec<bool>, RowError> {
        let label = |value: &Json| match value {
            Json::Integer(0) => Ok(false),
            Json::Integer(1) => Ok(true),
            _ => self.expected(field, "a list of 0 and 1"),
        };
        let labels: Vec<_> = self.list(field)?.iter().map(label).collect::<Result<_, _>>()?;
        if labels.len() == choices {
            Ok(labels)
        } else {
            self.bad(field, "as many labels as choices are needed")
        }
    }

    /// A number, or its digits, below `count`.
    fn index(&self, field: &'static str, count: usize) -> Result<usize, RowError> {
        let index = match self.value(field)? {
            Json::Integer(value) => usize::try_from(*value).ok(),
            Json::Text(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
            Json::Text(_) => None,
            _ => return self.expected(field, "a number"),
        };
        match index {
            Some(index) if index < count => Ok(index),
            _ => self.bad(field, "not the place of a choice"),
        }
    }
}

/// Reads `text`, a JSON object a line; empty lines are left out.
pub(crate) fn parse(task: Task, part: Part, text: &str) -> Result<Vec<Row>, RowError> {
    if text.len() > MAX_TEXT {
        return Err(RowError::TextTooLong { task, part, bytes: text.len() });
    }
    let mut rows = Vec::new();
    for (line, row) in text.lines().zip(1..) {
        let place = Place { task, part, row };
        if line.len() > MAX_ROW {
            return Err(RowError::RowTooLong { place, bytes: line.len() });
        }
        if line.trim().is_empty() {
            continue;
        }
        if rows.len() == MAX_ROWS {
            return Err(RowError::TooManyRows { task, part });
        }
        let json = serde_json::from_str(line).map_err(|source| RowError::Json { place, source })?;
        rows.push(read(place, json)?);
    }
    if rows.is_empty() { Err(RowError::NoRows { task, part }) } else { Ok(rows) }
}

fn read(place: Place, json: Json) -> Result<Row, RowError> {
    let fields = Fields { place, json: &json };
    if !matches!(json, Json::Object(_)) {
        return fields.expected("(row)", "an object");
    }
    let content = match place.task {
        Task::HumanEval | Task::HumanEvalStripped => human_eval(&fields)?,
        Task::MultiPlE(language) => multipl_e(&fields, language)?,
        Task::Gsm8k => {
            Content::Gsm8k { question: fields.owned("question")?, answer: fields.owned("answer")? }
        }
        Task::HellaSwag => hellaswag(&fields)?,
        Task::Mmlu => mmlu(&fields)?,
        Task::TruthfulQaMc1 => truthful_qa(&fields, "mc1_targets.choices", "mc1_targets.labels")?,
        Task::TruthfulQaMc2 => truthful_qa(&fields, "mc2_targets.choices", "mc2_targets.labels")?,
        Task::WinoGrande => winogrande(&fields)?,
    };
    let order: &[&str] = match place.task {
        Task::HumanEval | Task::HumanEvalStripped => {
            &["task_id", "prompt", "canonical_solution", "test", "entry_point"]
        }
        Task::HellaSwag => &[
            "ind",
            "activity_label",
            "ctx_a",
            "ctx_b",
            "ctx",
            "endings",
            "source_id",
            "split",
            "split_type",
            "label",
            "query",
            "choices",
            "gold",
        ],
        Task::Mmlu => &["question", "subject", "choices", "answer"],
        _ => &[],
    };
    let mut doc = json;
    if let (Content::HellaSwag { query, choices, gold }, Json::Object(fields)) = (&content, &mut doc) {
        // `process_docs` adds these.
        for (name, value) in
            [("query", query.into()), ("choices", Json::list(choices)), ("gold", (*gold).into())]
        {
            if fields.iter().all(|(field, _)| field != name) {
                fields.push((name.into(), value));
            }
        }
    }
    Ok(Row { doc: doc.ordered(order), content })
}

/// Program of `HumanEval`: prompt, completion, line break, tests, `check(entry_point)`
/// (human-eval `execution.py`; the harness' `humaneval.yaml` and `code_eval` make the same bytes).
fn human_eval(fields: &Fields<'_>) -> Result<Content, RowError> {
    // With white space left in place: a program is refused for a wrong name, not repaired.
    let (prompt, test, entry) = (fields.text("prompt")?, fields.text("test")?, fields.text("entry_point")?);
    let stripped = fields.place.task == Task::HumanEvalStripped;
    let (prompt, stop, gap): (_, &[&str], _) = if stripped {
        // bigcode-evaluation-harness `humaneval.py`: its reference begins with one more line break.
        (strip(prompt), &["\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\n```", "<file_sep>"], "\n\n")
    } else {
        (prompt, &["\nclass", "\ndef", "\n#", "\nif", "\nprint"], "\n")
    };
    Ok(Content::Code {
        prompt: prompt.into(),
        stop: stop.iter().map(|stop| (*stop).into()).collect(),
        program: ProgramParts {
            language: Language::Python,
            head: prompt.into(),
            tail: format!("{gap}{test}\ncheck({entry})"),
        },
    })
}

/// Program of MultiPL-E: prompt, completion, line break, tests (`evaluation/src/main.py`).
fn multipl_e(fields: &Fields<'_>, language: Language) -> Result<Content, RowError> {
    if let Some(found) = fields.json.get("language")
        && *found != Json::from(language.code())
    {
        return fields.bad("language", "another language than the task's");
    }
    let prompt = fields.owned("prompt")?;
    // Rows of HumanEval-X, which stand in for Python's, have other names and no stop tokens.
    let tests = fields.either("tests", "test")?;
    let mut stop =
        if fields.json.get("stop_tokens").is_some() { fields.texts("stop_tokens")? } else { Vec::new() };
    stop.retain(|stop| !stop.is_empty());
    if stop.is_empty() {
        stop = language.stop_tokens().iter().map(|stop| (*stop).into()).collect();
    }
    let program = ProgramParts { language, head: prompt.clone(), tail: format!("\n{tests}") };
    Ok(Content::Code { prompt, stop, program })
}

/// `lm_eval/tasks/hellaswag/utils.py`; rows that hold its `query` and `choices` are taken as they are.
fn hellaswag(fields: &Fields<'_>) -> Result<Content, RowError> {
    let (query, choices) = if fields.json.get("query").is_some() && fields.json.get("ctx_a").is_none() {
        (fields.owned("query")?, fields.choices("choices")?)
    } else {
        let context = format!("{} {}", fields.text("ctx_a")?, capitalize(fields.text("ctx_b")?));
        let query = clean(&format!("{}: {context}", fields.text("activity_label")?));
        (query, fields.choices("endings")?.iter().map(|ending| clean(ending)).collect())
    };
    let gold = fields.index("label", choices.len())?;
    Ok(Content::HellaSwag { query, choices, gold })
}

/// `preprocess` of `lm_eval/tasks/hellaswag/utils.py`: what `WikiHow`'s markup leaves.
fn clean(text: &str) -> String {
    let text = strip(text).replace(" [title]", ". ");
    let mut kept = String::with_capacity(text.len());
    let mut rest = &*text;
    // re.sub("\\[.*?\\]", "", text): from a bracket to the next closing one on its line.
    while let Some(open) = rest.find('[') {
        let Some(close) = rest[open..].find(']') else { break };
        let inside = &rest[open..open + close];
        if let Some(line) = inside.rfind('\n') {
            // No bracket before that line break is closed on its line.
            kept.push_str(&rest[..=open + line]);
            rest = &rest[open + line + 1..];
        } else {
            kept.push_str(&rest[..open]);
            rest = &rest[open + close + 1..];
        }
    }
    kept.push_str(rest);
    kept.replace("  ", " ")
}

fn mmlu(fields: &Fields<'_>) -> Result<Content, RowError> {
    let subject = fields.owned("subject")?;
    if MmluGroup::of(&subject).is_none() {
        return fields.bad("subject", "not one of the 57 subjects");
    }
    let question = strip(fields.text("question")?).into();
    let Ok(choices) = <[String; 4]>::try_from(fields.texts("choices")?) else {
        return fields.bad("choices", "not four");
    };
    Ok(Content::Mmlu { subject, question, choices, gold: fields.index("answer", 4)? })
}

fn truthful_qa(fields: &Fields<'_>, choices: &'static str, label: &'static str) -> Result<Content, RowError> {
    let question = fields.owned("question")?;
    let choices = fields.choices(choices)?;
    let labels = fields.labels(label, choices.len())?;
    let single = fields.place.task == Task::TruthfulQaMc1;
    // The harness takes the first for the true one, whatever the labels say.
    if single && (!labels[0] || labels[1..].contains(&true)) {
        return fields.bad(label, "the first choice has to be the only true one");
    }
    if !labels.contains(&true) {
        return fields.bad(label, "no true choice");
    }
    Ok(Content::TruthfulQa { question, choices, labels })
}

/// `lm_eval/tasks/winogrande/preprocess_winogrande.py`.
fn winogrande(fields: &Fields<'_>) -> Result<Content, RowError> {
    let Some((before, after)) = fields.text("sentence")?.split_once('_') else {
        return fields.bad("sentence", "no `_`");
    };
    let gold = match fields.text("answer")? {
        "1" => 0,
        "2" => 1,
        _ => return fields.bad("answer", "neither 1 nor 2"),
    };
    Ok(Content::WinoGrande {
        before: before.into(),
        after: strip(after).into(),
        options: [fields.owned("option1")?, fields.owned("option2")?],
        gold,
    })
}

/// SHA-256 of what of rows is used: the same for the same questions, however their file writes them.
pub(crate) fn content_sha256(rows: &[Row]) -> String {
    let mut hasher = Sha256::new();
    for row in rows {
        hasher.update(row.content.canonical().dumps(None));
        hasher.update("\n");
    }
    hex(&hasher.finalize())
}

/// SHA-256 of a text, in hexadecimal: the harness' `hash_string`.
pub fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

impl Content {
    fn canonical(&self) -> Json {
        match self {
            Self::Code { prompt, stop, program } => Json::object([
                ("prompt", prompt.into()),
                ("stop", Json::list(stop)),
                ("head", (&program.head).into()),
                ("tail", (&program.tail).into()),
            ]),
            Self::Gsm8k { question, answer } => {
                Json::object([("question", question.into()), ("answer", answer.into())])
            }
            Self::HellaSwag { query, choices, gold } => Json::object([
                ("query", query.into()),
                ("choices", Json::list(choices)),
                ("gold", (*gold).into()),
            ]),
            Self::Mmlu { subject, question, choices, gold } => Json::object([
                ("subject", subject.into()),
                ("question", question.into()),
                ("choices", Json::list(choices)),
                ("gold", (*gold).into()),
            ]),
            Self::TruthfulQa { question, choices, labels } => Json::object([
                ("question", question.into()),
                ("choices", Json::list(choices)),
                ("labels", Json::list(labels.iter().copied())),
            ]),
            Self::WinoGrande { before, after, options, gold } => Json::object([
                ("before", before.into()),
                ("after", after.into()),
                ("options", Json::list(options)),
                ("gold", (*gold).into()),
            ]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(task: Task, line: &str) -> String {
        parse(task, Part::Documents, line).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_task_row_and_field() {
        for (task, line, expected) in [
            (Task::Gsm8k, "\n{", "gsm8k, documents, row 2: not JSON"),
            (Task::Gsm8k, "[]", "gsm8k, documents, row 1, field `(row)`: not an object"),
            (Task::Gsm8k, "", "gsm8k, documents: no rows"),
            (Task::Gsm8k, r#"{"question": "a"}"#, "gsm8k, documents, row 1: no field `answer`"),
            (
                Task::Gsm8k,
                r#"{"question": "a", "answer": 3}"#,
                "gsm8k, documents, row 1, field `answer`: not text",
            ),
            (
                Task::Mmlu,
                r#"{"subject": "alchemy", "question": "", "choices": [], "answer": 0}"#,
                "mmlu, documents, row 1, field `subject`: not one of the 57 subjects",
            ),
            (
                Task::Mmlu,
                r#"{"subject": "anatomy", "question": "", "choices": ["a"], "answer": 0}"#,
                "mmlu, documents, row 1, field `choices`: not four",
            ),
            (
                Task::Mmlu,
                r#"{"subject": "anatomy", "question": "", "choices": ["a", "b", "c", "d"], "answer": 4}"#,
                "mmlu, documents, row 1, field `answer`: not the place of a choice",
            ),
            (
                Task::HellaSwag,
                r#"{"query": "", "choices": ["a", "b"], "label": ""}"#,
                "hellaswag, documents, row 1, field `label`: not the place of a choice",
            ),
            (
                Task::WinoGrande,
                r#"{"sentence": "a", "option1": "", "option2": "", "answer": "1"}"#,
                "winogrande, documents, row 1, field `sentence`: no `_`",
            ),
            (
                Task::WinoGrande,
                r#"{"sentence": "_", "option1": "", "option2": "", "answer": ""}"#,
                "winogrande, documents, row 1, field `answer`: neither 1 nor 2",
            ),
            (
                Task::TruthfulQaMc1,
                r#"{"question": "", "mc1_targets": {"choices": ["a", "b"], "labels": [0, 1]}}"#,
                "truthfulqa_mc1, documents, row 1, field `mc1_targets.labels`: \
                 the first choice has to be the only true one",
            ),
            (
                Task::TruthfulQaMc2,
                r#"{"question": "", "mc2_targets": {"choices": ["a", "b"], "labels": [1]}}"#,
                "truthfulqa_mc2, documents, row 1, field `mc2_targets.labels`: \
                 as many labels as choices are needed",
            ),
            (
                Task::TruthfulQaMc2,
                r#"{"question": ""}"#,
                "truthfulqa_mc2, documents, row 1: no field `mc2_targets.choices`",
            ),
            (
                Task::MultiPlE(Language::Go),
                r#"{"language": "rs", "prompt": "", "tests": ""}"#,
                "multiple-go, documents, row 1, field `language`: another language than the task's",
            ),
        ] {
            assert_eq!(error(task, line), expected);
        }
        let many = format!("{{\"query\": \"\", \"choices\": [{}\"\"], \"label\": 0}}", "\"\",".repeat(64));
        assert!(error(Task::HellaSwag, &many).ends_with("field `choices`: more than 64 entries"));
        assert!(error(Task::Gsm8k, &" ".repeat(MAX_ROW + 1)).ends_with("above the limit of 1048576"));
    }

    #[test]
    fn wikihow_markup_is_cleaned_as_by_the_harness() {
        // The right sides are what preprocess() of lm_eval/tasks/hellaswag/utils.py returns.
        for (text, expected) in [
            ("  A man. [title] Next [step] go.  ", "A man.. Next go."),
            ("a [b [c] d] e", "a d] e"),
            ("[open", "[open"),
            ("a [b\nc] d [e] f", "a [b\nc] d f"),
            ("[a\n[b] c", "[a\n c"),
            ("a    b", "a  b"),
            ("[x]", ""),
        ] {
            assert_eq!(clean(text), expected, "{text:?}");
        }
    }

    #[test]
    fn hashes_are_of_content_not_of_its_writing() {
        let sha = |line| content_sha256(&parse(Task::Gsm8k, Part::Documents, line).unwrap());
        let first = sha(r#"{"question": "a", "answer": "b"}"#);
        assert_eq!(first, sha("\r\n{\"answer\":\"\\u0062\",\"more\":1,\"question\":\"a\"}\r\n"));
        assert_ne!(first, sha(r#"{"question": "a", "answer": "c"}"#));
        assert_eq!(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
