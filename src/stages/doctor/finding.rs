//! What a check found, and how all of it is shown.

use std::fmt;

use serde::Serialize;

use super::hints::Provider;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// It works, but not well, or not for long.
    Warning,
    /// It does not work.
    Failed,
    /// Not looked at, because an earlier check failed.
    Skipped,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Failed => "failed",
            Status::Skipped => "skipped",
        }
    }
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// creds.json, flags and variables.
    Settings,
    /// The files of the certificate directory.
    Certificates,
    /// The name of a host.
    Dns,
    /// Whether something listens.
    Tcp,
    /// Encryption, and the certificate of the server.
    Tls,
    /// Whether we are let in.
    Login,
    /// The brokers.
    Cluster,
    /// A topic and our rights on it.
    Topic,
    /// A consumer group and our rights on it.
    Group,
    /// Whether clocks agree.
    Clock,
    /// The version of the server.
    Version,
    /// Room for connections.
    Connections,
    /// Our rights on a table.
    Rights,
    /// Positions and dead letters.
    Ledger,
    /// Whether a table takes its kind.
    Table,
    /// Whether the service says what such a service says.
    Greeting,
}

impl Check {
    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Check::Settings => "settings",
            Check::Certificates => "certificates",
            Check::Dns => "dns",
            Check::Tcp => "tcp",
            Check::Tls => "tls",
            Check::Login => "login",
            Check::Cluster => "cluster",
            Check::Topic => "topic",
            Check::Group => "group",
            Check::Clock => "clock",
            Check::Version => "version",
            Check::Connections => "connections",
            Check::Rights => "rights",
            Check::Ledger => "ledger",
            Check::Table => "table",
            Check::Greeting => "greeting",
        }
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `files`, `kafka`, `postgres`, `smtp` or `search`.
    pub service: &'static str,
    /// What was looked at.
    pub check: Check,
    /// Which of several: a host and port, a topic, a table; empty for one only.
    pub subject: String,
    /// How it ended.
    pub status: Status,
    /// What was found, and what to do about it where something is wrong.
    pub message: String,
    /// What the provider of the service asks for, where that may be the cause.
    pub hint: Option<&'static str>,
}

/// The findings about one service, in the order of the checks.
#[derive(Debug, Clone)]
pub struct Sheet {
    service: &'static str,
    /// Who runs the service, where its name tells.
    pub provider: Option<Provider>,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl Sheet {
    /// An empty sheet.
    pub fn new(service: &'static str) -> Sheet {
        Sheet { service, provider: None, findings: Vec::new() }
    }

    /// Notes that something is as it should be.
    pub fn ok(&mut self, check: Check, subject: &str, message: impl Into<String>) {
        self.add(check, subject, Status::Ok, message.into());
    }

    /// Notes that something works, but not well or not for long.
    pub fn warning(&mut self, check: Check, subject: &str, message: impl Into<String>) {
        self.add(check, subject, Status::Warning, message.into());
    }

    /// Notes that something does not work.
    pub fn failed(&mut self, check: Check, subject: &str, message: impl Into<String>) {
        self.add(check, subject, Status::Failed, message.into());
    }

    /// Notes what is not looked at, because `earlier` failed.
    pub fn skip(&mut self, checks: &[Check], subject: &str, earlier: Check) {
        for check in checks {
            let message = format!("not looked at, because {} failed", earlier.name());
            self.add(*check, subject, Status::Skipped, message);
        }
    }

    /// Notes what came of a check that fails or says what it found.
    pub fn outcome(&mut self, check: Check, subject: &str, outcome: Result<String, String>) {
        match outcome {
            Ok(message) => self.ok(check, subject, message),
            Err(message) => self.failed(check, subject, message),
        }
    }

    /// Whether a check failed.
    pub fn has_failed(&self, check: Check) -> bool {
        let failed = |one: &&Finding| one.check == check && one.status == Status::Failed;
        self.findings.iter().any(|one| failed(&one))
    }

    fn add(&mut self, check: Check, subject: &str, status: Status, message: String) {
        let hint = self.provider.filter(|_| status == Status::Failed);
        self.findings.push(Finding {
            service: self.service,
            check,
            subject: subject.to_owned(),
            status,
            message,
            hint: hint.and_then(|provider| provider.hint(self.service, check)),
        });
    }
}

/// Everything that was found.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Report(pub Vec<Finding>);

impl Report {
    /// How many checks ended so.
    pub fn count(&self, status: Status) -> usize {
        self.0.iter().filter(|finding| finding.status == status).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = |finding: &Finding| match finding.subject.as_str() {
            "" => finding.check.name().to_owned(),
            subject => format!("{} {subject}", finding.check.name()),
        };
        let width = self.0.iter().map(|one| label(one).chars().count()).max().unwrap_or(0).min(40);
        let mut service = "";
        for finding in &self.0 {
            if finding.service != service {
                service = finding.service;
                writeln!(f, "{service}")?;
            }
            let (status, label) = (finding.status.name(), label(finding));
            writeln!(f, "  {status:<7}  {label:<width$}  {}", finding.message)?;
            if let Some(hint) = finding.hint {
                writeln!(f, "  {:<7}  {:<width$}  hint: {hint}", "", "")?;
            }
        }
        let all = [Status::Ok, Status::Warning, Status::Failed, Status::Skipped];
        let counts = all.map(|status| format!("{} {}", self.count(status), status.name()));
        write!(f, "{}", counts.join(", "))
    }
}

/// Certificates that end sooner than this are warned about, in days.
pub const DAYS_LEFT_MIN: i64 = 30;

/// How a certificate that ends in so many days is to be taken.
pub fn grade_expiry(days_left: i64) -> Status {
    match days_left {
        ..0 => Status::Failed,
        0..DAYS_LEFT_MIN => Status::Warning,
        _ => Status::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_is_graded_by_days() {
        for (days, status) in [
            (-1, Status::Failed),
            (0, Status::Warning),
            (29, Status::Warning),
            (30, Status::Ok),
            (4000, Status::Ok),
        ] {
            assert_eq!(grade_expiry(days), status, "{days}");
        }
    }

    fn sheet() -> Sheet {
        let mut sheet = Sheet::new("kafka");
        sheet.provider = Provider::of_host("x.servicebus.windows.net");
        sheet.ok(Check::Dns, "h", "10.0.0.1");
        sheet.warning(Check::Tls, "h:1", "ends soon: renew it");
        sheet.failed(Check::Login, "", "refused: check the password");
        sheet.skip(&[Check::Cluster, Check::Topic], "", Check::Login);
        sheet
    }

    #[test]
    fn the_table_has_a_line_for_each_finding_and_the_counts() {
        let report = Report(sheet().findings);
        let text = report.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "kafka");
        assert_eq!(lines[1], "  ok       dns h    10.0.0.1");
        assert_eq!(lines[2], "  warning  tls h:1  ends soon: renew it");
        assert_eq!(lines[3], "  failed   login    refused: check the password");
        assert!(lines[4].contains("hint: ") && lines[4].contains("$ConnectionString"), "{text}");
        assert!(lines[5].contains("skipped  cluster  not looked at, because login failed"));
        assert_eq!(lines.last(), Some(&"1 ok, 1 warning, 1 failed, 2 skipped"));
    }

    #[test]
    fn the_json_is_an_array_of_findings() {
        let json = serde_json::to_value(Report(sheet().findings)).unwrap();
        assert_eq!(json[0]["service"], "kafka");
        assert_eq!(json[0]["hint"], serde_json::Value::Null);
        assert_eq!(json[1]["status"], "warning");
        assert_eq!(json[2]["check"], "login");
        assert_eq!(json[4]["status"], "skipped");
    }

    #[test]
    fn only_a_failure_gets_a_hint() {
        let findings = sheet().findings;
        let hinted = findings.iter().filter(|one| one.hint.is_some());
        assert!(hinted.map(|one| one.status).eq([Status::Failed]));
    }
}
