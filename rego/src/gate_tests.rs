use super::*;

fn files(all: &[(&str, &str)]) -> Files {
    all.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

fn refused(all: &[(&str, &str)]) -> String {
    check(&files(all), &Options::default()).unwrap_err().to_string()
}

fn tested(all: &[(&str, &str)]) -> Result<(), String> {
    let options = Options { run_tests: true, ..Options::default() };
    check(&files(all), &options).map_err(|refused| refused.to_string())
}

#[test]
fn all_files_that_cannot_be_read_are_named() {
    let said = refused(&[
        ("a.rego", "package a\ny := "),
        ("b.rego", "package b\ny := 1"),
        ("c.rego", "package c\nx := 1\nallow { 1 == 1 }"),
        ("c/data.json", "{\n\"a\": }"),
        ("d/data.json", "\n[1]"),
        ("d/other.json", "nothing"),
        (".manifest", "a.rego"),
    ]);
    let begins = [
        "a.rego:2:",
        "c.rego:3:7: `if` keyword",
        "c/data.json:2:6: it is not JSON: ",
        "d/data.json:2: it is no JSON object",
    ];
    let parts: Vec<&str> = said.split("; ").collect();
    assert_eq!(parts.len(), begins.len(), "{said}");
    for (part, begin) in parts.iter().zip(begins) {
        assert!(part.starts_with(begin), "{part}");
    }
}

#[test]
fn all_mistakes_in_names_are_told() {
    let said = refused(&[
        ("a.rego", "package a\nx := nofun(1)\ny := 1 if { other.f(2) }"),
        ("b.rego", "package b\nf(x) := x\ny := f(1, 2, 3)\nz := count([1], 2, 3)"),
    ]);
    for words in [
        "a.rego:2:6: undefined function nofun",
        "a.rego:3:13: undefined function other.f",
        "b.rego:3:6: function f has arity 1, got 3 arguments",
        "b.rego:4:6: function count has arity 1, got 3 arguments",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn what_only_an_opa_has_passes_however_it_is_called() {
    for rego in [
        "package a\nx := crypto.x509.parse_certificates(input.token)",
        "package a\nallow if { [_, payload, _] := crypto.x509.parse_certificates(input.token); payload.x }",
        "package a\nallow if { crypto.x509.parse_certificates(input.token, [_, payload, _]); payload.x == 1 }",
        "package a\nx := crypto.sha256(\"a\")",
        "package a\nx := net.cidr_contains(\"10.0.0.0/8\", input.ip)",
        "package a\nx := rego.metadata.rule()",
    ] {
        assert_eq!(check(&files(&[("a.rego", rego)]), &Options::default()), Ok(()), "{rego}");
    }
}

#[test]
fn a_function_is_found_where_it_is_and_nowhere_else() {
    let lib = ("lib.rego", "package lib.f\ndouble(x) := x * 2\ndefault half(_) := 0\nplain := 1");
    for (rego, known) in [
        ("package a\nimport data.lib.f\nx := f.double(1)", true),
        ("package a\nimport data.lib.f as g\nx := g.double(1)\ny := g.half(2)", true),
        ("package a\nx := data.lib.f.double(1)", true),
        ("package lib.f\nx := double(1)", true),
        ("package a\nx := double(1)", false),
        ("package a\nx := lib.f.double(1)", false),
        ("package a\nimport data.lib.f\nx := f.plain(1)", false),
        ("package a\nimport data.lib.f as time\nx := time.now_ns()", false),
    ] {
        let checked = check(&files(&[lib, ("a.rego", rego)]), &Options::default());
        assert_eq!(checked.is_ok(), known, "{rego}: {checked:?}");
    }
}

#[test]
fn a_rule_that_depends_on_itself_is_refused_and_one_that_seems_to_is_not() {
    for (rego, words) in [
        ("package a\n\nf(x) := f(x)", "a.rego:3: rule data.a.f is recursive: data.a.f -> data.a.f"),
        ("package a\nx := y\ny := data.a.x", "data.a.x -> data.a.y -> data.a.x"),
        ("package a\nx := [1 | data.a]", "data.a.x is recursive: data.a.x -> data.a.x"),
        ("package a\nimport data.a.g as h\ng(x) := h(x) if x > 1", "data.a.g -> data.a.g"),
    ] {
        let said = refused(&[("a.rego", rego)]);
        assert!(said.contains(words), "{said}");
    }
    for rego in [
        "package a\nx := y if { y := 1 }\ny := x",
        "package a\nf(x) := x\nx := f(1)",
        "package a\nx := input.x\nq.r := 1\nq.s := q.r",
        "package a\nx := z if { some z in input.z }\ny := x",
        "package a\nx := 1 if { every y in [1] { y == 1 } }\ny := x",
    ] {
        assert_eq!(check(&files(&[("a.rego", rego)]), &Options::default()), Ok(()), "{rego}");
    }
}

#[test]
fn a_chain_of_rules_that_is_too_long_is_refused() {
    let chain = |length: usize| {
        let rules = (0..length).map(|at| format!("f{at}(x) := f{}(x)\n", at + 1));
        format!("package a\nf{length}(x) := x\n{}y := f0(1)", rules.collect::<String>())
    };
    let checked = |length| check(&files(&[("a.rego", &chain(length))]), &Options::default());
    assert_eq!(checked(30), Ok(()));
    let said = checked(100).unwrap_err().to_string();
    assert!(said.contains("over more than 40 steps"), "{said}");
}

#[test]
fn data_that_hides_a_rule_is_refused() {
    let said = refused(&[
        ("a/b.rego", "package a.b\n\nallow := false"),
        ("a/data.json", "{\"b\": {\"other\": 1}}"),
        ("a/b/data.json", "{\"allow\": true}"),
    ]);
    assert_eq!(
        said,
        "a/b/data.json:1: conflicting rule for data path a/b/allow found, the rule of a/b.rego:3"
    );
}

#[test]
fn tests_are_looked_at_only_if_they_are_asked_for() {
    let all = [("a.rego", "package a\nx := 1"), ("a_test.rego", "this is none")];
    assert_eq!(check(&files(&all), &Options::default()), Ok(()));
    assert!(tested(&all).unwrap_err().starts_with("a_test.rego:1:1: "));
}

#[test]
fn a_test_that_is_not_true_is_named() {
    let policy = ("a.rego", "package a\ndefault allow := false\nallow if input.x == data.limits.x");
    let data = ("limits/data.json", "{\"x\": 7}");
    let passing = "package a_test\nimport data.a\ntest_yes if a.allow with input as {\"x\": 7}\n\
                   test_no if not a.allow with input as {\"x\": 8}\ntodo_test_later := false";
    assert_eq!(tested(&[policy, data, ("a_test.rego", passing)]), Ok(()));
    let failing = "package a_test\nimport data.a\n\ntest_no if a.allow with input as {\"x\": 8}\n\
                   test_false := false\ntest_error := [x | x := [1, 1][_]; true][7]\nhelper := 1";
    let said = tested(&[policy, data, ("t/a_test.rego", failing)]).unwrap_err();
    assert_eq!(
        said,
        "t/a_test.rego:4: data.a_test.test_no failed; \
         t/a_test.rego:5: data.a_test.test_false failed; \
         t/a_test.rego:6: data.a_test.test_error failed"
    );
    assert_eq!(tested(&[policy, ("a_test.rego", "package a\ntest_own if not allow")]), Ok(()));
}

#[test]
fn a_test_that_needs_what_the_engine_lacks_says_so() {
    let policy = ("a.rego", "package a\nsub := crypto.x509.parse_certificates(input.token)[1].sub");
    let test = "package a\ntest_sub if sub == \"me\" with input as {\"token\": \"x\"}";
    let said = tested(&[policy, ("a_test.rego", test)]).unwrap_err();
    assert!(
        said.contains("data.a.test_sub failed: it needs crypto.x509.parse_certificates, which"),
        "{said}"
    );
    let test = "package a\nmock(_) := [{}, {\"sub\": \"me\"}, \"\"]\ntest_sub if sub == \"me\" \
                with input as {\"token\": \"x\"} with crypto.x509.parse_certificates as mock";
    let said = tested(&[policy, ("a_test.rego", test)]).unwrap_err();
    assert!(
        said.contains("data.a.test_sub failed: it needs crypto.x509.parse_certificates, which"),
        "{said}"
    );
}

#[test]
fn a_test_that_does_not_end_is_given_up() {
    let test = "package a\ntest_long if count([1 | some x in numbers.range(1, 9000); \
                some y in numbers.range(1, 9000); x == y]) == 1";
    let said = tested(&[("a_test.rego", test)]).unwrap_err();
    assert!(said.starts_with("a_test.rego:2: data.a.test_long failed: "), "{said}");
    assert!(said.contains("time limit"), "{said}");
}

#[test]
fn what_is_deep_is_refused_before_it_is_parsed() {
    let deep = format!("package a\nx := {}", "[".repeat(10_000));
    assert!(refused(&[("a.rego", &deep)]).starts_with("a.rego:2:"));
    let deep = format!("{{\"a\": {}", "[".repeat(10_000));
    assert!(refused(&[("data.json", &deep)]).contains("recursion limit"));
}

/// As deep as may be, on a stack of the size that a thread of the agent has.
#[test]
fn what_is_as_deep_as_may_be_fits_on_a_stack() {
    let levels = crate::nesting::MAX_LEVELS - 10;
    for body in [
        format!("x := 1{}", " + 1".repeat(levels)),
        format!("a := {{}}\nx := a{}", ".b".repeat(levels)),
        format!("x := {}1", "-".repeat(levels)),
        format!("x := {}1{}", "abs(".repeat(levels / 2), ")".repeat(levels / 2)),
        format!("x := {}1{}", "[1, ".repeat(levels / 2), "]".repeat(levels / 2)),
        format!("x := {}0{}", "input[".repeat(levels / 2), "]".repeat(levels / 2)),
        format!("x if {{ {}y{} }}", "every y in [1] { ".repeat(12), "}".repeat(12)),
        (0..35)
            .map(|at| format!("r{at} if {{ every q in [1] {{ r{} }} }}\n", at + 1))
            .collect::<String>()
            + "r35 := 1\nx if { r0 == 1 }",
    ] {
        let text = format!("package a\n{body}\ntest_x if {{ x with input as {{}} }}\n");
        let all = files(&[("a_test.rego", &text)]);
        let options = Options { run_tests: true, ..Options::default() };
        let thread = std::thread::Builder::new().stack_size(2 << 20);
        // Whatever it says, it says so: an overflow would end the process.
        let _ = thread.spawn(move || check(&all, &options)).unwrap().join().unwrap();
    }
}
