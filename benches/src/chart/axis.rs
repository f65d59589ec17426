//! Axes: from values to pixels, and where the ticks stand.

/// One axis with its range.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it measures, with the unit.
    pub title: String,
    /// Smallest and largest value.
    pub range: [f64; 2],
    /// Whether distances are ratios.
    pub logarithmic: bool,
    /// Values with a tick.
    pub ticks: Vec<f64>,
}

impl Axis {
    /// An axis in powers of two around `values`, a tick at each of `ticks` that lies on it.
    pub fn log2(title: &str, values: impl IntoIterator<Item = f64>, ticks: Vec<f64>) -> Self {
        let [low, high] = extent(values);
        let range = [low / 1.15, high * 1.15];
        Self {
            title: title.into(),
            range,
            logarithmic: true,
            ticks: inside(ticks, range),
        }
    }

    /// An axis from 0 to a little above the largest of `values`.
    pub fn linear(title: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let [_, high] = extent(values);
        let range = [0.0, high * 1.06];
        let step = step(range[1]);
        let count = (range[1] / step) as usize;
        Self {
            title: title.into(),
            range,
            logarithmic: false,
            ticks: (0..=count).map(|i| i as f64 * step).collect(),
        }
    }

    /// Where `value` lies, from 0 at the start to 1 at the end.
    pub fn at(&self, value: f64) -> f64 {
        let scale = |v: f64| if self.logarithmic { v.ln() } else { v };
        let [low, high] = self.range.map(scale);
        (scale(value) - low) / (high - low)
    }
}

/// 1, 2 or 5 times a power of ten, for four to ten ticks up to `high`.
fn step(high: f64) -> f64 {
    let power = 10f64.powf((high / 4.0).log10().floor());
    let steps = [5.0, 2.0, 1.0].map(|factor| factor * power);
    steps
        .into_iter()
        .find(|step| high / step >= 4.0)
        .unwrap_or(power)
}

fn inside(mut ticks: Vec<f64>, [low, high]: [f64; 2]) -> Vec<f64> {
    ticks.retain(|tick| (low..=high).contains(tick));
    ticks
}

fn extent(values: impl IntoIterator<Item = f64>) -> [f64; 2] {
    let range = values.into_iter().fold(None, |range: Option<[f64; 2]>, v| {
        let [low, high] = range.unwrap_or([v; 2]);
        Some([low.min(v), high.max(v)])
    });
    match range {
        Some([low, high]) if high > low => [low, high],
        // One value alone still needs an axis around it.
        Some([v, _]) if v > 0.0 => [v / 2.0, v * 2.0],
        _ => [0.5, 1.0],
    }
}

/// Powers of two from `first` to `last`.
pub fn powers_of_two(first: i32, last: i32) -> Vec<f64> {
    (first..=last).map(|power| 2f64.powi(power)).collect()
}

/// A number without needless digits.
pub fn label(value: f64) -> String {
    match value {
        v if v >= 10.0 || v.fract() == 0.0 => format!("{v:.0}"),
        v if v >= 0.25 => format!("{v:.2}")
            .trim_end_matches('0')
            .trim_end_matches('.')
            .into(),
        v => format!("{v:.3}").trim_end_matches('0').into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logarithmic_axis_places_ratios() {
        let axis = Axis::log2("x", [1.0, 16.0], powers_of_two(-2, 10));
        assert_eq!(axis.ticks, [1.0, 2.0, 4.0, 8.0, 16.0]);
        assert!((axis.at(4.0) - 0.5).abs() < 1e-12);
        assert!(axis.at(1.0) > 0.0 && axis.at(16.0) < 1.0);
    }

    #[test]
    fn a_linear_axis_has_round_ticks() {
        let axis = Axis::linear("y", [1979.0, 30.0]);
        assert_eq!(axis.ticks, [0.0, 500.0, 1000.0, 1500.0, 2000.0]);
        assert_eq!(axis.at(0.0), 0.0);
        let axis = Axis::linear("y", [0.37]);
        assert!(
            (4..=10).contains(&(axis.ticks.len() - 1)),
            "{:?}",
            axis.ticks
        );
    }

    #[test]
    fn one_value_makes_an_axis() {
        let axis = Axis::log2("x", [4.0], powers_of_two(0, 5));
        assert!(axis.at(4.0).is_finite() && (0.0..=1.0).contains(&axis.at(4.0)));
    }

    #[test]
    fn labels_are_short() {
        assert_eq!(label(0.125), "0.125");
        assert_eq!(label(0.5), "0.5");
        assert_eq!(label(2.0), "2");
        assert_eq!(label(1500.0), "1500");
    }
}
