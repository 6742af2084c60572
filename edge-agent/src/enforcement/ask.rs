//! Asking the engine. Whatever fails here is answered with a status, and with no decision.

use std::time::Duration;

use axum::http::HeaderMap;
use protocol::{Problem, Seq};

use super::Enforcement;
use crate::engine::Undecided;
use crate::json::Json;
use crate::local_api::{patience, wanted};

/// A question to package `permit`.
pub(super) struct Question {
    /// The rule, below the package.
    rule: &'static [&'static str],
    /// For how long the engine is waited for: Permit's PDP gives it a second.
    patience: Duration,
}

/// A decision is waited for by somebody's request, a list by somebody who looks at it.
const DECISION: Duration = Duration::from_secs(1);
const LIST: Duration = Duration::from_secs(10);

pub(super) const ROOT: Question = Question { rule: &["root"], patience: DECISION };
pub(super) const BULK: Question = Question { rule: &["bulk"], patience: DECISION };
pub(super) const USER_PERMISSIONS: Question =
    Question { rule: &["user_permissions"], patience: LIST };
pub(super) const AUTHORIZED_USERS: Question =
    Question { rule: &["authorized_users", "authorized_users"], patience: LIST };

impl Enforcement {
    /// The value of a question's rule; none if it is undefined.
    pub(super) async fn ask(
        &self,
        headers: &HeaderMap,
        question: &Question,
        input: Json,
    ) -> Result<Option<Json>, Problem> {
        self.far_enough(headers).await?;
        let asked = self.engine.permit(question.rule, &input);
        match tokio::time::timeout(question.patience, asked).await {
            Ok(answered) => answered.map_err(problem),
            Err(_) => Err(Problem::new(
                504,
                format!(
                    "the engine did not decide within {} s; see what the policy does for so long",
                    question.patience.as_secs()
                ),
            )),
        }
    }

    /// Waits until the agent is as far as the request wants it. Who wants nothing special is told
    /// at once if there is nothing yet to decide on.
    pub(super) async fn far_enough(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let refused = |reason: String| Problem::new(400, reason);
        let (wanted, patience) = match wanted(headers).map_err(refused)? {
            None => (Seq::ZERO, Duration::ZERO),
            Some(wanted) => (wanted, patience(headers).map_err(refused)?),
        };
        let Err(behind) = self.waiting.at_least(wanted, patience).await else { return Ok(()) };
        Err(Problem::unavailable(if wanted == Seq::ZERO {
            "the engine does not have its policies and data yet; ask again when GET /ready is 200"
                .to_owned()
        } else {
            behind.to_string()
        }))
    }
}

fn problem(undecided: Undecided) -> Problem {
    match undecided {
        Undecided::Input(why) => Problem::invalid(why),
        Undecided::Policy(why) => {
            Problem::internal(format!("the policy of package `permit` does not decide: {why}"))
        }
        Undecided::Engine(why) => Problem::new(502, why),
        Undecided::NoPackage => Problem::new(
            501,
            "not supported by this agent: its OPA has no package `permit`; start the agent with \
             --permit-policy true for the built-in one, or put one of yours into the policy",
        ),
    }
}
