//! Bars as SVG.

use support::plot::ticks;
use support::svg::Svg;

const WIDTH: f64 = 720.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 700.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 300.0;

/// A row of the legend.
const ROW: f64 = 20.0;

/// Groups of bars, side by side.
pub struct Bars<'a> {
    pub title: &'a str,
    /// What is measured from bottom to top.
    pub y: &'a str,
    /// Under each group.
    pub groups: Vec<String>,
    /// What the bars of a color are called, and their heights in each group, where they have one.
    pub series: Vec<(String, Vec<Option<f64>>)>,
    /// The top of the axis, if it does not follow from the highest bar.
    pub top: Option<f64>,
    /// Digits after the point of the number above a bar.
    pub digits: usize,
}

impl Bars<'_> {
    /// The picture. Bars whose height is no finite number are left out.
    pub fn draw(&self) -> String {
        let height = BOTTOM + 44.0 + ROW * self.series.len() as f64;
        let mut svg = Svg::new(WIDTH, height, self.title, &self.description());
        let heights = self.series.iter().flat_map(|(_, heights)| heights.iter().flatten());
        let highest = heights.copied().filter(|height| height.is_finite()).fold(0.0, f64::max);
        let top = self.top.unwrap_or(if highest > 0.0 { 1.1 * highest } else { 1.0 });
        let y = |value: f64| BOTTOM - value / top * (BOTTOM - TOP);
        svg.text((LEFT, TOP - 20.0), "faint small", self.y);
        for (value, label) in ticks(&(0.0..top)) {
            svg.line("grid", &[(LEFT, y(value)), (RIGHT, y(value))]);
            svg.text((LEFT - 8.0, y(value) + 4.0), "faint small end", &label);
        }
        let group = (RIGHT - LEFT) / self.groups.len().max(1) as f64;
        let bar = (0.8 * group / self.series.len().max(1) as f64).min(60.0);
        for (at, name) in self.groups.iter().enumerate() {
            let middle = LEFT + group * (at as f64 + 0.5);
            svg.text((middle, BOTTOM + 19.0), "faint small middle", name);
            let first = middle - bar * self.series.len() as f64 / 2.0;
            for (color, (_, heights)) in self.series.iter().enumerate() {
                let Some(height) = heights[at].filter(|height| height.is_finite()) else { continue };
                let left = first + bar * color as f64;
                svg.rect(&format!("c{color}"), (left + 1.0, y(height)), (bar - 2.0, BOTTOM - y(height)), 0.0);
                let number = format!("{height:.*}", self.digits);
                svg.text((left + bar / 2.0, y(height) - 4.0), "small middle", &number);
            }
        }
        for (color, (name, _)) in self.series.iter().enumerate() {
            let at = BOTTOM + 44.0 + ROW * color as f64;
            svg.rect(&format!("c{color}"), (LEFT, at - 9.0), (12.0, 10.0), 0.0);
            svg.text((LEFT + 20.0, at), "", name);
        }
        svg.finish()
    }

    /// In words: every bar.
    pub fn description(&self) -> String {
        let of = |(name, heights): &(String, Vec<Option<f64>>)| {
            let known =
                self.groups.iter().zip(heights).filter_map(|(group, height)| Some((group, (*height)?)));
            let bars: Vec<String> =
                known.map(|(group, height)| format!("{group} {height:.*}", self.digits)).collect();
            format!("{name}: {}", bars.join(", "))
        };
        format!("{}. {}.", self.y, self.series.iter().map(of).collect::<Vec<_>>().join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bar_that_is_known_is_drawn() {
        let series = vec![
            ("one".to_owned(), vec![Some(50.0), None]),
            ("two".to_owned(), vec![Some(f64::NAN), Some(100.0)]),
        ];
        let groups = vec!["a".to_owned(), "b".to_owned()];
        let bars = Bars { title: "t", y: "percent", groups, series, top: Some(100.0), digits: 0 };
        let drawn = bars.draw();
        assert_eq!(drawn.matches("<rect class='c0'").count(), 2, "a bar and its place in the legend");
        assert_eq!(drawn.matches("<rect class='c1'").count(), 2);
        assert!(drawn.contains("height='128'") && drawn.contains("height='256'"), "{drawn}");
        assert!(bars.description().starts_with("percent. one: a 50; two: "), "{}", bars.description());
    }
}
