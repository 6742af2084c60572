//! Entries of a directory as members of one object: `"DN": {"attribute": ["value", …], …}`.

use base64ct::{Base64, Encoding as _};
use ldap3::ResultEntry;
use ldap3::asn1::{PL, StructureTag};

use crate::fetch::rows::write_string;
use crate::json::Json;

/// Why an entry is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It does not have the form of one.
    Malformed,
    /// The object is longer than it may be.
    TooLarge,
}

/// The object, as far as it is written.
pub(super) struct Entries {
    text: String,
    limit: usize,
}

// === impl Entries ===

impl Entries {
    /// None yet, of at most so many bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { text: "{".to_owned(), limit }
    }

    /// Writes one more. Every attribute is a list, also that of one value, so that a policy finds
    /// the same thing whatever a directory holds.
    ///
    /// # Errors
    /// It is no entry, or too much.
    pub(super) fn push(&mut self, entry: ResultEntry) -> Result<(), Unfit> {
        let [name, attributes] = parts::<2>(entry.0)?;
        if self.text.len() > 1 {
            self.text.push(',');
        }
        write_string(&mut self.text, &String::from_utf8_lossy(&bytes(name)?));
        self.text.push_str(":{");
        let PL::C(attributes) = attributes.payload else { return Err(Unfit::Malformed) };
        for (place, attribute) in attributes.into_iter().enumerate() {
            if place > 0 {
                self.text.push(',');
            }
            self.attribute(attribute)?;
        }
        self.text.push('}');
        if self.text.len() >= self.limit { Err(Unfit::TooLarge) } else { Ok(()) }
    }

    /// One attribute; its values are base64 if one of them is no text, or if its name says so.
    fn attribute(&mut self, attribute: StructureTag) -> Result<(), Unfit> {
        let [name, values] = parts::<2>(attribute)?;
        let name = String::from_utf8(bytes(name)?).map_err(|_| Unfit::Malformed)?;
        let PL::C(values) = values.payload else { return Err(Unfit::Malformed) };
        let values: Vec<_> = values.into_iter().map(bytes).collect::<Result<_, _>>()?;
        let texts: Option<Vec<&str>> = match name.to_ascii_lowercase().ends_with(";binary") {
            true => None,
            false => values.iter().map(|value| std::str::from_utf8(value).ok()).collect(),
        };
        write_string(&mut self.text, &name);
        self.text.push_str(":[");
        for (place, value) in values.iter().enumerate() {
            if place > 0 {
                self.text.push(',');
            }
            match texts.as_ref().and_then(|texts| texts.get(place)) {
                Some(text) => write_string(&mut self.text, text),
                None => write_string(&mut self.text, &Base64::encode_string(value)),
            }
        }
        self.text.push(']');
        Ok(())
    }

    /// The object.
    pub(super) fn finish(mut self) -> Json {
        self.text.push('}');
        Json::known(self.text)
    }
}

fn parts<const N: usize>(tag: StructureTag) -> Result<[StructureTag; N], Unfit> {
    let PL::C(parts) = tag.payload else { return Err(Unfit::Malformed) };
    parts.try_into().map_err(|_| Unfit::Malformed)
}

fn bytes(tag: StructureTag) -> Result<Vec<u8>, Unfit> {
    match tag.payload {
        PL::P(bytes) => Ok(bytes),
        PL::C(_) => Err(Unfit::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use ldap3::asn1::TagClass;

    use super::*;

    fn tag(payload: PL) -> StructureTag {
        StructureTag { class: TagClass::Universal, id: 4, payload }
    }

    fn text(text: &[u8]) -> StructureTag {
        tag(PL::P(text.to_vec()))
    }

    fn entry(dn: &str, attributes: &[(&str, &[&[u8]])]) -> ResultEntry {
        let attributes = attributes.iter().map(|(name, values)| {
            let values = values.iter().map(|value| text(value)).collect();
            tag(PL::C(vec![text(name.as_bytes()), tag(PL::C(values))]))
        });
        ResultEntry::new(tag(PL::C(vec![text(dn.as_bytes()), tag(PL::C(attributes.collect()))])))
    }

    #[test]
    fn entries_are_members_of_one_object() {
        let mut entries = Entries::new(1000);
        entries.push(entry("cn=a", &[("cn", &[b"a"]), ("mail", &[b"a@b", b"\"c\""])])).unwrap();
        entries.push(entry("cn=b", &[("photo", &[b"x", b"\xff"]), ("c;binary", &[b"x"])])).unwrap();
        let expected = concat!(
            r#"{"cn=a":{"cn":["a"],"mail":["a@b","\"c\""]},"#,
            r#""cn=b":{"photo":["eA==","/w=="],"c;binary":["eA=="]}}"#,
        );
        assert_eq!(entries.finish().get(), expected);
        assert_eq!(Entries::new(10).finish().get(), "{}");
    }

    #[test]
    fn what_is_no_entry_or_too_much_is_not_written() {
        let mut entries = Entries::new(40);
        for strange in [tag(PL::C(vec![])), text(b"x"), tag(PL::C(vec![text(b"a"), text(b"b")]))] {
            assert_eq!(entries.push(ResultEntry::new(strange)), Err(Unfit::Malformed));
        }
        let mut entries = Entries::new(40);
        entries.push(entry("cn=a", &[("cn", &[b"a"])])).unwrap();
        assert_eq!(entries.push(entry("cn=b", &[("cn", &[b"b"])])), Err(Unfit::TooLarge));
    }
}
