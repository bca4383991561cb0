//! A recorded chart with the count that is chosen now.

use codingspot_plot::{Chart, Figure, Mark};

/// The figure's HTML with a line at `count` parameters, and its table named `dose-table`.
pub fn html(figure: &Figure, count: u64) -> String {
    let mut figure = figure.clone();
    if let Chart::Line(chart) = &mut figure.chart
        && count > 0
    {
        chart.marks.push(Mark::vertical(count as f64, "k now"));
    }
    figure.html().replacen("<table class=\"", "<table data-testid=\"dose-table\" role=\"table\" class=\"", 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use codingspot_plot::{Axis, LineChart, Point, Series, SeriesStyle};

    #[test]
    fn the_count_is_a_line_and_the_table_has_a_name() {
        let chart = LineChart {
            x: Axis::new("Parameters", "").log(),
            series: vec![Series::new(
                "spot",
                SeriesStyle::Spot,
                vec![Point::new(1.0, 0.1), Point::new(1e4, 3.0)],
            )],
            ..LineChart::default()
        };
        let figure = Figure::new("dose", chart, "It rises.");
        let with = html(&figure, 135);
        assert!(with.contains("k now") && with.contains("data-testid=\"dose-table\""), "{with}");
        assert!(!html(&figure, 0).contains("k now"));
    }
}
