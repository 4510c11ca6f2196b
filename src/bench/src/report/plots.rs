//! The plots of a report, as SVG that fits any width.

use crate::measure::{Kind, Recorder, RunResult};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::error::Error;

/// Little more than a phone has, so that text is hardly smaller there; the page lets it grow to [`super::html`]'s width.
const WIDTH: u32 = 560;
const HEIGHT: u32 = 340;
const TEXT: u32 = 21;
/// Room for half of the last label of the x axis.
const MARGIN_RIGHT: u32 = 34;
/// Colours that stay apart for people who see red and green alike.
const COLOURS: [RGBColor; 4] = [RGBColor(0, 95, 184), RGBColor(213, 94, 0), RGBColor(0, 140, 110), RGBColor(120, 60, 160)];

/// A picture, and which colour is what: beside it, where a legend hides no line.
pub struct Plot {
    pub title: &'static str,
    pub svg: String,
    /// Name and CSS colour.
    pub legend: Vec<(String, String)>,
}

type Line = (String, Vec<(f64, f64)>);
type Failed = Box<dyn Error>;

/// Those for which there is something to draw.
pub fn all(result: &RunResult, recorder: &Recorder) -> Vec<Plot> {
    let mut plots = Vec::new();
    let mut add = |title, mut lines: Vec<Line>, x: &str, y: &str, label: &dyn Fn(&f64) -> String, points: bool| {
        lines.retain(|(_, line)| !line.is_empty());
        // A plot that cannot be drawn is left out: the figures are in the table.
        if lines.iter().any(|(_, line)| line.len() > 1)
            && let Ok(svg) = draw(&lines, x, y, label, points)
        {
            let colour = |at: usize| COLOURS[at % COLOURS.len()];
            let css = |RGBColor(r, g, b)| format!("rgb({r},{g},{b})");
            let legend = lines.iter().enumerate().map(|(at, (name, _))| (name.clone(), css(colour(at)))).collect();
            plots.push(Plot { title, svg, legend });
        }
    };
    add("Latency by percentile", percentiles(recorder), "percentile", "ms", &|nines| percentile_label(*nines), false);
    let steps = |of: fn(&crate::measure::StepResult) -> Option<f64>| {
        result.steps.iter().filter_map(|s| of(s).map(|p99| (s.records_per_s / 1000.0, p99))).collect::<Vec<_>>()
    };
    let against = vec![
        ("produce".to_owned(), steps(|s| s.produce.as_ref().map(|p| p.p99_ms))),
        ("end to end".to_owned(), steps(|s| s.end_to_end.as_ref().map(|p| p.p99_ms))),
    ];
    add("Throughput against p99", against, "1,000 records/s achieved", "p99, ms", &plain, true);
    let over_time = |of: fn(&crate::measure::Second) -> Option<f64>| {
        result.seconds.iter().filter_map(|s| of(s).map(|v| (s.at_s, v))).collect::<Vec<_>>()
    };
    let p99 = vec![
        ("produce".to_owned(), over_time(|s| s.produce_p99_ms)),
        ("end to end".to_owned(), over_time(|s| s.end_to_end_p99_ms)),
        ("fetch".to_owned(), over_time(|s| s.fetch_p99_ms)),
    ];
    add("p99 over time", p99, "seconds, warm-up included", "p99, ms", &plain, false);
    let rate = vec![
        ("produced".to_owned(), over_time(|s| Some(s.mb_per_s))),
        ("read".to_owned(), over_time(|s| Some(s.consumed_mb_per_s).filter(|mb| *mb > 0.0))),
    ];
    add("Throughput over time", rate, "seconds, warm-up included", "MB/s", &plain, false);
    if !result.core_busy.is_empty()
        && let Ok(svg) = bars(&result.core_busy)
    {
        plots.push(Plot { title: "Busy share of each core", svg, legend: Vec::new() });
    }
    plots
}

/// As many digits as an axis needs.
fn plain(value: &f64) -> String {
    let digits = match value.abs() {
        v if v >= 10.0 => 0,
        v if v >= 0.1 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    if digits == 0 { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
}

/// Percentiles on a scale of nines: 0 is 0 %, 1 is 90 %, 2 is 99 %.
fn percentiles(recorder: &Recorder) -> Vec<Line> {
    let line = |kind: Kind| {
        let histogram = recorder.histogram(kind);
        let points = histogram.iter_quantiles(8).filter(|at| at.quantile_iterated_to() < 1.0);
        let line = points.map(|at| (-(1.0 - at.quantile_iterated_to()).log10(), at.value_iterated_to() as f64 / 1e3)).collect();
        (kind.name().replace('-', " "), line)
    };
    Kind::ALL.into_iter().map(line).collect()
}

fn percentile_label(nines: f64) -> String {
    if nines < 0.05 {
        return "0 %".to_owned();
    }
    if (nines - nines.round()).abs() > 0.05 {
        return String::new();
    }
    let share = 100.0 * (1.0 - 10f64.powf(-nines));
    // 99.9 needs one digit behind the point, 99.99 two.
    format!("{share:.*} %", (nines.round() as usize).saturating_sub(2))
}

/// Lines on a linear x axis and a y axis that is logarithmic where values differ by more than a factor of 20.
fn draw(lines: &[Line], x: &str, y: &str, label: &dyn Fn(&f64) -> String, points: bool) -> Result<String, Failed> {
    let all = || lines.iter().flat_map(|(_, line)| line);
    let bounds = |of: fn(&(f64, f64)) -> f64| all().map(of).fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
    let ((x_low, x_high), (y_low, y_high)) = (bounds(|p| p.0), bounds(|p| p.1));
    let x_range = x_low..if x_high > x_low { x_high } else { x_low + 1.0 };
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        let mut builder = ChartBuilder::on(&root);
        builder.margin(8).margin_right(MARGIN_RIGHT).x_label_area_size(52).y_label_area_size(76);
        macro_rules! fill {
            ($chart:expr) => {{
                let mut chart = $chart;
                chart
                    .configure_mesh()
                    .x_desc(x)
                    .y_desc(y)
                    .x_labels(6)
                    .y_labels(6)
                    .x_label_formatter(label)
                    .y_label_formatter(&plain)
                    .label_style(("sans-serif", TEXT))
                    .axis_desc_style(("sans-serif", TEXT))
                    .light_line_style(WHITE)
                    .draw()?;
                for (at, (_, line)) in lines.iter().enumerate() {
                    let colour = COLOURS[at % COLOURS.len()];
                    chart.draw_series(LineSeries::new(line.iter().copied(), colour.stroke_width(3)))?;
                    if points {
                        chart.draw_series(line.iter().map(|&p| Circle::new(p, 5, colour.filled())))?;
                    }
                }
            }};
        }
        if y_low > 0.0 && y_high > 20.0 * y_low {
            fill!(builder.build_cartesian_2d(x_range, (y_low * 0.8..y_high * 1.2).log_scale())?);
        } else {
            fill!(builder.build_cartesian_2d(x_range, 0.0..(y_high * 1.15).max(1e-3))?);
        }
        root.present()?;
    }
    Ok(svg)
}

fn bars(busy: &[f64]) -> Result<String, Failed> {
    let mut svg = String::new();
    {
        let root: DrawingArea<_, Shift> = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin(8)
            .margin_right(MARGIN_RIGHT)
            .x_label_area_size(52)
            .y_label_area_size(76)
            .build_cartesian_2d(-0.5..busy.len() as f64 - 0.5, 0.0..100.0)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_desc("core")
            .y_desc("% busy")
            .x_labels(busy.len().min(16))
            .y_labels(6)
            .y_label_formatter(&plain)
            .x_label_formatter(&|core| if core.fract().abs() < 1e-6 { format!("{core:.0}") } else { String::new() })
            .label_style(("sans-serif", TEXT))
            .axis_desc_style(("sans-serif", TEXT))
            .light_line_style(WHITE)
            .draw()?;
        chart.draw_series(busy.iter().enumerate().map(|(core, share)| {
            let at = core as f64;
            Rectangle::new([(at - 0.35, 0.0), (at + 0.35, share * 100.0)], COLOURS[0].filled())
        }))?;
        root.present()?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_named() {
        let names: Vec<String> = [0.0, 1.0, 1.5, 2.0, 3.0, 4.0].map(percentile_label).into();
        assert_eq!(names, ["0 %", "90 %", "", "99 %", "99.9 %", "99.99 %"]);
    }

    #[test]
    fn axes_say_no_more_than_they_know() {
        let names: Vec<String> = [0.0, 0.005, 0.5, 2.0, 7.25, 10.0, 1500.0].map(|v| plain(&v)).into();
        assert_eq!(names, ["0", "0.005", "0.5", "2", "7.25", "10", "1500"]);
    }

    #[test]
    fn lines_and_bars_become_svg() {
        let lines = vec![("a".to_owned(), vec![(0.0, 1.0), (1.0, 50.0)])];
        let svg = draw(&lines, "x axis", "y axis", &plain, true).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("x axis") && svg.contains("viewBox"));
        assert!(bars(&[0.5, 1.0]).unwrap().contains("% busy"));
    }
}
