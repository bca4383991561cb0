//! Hashes of full published sets, of what of them is used.

use crate::program::Language;
use crate::row::Part;
use crate::task::Task;

/// Task, set, SHA-256 of [`Dataset::sha256`](crate::document::Dataset::sha256), and where it is from.
pub(crate) static SETS: &[(Task, Part, &str, &str)] = &[
    (
        Task::HumanEval,
        Part::Documents,
        "db43bbfb9261b4eb7cf7e98a5ba8dd870c2a3e225d9cfe93d14514fb8dc24b9c",
        "humaneval: openai/human-eval@6d43fb980f9f",
    ),
    (
        Task::HumanEvalStripped,
        Part::Documents,
        "cde776d75d364d5f7046b6e06e7edf649ef35bbaddeee556276dba68ab5ddf79",
        "humaneval: openai/human-eval@6d43fb980f9f",
    ),
    (
        Task::Gsm8k,
        Part::Documents,
        "752adc99f23132275139f1f7be57126b08735a55daf0c56859ee6df70abafbac",
        "gsm8k_test: openai/grade-school-math@3101c7d50724",
    ),
    (
        Task::Gsm8k,
        Part::Pool,
        "6043ef64147b59871f4fd3adf669c306fe0a4c27e5a5c4bfb761f3f084895a13",
        "gsm8k_train: openai/grade-school-math@3101c7d50724",
    ),
    (
        Task::HellaSwag,
        Part::Documents,
        "e90c388386a52887582d0c8a64416f374c3deb5506bb5fab79c864ea0c8b7b1d",
        "hellaswag_val: rowanz/hellaswag by klosax/hellaswag_text_data@1105d370f834, rendered",
    ),
    (
        Task::Mmlu,
        Part::Documents,
        "1f4c293845cd02fcd8d44e31695b0bc7b9f9f3598620b04e4c5afd2153534248",
        "mmlu_test: hendrycks/test by HaeChan0305/MLILAB-FedLLM@d92730e8bacd",
    ),
    (
        Task::Mmlu,
        Part::Pool,
        "7a1572821ef409cf04afa94ac09924f0360ab813c7c55ac80e1a67222b2a67ba",
        "mmlu_dev: hendrycks/test by HaeChan0305/MLILAB-FedLLM@d92730e8bacd",
    ),
    (
        Task::TruthfulQaMc1,
        Part::Documents,
        "aeac6d874650b49ed0b3bafaa093e6dea24dfc2cb4578b15f4e6192d682ffefd",
        "truthfulqa_mc: koppula/TruthfulQA@4dee2311b23d",
    ),
    (
        Task::TruthfulQaMc2,
        Part::Documents,
        "bad4678129895994626462886642c418eca11bf9b8d39a6723af865d1b84c1a2",
        "truthfulqa_mc: koppula/TruthfulQA@4dee2311b23d",
    ),
    (
        Task::WinoGrande,
        Part::Documents,
        "3c1490770d4dcfa93cd5196abb967dbeabd98d09e8e6b88b5762e2bfe1b78240",
        "winogrande_dev: allenai/winogrande by AGI-Edgerunners/LLM-Adapters@816657208af4",
    ),
    (
        Task::MultiPlE(Language::Bash),
        Part::Documents,
        "67465a46f8c729defce72e550eaca4c3ae396ac7d9d3261724d5a90660a57057",
        "multilang/multipl_e_humaneval_bash: nuprl/MultiPL-E by deepseek-ai/DeepSeek-Coder@2f9fd85927c6",
    ),
    (
        Task::MultiPlE(Language::CSharp),
        Part::Documents,
        "d13cbef0e620773d8ac1ccd0da0559b78b2ebbe17b1a66d842e61b9e1f1bfad8",
        "multilang/multipl_e_humaneval_csharp: nuprl/MultiPL-E by deepseek-ai/DeepSeek-Coder@2f9fd85927c6",
    ),
    (
        Task::MultiPlE(Language::Cpp),
        Part::Documents,
        "56fb8989164799d57ca2fb75ca81e267392f6b85fe571a557a12d12ad5fac7fe",
        "multilang/multipl_e_humaneval_cpp: nuprl/MultiPL-E by deepseek-ai/DeepSeek-Coder@2f9fd85927c6",
    ),
    (
        Task::MultiPlE(Language::Go),
        Part::Documents,
        "450a63b1b91edf607b283a2c4722a131cc1a2b5690ec6ee1a414bff4807da4b5",
        "multilang/multipl_e_humaneval_go: nuprl/MultiPL-E by deepseek-ai/DeepSeek-Coder@2f9fd85927c6",
    ),
    (
        Task::MultiPlE(Language::Java),
        Part::Documents,
        "a84c0fdd79c0cdecec0efc248c9bf518a89a4b978815989e367ccd14b51a551f",
        "multilang/multipl_e_humaneval_java: nuprl/MultiPL-E by deepseek-ai/DeepSeek-Coder@2f9fd85927c6",
    ),
    (
        Task::MultiPlE(Language::JavaScript),
        Part::Documents,
        "d8686f64d1667fa30a6047fd3c6ec31ff4e50f027384356cbdec8227e2ea8538",
        "multilang/multipl_e_humaneval_javascript: nuprl/MultiPL-E by deepseek-ai/DeepSeek-Coder@2f9fd85927c6",
    ),
    (
        Task::MultiPlE(Language::Julia),
        Part::Documents,
        "d6866d322dc56ed95b3a70c109f48e87c57bdac2b69d26f7c3c78e1a52d980af",
        "multilang/multipl_e_humaneval_julia: nuprl/MultiPL-E by deepseek-ai/DeepSeek-Coder@2f9fd85927c6",
    ),
    (
        Task::MultiPlE(Language::Python),
        Part::Documents,
        "20c9327e251ee541988fd70b3828ddc685d638fcbc8742078d14ab6e4090511c",
        "multilang/multipl_e_humaneval_python: THUDM/CodeGeeX HumanEval-X by deepseek-ai/DeepSeek-Coder@2f9fd85927c6",
    ),
    (
        Task::MultiPlE(Language::Ruby),
        Part::Documents,
        "c1f285f2b3c7d2717a8e3b8b7d3f8ea86bd845188f35e71bf6aacb991e111e81",
        "multilang/multipl_e_humaneval_ruby: nuprl/MultiPL-E by deepseek-ai/DeepSeek-Coder@2f9fd85927c6",
    ),
    (
        Task::MultiPlE(Language::Rust),
        Part::Documents,
        "79edf690e7c949bcd563b4edfa92bfc9bf6596a136e1cb889e87c760c363e8da",
        "multilang/multipl_e_humaneval_rust: nuprl/MultiPL-E by deepseek-ai/DeepSeek-Coder@2f9fd85927c6",
    ),
    (
        Task::MultiPlE(Language::TypeScript),
        Part::Documents,
        "628da784425b73efa6136e73494ad897bd8fbd6167941fb1836f461fa6dd0977",
        "multilang/multipl_e_humaneval_typescript: nuprl/MultiPL-E by deepseek-ai/DeepSeek-Coder@2f9fd85927c6",
    ),
];
