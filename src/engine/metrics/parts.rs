//! A process with more than one loop: each has figures, beat and readiness of its
//! own, and the process is as well as the worst of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::text::Exposition;
use super::{Figures, Metrics, NO_BEAT, Relaying};

impl Metrics {
    /// What one more loop of this process shows of itself, beside the others.
    pub fn part(&self) -> Arc<Metrics> {
        let part = Arc::<Metrics>::default();
        self.lock().parts.push(Arc::clone(&part));
        part
    }

    /// The loop has ended well: it need not come round any more.
    pub fn rest(&self) {
        self.beat_ms.store(NO_BEAT, Ordering::Relaxed);
        self.set_unready(None);
    }

    pub(super) fn parts(&self) -> Vec<Arc<Metrics>> {
        self.lock().parts.clone()
    }
}

/// The figures of all, each under the name of its stage.
pub(super) fn figures(parts: &[Arc<Metrics>]) -> Figures {
    let mut all = Figures { records: 0, fields: BTreeMap::new() };
    for part in parts {
        if let Some(relaying) = &part.lock().relaying {
            let Figures { records, fields } = relaying.figures();
            all.records += records;
            let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
            all.fields.insert(relaying.stage(), fields.collect::<serde_json::Map<_, _>>().into());
        }
    }
    all
}

pub(super) fn render(parts: &[Arc<Metrics>], out: &mut Exposition) {
    for part in parts {
        if let Some(relaying) = &part.lock().relaying {
            out.begin_part(Relaying::stage(relaying));
            relaying.render(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_ready_when_all_its_loops_are() {
        let metrics = Metrics::default();
        let (one, other) = (metrics.part(), metrics.part());
        one.set_unready(None);
        assert_eq!(metrics.unready().as_deref(), Some("starting"));
        other.set_unready(Some("away".into()));
        assert_eq!(metrics.unready().as_deref(), Some("away"));
        assert!(metrics.render().contains("\norderctl_ready 0\n"));
        other.rest();
        assert_eq!(metrics.unready(), None);
        assert!(metrics.render().contains("\norderctl_ready 1\n"));
    }

    #[test]
    fn each_loop_has_figures_of_its_own() {
        let metrics = Metrics::default();
        for (stage, topic) in [("a", "t"), ("b", "u")] {
            let part = metrics.part();
            part.begin_relaying(Relaying::new(stage, topic, "g"));
            part.relaying(|relaying| relaying.set_lag(BTreeMap::from([(0, 5)])));
        }
        let text = metrics.render();
        for line in [
            r#"orderctl_relay_info{stage="a",topic="t",group="g"} 1"#,
            r#"orderctl_records_read_total{stage="b"} 0"#,
            r#"orderctl_partition_lag_records{stage="b",topic="u",partition="0"} 5"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        let help = "# HELP orderctl_records_read_total ";
        assert_eq!(text.lines().filter(|line| line.starts_with(help)).count(), 1);
        let figures = metrics.figures().unwrap();
        assert_eq!(
            (&figures.fields["a"]["lag"], &figures.fields["b"]["lag"]),
            (&5.into(), &5.into())
        );
    }
}
