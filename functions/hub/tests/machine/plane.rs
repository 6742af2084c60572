//! Grants, facts and audits, as whoever asks for them sees them.

mod audits;
mod facts;
mod family;
mod grants;
mod limits;
mod refusals;

use hub::log::Log as _;
use hub::machine::Effect;
use protocol::internal::{HubAnswer, HubRequest, Quorum, Wait};
use protocol::plane::audits::{AuditQuery, OrderBy, Plane};
use protocol::plane::grants::{Grant, PathSyntax, Subject, Token};
use protocol::plane::{Bearer, PlaneCall, PlaneRequest, Question, Refusal};
use protocol::{Millis, Problem, Seq};
use serde_json::{Value, json};

use crate::rig::Rig;

const DOMAIN: &str = "a.example";

/// The subject of the token with this secret.
fn token(secret: &str) -> Subject {
    Subject::Token(Token::read(&Token::write(DOMAIN, secret)).unwrap().subject)
}

/// A grant of everything to a token that is called as the grant is.
fn grant(id: &str) -> Grant {
    Grant {
        id: id.to_owned(),
        domain: DOMAIN.to_owned(),
        subject: token(id),
        allowed_http_methods: vec!["*".to_owned()],
        paths: vec!["*".to_owned()],
        path_syntax: PathSyntax::Safe,
        eft: protocol::plane::grants::Effect::Allow,
        roles: vec![],
        expires_at: None,
        created_at: Millis(0),
        added_to: None,
    }
}

/// A request with the token that a grant is called after.
fn by(secret: &str, method: &str, path: &str, call: PlaneCall) -> PlaneRequest {
    let subject = token(secret).name().to_owned();
    let (method, path) = (method.to_owned(), path.to_owned());
    let asked =
        Question { subject, domain: DOMAIN.to_owned(), path: path.clone(), method: method.clone() };
    let (bearer, plane) = (Bearer::Grant(asked), Plane::Data);
    PlaneRequest { bearer, plane, method, path, call: Ok(call) }
}

/// A request with the master token.
fn master(call: PlaneCall) -> PlaneRequest {
    let (method, path) = ("POST".to_owned(), "/api/v1/grants".to_owned());
    PlaneRequest { bearer: Bearer::Master, plane: Plane::Control, method, path, call: Ok(call) }
}

fn create(grant: Grant) -> PlaneCall {
    PlaneCall::CreateGrant(Box::new(grant))
}

/// Who waits is answered with the number 2 once its one agent has that.
fn answered_when_applied(rig: &mut Rig) {
    let effects = rig.say(1, &json!({"receipt": {"seq": 2, "applied": true}}));
    let [Effect::Answer(_, Ok(HubAnswer::Plane { answer, receipts }))] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(answer.as_ref().unwrap().seq, Some(Seq(2)));
    assert!(receipts.as_ref().unwrap().complete);
}

fn delete(id: &str) -> PlaneCall {
    PlaneCall::DeleteGrant { id: id.to_owned() }
}

/// All audits, the oldest first.
fn query() -> AuditQuery {
    AuditQuery {
        domain: None,
        plane: None,
        http_path: None,
        http_method: None,
        sent_http_status: None,
        limit: usize::MAX,
        offset: 0,
        order_by: OrderBy::CreatedAt,
        order_desc: false,
    }
}

/// Everybody who is connected, for a second.
fn all() -> Option<Wait> {
    Some(Wait { agents: Quorum::All, timeout_ms: 1_000 })
}

impl Rig {
    fn plane(&mut self, asked: PlaneRequest) -> Result<Value, Refusal> {
        self.plane_or_problem(asked).unwrap().0
    }

    /// What is answered, and what follows from it.
    fn plane_or_problem(
        &mut self,
        asked: PlaneRequest,
    ) -> Result<(Result<Value, Refusal>, Vec<Effect>), Problem> {
        let mut effects = self.ask(HubRequest::Plane { asked: Box::new(asked), wait: None });
        let Effect::Answer(_, answer) = effects.remove(0) else { panic!("the answer comes first") };
        let HubAnswer::Plane { answer, .. } = answer? else { panic!("another answer") };
        Ok((answer.map(|answer| serde_json::from_str(answer.body.get()).unwrap()), effects))
    }

    fn status(&mut self, asked: PlaneRequest) -> u16 {
        self.plane(asked).map_or_else(|refusal| refusal.status, |_| 200)
    }

    /// How somebody who asks for the audits with this token is answered.
    fn may(&mut self, secret: &str) -> bool {
        self.status(by(secret, "GET", "/x", PlaneCall::Audits(query()))) == 200
    }

    /// Publishes until retention has given up all that is there, and the log forgets its ids.
    fn pass_on(&mut self) {
        let head = self.log.head();
        let data = json!({"long": "x".repeat(3_000)});
        while self.log.floor() <= head {
            let id = format!("u{}", self.log.head());
            let entry = json!({"topics": ["users"], "dst_path": format!("/{id}"), "data": data});
            self.publish(&json!({"id": id, "entries": [entry]})).0.unwrap();
        }
        self.log.forget_ids();
    }

    fn make(&mut self, grant: Grant) -> Value {
        self.plane(master(create(grant))).unwrap()
    }
}
