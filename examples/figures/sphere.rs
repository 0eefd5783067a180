//! A step on the sphere.

use std::f64::consts::PI;

use support::plot::Area;
use support::svg::{Point, Svg};
use support::{Chart, Curve};

/// How far a step of `alpha` turns the hidden state, in degrees, toward an output that is `apart` degrees away:
/// `unit(h + α·(unit(out) - h))`.
pub fn turned(apart: f64, alpha: f64) -> f64 {
    let (sin, cos) = (apart * PI / 180.0).sin_cos();
    (alpha * sin).atan2(1.0 + alpha * (cos - 1.0)) * 180.0 / PI
}

/// One step drawn on a circle, and how far steps turn the hidden state.
pub fn step() -> String {
    const CENTER: Point = (40.0, 300.0);
    const RADIUS: f64 = 240.0;
    let at = |degrees: f64, length: f64| -> Point {
        let (sin, cos) = (degrees * PI / 180.0).sin_cos();
        (CENTER.0 + RADIUS * length * cos, CENTER.1 - RADIUS * length * sin)
    };
    let (apart, alpha) = (60.0, 0.25);
    let chord = (1.0 + alpha * (0.5 - 1.0), alpha * (apart * PI / 180.0).sin());
    let (length, angle) = (chord.0.hypot(chord.1), turned(apart, alpha));
    let mut svg = Svg::new(
        720.0,
        370.0,
        "A block moves the hidden state along a chord and back onto the sphere",
        &format!(
            "Left: a quarter of a circle of radius 1. The hidden state h and the direction of a block's output are \
             60 degrees apart. A quarter of the way along the chord between them the length is {length:.3}; brought \
             back to the circle, h has turned by {angle:.1} degrees. Right: the angles that steps of different alpha \
             turn it by, for outputs that are 30, 60, 90 and 120 degrees away."
        ),
    );
    svg.text((20.0, 26.0), "head", "a step with α = 0.25");
    let arc: Vec<Point> = (0..=90).map(|degrees| at(f64::from(degrees), 1.0)).collect();
    svg.line("grid", &arc);
    svg.arrow(&[CENTER, at(0.0, 1.0)]);
    svg.arrow(&[CENTER, at(apart, 1.0)]);
    svg.line("flow dash", &[at(0.0, 1.0), at(apart, 1.0)]);
    let inside = at(angle, length);
    svg.line("line c1", &[at(0.0, 1.0), inside]);
    svg.line("line c0", &[inside, at(angle, 1.0)]);
    svg.dot("c1", inside, 4.0);
    svg.dot("c0", at(angle, 1.0), 5.0);
    let beside = |(x, y): Point, dx: f64, dy: f64| (x + dx, y + dy);
    svg.text(beside(at(0.0, 1.0), 8.0, 16.0), "code", "h");
    svg.text(beside(at(apart, 1.0), 8.0, -6.0), "code", "unit(out)");
    svg.text(beside(at(angle, 1.0), 10.0, 0.0), "t0", "the new h");
    svg.text(beside(inside, -8.0, 18.0), "t1 end small", &format!("{length:.3} long"));
    let curve = |apart: f64| Curve {
        name: format!("{apart:.0}° apart").into(),
        points: (0..=50).map(|at| f64::from(at) / 50.0).map(|alpha| (alpha, turned(apart, alpha))).collect(),
    };
    let curves = [120.0, 90.0, 60.0, 30.0].map(curve);
    let chart = Chart { title: "", x: "alpha", y: "degrees that h turns by", curves: &curves, levels: &[] };
    let area = Area { left: 400.0, top: 64.0, right: 620.0, bottom: 300.0 };
    let names: Vec<(usize, String)> =
        chart.draw_into(&mut svg, area).into_iter().map(|(color, name)| (color, name.to_owned())).collect();
    for (apart, (color, name)) in [120.0, 90.0, 60.0, 30.0].into_iter().zip(names) {
        let y = area.bottom - apart / 120.0 * (area.bottom - area.top);
        svg.text((area.right + 8.0, y + 4.0), &format!("t{color} small"), &name);
    }
    svg.finish()
}
