//! The rules of charts, for the page's own style sheet: `cargo run -p codingspot-plot --example style > app/charts.css`.

use std::io::{self, Write as _};

fn main() -> io::Result<()> {
    io::stdout().write_all(codingspot_plot::chart_style().as_bytes())
}
