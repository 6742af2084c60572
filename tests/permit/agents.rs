//! More agents than one.

use std::time::Instant;

use serde_json::{Value, json};
use testbed::Agent;

use crate::support::{SOON, Stage, ask, builder, can_run, data};

const HELD: [(&str, &str); 2] = [("X-Wait-Timeout", "15"), ("X-Timeout-Policy", "fail")];

/// Another agent of the same scope.
async fn other(stage: &Stage) -> Agent {
    let agent = builder(&stage.functions, stage.functions.url()).await.start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    agent
}

#[tokio::test]
async fn who_writes_here_is_decided_by_here_at_once_and_elsewhere_soon() {
    if !can_run(&[]) {
        return;
    }
    let stage = Stage::new().await;
    let other = other(&stage).await;
    let mut slowest = std::time::Duration::ZERO;
    for turn in 0..20 {
        let user = json!({ "attributes": { "turn": turn } });
        let told = stage.ask("PUT", "/facts/users/ann", &HELD, &user).await;
        assert_eq!(told.became.as_deref(), Some("applied"), "{told:?}");
        assert_eq!(stage.data("users/ann/attributes/turn").await, json!(turn));
        let began = Instant::now();
        let wanted = json!(turn);
        other.wait_decision("users/ann/attributes/turn", &json!({}), &wanted, SOON).await.unwrap();
        slowest = slowest.max(began.elapsed());
    }
    println!("the other agent had it after at most {slowest:?}");
}

#[tokio::test]
async fn a_role_that_is_taken_away_is_gone_when_the_call_returns() {
    if !can_run(&[]) {
        return;
    }
    let stage = Stage::new().await;
    let role = json!({ "role": "viewer", "tenant": "default" });
    stage.put("ann", &HELD).await;
    for _ in 0..20 {
        let path = "/facts/users/ann/roles";
        let given = stage.ask("POST", path, &HELD, &role).await;
        assert_eq!((given.status, given.became.as_deref()), (200, Some("applied")), "{given:?}");
        assert_eq!(stage.data("users/ann/roleAssignments/default").await, json!(["viewer"]));
        let taken = stage.ask("DELETE", path, &HELD, &role).await;
        assert_eq!((taken.status, taken.became.as_deref()), (200, Some("applied")), "{taken:?}");
        assert_eq!(taken.body["role"], "viewer", "what is gone is shown");
        assert_eq!(stage.data("users/ann/roleAssignments/default").await, Value::Null);
    }
}

#[tokio::test]
async fn of_two_writes_at_the_same_time_all_agents_have_the_later_one() {
    if !can_run(&[]) {
        return;
    }
    let stage = Stage::new().await;
    let other = other(&stage).await;
    for turn in 0..20 {
        let user = |by: &str| json!({ "attributes": { "by": by, "turn": turn } });
        let (one, two) = (user("one"), user("two"));
        let route = ("PUT", "/facts/users/ann");
        let (here, there) = tokio::join!(
            ask(&stage.agent, &stage.token, route, &HELD, &one),
            ask(&other, &stage.token, route, &HELD, &two),
        );
        let (first, second) = (here.seq.unwrap(), there.seq.unwrap());
        assert_ne!(first, second);
        let later = if first > second { "one" } else { "two" };
        // Who wrote the earlier one may have its answer before the later one has come.
        for agent in [&stage.agent, &other] {
            agent.wait_cursor(first.max(second), SOON).await.unwrap();
            assert_eq!(data(agent, "users/ann/attributes/by").await, json!(later), "turn {turn}");
        }
    }
}
