//! What a study found: plain data, written as `study.json` and read by the report.

use crate::overlap::PairAt;
use crate::run::ModelRecord;
use codingspot_core::spot::{Lines, Scope};
use serde::{Deserialize, Serialize};

/// Version of the format of `study.json`.
pub(crate) const FORMAT: u32 = 1;

/// A value with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Estimate {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Estimate {
    /// Whether the interval lies above 0, below it (negative), or has it inside (0).
    pub(crate) fn sign(&self) -> i8 {
        if self.low > 0.0 {
            1
        } else if self.high < 0.0 {
            -1
        } else {
            0
        }
    }
}

/// All that a study found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Study {
    pub(crate) format: u32,
    pub(crate) model: ModelRecord,
    pub(crate) settings: StudySettings,
    /// Held-out texts, in order.
    pub(crate) subsets: Vec<SubsetFinding>,
    pub(crate) scopes: Vec<ScopeFindings>,
    /// What the model writes; `None` where that was not asked for or can't be.
    #[serde(default)]
    pub(crate) completions: Option<CompletionFindings>,
    /// Time of the last run of the command; a resumed study counts what it did itself.
    pub(crate) seconds: f64,
    pub(crate) versions: serde_json::Value,
}

/// What was asked for. A study goes on only under the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StudySettings {
    pub(crate) fingerprint: String,
    /// Languages whose spot it is.
    pub(crate) languages: Vec<String>,
    pub(crate) general: String,
    pub(crate) scopes: Vec<Scope>,
    /// Percent.
    pub(crate) max_k: f64,
    /// Percent, of single measurements.
    pub(crate) k: f64,
    /// Percent of the general ranking that code-minus-general leaves out.
    pub(crate) minus_k: f64,
    pub(crate) points: usize,
    pub(crate) random_draws: u64,
    pub(crate) shuffles: u64,
    pub(crate) batch_size: usize,
    pub(crate) seq_len: usize,
    pub(crate) limit: Option<usize>,
    pub(crate) resamples: usize,
    pub(crate) device: String,
    /// Of the texts that are scored and measured.
    pub(crate) texts: String,
    /// `None`: nothing is completed.
    #[serde(default)]
    pub(crate) completions: Option<CompletionSettings>,
}

/// How texts are completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CompletionSettings {
    /// Most prompts of a language.
    pub(crate) prompts: usize,
    /// Most new tokens.
    pub(crate) tokens: usize,
}

/// What part a language has in a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// The spot was selected by it.
    Scored,
    /// Only measured.
    Unscored,
    /// What code is set against.
    General,
}

/// Held-out texts of a language.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SubsetFinding {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) documents: usize,
    pub(crate) tokens: u64,
    /// Loss of the original, nats per token.
    pub(crate) loss: Option<Estimate>,
}

/// What was found with the parameters of one scope competing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ScopeFindings {
    pub(crate) scope: Scope,
    pub(crate) parameters: u64,
    /// Dose-response, an arm each; `random` is the mean of the draws.
    pub(crate) curves: Vec<CurveFinding>,
    /// The spot against each control.
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) knees: Vec<KneeFinding>,
    pub(crate) predictions: Vec<PredictionFinding>,
    /// By language, share of the parameters whose removal is predicted to lower the loss.
    pub(crate) lowering: Vec<(String, f64)>,
    pub(crate) location: Vec<LocationAt>,
    pub(crate) concentration: Vec<Concentration>,
    pub(crate) residual: Option<ResidualFinding>,
    pub(crate) mass: Vec<MassShare>,
    pub(crate) languages: LanguageFindings,
    pub(crate) without: Vec<WithoutFinding>,
    /// Languages that were measured and not scored, at the paper's k; empty in studies from before there were these.
    #[serde(default)]
    pub(crate) unscored: Vec<UnscoredFinding>,
    pub(crate) stability: Vec<Stability>,
    /// The spot and the general ranking, over k.
    pub(crate) general_overlap: Vec<PairAt>,
    pub(crate) matrix: MatrixFinding,
    pub(crate) replacements: Vec<ReplacementFinding>,
    pub(crate) restore: Vec<RestorePoint>,
}

/// What a language that was not scored loses with the scored ones, paired over documents. Nats per token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct UnscoredFinding {
    pub(crate) language: String,
    /// Percent of the scope.
    pub(crate) k: f64,
    pub(crate) count: u64,
    /// Rise of its loss without the spot.
    pub(crate) spot: Option<Estimate>,
    /// Rise without as many random parameters of the same tensors, mean of the draws.
    pub(crate) random: Option<Estimate>,
    /// Rise without the spot less that of the scored languages' mean.
    pub(crate) less_code: Option<Estimate>,
}

/// Loss against the number of parameters removed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CurveFinding {
    pub(crate) arm: String,
    pub(crate) points: Vec<CurvePoint>,
}

/// One dose.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CurvePoint {
    pub(crate) count: u64,
    /// Percent of the scope.
    pub(crate) k: f64,
    /// Rise of the mean loss of the scored languages, nats per token; `None` where the model gave no
    /// number.
    pub(crate) code: Option<Estimate>,
    /// Rise of the general language's loss.
    pub(crate) general: Option<Estimate>,
    /// The one less the other: what is lost of code beyond what is lost of language.
    pub(crate) gap: Option<Estimate>,
    /// Loss by subset, nats per token.
    pub(crate) losses: Vec<Option<f64>>,
    /// Parameters of it that are gains of norms.
    pub(crate) norms: u64,
}

/// What a verdict is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    /// Rise of the mean loss of code.
    Code,
    /// Rise of code less that of the general language.
    Gap,
}

/// The spot against one control at one k, paired over documents.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) k: f64,
    pub(crate) count: u64,
    pub(crate) control: String,
    pub(crate) measure: Measure,
    pub(crate) spot: Option<Estimate>,
    pub(crate) other: Option<Estimate>,
    /// The spot's less the control's.
    pub(crate) difference: Option<Estimate>,
}

/// A point of a curve that stands out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KneeFinding {
    /// `elbow`, `half`, `knee` or `gap`.
    pub(crate) kind: String,
    /// Parameters.
    pub(crate) count: Option<Estimate>,
    /// Percent of the scope.
    pub(crate) k: Option<Estimate>,
    /// Share of bootstrap draws in which there is one.
    pub(crate) found: f64,
}

/// First-order prediction beside measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PredictionFinding {
    pub(crate) arm: String,
    pub(crate) points: Vec<PredictionPoint>,
    /// The largest count up to which prediction and measurement differ by at most a fifth, wherever the
    /// measured change can be told from 0.
    pub(crate) holds_up_to: Option<f64>,
}

/// One dose, rises of the mean loss of the scored languages in nats per token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PredictionPoint {
    pub(crate) count: u64,
    pub(crate) predicted: f64,
    pub(crate) measured: Option<Estimate>,
    /// Sum of the scores of what is removed, over all scored languages; of the spot alone.
    pub(crate) scores: Option<f64>,
}

/// Where the spot lies at one k.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LocationAt {
    pub(crate) k: f64,
    pub(crate) count: u64,
    pub(crate) cells: Vec<LocationCell>,
}

/// One tensor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LocationCell {
    pub(crate) tensor: String,
    pub(crate) module: String,
    pub(crate) layer: Option<usize>,
    pub(crate) count: u64,
    pub(crate) numel: u64,
    pub(crate) expected: f64,
    /// Observed over expected.
    pub(crate) enrichment: Option<f64>,
}

/// How the parameters of one tensor bunch up in rows or columns.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Concentration {
    pub(crate) tensor: String,
    pub(crate) lines: Lines,
    pub(crate) count: u64,
    /// Morisita's index over its expectation by chance: 1 is chance.
    pub(crate) morisita: f64,
    /// Standard deviations from chance.
    pub(crate) z: Option<f64>,
    /// The fullest line.
    pub(crate) fullest: usize,
    pub(crate) fullest_count: u64,
    /// Parameters of a line.
    pub(crate) line_len: u64,
}

/// How the spot bunches up in dimensions of the residual stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ResidualFinding {
    pub(crate) morisita: f64,
    pub(crate) z: Option<f64>,
    pub(crate) parameters_per_dimension: u64,
    /// Dimension and parameters, the fullest first.
    pub(crate) fullest: Vec<(usize, u64)>,
    pub(crate) total: u64,
}

/// Share of the sum of all scores that the highest hold.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MassShare {
    pub(crate) top: u64,
    pub(crate) share: f64,
}

/// The languages' own spots beside each other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LanguageFindings {
    pub(crate) k: f64,
    pub(crate) names: Vec<String>,
    /// Jaccard index, by row and column.
    pub(crate) jaccard: Vec<Vec<f64>>,
    /// Expected of random sets of these sizes.
    pub(crate) chance: f64,
    /// Expected of random sets with these numbers in every tensor, mean over pairs of scored languages.
    pub(crate) chance_by_tensor: f64,
    /// Parameters in no other scored language's spot, by scored language.
    pub(crate) unique: Vec<(String, u64)>,
    /// Parameters in the spot of every scored language.
    pub(crate) shared_by_all: u64,
    /// Parameters of one language's spot.
    pub(crate) each: u64,
    /// By k: mean Jaccard index of pairs of scored languages, of scored languages with the general one,
    /// and by chance.
    pub(crate) over_k: Vec<LanguagesAt>,
}

/// Overlap of languages at one k.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LanguagesAt {
    pub(crate) k: f64,
    pub(crate) code_with_code: f64,
    pub(crate) code_with_general: f64,
    pub(crate) chance: f64,
    pub(crate) chance_by_tensor: f64,
}

/// The spot selected without one language, and what that does to the language.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WithoutFinding {
    pub(crate) language: String,
    /// With the whole spot.
    pub(crate) jaccard: f64,
    /// Rise of the language's loss without the whole spot.
    pub(crate) whole: Option<Estimate>,
    /// Rise of the language's loss without the spot of all others.
    pub(crate) without: Option<Estimate>,
    /// Rise of the language's loss without its own spot.
    pub(crate) own: Option<Estimate>,
}

/// Two scorings of the same languages on different documents.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Stability {
    /// What the two differ in.
    pub(crate) what: String,
    pub(crate) over_k: Vec<PairAt>,
    /// Spearman's ρ of all scores.
    pub(crate) spearman: Option<f64>,
}

/// Ablate the spot of one language, measure every other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MatrixFinding {
    pub(crate) k: f64,
    pub(crate) count: u64,
    /// Whose spot is ablated.
    pub(crate) rows: Vec<String>,
    /// What is measured.
    pub(crate) cols: Vec<String>,
    /// Rise of the loss, nats per token.
    pub(crate) rise: Vec<Vec<Option<f64>>>,
    /// Among scored languages: the mean rise of a language by its own spot less that by others' spots.
    pub(crate) own_less_others: Option<Estimate>,
}

/// Something else than zero in the place of the parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ReplacementFinding {
    pub(crate) replacement: String,
    /// `spot` or `random:SEED`.
    pub(crate) arm: String,
    pub(crate) k: f64,
    pub(crate) count: u64,
    pub(crate) code: Option<Estimate>,
    pub(crate) general: Option<Estimate>,
}

/// All ablated, the top given back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RestorePoint {
    /// Given back.
    pub(crate) restored: u64,
    /// Ablated before.
    pub(crate) of: u64,
    pub(crate) code: Option<Estimate>,
    pub(crate) general: Option<Estimate>,
}

/// What became of a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CompletionOutcome {
    /// It can still become a program; or is one, if the model ended it.
    Parses,
    /// It can't.
    SyntaxError,
    /// It has no letter and no digit.
    Blank,
}

/// What the model writes after the beginnings of held-out documents, the likeliest token each time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CompletionFindings {
    pub(crate) settings: CompletionSettings,
    pub(crate) languages: Vec<CompletionLanguage>,
    /// The original first.
    pub(crate) forms: Vec<FormFinding>,
    /// The first prompts of every language, in order.
    pub(crate) samples: Vec<CompletionSample>,
}

/// A language that is completed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CompletionLanguage {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Whether there is a grammar for it.
    pub(crate) parsed: bool,
    pub(crate) prompts: usize,
    /// Documents before the last prompt's that gave none.
    pub(crate) passed_over: usize,
}

/// What a form of the model writes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FormFinding {
    /// `None` of the original.
    pub(crate) scope: Option<Scope>,
    /// `original`, or whose parameters are removed.
    pub(crate) arm: String,
    /// Percent of the scope.
    pub(crate) k: f64,
    pub(crate) count: u64,
    /// Of all scored languages.
    pub(crate) code: Option<ShareFinding>,
    /// By language; `None` of one that is not parsed or has no prompts.
    pub(crate) languages: Vec<Option<ShareFinding>>,
}

/// Shares of completions, 0 to 1.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct ShareFinding {
    pub(crate) prompts: u64,
    /// Those that parse, with Wilson's interval.
    pub(crate) parsing: Estimate,
    /// Those without a letter or digit.
    pub(crate) blank: Estimate,
    /// Share that parses less the original's, paired over prompts, with Newcombe's interval; `None` of the original.
    pub(crate) difference: Option<Estimate>,
}

/// A prompt and what follows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CompletionSample {
    pub(crate) language: String,
    /// Number of the document in its corpus, from 0.
    pub(crate) document: usize,
    pub(crate) prompt: String,
    /// The original's, then those without the spot, a scope each, at the k of single measurements.
    pub(crate) texts: Vec<SampleText>,
}

/// What one form wrote.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SampleText {
    pub(crate) scope: Option<Scope>,
    pub(crate) arm: String,
    pub(crate) completion: String,
    pub(crate) finished: bool,
    pub(crate) outcome: Option<CompletionOutcome>,
}
