//! Rows, answers and responses of any content: they are used or refused, never a panic.
#![cfg(not(target_arch = "wasm32"))]

use codingspot_tasks::bundled;
use codingspot_tasks::document::{Cut, Dataset, Options, Request};
use codingspot_tasks::encode::{EncodedPair, encode_pair};
use codingspot_tasks::json::Json;
use codingspot_tasks::score::{Outcome, Response, score};
use codingspot_tasks::summary::Evaluation;
use codingspot_tasks::task::Task;
use codingspot_tasks::{answer, output, paper};
use proptest::prelude::*;

fn task() -> impl Strategy<Value = Task> {
    (0..Task::all().count()).prop_map(|i| Task::all().nth(i).unwrap_or(Task::Gsm8k))
}

fn response() -> impl Strategy<Value = Response> {
    prop_oneof![
        (any::<f64>(), any::<bool>()).prop_map(|(sum, greedy)| Response::Loglikelihood { sum, greedy }),
        (-900.0..0.0, any::<bool>()).prop_map(|(sum, greedy)| Response::Loglikelihood { sum, greedy }),
        any::<String>().prop_map(Response::Text),
        proptest::collection::vec((any::<String>(), any::<bool>()), 0..3).prop_map(|outcomes| {
            let outcome = |(completion, passed)| Outcome { completion, passed };
            Response::Programs(outcomes.into_iter().map(outcome).collect())
        }),
    ]
}

proptest! {
    #[test]
    fn altered_rows_are_used_or_refused(task in task(), at in 0..2000_usize, with in ".{0,8}", len in 0..40_usize, shots in 0..4_u32) {
        let (documents, pool) = bundled::rows(task);
        let mut characters: Vec<char> = documents.chars().collect();
        let at = at.min(characters.len());
        let end = (at + len).min(characters.len());
        characters.splice(at..end, with.chars());
        let altered: String = characters.into_iter().collect();
        let Ok(data) = Dataset::parse(task, &altered, pool) else { return Ok(()) };
        let options = Options { num_fewshot: Some(shots), ..Options::default() };
        let Ok(rendered) = data.documents(&options) else { return Ok(()) };
        for document in rendered {
            let document = document?;
            prop_assert!(!document.requests.is_empty());
            prop_assert_eq!(document.doc_hash().len(), 64);
            for request in &document.requests {
                if let Request::Loglikelihood { context, continuation } = request {
                    let encode = |text: &str| text.bytes().map(u32::from).collect();
                    if let Ok(pair) = encode_pair(context, continuation, 0, encode) {
                        prop_assert!(pair.window(4096).is_ok());
                    }
                }
            }
        }
    }

    #[test]
    fn any_text_is_rows_or_none(task in task(), text in any::<String>()) {
        prop_assert!(Dataset::parse(task, &text, None).is_err() || !text.is_empty());
    }

    #[test]
    fn answers_come_from_the_text(text in any::<String>(), target in any::<String>()) {
        for found in [answer::strict(&text), answer::flexible(&text)] {
            prop_assert!(found == answer::INVALID || text.contains(found) && !found.is_empty());
        }
        prop_assert!(answer::exact_match(&text, &text));
        prop_assert_eq!(answer::exact_match(&text, &target), answer::exact_match(&target, &text));
        let stop = [target];
        prop_assert_eq!(Cut::InTurn.apply(&text, &stop), Cut::Earliest.apply(&text, &stop));
    }

    #[test]
    fn any_response_has_a_score_from_0_to_1_or_none(task in task(), responses in proptest::collection::vec(response(), 4..5)) {
        let data = bundled::dataset(task)?;
        let options = Options { num_fewshot: Some(0), ..Options::default() };
        let mut evaluation = Evaluation::new(&data, &options);
        for document in data.documents(&options)? {
            let document = document?;
            let responses = &responses[..document.requests.len()];
            let Ok(scored) = score(&document, responses) else { continue };
            prop_assert!(scored.values.iter().all(|value| (0.0..=1.0).contains(&value.value)), "{scored:?}");
            for row in output::samples(&document, responses, &scored) {
                let line = row.dumps(None);
                prop_assert!(serde_json::from_str::<Json>(&line).is_ok());
            }
            evaluation.scored.push(scored);
        }
        for summary in evaluation.summaries() {
            prop_assert!(summary.interval.is_none_or(|interval| interval.contains(summary.value)));
        }
        prop_assert_eq!(paper::PaperRow::of(std::slice::from_ref(&evaluation)), None);
        let results = output::results(&[evaluation], Json::Null);
        prop_assert!(serde_json::from_str::<Json>(&results.dumps(Some(2))).is_ok());
    }

    #[test]
    fn windows_hold_all_that_is_scored(context in 1..50_usize, continuation in 1..50_usize, max_length in 0..60_usize) {
        let tokens = |from: usize, n: usize| (from..from + n).map(|i| u32::try_from(i).unwrap_or(0)).collect();
        let pair = EncodedPair { context: tokens(0, context), continuation: tokens(context, continuation) };
        let Ok(window) = pair.window(max_length) else {
            prop_assert!(continuation > max_length);
            return Ok(());
        };
        prop_assert!(window.input.len() <= max_length);
        prop_assert_eq!(window.first() + window.targets.len(), window.input.len());
        // The target follows the position that predicts it.
        for (position, target) in (window.first()..).zip(&window.targets) {
            prop_assert_eq!(window.input[position] + 1, *target);
        }
    }
}
