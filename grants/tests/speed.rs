//! How long a check takes, as `cargo xtask bench grants` has it: a line of JSON for each number of
//! grants. Nothing is asserted on time.
//!
//! It is the same program natively and as WebAssembly, where Node runs it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use grants::Model;
use protocol::Millis;
use protocol::plane::Question;
use protocol::plane::grants::{Effect, Grant, PathSyntax, Subject};

const NUMBERS: [usize; 3] = [100, 10_000, 100_000];
const DOMAINS: usize = 1_000;
const ROUNDS: usize = 50_000;
/// What each domain has one of, and every token of it.
const ROLE: &str = "reader";

#[cfg(not(target_arch = "wasm32"))]
#[test]
#[ignore = "measures: cargo xtask bench grants"]
fn a_check_is_measured() {
    let began = std::time::Instant::now();
    measure(|| began.elapsed().as_secs_f64() * 1e6, |line| println!("{line}"));
}

#[cfg(target_arch = "wasm32")]
#[wasm_bindgen_test::wasm_bindgen_test]
#[ignore = "measures: cargo xtask bench grants"]
fn a_check_is_measured() {
    use js_sys::{Function, Reflect};
    use wasm_bindgen::JsCast as _;

    let performance = Reflect::get(&js_sys::global(), &"performance".into()).unwrap();
    let now = Reflect::get(&performance, &"now".into()).unwrap().dyn_into::<Function>().unwrap();
    let microseconds = || now.call0(&performance).unwrap().as_f64().unwrap() * 1e3;
    measure(microseconds, |line| wasm_bindgen_test::console_log!("{line}"));
}

fn measure(microseconds: impl Fn() -> f64, print: impl Fn(&str)) {
    for number in NUMBERS {
        let mut model = Model::default();
        for domain in 0..number.min(DOMAINS) {
            model.put(&role(domain)).unwrap();
        }
        for token in 0..number {
            model.put(&grant(token)).unwrap();
        }
        let mut random = fastrand::Rng::with_seed(1);
        let mut times: Vec<f64> = (0..ROUNDS)
            .map(|round| {
                let (question, expected) = question(random.usize(0..number), round);
                let began = microseconds();
                let is_allowed = model.allows(Millis(1), &question);
                let time = microseconds() - began;
                assert_eq!(is_allowed, expected, "{question:?}");
                time
            })
            .collect();
        times.sort_unstable_by(f64::total_cmp);
        let at = |percent: usize| times[ROUNDS * percent / 100];
        print(&format!(r#"{{"grants":{number},"p50":{:.3},"p99":{:.3}}}"#, at(50), at(99)));
    }
}

fn grant(token: usize) -> Grant {
    Grant {
        id: format!("grant_{token:020}"),
        domain: format!("d{}.example.com", token % DOMAINS),
        subject: Subject::Token(format!("{token:064x}")),
        allowed_http_methods: ["POST", "GET"].map(str::to_owned).into(),
        paths: vec![
            "/api/v1/facts".to_owned(),
            format!("/api/v1/facts/fact_{token:020}"),
            "/api/v1/scopes/:id/*".to_owned(),
            "/js/*".to_owned(),
        ],
        path_syntax: PathSyntax::Safe,
        eft: Effect::Allow,
        roles: vec![ROLE.to_owned()],
        expires_at: None,
        created_at: Millis(0),
        added_to: None,
    }
}

fn role(domain: usize) -> Grant {
    Grant {
        id: format!("role_{domain}"),
        subject: Subject::Role(ROLE.to_owned()),
        paths: vec!["/api/v1/reports/:year/:month".to_owned()],
        roles: vec![],
        ..grant(domain)
    }
}

/// What a token may by its own grant, what it may by its role, and what it may not.
fn question(token: usize, round: usize) -> (Question, bool) {
    let (path, is_allowed) = match round % 3 {
        0 => (format!("/api/v1/facts/fact_{token:020}"), true),
        1 => ("/api/v1/reports/2026/11".to_owned(), true),
        _ => ("/api/v1/facts/fact_of_somebody_else".to_owned(), false),
    };
    let question = Question {
        subject: format!("{token:064x}"),
        domain: format!("d{}.example.com", token % DOMAINS),
        path,
        method: "GET".to_owned(),
    };
    (question, is_allowed)
}
