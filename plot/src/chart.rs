//! Any chart, as an SVG, as a table, and as a figure with both.

use crate::bars::BarChart;
use crate::canvas::{NARROW, WIDE};
use crate::escape::{escape, safe_id, script_json};
use crate::heat::HeatMap;
use crate::line::LineChart;
use crate::style::file_style;
use crate::table::Table;
use serde::{Deserialize, Serialize};

/// A chart of any kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Chart {
    /// Lines over a common axis.
    Line(LineChart),
    /// Colours by row and column.
    Heat(HeatMap),
    /// Bars or dots.
    Bars(BarChart),
}

impl From<LineChart> for Chart {
    fn from(chart: LineChart) -> Self {
        Self::Line(chart)
    }
}

impl From<HeatMap> for Chart {
    fn from(chart: HeatMap) -> Self {
        Self::Heat(chart)
    }
}

impl From<BarChart> for Chart {
    fn from(chart: BarChart) -> Self {
        Self::Bars(chart)
    }
}

/// What every chart can do, with its own name for it.
macro_rules! drawing {
    ($($chart:ty),+) => {$(
        impl $chart {
            /// The chart for a screen, [`WIDE`] pixels wide. `id` must be unique on the page.
            pub fn svg(&self, id: &str) -> String {
                self.svg_for(id, WIDE)
            }

            /// The chart laid out for a width in pixels. `id` must be unique on the page.
            ///
            /// For use within HTML that has the rules of [`chart_style`](crate::chart_style).
            pub fn svg_for(&self, id: &str, width: u32) -> String {
                self.draw(&safe_id(id), width, None)
            }

            /// The chart as a file of its own, with its rules and colours for light and dark inside.
            pub fn svg_file(&self, id: &str) -> String {
                self.draw(&safe_id(id), WIDE, Some(file_style()))
            }
        }
    )+};
}

drawing!(LineChart, HeatMap, BarChart, Chart);

impl Chart {
    fn draw(&self, id: &str, width: u32, style: Option<String>) -> String {
        match self {
            Self::Line(chart) => chart.draw(id, width, style),
            Self::Heat(chart) => chart.draw(id, width, style),
            Self::Bars(chart) => chart.draw(id, width, style),
        }
    }

    /// What the chart shows, in a few words.
    pub fn title(&self) -> &str {
        match self {
            Self::Line(chart) => &chart.title,
            Self::Heat(chart) => &chart.title,
            Self::Bars(chart) => &chart.title,
        }
    }

    /// The values as a table.
    pub fn table(&self) -> Table {
        match self {
            Self::Line(chart) => chart.table(),
            Self::Heat(chart) => chart.table(),
            Self::Bars(chart) => chart.table(),
        }
    }

    /// What the drawing leaves out, in sentences; the drawing says them too.
    pub fn notes(&self) -> Vec<String> {
        match self {
            Self::Line(chart) => chart.notes(),
            Self::Heat(chart) => chart.notes(),
            Self::Bars(chart) => chart.notes(),
        }
    }

    /// The chart as JSON, from which serde makes the same chart.
    pub fn json(&self) -> String {
        // Charts are strings and numbers; nothing of them can fail to be written.
        serde_json::to_string(self).unwrap_or_else(|_| "null".to_owned())
    }
}

/// A chart with a sentence about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Unique on its page; the figure's address is `#` and this.
    pub id: String,
    /// The chart.
    pub chart: Chart,
    /// What it shows, in a sentence.
    pub sentence: String,
}

impl Figure {
    /// A chart with a sentence about it.
    pub fn new(id: impl Into<String>, chart: impl Into<Chart>, sentence: impl Into<String>) -> Self {
        Self { id: id.into(), chart: chart.into(), sentence: sentence.into() }
    }

    /// The figure for HTML that has the rules of [`chart_style`](crate::chart_style): title, sentence, the
    /// chart for wide and narrow windows, of which the other is not displayed, and the values as a table
    /// that unfolds.
    pub fn html(&self) -> String {
        self.html_with(&safe_id(&self.id), "")
    }

    pub(crate) fn html_with(&self, id: &str, tools: &str) -> String {
        format!(
            "<figure class=\"cs-figure\" id=\"{id}\"><figcaption><span class=\"cs-title\">{}</span> \
             <span class=\"cs-sentence\">{}</span></figcaption>\n\
             <div class=\"cs-only-wide\">{}</div>\n<div class=\"cs-only-narrow\">{}</div>\n\
             <div class=\"cs-foot\"><details class=\"cs-values\"><summary>Show as table</summary>\n{}</details>\
             {tools}</div></figure>\n",
            escape(self.chart.title()),
            escape(&self.sentence),
            self.chart.draw(&format!("{id}.wide"), WIDE, None),
            self.chart.draw(&format!("{id}.narrow"), NARROW, None),
            self.chart.table().html(),
        )
    }

    /// The figure with buttons that copy and download, and the data that they take.
    pub(crate) fn html_with_data(&self, id: &str) -> String {
        let tools = format!(
            "<div class=\"cs-tools\" hidden=\"\"><button type=\"button\" data-copy=\"{id}\">Copy table</button>\
             <button type=\"button\" data-download=\"{id}\">Download data (JSON)</button>\
             <span class=\"cs-said\" role=\"status\"></span></div>"
        );
        let tsv = serde_json::to_string(&self.chart.table().tsv()).unwrap_or_else(|_| "\"\"".to_owned());
        format!(
            "{}<script type=\"application/json\" id=\"data-{id}\">{}</script>\n\
             <script type=\"application/json\" id=\"table-{id}\">{}</script>\n",
            self.html_with(id, &tools),
            script_json(&self.chart.json()),
            script_json(&tsv)
        )
    }
}
