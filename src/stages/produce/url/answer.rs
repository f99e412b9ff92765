//! From a service's answer to the payloads of events (pure).

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::edges::trust::printable;
use crate::events::Kind;

/// Where a user of the public random-user services has our fields.
const USER_FIELDS: [(&str, &str); 12] = [
    ("user_id", "/login/uuid"),
    ("email", "/email"),
    ("phone", "/phone"),
    ("city", "/location/city"),
    ("state", "/location/state"),
    ("postal_code", "/location/postcode"),
    ("country", "/location/country"),
    ("gender", "/gender"),
    ("date_of_birth", "/dob/date"),
    ("username", "/login/username"),
    ("registered_at", "/registered/date"),
    ("picture", "/picture/medium"),
];

/// Takes an answer apart: users as the random-user services give them
/// (`{"results": […], "info": …}`), or events of the kind itself, as an array or
/// one after the other. The events need not be valid.
///
/// # Errors
/// When it is no whole JSON, or says that something went wrong.
pub fn payloads(kind: Kind, body: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut found = Vec::new();
    for value in serde_json::Deserializer::from_slice(body).into_iter::<Box<RawValue>>() {
        let value = value.map_err(|error| format!("the answer is no whole JSON: {error}"))?;
        take(kind, value.get(), &mut found)?;
    }
    match body.trim_ascii() {
        [] => Err("the answer is empty".into()),
        _ => Ok(found),
    }
}

fn take(kind: Kind, json: &str, found: &mut Vec<Vec<u8>>) -> Result<(), String> {
    if let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(json) {
        found.extend(items.into_iter().map(|item| on_one_line(item.get())));
        return Ok(());
    }
    let whole: Value = serde_json::from_str(json)
        .map_err(|error| format!("the answer cannot be read: {error}"))?;
    if let Some(why) = error_of(&whole) {
        return Err(format!("the answer says: {why}"));
    }
    match whole.get("results").and_then(Value::as_array) {
        Some(users) if kind == Kind::User => {
            found.extend(users.iter().map(|user| self::user(user).to_string().into_bytes()));
        }
        _ => found.push(on_one_line(json)),
    }
    Ok(())
}

/// What an answer without events says of itself.
fn error_of(whole: &Value) -> Option<String> {
    if whole.get("results").is_some() {
        return None;
    }
    match whole.get("error")? {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) => Some(printable(text)),
        other => Some(printable(&other.to_string())),
    }
}

/// Between the parts of JSON a line's end means no more than a space; inside of
/// texts there is none.
fn on_one_line(json: &str) -> Vec<u8> {
    json.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }).collect()
}

/// Our user of one of theirs. What is not there stays out, and is missed when the
/// event is parsed.
fn user(theirs: &Value) -> Value {
    let at = |pointer: &str| theirs.pointer(pointer).and_then(text);
    let joined = |pointers: [&str; 2]| {
        let parts: Vec<String> = pointers.into_iter().filter_map(at).collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    };
    let mut ours = Map::new();
    for (name, pointer) in USER_FIELDS {
        if let Some(text) = at(pointer) {
            ours.insert(name.into(), text.into());
        }
    }
    if let Some(name) = joined(["/name/first", "/name/last"]) {
        ours.insert("full_name".into(), name.into());
    }
    if let Some(street) = joined(["/location/street/number", "/location/street/name"]) {
        ours.insert("address".into(), street.into());
    }
    Value::Object(ours)
}

/// A text, or the digits of a number: postcodes are one or the other.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.trim().is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn theirs(postcode: Value) -> Value {
        json!({
            "gender": "female", "name": {"title": "Ms", "first": "Zoë", "last": "Núñez"},
            "location": {
                "street": {"number": 12, "name": "Calle Mayor"}, "city": "León",
                "state": "Castilla", "country": "Spain", "postcode": postcode
            },
            "email": "zoe@example.com",
            "login": {"uuid": "7a0eed16-9430-4d68-901f-c0d4c1c3bf00", "username": "zn",
                      "password": "hunter2"},
            "dob": {"date": "1966-06-26T11:50:25.994Z", "age": 60},
            "registered": {"date": "2016-06-26T11:50:25.994Z", "age": 9},
            "phone": "981-065-086", "picture": {"medium": "https://example.com/1.jpg"}
        })
    }

    fn users(body: &Value) -> Vec<Value> {
        let payloads = payloads(Kind::User, body.to_string().as_bytes()).unwrap();
        payloads.iter().map(|payload| serde_json::from_slice(payload).unwrap()).collect()
    }

    #[test]
    fn a_random_user_becomes_a_valid_user_without_its_password() {
        let body = json!({"results": [theirs(json!(24001)), theirs(json!("EC1A 1BB"))]});
        let found = users(&body);
        for (user, postcode) in found.iter().zip(["24001", "EC1A 1BB"]) {
            let payload = user.to_string();
            let event = Kind::User.parse(payload.as_bytes()).unwrap();
            assert_eq!(event.id(), "7a0eed16-9430-4d68-901f-c0d4c1c3bf00");
            assert_eq!(user["full_name"], "Zoë Núñez");
            assert_eq!(user["address"], "12 Calle Mayor");
            assert_eq!(user["postal_code"], postcode);
            assert_eq!(user["registered_at"], "2016-06-26T11:50:25.994Z");
            assert!(!payload.contains("hunter2"), "{payload}");
        }
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn a_user_that_lacks_something_is_refused_by_the_field() {
        let mut user = theirs(json!(1));
        user["email"] = json!(null);
        let found = users(&json!({"results": [user, 7, {}]}));
        let refusal = |user: &Value| {
            let payload = user.to_string();
            Kind::User.parse(payload.as_bytes()).map(drop).unwrap_err().field
        };
        assert_eq!(refusal(&found[0]), "email");
        assert_eq!(refusal(&found[1]), "user_id");
        assert_eq!(refusal(&found[2]), "user_id");
    }

    #[test]
    fn events_of_the_kind_itself_come_as_an_array_or_one_after_the_other() {
        let number = "12345678901234567890.10";
        for body in [
            format!("[{{\"a\":{number}}},{{\"b\":\n2}}]"),
            format!("{{\"a\":{number}}}\n{{\"b\":\n2}}\n"),
        ] {
            let found = payloads(Kind::Order, body.as_bytes()).unwrap();
            let expected = [format!("{{\"a\":{number}}}"), "{\"b\": 2}".into()];
            assert_eq!(found, expected.map(String::into_bytes));
        }
        assert_eq!(payloads(Kind::User, b"[]").unwrap(), Vec::<Vec<u8>>::new());
        assert_eq!(payloads(Kind::User, b"{\"results\":[]}").unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn an_answer_that_is_none_says_why() {
        for (body, word) in [
            (r#"{"error":"Uh oh, something has gone wrong"}"#, "Uh oh"),
            (r#"{"error":{"code":1}}"#, "code"),
            ("", "empty"),
            (" \n", "empty"),
            (r#"{"results":[{"gender":"fem"#, "no whole JSON"),
            ("<html>busy</html>", "no whole JSON"),
            (r#"[{"a":1},"#, "no whole JSON"),
        ] {
            let why = payloads(Kind::User, body.as_bytes()).unwrap_err();
            assert!(why.contains(word), "{body}: {why}");
        }
    }

    proptest! {
        #[test]
        fn a_cut_answer_is_never_taken_for_a_whole_one(cut in 1usize..1000) {
            let body = json!({"results": [theirs(json!(1)), theirs(json!("2"))]}).to_string();
            let body = body.as_bytes();
            prop_assert!(payloads(Kind::User, &body[..cut.min(body.len() - 1)]).is_err());
        }

        #[test]
        fn whatever_comes_is_taken_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = payloads(Kind::User, &body);
        }
    }
}
