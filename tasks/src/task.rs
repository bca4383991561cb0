//! The tasks: what they are called, how they are prompted, what they measure.

use crate::program::Language;
use std::fmt;

/// Version of lm-evaluation-harness whose texts, draws and metrics these are.
pub const HARNESS: &str = "EleutherAI/lm-evaluation-harness@4e7e0d47f33bc71070c1d38394bafbb52b117163";
/// Version of human-eval whose programs and estimate these are.
pub const HUMAN_EVAL: &str = "openai/human-eval@6d43fb980f9fee3c892a914eda09951f772ad10d";
/// Seed of the harness' draws of few-shot examples (`fewshot_random_seed`).
pub const FEWSHOT_SEED: u64 = 1234;

/// A benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Task {
    /// Python functions; the prompt as it is (`lm_eval/tasks/humaneval/humaneval.yaml`, and human-eval).
    HumanEval,
    /// The same, of a prompt without white space at its ends (bigcode-evaluation-harness `humaneval`).
    HumanEvalStripped,
    /// Word problems, with their solutions written out (`lm_eval/tasks/gsm8k/gsm8k.yaml`).
    Gsm8k,
    /// Endings of everyday scenes (`lm_eval/tasks/hellaswag/hellaswag.yaml`).
    HellaSwag,
    /// Exams in 57 subjects (`lm_eval/tasks/mmlu/default/`).
    Mmlu,
    /// Common misconceptions, one true answer (`lm_eval/tasks/truthfulqa/truthfulqa_mc1.yaml`).
    TruthfulQaMc1,
    /// Common misconceptions, several true answers (`lm_eval/tasks/truthfulqa/truthfulqa_mc2.yaml`).
    TruthfulQaMc2,
    /// Whom a pronoun means (`lm_eval/tasks/winogrande/default.yaml`).
    WinoGrande,
    /// `HumanEval` translated (nuprl/MultiPL-E).
    MultiPlE(Language),
}

/// What a task measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Name, as `acc`.
    pub name: &'static str,
    /// Which reading of the answer it is of; `none` where there is one.
    pub filter: &'static str,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// Whether one answer is right or wrong, so that the mean over documents with one answer each is a share.
    pub is_share: bool,
}

const fn share(name: &'static str, filter: &'static str) -> Metric {
    Metric { name, filter, higher_is_better: true, is_share: true }
}

const ACC: &[Metric] = &[share("acc", "none")];
// `acc_bytes` is a metric of the harness that its tasks don't ask for.
const HELLASWAG: &[Metric] = &[share("acc", "none"), share("acc_norm", "none"), share("acc_bytes", "none")];
const MC2: &[Metric] = &[Metric { name: "acc", filter: "none", higher_is_better: true, is_share: false }];
const GSM8K: &[Metric] = &[share("exact_match", "strict-match"), share("exact_match", "flexible-extract")];
const CODE: &[Metric] = &[share("pass@1", "create_test")];

/// Where few-shot examples come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FewShot {
    /// None, whatever is asked for: the task's own configuration says 0.
    Never,
    /// Drawn from the pool for every document, this many more than are shown: the harness draws one more
    /// where it can't rule out that the document itself is in the pool.
    Drawn {
        /// How many are shown where nothing is asked for.
        default: u32,
        /// How many more are drawn.
        spare: u32,
    },
    /// The first of the pool that are of the document's subject.
    First {
        /// How many are shown where nothing is asked for.
        default: u32,
    },
}

impl Task {
    /// All tasks.
    pub fn all() -> impl Iterator<Item = Self> {
        [
            Self::HumanEval,
            Self::HumanEvalStripped,
            Self::Gsm8k,
            Self::HellaSwag,
            Self::Mmlu,
            Self::TruthfulQaMc1,
            Self::TruthfulQaMc2,
            Self::WinoGrande,
        ]
        .into_iter()
        .chain(Language::ALL.into_iter().map(Self::MultiPlE))
    }

    /// Name in the harness; of MultiPL-E as in bigcode-evaluation-harness.
    pub fn name(self) -> &'static str {
        match self {
            Self::HumanEval => "humaneval",
            Self::HumanEvalStripped => "humaneval_stripped",
            Self::Gsm8k => "gsm8k",
            Self::HellaSwag => "hellaswag",
            Self::Mmlu => "mmlu",
            Self::TruthfulQaMc1 => "truthfulqa_mc1",
            Self::TruthfulQaMc2 => "truthfulqa_mc2",
            Self::WinoGrande => "winogrande",
            Self::MultiPlE(language) => language.task_name(),
        }
    }

    /// The task of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|task| task.name() == name)
    }

    /// Version of the task's configuration in the harness.
    pub fn version(self) -> f64 {
        match self {
            Self::Gsm8k | Self::TruthfulQaMc2 => 3.0,
            Self::TruthfulQaMc1 => 2.0,
            _ => 1.0,
        }
    }

    /// What it measures, the main one first but for `HellaSwag`, whose usual headline is `acc_norm`.
    pub fn metrics(self) -> &'static [Metric] {
        match self {
            Self::HumanEval | Self::HumanEvalStripped | Self::MultiPlE(_) => CODE,
            Self::Gsm8k => GSM8K,
            Self::HellaSwag => HELLASWAG,
            Self::TruthfulQaMc2 => MC2,
            Self::Mmlu | Self::TruthfulQaMc1 | Self::WinoGrande => ACC,
        }
    }

    /// Where few-shot examples come from, and how many there are.
    pub fn few_shot(self) -> FewShot {
        match self {
            Self::Gsm8k => FewShot::Drawn { default: 5, spare: 0 },
            // Neither names a split for examples or tests, so the harness takes the two for the same.
            Self::HellaSwag | Self::WinoGrande => FewShot::Drawn { default: 0, spare: 1 },
            Self::Mmlu => FewShot::First { default: 0 },
            _ => FewShot::Never,
        }
    }

    /// How many examples are shown where `asked` are asked for: the default of none, and 0 of a task that
    /// is never shown any.
    pub fn shots(self, asked: Option<u32>) -> u32 {
        match self.few_shot() {
            FewShot::Never => 0,
            FewShot::Drawn { default, .. } | FewShot::First { default } => asked.unwrap_or(default),
        }
    }

    /// Whether an answer is a program, which has to be run to be scored.
    pub fn is_code(self) -> bool {
        matches!(self, Self::HumanEval | Self::HumanEvalStripped | Self::MultiPlE(_))
    }

    /// The share of correct answers by guessing, where it is the same for all documents; `None` of
    /// `TruthfulQA`.
    pub fn chance(self) -> Option<f64> {
        match self {
            Self::HellaSwag | Self::Mmlu => Some(0.25),
            Self::WinoGrande => Some(0.5),
            Self::TruthfulQaMc1 | Self::TruthfulQaMc2 => None,
            Self::HumanEval | Self::HumanEvalStripped | Self::MultiPlE(_) | Self::Gsm8k => Some(0.0),
        }
    }

    /// Files of the full sets, without their endings: documents, and the pool of few-shot examples.
    pub fn files(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::HumanEval | Self::HumanEvalStripped => ("humaneval", None),
            Self::Gsm8k => ("gsm8k_test", Some("gsm8k_train")),
            Self::HellaSwag => ("hellaswag_val", Some("hellaswag_train")),
            Self::Mmlu => ("mmlu_test", Some("mmlu_dev")),
            Self::TruthfulQaMc1 | Self::TruthfulQaMc2 => ("truthfulqa_mc", None),
            Self::WinoGrande => ("winogrande_dev", Some("winogrande_train")),
            Self::MultiPlE(language) => (language.file(), None),
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The harness' four groups of MMLU's subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MmluGroup {
    /// Science, technology, engineering, mathematics.
    Stem,
    /// Medicine, business and what fits nowhere else.
    Other,
    /// Social sciences.
    SocialSciences,
    /// Humanities.
    Humanities,
}

impl MmluGroup {
    /// All, in the order of `_mmlu.yaml`.
    pub const ALL: [Self; 4] = [Self::Stem, Self::Other, Self::SocialSciences, Self::Humanities];

    /// Name in the harness.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stem => "mmlu_stem",
            Self::Other => "mmlu_other",
            Self::SocialSciences => "mmlu_social_sciences",
            Self::Humanities => "mmlu_humanities",
        }
    }

    /// The group of a subject.
    pub fn of(subject: &str) -> Option<Self> {
        MMLU_SUBJECTS.iter().find(|(name, _)| *name == subject).map(|(_, group)| *group)
    }
}

/// MMLU's subjects (`lm_eval/tasks/mmlu/default/mmlu_<subject>.yaml`), in alphabetical order.
pub const MMLU_SUBJECTS: [(&str, MmluGroup); 57] = [
    ("abstract_algebra", MmluGroup::Stem),
    ("anatomy", MmluGroup::Stem),
    ("astronomy", MmluGroup::Stem),
    ("business_ethics", MmluGroup::Other),
    ("clinical_knowledge", MmluGroup::Other),
    ("college_biology", MmluGroup::Stem),
    ("college_chemistry", MmluGroup::Stem),
    ("college_computer_science", MmluGroup::Stem),
    ("college_mathematics", MmluGroup::Stem),
    ("college_medicine", MmluGroup::Other),
    ("college_physics", MmluGroup::Stem),
    ("computer_security", MmluGroup::Stem),
    ("conceptual_physics", MmluGroup::Stem),
    ("econometrics", MmluGroup::SocialSciences),
    ("electrical_engineering", MmluGroup::Stem),
    ("elementary_mathematics", MmluGroup::Stem),
    ("formal_logic", MmluGroup::Humanities),
    ("global_facts", MmluGroup::Other),
    ("high_school_biology", MmluGroup::Stem),
    ("high_school_chemistry", MmluGroup::Stem),
    ("high_school_computer_science", MmluGroup::Stem),
    ("high_school_european_history", MmluGroup::Humanities),
    ("high_school_geography", MmluGroup::SocialSciences),
    ("high_school_government_and_politics", MmluGroup::SocialSciences),
    ("high_school_macroeconomics", MmluGroup::SocialSciences),
    ("high_school_mathematics", MmluGroup::Stem),
    ("high_school_microeconomics", MmluGroup::SocialSciences),
    ("high_school_physics", MmluGroup::Stem),
    ("high_school_psychology", MmluGroup::SocialSciences),
    ("high_school_statistics", MmluGroup::Stem),
    ("high_school_us_history", MmluGroup::Humanities),
    ("high_school_world_history", MmluGroup::Humanities),
    ("human_aging", MmluGroup::Other),
    ("human_sexuality", MmluGroup::SocialSciences),
    ("international_law", MmluGroup::Humanities),
    ("jurisprudence", MmluGroup::Humanities),
    ("logical_fallacies", MmluGroup::Humanities),
    ("machine_learning", MmluGroup::Stem),
    ("management", MmluGroup::Other),
    ("marketing", MmluGroup::Other),
    ("medical_genetics", MmluGroup::Other),
    ("miscellaneous", MmluGroup::Other),
    ("moral_disputes", MmluGroup::Humanities),
    ("moral_scenarios", MmluGroup::Humanities),
    ("nutrition", MmluGroup::Other),
    ("philosophy", MmluGroup::Humanities),
    ("prehistory", MmluGroup::Humanities),
    ("professional_accounting", MmluGroup::Other),
    ("professional_law", MmluGroup::Humanities),
    ("professional_medicine", MmluGroup::Other),
    ("professional_psychology", MmluGroup::SocialSciences),
    ("public_relations", MmluGroup::SocialSciences),
    ("security_studies", MmluGroup::SocialSciences),
    ("sociology", MmluGroup::SocialSciences),
    ("us_foreign_policy", MmluGroup::SocialSciences),
    ("virology", MmluGroup::Other),
    ("world_religions", MmluGroup::Humanities),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_read_back() {
        let names: HashSet<_> = Task::all().map(Task::name).collect();
        assert_eq!(names.len(), Task::all().count());
        for task in Task::all() {
            assert_eq!(Task::from_name(task.name()), Some(task));
        }
        assert_eq!(Task::from_name("mmlu_pro"), None);
    }

    #[test]
    fn tasks_configured_without_examples_are_never_shown_any() {
        assert_eq!(Task::Gsm8k.shots(None), 5);
        assert_eq!(Task::Gsm8k.shots(Some(0)), 0);
        assert_eq!(Task::Mmlu.shots(None), 0);
        assert_eq!(Task::Mmlu.shots(Some(5)), 5);
        for task in [Task::TruthfulQaMc1, Task::TruthfulQaMc2, Task::HumanEval] {
            assert_eq!(task.shots(Some(5)), 0);
        }
    }

    #[test]
    fn subjects_are_sorted_and_grouped() {
        assert!(MMLU_SUBJECTS.is_sorted());
        let sizes = MmluGroup::ALL.map(|group| MMLU_SUBJECTS.iter().filter(|(_, of)| *of == group).count());
        assert_eq!(sizes, [19, 13, 12, 13]);
        assert_eq!(MmluGroup::of("anatomy"), Some(MmluGroup::Stem));
        assert_eq!(MmluGroup::of("alchemy"), None);
    }
}
