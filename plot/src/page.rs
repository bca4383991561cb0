//! A page in one file: no network, no fonts, readable without its script.

use crate::chart::{Chart, Figure};
use crate::escape::{escape, safe_id};
use crate::palette::SeriesStyle;
use crate::style::chart_style;
use crate::table::Table;
use crate::text::concat;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// SHA-256 of the style and script of a page, in Base64: its policy allows these and no others. A test
/// computes them and says what to write here.
const STYLE_DIGEST: &str = "Cf7p7mVWT1vnSalS7Bn9J73vkueeSAJrG3403/nkTG0=";
const SCRIPT_DIGEST: &str = "7OABYKenntX3M/ic9Oq2BOSNq7qTAT71cn3BPOBLfus=";

/// A page: a title, what it's about, sections, and a foot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Page {
    /// The title.
    pub title: String,
    /// Paragraphs below the title.
    pub lead: Vec<String>,
    /// The few numbers that matter, shown large.
    pub highlights: Vec<Highlight>,
    /// The sections.
    pub contents: Vec<Section>,
    /// Paragraphs at the end.
    pub footer: Vec<String>,
}

/// A number that matters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Highlight {
    /// The number with its unit, short.
    pub value: String,
    /// What it is, in a few words.
    pub label: String,
    /// Its interval, or what to compare it with; may be empty.
    pub note: String,
}

impl Highlight {
    /// A number, what it is, and what to compare it with.
    pub fn new(value: impl Into<String>, label: impl Into<String>, note: impl Into<String>) -> Self {
        Self { value: value.into(), label: label.into(), note: note.into() }
    }
}

/// A part of a page, which its list of contents leads to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Section {
    /// Its address on the page.
    pub id: String,
    /// Its heading.
    pub heading: String,
    /// Paragraphs before its blocks.
    pub paragraphs: Vec<String>,
    /// Figures, tables, text.
    pub blocks: Vec<Block>,
}

impl Section {
    /// A section that has no paragraphs yet.
    pub fn new(id: impl Into<String>, heading: impl Into<String>, blocks: Vec<Block>) -> Self {
        Self { id: id.into(), heading: heading.into(), paragraphs: Vec::new(), blocks }
    }

    /// The same section with one more paragraph.
    #[must_use]
    pub fn with_paragraph(mut self, text: impl Into<String>) -> Self {
        self.paragraphs.push(text.into());
        self
    }
}

/// Text of one arm, beside that of others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pane {
    /// Whose text it is.
    pub label: String,
    /// The colour at its top.
    pub style: SeriesStyle,
    /// The text, with its spaces and lines as they are.
    pub text: String,
}

/// A piece of a section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    /// A heading within a section.
    Heading(String),
    /// A paragraph.
    Paragraph(String),
    /// A list with dots.
    List(Vec<String>),
    /// A chart with its sentence, its values as a table, and its data.
    Figure(Box<Figure>),
    /// A table that is always shown.
    Table(Table),
    /// Text with its spaces and lines as they are.
    Pre {
        /// What it is; may be empty.
        label: String,
        /// The text.
        text: String,
    },
    /// Texts side by side, as of the original and the changed model.
    Panes(Vec<Pane>),
    /// Names and what they stand for.
    Facts(Vec<(String, String)>),
    /// What unfolds.
    Details {
        /// What is always shown.
        summary: String,
        /// What unfolds.
        blocks: Vec<Block>,
    },
}

impl Block {
    /// A chart with a sentence about it; `id` is its address on the page.
    pub fn figure(id: impl Into<String>, chart: impl Into<Chart>, sentence: impl Into<String>) -> Self {
        Self::Figure(Box::new(Figure::new(id, chart, sentence)))
    }

    /// Text with its spaces and lines as they are.
    pub fn pre(label: impl Into<String>, text: impl Into<String>) -> Self {
        Self::Pre { label: label.into(), text: text.into() }
    }
}

impl Page {
    /// The whole page. Everything in it is escaped; it loads nothing, and its policy forbids loading.
    pub fn html(&self) -> String {
        let mut ids = Ids::default();
        let sections: Vec<(String, String)> = self
            .contents
            .iter()
            .map(|section| {
                let id = ids.unique(&section.id);
                let html = section.html(&id, &mut ids);
                (id, html)
            })
            .collect();
        let mut html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
             base-uri 'none'; form-action 'none'; \
             style-src 'sha256-{STYLE_DIGEST}'; script-src 'sha256-{SCRIPT_DIGEST}'; img-src data:\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <meta name=\"color-scheme\" content=\"light dark\"/>\n\
             <title>{}</title>\n<style>{}</style></head>\n\
             <body><a class=\"skip\" href=\"#main\">Skip to the results</a>\n\
             <div class=\"sheet\"><header><h1>{}</h1>\n",
            escape(&self.title),
            page_style(),
            escape(&self.title)
        );
        for paragraph in &self.lead {
            html.push_str(&format!("<p class=\"lead\">{}</p>\n", escape(paragraph)));
        }
        html.push_str("</header>\n");
        if !self.highlights.is_empty() {
            html.push_str("<dl class=\"highlights\">");
            for Highlight { value, label, note } in &self.highlights {
                let note = if note.is_empty() {
                    String::new()
                } else {
                    format!("<dd class=\"note\">{}</dd>", escape(note))
                };
                html.push_str(&format!(
                    "<div><dt>{}</dt><dd class=\"value\">{}</dd>{note}</div>",
                    escape(label),
                    escape(value)
                ));
            }
            html.push_str("</dl>\n");
        }
        if sections.len() > 1 {
            html.push_str("<nav aria-label=\"Sections\"><ul>");
            for (section, (id, _)) in self.contents.iter().zip(&sections) {
                html.push_str(&format!("<li><a href=\"#{id}\">{}</a></li>", escape(&section.heading)));
            }
            html.push_str("</ul></nav>\n");
        }
        html.push_str("<main id=\"main\">\n");
        html.extend(sections.into_iter().map(|(_, section)| section));
        html.push_str("</main>\n");
        if !self.footer.is_empty() {
            html.push_str("<footer>");
            for paragraph in &self.footer {
                html.push_str(&format!("<p>{}</p>", escape(paragraph)));
            }
            html.push_str("</footer>\n");
        }
        html.push_str(&format!("</div>\n<script>{SCRIPT}</script></body></html>\n"));
        html
    }
}

/// The style sheet of a page.
fn page_style() -> String {
    format!("{}\n{STYLE}", chart_style())
}

/// The ids that a page has used.
#[derive(Debug)]
struct Ids {
    used: BTreeSet<String>,
}

impl Default for Ids {
    fn default() -> Self {
        Self { used: BTreeSet::from(["main".to_owned()]) }
    }
}

impl Ids {
    fn unique(&mut self, wanted: &str) -> String {
        let mut wanted = safe_id(wanted);
        // These begin the ids of embedded data.
        if wanted.starts_with("data-") || wanted.starts_with("table-") {
            wanted.insert_str(0, "c-");
        }
        let mut id = wanted.clone();
        let mut number = 1;
        while !self.used.insert(id.clone()) {
            number += 1;
            id = format!("{wanted}-{number}");
        }
        id
    }
}

impl Section {
    fn html(&self, id: &str, ids: &mut Ids) -> String {
        let mut html = format!(
            "<section id=\"{id}\" aria-labelledby=\"{id}.heading\"><h2 id=\"{id}.heading\">{}</h2>\n",
            escape(&self.heading)
        );
        for paragraph in &self.paragraphs {
            html.push_str(&format!("<p>{}</p>\n", escape(paragraph)));
        }
        for block in &self.blocks {
            html.push_str(&block.html(ids));
        }
        html.push_str("</section>\n");
        html
    }
}

impl Block {
    fn html(&self, ids: &mut Ids) -> String {
        match self {
            Self::Heading(text) => format!("<h3>{}</h3>\n", escape(text)),
            Self::Paragraph(text) => format!("<p>{}</p>\n", escape(text)),
            Self::List(items) => {
                let items = concat(items, |item| format!("<li>{}</li>", escape(item)));
                format!("<ul>{items}</ul>\n")
            }
            Self::Figure(figure) => {
                let id = ids.unique(&figure.id);
                format!("<div class=\"card\">{}</div>\n", figure.html_with_data(&id))
            }
            Self::Table(table) => format!("<div class=\"card\">{}</div>\n", table.html()),
            Self::Pre { label, text } => format!("<div class=\"pre\">{}</div>\n", pre(label, text)),
            Self::Panes(panes) => {
                let panes = concat(panes, |pane| {
                    let text = pre(&pane.label, &pane.text);
                    format!("<div class=\"pane {}\">{text}</div>\n", pane.style.class())
                });
                format!("<div class=\"cs-panes\">{panes}</div>\n")
            }
            Self::Facts(facts) => {
                let facts = concat(facts, |(name, value)| {
                    format!("<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value))
                });
                format!("<dl class=\"facts\">{facts}</dl>\n")
            }
            Self::Details { summary, blocks } => {
                let mut html = String::new();
                for block in blocks {
                    html.push_str(&block.html(ids));
                }
                format!("<details class=\"more\"><summary>{}</summary>\n{html}</details>\n", escape(summary))
            }
        }
    }
}

fn pre(label: &str, text: &str) -> String {
    let head =
        if label.is_empty() { String::new() } else { format!("<p class=\"label\">{}</p>", escape(label)) };
    // A parser drops the first newline of a pre; this one may be dropped.
    format!("{head}<pre>\n{}</pre>", escape(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    fn base64(bytes: &[u8]) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let bits = chunk.iter().fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte))
                << (8 * (3 - chunk.len()));
            for place in 0..4 {
                let letter = LETTERS[(bits >> (18 - 6 * place)) as usize & 63];
                text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
            }
        }
        text
    }

    #[test]
    fn the_policy_allows_just_this_style_and_script() {
        assert_eq!(base64(&Sha256::digest("")), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        assert_eq!(
            (base64(&Sha256::digest(page_style())).as_str(), base64(&Sha256::digest(SCRIPT)).as_str()),
            (STYLE_DIGEST, SCRIPT_DIGEST),
            "the style or the script changed: write the digests on the left into page.rs"
        );
        assert!(!page_style().contains(['<', '&']) && !SCRIPT.contains(['<', '&']));
    }

    #[test]
    fn ids_never_repeat() {
        let mut ids = Ids::default();
        assert_eq!(ids.unique("a b"), "a-b");
        assert_eq!(ids.unique("a/b"), "a-b-2");
        assert_eq!(ids.unique("main"), "main-2");
        assert_eq!(ids.unique("data-a"), "c-data-a");
    }
}
