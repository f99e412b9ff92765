//! The few classes that rejects and retries are counted by. Labels never hold
//! text that came with a payload or from a server.

use crate::events::Reject;

/// What a try that will be repeated was foiled by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Kafka did not answer.
    Broker,
    /// No connection to the database, or it broke off.
    Connection,
    /// Class 25: a standby, or a limit on idle transactions.
    ReadOnly,
    /// Class 40: deadlock or serialization failure.
    Rollback,
    /// Class 53: disk full, memory, connections.
    Resources,
    /// Class 55: someone else holds the lock.
    Lock,
    /// Class 57: shutdown, or cancelled by the administrator.
    Intervention,
    /// Any other answer of the database.
    Other,
}

impl Cause {
    /// All causes; each stands at its own number.
    pub const ALL: [Cause; 8] = [
        Cause::Broker,
        Cause::Connection,
        Cause::ReadOnly,
        Cause::Rollback,
        Cause::Resources,
        Cause::Lock,
        Cause::Intervention,
        Cause::Other,
    ];

    /// The value of the label `cause`.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Broker => "broker",
            Cause::Connection => "connection",
            Cause::ReadOnly => "sqlstate_25",
            Cause::Rollback => "sqlstate_40",
            Cause::Resources => "sqlstate_53",
            Cause::Lock => "sqlstate_55",
            Cause::Intervention => "sqlstate_57",
            Cause::Other => "sqlstate_other",
        }
    }

    /// The cause that a SQLSTATE tells.
    pub fn of_sqlstate(code: &str) -> Cause {
        match code.get(..2).unwrap_or_default() {
            "08" => Cause::Connection,
            "25" => Cause::ReadOnly,
            "40" => Cause::Rollback,
            "53" => Cause::Resources,
            "55" => Cause::Lock,
            "57" => Cause::Intervention,
            _ => Cause::Other,
        }
    }

    /// Whether it is the database that is away.
    pub fn is_database(self) -> bool {
        self != Cause::Broker
    }
}

/// Why records are rejected, as far as a counter tells it; the dead letter has
/// field and reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectReason {
    /// No payload.
    Tombstone,
    /// A payload that is no JSON in UTF-8, is empty, or is nested too deep.
    NotJson,
    /// A required field is not there.
    Missing,
    /// A field is there more than once.
    Repeated,
    /// A field has a value that it cannot have, or its column cannot hold.
    Invalid,
    /// The id is stored already, and duplicates are to be rejected.
    Duplicate,
    /// The database refuses the row (a constraint, a trigger), or the cluster the
    /// record that was made (its size).
    Refused,
}

impl RejectReason {
    /// All reasons; each stands at its own number.
    pub const ALL: [RejectReason; 7] = [
        RejectReason::Tombstone,
        RejectReason::NotJson,
        RejectReason::Missing,
        RejectReason::Repeated,
        RejectReason::Invalid,
        RejectReason::Duplicate,
        RejectReason::Refused,
    ];

    /// The value of the label `reason`.
    pub fn name(self) -> &'static str {
        match self {
            RejectReason::Tombstone => "tombstone",
            RejectReason::NotJson => "not_json",
            RejectReason::Missing => "missing",
            RejectReason::Repeated => "repeated",
            RejectReason::Invalid => "invalid",
            RejectReason::Duplicate => "duplicate",
            RejectReason::Refused => "refused",
        }
    }

    /// The class of a reject, by how its text begins or ends.
    pub fn of(reject: &Reject) -> RejectReason {
        let reason = reject.reason.as_str();
        if reason.contains("(SQLSTATE ") || reason.starts_with("refused by the cluster") {
            return RejectReason::Refused;
        }
        match (reject.field.is_empty(), reason) {
            (false, "is missing") => RejectReason::Missing,
            (false, "is there more than once") => RejectReason::Repeated,
            (false, _) => RejectReason::Invalid,
            (true, _) if reason.starts_with("no payload") => RejectReason::Tombstone,
            (true, _) if reason.starts_with("duplicate") => RejectReason::Duplicate,
            (true, _) if reason.starts_with("invalid type") => RejectReason::Invalid,
            (true, _) => RejectReason::NotJson,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::batch::repeated_id;
    use crate::engine::lanes::tombstone;
    use crate::events::Kind;

    #[test]
    fn each_class_stands_at_its_own_number() {
        for (number, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, number);
        }
        for (number, reason) in RejectReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
    }

    #[test]
    fn rejects_as_they_come_have_their_class() {
        let order = |change: &str| {
            let order = r#"{"order_id":"1","customer":{"name":"a","email":"a@b.c","address":
                {"street":"s","city":"c","state":"s","postal_code":"1"}},"product_name":"p",
                "quantity":5,"order_date":"2023-06-09","priority":"high"}"#;
            let (from, to) = change.split_once('>').unwrap();
            Kind::Order.parse(order.replace(from, to).as_bytes()).unwrap_err()
        };
        let unread = |payload: &[u8]| Kind::Order.parse(payload).unwrap_err();
        let deep = format!("{{\"a\":{}", "[".repeat(200));
        let refused = Reject::new("", "violates check constraint (SQLSTATE 23514)");
        for (reject, expected) in [
            (tombstone(), RejectReason::Tombstone),
            (unread(b""), RejectReason::NotJson),
            (unread(b"\xff"), RejectReason::NotJson),
            (unread(b"{\"order_id\":"), RejectReason::NotJson),
            (unread(deep.as_bytes()), RejectReason::NotJson),
            (unread(b"[]"), RejectReason::Invalid),
            (order("\"quantity\":5,>"), RejectReason::Missing),
            (order("\"city\":\"c\">\"city\":\"c\",\"city\":\"d\""), RejectReason::Repeated),
            (order(":5>:0"), RejectReason::Invalid),
            (repeated_id(), RejectReason::Duplicate),
            (refused, RejectReason::Refused),
        ] {
            assert_eq!(RejectReason::of(&reject), expected, "{reject}");
        }
    }

    #[test]
    fn sqlstates_have_the_cause_of_their_class() {
        for (code, name) in [
            ("08006", "connection"),
            ("40P01", "sqlstate_40"),
            ("53300", "sqlstate_53"),
            ("57P01", "sqlstate_57"),
            ("XX000", "sqlstate_other"),
            ("", "sqlstate_other"),
        ] {
            assert_eq!(Cause::of_sqlstate(code).name(), name);
        }
    }
}
