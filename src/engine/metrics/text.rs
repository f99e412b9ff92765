//! Prometheus' text format, version 0.0.4
//! (prometheus.io/docs/instrumenting/exposition_formats).

use std::fmt::{Display, Write as _};

use super::histogram::Histogram;

/// A label's name and value.
pub type Label<'l> = (&'l str, &'l str);

/// Families of metrics as text, in the order they are first added.
#[derive(Debug, Default)]
pub struct Exposition {
    families: Vec<Family>,
    /// The one whose head was added last.
    current: usize,
    part: Option<String>,
}

#[derive(Debug)]
struct Family {
    name: String,
    text: String,
}

impl Exposition {
    /// What is added from now on is of this part of the process: its samples have
    /// the label `stage`.
    pub fn begin_part(&mut self, stage: &str) {
        self.part = Some(format!("stage=\"{}\"", escaped(stage)));
    }

    /// A number that only grows.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    /// A number that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// Facts that do not change, as labels of a gauge that is 1.
    pub fn info(&mut self, name: &str, help: &str, labels: &[Label<'_>]) {
        self.family(name, "gauge", help);
        self.sample(name, labels, 1);
    }

    /// A histogram of seconds or the like.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for (bound, count) in histogram.cumulative() {
            let bound = if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() };
            self.sample(&bucket, &[("le", &bound)], count);
        }
        self.sample(&format!("{name}_sum"), &[], histogram.sum());
        self.sample(&format!("{name}_count"), &[], histogram.count());
    }

    /// The head of a family; its samples follow. A family that is there already,
    /// of another part, gets more samples.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        if let Some(known) = self.families.iter().position(|family| family.name == name) {
            self.current = known;
            return;
        }
        self.current = self.families.len();
        self.families.push(Family { name: name.to_owned(), text: String::new() });
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// One sample of the family whose head was added last.
    pub fn sample(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) {
        let own = labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text)));
        // Facts may name the stage themselves.
        let names_stage = labels.iter().any(|(label, _)| *label == "stage");
        let part = self.part.clone().filter(|_| !names_stage);
        let labels: Vec<String> = part.into_iter().chain(own).collect();
        match labels.is_empty() {
            true => self.line(format_args!("{name} {value}")),
            false => self.line(format_args!("{name}{{{}}} {value}", labels.join(","))),
        }
    }

    /// All of it.
    pub fn into_text(self) -> String {
        self.families.into_iter().map(|family| family.text).collect()
    }

    fn line(&mut self, line: impl Display) {
        if let Some(family) = self.families.get_mut(self.current) {
            // Writing to a String cannot fail.
            let _ = writeln!(family.text, "{line}");
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_share_families_and_are_told_by_their_stage() {
        let mut out = Exposition::default();
        for (stage, value) in [("a", 1), ("b", 2)] {
            out.begin_part(stage);
            out.info("x_info", "Facts.", &[("stage", stage)]);
            out.counter("y_total", "Some.", value);
            out.family("z", "gauge", "More.");
            out.sample("z", &[("partition", "0")], value);
        }
        let expected = r#"# HELP x_info Facts.
# TYPE x_info gauge
x_info{stage="a"} 1
x_info{stage="b"} 1
# HELP y_total Some.
# TYPE y_total counter
y_total{stage="a"} 1
y_total{stage="b"} 2
# HELP z More.
# TYPE z gauge
z{stage="a",partition="0"} 1
z{stage="b",partition="0"} 2
"#;
        assert_eq!(out.into_text(), expected);
    }

    #[test]
    fn each_type_has_its_form() {
        let mut out = Exposition::default();
        out.counter("a_total", "Some.", 3);
        out.gauge("b_seconds", "Line\nbreak.", 0.25);
        out.info("c_info", "Facts.", &[("x", "a\"b\\c\nd"), ("y", "ü")]);
        let mut histogram = Histogram::new(&[0.5, 2.0]);
        histogram.observe(0.5, 1);
        histogram.observe(3.0, 2);
        out.histogram("d_seconds", "Times.", &histogram);
        let expected = r#"# HELP a_total Some.
# TYPE a_total counter
a_total 3
# HELP b_seconds Line\nbreak.
# TYPE b_seconds gauge
b_seconds 0.25
# HELP c_info Facts.
# TYPE c_info gauge
c_info{x="a\"b\\c\nd",y="ü"} 1
# HELP d_seconds Times.
# TYPE d_seconds histogram
d_seconds_bucket{le="0.5"} 1
d_seconds_bucket{le="2"} 1
d_seconds_bucket{le="+Inf"} 3
d_seconds_sum 6.5
d_seconds_count 3
"#;
        assert_eq!(out.into_text(), expected);
    }
}
