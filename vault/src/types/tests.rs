use super::*;

#[test]
fn every_type_takes_its_values_and_no_others() {
    let long_host = format!("{}.example", "a".repeat(64));
    for (slug, good, bad) in [
        ("any", &["", "\0é"][..], &[][..]),
        ("ascii", &["a b\t~"], &["", "é", "１"]),
        ("alpha", &["Ab"], &["", "a1", "é", "a\n"]),
        ("alphanumeric", &["Ab1"], &["", "a-b", "٣"]),
        ("number", &["0", "-12.50", "+3"], &["", "1.", ".5", "1e3", "٣", "1\n", "0x1", "NaN"]),
        (
            "email",
            &["ada@example.com", "a.b+c@sub.example.org"],
            &[
                "",
                "eve",
                "eve@",
                "@b.example",
                "ada@localhost",
                "Ada <ada@example.com>",
                "a b@example.com",
                "ada@[127.0.0.1]",
                "ada@example.com\n",
                "a@b.c, d@e.f",
            ],
        ),
        (
            "phone_number",
            &["+14155552671", "(415) 555-2671", "020.7946.0018"],
            &[
                "",
                "123456",
                "1234567890123456",
                "+1415555267a",
                "1+4155552671",
                "٠١٢٣٤٥٦٧",
                "++14155552671",
            ],
        ),
        ("phone", &["+14155552671"], &["12"]),
        (
            "url",
            &["http://a", "HTTPS://example.com/x?y#z", "http://[::1]:80/"],
            &[
                "",
                "ftp://a",
                "http:/a",
                "http:a",
                "https://",
                "http:///",
                " http://a",
                "http://a b",
                "http://a\n",
                "javascript:alert(1)",
                "http:\\\\a",
                "é",
            ],
        ),
        (
            "uuid",
            &["67e55044-10b1-426f-9247-bb680e5fe0c8", "67E55044-10B1-426F-9247-BB680E5FE0C8"],
            &[
                "",
                "67e5504410b1426f9247bb680e5fe0c8",
                "{67e55044-10b1-426f-9247-bb680e5fe0c8}",
                "67e55044-10b1-426f-9247-bb680e5fe0cg",
            ],
        ),
        ("ip", &["127.0.0.1", "::1"], &["", "127.0.0.256", "127.0.0.1:80", "1.2.3", "::g"]),
        ("ipv4", &["127.0.0.1"], &["::1", "127.0.0.01"]),
        ("ipv6", &["::1", "2001:db8::1"], &["127.0.0.1", "[::1]", "fe80::1%eth0"]),
        (
            "hostname",
            &["localhost", "www.example.com", "xn--bcher-kva.example"],
            &[
                "",
                ".",
                "a.",
                "-a.example",
                "a-.example",
                "a_b.example",
                "1.2.3.4",
                "é.example",
                &long_host,
            ],
        ),
        (
            "date",
            &["2027-01-31", "2028-02-29"],
            &["", "2027-02-29", "2027-1-31", "31.01.2027", "1700000000", "2027-01-31T00:00:00Z"],
        ),
        (
            "datetime",
            &["2027-01-31T12:00:00Z", "2027-01-31T12:00:00+01:00"],
            &["", "2027-01-31", "1700000000", "2027-01-31T25:00:00Z"],
        ),
        (
            "ssn",
            &["123-45-6789", "123456789", "000 00 0000"],
            &["", "12-345-6789", "123-45-67890", "123--45-6789", "١٢٣-45-6789", "123-45-6789\n"],
        ),
        (
            "ssnstrict",
            &["123-45-6789", "123456789", "899 01 0001"],
            &[
                "",
                "000-45-6789",
                "666-45-6789",
                "900-45-6789",
                "999-45-6789",
                "123-00-6789",
                "123-45-0000",
                "123-45-678",
            ],
        ),
        (
            "credit_card",
            &["4111111111111111", "4111 1111 1111 1111", "3782-822463-10005"],
            &[
                "",
                "4111111111111112",
                "0000000000000000",
                "41111111111",
                "4111111111111111a",
                "4111  1111 1111 1111",
                " 4111111111111111",
            ],
        ),
        (
            "iban",
            &["GB82WEST12345698765432", "DE89 3704 0044 0532 0130 00"],
            &[
                "",
                "GB82",
                "GB83WEST12345698765432",
                "gb82WEST12345698765432",
                "GB82WEST1234569876543é",
            ],
        ),
        ("json", &["{}", "1", "\"a\"", " [1, {\"a\": null}] "], &["", "{", "{}{}", "nul"]),
        ("base64", &["", "Zm9v", "Zg==", "+/8="], &["Zg", "Zm9v\n", "-_8=", "é"]),
        ("latitude", &["-90", "90.0", "+12.5"], &["", "90.1", "-91", "1e1", "NaN", "inf"]),
        ("longitude", &["-180", "180.0"], &["180.1", "١"]),
        ("postal_code_us", &["12345", "12345-6789"], &["", "1234", "12345-678", "123456"]),
    ] {
        let validation = find_built_in(slug).unwrap().validation;
        for value in good {
            assert_eq!(check_built_in(slug, value), Some(Ok(())), "{slug} {value:?}");
        }
        for value in bad {
            // And not a word of the value.
            let refused = format!("a value of the type `{slug}` is {validation}");
            assert_eq!(check_built_in(slug, value), Some(Err(refused)), "{slug} {value:?}");
        }
    }
    assert_eq!(check_built_in("Email", "ada@example.com"), None);
}

#[test]
fn a_name_is_one_type_and_every_type_says_what_it_takes() {
    for (at, built_in) in BUILT_IN.iter().enumerate() {
        let same = BUILT_IN.iter().position(|other| other.slug == built_in.slug);
        assert_eq!(same, Some(at), "{}", built_in.slug);
        assert!(!built_in.validation.is_empty());
    }
}

#[test]
fn a_value_over_the_limit_is_refused_by_every_type() {
    let large = "1".repeat(limits::MAX_FACT_BYTES + 1);
    let refused = "the value has 32769 bytes, the limit is 32768".to_owned();
    assert_eq!(check_built_in("any", &large), Some(Err(refused.clone())));
    assert_eq!(check_own(".*", &large), Err(refused));
    assert_eq!(check_own(".*", large.get(1..).unwrap()), Ok(()));
}

#[test]
fn a_pattern_matches_the_whole_value() {
    for (pattern, value, is_one) in [
        ("E[0-9]{6}", "E123456", true),
        ("E[0-9]{6}", "xE123456", false),
        ("E[0-9]{6}", "E123456\n", false),
        ("a|ab", "ab", true),
        ("(?m)^a$", "a\na", false),
        ("a # all", "a # all", true),
        ("", "", true),
        ("", "a", false),
    ] {
        assert_eq!(check_own(pattern, value).is_ok(), is_one, "{pattern} {value:?}");
    }
    let refused = check_own("E[0-9]{6}", "secret").unwrap_err();
    assert_eq!(refused, "a value of this type matches `E[0-9]{6}`, the whole of it");
}

#[test]
fn a_pattern_that_is_none_or_too_large_is_refused_with_the_reason() {
    let deep = format!("{}a{}", "(".repeat(100), ")".repeat(100));
    let long = "a".repeat(limits::MAX_PATTERN_BYTES + 1);
    for (pattern, words) in [
        ("(", "the pattern is no regular expression: unclosed group"),
        ("a)|(b", "the pattern is no regular expression: unopened group"),
        ("(?x)a #", "the pattern is no regular expression: unclosed group"),
        ("(?=a)", "the pattern is no regular expression: look-around"),
        (r"(a)\1", "the pattern is no regular expression: backreferences"),
        ("((a{100}){100}){100}", "the pattern is too large"),
        (&deep, "the pattern is no regular expression: exceed"),
        (&long, "the pattern has 1025 bytes, the limit is 1024"),
    ] {
        let refused = check_pattern(pattern).unwrap_err();
        assert!(refused.starts_with(words), "{pattern}: {refused}");
        assert_eq!(check_own(pattern, "a"), Err(refused));
    }
    assert_eq!(check_pattern(r"[A-Z]{2}\d{1,3}"), Ok(()));
}

#[test]
fn a_pattern_that_is_a_catastrophe_elsewhere_is_none_here() {
    let value = format!("{}b", "a".repeat(limits::MAX_FACT_BYTES - 1));
    assert!(check_own("(a+)+", &value).is_err());
    assert!(check_own("(a|aa)+$", &value).is_err());
}
