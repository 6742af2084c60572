use super::*;

const DOMAIN: &str = "sandbox.example.com";
const NOW: Millis = Millis(1_000);

fn grant(id: &str, subject: &str, paths: &[&str]) -> Grant {
    Grant {
        id: id.to_owned(),
        domain: DOMAIN.to_owned(),
        subject: Subject::Token(subject.to_owned()),
        allowed_http_methods: vec!["GET".to_owned()],
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        path_syntax: PathSyntax::Safe,
        eft: Effect::Allow,
        roles: vec![],
        expires_at: None,
        created_at: Millis(0),
        added_to: None,
    }
}

fn role(id: &str, name: &str, paths: &[&str]) -> Grant {
    Grant { subject: Subject::Role(name.to_owned()), ..grant(id, "", paths) }
}

fn denial(grant: Grant) -> Grant {
    Grant { eft: Effect::Deny, ..grant }
}

fn with_roles(grant: Grant, roles: &[&str]) -> Grant {
    Grant { roles: roles.iter().map(|role| (*role).to_owned()).collect(), ..grant }
}

fn model(grants: &[Grant]) -> Model {
    let mut model = Model::default();
    for grant in grants {
        model.put(grant).unwrap();
    }
    model
}

fn get(model: &Model, subject: &str, path: &str) -> bool {
    get_at(model, NOW, subject, path)
}

fn get_at(model: &Model, now: Millis, subject: &str, path: &str) -> bool {
    let question = Question {
        subject: subject.to_owned(),
        domain: DOMAIN.to_owned(),
        path: path.to_owned(),
        method: "GET".to_owned(),
    };
    model.allows(now, &question)
}

#[test]
fn who_has_no_grant_may_nothing() {
    assert!(!get(&Model::default(), "t", "/a"));
    assert!(!get(&model(&[grant("1", "t", &["/a"])]), "u", "/a"));
}

#[test]
fn a_grant_is_for_its_own_domain_and_methods() {
    let model = model(&[grant("1", "t", &["*"])]);
    let ask = |domain: &str, method: &str| {
        let (domain, method) = (domain.to_owned(), method.to_owned());
        let (subject, path) = ("t".to_owned(), "/a".to_owned());
        model.allows(NOW, &Question { subject, domain, path, method })
    };
    assert!(ask(DOMAIN, "GET"));
    assert!(!ask("other.example.com", "GET") && !ask("sandboxXexample.com", "GET"));
    assert!(!ask(DOMAIN, "get") && !ask(DOMAIN, "XGET") && !ask(DOMAIN, "HEAD"));
}

#[test]
fn a_grant_that_is_over_allows_nothing() {
    let expires_at = Some(Millis(2_000));
    let model = model(&[Grant { expires_at, ..grant("1", "t", &["/a"]) }]);
    assert!(get_at(&model, Millis(1_999), "t", "/a"));
    assert!(!get_at(&model, Millis(2_000), "t", "/a"));
}

#[test]
fn a_denial_that_is_over_denies_nothing() {
    let expires_at = Some(Millis(2_000));
    let no = denial(Grant { expires_at, ..grant("2", "t", &["/a"]) });
    let model = model(&[grant("1", "t", &["/a"]), no]);
    assert!(!get_at(&model, Millis(1_999), "t", "/a"));
    assert!(get_at(&model, Millis(2_000), "t", "/a"));
}

#[test]
fn a_grant_that_is_over_gives_no_roles() {
    let member = with_roles(grant("1", "t", &["/x"]), &["reader"]);
    let model =
        model(&[Grant { expires_at: Some(Millis(2_000)), ..member }, role("2", "reader", &["/a"])]);
    assert!(get_at(&model, Millis(1_999), "t", "/a"));
    assert!(!get_at(&model, Millis(2_000), "t", "/a"));
    assert_eq!(model.roles_of(&Subject::Token("t".to_owned()), DOMAIN), ["reader"]);
}

#[test]
fn a_denial_of_a_role_beats_what_the_token_is_allowed() {
    let mut model = model(&[
        with_roles(grant("1", "t", &["*"]), &["blocked", "other"]),
        denial(role("2", "blocked", &["/secret/*"])),
    ]);
    assert!(get(&model, "t", "/a") && !get(&model, "t", "/secret/x"));
    model.remove("2");
    assert!(get(&model, "t", "/secret/x"));
}

#[test]
fn a_grant_replaces_the_one_of_its_id() {
    let mut model = model(&[grant("1", "t", &["/a"])]);
    model.put(&grant("1", "u", &["/b"])).unwrap();
    assert!(!get(&model, "t", "/a") && !get(&model, "u", "/a") && get(&model, "u", "/b"));
    model.remove("1");
    model.remove("1");
    assert!(!get(&model, "u", "/b"));
}

#[test]
fn roles_reach_ten_steps_and_no_more() {
    let mut model = model(&[role("end", "r10", &["/ten"]), role("after", "r11", &["/eleven"])]);
    model.link("t", "r1", DOMAIN);
    for step in 1..11 {
        model.link(&format!("r{step}"), &format!("r{}", step + 1), DOMAIN);
    }
    assert!(get(&model, "t", "/ten"));
    assert!(!get(&model, "t", "/eleven"));
}

#[test]
fn roles_in_a_circle_end() {
    let mut model = model(&[role("1", "b", &["/b"])]);
    for (member, role) in [("t", "a"), ("a", "b"), ("b", "t"), ("a", "a"), ("t", "t")] {
        model.link(member, role, DOMAIN);
    }
    assert!(get(&model, "t", "/b") && !get(&model, "t", "/c"));
    assert!(get(&model, "a", "/b"));
}

#[test]
fn many_roles_are_each_looked_at_once() {
    let mut model = Model::default();
    for level in 0..9 {
        for from in 0..30 {
            for to in 0..30 {
                model.link(&format!("{level}/{from}"), &format!("{}/{to}", level + 1), DOMAIN);
            }
        }
    }
    let began = std::time::Instant::now();
    assert!(!get(&model, "0/0", "/a"));
    // By all ways it would be 30^9.
    assert!(began.elapsed().as_secs() < 5);
}

#[test]
fn a_grant_whose_pattern_is_none_denies_its_subject_everything() {
    let mut model = model(&[grant("1", "t", &["*"]), grant("2", "u", &["*"])]);
    let broken =
        denial(Grant { path_syntax: PathSyntax::Casbin, ..grant("3", "t", &["/b", "/a("]) });
    assert_eq!(model.put(&broken).unwrap_err().pattern, "/a(");
    assert!(!get(&model, "t", "/x") && get(&model, "u", "/x"));
    model.remove("3");
    assert!(get(&model, "t", "/x"));

    let row = Row { subject: "u", domain: "*", path: "/a", methods: "*", effect: Effect::Allow };
    assert!(model.row(&row).is_err());
    assert!(!get(&model, "u", "/x") && get(&model, "t", "/x"));
}

#[test]
fn a_pattern_is_there_once_and_goes_with_the_last_who_has_it() {
    let mut model = Model::default();
    for number in 0..100 {
        let own = format!("/own/{number}");
        model.put(&grant(&number.to_string(), "t", &["/shared/*", &own])).unwrap();
    }
    assert_eq!(model.patterns.len(), 101);
    for number in 0..99 {
        model.remove(&number.to_string());
    }
    assert!(get(&model, "t", "/own/99") && get(&model, "t", "/shared/x"));
    for number in 0..1_000 {
        model.put(&grant("again", "t", &[&format!("/again/{number}")])).unwrap();
    }
    assert!(model.patterns.len() < 250, "{}", model.patterns.len());
}

#[test]
fn nothing_is_left_of_grants_that_went() {
    let mut model = Model::default();
    for number in 0..10 {
        let domain = format!("d{number}.example.com");
        model.put(&Grant { domain, ..grant(&number.to_string(), "t", &["/a"]) }).unwrap();
    }
    for number in 0..10 {
        model.remove(&number.to_string());
    }
    assert!(model.domains.is_empty() && model.places.is_empty());
}
