//! The distribution of regret as a picture.

use plotters::prelude::*;

use super::{Comparison, Graded, LeftOut, Report};

/// A picture that cannot be drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot draw the plot: {0}")]
pub struct PlotError(String);

/// Size of the picture.
///
/// # Units
/// Pixels.
const SIZE: (u32, u32) = (860, 520);

/// Family and size of everything but the caption.
const FONT: (&str, u32) = ("sans-serif", 18);

/// A kind of choice as it is drawn.
type Kind<'a> = (&'a str, &'a Comparison, RGBColor);

/// Of what would have been chosen without a tuner.
const DEFAULT: RGBColor = RGBColor(120, 120, 120);
/// Of what runs, whatever its grade.
const RUNS: RGBColor = RGBColor(0, 0, 0);

/// Draws, for each kind of choice, which share of them loses at most how much: an SVG document.
///
/// # Errors
/// If the drawing library fails.
pub fn plot_svg(report: &Report) -> Result<String, PlotError> {
    let mut kinds: Vec<Kind<'_>> = vec![("what runs", &report.resolved, RUNS)];
    kinds.extend(graded(&report.grades));
    kinds.extend([
        ("neighbouring bucket", &report.bucket_transfer, RGBColor(230, 159, 0)),
        ("neighbouring density", &report.density_transfer, RGBColor(0, 158, 115)),
        ("the default instead", &report.default, DEFAULT),
    ]);
    plotted("Regret against an exhaustive oracle", &kinds)
}

/// Draws the same for what would run had parts of the evidence never been measured.
///
/// # Errors
/// If the drawing library fails.
pub fn plot_left_out(report: &LeftOut) -> Result<String, PlotError> {
    let mut kinds: Vec<Kind<'_>> = vec![("what would run", &report.resolved, RUNS)];
    kinds.extend(graded(&report.grades));
    kinds.push(("the model alone", &report.model, RGBColor(86, 180, 233)));
    kinds.push(("the default instead", &report.default, DEFAULT));
    plotted(&format!("Regret with {} left out", report.hidden), &kinds)
}

/// What was found in each way, beside all together if there are several.
fn graded(grades: &[Graded]) -> impl Iterator<Item = Kind<'_>> {
    let shown = if grades.len() > 1 { grades } else { &[] };
    shown.iter().map(|graded| {
        let color = match &*graded.grade {
            "exact" => RGBColor(0, 114, 178),
            "same architecture" => RGBColor(204, 121, 167),
            "near" => RGBColor(240, 228, 66),
            "model" => RGBColor(213, 94, 0),
            _ => RGBColor(160, 160, 160),
        };
        (&*graded.grade, &graded.comparison, color)
    })
}

fn plotted(caption: &str, kinds: &[Kind<'_>]) -> Result<String, PlotError> {
    let mut svg = String::new();
    draw(caption, kinds, &mut svg).map_err(|error| PlotError(error.to_string()))?;
    Ok(svg)
}

fn draw(
    caption: &str,
    kinds: &[Kind<'_>],
    svg: &mut String,
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let widest = kinds.iter().filter_map(|(_, kind, _)| kind.regret).map(|one| one.p95 * 100.0);
    // The tail of the default would squeeze everything else to the left.
    let right = widest.fold(5.0, f64::max).min(50.0) * 1.1;
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .caption(caption, ("sans-serif", 24))
        .build_cartesian_2d(0.0..right, 0.0..100.0)?;
    chart
        .configure_mesh()
        .x_desc("slower than the best, %")
        .y_desc("share of entries, %")
        .light_line_style(WHITE)
        .label_style(FONT)
        .axis_desc_style(FONT)
        .draw()?;
    for (name, kind, color) in kinds.iter().filter(|(_, kind, _)| !kind.points.is_empty()) {
        let label = format!("{name} ({})", kind.points.len());
        let style = color.stroke_width(2);
        chart
            .draw_series(LineSeries::new(steps(kind, right), style))?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .label_font(FONT)
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}

/// The steps of an empirical distribution function, in per cent, up to the right edge.
fn steps(kind: &Comparison, right: f64) -> Vec<(f64, f64)> {
    let total = kind.points.len() as f64;
    let mut steps = vec![(0.0, 0.0)];
    let mut share = 0.0;
    // Points are stored the worst first.
    for (number, point) in (1..).zip(kind.points.iter().rev()) {
        let x = point.regret * 100.0;
        if x > right {
            break;
        }
        steps.push((x, share));
        share = 100.0 * f64::from(number) / total;
        steps.push((x, share));
    }
    steps.push((right, share));
    steps
}
