//! `codingspot bench`: one file a benchmark. Each returns a [`Figures`]; what all of them share is
//! written here.

mod decode;
mod load;
mod packed;
mod score;
mod select;
mod train;

use crate::args::{BenchArgs, BenchCommand, StorageChoice};
use crate::model::ModelDirectory;
use crate::output;
use crate::synth::Plan;
use anyhow::Context as _;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let figures = match &args.bench {
        BenchCommand::Load(args) => load::run(args)?,
        BenchCommand::Select(args) => select::run(args)?,
        BenchCommand::Score(args) => score::run(args)?,
        BenchCommand::Train(args) => train::run(args)?,
        BenchCommand::Decode(args) if args.packed.is_some() => packed::run(args)?,
        BenchCommand::Decode(args) => decode::run(args)?,
    };
    output::json(&figures.to_json())
}

/// What a benchmark measured.
#[derive(Debug)]
struct Figures {
    bench: &'static str,
    /// What it was run with.
    parameters: Value,
    /// The thing itself.
    times: Times,
    /// What stands beside it, by name.
    others: Vec<(&'static str, Value)>,
}

impl Figures {
    fn to_json(&self) -> Value {
        let mut document = Map::new();
        document.insert("schema_version".to_owned(), 1.into());
        document.insert("bench".to_owned(), self.bench.into());
        document.insert("parameters".to_owned(), self.parameters.clone());
        if let Value::Object(times) = self.times.to_json() {
            document.extend(times);
        }
        document.extend(self.others.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        document.insert("machine".to_owned(), machine());
        document.insert("version".to_owned(), env!("CARGO_PKG_VERSION").into());
        Value::Object(document)
    }
}

/// Seconds of every repeat, and how much one repeat does.
#[derive(Debug, Clone, Default)]
struct Times {
    seconds: Vec<f64>,
    /// Bytes that one repeat goes through, where that is what limits it.
    bytes: Option<u64>,
}

impl Times {
    fn of_bytes(bytes: u64) -> Self {
        Self { seconds: Vec::new(), bytes: Some(bytes) }
    }

    /// Runs `work` and notes how long it took.
    fn measure<T>(&mut self, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let started = Instant::now();
        let result = work()?;
        self.seconds.push(started.elapsed().as_secs_f64());
        Ok(result)
    }

    fn median(&self) -> Option<f64> {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        let upper = sorted.get(sorted.len() / 2)?;
        let lower = sorted.get((sorted.len() - 1) / 2)?;
        Some(f64::midpoint(*lower, *upper))
    }

    fn min(&self) -> Option<f64> {
        self.seconds.iter().copied().min_by(f64::total_cmp)
    }

    /// How many of `amount` in a second, by the median.
    fn rate(&self, amount: u64) -> Option<f64> {
        self.median().filter(|&median| median > 0.0).map(|median| amount as f64 / median)
    }

    fn to_json(&self) -> Value {
        json!({
            "repeats": self.seconds,
            "median_s": self.median(),
            "min_s": self.min(),
            "bytes": self.bytes,
            "bytes_per_s": self.bytes.and_then(|bytes| self.rate(bytes)),
        })
    }
}

/// The machine, as far as it says; `null` where it doesn't.
fn machine() -> Value {
    let field = |file: &str, name: &str| {
        let text = std::fs::read_to_string(file).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let memory = field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map(|kib| kib * 1024);
    json!({
        "cpu": field("/proc/cpuinfo", "model name"),
        "architecture": std::env::consts::ARCH,
        "os": std::env::consts::OS,
        "threads": std::thread::available_parallelism().ok().map(std::num::NonZero::get),
        "memory_bytes": memory,
    })
}

/// Reads files from front to back in one thread and does nothing with them: the time that no program
/// that reads them once can be far below.
fn read_plainly(files: &[PathBuf]) -> anyhow::Result<()> {
    let mut buffer = vec![0; 4 << 20];
    for path in files {
        let mut read = || -> std::io::Result<()> {
            let mut file = File::open(path)?;
            while file.read(&mut buffer)? > 0 {}
            Ok(())
        };
        read().with_context(|| format!("{} can't be read", path.display()))?;
    }
    Ok(())
}

/// Asks the system to forget what it has of the files in memory, so that the next read is the disk's.
fn forget(files: &[PathBuf]) -> anyhow::Result<()> {
    #[cfg(target_os = "linux")]
    for path in files {
        let forget = || -> std::io::Result<()> {
            let file = File::open(path)?;
            // Only what is on the disk already can be dropped.
            file.sync_all()?;
            Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
        };
        forget().with_context(|| format!("{} can't be dropped from the page cache", path.display()))?;
    }
    #[cfg(not(target_os = "linux"))]
    if !files.is_empty() {
        return Err(crate::args::UsageError("--cold needs Linux".to_owned()).into());
    }
    Ok(())
}

/// Bytes of files.
fn len_bytes(files: &[PathBuf]) -> anyhow::Result<u64> {
    files
        .iter()
        .map(|path| Ok(std::fs::metadata(path).with_context(|| path.display().to_string())?.len()))
        .sum()
}

/// A model that is there, or one of random weights that is gone when this is dropped.
#[derive(Debug)]
struct BenchModel {
    model: ModelDirectory,
    _temporary: Option<tempfile::TempDir>,
}

impl BenchModel {
    fn open(model: Option<&Path>, config: Option<&Path>, dtype: StorageChoice) -> anyhow::Result<Self> {
        if let Some(model) = model {
            return Ok(Self { model: ModelDirectory::open(model)?, _temporary: None });
        }
        let config = config.context("clap asks for --model or --config")?;
        let plan = Plan::new(config, dtype, 0, u64::MAX)?;
        let temporary = temporary()?;
        plan.write(temporary.path())?;
        Ok(Self { model: ModelDirectory::open(temporary.path())?, _temporary: Some(temporary) })
    }
}

/// A directory that is gone when it is dropped.
fn temporary() -> anyhow::Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("codingspot-bench-").tempdir();
    folder.with_context(|| {
        format!(
            "{} can't hold a temporary directory; set TMPDIR to one that can",
            std::env::temp_dir().display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_no_repeat_has_none() {
        let of = |seconds: &[f64]| Times { seconds: seconds.to_vec(), bytes: Some(6) };
        assert_eq!(of(&[3.0, 1.0, 2.0]).median(), Some(2.0));
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]).median(), Some(2.5));
        assert_eq!(of(&[4.0, 1.0]).min(), Some(1.0));
        assert_eq!(of(&[2.0]).to_json()["bytes_per_s"], 3.0);
        assert_eq!(of(&[]).to_json()["median_s"], Value::Null);
    }
}
