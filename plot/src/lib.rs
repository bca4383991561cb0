//! Charts, tables and pages from plain data, as strings of SVG, HTML and Markdown.
//!
//! The command line writes its report with this crate and the page draws with it, so both show the same.
//! Nothing here reads files, asks the clock or panics: numbers that can't be drawn are left out and the
//! chart says so, and text from anywhere is escaped.
//!
//! ```
//! use codingspot_plot::{Axis, LineChart, Page, Point, Section, Block, Series, SeriesStyle};
//!
//! let chart = LineChart {
//!     title: "Loss by share removed".to_owned(),
//!     x: Axis::new("Share removed", "%").log(),
//!     y: Axis::new("Loss", "nats per token"),
//!     series: vec![Series::new("Spot", SeriesStyle::Spot, vec![Point::new(0.01, 1.2), Point::new(0.1, 4.3)])],
//!     marks: Vec::new(),
//! };
//! assert!(chart.svg("loss").starts_with("<svg"));
//! let figure = Block::figure("loss", chart, "Loss rises.");
//! let page = Page {
//!     title: "Report".to_owned(),
//!     contents: vec![Section::new("dose", "How much", vec![figure])],
//!     ..Page::default()
//! };
//! assert!(page.html().starts_with("<!DOCTYPE html>"));
//! ```

mod bars;
mod bins;
mod canvas;
mod chart;
mod escape;
mod figures;
mod heat;
mod legend;
mod line;
mod mark;
mod markdown;
pub mod number;
mod page;
mod palette;
mod scale;
mod spread;
mod style;
mod table;
mod text;

pub use bars::{Bar, BarChart, BarForm, BarGroup};
pub use canvas::{NARROW, WIDE};
pub use chart::{Chart, Figure};
pub use escape::{escape, safe_id};
pub use figures::Figures;
pub use heat::{ColorScale, HeatMap};
pub use line::{LineChart, Point, Series};
pub use mark::{Direction, Mark};
pub use page::{Block, Highlight, Page, Pane, Section};
pub use palette::SeriesStyle;
pub use scale::{Axis, Scale, Secondary};
pub use style::chart_style;
pub use table::{Cell, Table};
