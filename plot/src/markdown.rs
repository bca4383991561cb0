//! Pages and tables as Markdown, in the form that GitHub shows: what a chart draws stands there as a table.

use crate::chart::Figure;
use crate::page::{Block, Highlight, Page, Section};
use crate::table::{Cell, Table};
use crate::text::concat;

/// Text within a line: nothing in it is markup, a link or the end of a cell. Control characters and line breaks become
/// spaces.
fn inline(text: &str) -> String {
    let is_space = |letter: char| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}');
    let text: String = text.chars().map(|letter| if is_space(letter) { ' ' } else { letter }).collect();
    let mut safe = String::with_capacity(text.len() + text.len() / 8);
    let mut rest = text.trim();
    while let Some(letter) = rest.chars().next() {
        let after = &rest[letter.len_utf8()..];
        match letter {
            '\\' | '`' | '*' | '_' | '[' | ']' | '~' | '$' | '|' => safe.extend(['\\', letter]),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            // GitHub makes links of bare addresses and of who is mentioned.
            ':' if after.starts_with("//") => safe.push_str("\\:"),
            '.' if safe.get(safe.len().saturating_sub(3)..).is_some_and(is_www) => safe.push_str("\\."),
            '@' if !is_within_a_word(&safe, after) => safe.push_str("&#64;"),
            _ => safe.push(letter),
        }
        rest = after;
    }
    safe
}

/// Whether an at sign is part of a word, as in `pass@1`: neither a mention nor an address, which has a point.
fn is_within_a_word(before: &str, after: &str) -> bool {
    let word =
        after.split(|letter: char| !(letter.is_ascii_alphanumeric() || ".-_+".contains(letter))).next();
    before.ends_with(|letter: char| letter.is_ascii_alphanumeric()) && !word.unwrap_or("").contains('.')
}

fn is_www(text: &str) -> bool {
    text.eq_ignore_ascii_case("www")
}

/// Text as a paragraph or an item of a list: what it begins with is no heading, list or rule either.
fn paragraph(text: &str) -> String {
    let text = inline(text);
    if text.starts_with(['#', '-', '+', '=']) {
        return format!("\\{text}");
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    match text[digits..].chars().next() {
        Some('.' | ')') if digits > 0 => format!("{}\\{}", &text[..digits], &text[digits..]),
        _ => text,
    }
}

/// Text of a heading: number signs at its end would be taken for its closing.
fn heading(text: &str) -> String {
    let text = inline(text);
    text.strip_suffix('#').map_or(text.clone(), |start| format!("{start}\\#"))
}

/// Text in bold, on a line of its own.
fn bold(text: &str) -> String {
    let text = inline(text);
    if text.is_empty() { String::new() } else { format!("**{text}**\n\n") }
}

/// Text with its spaces and lines as they are, between fences that are longer than any in it.
fn fenced(label: &str, text: &str) -> String {
    let longest = text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let text: String =
        text.chars().map(|letter| if letter == '\0' || letter == '\r' { ' ' } else { letter }).collect();
    format!("{}{fence}\n{text}\n{fence}\n\n", bold(label))
}

impl Table {
    /// The table as a pipe table, with its caption before it and its notes after it. Everything in it is escaped.
    pub fn markdown(&self) -> String {
        let columns = self.columns();
        let mut text = bold(&self.caption);
        let mut line = |cells: Vec<String>| {
            text.push_str(&format!("| {} |\n", cells.join(" | ")));
        };
        if columns > 0 {
            line(
                (0..columns).map(|at| self.head.get(at).map_or(String::new(), |name| inline(name))).collect(),
            );
            let align = |column| if self.is_numeric(column) { "---:" } else { "---" };
            line((0..columns).map(|column| align(column).to_owned()).collect());
            for row in &self.rows {
                line((0..columns).map(|at| inline(row.get(at).unwrap_or(&Cell::Empty).text())).collect());
            }
            text.push('\n');
        }
        text.push_str(&concat(&self.notes, |note| format!("{}\n\n", paragraph(note))));
        text
    }
}

impl Figure {
    /// What the figure shows: its title, its sentence, and its values as a table.
    fn markdown(&self) -> String {
        let table = Table { caption: String::new(), ..self.chart.table() };
        format!("{}{}\n\n{}", bold(self.chart.title()), paragraph(&self.sentence), table.markdown())
    }
}

impl Block {
    fn markdown(&self) -> String {
        match self {
            Self::Heading(text) => format!("### {}\n\n", heading(text)),
            Self::Paragraph(text) => format!("{}\n\n", paragraph(text)),
            Self::List(items) => list(items.iter().map(|item| paragraph(item))),
            Self::Figure(figure) => figure.markdown(),
            Self::Table(table) => table.markdown(),
            Self::Pre { label, text } => fenced(label, text),
            Self::Panes(panes) => concat(panes, |pane| fenced(&pane.label, &pane.text)),
            Self::Facts(facts) => {
                list(facts.iter().map(|(name, value)| format!("{}: {}", paragraph(name), inline(value))))
            }
            Self::Details { summary, blocks } => {
                format!("{}{}", bold(summary), concat(blocks, Self::markdown))
            }
        }
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("{}\n", concat(items, |item| format!("- {item}\n")))
}

impl Section {
    fn markdown(&self) -> String {
        format!(
            "## {}\n\n{}{}",
            heading(&self.heading),
            concat(&self.paragraphs, |text| format!("{}\n\n", paragraph(text))),
            concat(&self.blocks, Block::markdown)
        )
    }
}

impl Page {
    /// The whole page as Markdown, in the order of [`html`](Self::html): tables as pipe tables, and of every chart its
    /// values. Everything in it is escaped, and it holds no link and no HTML.
    pub fn markdown(&self) -> String {
        let paragraphs = |texts: &[String]| concat(texts, |text| format!("{}\n\n", paragraph(text)));
        let mut text = format!("# {}\n\n{}", heading(&self.title), paragraphs(&self.lead));
        if !self.highlights.is_empty() {
            text.push_str(&list(self.highlights.iter().map(|Highlight { value, label, note }| {
                let note = if note.is_empty() { String::new() } else { format!(" ({note})") };
                paragraph(&format!("{value}: {label}{note}"))
            })));
        }
        text.push_str(&concat(&self.contents, Section::markdown));
        text.push_str(&paragraphs(&self.footer));
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_pipe_tables() {
        let mut table = Table::new(
            "Loss by *language*",
            vec![String::new(), "spot|k".to_owned()],
            vec![vec![Cell::head("c_sharp"), Cell::interval(4.31, 4.1, 4.52, 2)], vec![Cell::label("a\nb")]],
        );
        table.notes.push("1. Lower is better.".to_owned());
        assert_eq!(
            table.markdown(),
            "**Loss by \\*language\\***\n\n|  | spot\\|k |\n| --- | ---: |\n\
             | c\\_sharp | 4.31 \\[4.10, 4.52\\] |\n| a b |  |\n\n1\\. Lower is better.\n\n"
        );
    }

    #[test]
    fn text_is_no_markup() {
        for (text, safe) in [
            ("<img src=x> & \\|", "&lt;img src=x&gt; &amp; \\\\\\|"),
            (
                "[a](https://example.org) www.example.org a@b.org",
                "\\[a\\](https\\://example.org) www\\.example.org a&#64;b.org",
            ),
            ("pass@1, @a, a@b.", "pass@1, &#64;a, a&#64;b."),
            ("`a`\t$x$ \u{2028}~~b~~", "\\`a\\` \\$x\\$  \\~\\~b\\~\\~"),
        ] {
            assert_eq!(inline(text), safe);
        }
        for (text, safe) in
            [("# a", "\\# a"), ("- a", "\\- a"), ("12) a", "12\\) a"), ("12 a", "12 a"), ("2.5", "2\\.5")]
        {
            assert_eq!(paragraph(text), safe);
        }
        assert_eq!(heading("C#"), "C\\#");
        assert_eq!(fenced("", "a\n```\nb"), "````\na\n```\nb\n````\n\n");
    }
}
