//! Conversations: messages to the text that a model was trained on, by the template that comes with it.
//!
//! [`ChatTemplate`] renders as transformers' `apply_chat_template` does (`utils/chat_template_utils.py` of 4.44 to
//! 5.18): Jinja with `trim_blocks` and `lstrip_blocks`, `break` and `continue`, `raise_exception`, `strftime_now`,
//! `tojson` without HTML's escapes, `{% generation %}`, and the tokenizer's special tokens as variables. Templates
//! come from outside: each rendering has so much fuel, which pays for steps and bytes alike, and so much room.
//!
//! [`apply`] puts a document as lm-evaluation-harness does with `--apply_chat_template` and few-shot examples in one
//! turn.

mod date;
mod source;
mod values;

use crate::document::{Document, Request, mmlu_description};
use chrono::DateTime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io;

/// Longest rendered conversation, bytes.
pub const MAX_RENDERED: usize = 1 << 22;
/// Most steps of a rendering; a step also pays for 64 bytes of whatever is built, so that this is 64 MiB.
const FUEL: u64 = 1 << 20;
/// Name of the template in its environment. It ends in no `.html`, so nothing is escaped.
const NAME: &str = "chat_template";
/// `SPECIAL_TOKENS_ATTRIBUTES` of transformers that are one token.
const SPECIAL_TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// What holds for the whole conversation.
    System,
    /// Who asks.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// Name in templates.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// What is said in one turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }
}

/// Why a template can't be used, or a conversation not be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    /// A file of the tokenizer can't be read.
    #[error("{file} can't be read: {reason}")]
    Settings {
        /// Name of the file.
        file: &'static str,
        /// Why.
        reason: String,
    },
    /// Several templates, and none to take where nothing is asked for.
    #[error("tokenizer_config.json has the chat templates {}, but none named \"default\"", names.join(", "))]
    NoDefault {
        /// Their names.
        names: Vec<String>,
    },
    /// A template is too long.
    #[error("a chat template of {bytes} bytes, above the limit of {}", source::MAX_SOURCE)]
    LongTemplate {
        /// Its length.
        bytes: usize,
    },
    /// A template would take too deep a stack to read.
    #[error("the chat template has {count} {what}, above the limit of {limit}")]
    ComplexTemplate {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        count: usize,
        /// How much is read.
        limit: usize,
    },
    /// A template is not Jinja.
    #[error("the chat template can't be read: {0}")]
    Syntax(String),
    /// The template refuses the conversation, by `raise_exception`.
    #[error("the chat template refuses this conversation: {0}")]
    Raised(String),
    /// The template fails.
    #[error("the chat template failed: {0}")]
    Failed(String),
    /// The template takes too long.
    #[error("the chat template was stopped after {FUEL} steps")]
    OutOfFuel,
    /// The template writes too much.
    #[error("the chat template wrote more than {MAX_RENDERED} bytes")]
    LongText,
    /// No calendar has the date.
    #[error("{0} seconds since 1970 is no date")]
    Date(i64),
}

/// What a chat template is made of: texts of files beside a tokenizer, where they are there.
#[derive(Debug, Clone, Copy, Default)]
pub struct TemplateFiles<'t> {
    /// `tokenizer_config.json`.
    pub tokenizer_config: Option<&'t str>,
    /// `chat_template.jinja`, which comes before the `chat_template` of the former.
    pub chat_template: Option<&'t str>,
    /// `special_tokens_map.json`, for special tokens that `tokenizer_config.json` doesn't name.
    pub special_tokens_map: Option<&'t str>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SpecialToken {
    Text(String),
    Added { content: String },
}

impl SpecialToken {
    fn text(self) -> String {
        match self {
            Self::Text(text) | Self::Added { content: text } => text,
        }
    }
}

/// Reads one field of a file; `None` where it is not there or null.
fn field<T: serde::de::DeserializeOwned>(
    file: &'static str,
    fields: &BTreeMap<String, serde_json::Value>,
    name: &str,
) -> Result<Option<T>, ChatError> {
    let value = fields.get(name).cloned().unwrap_or_default();
    serde_json::from_value(value)
        .map_err(|error| ChatError::Settings { file, reason: format!("\"{name}\": {error}") })
}

/// The template of a model's conversations, read and checked.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// Variables of every conversation: special tokens by their names.
    tokens: Vec<(String, Value)>,
    bos: Option<String>,
}

impl ChatTemplate {
    /// The template that these files have; `None` where they have none, as a model's that was trained on text
    /// alone. Of several templates it is the one named `default`.
    ///
    /// # Errors
    /// All [`ChatError`] but those of renderings: [`ChatError::Settings`], [`ChatError::NoDefault`],
    /// [`ChatError::LongTemplate`], [`ChatError::ComplexTemplate`], [`ChatError::Syntax`].
    pub fn new(files: &TemplateFiles<'_>) -> Result<Option<Self>, ChatError> {
        const CONFIG: &str = "tokenizer_config.json";
        const MAP: &str = "special_tokens_map.json";
        let read = |file, text: Option<&str>| -> Result<BTreeMap<String, serde_json::Value>, ChatError> {
            let read = serde_json::from_str(text.unwrap_or("{}"));
            read.map_err(|error| ChatError::Settings { file, reason: error.to_string() })
        };
        let config = read(CONFIG, files.tokenizer_config)?;
        let template = match files.chat_template {
            Some(template) => Some(template.to_owned()),
            None => match field(CONFIG, &config, "chat_template")? {
                None => None,
                Some(Templates::One(template)) => Some(template),
                Some(Templates::Named(templates)) => {
                    let names = templates.iter().map(|template| template.name.clone()).collect();
                    let default = templates.into_iter().find(|template| template.name == "default");
                    Some(default.ok_or(ChatError::NoDefault { names })?.template)
                }
            },
        };
        let Some(template) = template else { return Ok(None) };
        let map = read(MAP, files.special_tokens_map)?;
        // Files from before `added_tokens_decoder` say less than the map, and transformers reads both.
        let sources = if config.contains_key("added_tokens_decoder") {
            [(CONFIG, &config), (MAP, &map)]
        } else {
            [(MAP, &map), (CONFIG, &config)]
        };
        let source = |name: &str| sources.into_iter().find(|(_, fields)| fields.contains_key(name));
        let mut tokens = Vec::new();
        let mut bos = None;
        for name in SPECIAL_TOKENS {
            let Some((file, fields)) = source(name) else { continue };
            let token = field::<SpecialToken>(file, fields, name)?.map(SpecialToken::text);
            tokens.extend(token.clone().map(|token| (name.to_owned(), token.into())));
            if name == "bos_token" {
                bos = token;
            }
        }
        if let Some((file, fields)) = source("additional_special_tokens")
            && let Some(more) = field::<Vec<SpecialToken>>(file, fields, "additional_special_tokens")?
            && !more.is_empty()
        {
            let more: Vec<String> = more.into_iter().map(SpecialToken::text).collect();
            tokens.push(("additional_special_tokens".into(), more.into()));
        }
        Ok(Some(Self { environment: environment(&template)?, tokens, bos }))
    }

    /// Text of the beginning-of-sequence token, if the tokenizer names one.
    pub fn bos(&self) -> Option<&str> {
        self.bos.as_deref()
    }

    /// Whether a text begins with BOS, so that no special tokens are to be added to its own: a template writes
    /// it itself, and a second one is not what a model was trained on (`has_bos_prefix` of the harness).
    pub fn begins_with_bos(&self, text: &str) -> bool {
        self.bos().is_some_and(|bos| !bos.is_empty() && text.starts_with(bos))
    }

    /// The text of a conversation, with all special tokens in it: it is encoded without adding any.
    ///
    /// With `add_generation_prompt` it ends where the model's answer begins. `unix_seconds` is the date that the
    /// template may ask for, in seconds since 1970, in UTC or in the time zone that is to be written.
    ///
    /// # Errors
    /// [`ChatError::Raised`], [`ChatError::Failed`], [`ChatError::OutOfFuel`], [`ChatError::LongText`],
    /// [`ChatError::Date`].
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        unix_seconds: i64,
    ) -> Result<String, ChatError> {
        let date =
            DateTime::from_timestamp(unix_seconds, 0).ok_or(ChatError::Date(unix_seconds))?.naive_utc();
        let now = Value::from_function(move |format: &str| date::strftime(date, format));
        let message =
            |said: &Message| Value::from_pairs([("role", said.role.name()), ("content", &*said.content)]);
        let variables = [
            ("messages", messages.iter().map(message).collect::<Vec<_>>().into()),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
            ("add_generation_prompt", add_generation_prompt.into()),
            ("strftime_now", now),
        ];
        let tokens = self.tokens.iter().map(|(name, token)| (&**name, token.clone()));
        let context = Value::from_pairs(variables.into_iter().chain(tokens));
        let mut text = Limited::default();
        let template = self.environment.get_template(NAME).map_err(|error| failed(&error))?;
        let rendered = template.render_captured_to(context, &mut text).map(drop);
        if text.full {
            return Err(ChatError::LongText);
        }
        rendered.map_err(|error| failed(&error))?;
        String::from_utf8(text.bytes).map_err(|error| ChatError::Failed(error.to_string()))
    }
}

/// What `raise_exception` was called with.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

fn environment(template: &str) -> Result<Environment<'static>, ChatError> {
    let syntax = |error: Error| ChatError::Syntax(format!("{error:#}"));
    let mut environment = Environment::new();
    let blocks = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(syntax)?;
    environment.set_syntax(blocks);
    environment.set_fuel(Some(FUEL));
    environment.add_function("raise_exception", |message: Value| -> Result<Value, Error> {
        let message = message.to_string();
        Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
    });
    values::install(&mut environment);
    environment.add_template_owned(NAME, source::prepare(template)?).map_err(syntax)?;
    Ok(environment)
}

fn failed(error: &Error) -> ChatError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(Raised(message)) = error.downcast_ref() {
            return ChatError::Raised(message.clone());
        }
        if error.downcast_ref::<Error>().is_some_and(|error| error.kind() == ErrorKind::OutOfFuel) {
            return ChatError::OutOfFuel;
        }
        cause = error.source();
    }
    ChatError::Failed(error.to_string())
}

/// Bytes up to a limit.
#[derive(Default)]
struct Limited {
    bytes: Vec<u8>,
    full: bool,
}

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > MAX_RENDERED - self.bytes.len() {
            self.full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Puts a document's requests as turns of a conversation, as [`HARNESS`](crate::task::HARNESS) does with
/// `apply_chat_template: true` and `fewshot_as_multiturn: false`:
///
/// - examples and question are one user message, as they would stand without a template;
/// - the description, which only MMLU has, is the system message before it, line breaks at its end included, and is
///   left out where the template refuses or fails with it;
/// - the text ends where the answer begins, and what is scored has no space before it
///   ([`Document::target_delimiter`]): a template puts between them what has to be there.
///
/// A text that [begins with BOS](ChatTemplate::begins_with_bos) is encoded without adding another. Stop strings stay.
/// Of `humaneval` nothing but the prompt is given, so that an answer is appended to it as without a template; the
/// harness' `humaneval_instruct`, which begins the answer for the model, is another task. The tasks of
/// bigcode-evaluation-harness know no template: their prompts become a user message too.
///
/// Versions differ. From 0.4.10 on, `fewshot_as_multiturn` is true where nothing is said: every example is then a
/// turn of the user's and one of the assistant's. From 0.4.6 to 0.4.9 it was false, with two peculiarities where
/// examples are shown: they were drawn twice for each document and the first draw thrown away, and `WinoGrande`'s
/// examples were a conversation of their own before that of the option. Before 0.4.6 the space before what is scored
/// stayed. What is the same in all from 0.4.6 on: every task without examples, and MMLU.
///
/// # Errors
/// Those of [`ChatTemplate::render`]; the document is then unchanged.
pub fn apply(document: &mut Document, template: &ChatTemplate, unix_seconds: i64) -> Result<(), ChatError> {
    let description = document.subset.as_deref().map(mmlu_description).unwrap_or_default();
    let mut rendered: Vec<String> = Vec::with_capacity(document.requests.len());
    for (i, request) in document.requests.iter().enumerate() {
        // Choices mostly share their context.
        let text =
            match i.checked_sub(1).filter(|&last| document.requests[last].context() == request.context()) {
                Some(last) => rendered[last].clone(),
                None => ask(template, &description, request.context(), unix_seconds)?,
            };
        rendered.push(text);
    }
    for (request, text) in document.requests.iter_mut().zip(rendered) {
        match request {
            Request::Loglikelihood { context, continuation } => {
                if let Some(bare) = continuation.strip_prefix(document.target_delimiter) {
                    *continuation = bare.into();
                }
                *context = text;
            }
            Request::Generate { prompt, .. } => *prompt = text,
        }
    }
    document.target_delimiter = "";
    Ok(())
}

/// A question as a conversation (`HFLM.apply_chat_template`).
fn ask(
    template: &ChatTemplate,
    description: &str,
    context: &str,
    unix_seconds: i64,
) -> Result<String, ChatError> {
    let question = context.strip_prefix(description).unwrap_or(context);
    let user = Message::new(Role::User, question);
    if description.is_empty() {
        return template.render(&[user], true, unix_seconds);
    }
    let messages = [Message::new(Role::System, description), user];
    match template.render(&messages, true, unix_seconds) {
        Err(ChatError::Raised(_) | ChatError::Failed(_)) => {
            template.render(&messages[1..], true, unix_seconds)
        }
        rendered => rendered,
    }
}
