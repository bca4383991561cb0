//! What is asked: the questions of a task, as tokens.

use crate::data::Source;
use anyhow::Context as _;
use codingspot_core::inference::{Decoding, ScoredSequence};
use codingspot_core::tokenizer::Tokenizer;
use codingspot_tasks::chat::{self, ChatTemplate};
use codingspot_tasks::document::{Cut, Dataset, Document, Options, Request, Target};
use codingspot_tasks::encode::{EncodeError, encode_pair, prompt_window};
use codingspot_tasks::program::ProgramParts;
use codingspot_tasks::row::Part;
use codingspot_tasks::task::Task;
use rayon::prelude::*;
use std::collections::HashMap;

/// Documents whose texts exist at once while they are turned into tokens.
const CHUNK: usize = 256;
/// Digits of a question's key.
const KEY_DIGITS: usize = 16;

/// A chat template, and the time whose date it may print.
#[derive(Debug, Clone)]
pub(crate) struct Chat {
    pub(crate) template: ChatTemplate,
    pub(crate) unix_seconds: i64,
}

/// How questions are put.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    pub(crate) options: Options,
    pub(crate) chat: Option<Chat>,
}

/// What a model is asked of one question.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// How likely continuations are.
    Likelihoods(Vec<ScoredSequence>),
    /// A text.
    Text { prompt: Vec<u32>, stop: Vec<String>, decoding: Decoding, max_tokens: usize },
}

/// One question.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// Place in its task or subject.
    pub(crate) index: usize,
    /// Subject, of MMLU.
    pub(crate) subset: Option<String>,
    /// Hash of what is asked: answers to other questions are told by it.
    pub(crate) key: String,
    pub(crate) work: Work,
    /// Whether the context is longer than the model's, so that its beginning is left out.
    pub(crate) cut: bool,
}

impl Question {
    /// Tokens that go through a model for one answer, about: what measures progress.
    pub(crate) fn tokens(&self) -> u64 {
        let tokens = match &self.work {
            Work::Likelihoods(sequences) => {
                let longest = sequences.iter().map(|sequence| sequence.input.len()).max().unwrap_or(0);
                longest + sequences.iter().map(|sequence| sequence.targets.len()).sum::<usize>()
            }
            // One at a time costs more than many.
            Work::Text { prompt, max_tokens, .. } => prompt.len() + 4 * max_tokens,
        };
        tokens as u64
    }
}

/// A task with its data.
#[derive(Debug)]
pub(crate) struct TaskData {
    pub(crate) task: Task,
    pub(crate) data: Dataset,
    pub(crate) asking: Asking,
}

impl TaskData {
    /// Reads a task's data.
    pub(crate) fn load(source: &Source, task: Task, asking: &Asking) -> anyhow::Result<Self> {
        let data = source.load(task, asking.options.num_fewshot)?;
        Ok(Self { task, data, asking: asking.clone() })
    }

    /// Its documents in order, as they are put to a model.
    pub(crate) fn documents(&self) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Document>> + '_> {
        let documents = self.data.documents(&self.asking.options)?;
        Ok(documents.map(|document| {
            let mut document = document?;
            if let Some(Chat { template, unix_seconds }) = &self.asking.chat {
                chat::apply(&mut document, template, *unix_seconds)
                    .with_context(|| format!("{}, document {}", document.task, document.index))?;
            }
            Ok(document)
        }))
    }

    /// Its documents by subject and place.
    pub(crate) fn by_place(&self) -> anyhow::Result<HashMap<(Option<String>, usize), Document>> {
        let keyed = |document: Document| ((document.subset.clone(), document.index), document);
        self.documents()?.map(|document| document.map(keyed)).collect()
    }

    /// Hash of its documents, and of its pool.
    pub(crate) fn sha256(&self) -> (String, Option<String>) {
        let of = |part| self.data.sha256(part).map(str::to_owned);
        (of(Part::Documents).unwrap_or_default(), of(Part::Pool))
    }
}

/// Turns questions into tokens.
#[derive(Debug)]
pub(crate) struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    /// Stands for an empty context: BOS, or EOS of a model that has none.
    prefix: Option<u32>,
    /// Positions of the model.
    context: usize,
    /// What may begin texts with BOS itself.
    template: Option<&'a ChatTemplate>,
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(
        tokenizer: &'a Tokenizer,
        eos: Option<u32>,
        context: usize,
        template: Option<&'a ChatTemplate>,
    ) -> Self {
        Self { tokenizer, prefix: tokenizer.bos().or(eos), context, template }
    }

    fn tokens(&self, text: &str) -> anyhow::Result<Vec<u32>> {
        let begun = self.template.is_some_and(|template| template.begins_with_bos(text));
        Ok(if begun { self.tokenizer.encode(text)? } else { self.tokenizer.encode_document(text)? })
    }

    /// All questions of a task.
    pub(crate) fn questions(&self, data: &TaskData) -> anyhow::Result<Vec<Question>> {
        let mut documents = data.documents()?;
        let mut questions = Vec::new();
        loop {
            let chunk = documents.by_ref().take(CHUNK).collect::<anyhow::Result<Vec<_>>>()?;
            if chunk.is_empty() {
                return Ok(questions);
            }
            let encoded: anyhow::Result<Vec<Question>> =
                chunk.par_iter().map(|document| self.question(document)).collect();
            questions.extend(encoded?);
        }
    }

    fn question(&self, document: &Document) -> anyhow::Result<Question> {
        let place = || {
            let subset = document.subset.as_ref().map(|subset| format!(" of {subset}")).unwrap_or_default();
            format!("{}, document {}{subset}", document.task, document.index)
        };
        let mut cut = false;
        let work = match document.requests.first() {
            Some(Request::Generate { prompt, stop, cut: style, max_tokens }) => {
                let tokens = self.tokens(prompt)?;
                let max_tokens = *max_tokens as usize;
                let window = prompt_window(&tokens, self.context, max_tokens).map_err(|error| match error {
                    EncodeError::LongGeneration { .. } => {
                        anyhow::anyhow!(error).context("take fewer new tokens with --max-gen-toks")
                    }
                    error => error.into(),
                });
                let window = window.with_context(place)?;
                anyhow::ensure!(!window.is_empty(), "{}: the prompt has no tokens", place());
                cut = window.len() < tokens.len();
                Work::Text {
                    prompt: window.to_vec(),
                    stop: stop.clone(),
                    decoding: if *style == Cut::InTurn { Decoding::Alone } else { Decoding::AfterPrompt },
                    max_tokens,
                }
            }
            _ => {
                let mut sequences = Vec::with_capacity(document.requests.len());
                // Choices mostly share their context, which the tokenizer then reads once.
                let mut contexts: HashMap<String, Vec<u32>> = HashMap::new();
                for request in &document.requests {
                    let Request::Loglikelihood { context, continuation } = request else {
                        anyhow::bail!("{}: requests of two kinds", place());
                    };
                    anyhow::ensure!(
                        !context.is_empty() || self.prefix.is_some(),
                        "{}: the context is empty, and the tokenizer has neither a BOS nor the model an EOS to stand for it",
                        place()
                    );
                    let mut failed = None;
                    let pair = encode_pair(context, continuation, self.prefix.unwrap_or(0), |text| {
                        if let Some(tokens) = contexts.get(text) {
                            return tokens.clone();
                        }
                        let tokens = self.tokens(text).unwrap_or_else(|error| {
                            failed.get_or_insert(error);
                            Vec::new()
                        });
                        if context.starts_with(text) {
                            contexts.insert(text.to_owned(), tokens.clone());
                        }
                        tokens
                    });
                    if let Some(error) = failed {
                        return Err(error).with_context(place);
                    }
                    let window = pair.and_then(|pair| {
                        cut |= pair.context.len() + pair.continuation.len() > self.context + 1;
                        pair.window(self.context)
                    });
                    let window = window.with_context(place)?;
                    sequences.push(ScoredSequence { input: window.input, targets: window.targets });
                }
                Work::Likelihoods(sequences)
            }
        };
        Ok(Question { index: document.index, subset: document.subset.clone(), key: key(document), work, cut })
    }
}

/// Hash of all that is asked of a document.
pub(crate) fn key(document: &Document) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    for request in &document.requests {
        match request {
            Request::Loglikelihood { context, continuation } => {
                add(context);
                add(continuation);
            }
            Request::Generate { prompt, stop, max_tokens, .. } => {
                add(prompt);
                stop.iter().for_each(|stop| add(stop));
                add(&max_tokens.to_string());
            }
        }
    }
    add(&document.target_text());
    hasher.finalize().to_hex()[..KEY_DIGITS].to_owned()
}

/// What an answer of a document becomes a program with.
pub(crate) fn program(document: &Document) -> Option<&ProgramParts> {
    match &document.target {
        Target::Program(parts) => Some(parts),
        Target::Choice(_) | Target::Labels(_) | Target::Text(_) => None,
    }
}
