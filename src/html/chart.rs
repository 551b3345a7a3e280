//! The charts, as SVG: decisions over time with the run's pauses, and how long decisions took.
//!
//! Nothing that a report says goes into them but numbers.
#![expect(
    clippy::cast_precision_loss,
    reason = "counts and times to look at, far below 2^52"
)]

use plotters::coord::Shift;
use plotters::coord::combinators::BindKeyPoints as _;
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::durations::DurationBin;
use super::figures::Kind;
use super::ink::Ink;
use super::ticks::{self, DECADE, Ticks};
use super::timeline::{Bin, Timeline};
use crate::human::grouped;
use crate::throttle::Pause;

/// The library's points are whole numbers: so many of them make one of the page's, so that thin bars stay even.
const POINTS: u32 = 4;
const LETTER: f64 = 12.0;

/// The library writes letters smaller than it was told by this.
const LETTER_QUIRK: f64 = 1.24;

/// How much of a chart's height the least of what must not be overlooked takes.
const LEAST_SEEN: f64 = 0.012;

/// Pauses and failures are never thinner than this part of the width.
const THINNEST: i64 = 500;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// What goes between `<svg>` and `</svg>`, and its measures.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) view: String,
    pub(super) body: String,
}

/// Width and height on the page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size(pub(super) u32, pub(super) u32);

/// What the time axis shows, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) begin: i64,
    pub(super) end: i64,
}

/// Decisions a second over time, pauses behind them.
pub(super) fn over_time(
    size: Size,
    span: Span,
    timeline: &Timeline<{ Kind::ALL.len() }>,
    pauses: &[Pause],
) -> Result<Chart, String> {
    draw(size, |area| {
        draw_over_time(area, size, span, timeline, pauses)
    })
}

/// How many decisions took how long, on a logarithmic axis.
pub(super) fn latency(size: Size, bins: &[DurationBin]) -> Result<Chart, String> {
    draw(size, |area| draw_latency(area, size, bins))
}

fn draw(size: Size, paint: impl FnOnce(&Area<'_>) -> Drawn) -> Result<Chart, String> {
    let (width, height) = (size.0 * POINTS, size.1 * POINTS);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        paint(&area)
            .and_then(|()| area.present())
            .map_err(|error| error.to_string())?;
    }
    // The page has its own opening tag: one that scales, and tells what is drawn.
    let body = svg
        .split_once('>')
        .and_then(|(_, rest)| rest.rsplit_once("</svg>"));
    let (body, _) = body.ok_or("the plotting library wrote no SVG")?;
    Ok(Chart {
        view: format!("0 0 {width} {height}"),
        body: body.trim().replace('\n', ""),
    })
}

fn draw_over_time(
    area: &Area<'_>,
    size: Size,
    span: Span,
    timeline: &Timeline<{ Kind::ALL.len() }>,
    pauses: &[Pause],
) -> Drawn {
    let seconds = timeline.width() as f64 / 1000.0;
    let top = timeline
        .bins()
        .map(|bin| bin.counts.iter().sum::<u64>())
        .max();
    let top = top.unwrap_or(1) as f64 / seconds * 1.12;
    let ticks = Ticks::new(span, size.0 / 90);
    let x = (span.begin..span.end).with_key_points(ticks.at.clone());
    let mut chart = builder(area).build_cartesian_2d(x, 0.0..top)?;
    let thinnest = ((span.end - span.begin) / THINNEST).max(1);
    chart.draw_series(pauses.iter().map(|pause| {
        let begin = pause.begin.as_millisecond().max(span.begin);
        let end = pause
            .end
            .as_millisecond()
            .min(span.end)
            .max(begin + thinnest);
        Rectangle::new(
            [(begin, 0.0), (end, top)],
            Ink::PAUSE.color.mix(0.25).filled(),
        )
    }))?;
    draw_axes(&mut chart, &|at| ticks.label(*at), top)?;
    chart.draw_series(
        timeline
            .bins()
            .flat_map(|bin| bars(bin, timeline.width(), top)),
    )?;
    chart.draw_series(pauses.iter().map(|pause| {
        let begin = pause.begin.as_millisecond().clamp(span.begin, span.end);
        let radius = 3 * POINTS;
        Circle::new((begin, top * 0.965), radius, Ink::PAUSE.color.filled())
    }))?;
    Ok(())
}

fn draw_latency(area: &Area<'_>, size: Size, bins: &[DurationBin]) -> Drawn {
    let top = bins.iter().map(|bin| bin.count).max().unwrap_or(1) as f64 * 1.08;
    let begin = bins.first().map_or(0, |bin| place(bin.begin));
    let end = bins.last().map_or(DECADE, |bin| place(bin.end));
    // One bar alone would fill the chart and look like a wall.
    let margin = ((DECADE - (end - begin)) / 2).max(0);
    let (begin, end) = (begin - margin, end + margin);
    let ticks = ticks::decades(begin..=end, size.0 / 60);
    let x = (begin..end).with_key_points(ticks);
    let mut chart = builder(area).build_cartesian_2d(x, 0.0..top)?;
    draw_axes(&mut chart, &|place| ticks::duration_label(*place), top)?;
    chart.draw_series(bins.iter().filter(|bin| bin.count > 0).map(|bin| {
        let gap = DECADE / 160;
        let corner = (place(bin.begin) + gap, bin.count as f64);
        Rectangle::new(
            [corner, (place(bin.end) - gap, 0.0)],
            Ink::DELETED.color.filled(),
        )
    }))?;
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the logarithm of a u64 is below 20"
)]
/// The place of a duration on the logarithmic axis; less than a millisecond has one place.
fn place(milliseconds: u64) -> i64 {
    match milliseconds {
        0 => -3 * DECADE / 10,
        _ => ((milliseconds as f64).log10() * DECADE as f64).round() as i64,
    }
}

/// One bar: its kinds on top of each other.
fn bars(
    bin: Bin<{ Kind::ALL.len() }>,
    width: i64,
    top: f64,
) -> impl Iterator<Item = Rectangle<(i64, f64)>> {
    let seconds = width as f64 / 1000.0;
    let gap = width / 12;
    let mut floor = 0.0;
    Kind::ALL.into_iter().filter_map(move |kind| {
        let height = bin.counts[kind as usize] as f64 / seconds;
        if height == 0.0 {
            return None;
        }
        let (ink, least) = match kind {
            Kind::Deleted => (Ink::DELETED, 0.0),
            Kind::Absent => (Ink::ABSENT, 0.0),
            // One failure among thousands is what the reader looks for.
            Kind::Unsettled => (Ink::UNSETTLED, top * LEAST_SEEN),
        };
        let from = floor;
        floor += height.max(least);
        let corners = [(bin.begin + gap, from), (bin.begin + width - gap, floor)];
        Some(Rectangle::new(corners, ink.color.filled()))
    })
}

fn builder<'a, 'b>(area: &'a Area<'b>) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(area);
    builder
        .margin_top(4 * POINTS)
        .margin_right(14 * POINTS)
        .x_label_area_size(24 * POINTS)
        .y_label_area_size(48 * POINTS);
    builder
}

/// The look that both charts share: faint lines across, none up.
fn draw_axes<X>(
    chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, RangedCoordf64>>,
    x_label: &dyn Fn(&X::ValueType) -> String,
    top: f64,
) -> Drawn
where
    X: Ranged + ValueFormatter<X::ValueType>,
{
    let letters = LETTER * LETTER_QUIRK * f64::from(POINTS);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(Ink::GRID.color.stroke_width(POINTS))
        .axis_style(Ink::GRID.color.stroke_width(POINTS))
        .set_all_tick_mark_size(4 * POINTS)
        .label_style(("sans-serif", letters).with_color(Ink::TEXT.color))
        .y_labels(5)
        .x_label_formatter(&x_label)
        .y_label_formatter(&|number| number_label(*number, top))
        .draw()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a label of an axis that begins at zero"
)]
fn number_label(number: f64, top: f64) -> String {
    if top < 8.0 && number > 0.0 {
        format!("{number:.1}")
    } else {
        grouped(number.round() as u64)
    }
}
