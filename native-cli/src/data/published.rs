//! Where the benchmarks' sets are on the Hugging Face hub.

use anyhow::Context as _;
use codingspot_tasks::program::Language;
use codingspot_tasks::row::Part;
use codingspot_tasks::task::Task;

/// The branch on which the hub keeps every set as Parquet, whatever its own files are.
pub(crate) const CONVERTED: &str = "refs/convert/parquet";

/// A split of a set on the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Split {
    /// Repository.
    pub(crate) repo: &'static str,
    /// Name of the configuration, and its folder on the branch [`CONVERTED`].
    pub(crate) config: &'static str,
    /// Its folder on the main branch.
    folder: &'static str,
    /// Name of the split.
    pub(crate) name: &'static str,
}

const fn named(repo: &'static str, config: &'static str, name: &'static str) -> Split {
    Split { repo, config, folder: config, name }
}

/// Where documents or few-shot pool of a task are; `None` where the hub has none, or the task needs none.
pub(crate) fn split(task: Task, part: Part) -> Option<Split> {
    const HELLASWAG: Split =
        Split { repo: "Rowan/hellaswag", config: "default", folder: "data", name: "validation" };
    const WINOGRANDE: Split = named("allenai/winogrande", "winogrande_xl", "validation");
    match (task, part) {
        (Task::HumanEval | Task::HumanEvalStripped, Part::Documents) => {
            Some(named("openai/openai_humaneval", "openai_humaneval", "test"))
        }
        (Task::Gsm8k, Part::Documents) => Some(named("openai/gsm8k", "main", "test")),
        (Task::Gsm8k, Part::Pool) => Some(named("openai/gsm8k", "main", "train")),
        (Task::HellaSwag, Part::Documents) => Some(HELLASWAG),
        (Task::HellaSwag, Part::Pool) => Some(Split { name: "train", ..HELLASWAG }),
        (Task::Mmlu, Part::Documents) => Some(named("cais/mmlu", "all", "test")),
        (Task::Mmlu, Part::Pool) => Some(named("cais/mmlu", "all", "dev")),
        (Task::TruthfulQaMc1 | Task::TruthfulQaMc2, Part::Documents) => {
            Some(named("truthfulqa/truthful_qa", "multiple_choice", "validation"))
        }
        (Task::WinoGrande, Part::Documents) => Some(WINOGRANDE),
        (Task::WinoGrande, Part::Pool) => Some(Split { name: "train", ..WINOGRANDE }),
        (Task::MultiPlE(language), Part::Documents) => {
            multipl_e(language).map(|config| named("nuprl/MultiPL-E", config, "test"))
        }
        (
            Task::HumanEval
            | Task::HumanEvalStripped
            | Task::TruthfulQaMc1
            | Task::TruthfulQaMc2
            | Task::MultiPlE(_),
            Part::Pool,
        ) => None,
    }
}

/// The configuration of a language; Python's is what all were translated from, and not among them.
fn multipl_e(language: Language) -> Option<&'static str> {
    match language {
        Language::Bash => Some("humaneval-sh"),
        Language::CSharp => Some("humaneval-cs"),
        Language::Cpp => Some("humaneval-cpp"),
        Language::Go => Some("humaneval-go"),
        Language::Java => Some("humaneval-java"),
        Language::JavaScript => Some("humaneval-js"),
        Language::Julia => Some("humaneval-jl"),
        Language::Python => None,
        Language::Ruby => Some("humaneval-rb"),
        Language::Rust => Some("humaneval-rs"),
        Language::TypeScript => Some("humaneval-ts"),
    }
}

/// Whether a task's pool is fetched with its documents: it is small, or needed where nothing is asked for.
pub(crate) fn is_always_fetched(task: Task) -> bool {
    matches!(task, Task::Gsm8k | Task::Mmlu)
}

impl Split {
    /// Its files among `names`, which are sorted, in their order; none where there are none.
    ///
    /// # Errors
    /// The names say that there should be more.
    pub(crate) fn files(&self, names: &[&str], converted: bool) -> anyhow::Result<Vec<String>> {
        let prefix = if converted {
            format!("{}/{}/", self.config, self.name)
        } else {
            format!("{}/{}-", self.folder, self.name)
        };
        let files: Vec<(&str, &str)> = names
            .iter()
            .filter_map(|name| Some((*name, name.strip_prefix(&*prefix)?.strip_suffix(".parquet")?)))
            .filter(|(_, part)| !part.contains('/'))
            .collect();
        for (index, (name, part)) in files.iter().enumerate() {
            // 0000.parquet, or SPLIT-00000-of-00002.parquet, with a hash behind that in old sets.
            let number = part.split('-').next().and_then(|number| number.parse().ok());
            let count = part.split_once("-of-").and_then(|(_, count)| count.split('-').next()?.parse().ok());
            anyhow::ensure!(
                number.is_none_or(|number: usize| number == index)
                    && count.is_none_or(|count: usize| count == files.len()),
                "{name} is one of {} files that are there of its split; expected them to be numbered from 0 on, and to be \
                 as many as their names say",
                files.len()
            );
        }
        Ok(files.into_iter().map(|(name, _)| name.to_owned()).collect())
    }

    /// What is said where neither branch has files.
    pub(crate) fn missing(&self) -> String {
        format!(
            "{} has no Parquet files of the configuration {} and split {}; expected {}/{}-*.parquet, or {}/{}/*.parquet at \
             {CONVERTED}",
            self.repo, self.config, self.name, self.folder, self.name, self.config, self.name
        )
    }
}

/// The tasks whose documents the hub has.
pub(crate) fn tasks() -> impl Iterator<Item = Task> {
    Task::all().filter(|task| split(*task, Part::Documents).is_some())
}

/// The split of a part that is asked for.
///
/// # Errors
/// The hub has no such set.
pub(crate) fn documents(task: Task) -> anyhow::Result<Split> {
    split(task, Part::Documents).with_context(|| {
        format!("the hub has no set for {task}: others were translated from Python's, which is humaneval; fetch that")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_but_one_has_a_set_and_every_pool_too() {
        let without: Vec<Task> = Task::all().filter(|task| split(*task, Part::Documents).is_none()).collect();
        assert_eq!(without, [Task::MultiPlE(Language::Python)]);
        assert_eq!(tasks().count() + 1, Task::all().count());
        for task in Task::all() {
            assert_eq!(split(task, Part::Pool).is_some(), task.files().1.is_some(), "{task}");
        }
    }

    #[test]
    fn files_of_a_split_are_found_in_order() {
        let split = split(Task::HellaSwag, Part::Documents).unwrap();
        let names = [
            "README.md",
            "data/test-00000-of-00001.parquet",
            "data/train-00000-of-00002.parquet",
            "data/train-00001-of-00002.parquet",
            "data/validation-00000-of-00001-af0f10a1c83a1f93.parquet",
            "default/validation/0000.parquet",
            "default/validation/0001.parquet",
            "other/validation-00000-of-00001.parquet",
        ];
        assert_eq!(split.files(&names, false).unwrap(), [names[4]]);
        assert_eq!(split.files(&names, true).unwrap(), [names[5], names[6]]);
        let train = Split { name: "train", ..split };
        assert_eq!(train.files(&names, false).unwrap(), [names[2], names[3]]);
        assert!(train.files(&names, true).unwrap().is_empty());
        // One of two is missing, or the first of two.
        assert!(train.files(&names[..3], false).is_err());
        assert!(split.files(&names[6..7], true).is_err());
        assert!(train.missing().contains("data/train-*.parquet"));
    }
}
