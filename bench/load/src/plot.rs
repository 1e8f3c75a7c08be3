//! Latency against offered load as a picture (SVG), drawn by hand: two logarithmic axes and lines.

use std::fmt::Write as _;

use crate::report::{Mode, Point, Report};
use crate::shape::Shape;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 50.0;

/// One colour per federation, told apart by colour-blind people, too.
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

/// A curve: load per second, latency in ms.
type Curve = Vec<(f64, f64)>;

/// Draws the `load` points of one shape; `None` if there are fewer than two.
pub fn latency_against_load(report: &Report, shape: Shape) -> Option<String> {
    let curve = |points: &[Point], figure: &dyn Fn(&Point) -> Option<f64>| -> Curve {
        points
            .iter()
            .filter(|point| point.setting.mode == Mode::Load && point.setting.shape == shape)
            .filter_map(|point| Some((point.setting.offered_per_second?, figure(point)?)))
            .filter(|(load, latency)| *load > 0.0 && *latency > 0.0)
            .collect()
    };
    let mut curves = Vec::new();
    for (index, subject) in report.subjects.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let median = curve(&subject.points, &|point| Some(point.paid?.p50_ms));
        let tail = curve(&subject.points, &|point| Some(point.paid?.p99_ms));
        curves.push((format!("{} median", subject.name), colour, "", median));
        curves.push((format!("{} p99", subject.name), colour, "6 4", tail));
    }
    let all: Curve = curves.iter().flat_map(|(_, _, _, curve)| curve.iter().copied()).collect();
    if all.len() < 4 {
        return None;
    }
    let x = Axis::over(all.iter().map(|(load, _)| *load), LEFT, WIDTH - RIGHT);
    let y = Axis::over(all.iter().map(|(_, latency)| *latency), HEIGHT - BOTTOM, TOP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">Payment of {} in {} out: latency against \
         offered load, {} guardians</text>\n",
        shape.inputs,
        shape.outputs,
        report.subjects.first().map_or(0, |subject| subject.guardians),
    );
    draw_grid(&mut svg, &x, &y);
    for (row, (name, colour, dashes, curve)) in curves.iter().enumerate() {
        draw_curve(&mut svg, colour, dashes, curve, &x, &y);
        let (text_x, text_y) = (LEFT + 10.0 + 150.0 * row as f64, 38.0);
        let _ = writeln!(
            svg,
            "<line x1=\"{text_x}\" y1=\"34\" x2=\"{}\" y2=\"34\" stroke=\"{colour}\" \
             stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>\
             <text x=\"{}\" y=\"{text_y}\">{name}</text>",
            text_x + 22.0,
            text_x + 27.0,
        );
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// A logarithmic axis from one place on the paper to another.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// Whole steps of 1, 2 and 5 around the values.
    fn over(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(0.0, f64::max);
        let low = ticks(1e-3, least).last().unwrap_or(least);
        let high = ticks(most, most * 10.0).next().unwrap_or(most);
        Self { low, high: high.max(low * 2.0), from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let part = (value / self.low).ln() / (self.high / self.low).ln();
        self.from + (self.to - self.from) * part
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        ticks(self.low, self.high)
    }
}

/// 1, 2, 5, 10, 20 .. between two values, ends included. A little slack for rounding.
fn ticks(low: f64, high: f64) -> impl Iterator<Item = f64> {
    let steps = (-3..=7).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(power)));
    steps.filter(move |tick| *tick >= low * 0.999 && *tick <= high * 1.001)
}

fn draw_grid(svg: &mut String, x: &Axis, y: &Axis) {
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for tick in x.ticks() {
        let place = x.place(tick);
        let _ = writeln!(
            svg,
            "<line x1=\"{place:.1}\" y1=\"{TOP}\" x2=\"{place:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{place:.1}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>",
            bottom + 16.0,
        );
    }
    for tick in y.ticks() {
        let place = y.place(tick);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{place:.1}\" x2=\"{right}\" y2=\"{place:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
            LEFT - 6.0,
            place + 4.0,
        );
    }
    let (middle_x, middle_y) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
    let _ = writeln!(
        svg,
        "<text x=\"{middle_x}\" y=\"{}\" text-anchor=\"middle\">offered payments per second</text>\
         <text x=\"16\" y=\"{middle_y}\" text-anchor=\"middle\" \
         transform=\"rotate(-90 16 {middle_y})\">ms until paid</text>",
        HEIGHT - 12.0,
    );
}

fn draw_curve(svg: &mut String, colour: &str, dashes: &str, curve: &Curve, x: &Axis, y: &Axis) {
    let places: Vec<(f64, f64)> =
        curve.iter().map(|(load, latency)| (x.place(*load), y.place(*latency))).collect();
    let points: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" \
         stroke-dasharray=\"{dashes}\"/>",
        points.join(" "),
    );
    for (x, y) in places {
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_begins_and_ends_at_round_values_around_the_data() {
        let axis = Axis::over([3.0, 70.0].into_iter(), 0.0, 100.0);
        assert_eq!((axis.low, axis.high), (2.0, 100.0));
        assert!(axis.place(2.0).abs() < 1e-9);
        assert!((axis.place(100.0) - 100.0).abs() < 1e-9);
        assert_eq!(axis.ticks().collect::<Vec<_>>(), [2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
    }

    #[test]
    fn a_single_value_still_has_an_axis() {
        let axis = Axis::over([5.0].into_iter(), 0.0, 100.0);
        assert!(axis.place(5.0).is_finite());
    }
}
