//! The languages, their grammars, and what ends their strings and comments.

/// A language that completions are judged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Language {
    /// Bash.
    Bash,
    /// C++.
    Cpp,
    /// C#.
    CSharp,
    /// Go.
    Go,
    /// Java.
    Java,
    /// JavaScript, with JSX.
    JavaScript,
    /// Julia.
    Julia,
    /// Python 3.
    Python,
    /// Ruby.
    Ruby,
    /// Rust.
    Rust,
    /// TypeScript, without JSX.
    TypeScript,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Bash,
        Self::Cpp,
        Self::CSharp,
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
            Self::Cpp => "cpp",
            Self::CSharp => "csharp",
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

    /// The language of that name; `None` where there is no grammar for it, as for English.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.name() == name)
    }

    /// Its grammar.
    pub(crate) fn grammar(self) -> tree_sitter::Language {
        match self {
            Self::Bash => tree_sitter_bash::LANGUAGE,
            Self::Cpp => tree_sitter_cpp::LANGUAGE,
            Self::CSharp => tree_sitter_c_sharp::LANGUAGE,
            Self::Go => tree_sitter_go::LANGUAGE,
            Self::Java => tree_sitter_java::LANGUAGE,
            Self::JavaScript => tree_sitter_javascript::LANGUAGE,
            Self::Julia => tree_sitter_julia::LANGUAGE,
            Self::Python => tree_sitter_python::LANGUAGE,
            Self::Ruby => tree_sitter_ruby::LANGUAGE,
            Self::Rust => tree_sitter_rust::LANGUAGE,
            Self::TypeScript => tree_sitter_typescript::LANGUAGE_TYPESCRIPT,
        }
        .into()
    }

    /// What can end a string, a comment or another token that the end of a text has cut.
    pub(crate) fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Bash => &["\"", "'", "`", ")", "}"],
            Self::Cpp => &["*/", "\"", "'", ">"],
            Self::Go | Self::Java => &["*/", "\"", "'", "`"],
            Self::CSharp => &["*/", "\"", "'", "\"\"\""],
            Self::JavaScript | Self::TypeScript => &["*/", "\"", "'", "`", "/", "]/"],
            Self::Julia => &["=#", "\"", "'", "`", "\"\"\""],
            Self::Python => &["\"", "'", "\"\"\"", "'''", "}"],
            Self::Ruby => &["\n=end\n", "\"", "'", "`", "/", "]/", ")", "}", "A\nA\n"],
            Self::Rust => &["*/", "\"", "'", "\"#"],
        }
    }

    /// What ends the here document that began last, if `text` has one.
    pub(crate) fn here_document_ending(self, text: &str) -> Option<String> {
        if self != Self::Bash {
            return None;
        }
        let (_, after) = text.rsplit_once("<<")?;
        let name = after.trim_start_matches(['-', ' ', '"', '\'', '\\']);
        let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
        (end > 0).then(|| format!("\n{}\n", &name[..end]))
    }
}
