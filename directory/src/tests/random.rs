//! Whatever is done in whatever order: an agent that was told each change has what one has that is
//! told everything anew, and the index leads to everything.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::{Value, json};

use super::Desk;

const KEYS: [&str; 4] = ["a", "b/c", "d~", "default"];
const INSTANCES: [&str; 4] = ["doc:1", "doc:x/y", "folder:1", "f:~1"];

fn step(rng: &mut Rng, desk: &mut Desk) {
    let key = rng.choice(KEYS).unwrap();
    let tenant = rng.choice(KEYS).unwrap();
    let role = rng.choice(["viewer", "editor"]).unwrap();
    let one = rng.choice(INSTANCES).unwrap();
    let other = rng.choice(INSTANCES).unwrap();
    let path = key.replace('/', "%2F");
    let tuple = json!({"subject": one, "relation": role, "object": other, "tenant": tenant});
    let in_tenant = json!({"user": key, "role": role, "tenant": tenant});
    let on = json!({"user": key, "role": role, "tenant": tenant, "resource_instance": one});
    let (resource, id) = one.split_once(':').unwrap();
    let instance = json!({"resource": resource, "key": id, "tenant": tenant});
    let (method, path, body) = match rng.u8(..14) {
        0 | 1 => ("PUT", format!("users/{path}"), json!({"attributes": {"n": rng.u8(..)}})),
        2 => ("DELETE", format!("users/{path}"), Value::Null),
        3 => ("POST", "tenants".to_owned(), json!({"key": key})),
        4 => ("DELETE", format!("tenants/{path}"), Value::Null),
        5 | 6 => ("POST", "role_assignments".to_owned(), in_tenant),
        7 => ("POST", "role_assignments".to_owned(), on),
        8 => ("DELETE", "role_assignments".to_owned(), in_tenant),
        9 => ("DELETE", "role_assignments".to_owned(), on),
        10 => ("PUT", "bulk/resource_instances".to_owned(), json!({"operations": [instance]})),
        11 => ("DELETE", format!("resource_instances/{}", one.replace('/', "%2F")), Value::Null),
        12 => ("POST", "relationship_tuples".to_owned(), tuple),
        _ => ("DELETE", "relationship_tuples/bulk".to_owned(), json!({"idents": [tuple]})),
    };
    let (status, answer) = desk.ask(method, &path, &body.to_string());
    assert!(status < 500, "{method} {path} {body}: {answer}");
}

/// Without documents that hold nothing, which say no more than none.
fn plain(data: &BTreeMap<String, BTreeMap<String, Value>>) -> BTreeMap<String, &Value> {
    let all = data.iter().flat_map(|(place, documents)| {
        documents.iter().map(move |(key, value)| (format!("{place} {key}"), value))
    });
    all.filter(|(_, value)| **value != json!({})).collect()
}

#[test]
fn an_agent_has_what_is_kept() {
    for seed in 0..20 {
        let mut rng = Rng::with_seed(seed);
        let mut desk = Desk::default();
        for at in 0..150 {
            step(&mut rng, &mut desk);
            assert_eq!(plain(&desk.data), plain(&desk.told_anew()), "seed {seed}, step {at}");
        }
        // With all users and tenants everything goes.
        for kind in ["users", "tenants"] {
            for key in KEYS {
                desk.ask("DELETE", &format!("{kind}/{}", key.replace('/', "%2F")), "");
            }
        }
        assert!(desk.kept.0.is_empty(), "seed {seed}: {:?}", desk.kept.0);
        assert!(plain(&desk.data).is_empty(), "seed {seed}");
    }
}
