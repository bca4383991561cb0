//! The rules of charts and tables: one style sheet for the report and the page.

use crate::palette::{LOOKS, Look};
use crate::text::concat;

const LIGHT: &str = "--cs-ink:#1b1e22;--cs-muted:#555c65;--cs-grid:#e6e7e3;--cs-axis:#777e87;--cs-paper:#fff;\
                     --cs-line:#d5d6d1;--cs-sunken:#f1f1ed";
const DARK: &str = "--cs-ink:#e7eaec;--cs-muted:#a8b0b8;--cs-grid:#2f353a;--cs-axis:#838b94;--cs-paper:#1b1f22;\
                    --cs-line:#33393e;--cs-sunken:#14181a";

/// Rules for charts, tables and figures, all of classes that begin with `cs-`.
///
/// Colours are custom properties of the root element. They follow the system's theme, or
/// `data-theme="light"` or `"dark"` on that element; on paper they are light.
pub fn chart_style() -> String {
    let colours = |theme: fn(&Look) -> &'static str| -> String {
        concat(LOOKS.iter().enumerate(), |(place, look)| format!("--cs-{place}:{};", theme(look)))
    };
    let light = colours(|look| look.light) + LIGHT;
    let dark = colours(|look| look.dark) + DARK;
    let classes = concat(0..LOOKS.len(), |place| format!(".cs-s{place}{{--cs-c:var(--cs-{place})}}\n"));
    format!(
        ":root{{{light}}}\n\
         @media screen and (prefers-color-scheme: dark){{:root:not([data-theme=\"light\"]){{{dark}}}}}\n\
         @media screen{{:root[data-theme=\"dark\"]{{{dark}}}}}\n{classes}{}",
        include_str!("chart.css")
    )
}

/// The same for an SVG that is a document of its own.
pub(crate) fn file_style() -> String {
    format!("{}.cs-chart{{background:var(--cs-paper)}}\n", chart_style())
}
