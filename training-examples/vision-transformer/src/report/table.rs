//! The report as a table.

use std::fmt;

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;

use super::{Costs, Report};
use crate::evaluate::Speed;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = markdown();
        let percent = |share: f64| format!("{:.2} %", 100.0 * share);
        let mut add = |name: &str, value: String| {
            table.add_row([name.to_string(), value]);
        };
        let scores = &self.scores;
        add("test images", scores.images.to_string());
        add("accuracy, packed", percent(scores.accuracy));
        let auc = scores.auc.map_or("-".into(), |auc| format!("{auc:.4}"));
        add("AUC, packed", auc);
        if let Some(training) = self.training {
            let words = format!("{} steps in {:.0} s", training.steps, training.seconds);
            add("training", words);
        }
        let equal = if self.predictions_equal {
            "equal"
        } else {
            "different"
        };
        add("predictions, packed against trained", equal.into());
        let difference = self.max_abs_logit_diff_packed_vs_trained;
        add("largest difference of a logit", format!("{difference:.1e}"));
        let weights = format!("{} ({} ternary)", self.parameters, self.ternary_parameters);
        add("parameters", weights);
        let bytes = [self.float_bytes, self.packed_bytes];
        let bytes = bytes.map(|bytes| format!("{:.3} MB", bytes as f64 / 1e6));
        add("float, packed", bytes.join(", "));
        add_speeds(&mut table, &self.float_speed, &self.packed_speed);
        writeln!(f, "{table}\n")?;

        let mut table = markdown();
        table.set_header(["class", "images", "recall", "precision", "AUC"]);
        for class in &scores.classes {
            let share =
                |share: Option<f64>| share.map_or("-".into(), |share| format!("{share:.3}"));
            table.add_row([
                class.name.clone(),
                class.images.to_string(),
                share(class.recall),
                share(class.precision),
                class.auc.map_or("-".into(), |auc| format!("{auc:.4}")),
            ]);
        }
        write!(f, "{table}")
    }
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = markdown();
        let weights = format!("{} ({} ternary)", self.parameters, self.ternary_parameters);
        table.add_row(["parameters".to_string(), weights]);
        let bytes = [self.float_bytes, self.packed_bytes];
        let bytes = bytes.map(|bytes| format!("{:.3} MB", bytes as f64 / 1e6));
        table.add_row(["float, packed".to_string(), bytes.join(", ")]);
        add_speeds(&mut table, &self.float_speed, &self.packed_speed);
        write!(f, "{table}")
    }
}

fn markdown() -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(["", "value"]);
    table
}

fn add_speeds(table: &mut Table, float: &[Speed], packed: &[Speed]) {
    for (name, speeds) in [("float twin", float), ("packed", packed)] {
        for speed in speeds {
            let plural = if speed.batch == 1 { "image" } else { "images" };
            let time = speed.microseconds;
            table.add_row([
                format!("{name}, {} {plural} at a time", speed.batch),
                format!("{time:.0} us, {:.0} images/s", speed.images_per_second),
            ]);
        }
    }
}
