//! What is read is what `Value::from_json_str` reads, on one thread and on two.

use std::sync::Arc;

use regorus::value::Object;

use super::*;

/// Both readers, one thread and two: the same value, or a refusal.
fn compare(text: &str) -> Option<Value> {
    let expected = Value::from_json_str(text).ok();
    assert_eq!(read(text, LEVELS).ok(), expected, "{text}");
    if text.starts_with(['{', '[']) {
        assert_eq!(read_apart(text, LEVELS, SPLITS).ok(), expected, "{text}");
    }
    expected
}

#[test]
fn what_is_read_is_what_regorus_reads() {
    for text in [
        "null",
        "true",
        "0",
        "-0",
        "-1",
        "1.0",
        "0.1",
        "1e2",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "1.7976931348623157e308",
        "-1.7976931348623158e308",
        "1783718198.6656377",
        r#""""#,
        r#""\u00e9\n\ud83d\ude00""#,
        "[]",
        "{}",
        "[1,[2,[]],{}]",
        r#"{"b":1,"a":2}"#,
        r#"{"a":1,"b":2,"a":3}"#,
        r#"{"a,\"":[",}"],"\\":{"k":",","l":[1,2]}}"#,
        r#"{"a":{"x":1,"y":[1,2,{"z":null}]},"b":[{"x":1},{"x":1}],"c":"x"}"#,
        r#"[{"same":"text"},{"same":"text"},{"text":"same"}]"#,
    ] {
        assert!(compare(text).is_some(), "{text}");
    }
    let wide: Vec<String> = (0..300).map(|n| format!(r#""k{}":{n}"#, n % 200)).collect();
    assert_eq!(
        compare(&format!("{{{}}}", wide.join(","))).unwrap().as_object().unwrap().len(),
        200
    );
}

#[test]
fn a_float_is_what_was_written() {
    for number in [1783718198.6656377, 0.1 + 0.2, f64::MAX, f64::MIN_POSITIVE, 5e-324] {
        let text = format!("{number:e}");
        let value = read(&text, LEVELS).unwrap();
        assert_eq!(value.as_f64().ok(), Some(number), "{text}");
        let written: f64 = value.to_json_str().unwrap().parse().unwrap();
        assert_eq!(written.to_bits(), number.to_bits(), "{text}");
    }
}

#[test]
fn what_is_refused_is_what_regorus_refuses() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(compare(&deep(LEVELS)).is_some());
    for text in [
        deep(LEVELS + 1),
        "1e999".to_owned(),
        r#"["\ud800"]"#.to_owned(),
        r#"{"\udc00":1}"#.to_owned(),
    ] {
        assert_eq!(compare(&text), None);
    }
    // What was patched together can be deeper, and is read again.
    assert!(read(&deep(160), 160).is_ok());
    assert!(read(&deep(161), 160).is_err());
    for (text, why) in [
        ("[1e999]", "number out of range at line 1 column 6"),
        (&*deep(LEVELS + 1), "nested too deeply at line 1 column 129"),
        (r#"["\ud800"]"#, "unexpected end of hex escape at line 1 column 9"),
    ] {
        assert_eq!(read(text, LEVELS).unwrap_err(), format!("the data cannot be read: {why}"));
    }
}

#[test]
fn strings_and_lists_that_repeat_are_one() {
    let one = |n: usize| format!(r#"{{"name":"x","list":["x"],"own":{n}}}"#);
    let text = format!("[{}]", [one(1), one(2), one(3), one(4)].join(","));
    let value = read(&text, LEVELS).unwrap();
    let objects: Vec<&Object> =
        value.as_array().unwrap().iter().map(|it| it.as_object().unwrap()).collect();
    let [third, fourth] = [objects[2], objects[3]].map(|object| {
        let list = object.get(&"list".into()).unwrap().as_array().unwrap();
        let name = object.get(&"name".into()).unwrap().as_string().unwrap();
        let names: Vec<Arc<str>> =
            object.keys().map(|name| Arc::clone(name.as_string().unwrap())).collect();
        (std::ptr::from_ref(list), Arc::clone(name), names)
    });
    assert_eq!(third.0, fourth.0);
    assert!(Arc::ptr_eq(&third.1, &fourth.1));
    assert!(third.2.iter().zip(&fourth.2).all(|(third, fourth)| Arc::ptr_eq(third, fourth)));
}

#[test]
fn objects_that_repeat_are_one() {
    let one = |n: usize| format!(r#"{{"level":{n},"is":true,"of":{{"roles":["viewer"]}}}}"#);
    let text = format!("[{}]", [1, 1, 1, 2, 2, 1, 2].map(one).join(","));
    compare(&text).unwrap();
    let value = read(&text, LEVELS).unwrap();
    let objects: Vec<&Value> = value.as_array().unwrap().iter().collect();
    let is_one = |one: usize, other: usize| match (objects[one], objects[other]) {
        (Value::Object(one), Value::Object(other)) => Arc::ptr_eq(one, other),
        _ => false,
    };
    assert!(is_one(2, 5) && is_one(3, 6));
    assert!(!is_one(2, 3));
}

#[test]
fn objects_with_the_same_names_are_still_their_own() {
    let object = |n: usize| match n % 4 {
        0 => format!(r#"{{"b":{n},"a":[{n}]}}"#),
        1 => format!(r#"{{"a":{n},"b":"{n}"}}"#),
        2 => format!(r#"{{"a":{n},"b":1,"a":"{n}"}}"#),
        _ => format!(r#"{{"a":{{"a":{n}}},"c":["a","b","a"]}}"#),
    };
    let text = format!("[{}]", (0..100).map(object).collect::<Vec<_>>().join(","));
    compare(&text).unwrap();
}

#[test]
fn a_large_document_is_taken_apart_wherever_it_is_large() {
    let members: Vec<String> = (0..30_000)
        .map(|n| format!(r#""user{}":{{"name":"{n},]}}","tags":[{n}]}}"#, n % 29_000))
        .collect();
    let object = format!("{{{}}}", members.join(","));
    let array = format!("[{}]", members.join(",").replace("\":{", "\",{"));
    for text in [&object, &array, &format!("[{object},1,{array}]"), &format!(r#"{{"a":{object}}}"#)]
    {
        assert!(text.len() > SPLIT_BYTES);
        compare(text).unwrap();
    }
    // Also where it is deep.
    let deep = format!("{}{object}{}", "[".repeat(100), "]".repeat(100));
    compare(&deep).unwrap();
    let broken = object.replacen("15000,", "15000\u{0}", 1);
    for text in [object.get(..object.len() / 2).unwrap(), &format!("{object}}}"), &broken] {
        assert!(read(text, LEVELS).is_err());
    }
}
