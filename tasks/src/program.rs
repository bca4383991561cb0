//! Programs that decide whether an answer is right, and how they are run. This crate runs none.

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

/// One command, which runs in a directory that holds nothing but the program. In `arguments`, `{dir}` stands
/// for that directory, `{source}` for the program's file and `{javatuples}` for the jar of javatuples 1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The command and its arguments. Never for a shell.
    pub arguments: &'static [&'static str],
    /// Variables to set.
    pub environment: &'static [(&'static str, &'static str)],
    /// Seconds after which it has failed.
    pub timeout_s: u32,
}

impl Step {
    /// The arguments, with what the placeholders stand for.
    pub fn resolve(&self, dir: &str, file_name: &str, javatuples: &str) -> Vec<String> {
        let source = format!("{dir}/{file_name}");
        let fill = |argument: &&str| match *argument {
            "{source}" => source.clone(),
            other => other.replace("{javatuples}", javatuples).replace("{dir}", dir),
        };
        self.arguments.iter().map(fill).collect()
    }
}

/// How programs of a language are run: its steps one after the other, until one fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Toolchain {
    /// Name of the program's file.
    pub file_name: &'static str,
    /// What is run; the answer is right where every one exits with 0 in time.
    pub steps: &'static [Step],
    /// What on standard error means failure whatever the exit status.
    pub failure_marks: &'static [&'static str],
}

const fn step(arguments: &'static [&'static str], timeout_s: u32) -> Step {
    Step { arguments, environment: &[], timeout_s }
}

const fn toolchain(file_name: &'static str, steps: &'static [Step]) -> Toolchain {
    Toolchain { file_name, steps, failure_marks: &[] }
}

// nuprl/MultiPL-E evaluation/src/eval_<language>.py and safe_subprocess (15 s where nothing else is said).
static BASH: Toolchain = toolchain("problem.sh", &[step(&["bash", "{source}"], 15)]);
static CSHARP: Toolchain = Toolchain {
    file_name: "problem.cs",
    steps: &[
        step(&["csc", "/d:DEBUG", "-r:System.Numerics.dll", "{source}", "/out:{dir}/problem.exe"], 15),
        Step {
            arguments: &["mono", "{dir}/problem.exe"],
            environment: &[("MONO_TRACE_LISTENER", "Console.Error")],
            timeout_s: 5,
        },
    ],
    // A failed assertion ends mono with 0.
    failure_marks: &["System.Diagnostics.DefaultTraceListener.Fail", "Unhandled Exception"],
};
static CPP: Toolchain = toolchain(
    "problem.cpp",
    &[step(&["g++", "{source}", "-o", "{dir}/problem", "-std=c++17"], 15), step(&["{dir}/problem"], 15)],
);
static GO: Toolchain = toolchain("problem_test.go", &[step(&["go", "test", "{source}"], 30)]);
static JAVA: Toolchain = Toolchain {
    file_name: "Problem.java",
    steps: &[
        Step {
            arguments: &["javac", "-encoding", "UTF8", "-cp", "{javatuples}", "-d", "{dir}", "{source}"],
            environment: &[],
            timeout_s: 15,
        },
        step(&["java", "-ea", "-cp", "{dir}:{javatuples}", "Problem"], 15),
    ],
    failure_marks: &[],
};
static JAVASCRIPT: Toolchain = toolchain("problem.js", &[step(&["node", "{source}"], 15)]);
static JULIA: Toolchain = toolchain("problem.jl", &[step(&["julia", "{source}"], 5)]);
static PYTHON: Toolchain = toolchain("problem.py", &[step(&["python3", "{source}"], 3)]);
static RUBY: Toolchain = toolchain("problem.rb", &[step(&["ruby", "{source}"], 15)]);
static RUST: Toolchain = toolchain(
    "problem.rs",
    &[step(&["rustc", "{source}", "-o", "{dir}/problem"], 15), step(&["{dir}/problem"], 5)],
);
static TYPESCRIPT: Toolchain = toolchain(
    "problem.ts",
    &[step(&["tsc", "--target", "esnext", "{source}"], 15), step(&["node", "{dir}/problem.js"], 15)],
);

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

    /// How its programs are run.
    pub fn toolchain(self) -> &'static Toolchain {
        match self {
            Self::Bash => &BASH,
            Self::CSharp => &CSHARP,
            Self::Cpp => &CPP,
            Self::Go => &GO,
            Self::Java => &JAVA,
            Self::JavaScript => &JAVASCRIPT,
            Self::Julia => &JULIA,
            Self::Python => &PYTHON,
            Self::Ruby => &RUBY,
            Self::Rust => &RUST,
            Self::TypeScript => &TYPESCRIPT,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled() {
        let java = Language::Java.toolchain();
        assert_eq!(
            java.steps[1].resolve("/tmp/a", java.file_name, "/lib/j.jar"),
            ["java", "-ea", "-cp", "/tmp/a:/lib/j.jar", "Problem"]
        );
        for language in Language::ALL {
            let toolchain = language.toolchain();
            for step in toolchain.steps {
                let arguments = step.resolve("DIR", toolchain.file_name, "JAR");
                assert!(arguments.iter().all(|argument| !argument.contains('{')), "{arguments:?}");
            }
        }
    }
}
