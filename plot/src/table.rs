//! Tables that people can read aloud, scroll and copy.

use crate::escape::escape;
use crate::number;
use serde::{Deserialize, Serialize};

/// One cell of a table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// No value.
    #[default]
    Empty,
    /// Words.
    Text(String),
    /// A label that names its row.
    Head(String),
    /// A number, right-aligned; `text` is how it's written, the rest is what is copied.
    Number {
        /// How it's written.
        text: String,
        /// The number itself.
        value: Option<f64>,
        /// The lower end of its interval.
        low: Option<f64>,
        /// The upper end of its interval.
        high: Option<f64>,
    },
}

impl Cell {
    /// Words.
    pub fn label(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A label that names its row.
    pub fn head(text: impl Into<String>) -> Self {
        Self::Head(text.into())
    }

    /// A number with so many places after the point.
    pub fn fixed(value: f64, places: usize) -> Self {
        Self::number_as(value, number::fixed(value, places))
    }

    /// A count with groups of thousands.
    pub fn count(value: u64) -> Self {
        Self::number_as(value as f64, number::thousands(value))
    }

    /// A number written in a way of the caller's.
    pub fn number_as(value: f64, text: impl Into<String>) -> Self {
        Self::Number { text: text.into(), value: Some(value), low: None, high: None }
    }

    /// A number with its interval: `4.31 [4.10, 4.52]`.
    pub fn interval(value: f64, low: f64, high: f64, places: usize) -> Self {
        Self::measured(Some(value), Some(low), Some(high), |number| number::fixed(number, places))
    }

    /// A number that may be missing, with an interval that may be missing.
    pub(crate) fn measured(
        value: Option<f64>,
        low: Option<f64>,
        high: Option<f64>,
        write: impl Fn(f64) -> String,
    ) -> Self {
        let Some(value) = value else { return Self::Empty };
        Self::Number { text: number::with_interval(value, low, high, write), value: Some(value), low, high }
    }

    /// What is shown.
    pub fn text(&self) -> &str {
        match self {
            Self::Empty => "",
            Self::Text(text) | Self::Head(text) | Self::Number { text, .. } => text,
        }
    }

    /// What is shown, with the interval on a line of its own.
    fn stacked_html(&self) -> String {
        let text = self.text();
        let place = match self {
            Self::Number { low: Some(_), high: Some(_), .. } => text.find(" ["),
            _ => None,
        };
        match place {
            Some(at) => {
                let (number, ends) = text.split_at(at);
                format!("{} <span class=\"cs-ends\">{}</span>", escape(number), escape(ends.trim_start()))
            }
            None => escape(text),
        }
    }
}

/// A table with a caption, a head and rows. The first cell of a row names it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Table {
    /// What the table shows.
    pub caption: String,
    /// The names of columns.
    pub head: Vec<String>,
    /// Cells, row by row; short rows end in empty cells.
    pub rows: Vec<Vec<Cell>>,
    /// Sentences below the table.
    pub notes: Vec<String>,
    /// Whether intervals stand below their numbers, so that more columns fit a window.
    pub stacked: bool,
}

impl Table {
    /// A table without notes.
    pub fn new(caption: impl Into<String>, head: Vec<String>, rows: Vec<Vec<Cell>>) -> Self {
        Self { caption: caption.into(), head, rows, notes: Vec::new(), stacked: false }
    }

    /// The same table with intervals below their numbers.
    #[must_use]
    pub fn stacked(mut self) -> Self {
        self.stacked = true;
        self
    }

    pub(crate) fn columns(&self) -> usize {
        self.rows.iter().map(Vec::len).fold(self.head.len(), usize::max)
    }

    pub(crate) fn is_numeric(&self, column: usize) -> bool {
        self.rows.iter().any(|row| matches!(row.get(column), Some(Cell::Number { .. })))
    }

    /// The table in a region that scrolls sideways and takes the keyboard's focus.
    pub fn html(&self) -> String {
        let columns = self.columns();
        let numeric: Vec<bool> = (0..columns).map(|column| self.is_numeric(column)).collect();
        let class = |column: usize| if numeric.get(column) == Some(&true) { " class=\"cs-n\"" } else { "" };
        let label = if self.caption.is_empty() { "Table" } else { &self.caption };
        let mut html = format!(
            "<div class=\"cs-scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">\
             <table class=\"cs-table{}\">",
            escape(label),
            if self.stacked { " cs-stacked" } else { "" }
        );
        if !self.caption.is_empty() {
            html.push_str(&format!("<caption><span>{}</span></caption>", escape(&self.caption)));
        }
        html.push_str("<thead><tr>");
        for column in 0..columns {
            let name = self.head.get(column).map_or("", String::as_str);
            // A header cell without text names nothing.
            html.push_str(&if name.is_empty() {
                "<td></td>".to_owned()
            } else {
                format!("<th scope=\"col\"{}>{}</th>", class(column), escape(name))
            });
        }
        html.push_str("</tr></thead>\n<tbody>");
        for row in &self.rows {
            html.push_str("<tr>");
            for column in 0..columns {
                let cell = row.get(column).unwrap_or(&Cell::Empty);
                let text = if self.stacked { cell.stacked_html() } else { escape(cell.text()) };
                html.push_str(&if matches!(cell, Cell::Head(_)) || (column == 0 && *cell != Cell::Empty) {
                    format!("<th scope=\"row\"{}>{text}</th>", class(column))
                } else {
                    format!("<td{}>{text}</td>", class(column))
                });
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody></table>");
        for note in &self.notes {
            html.push_str(&format!("<p class=\"cs-note\">{}</p>", escape(note)));
        }
        html.push_str("</div>");
        html
    }

    /// The table for a spreadsheet: tabs between cells, numbers in full, intervals in columns of their own.
    ///
    /// Words that a spreadsheet would take for a formula get an apostrophe before them.
    pub fn tsv(&self) -> String {
        let columns = self.columns();
        let has_interval = |cell: &Cell| match cell {
            Cell::Number { low, high, .. } => low.is_some() || high.is_some(),
            _ => false,
        };
        let wide: Vec<bool> = (0..columns)
            .map(|column| self.rows.iter().any(|row| row.get(column).is_some_and(has_interval)))
            .collect();
        let mut tsv = String::new();
        let mut line = |cells: Vec<String>| {
            tsv.push_str(&cells.join("\t"));
            tsv.push('\n');
        };
        let mut head = Vec::new();
        for (column, wide) in wide.iter().enumerate() {
            let name = plain(self.head.get(column).map_or("", String::as_str));
            head.push(name.clone());
            if *wide {
                head.extend([format!("{name}, low"), format!("{name}, high")]);
            }
        }
        line(head);
        for row in &self.rows {
            let mut cells = Vec::new();
            for (column, wide) in wide.iter().enumerate() {
                let number = |value: &Option<f64>| {
                    value.filter(|value| value.is_finite()).map_or(String::new(), |value| value.to_string())
                };
                match row.get(column).unwrap_or(&Cell::Empty) {
                    Cell::Number { text, value: None, .. } => {
                        cells.push(plain(text));
                        cells.extend(std::iter::repeat_n(String::new(), if *wide { 2 } else { 0 }));
                    }
                    Cell::Number { value, low, high, .. } => {
                        cells.push(number(value));
                        if *wide {
                            cells.extend([number(low), number(high)]);
                        }
                    }
                    cell => {
                        cells.push(plain(cell.text()));
                        cells.extend(std::iter::repeat_n(String::new(), if *wide { 2 } else { 0 }));
                    }
                }
            }
            line(cells);
        }
        tsv
    }
}

/// Text as one harmless cell of a spreadsheet.
fn plain(text: &str) -> String {
    let text: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table::new(
            "Loss <by> language",
            vec![String::new(), "spot".to_owned(), "=kind".to_owned()],
            vec![
                vec![Cell::label("py\tthon"), Cell::interval(4.31, 4.1, 4.52, 2), Cell::label("=cmd()")],
                vec![Cell::label("rust"), Cell::fixed(-1.5, 1)],
            ],
        )
    }

    #[test]
    fn cells_name_their_rows_and_columns() {
        let html = table().html();
        assert!(html.contains("<th scope=\"col\" class=\"cs-n\">spot</th>"), "{html}");
        assert!(html.contains("<th scope=\"row\">rust</th><td class=\"cs-n\">−1.5</td><td></td>"), "{html}");
        assert!(html.contains("<caption><span>Loss &lt;by&gt; language</span></caption>"));
    }

    #[test]
    fn stacked_intervals_have_a_line_of_their_own() {
        let mut table = table().stacked();
        let html = table.html();
        assert!(html.contains("<table class=\"cs-table cs-stacked\">"), "{html}");
        assert!(
            html.contains("<td class=\"cs-n\">4.31 <span class=\"cs-ends\">[4.10, 4.52]</span></td>"),
            "{html}"
        );
        assert_eq!(table.tsv(), self::table().tsv());
        let hostile =
            Cell::Number { text: "<b> [<i>".to_owned(), value: None, low: Some(1.0), high: Some(2.0) };
        table.rows = vec![vec![Cell::label("a [b"), hostile]];
        assert!(
            table
                .html()
                .contains("a [b</th><td class=\"cs-n\">&lt;b&gt; <span class=\"cs-ends\">[&lt;i&gt;</span>")
        );
    }

    #[test]
    fn copies_hold_plain_numbers_and_no_formulas() {
        assert_eq!(
            table().tsv(),
            "\tspot\tspot, low\tspot, high\t'=kind\npy thon\t4.31\t4.1\t4.52\t'=cmd()\nrust\t-1.5\t\t\t\n"
        );
    }
}
