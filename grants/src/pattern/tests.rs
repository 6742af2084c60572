use super::*;

fn matches(pattern: &str, syntax: PathSyntax, text: &str) -> bool {
    Pattern::read(pattern, syntax).unwrap().matches(text)
}

fn refusal(pattern: &str, syntax: PathSyntax) -> String {
    Pattern::read(pattern, syntax).unwrap_err().reason
}

fn is_expression(pattern: &str) -> bool {
    let read = Pattern::read(pattern, PathSyntax::Casbin).unwrap();
    let is_expression = matches!(read.0, Kind::Expression(_));
    assert_eq!(needs_engine(pattern, PathSyntax::Casbin), is_expression, "{pattern}");
    assert!(!needs_engine(pattern, PathSyntax::Safe), "{pattern}");
    is_expression
}

#[test]
fn what_both_syntaxes_know_is_the_same_in_both() {
    for (pattern, text, expected) in [
        ("*", "", true),
        ("*", "/a/b\n", true),
        ("/a", "/a", true),
        ("/a", "/A", false),
        ("/a", "/a/", false),
        ("/a", "/ab", false),
        ("/a", "b/a", false),
        ("/x/*", "/x/", true),
        ("/x/*", "/x/a/b", true),
        ("/x/*", "/x", false),
        ("/x/*", "/x/a\n", false),
        ("/x/*", "/x/a\nb", false),
        ("/a/*/b", "/a//b", true),
        ("/a/*/b", "/a/x/y/b", true),
        ("/a/*/b", "/a/b", false),
        ("/a/*/b", "/a/b/b/c", false),
        ("/*/b/*", "/b/b/b", true),
        ("/*c", "/abc", true),
        ("/*c", "/abcd", false),
        ("/f/:id", "/f/x", true),
        ("/f/:id", "/f/", false),
        ("/f/:id", "/f/x/y", false),
        ("/f/:id", "/f/é", true),
        ("/f/:id/*", "/f/x", false),
        ("/f/:id/*", "/f/x/h/2", true),
        ("/f/v:id", "/f/v12", true),
        ("/f/v:id", "/f/v", false),
        ("/:a/:b", "/x/y", true),
        ("/:a/:b", "/x//y", false),
        ("/*/:b", "/é/ü/x", true),
        ("/:/all", "/:/all", true),
        ("/:/all", "/alice/all", false),
        ("/a:", "/a:", true),
        ("/é/*", "/é/ö", true),
        ("/é/*", "/e/ö", false),
    ] {
        for syntax in [PathSyntax::Safe, PathSyntax::Casbin] {
            assert_eq!(matches(pattern, syntax, text), expected, "{pattern} {syntax:?} {text:?}");
        }
    }
}

#[test]
fn in_casbins_syntax_the_rest_is_an_expression() {
    for (pattern, text, expected) in [
        ("/foo*", "/fo", true),
        ("/foo*", "/fooo", true),
        ("/foo*", "/foobar", false),
        ("sandbox.example.com", "sandboxXexample.com", true),
        ("a.b", "aéb", true),
        ("a.b", "a\nb", false),
        ("/a/*.b", "/a/xxéb", true),
        ("/a/*.b", "/a/b", false),
        ("/files/:id.json", "/files/anything", true),
        ("/(a|b)/c", "/b/c", true),
        ("/(a|b)/c", "/d/c", false),
        // Casbin would take all that begins with the first or ends with the last.
        ("/a|/b", "/b", true),
        ("/a|/b", "/a/x", false),
        ("/a$", "/a\n", false),
        ("(?m)/a$", "/a\nb", false),
        (r"/v\d+", "/v12", true),
        (r"/v\d+", "/v٣", false),
        (r"/v[\w.]+", "/vx.1", true),
        (r"/v[\w.]+", "/vé", false),
        (r"/a\.b", "/a.b", true),
        (r"/a\.b", "/axb", false),
        ("/a/[^/]+", "/a/b", true),
    ] {
        assert_eq!(matches(pattern, PathSyntax::Casbin, text), expected, "{pattern} {text:?}");
    }
}

#[test]
fn in_the_safe_syntax_the_rest_is_itself() {
    for text in ["/a.b", "/a(b", "/a[b", "/a{b}", "/a+", "/a|b", r"/a\d", "/a^$"] {
        assert!(matches(text, PathSyntax::Safe, text), "{text}");
    }
    assert!(!matches("/a.b", PathSyntax::Safe, "/axb"));
    assert!(!matches("/a|/b", PathSyntax::Safe, "/b"));
}

#[test]
fn what_the_safe_syntax_refuses_says_what_to_write() {
    for (pattern, words) in [
        ("/foo*", "`/foo/*`"),
        ("/a/**", "`/foo/*`"),
        ("/files/:id.json", "`/foo/:id`"),
        ("/a/:id*", "`/foo/:id`"),
        ("/a/:é", "letters"),
        ("a", "begin it with `/`"),
        ("", "begin it with `/`"),
        ("**", "begin it with `/`"),
        ("/a/", "slash at the end"),
        ("/a//b", "two slashes"),
        ("//", "two slashes"),
        ("/a/../b", "`..`"),
        ("/a\nb", "control character"),
    ] {
        let refusal = refusal(pattern, PathSyntax::Safe);
        assert!(refusal.contains(words), "{pattern}: {refusal}");
    }
    assert!(check("/", PathSyntax::Safe).is_ok());
    assert!(check("/a/:user_id/x-y/:b-2/*", PathSyntax::Safe).is_ok());
}

#[test]
fn an_expression_that_is_none_or_too_large_is_refused() {
    for pattern in ["/a(", "/a)|(b", "/[a", "/a{2", "/a/(?:b)", "/a\\", "*foo", "/(?=a)b", "/{id}"]
    {
        assert!(refusal(pattern, PathSyntax::Casbin).contains("regular expression"), "{pattern}");
    }
    for pattern in ["/((a{1000}){1000}){1000}", "/(x+x+){1000}y"] {
        let refusal = refusal(pattern, PathSyntax::Casbin);
        assert!(refusal.contains("too large"), "{pattern}: {refusal}");
    }
    let nested = format!("/{}{}", "(".repeat(200), ")".repeat(200));
    assert!(check(&nested, PathSyntax::Casbin).is_err());
    let long = format!("/{}", "a".repeat(limits::MAX_PATTERN_BYTES));
    for syntax in [PathSyntax::Safe, PathSyntax::Casbin] {
        let error = check(&long, syntax).unwrap_err();
        assert!(error.reason.contains("1024 bytes"), "{error}");
        assert!(error.to_string().len() < 200, "{error}");
    }
}

#[test]
fn what_needs_no_engine_has_none() {
    for pattern in ["/a", "/a/*", "/:a/b/*", "a.example.com", "/a/*.x", "/files/:id.json"] {
        assert!(!is_expression(pattern), "{pattern}");
    }
    assert!(is_expression("/a+"));
}

#[test]
fn a_method_is_matched_as_a_whole() {
    let some = Pattern::methods("(GET)|(POST)").unwrap();
    assert!(some.matches("GET") && some.matches("POST"));
    assert!(!some.matches("XGET") && !some.matches("GETX") && !some.matches("get"));
    assert!(Pattern::methods(".*").unwrap().matches("BREW"));
    assert!(Pattern::methods("*").is_err());
}

/// The parts and the expression of the same pattern agree, on texts of few characters.
#[test]
fn parts_are_what_the_expression_says() {
    let mut random = fastrand::Rng::with_seed(7);
    let pieces = ["/", "/*", ":x", "a", "b", "é", ".", "/a", "ab", ":"];
    let letters = ["/", "a", "b", "é", "\n", ":", "x", "//"];
    let mut hits = 0;
    for _ in 0..1_000 {
        let mut any = |of: &[&str]| -> String {
            (0..random.usize(0..8)).filter_map(|_| random.choice(of)).copied().collect()
        };
        let pattern = any(&pieces);
        let parts = Pattern::read(&pattern, PathSyntax::Casbin).unwrap();
        assert!(!matches!(parts.0, Kind::Expression(_)), "{pattern}");
        let expression = expression::key_match_2(&pattern).unwrap();
        for _ in 0..30 {
            let text = any(&letters);
            let expected = expression.is_match(&text);
            hits += u32::from(expected);
            assert_eq!(parts.matches(&text), expected, "{pattern:?} {text:?}");
        }
    }
    assert!(hits > 500, "{hits}");
}

#[test]
fn no_pattern_takes_long() {
    let text = format!("/{}", "a/".repeat(4_000));
    let lines = format!("/{}", "a/\n".repeat(2_700));
    for pattern in [
        "/*a".repeat(300),
        "/*a/:x".repeat(150),
        format!("/*{}b", "a/".repeat(500)),
        format!("/*{}b", "/:x".repeat(300)),
        format!("/*{}b", ".".repeat(1_000)),
        "/*.".repeat(300),
    ] {
        let pattern = Pattern::read(&format!("{pattern}z"), PathSyntax::Casbin).unwrap();
        for text in [&text, &lines] {
            let began = std::time::Instant::now();
            assert!(!pattern.matches(text));
            // It is below a second; one that tried all ways would take years.
            assert!(began.elapsed().as_secs() < 60, "{pattern:?}");
        }
    }
}
