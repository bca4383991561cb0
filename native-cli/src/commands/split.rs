//! `codingspot split`.

use crate::args::SplitArgs;
use crate::atomic::NewDirectory;
use crate::corpus::CorpusDirectory;
use crate::model::{MAX_JSON_BYTES, read_text};
use crate::output;
use codingspot_core::corpus::CODE_LANGUAGES;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};

/// The directories of the parts.
const PARTS: [&str; 3] = ["train", "score", "held-out"];
const TRAIN: usize = 0;
const SCORE: usize = 1;
const HELD_OUT: usize = 2;

pub(crate) fn run(args: &SplitArgs) -> anyhow::Result<()> {
    let new = NewDirectory::begin(&args.out, None)?;
    for part in PARTS {
        fs::create_dir(new.path().join(part))?;
    }
    let repeated: BTreeSet<String> = match &args.repeat {
        Some(path) => read_text(path, MAX_JSON_BYTES)?.lines().map(|line| line.trim().to_owned()).collect(),
        None => BTreeSet::new(),
    };
    let mut counts: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    for directory in &args.corpus {
        let corpus = CorpusDirectory::open(directory)?;
        for language in corpus.languages() {
            anyhow::ensure!(
                !counts.contains_key(&language),
                "{language} is in two of the directories; give each language once"
            );
            let mut files = Vec::new();
            for part in PARTS {
                let path = new.path().join(part).join(format!("{language}.jsonl.gz"));
                files.push(GzEncoder::new(BufWriter::new(File::create(path)?), Compression::default()));
            }
            let named = is_code(&language);
            let mut count = [0; 3];
            let mut again = Vec::new();
            // In a corpus the files of a repository stand together. What is measured on is written in the order of the
            // hashes, so that the first documents of a language are a fair sample of it (`eval --limit`).
            let mut drawn: [Vec<([u8; 32], Vec<u8>)>; 3] = Default::default();
            corpus.for_rows(&language, |number, row| {
                let digest = digest(&key(&row, number, named));
                let part = part(&digest, args.one_in);
                count[part] += 1;
                let mut line = serde_json::to_vec(&row)?;
                line.push(b'\n');
                if part != TRAIN {
                    drawn[part].push((digest, line));
                    return Ok(());
                }
                files[TRAIN].write_all(&line)?;
                let repo = row.get("repo").and_then(Value::as_str);
                if repo.is_some_and(|repo| repeated.contains(repo)) {
                    count[TRAIN] += u64::from(args.times.unwrap_or(1)) - 1;
                    again.extend(line);
                }
                Ok(())
            })?;
            for _ in 1..args.times.unwrap_or(1) {
                files[TRAIN].write_all(&again)?;
            }
            for (file, mut documents) in files.iter_mut().zip(drawn) {
                documents.sort_by_key(|(digest, _)| *digest);
                documents.iter().try_for_each(|(_, line)| file.write_all(line))?;
            }
            for file in files {
                file.finish()?.flush()?;
            }
            counts.insert(language, count);
        }
    }
    new.finish()?;
    if args.json {
        let counts = counts.iter().map(|(language, [train, score, held_out])| {
            (language.clone(), json!({"train": train, "score": score, "held_out": held_out}))
        });
        return output::json(&counts.collect::<BTreeMap<String, Value>>());
    }
    let mut text = format!("{:<12} {:>9} {:>9} {:>9}\n", "documents", PARTS[0], PARTS[1], PARTS[2]);
    for (language, [train, score, held_out]) in &counts {
        text += &format!("{language:<12} {train:>9} {score:>9} {held_out:>9}\n");
    }
    output::result(&(text + &format!("in {}\n", args.out.display())))
}

/// Whether a language's documents are files of repositories, which have names.
fn is_code(language: &str) -> bool {
    language == "python" || CODE_LANGUAGES.contains(&language)
}

/// What a row is drawn by: repository and path where it is code that has them, else its number from 0.
fn key(row: &Value, number: usize, named: bool) -> String {
    let field = |name: &str| row.get(name).and_then(Value::as_str);
    match (field("repo"), field("path")) {
        (Some(repo), Some(path)) if named => format!("{repo}/{path}"),
        _ => number.to_string(),
    }
}

/// SHA-256 of `key`.
fn digest(key: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, key.as_bytes()).as_ref());
    bytes
}

/// `digest` as a number, modulo `one_in`: 0 is held out, 1 is for scoring, the rest trains.
fn part(digest: &[u8; 32], one_in: u32) -> usize {
    match remainder(digest, one_in) {
        0 => HELD_OUT,
        1 => SCORE,
        _ => TRAIN,
    }
}

/// `digest` as a number whose first byte is the highest, modulo `one_in`.
fn remainder(digest: &[u8; 32], one_in: u32) -> u64 {
    let one_in = u64::from(one_in);
    digest.iter().fold(0, |rest, &byte| (rest * 256 + u64::from(byte)) % one_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_drawn_by_the_hash_of_their_names() {
        // int(hashlib.sha256(key.encode()).hexdigest(), 16) % 20 in Python.
        for (key, rest) in [("a/b.rs", 5), ("owner/repo/src/main.rs", 17), ("0", 5), ("1", 15)] {
            assert_eq!(remainder(&digest(key), 20), rest, "{key}");
        }
    }

    #[test]
    fn prose_is_drawn_by_row() {
        let row = json!({"repo": "a", "path": "b", "text": ""});
        assert_eq!(key(&row, 7, true), "a/b");
        assert_eq!(key(&row, 7, false), "7");
        assert_eq!(key(&json!({"text": ""}), 7, true), "7");
    }
}
