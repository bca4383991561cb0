//! The page's style sheet of charts is the plot crate's own, as a file: the page allows no inline style.

#[cfg(test)]
mod tests {
    #[test]
    fn the_style_sheet_is_that_of_the_charts() {
        assert!(
            include_str!("../../charts.css") == codingspot_plot::chart_style(),
            "app/charts.css is old: cargo run -p codingspot-plot --example style > app/charts.css"
        );
    }
}
