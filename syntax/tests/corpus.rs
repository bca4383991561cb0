//! The rule on real code: it has to call code parsing, and what is no code not.

use codingspot_syntax::{CheckError, Language, Outcome, check, inside_text};
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Documents of each language.
const DOCUMENTS: usize = 150;

/// Bytes of a document that are looked at.
const BYTES: usize = 6 << 10;

/// Where the corpus is, or a message and nothing.
fn corpus() -> Option<PathBuf> {
    let shared = std::env::var_os("CODINGSPOT_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let corpus = shared.join("data/corpus");
    if corpus.is_dir() {
        return Some(corpus);
    }
    println!("skipped: {} is not there (set CODINGSPOT_SHARED)", corpus.display());
    None
}

/// Rows of a file, at most `bytes` of it.
fn rows(path: &Path, bytes: u64) -> Vec<serde_json::Value> {
    let mut text = Vec::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(path).unwrap())
        .take(bytes)
        .read_to_end(&mut text)
        .unwrap();
    text.split(|&byte| byte == b'\n').map_while(|line| serde_json::from_slice(line).ok()).collect()
}

/// One document in twenty, by the hash of where it is from.
fn is_held_out(row: &serde_json::Value) -> bool {
    let name = format!("{}/{}", row["repo"].as_str().unwrap(), row["path"].as_str().unwrap());
    let hash = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    hash.as_ref().iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % 20) == 0
}

/// The beginning of `text` of at most `bytes` bytes.
fn beginning(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..end]
}

/// A third of the characters that are no white space, in another order.
fn shuffle_characters(text: &str, rng: &mut ChaCha8Rng) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let places: Vec<usize> = (0..characters.len())
        .filter(|&i| !characters[i].is_whitespace() && rng.random_bool(1.0 / 3.0))
        .collect();
    let mut moved: Vec<char> = places.iter().map(|&i| characters[i]).collect();
    moved.shuffle(rng);
    places.iter().zip(moved).for_each(|(&i, character)| characters[i] = character);
    characters.into_iter().collect()
}

/// All words in another order, and the white space between them as it was.
fn shuffle_words(text: &str, rng: &mut ChaCha8Rng) -> String {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    words.shuffle(rng);
    let mut words = words.into_iter();
    let runs = text.split_inclusive(char::is_whitespace).map(|run| {
        let word = run.trim_end();
        let word = if word.is_empty() { "" } else { words.next().unwrap_or(word) };
        format!("{word}{}", &run[run.trim_end().len()..])
    });
    runs.collect()
}

/// Of completions: how many parse.
#[derive(Default)]
struct Share {
    parse: u32,
    all: u32,
}

impl Share {
    fn add(&mut self, language: Language, prompt: &str, completion: &str) {
        match check(language, prompt, completion, false).unwrap() {
            Outcome::Parses => self.parse += 1,
            Outcome::SyntaxError { .. } => {}
            Outcome::Blank => return,
        }
        self.all += 1;
    }

    fn percent(&self) -> f64 {
        100.0 * f64::from(self.parse) / f64::from(self.all)
    }
}

#[test]
fn code_parses_and_what_is_none_does_not() {
    let Some(corpus) = corpus() else { return };
    let english: Vec<String> = rows(&corpus.join("english.jsonl.gz"), 2 << 20)
        .iter()
        .map(|row| beginning(row["text"].as_str().unwrap(), 300).to_owned())
        .collect();
    println!("language    documents  unread  in text   code  characters  words  English   (% that parse)");
    for language in Language::ALL {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let path = corpus.join(format!("code/{}.jsonl.gz", language.name()));
        let (mut documents, mut unread, mut in_text) = (0, 0, 0);
        let (mut code, mut characters, mut words, mut prose) =
            (Share::default(), Share::default(), Share::default(), Share::default());
        for row in rows(&path, u64::MAX).iter().filter(|row| is_held_out(row)) {
            let text = beginning(row["text"].as_str().unwrap(), BYTES);
            let ends = text.match_indices('\n').map(|(at, _)| at + 1).filter(|end| end + 400 < text.len());
            let ends: Vec<usize> = ends.collect();
            if ends.is_empty() {
                continue;
            }
            if documents == DOCUMENTS {
                break;
            }
            documents += 1;
            let (prompt, rest) = text.split_at(ends[rng.random_range(0..ends.len())]);
            let completion = beginning(rest, rng.random_range(200..=400));
            match inside_text(language, prompt) {
                Ok(false) => {}
                Ok(true) => {
                    in_text += 1;
                    continue;
                }
                Err(CheckError::Prompt { .. } | CheckError::TooLong { .. }) => {
                    unread += 1;
                    continue;
                }
                Err(error) => panic!("{error}"),
            }
            code.add(language, prompt, completion);
            characters.add(language, prompt, &shuffle_characters(completion, &mut rng));
            words.add(language, prompt, &shuffle_words(completion, &mut rng));
            prose.add(language, prompt, &english[rng.random_range(0..english.len())]);
        }
        let name = language.name();
        println!(
            "{name:<12}{documents:>9}{unread:>8}{in_text:>9}{:>7.1}{:>12.1}{:>7.1}{:>9.1}",
            code.percent(),
            characters.percent(),
            words.percent(),
            prose.percent()
        );
        assert!(code.all > 50 && code.percent() >= 95.0, "{name}: code");
        // To Bash nearly any words are a command, and Ruby's calls need no parentheses.
        let most = match language {
            Language::Bash => continue,
            Language::Ruby => 25.0,
            _ => 10.0,
        };
        for (what, share) in [("characters", characters), ("words", words), ("English", prose)] {
            assert!(share.percent() <= most, "{name}: {what}");
        }
    }
}
