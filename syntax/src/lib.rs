//! Whether what a model wrote after a prompt can still become a program of its language.
//!
//! A completion ends where its tokens run out, in the middle of a function as a rule, so that it is hardly ever a program by
//! itself. [`check`] asks whether it is the beginning of one: it *parses* if some continuation makes prompt and
//! completion a program by tree-sitter's grammar of the language. Nothing is closed or mended for that, in no
//! language: the parser says at which token no reading of the text is left, and a text is the beginning of a program
//! as long as it meets none. In detail:
//!
//! - The word at which a completion was cut is not judged: a token that reaches to the end may be half of another one.
//! - A string, comment or other token that the end has cut counts as one that might still end: some of the grammars
//!   know no halves of tokens, so that is tried with what can end them ([`Language`]).
//! - A completion that the model ended itself has to make a whole program.
//! - A completion without a letter or digit is [`Outcome::Blank`], whatever its punctuation.
//! - One that takes the parser more steps than any program does is no program.
//! - The prompt has to be the beginning of a program too ([`CheckError::Prompt`]): grammars don't know every macro, and
//!   what follows a token that they don't know can't be judged.
//!
//! What the figure can't say: a text is not good because it parses, and in a string or comment that does not end anything
//! parses ([`inside_text`] tells of a prompt that ends in one). How much noise parses depends on the language. To Bash
//! nearly any words are a command, so that English parses, and in Ruby words are calls of each other, which English
//! is at times.
//!
//! No input makes it panic. What it takes is bounded: texts are read up to [`MAX_BYTES`], parses are given up after a number
//! of steps, which is the same on every machine, and nothing recurses.

mod language;
mod limits;
mod parse;

pub use language::Language;
pub use limits::MAX_BYTES;

use std::borrow::Cow;

/// What a completion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The beginning of a program, after its prompt; or a whole one, if the model ended it.
    Parses,
    /// Not that.
    SyntaxError {
        /// Bytes of the completion before the first token that can't stand where it does.
        byte: usize,
    },
    /// Nothing, or punctuation and white space alone.
    Blank,
}

/// Why a completion can't be judged.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The prompt is not the beginning of a program to the grammar.
    #[error("the {} grammar can't read the prompt beyond byte {byte}: take another one", language.name())]
    Prompt {
        /// The language.
        language: Language,
        /// Where the first token is that it can't read.
        byte: usize,
    },
    /// The prompt is longer than what is read.
    #[error("a prompt of {bytes} bytes can't be checked: only {limit} bytes of a text are read; cut it")]
    TooLong {
        /// Length of the prompt, bytes.
        bytes: usize,
        /// What is read at most of this text.
        limit: usize,
    },
    /// The prompt took the parser too many steps.
    #[error("a prompt of {bytes} bytes took the {} grammar more steps than any program does: take another one", language.name())]
    Effort {
        /// The language.
        language: Language,
        /// Length of the text, bytes.
        bytes: usize,
    },
    /// A grammar was made for another tree-sitter.
    #[error("tree-sitter can't load the grammar of {}", language.name())]
    Grammar {
        /// The language.
        language: Language,
        /// What tree-sitter says.
        #[source]
        source: tree_sitter::LanguageError,
    },
}

/// Judges `completion`, which follows `prompt`; `finished` says that the model ended it, and not a limit. Of a text that is
/// longer than [`MAX_BYTES`] the beginning is judged, as one that was cut there.
///
/// # Errors
/// [`CheckError`].
pub fn check(
    language: Language,
    prompt: &str,
    completion: &str,
    finished: bool,
) -> Result<Outcome, CheckError> {
    if !completion.chars().any(char::is_alphanumeric) {
        return Ok(Outcome::Blank);
    }
    check_prompt(language, prompt)?;
    let text = [prompt, completion].concat();
    let readable = limits::readable(language, &text);
    let finished = finished && readable == text.len();
    Ok(match first_fault(language, &text[..readable], finished) {
        Ok(None) => Outcome::Parses,
        Ok(Some(byte)) => {
            Outcome::SyntaxError { byte: byte.saturating_sub(prompt.len()).min(completion.len()) }
        }
        Err(CheckError::Effort { .. }) => Outcome::SyntaxError { byte: 0 },
        Err(error) => return Err(error),
    })
}

/// Whether `prompt` is the beginning of a program, so that completions of it can be judged.
///
/// # Errors
/// [`CheckError`]: `Prompt` if it is none.
pub fn check_prompt(language: Language, prompt: &str) -> Result<(), CheckError> {
    let limit = limits::readable(language, prompt);
    if limit < prompt.len() {
        return Err(CheckError::TooLong { bytes: prompt.len(), limit });
    }
    first_fault(language, prompt, false)?.map_or(Ok(()), |byte| Err(CheckError::Prompt { language, byte }))
}

/// Texts of which each language refuses one after any prompt, if it reads them as code.
const NO_CODE: [&str; 3] = ["(] ( ] x x x ", "{) ;;; ) x x x ", "&& || && || [)) x "];

/// Whether a prompt ends inside a string, a comment or a here document, so that anything that follows parses.
///
/// # Errors
/// [`CheckError`]: `Prompt` if it is not the beginning of a program.
pub fn inside_text(language: Language, prompt: &str) -> Result<bool, CheckError> {
    check_prompt(language, prompt)?;
    for noise in NO_CODE {
        // The last token is not judged, so there has to be more than one.
        let text = [prompt, noise].concat();
        if first_fault(language, &text[..limits::readable(language, &text)], false)?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Byte of the first token that no program has after what stands before it.
fn first_fault(language: Language, text: &str, finished: bool) -> Result<Option<usize>, CheckError> {
    // Some grammars end a last line by its line break alone.
    let read = if finished { Cow::Owned([text, "\n"].concat()) } else { Cow::Borrowed(text) };
    let Some(fault) = parse::first_fault(language, &read)? else { return Ok(None) };
    if finished {
        return Ok(Some(fault.start));
    }
    // What is missing is the rest, or the last token may be half of another one.
    if fault.start >= text.trim_end().len() || fault.end >= text.len() {
        return Ok(None);
    }
    let here_document = language.here_document_ending(text);
    for ending in language.endings().iter().copied().chain(here_document.as_deref()) {
        let ended = parse::first_fault(language, &[text, ending].concat())?;
        if ended.is_none_or(|fault| fault.start >= text.len()) {
            return Ok(None);
        }
    }
    Ok(Some(fault.start))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A prompt; completions that go on with it, the last of which ends the program; completions that can't.
    struct Case {
        language: Language,
        prompt: &'static str,
        right: &'static [&'static str],
        wrong: &'static [&'static str],
    }

    const ENGLISH: &str = "He had never seen the sea before, and so he stood there for a long time. \"It moves,\" said \
                           the boy (who was afraid of it).\nNobody answered him.\n";

    const CASES: [Case; 11] = [
        Case {
            language: Language::Bash,
            prompt: "#!/bin/bash\nset -e\nfor file in *.txt; do\n",
            right: &[
                "  if [[ -f \"$file\" ]]; th",
                "  case $file in\n    a*) echo \"it is ${file%%.*",
                "  cat <<EOF\nHello (] $file",
                "  n=$((n + 1))\n  echo \"$n\"\ndone\n",
            ],
            wrong: &["  echo a ) b\n", "  if ; then fi\n", "done done\necho )\n", "  case x esac in )\n x\n"],
        },
        Case {
            language: Language::Cpp,
            prompt: "#include <vector>\n\nint sum(const std::vector<int>& xs) {\n",
            right: &[
                "  int total = 0;\n  for (const auto& x : xs) { total +",
                "  /* what is left of a com",
                "#define N 1",
                "#include <ve",
                "  return std::string(\"a",
                "  return xs.empty() ? 0 : xs[0];\n}\n",
            ],
            wrong: &["  int = 3 4;\n", "  for (;;;;) { return; }\n", "  return ];\n", "  x + * / y;\n"],
        },
        Case {
            language: Language::CSharp,
            prompt: "using System;\n\nclass Program\n{\n    static int Sum(int[] xs)\n    {\n",
            right: &[
                "        var total = 0;\n        foreach (var x in xs) to",
                "        var s = $\"{xs.Length} of {",
                "        // not yet",
                "        var s = @\"C:\\dir",
                "        return xs[0];\n    }\n}\n",
            ],
            wrong: &[
                "        int = 3 4;\n",
                "        foreach (x xs in) {}\n",
                "        return );\n",
                "   x y z w;\n",
            ],
        },
        Case {
            language: Language::Go,
            prompt: "package main\n\nimport \"fmt\"\n\nfunc sum(xs []int) int {\n",
            right: &[
                "\ttotal := 0\n\tfor _, x := range xs {\n\t\ttotal += x\n\t}\n\tif total ",
                "\tfmt.Println(`raw",
                "\tr := 'a",
                "\t/* sum",
                "\treturn len(xs)\n}\n",
            ],
            wrong: &[
                "\ttotal = := 0\n",
                "\tfor x in xs { }\n",
                "\treturn ))\n\treturn\n",
                "\tif total { else }\n\tx\n",
            ],
        },
        Case {
            language: Language::Java,
            prompt: "import java.util.List;\n\npublic class Main {\n    static int sum(List<Integer> xs) {\n",
            right: &[
                "        int total = 0;\n        for (int x : xs) {\n            total += x",
                "        char c = 'a",
                "        /* the rest",
                "        String s = \"\"\"\n            text",
                "        return xs.size();\n    }\n}\n",
            ],
            wrong: &[
                "        int = 3 4;\n",
                "        for (int x in xs) {}\n",
                "        return );\n",
                "   x y z;\n",
            ],
        },
        Case {
            language: Language::JavaScript,
            prompt: "function sum(xs) {\n",
            right: &[
                "  let total = 0;\n  for (const x of xs) {\n    total += x",
                "  return `${xs.length} o",
                "  return xs.match(/[a-z",
                "  const f = async ({ a, b }) => a ?? b",
                "  return xs.reduce((a, b) => a + b, 0);\n}\n",
            ],
            wrong: &[
                "  let = = 0;\n",
                "  for (x of of) { ]\n  }\n",
                "  return );\n  x\n",
                "  const a b c;\n",
            ],
        },
        Case {
            language: Language::Julia,
            prompt: "module Sums\n\nfunction total(xs)\n",
            right: &[
                "    s = 0\n    for x in xs\n        s += x\n    e",
                "    println(\"$(length(xs)) o",
                "    #= what is left",
                "    y = [x^2 for x in xs if ",
                "    return sum(xs)\nend\n\nend\n",
            ],
            wrong: &[
                "    s = = 0\n",
                "    for in x xs\n    end end\n",
                "    return )\n    x\n",
                "    s t u v\n",
            ],
        },
        Case {
            language: Language::Python,
            prompt: "import os\n\n\ndef total(xs):\n",
            right: &[
                "    return {\n        'a': [x for x in xs",
                "    s = 0\n    for x in xs:\n",
                "    \"\"\"The sum of xs, or what (] is left",
                "    return f\"{xs[0]",
                "    return sum(xs)\n",
            ],
            wrong: &[
                "    s = = 0\n",
                "    for x xs in:\n        pass\n",
                "    return )\n    x\n",
                "    if x\n        y\n",
            ],
        },
        Case {
            language: Language::Ruby,
            prompt: "module Sums\n  def self.total(xs)\n",
            right: &[
                "    s = 0\n    xs.each do |x|\n      s += x\n    e",
                "    puts \"#{xs.length} o",
                "    text = <<~EOS\n      any (] text",
                "    x =~ %r{bin/",
                "    xs.sum\n  end\nend\n",
            ],
            wrong: &[
                "    s = = 0\n",
                "    xs.each do |x y| end\n",
                "    return ]\n    x\n",
                "    if then else\n  ) end\n",
            ],
        },
        Case {
            language: Language::Rust,
            prompt: "use std::fmt;\n\nfn total(xs: &[i32]) -> i32 {\n",
            right: &[
                "    let mut s = 0;\n    for x in xs {\n        s +",
                "    println!(\"{} o",
                "    let c = 'a",
                "    /* what /* is */ left",
                "    xs.iter().sum()\n}\n",
            ],
            wrong: &["    let s = = 0;\n", "    for x xs in { }\n", "    return ];\n", "    s t u v;\n"],
        },
        Case {
            language: Language::TypeScript,
            prompt: "export function total(xs: number[]): number {\n",
            right: &[
                "  let s: number = 0;\n  for (const x of xs) {\n    s +=",
                "  return `${xs.length} o",
                "  type Named<T extends { name: str",
                "  const f = (x: string | null): x is string => x !== nu",
                "  return xs.length;\n}\n",
            ],
            wrong: &[
                "  let s: = 0;\n",
                "  for (x of of) { ]\n  }\n",
                "  return );\n  x\n",
                "  const a b c;\n",
            ],
        },
    ];

    fn outcome(case: &Case, completion: &str, finished: bool) -> Outcome {
        check(case.language, case.prompt, completion, finished).unwrap()
    }

    #[test]
    fn beginnings_of_programs_parse() {
        for case in &CASES {
            let name = case.language.name();
            for right in case.right {
                assert_eq!(outcome(case, right, false), Outcome::Parses, "{name}: {right}");
                // Wherever it is cut.
                for (end, _) in
                    right.char_indices().filter(|(end, _)| right[..*end].contains(char::is_alphanumeric))
                {
                    let cut = &right[..end];
                    assert_eq!(outcome(case, cut, false), Outcome::Parses, "{name}: {cut}");
                }
            }
        }
    }

    #[test]
    fn what_the_model_ended_has_to_be_whole() {
        for case in &CASES {
            let name = case.language.name();
            let (whole, parts) = case.right.split_last().unwrap();
            assert_eq!(outcome(case, whole, true), Outcome::Parses, "{name}: {whole}");
            assert_eq!(outcome(case, whole.trim_end(), true), Outcome::Parses, "{name}: {whole}");
            let part = parts.first().unwrap();
            assert!(matches!(outcome(case, part, true), Outcome::SyntaxError { .. }), "{name}: {part}");
        }
    }

    #[test]
    fn wrong_tokens_are_found_where_they_are() {
        for case in &CASES {
            let name = case.language.name();
            for wrong in case.wrong {
                let found = outcome(case, wrong, false);
                let Outcome::SyntaxError { byte } = found else { panic!("{name}: {wrong} is {found:?}") };
                assert!(byte < wrong.len(), "{name}: {wrong}");
                // What stands before it parses, and what follows changes nothing.
                let before = &wrong[..byte];
                if before.contains(char::is_alphanumeric) {
                    assert_eq!(outcome(case, before, false), Outcome::Parses, "{name}: {before}");
                }
                let more = format!("{wrong}{}", case.right[0]);
                assert_eq!(outcome(case, &more, false), found, "{name}: {more}");
            }
        }
        let found = check(Language::Rust, "fn f() {\n", "    let x = 1;\n    let 2 = = y;\n", false).unwrap();
        assert_eq!(found, Outcome::SyntaxError { byte: "    let x = 1;\n    let 2 = ".len() });
    }

    #[test]
    fn english_is_no_code_but_in_bash_and_ruby() {
        for case in &CASES {
            let found = outcome(case, ENGLISH, false);
            assert!(matches!(found, Outcome::SyntaxError { .. }), "{}: {found:?}", case.language.name());
        }
        // In these two only the parentheses gave it away.
        let words = "He had never seen the sea before, and so he stood there.\n";
        for case in &CASES {
            let parses = outcome(case, words, false) == Outcome::Parses;
            let lax = matches!(case.language, Language::Bash | Language::Ruby);
            assert_eq!(parses, lax, "{}", case.language.name());
        }
    }

    #[test]
    fn punctuation_alone_is_blank() {
        for case in &CASES {
            for blank in ["", " ", "\n\n\t\n", "}\n}\n", "((((((((((", "\u{feff}"] {
                assert_eq!(outcome(case, blank, false), Outcome::Blank, "{}", case.language.name());
                assert_eq!(outcome(case, blank, true), Outcome::Blank, "{}", case.language.name());
            }
        }
    }

    #[test]
    fn prompts_that_the_grammar_can_t_read_are_refused() {
        for case in &CASES {
            let wrong = format!("{}{}", case.prompt, case.wrong[2]);
            let error = check(case.language, &wrong, "x", false).unwrap_err();
            assert!(matches!(error, CheckError::Prompt { byte, .. } if byte >= case.prompt.len()), "{error}");
            assert!(error.to_string().contains("take another one"), "{error}");
        }
        let long = "x = 1\n".repeat(MAX_BYTES);
        let error = check(Language::Python, &long, "y = 2\n", false).unwrap_err();
        assert!(matches!(error, CheckError::TooLong { limit: MAX_BYTES, .. }), "{error}");
    }

    #[test]
    fn a_text_that_is_too_long_is_judged_by_its_beginning() {
        let long = "x = 1\n".repeat(MAX_BYTES);
        assert_eq!(check(Language::Python, "import os\n", &long, true).unwrap(), Outcome::Parses);
        let wrong = format!("x = = 1\n{long}");
        let found = check(Language::Python, "import os\n", &wrong, false).unwrap();
        assert_eq!(found, Outcome::SyntaxError { byte: 4 });
    }

    #[test]
    fn prompts_that_end_in_a_text_are_told() {
        for case in &CASES {
            assert!(!inside_text(case.language, case.prompt).unwrap(), "{}", case.language.name());
        }
        for (language, prompt) in [
            (Language::Bash, "cat <<EOF\nHello\n"),
            (Language::Bash, "echo \"Hello\n"),
            (Language::Cpp, "/* License\n"),
            (Language::CSharp, "/* License\n"),
            (Language::Go, "package a\n/*\n"),
            (Language::Java, "/**\n * A class.\n"),
            (Language::JavaScript, "const a = `\n"),
            (Language::Julia, "\"\"\"\n    f(x)\n\n"),
            (Language::Julia, "#= a\n"),
            (Language::Python, "def f():\n    \"\"\"Does it.\n\n"),
            (Language::Ruby, "=begin\nLicense\n"),
            (Language::Ruby, "a = <<~EOS\n  text\n"),
            (Language::Rust, "/* License\n"),
            (Language::Rust, "const A: &str = \"\n"),
            (Language::TypeScript, "/**\n * License\n"),
        ] {
            assert!(inside_text(language, prompt).unwrap(), "{}: {prompt}", language.name());
        }
    }

    #[test]
    fn names_are_those_of_corpora() {
        for language in Language::ALL {
            assert_eq!(Language::from_name(language.name()), Some(language));
        }
        assert_eq!(Language::from_name("english"), None);
    }
}
