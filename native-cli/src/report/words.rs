//! How findings are put into words.

use crate::study::{Estimate, Measure};
use codingspot_core::spot::Scope;
use codingspot_plot::SeriesStyle;
use codingspot_plot::number::signed;

/// What competes in a scope.
pub(super) fn competing(scope: Scope) -> &'static str {
    match scope {
        Scope::All => "every parameter competes",
        Scope::NoNorm => "all but the gains of norms compete",
        Scope::NoEmbedding => "all but the embedding and the head compete",
        Scope::Blocks => "the linear layers of the blocks compete",
    }
}

/// An arm for people. `general` is the general language.
pub(super) fn arm(name: &str, general: &str) -> String {
    match name {
        "spot" => "coding spot".to_owned(),
        "random" => "random, same tensors".to_owned(),
        "magnitude" => "largest weights".to_owned(),
        "magnitude-matched" => "largest, same tensors".to_owned(),
        "general" => format!("{} spot", capitalised(general)),
        "minus-general" => format!("coding spot without {}'s", capitalised(general)),
        other => match other.split_once(':') {
            Some(("random", seed)) => format!("random draw {seed}"),
            _ => other.to_owned(),
        },
    }
}

/// The look of an arm.
pub(super) fn style(name: &str) -> SeriesStyle {
    match name {
        "original" => SeriesStyle::Original,
        "spot" => SeriesStyle::Spot,
        "magnitude" => SeriesStyle::Magnitude,
        "magnitude-matched" => SeriesStyle::Other(0),
        "general" => SeriesStyle::General,
        "minus-general" => SeriesStyle::Difference,
        _ => SeriesStyle::Random,
    }
}

/// A benchmark for people, by its name in lm-evaluation-harness.
pub(super) fn task(name: &str) -> String {
    let known = match name {
        "humaneval" => "HumanEval",
        "humaneval_stripped" => "HumanEval, prompt stripped",
        "gsm8k" => "GSM8K",
        "hellaswag" => "HellaSwag",
        "mmlu" => "MMLU",
        "truthfulqa_mc1" => "TruthfulQA mc1",
        "truthfulqa_mc2" => "TruthfulQA mc2",
        "winogrande" => "WinoGrande",
        "multiple-sh" => "MultiPL-E Bash",
        "multiple-cs" => "MultiPL-E C#",
        "multiple-cpp" => "MultiPL-E C++",
        "multiple-go" => "MultiPL-E Go",
        "multiple-java" => "MultiPL-E Java",
        "multiple-js" => "MultiPL-E JavaScript",
        "multiple-jl" => "MultiPL-E Julia",
        "multiple-py" => "MultiPL-E Python",
        "multiple-rb" => "MultiPL-E Ruby",
        "multiple-rs" => "MultiPL-E Rust",
        "multiple-ts" => "MultiPL-E TypeScript",
        other => other,
    };
    known.to_owned()
}

/// A benchmark's metric for people, with the reading of the answer where there are several.
pub(super) fn metric(name: &str, filter: Option<&str>) -> String {
    match (name, filter) {
        ("exact_match", Some("strict-match")) => "strict match".to_owned(),
        ("exact_match", Some("flexible-extract")) => "flexible extract".to_owned(),
        ("exact_match", None) => "exact match".to_owned(),
        ("syntax_error", _) => "doesn’t parse".to_owned(),
        (_, None | Some("none" | "create_test")) => name.to_owned(),
        (_, Some(filter)) => format!("{name}, {filter}"),
    }
}

/// `HumanEval, pass@1`.
pub(super) fn task_and_metric(name: &str, of: &str, filter: Option<&str>) -> String {
    format!("{}, {}", task(name), metric(of, filter))
}

/// `rust` as a name in a sentence.
pub(super) fn capitalised(name: &str) -> String {
    match name {
        "cpp" => "C++".to_owned(),
        "csharp" => "C#".to_owned(),
        "javascript" => "JavaScript".to_owned(),
        "typescript" => "TypeScript".to_owned(),
        _ => {
            let mut letters = name.chars();
            letters
                .next()
                .map_or(String::new(), |first| first.to_uppercase().collect::<String>() + letters.as_str())
        }
    }
}

/// `+0.52 [0.41, 0.63] nats`.
pub(super) fn rise(estimate: Option<Estimate>) -> String {
    estimate.map_or("an overflow".to_owned(), |found| {
        format!("{} [{}, {}] nats", signed(found.value, 2), signed(found.low, 2), signed(found.high, 2))
    })
}

/// What a measure is, in a sentence.
pub(super) fn measure(measure: Measure, general: &str) -> String {
    match measure {
        Measure::Code => "the loss of code".to_owned(),
        Measure::Gap => format!("the loss of code beyond that of {}", capitalised(general)),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use codingspot_tasks::task::Task;

    #[test]
    fn every_benchmark_has_a_name_for_people() {
        for of in Task::all() {
            assert_ne!(task(of.name()), of.name());
            for metric_of in of.metrics() {
                let text = task_and_metric(of.name(), metric_of.name, Some(metric_of.filter));
                assert!(!text.contains("none") && !text.contains("create_test"), "{text}");
            }
        }
    }
}
