//! How many decisions, and how long each takes while data is written.
//!
//! `cargo test --release --package edge-agent --lib measure -- --ignored --nocapture`

use std::sync::atomic::{AtomicBool, Ordering};

use rego::{Builtins, Language};

use super::*;

const USERS: usize = 10_000;
const TIME: Duration = Duration::from_secs(3);

/// Roles of users, permissions of roles: the example in OPA's documentation.
const RBAC: &str = "package app.rbac\n\ndefault allow := false\n\
    allow if user_is_admin\n\
    allow if { some grant in user_is_granted; input.action == grant.action; input.type == grant.type }\n\
    user_is_admin if \"admin\" in data.user_roles[input.user]\n\
    user_is_granted contains grant if { some role in data.user_roles[input.user]; some grant in data.role_grants[role] }";
/// The same, but that no program decides by it.
const INTERPRETED: &str = "\nunused := {k: v | some k, v in {\"a\": 1}}\nallow if unused.a == 2";

fn versions(extra: &str) -> Versions {
    let rego = format!("{RBAC}{extra}");
    let policies =
        Policies::compile([("rbac.rego", rego.as_str())], Language::V1, Builtins::Embedded);
    let grant = |n: usize| format!(r#"{{"action":"a{n}","type":"t{n}"}}"#);
    let roles =
        (0..20).map(|n| format!(r#""r{n}":[{},{},{}]"#, grant(n), grant(n + 1), grant(n + 2)));
    let users = (0..USERS).map(|n| format!(r#""u{n}":["r{}","r{}"]"#, n % 20, n % 7));
    let data = format!(
        r#"{{"role_grants":{{{}}},"user_roles":{{{}}}}}"#,
        roles.collect::<Vec<_>>().join(","),
        users.collect::<Vec<_>>().join(",")
    );
    Versions::new(
        policies.unwrap_or_else(|it| panic!("{it}")),
        Value::from_json_str(&data).unwrap(),
    )
}

/// Decides for a while on one thread: how long each decision took, in the order of lengths.
fn decide(versions: &Versions) -> Vec<Duration> {
    let path: Vec<String> = ["app", "rbac", "allow"].map(str::to_owned).to_vec();
    let inputs: Vec<Value> = (0..1_000)
        .map(|n| {
            let (user, a) = (n * 7 % USERS, n % 23);
            let json = format!(r#"{{"user":"u{user}","action":"a{a}","type":"t{a}"}}"#);
            Value::from_json_str(&json).unwrap()
        })
        .collect();
    let (mut times, begin) = (Vec::with_capacity(1 << 21), Instant::now());
    for input in inputs.iter().cycle() {
        let at = Instant::now();
        let decided = versions.current().decide(&path, Some(input.clone())).unwrap();
        times.push(at.elapsed());
        assert!(matches!(decided, Some(Value::Bool(_))));
        if begin.elapsed() > TIME {
            break;
        }
    }
    times.sort_unstable();
    times
}

#[test]
#[ignore = "it measures; run it optimized"]
fn measure_decisions_idle_and_while_a_thousand_writes_a_second_are_made() {
    for (what, extra) in [("program", ""), ("interpreter", INTERPRETED)] {
        let versions = versions(extra);
        tell(what, "idle", &decide(&versions));
        let ends = AtomicBool::new(false);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let (begin, mut written, mut slowest) = (Instant::now(), 0_u32, Duration::ZERO);
                while !ends.load(Ordering::Relaxed) {
                    let change = Change::Put(
                        vec!["user_roles".to_owned(), format!("u{}", written * 13 % 10_000)],
                        Value::from(vec![Value::from(format!("r{}", written % 20))]),
                    );
                    let at = Instant::now();
                    versions.change(change).unwrap();
                    slowest = slowest.max(at.elapsed());
                    written += 1;
                    thread::sleep(
                        (Duration::from_millis(1) * written).saturating_sub(begin.elapsed()),
                    );
                }
                (written, slowest)
            });
            let times = decide(&versions);
            ends.store(true, Ordering::Relaxed);
            let (written, slowest) = writer.join().unwrap();
            tell(what, &format!("{written} writes, the slowest {slowest:?}"), &times);
        });
    }
}

fn tell(what: &str, when: &str, times: &[Duration]) {
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{what}, {when}: {:.0} decisions/s, p50 {:?}, p99 {:?}, p99.9 {:?}, most {:?}",
        times.len() as f64 / TIME.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}
