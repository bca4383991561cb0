//! A few questions of every task, written for this project in the schemas of the data sets: to try things, for
//! tests, and as examples. They measure nothing.

use crate::document::Dataset;
use crate::program::Language;
use crate::row::RowError;
use crate::task::Task;

/// Documents and few-shot pool of a task, as JSON lines.
pub fn rows(task: Task) -> (&'static str, Option<&'static str>) {
    match task {
        Task::HumanEval | Task::HumanEvalStripped => (include_str!("../data/humaneval.jsonl"), None),
        Task::Gsm8k => (include_str!("../data/gsm8k.jsonl"), Some(include_str!("../data/gsm8k_train.jsonl"))),
        Task::HellaSwag => {
            (include_str!("../data/hellaswag.jsonl"), Some(include_str!("../data/hellaswag_train.jsonl")))
        }
        Task::Mmlu => (include_str!("../data/mmlu.jsonl"), Some(include_str!("../data/mmlu_dev.jsonl"))),
        Task::TruthfulQaMc1 | Task::TruthfulQaMc2 => (include_str!("../data/truthfulqa.jsonl"), None),
        Task::WinoGrande => {
            (include_str!("../data/winogrande.jsonl"), Some(include_str!("../data/winogrande_train.jsonl")))
        }
        Task::MultiPlE(language) => (multipl_e(language), None),
    }
}

fn multipl_e(language: Language) -> &'static str {
    match language {
        Language::Bash => include_str!("../data/multipl_e_bash.jsonl"),
        Language::CSharp => include_str!("../data/multipl_e_csharp.jsonl"),
        Language::Cpp => include_str!("../data/multipl_e_cpp.jsonl"),
        Language::Go => include_str!("../data/multipl_e_go.jsonl"),
        Language::Java => include_str!("../data/multipl_e_java.jsonl"),
        Language::JavaScript => include_str!("../data/multipl_e_javascript.jsonl"),
        Language::Julia => include_str!("../data/multipl_e_julia.jsonl"),
        Language::Python => include_str!("../data/multipl_e_python.jsonl"),
        Language::Ruby => include_str!("../data/multipl_e_ruby.jsonl"),
        Language::Rust => include_str!("../data/multipl_e_rust.jsonl"),
        Language::TypeScript => include_str!("../data/multipl_e_typescript.jsonl"),
    }
}

/// The bundled data set of a task.
///
/// # Errors
/// None: they are read in tests.
pub fn dataset(task: Task) -> Result<Dataset, RowError> {
    let (documents, pool) = rows(task);
    Dataset::parse(task, documents, pool)
}
