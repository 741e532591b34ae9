//! A plot of lines over seconds, as SVG: some panels below one another, each with its own scale.

use std::{fmt::Write as _, path::Path};

use anyhow::Context as _;

const WIDTH: f64 = 900.0;
const PANEL: f64 = 220.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 44.0;
const INNER: f64 = 150.0;
const COLOURS: [&str; 4] = ["#1f5fa8", "#b03a2e", "#2e7d4f", "#7d5ba6"];

/// A line: its name, and one value a second.
pub type Line = (&'static str, Vec<f64>);

/// A panel: its title, and its lines.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What is shown, with its unit.
    pub title: String,
    /// The lines.
    pub lines: Vec<Line>,
}

/// Writes the panels to a file; `marks` are moments (in seconds) that get a dashed line in each.
pub fn write(path: &Path, heading: &str, panels: &[Panel], marks: &[f64]) -> anyhow::Result<()> {
    let text = draw(heading, panels, marks);
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn draw(heading: &str, panels: &[Panel], marks: &[f64]) -> String {
    let height = TOP + PANEL * panels.len() as f64;
    let mut svg = String::new();
    // Writing to a String cannot fail, here and below.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"15\">{heading}</text>\n"
    );
    for (number, panel) in panels.iter().enumerate() {
        one(&mut svg, panel, TOP + PANEL * number as f64, marks);
    }
    svg.push_str("</svg>\n");
    svg
}

fn one(svg: &mut String, panel: &Panel, top: f64, marks: &[f64]) {
    let seconds = panel.lines.iter().map(|(_, values)| values.len()).max().unwrap_or(0).max(2);
    let most = panel.lines.iter().flat_map(|(_, values)| values).copied().fold(0.0, f64::max);
    let most = round_up(most);
    let right = WIDTH - 20.0;
    let x = |second: f64| LEFT + (right - LEFT) * second / (seconds - 1) as f64;
    let y = |value: f64| top + 24.0 + INNER * (1.0 - value / most);
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{}\">{}</text>", top + 12.0, panel.title);
    for part in 0..=4 {
        let value = most * f64::from(part) / 4.0;
        let (left, height) = (LEFT - 6.0, y(value));
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{height}\" y2=\"{height}\" stroke=\"#ddd\"/>\
             <text x=\"{left}\" y=\"{}\" text-anchor=\"end\">{value}</text>",
            height + 4.0
        );
    }
    for mark in marks.iter().filter(|mark| **mark < seconds as f64) {
        let at = x(*mark);
        let _ = writeln!(
            svg,
            "<line x1=\"{at}\" x2=\"{at}\" y1=\"{}\" y2=\"{}\" stroke=\"#999\" \
             stroke-dasharray=\"3 3\"/>",
            y(most),
            y(0.0)
        );
    }
    for second in (0..seconds).step_by((seconds / 8).max(1)) {
        let (at, below) = (x(second as f64), top + INNER + 40.0);
        let _ = writeln!(
            svg,
            "<text x=\"{at}\" y=\"{below}\" text-anchor=\"middle\">{second} s</text>"
        );
    }
    for ((name, values), colour) in panel.lines.iter().zip(COLOURS) {
        let points: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(second, value)| format!("{:.1},{:.1}", x(second as f64), y(*value)))
            .collect();
        let points = points.join(" ");
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" points=\"{points}\"><title>{name}</title>\
             </polyline>"
        );
    }
    legend(svg, panel, top, right);
}

fn legend(svg: &mut String, panel: &Panel, top: f64, right: f64) {
    for (place, ((name, _), colour)) in panel.lines.iter().zip(COLOURS).enumerate() {
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"{colour}\">{name}</text>",
            right - 70.0 * place as f64,
            top + 12.0
        );
    }
}

/// The next of 1, 2, 2.5, 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|top| *top >= value).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_numbers_above_the_greatest_value() {
        for (value, top) in [(0.0, 1.0), (7.0, 10.0), (10.0, 10.0), (1_200.0, 2_000.0), (2.2, 2.5)]
        {
            assert!((round_up(value) - top).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn every_value_is_a_point_inside_its_panel() {
        let lines = vec![("rate", vec![0.0, 5.0, 10.0])];
        let svg = draw("x", &[Panel { title: "events/s".to_owned(), lines }], &[1.0]);
        let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        let points: Vec<(f64, f64)> = points
            .split(' ')
            .map(|point| {
                let (x, y) = point.split_once(',').unwrap();
                (x.parse().unwrap(), y.parse().unwrap())
            })
            .collect();
        assert_eq!(points.len(), 3);
        assert!(points.iter().all(|(x, y)| (LEFT..WIDTH).contains(x) && (TOP..300.0).contains(y)));
        assert!(points[0].1 > points[1].1 && points[1].1 > points[2].1);
    }
}
