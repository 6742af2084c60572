//! A command as one writes it for `redis-cli`: words, and quotes around what has spaces.

/// Splits a command into its words; `None` where a quote is left open, or followed by
/// something other than a space.
///
/// Between `"…"` a backslash has the meanings it has in C, and `\xHH` is a byte; between `'…'`
/// only `\'` is special.
pub(super) fn split(line: &str) -> Option<Vec<Vec<u8>>> {
    let mut rest = line.as_bytes();
    let mut words = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Some(words);
        }
        let (word, after) = word(rest)?;
        words.push(word);
        rest = after;
    }
}

fn word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    loop {
        match rest {
            [] => return Some((word, rest)),
            [quote @ (b'"' | b'\''), after @ ..] => {
                rest = quoted(*quote, after, &mut word)?;
                return rest.first().is_none_or(u8::is_ascii_whitespace).then_some((word, rest));
            }
            [byte, _after @ ..] if byte.is_ascii_whitespace() => return Some((word, rest)),
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

/// Reads up to the closing quote; answers with what follows it.
fn quoted<'t>(quote: u8, mut rest: &'t [u8], word: &mut Vec<u8>) -> Option<&'t [u8]> {
    loop {
        let (byte, after) = match rest {
            [] => return None,
            [end, after @ ..] if *end == quote => return Some(after),
            [b'\\', b'\'', after @ ..] if quote == b'\'' => (b'\'', after),
            [b'\\', b'x', high, low, after @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex(*high) << 4 | hex(*low), after)
            }
            [b'\\', escaped, after @ ..] if quote == b'"' => (escape(*escaped), after),
            [byte, after @ ..] => (*byte, after),
        };
        word.push(byte);
        rest = after;
    }
}

fn escape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_as_redis_cli_does() {
        for (line, words) in [
            ("", Some(vec![])),
            ("  GET  key ", Some(vec!["GET", "key"])),
            (r#"GET "a key""#, Some(vec!["GET", "a key"])),
            (r#"GET "a \"key\"\n\x41""#, Some(vec!["GET", "a \"key\"\nA"])),
            (r#"GET 'a \'key\' \n'"#, Some(vec!["GET", r"a 'key' \n"])),
            (r#"GET """#, Some(vec!["GET", ""])),
            (r#"GET pre"fix""#, Some(vec!["GET", "prefix"])),
            ("GET ключ", Some(vec!["GET", "ключ"])),
            (r#"GET "open"#, None),
            (r#"GET 'open"#, None),
            (r#"GET "a"b"#, None),
            (r#"GET "a\"#, None),
        ] {
            let expected =
                words.map(|words| words.into_iter().map(|word| word.as_bytes().to_vec()).collect());
            assert_eq!(split(line), expected, "{line}");
        }
        assert_eq!(split(r#""\xff\xFg""#), Some(vec![b"\xffxFg".to_vec()]));
    }
}
