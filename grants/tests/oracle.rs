//! Random grants and requests: the model and the casbin crate agree.
//!
//! `GIRASOL_CASES=1000000 cargo test --release -p grants --test oracle` runs as many. A failure
//! prints the seed of its model; `GIRASOL_SEED=…` runs that one alone.
//!
//! What the oracle is not asked, because it is known to differ (`spec/opa-and-grants.md` §4.5):
//! * patterns that are no expression: it panics;
//! * a lone colon, which it takes for a name that is empty, unlike casbin in Go and Python;
//! * `|` outside of a group and a `*` before other text, which undo its anchors;
//! * methods that contain another's name: it searches, we want the whole;
//! * texts with a line end, and classes such as `\d` with letters outside of ASCII, where it does
//!   as Rust and not as Go does;
//! * chains of more than nine links: it counts one less than Go.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![cfg(not(target_arch = "wasm32"))]

use std::env;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use casbin::{CoreApi as _, DefaultModel, Enforcer, MemoryAdapter, MgmtApi as _};
use fastrand::Rng;
use grants::Model;
use grants::model::Row;
use protocol::Millis;
use protocol::plane::Question;
use protocol::plane::grants::{Effect, Grant, PathSyntax, Subject};

const MODEL: &str = "
[request_definition]
r = sub, dom, obj, act
[policy_definition]
p = sub, dom, obj, act, eft
[role_definition]
g = _, _, _
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = g(r.sub, p.sub, r.dom) && keyMatch2(r.dom, p.dom) && keyMatch2(r.obj, p.obj) && regexMatch(r.act, p.act)
";
/// Some ten seconds without optimization.
const CASES: u64 = 5_000;
/// Requests to one model: to build an enforcer takes as long as some.
const REQUESTS: u64 = 200;
const NOW: Millis = Millis(1_000);

const TOKENS: [&str; 4] = ["t0", "t1", "t2", "t3"];
const ROLES: [&str; 4] = ["r0", "r1", "r2", "r3"];
const DOMAINS: [&str; 3] = ["a.example.com", "b.example.com", "aXexample.com"];
const DOMAIN_PATTERNS: [&str; 6] =
    ["*", ":tenant", "a.example.com", r"a\.example\.com", "(a|b).example.com", "none.example.com"];
const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];
const ASKED_METHODS: [&str; 7] = ["GET", "GET", "POST", "PUT", "DELETE", "PATCH", "get"];
const EXPRESSIONS: [&str; 5] = [".*", "(GET)", "(GET)|(POST)", "P[A-Z]+", "GET|DELETE"];
const SEGMENTS: [&str; 9] = ["a", "b", "ab", "aa", "v1", "v12", "x.y", "xzy", "é"];

/// A piece of a path's pattern: in the safe syntax if it can be said in it, in casbin's, and texts
/// that it matches.
struct Piece(Option<&'static str>, &'static str, &'static [&'static str]);

const PIECES: [Piece; 14] = [
    Piece(Some("/a"), "/a", &["/a"]),
    Piece(Some("/b"), "/b", &["/b"]),
    Piece(Some("/é"), "/é", &["/é"]),
    Piece(Some("/x.y"), r"/x\.y", &["/x.y"]),
    Piece(Some("/:id"), "/:id", &["/a", "/ab", "/x.y", "/é"]),
    Piece(Some("/v:id"), "/v:id", &["/v1", "/v12"]),
    Piece(Some("/*"), "/*", &["/", "/a", "/a/b", "/v1/é", "//"]),
    Piece(Some("/*b"), "/*b", &["/b", "/ab", "/a/b"]),
    Piece(None, "/x.y", &["/x.y", "/xzy"]),
    Piece(None, "/:id.json", &["/a", "/x.y"]),
    Piece(None, "/(a|b)", &["/a", "/b"]),
    Piece(None, "/a*", &["/", "/a", "/aa"]),
    Piece(None, "/v[0-9]+", &["/v1", "/v12"]),
    Piece(None, "/[^/]+", &["/a", "/é"]),
];

/// A row as the oracle has it, and by what a request for it is made.
struct Known {
    subject: String,
    domain: &'static str,
    example: Vec<&'static Piece>,
    method: &'static str,
}

/// One model, here and there.
struct Pair {
    random: Rng,
    model: Model,
    enforcer: Enforcer,
    known: Vec<Known>,
    /// Member and role, wherever.
    links: Vec<(&'static str, &'static str)>,
}

#[test]
fn the_model_agrees_with_casbin() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let cases = number("GIRASOL_CASES").unwrap_or(CASES);
    let seeds = match number("GIRASOL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..cases.div_ceil(REQUESTS),
    };
    let began = Instant::now();
    let (mut asked, mut allowed) = (0_u64, 0_u64);
    for seed in seeds.clone() {
        let mut pair = Pair::new(seed);
        for _ in 0..REQUESTS {
            asked += 1;
            allowed += u64::from(pair.ask(seed));
        }
    }
    println!("{asked} requests, {allowed} allowed, {:?}", began.elapsed());
    let share = 100 * allowed / asked;
    // Where nothing is allowed, or all, nothing is tested.
    assert!(seeds.count() == 1 || (30..=70).contains(&share), "{share} % were allowed");
}

impl Pair {
    fn new(seed: u64) -> Self {
        let enforcer = now(async {
            let model = DefaultModel::from_str(MODEL).await.unwrap();
            Enforcer::new(model, MemoryAdapter::default()).await.unwrap()
        });
        let random = Rng::with_seed(seed);
        let mut pair =
            Self { random, model: Model::default(), enforcer, known: vec![], links: vec![] };
        // With no row at all the oracle asks about one of empty texts.
        pair.theirs(["nobody", "none", "none", "none", "allow"]);
        for number in 0..pair.random.usize(1..8) {
            pair.add_grant(number);
        }
        for _ in 0..pair.random.usize(0..4) {
            pair.add_row();
        }
        for _ in 0..pair.random.usize(0..6) {
            pair.add_link();
        }
        pair
    }

    fn add_grant(&mut self, number: usize) {
        let domain = self.one(&DOMAINS[..2]);
        let name = if self.random.bool() { self.one(&TOKENS) } else { self.one(&ROLES) };
        let is_role = ROLES.contains(&name);
        let subject = if is_role { Subject::Role } else { Subject::Token }(name.to_owned());
        let path_syntax = if self.random.bool() { PathSyntax::Safe } else { PathSyntax::Casbin };
        let eft = if self.random.u8(0..5) == 0 { Effect::Deny } else { Effect::Allow };
        let methods: Vec<&'static str> = match self.random.u8(0..4) {
            0 => vec!["*"],
            1 => vec!["GET", "*"],
            _ => (0..self.random.usize(1..3)).map(|_| self.one(&METHODS)).collect(),
        };
        let examples: Vec<_> =
            (0..self.random.usize(1..3)).map(|_| self.pattern(path_syntax)).collect();
        let roles: Vec<&'static str> =
            (0..self.random.usize(0..2)).map(|_| self.one(&ROLES)).collect();
        let expires_at = match self.random.u8(0..6) {
            0 => Some(NOW),
            1 => Some(NOW.plus(1)),
            _ => None,
        };
        let written = |syntax: PathSyntax, pieces: &[&'static Piece]| match syntax {
            _ if pieces.is_empty() => "*".to_owned(),
            PathSyntax::Safe => pieces.iter().filter_map(|piece| piece.0).collect(),
            PathSyntax::Casbin => pieces.iter().map(|piece| piece.1).collect::<String>(),
        };
        let grant = Grant {
            id: format!("grant_{number}"),
            domain: domain.to_owned(),
            subject,
            allowed_http_methods: methods.iter().map(|it| (*it).to_owned()).collect(),
            paths: examples.iter().map(|pieces| written(path_syntax, pieces)).collect(),
            path_syntax,
            eft,
            roles: roles.iter().map(|it| (*it).to_owned()).collect(),
            expires_at,
            created_at: Millis(0),
            added_to: None,
        };
        self.model.put(&grant).unwrap();
        // Some are made and revoked, and some are over: the oracle never hears of them.
        let is_revoked = self.random.u8(0..8) == 0;
        if is_revoked {
            self.model.remove(&grant.id);
        }
        let is_there = !is_revoked && !grant.is_over(NOW);
        let expression = match methods.contains(&"*") {
            true => ".*".to_owned(),
            false => methods.iter().map(|it| format!("({it})")).collect::<Vec<_>>().join("|"),
        };
        for pieces in examples {
            if is_there {
                let path = written(PathSyntax::Casbin, &pieces);
                let exact = domain.replace('.', r"\.");
                self.theirs([name, &exact, &path, &expression, eft_name(eft)]);
            }
            let method = methods.iter().find(|it| **it != "*").copied().unwrap_or("PATCH");
            self.known.push(Known { subject: name.to_owned(), domain, example: pieces, method });
        }
        for role in roles.into_iter().filter(|_| is_there) {
            self.links.push((name, role));
            now(self.enforcer.add_grouping_policy(texts([name, role, domain]))).unwrap();
        }
    }

    fn add_row(&mut self) {
        let subject = if self.random.bool() { self.one(&TOKENS) } else { self.one(&ROLES) };
        let effect = if self.random.u8(0..5) == 0 { Effect::Deny } else { Effect::Allow };
        let example = self.pattern(PathSyntax::Casbin);
        let path = match example.is_empty() {
            true => "*".to_owned(),
            false => example.iter().map(|piece| piece.1).collect::<String>(),
        };
        let (domain, methods) = (self.one(&DOMAIN_PATTERNS), self.one(&EXPRESSIONS));
        self.model.row(&Row { subject, domain, path: &path, methods, effect }).unwrap();
        self.theirs([subject, domain, &path, methods, eft_name(effect)]);
        let (domain, method) = (self.one(&DOMAINS), self.one(&ASKED_METHODS));
        self.known.push(Known { subject: subject.to_owned(), domain, example, method });
    }

    /// Of a token or a role, so that there are roles of roles, and circles.
    fn add_link(&mut self) {
        let member = if self.random.bool() { self.one(&TOKENS) } else { self.one(&ROLES) };
        let (role, domain) =
            (self.one(&ROLES), self.one(&["*", DOMAINS[0], DOMAINS[0], DOMAINS[1]]));
        self.links.push((member, role));
        self.model.link(member, role, domain);
        now(self.enforcer.add_grouping_policy(texts([member, role, domain]))).unwrap();
    }

    /// Asks both; true if it is allowed.
    fn ask(&mut self, seed: u64) -> bool {
        let known = self.random.usize(0..self.known.len());
        let Known { subject, domain, example, method } = &self.known[known];
        let (mut subject, mut domain, mut method) = (subject.clone(), *domain, *method);
        let example = example.clone();
        let mut path: String = example.iter().map(|piece| self.one(piece.2)).collect();
        if example.is_empty() {
            path = format!("/{}", self.one(&SEGMENTS));
        }
        match self.random.u8(0..20) {
            0 => path.push_str(&format!("/{}", self.one(&SEGMENTS))),
            1 => path.push_str(self.one(&SEGMENTS)),
            2 => path.insert_str(0, &format!("/{}", self.one(&SEGMENTS))),
            3 => path = self.pattern(PathSyntax::Casbin).iter().map(|it| it.2[0]).collect(),
            4 => domain = self.one(&DOMAINS),
            5 => method = self.one(&ASKED_METHODS),
            6 | 7 => subject = self.one(&TOKENS).to_owned(),
            _ => {}
        }
        if self.random.bool() {
            subject = self.member_of(subject);
        }
        let theirs = self.enforcer.enforce((&*subject, domain, &*path, method)).unwrap();
        let question =
            Question { subject, domain: domain.to_owned(), path, method: method.to_owned() };
        let ours = self.model.allows(NOW, &question);
        let subject = &question.subject;
        assert_eq!(
            ours, theirs,
            "GIRASOL_SEED={seed}: {subject} {question:?} of {:#?}",
            self.model
        );
        ours
    }

    /// Who has this role, by up to three links, if somebody has.
    fn member_of(&mut self, role: String) -> String {
        let mut member = role;
        for _ in 0..self.random.usize(1..4) {
            let members = self.links.iter().filter(|(_, role)| *role == member);
            let members: Vec<_> = members.map(|(member, _)| *member).collect();
            if members.is_empty() {
                break;
            }
            member = self.one(&members).to_owned();
        }
        member
    }

    /// Pieces of a pattern; none is `*`.
    fn pattern(&mut self, syntax: PathSyntax) -> Vec<&'static Piece> {
        let fits = |piece: &&Piece| syntax == PathSyntax::Casbin || piece.0.is_some();
        let pieces: Vec<&'static Piece> = PIECES.iter().filter(fits).collect();
        (0..self.random.usize(0..4)).map(|_| pieces[self.random.usize(0..pieces.len())]).collect()
    }

    fn theirs(&mut self, row: [&str; 5]) {
        now(self.enforcer.add_policy(texts(row))).unwrap();
    }

    fn one(&mut self, of: &[&'static str]) -> &'static str {
        of[self.random.usize(0..of.len())]
    }
}

fn eft_name(effect: Effect) -> &'static str {
    match effect {
        Effect::Allow => "allow",
        Effect::Deny => "deny",
    }
}

fn texts<const N: usize>(of: [&str; N]) -> Vec<String> {
    of.iter().map(|text| (*text).to_owned()).collect()
}

/// Nothing of what the oracle does in memory waits for anything.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("the oracle waits"),
    }
}
