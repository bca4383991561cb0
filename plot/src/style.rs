//! The rules of charts and tables: one style sheet for the report and the page.

use crate::palette::{LOOKS, Look};
use crate::text::concat;

/// Rules for charts, tables and figures. Colours are custom properties of `.cs-chart` and `.cs-figure`
/// that follow the system's theme, or `data-theme="light"` or `"dark"` on the root element.
pub fn chart_style() -> String {
    let colours = |theme: fn(&Look) -> &'static str| -> String {
        concat(LOOKS.iter().enumerate(), |(place, look)| format!("--cs-{place}:{};", theme(look)))
    };
    let classes = concat(0..LOOKS.len(), |place| format!(".cs-s{place}{{--cs-c:var(--cs-{place})}}\n"));
    let dark = colours(|look| look.dark);
    let hosts = ".cs-chart,.cs-figure,.cs-scroll,.cs-panes";
    let under =
        |root: &str| hosts.split(',').map(|host| format!("{root} {host}")).collect::<Vec<_>>().join(",");
    let dark = format!(
        "{dark}--cs-ink:#e7eaec;--cs-muted:#a8b0b8;--cs-grid:#2f353a;--cs-axis:#838b94;--cs-paper:#1b1f22;--cs-line:#33393e;--cs-sunken:#14181a"
    );
    format!(
        "{hosts}{{{}--cs-ink:#1b1e22;--cs-muted:#555c65;--cs-grid:#e6e7e3;--cs-axis:#777e87;--cs-paper:#fff;--cs-line:#d5d6d1;--cs-sunken:#f1f1ed}}\n\
         @media screen and (prefers-color-scheme: dark){{{}{{{dark}}}}}\n\
         @media screen{{{}{{{dark}}}}}\n{classes}{}",
        colours(|look| look.light),
        under(":root:not([data-theme=\"light\"])"),
        under(":root[data-theme=\"dark\"]"),
        include_str!("chart.css")
    )
}
