//! Prometheus' text format, version 0.0.4
//! (prometheus.io/docs/instrumenting/exposition_formats).

use std::fmt::{Display, Write as _};

use super::histogram::Histogram;

/// A label's name and value.
pub type Label<'l> = (&'l str, &'l str);

/// Families of metrics as text, in the order they are added.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
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

    /// The head of a family; its samples follow.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// One sample of the family whose head was added last.
    pub fn sample(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) {
        if labels.is_empty() {
            return self.line(format_args!("{name} {value}"));
        }
        let labels: Vec<String> =
            labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text))).collect();
        self.line(format_args!("{name}{{{}}} {value}", labels.join(",")));
    }

    /// All of it.
    pub fn into_text(self) -> String {
        self.0
    }

    fn line(&mut self, line: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{line}");
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

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
