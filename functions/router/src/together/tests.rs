//! Requests that travel together, with a hub in Node.

use futures::future::join_all;
use serde_json::value::to_raw_value;
use wasm_bindgen_test::wasm_bindgen_test;
use worker::js_sys::JSON;

use super::*;
use crate::in_node::{context, env_with_hub};

/// A hub that notes in `exchanges` how many requests each exchange has, and answers each with
/// the number it begins with. `instead` is what else it does.
fn hub(instead: &str) -> Env {
    Function::new_no_args("globalThis.exchanges = []").call0(&JsValue::NULL).unwrap();
    env_with_hub(&format!(
        "const asked = await request.json();
        exchanges.push(asked.length);
        {instead}
        const answer = (number) => ({{ Ok: {{ appended: {{ seq: parseInt(number) }} }} }});
        return Response.json({{ Ok: asked.map(answer) }});"
    ))
}

fn exchanges() -> String {
    let sizes = Function::new_no_args("return exchanges").call0(&JsValue::NULL).unwrap();
    JSON::stringify(&sizes).unwrap().into()
}

/// What so many hear that ask at the same time: a number, a refusal's status, or nothing.
async fn ask_all(env: &Env, scope: &str, asked: Vec<Box<RawValue>>) -> Vec<Result<u64, u16>> {
    let context = context();
    let caller = Caller { env, context: &context };
    let outcomes = join_all(asked.into_iter().map(|it| ask(caller, scope, it))).await;
    assert!(TRAFFIC.with_borrow(BTreeMap::is_empty), "nothing is left");
    let heard = |outcome: Outcome| match outcome {
        Ok(Ok(HubAnswer::Appended { seq, .. })) => Ok(seq.0),
        Ok(Ok(other)) => panic!("{other:?}"),
        Ok(Err(problem)) => Err(problem.status),
        Err(Lost) => Err(0),
    };
    outcomes.into_iter().map(heard).collect()
}

fn numbers(end: u64) -> Vec<Box<RawValue>> {
    (0..end).map(|number| RawValue::from_string(number.to_string()).unwrap()).collect()
}

#[wasm_bindgen_test]
async fn the_first_is_sent_at_once_and_what_comes_meanwhile_travels_together() {
    let heard = ask_all(&hub(""), "s", numbers(5)).await;
    assert_eq!(heard, [Ok(0), Ok(1), Ok(2), Ok(3), Ok(4)]);
    assert_eq!(exchanges(), "[1,4]");
}

#[wasm_bindgen_test]
async fn an_exchange_has_room_for_so_many_and_so_much() {
    let heard = ask_all(&hub(""), "s", numbers(130)).await;
    assert!(heard.into_iter().eq((0..130).map(Ok)));
    assert_eq!(exchanges(), "[1,64,64,1]");

    let large = |number: u64| to_raw_value(&format!("{number} {}", "x".repeat(3_000_000))).unwrap();
    let heard = ask_all(&hub(""), "s", (0..4).map(large).collect()).await;
    assert!(heard.into_iter().eq((0..4).map(Ok)));
    assert_eq!(exchanges(), "[1,1,1,1]");
}

#[wasm_bindgen_test]
async fn a_lost_answer_is_lost_for_who_travelled_together_and_for_nobody_else() {
    let throws = hub("if (exchanges.length === 2) throw new Error('gone');");
    let heard = ask_all(&throws, "s", numbers(66)).await;
    assert_eq!(heard.first(), Some(&Ok(0)));
    assert!(heard.iter().skip(1).take(64).all(|it| *it == Err(0)), "{heard:?}");
    assert_eq!(heard.last(), Some(&Ok(65)));
}

#[wasm_bindgen_test]
async fn who_is_not_answered_hears_that_the_answer_is_lost() {
    let heard = ask_all(&hub("asked.splice(2);"), "s", numbers(4)).await;
    assert_eq!(heard, [Ok(0), Ok(1), Ok(2), Err(0)]);
}

#[wasm_bindgen_test]
async fn what_the_hub_refuses_as_a_whole_it_refuses_each() {
    let refuses = "return Response.json({ Err: { status: 503, detail: 'no storage' } });";
    assert_eq!(ask_all(&hub(refuses), "s", numbers(3)).await, [Err(503); 3]);
}

#[wasm_bindgen_test]
async fn an_exchange_that_is_not_heard_of_is_given_up_and_who_waits_for_it_goes_on() {
    let silent = hub("if (exchanges.length === 1) await new Promise(() => {});");
    assert_eq!(ask_all(&silent, "s", numbers(4)).await, [Err(0), Ok(1), Ok(2), Ok(3)]);
    assert_eq!(exchanges(), "[1,3]");
}

#[wasm_bindgen_test]
fn what_nobody_waits_for_any_longer_is_not_sent() {
    let mut traffic = Traffic::default();
    let mut numbers = numbers(2).into_iter();
    traffic.queue(numbers.next().unwrap(), Millis(5)).unwrap();
    traffic.queue(numbers.next().unwrap(), Millis(6)).unwrap();
    let boarded = traffic.board(Millis(5 + LONGEST));
    assert_eq!(boarded.iter().map(|(asked, _)| asked.get()).collect::<Vec<_>>(), ["1"]);
    assert_eq!(traffic.bytes, 0);
}

#[wasm_bindgen_test]
fn what_waits_has_a_limit() {
    let mut traffic = Traffic::default();
    let large = to_raw_value(&"x".repeat(MAX_WAITING_BYTES)).unwrap();
    traffic.queue(large, Millis(0)).unwrap();
    let refused = numbers(1).remove(0);
    assert_eq!(traffic.queue(refused.clone(), Millis(0)).err().unwrap().status, 503);
    traffic.board(Millis(0));
    assert!(traffic.queue(refused, Millis(0)).is_ok());
}
