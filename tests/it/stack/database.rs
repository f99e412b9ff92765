//! The stack's database, and the one that only a demo needs.

use std::net::TcpStream;

use orderctl::stack::LOGIN;
use orderctl::stack::postgres::ThrowAway;
use orderctl::stop::Stop;

use crate::support::shared_stack::QUIET;
use crate::support::{Sandbox, query_at, sql, sql_value, stack, try_sql, uri};

#[test]
fn the_database_refuses_the_network_without_tls_and_its_superuser() {
    let plain = uri(&stack().creds).replace("verify-full", "disable");
    let config: tokio_postgres::Config = plain.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let refused = runtime.block_on(config.connect(tokio_postgres::NoTls)).err().unwrap();
    let text = refused.as_db_error().unwrap().message().to_owned();
    assert!(text.contains("no encryption"), "{text}");
    let superuser = uri(&stack().creds).replace(&format!("//{LOGIN}:"), "//postgres:");
    let ca = stack().cert_path.join("ca.pem");
    let refused = query_at(&superuser, &ca, "select 1").unwrap_err();
    assert!(refused.to_string().starts_with("28000"), "{refused:#}");
}

#[test]
fn the_role_owns_its_database_and_is_no_superuser() {
    let sandbox = Sandbox::new("role");
    let table = sandbox.table("t");
    sql(&format!("create table {table}(a int)"));
    assert_eq!(sql_value(&format!("select count(*) from {table}")), "0");
    let forbidden = try_sql("select pg_read_file('/etc/passwd')").unwrap_err();
    assert!(forbidden.to_string().starts_with("42501"), "{forbidden:#}");
}

#[test]
fn a_throw_away_database_answers_over_tls_and_is_gone_at_the_end() {
    let server = ThrowAway::start(&QUIET, &Stop::manual()).unwrap();
    let (uri, ca) = (server.uri(), server.ca());
    let rows = query_at(uri.expose(), &ca, "select current_user").unwrap();
    assert_eq!(rows, [[Some(LOGIN.to_owned())]]);
    assert!(server.cert_path().join("service.cert").is_file());
    let port = server.port();
    server.stop().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(!ca.exists());
}

#[test]
fn a_throw_away_database_is_not_started_after_a_stop_request() {
    let stop = Stop::manual();
    stop.request();
    let error = ThrowAway::start(&QUIET, &stop).unwrap_err();
    assert!(error.is::<orderctl::stack::Interrupted>(), "{error:#}");
}
