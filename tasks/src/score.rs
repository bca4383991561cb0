//! Scores of documents from a model's responses (`lm_eval/api/task.py`, `process_results`).

use crate::answer;
use crate::document::{Document, Request, Target};
use crate::task::{Metric, Task};
use codingspot_stats::proportion::{ProportionError, pass_at_k};

/// A model's response to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// To [`Request::Loglikelihood`].
    Loglikelihood {
        /// Sum of the natural logarithms of the scored tokens' probabilities.
        sum: f64,
        /// Whether every scored token was the most likely one.
        greedy: bool,
    },
    /// To [`Request::Generate`] of a task whose answers are texts: the text after the prompt, cut or not.
    Text(String),
    /// To [`Request::Generate`] of a task whose answers are programs: whatever texts there were, cut, and
    /// whether their programs passed.
    Programs(Vec<Outcome>),
}

/// What became of a completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The completion, cut at its stop strings.
    pub completion: String,
    /// Whether its program passed.
    pub passed: bool,
}

/// A metric's value of one document.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Value {
    /// Metric.
    pub metric: &'static Metric,
    /// Its value, from 0 to 1.
    pub value: f64,
}

/// What a document scored.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// Subject, of MMLU.
    pub subset: Option<String>,
    /// Place of the document in its task or subset.
    pub index: usize,
    /// One value a metric of the task, in their order.
    pub values: Vec<Value>,
    /// What was read from the response, by filter in the order of the metrics' filters.
    pub filtered: Vec<(&'static str, Vec<Filtered>)>,
    /// Hashes of row, first context and target.
    pub hashes: [String; 3],
}

/// A response as a filter leaves it.
#[derive(Debug, Clone, PartialEq)]
pub enum Filtered {
    /// As it was.
    Loglikelihood {
        /// Sum of logarithms.
        sum: f64,
        /// Whether it was the most likely text.
        greedy: bool,
    },
    /// The answer in a text.
    Text(String),
    /// The programs that were run, without their tests.
    Programs(Vec<String>),
}

/// Why responses have no score.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ScoreError {
    /// Not one response a request.
    #[error("{task}, document {index}: {found} responses to {expected} requests")]
    Count {
        /// Task.
        task: Task,
        /// Place of the document.
        index: usize,
        /// Responses.
        found: usize,
        /// Requests.
        expected: usize,
    },
    /// A response is of another kind than its request.
    #[error("{task}, document {index}: response {request} is of another kind than its request")]
    Kind {
        /// Task.
        task: Task,
        /// Place of the document.
        index: usize,
        /// Place of the request.
        request: usize,
    },
    /// A log-likelihood is NaN or above 0. The harness takes a NaN for the largest, and so for right wherever it
    /// is that of the right answer: a broken model would answer all of `TruthfulQA`.
    #[error("{task}, document {index}: response {request} has a log-likelihood of {sum}")]
    NotALogarithm {
        /// Task.
        task: Task,
        /// Place of the document.
        index: usize,
        /// Place of the request.
        request: usize,
        /// What it is.
        sum: f64,
    },
    /// No answer has any probability.
    #[error("{task}, document {index}: all answers have a probability of 0")]
    NoMass {
        /// Task.
        task: Task,
        /// Place of the document.
        index: usize,
    },
    /// No programs were run.
    #[error("{task}, document {index}: no programs: {source}")]
    NoPrograms {
        /// Task.
        task: Task,
        /// Place of the document.
        index: usize,
        /// Why that has no score.
        source: ProportionError,
    },
}

/// Largest sum of logarithms that counts as one: a probability of 1 may come out a little above 0.
const MAX_SUM: f64 = 1e-3;

/// First place of the largest value, a NaN counting as the largest: `numpy.argmax`. `None` of none.
pub fn argmax(values: &[f64]) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (i, &value) in values.iter().enumerate() {
        match best {
            Some((_, top)) if top.is_nan() || !(value > top || value.is_nan()) => {}
            _ => best = Some((i, value)),
        }
    }
    best.map(|(i, _)| i)
}

/// Scores a document by one response a request, in their order.
///
/// - `acc`: 1 where the right choice has the largest sum of logarithms, the first of equal ones counting.
/// - `acc_norm`, `acc_bytes`: the same of sums over the number of characters and of bytes of the choice, without the
///   space before it.
/// - `acc` of `truthfulqa_mc2`: probability of the true answers over that of all,
///   Σ exp(sum) over true / Σ exp(sum), about the largest sum, so that it is also defined where all underflow.
/// - `exact_match`: 1 where the number that the filter finds is the target's.
/// - `pass@1`: share of programs that passed ([`pass_at_k`] of k 1).
///
/// # Errors
/// [`ScoreError`], one variant a kind of unusable response.
pub fn score(document: &Document, responses: &[Response]) -> Result<Scored, ScoreError> {
    let (task, index) = (document.task, document.index);
    let (found, expected) = (responses.len(), document.requests.len());
    if found != expected || found == 0 {
        return Err(ScoreError::Count { task, index, found, expected });
    }
    let metrics = task.metrics();
    let (values, filtered) = match &document.target {
        Target::Choice(gold) => {
            let sums = sums(document, responses)?;
            let value = |metric: &Metric| choice(document, &sums, *gold, metric.name);
            (metrics.iter().map(value).collect(), loglikelihoods(responses))
        }
        Target::Labels(labels) => {
            let sums = sums(document, responses)?;
            let largest = sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            if largest.is_infinite() {
                return Err(ScoreError::NoMass { task, index });
            }
            let masses = sums.iter().map(|sum| (sum - largest).exp());
            let (mut of_true, mut of_all) = (0.0, 0.0);
            for (mass, label) in masses.zip(labels) {
                of_all += mass;
                of_true += if *label { mass } else { 0.0 };
            }
            (vec![of_true / of_all], loglikelihoods(responses))
        }
        Target::Text(target) => {
            let (Response::Text(text), Some(Request::Generate { stop, cut, .. })) =
                (&responses[0], document.requests.first())
            else {
                return Err(ScoreError::Kind { task, index, request: 0 });
            };
            let text = cut.apply(text, stop);
            let read = [("strict-match", answer::strict(text)), ("flexible-extract", answer::flexible(text))];
            let values =
                read.iter().map(|(_, found)| f64::from(u8::from(answer::exact_match(found, target))));
            let filtered = read.iter().map(|(name, found)| (*name, vec![Filtered::Text((*found).into())]));
            (values.collect(), filtered.collect())
        }
        Target::Program(program) => {
            let Response::Programs(outcomes) = &responses[0] else {
                return Err(ScoreError::Kind { task, index, request: 0 });
            };
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let samples = count(outcomes.len());
            let passed = count(outcomes.iter().filter(|outcome| outcome.passed).count());
            let value = pass_at_k(samples, passed, 1).map_err(|source| ScoreError::NoPrograms {
                task,
                index,
                source,
            })?;
            let programs =
                outcomes.iter().map(|outcome| [&*program.head, &*outcome.completion].concat()).collect();
            (vec![value], vec![("create_test", vec![Filtered::Programs(programs)])])
        }
    };
    Ok(Scored {
        subset: document.subset.clone(),
        index,
        values: metrics.iter().zip(values).map(|(metric, value)| Value { metric, value }).collect(),
        filtered,
        hashes: [document.doc_hash(), document.prompt_hash(), document.target_hash()],
    })
}

fn sums(document: &Document, responses: &[Response]) -> Result<Vec<f64>, ScoreError> {
    let (task, index) = (document.task, document.index);
    let sum = |(request, response): (usize, &Response)| match response {
        Response::Loglikelihood { sum, .. } if *sum <= MAX_SUM => Ok(*sum),
        Response::Loglikelihood { sum, .. } => {
            Err(ScoreError::NotALogarithm { task, index, request, sum: *sum })
        }
        _ => Err(ScoreError::Kind { task, index, request }),
    };
    responses.iter().enumerate().map(sum).collect()
}

fn loglikelihoods(responses: &[Response]) -> Vec<(&'static str, Vec<Filtered>)> {
    let kept = |response: &Response| match response {
        Response::Loglikelihood { sum, greedy } => {
            Some(Filtered::Loglikelihood { sum: *sum, greedy: *greedy })
        }
        _ => None,
    };
    vec![("none", responses.iter().filter_map(kept).collect())]
}

/// Whether the right choice has the largest sum, over the length that the metric asks for.
fn choice(document: &Document, sums: &[f64], gold: usize, metric: &str) -> f64 {
    let length = |request: &Request| match request {
        Request::Loglikelihood { continuation, .. } => {
            let choice = continuation.strip_prefix(document.target_delimiter).unwrap_or(continuation);
            match metric {
                "acc_norm" => choice.chars().count() as f64,
                "acc_bytes" => choice.len() as f64,
                _ => 1.0,
            }
        }
        Request::Generate { .. } => 1.0,
    };
    // By 0 of an empty choice, as numpy: −∞, or NaN of a sum of 0.
    let values: Vec<_> = sums.iter().zip(&document.requests).map(|(sum, of)| sum / length(of)).collect();
    if argmax(&values) == Some(gold) { 1.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Dataset, Options};

    fn document(task: Task, row: &str) -> Document {
        let data = Dataset::parse(task, row, None).unwrap();
        let options = Options { num_fewshot: Some(0), ..Options::default() };
        data.documents(&options).unwrap().next().unwrap().unwrap()
    }

    fn responses(sums: &[f64]) -> Vec<Response> {
        sums.iter().map(|&sum| Response::Loglikelihood { sum, greedy: false }).collect()
    }

    fn values(document: &Document, responses: &[Response]) -> Vec<f64> {
        score(document, responses).unwrap().values.iter().map(|value| value.value).collect()
    }

    #[test]
    fn the_first_of_equal_ones_is_the_largest() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), Some(1));
        assert_eq!(argmax(&[f64::NEG_INFINITY; 3]), Some(0));
        assert_eq!(argmax(&[1.0, f64::NAN, 9.0, f64::NAN]), Some(1));
        assert_eq!(argmax(&[]), None);
    }

    #[test]
    fn lengths_are_of_characters_and_of_bytes() {
        // 10 characters of 10 bytes against 4 characters of 12 bytes.
        let row = r#"{"query": "q", "choices": ["aaaaaaaaaa", "語語語語"], "label": 1}"#;
        let document = document(Task::HellaSwag, row);
        // The sums: −9 is larger. By characters: −0.9. By bytes: −1 against −0.9.
        assert_eq!(values(&document, &responses(&[-9.0, -12.0])), [0.0, 0.0, 0.0]);
        assert_eq!(values(&document, &responses(&[-12.0, -12.0])), [0.0, 0.0, 1.0]);
        assert_eq!(values(&document, &responses(&[-40.0, -12.0])), [1.0, 1.0, 1.0]);
    }

    #[test]
    fn a_broken_model_is_never_right() {
        let row = r#"{"question": "q", "mc1_targets": {"choices": ["a", "b"], "labels": [1, 0]}}"#;
        let document = document(Task::TruthfulQaMc1, row);
        assert_eq!(values(&document, &responses(&[-2.0, -2.0])), [1.0]);
        for sum in [f64::NAN, 1.0, f64::INFINITY] {
            let error = score(&document, &responses(&[sum, -1.0])).unwrap_err();
            assert!(matches!(error, ScoreError::NotALogarithm { request: 0, .. }), "{error}");
        }
        assert!(matches!(score(&document, &responses(&[-1.0])), Err(ScoreError::Count { .. })));
        let texts = [Response::Text(String::new()), Response::Text(String::new())];
        assert!(matches!(score(&document, &texts), Err(ScoreError::Kind { .. })));
    }

    #[test]
    fn mc2_is_the_share_of_true_answers() {
        let row = r#"{"question": "q", "mc2_targets": {"choices": ["a", "b", "c"], "labels": [1, 0, 1]}}"#;
        let document = document(Task::TruthfulQaMc2, row);
        let logs = [0.1_f64, 0.3, 0.2].map(f64::ln);
        assert!((values(&document, &responses(&logs))[0] - 0.5).abs() < 1e-15);
        // Where the harness has 0/0.
        assert!((values(&document, &responses(&logs.map(|log| log - 2000.0)))[0] - 0.5).abs() < 1e-12);
        let none = score(&document, &responses(&[f64::NEG_INFINITY; 3])).unwrap_err();
        assert_eq!(none, ScoreError::NoMass { task: Task::TruthfulQaMc2, index: 0 });
    }

    #[test]
    fn texts_are_cut_before_they_are_read() {
        let document = document(Task::Gsm8k, "{\"question\": \"q\", \"answer\": \"#### 1,200\"}");
        let scored = score(&document, &[Response::Text("It is $1200.\nQuestion: #### 5".into())]).unwrap();
        assert_eq!(scored.values.iter().map(|value| value.value).collect::<Vec<_>>(), [0.0, 1.0]);
        assert_eq!(scored.filtered[1].1, [Filtered::Text("$1200.".into())]);
    }

    #[test]
    fn programs_pass_in_shares() {
        let row = r#"{"task_id": "T/0", "prompt": "def f():", "test": "", "entry_point": "f"}"#;
        let document = document(Task::HumanEval, row);
        let outcome = |passed| Outcome { completion: "  pass".into(), passed };
        assert_eq!(values(&document, &[Response::Programs(vec![outcome(true), outcome(false)])]), [0.5]);
        let error = score(&document, &[Response::Programs(vec![])]).unwrap_err();
        assert!(matches!(error, ScoreError::NoPrograms { .. }));
    }
}
