//! The publish function: checks what a publisher sends before it may enter the log, and shows
//! people what is in it.
//!
//! It decides and never stores: the router hands what [`accept`] returns to the hub of
//! the scope, and its number back to the publisher as [`Published`].
//!
//! | question | file |
//! |---|---|
//! | Who may publish what? What is a publisher told? | `lib.rs` |
//! | What may stand behind the `?` of an address? | [`query`] |
//! | What is a scope, and who may use it? | [`scopes`] |
//! | Which policies does a client get? | [`policy`] |
//! | What does a git host say, and is it true? | [`webhook`] |
//! | What does an OPA without an agent get? | [`bundle`] |
//! | What does it report? | [`report`] |
//! | What do people see of who is connected? | [`statistics`] |
//! | What of the log is shown to people? | [`inspection`] |

pub mod bundle;
pub mod inspection;
pub mod policy;
pub mod query;
pub mod report;
pub mod scopes;
pub mod statistics;
pub mod webhook;

use protocol::internal::Receipts;
use protocol::{Claims, PeerType, Problem, Seq, Update};
use serde::Serialize;

/// The answer to a publisher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Published {
    /// `ok`, as OPAL answers.
    pub status: &'static str,
    /// The update's id: the publisher's, or the one it was given.
    pub id: String,
    /// The update's number in its scope. With it a reader can ask to be at least that fresh.
    pub seq: Seq,
    /// What the agents said, if the publisher waited for them.
    #[serde(flatten)]
    pub receipts: Option<Receipts>,
    /// What the publisher should do otherwise next time; the update took effect all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Published {
    /// The answer for an update that is in the log.
    #[must_use]
    pub fn new(id: String, seq: Seq, receipts: Option<Receipts>) -> Self {
        Self { status: "ok", id, seq, receipts, warnings: vec![] }
    }

    /// The same with warnings, such as [`credentials::warnings`].
    ///
    /// [`credentials::warnings`]: protocol::credentials::warnings
    #[must_use]
    pub fn warn(self, warnings: Vec<String>) -> Self {
        Self { warnings, ..self }
    }
}

/// Checks a publish request: the bearer's role, the body, the bearer's topics. An update
/// without an id gets one.
///
/// # Errors
/// 401 if the bearer may not publish, or not to these topics; 413 and 422 as
/// [`Update::parse`] says.
pub fn accept(claims: &Claims, body: &[u8]) -> Result<(String, Update), Problem> {
    claims.require(PeerType::Datasource)?;
    let mut update = Update::parse(body)?;
    claims.require_topics(update.entries.iter().flat_map(|it| &it.topics).map(String::as_str))?;
    let id = match update.id.take() {
        Some(id) => id,
        None => new_id()?,
    };
    update.id = Some(id.clone());
    Ok((id, update))
}

/// A random UUID in hex, as OPAL's clients make them.
///
/// # Errors
/// 500 if the platform has no random numbers.
pub fn new_id() -> Result<String, Problem> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Problem::internal(error.to_string()))?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().simple().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(peer_type: Option<PeerType>, permitted: Option<&[&str]>) -> Claims {
        let list = |topics: &[&str]| topics.iter().map(ToString::to_string).collect();
        Claims {
            sub: "50a6cc432bb94e8f8af94f32440b1b60".to_owned(),
            jti: None,
            exp: 1,
            iat: None,
            peer_type,
            permitted_topics: permitted.map(list),
            allowed_scopes: None,
        }
    }

    const BODY: &[u8] = br#"{"entries":[{"url":"http://h/x","topics":["users/eu"]}]}"#;

    #[test]
    fn a_datasource_may_publish_and_the_update_gets_an_id() {
        let (id, update) = accept(&claims(Some(PeerType::Datasource), None), BODY).unwrap();
        assert_eq!(id.len(), 32);
        assert_eq!(update.id, Some(id));
    }

    #[test]
    fn a_given_id_is_kept() {
        let body = br#"{"id":"mine","entries":[{"url":"http://h/x"}]}"#;
        let (id, _) = accept(&claims(Some(PeerType::Datasource), None), body).unwrap();
        assert_eq!(id, "mine");
    }

    #[test]
    fn a_publisher_may_name_more_than_a_subscriber_can_keep() {
        let topics: Vec<_> = (0..128).map(|n| format!("\"{n:0250}\"")).collect();
        let body = format!(r#"{{"entries":[{{"data":{{}},"topics":[{}]}}]}}"#, topics.join(","));
        assert!(accept(&claims(Some(PeerType::Datasource), None), body.as_bytes()).is_ok());
    }

    #[test]
    fn receipts_are_in_the_answer_of_who_waited_and_of_nobody_else() {
        let answer = |receipts| {
            serde_json::to_value(Published::new("u".to_owned(), Seq(3), receipts)).unwrap()
        };
        assert_eq!(answer(None), serde_json::json!({"status": "ok", "id": "u", "seq": 3}));
        let receipt = serde_json::json!({"agent": "a", "seq": 3, "applied": false, "error": "e"});
        let receipts = serde_json::json!({"receipts": [receipt], "complete": false, "expected": 2});
        let mut expected = receipts.clone();
        expected["status"] = "ok".into();
        expected["id"] = "u".into();
        expected["seq"] = 3.into();
        assert_eq!(answer(Some(serde_json::from_value(receipts).unwrap())), expected);
    }

    #[test]
    fn warnings_are_beside_what_opal_answers() {
        let published = Published::new("u".to_owned(), Seq(3), None).warn(vec!["w".to_owned()]);
        let expected = serde_json::json!({"status": "ok", "id": "u", "seq": 3, "warnings": ["w"]});
        assert_eq!(serde_json::to_value(published).unwrap(), expected);
    }

    #[test]
    fn nobody_else_may_publish() {
        for peer_type in [None, Some(PeerType::Client), Some(PeerType::Listener)] {
            assert_eq!(accept(&claims(peer_type, None), BODY).unwrap_err().status, 401);
        }
    }

    #[test]
    fn permitted_topics_limit_what_is_published() {
        let allowed = claims(Some(PeerType::Datasource), Some(&["users/eu"]));
        assert!(accept(&allowed, BODY).is_ok());
        let parent_only = claims(Some(PeerType::Datasource), Some(&["users"]));
        let problem = accept(&parent_only, BODY).unwrap_err();
        assert_eq!(problem.status, 401);
        assert!(problem.detail.contains("users/eu"), "{problem}");
    }
}
