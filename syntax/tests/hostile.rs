//! Texts of any content: they are judged or refused, never a panic, a crash or a hang.

use codingspot_syntax::{Language, MAX_BYTES, check, inside_text};
use proptest::prelude::*;

fn language() -> impl Strategy<Value = Language> {
    proptest::sample::select(Language::ALL.to_vec())
}

/// Pieces that scanners and parsers take as beginnings of something.
const PIECES: [&str; 56] = [
    "\"",
    "'",
    "`",
    "\"\"\"",
    "'''",
    "#{",
    "${",
    "$(",
    "((",
    "$\"{",
    "$$\"\"\"",
    "@\"",
    "{{",
    "}}",
    "<<EOF\n",
    "<<-'A'\n",
    "<<~\"B C\"\n",
    "EOF\n",
    "R\"x(",
    ")x\"",
    "r#\"",
    "\"#",
    "/*",
    "*/",
    "//",
    "#=",
    "=#",
    "=begin\n",
    "=end\n",
    "%w(",
    "%r{",
    "/",
    "\\",
    "\n",
    "\n    ",
    "\n\t",
    "\r\n",
    ":",
    "if ",
    "do ",
    "end ",
    "fi ",
    "def f",
    "x",
    "1",
    "=",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ";",
    "\0",
    "é",
    "<T>",
];

fn pieces() -> impl Strategy<Value = String> {
    let piece = (proptest::sample::select(PIECES.to_vec()), prop_oneof![9 => Just(1), 1 => 1..80_usize]);
    proptest::collection::vec(piece.prop_map(|(piece, times)| piece.repeat(times)), 0..60)
        .prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_is_judged(language in language(), prompt in any::<String>(), completion in any::<String>(), finished in any::<bool>()) {
        drop(check(language, &prompt, &completion, finished));
        prop_assert!(check(language, "", &completion, finished).is_ok());
    }

    #[test]
    fn any_pieces_are_judged(language in language(), prompt in pieces(), completion in pieces(), finished in any::<bool>()) {
        drop(check(language, &prompt, &completion, finished));
        drop(inside_text(language, &prompt));
        prop_assert!(check(language, "", &completion, finished).is_ok());
    }
}

#[test]
fn deep_and_long_texts_are_judged() {
    let name = "A".repeat(5000);
    for language in Language::ALL {
        for piece in PIECES {
            let text = format!("x{}", piece.repeat(MAX_BYTES / piece.len()));
            check(language, "", &text, true).unwrap();
        }
        // Names that are longer than what scanners keep.
        for (before, after) in [("<<", "\n"), ("<<'", "'\n"), ("x = <<~", "\n"), ("R\"", "("), ("r#", "\"")] {
            let text = format!("x {before}{name}{after} y\n{name}\n");
            check(language, "", &text, false).unwrap();
        }
        // Blocks in blocks, each deeper by one column.
        for (blocks, tab) in [(170, 1000), (400, 8)] {
            let line =
                |depth: usize| ["\t".repeat(depth / tab), " ".repeat(depth % tab), "if x:\n".to_owned()];
            let text: String = (0..blocks).flat_map(line).collect();
            check(language, "", &text, false).unwrap();
        }
    }
}
