//! What is left of a program's last words; how programs themselves behave is in `tests/fetch`.

use super::*;

fn source(url: &str) -> Source {
    Source { url: url.to_owned(), config: None }
}

#[test]
fn the_last_lines_are_one_bounded_line_without_control_characters() {
    let nothing = source("");
    assert_eq!(last_words(b"", &nothing), "");
    assert_eq!(last_words(b"a\nb\n\n c\x1b[31m \nd\n", &nothing), "b / c [31m / d");
    let long = format!("{}end", "x".repeat(5_000));
    let words = last_words(long.as_bytes(), &nothing);
    assert_eq!(words.chars().count(), SHOWN + 1);
    assert!(words.starts_with(CUT));
    assert!(words.ends_with("xend"));
    assert_eq!(last_words(b"\xff\xfe", &nothing), "\u{fffd}\u{fffd}");
}

#[test]
fn the_address_keeps_its_password_whoever_repeats_it() {
    let source = source("db://me:p%40ss+word@h/x?key=k3y%21&n=1");
    let said = "no db://me:p%40ss+word@h/x?key=k3y%21&n=1 (p@ss+word, k3y!)";
    assert_eq!(last_words(said.as_bytes(), &source), "no db://me:****@h/x?**** (****, ****)");
}

#[test]
fn data_is_an_object_or_an_array() {
    assert_eq!(document(b" {\"a\": 1.0} \n".to_vec()).unwrap().get(), "{\"a\": 1.0}");
    assert_eq!(document(b"[]".to_vec()).unwrap().get(), "[]");
    for (output, words) in [
        (&b" \n"[..], "wrote nothing"),
        (b"<html>", "not JSON"),
        (b"{} {}", "not JSON"),
        (b"7", "bare JSON value"),
        (b"null", "Fetched data is empty"),
        (b"\"\xff\"", "not UTF-8"),
    ] {
        let reason = document(output.to_vec()).expect_err(words);
        assert!(reason.contains(words), "{reason}");
    }
}
