//! The `ETag` of a bundle. It is not kept anywhere: it says by itself of which moment the bundle
//! is and how it was made, so that every isolate can tell what an OPA has.

use std::fmt;

use protocol::Seq;
use protocol::bundle::Mark;

/// Of which moment a bundle is, and how it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// The moment.
    pub mark: Mark,
    /// A digest of the recipe.
    pub recipe: String,
    /// A digest of the roots, which a delta may not change.
    pub roots: String,
}

impl Tag {
    /// Reads an `If-None-Match`. `None` for what we have not written. Of several the first
    /// counts: an OPA names what is active, then what that has taken the place of.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let first = header.split(',').next()?.trim();
        // What stands between may have made the bytes others, and then says so.
        let quoted = first.strip_prefix("W/").unwrap_or(first);
        let text = quoted.strip_prefix('"')?.strip_suffix('"')?;
        let mut parts = text.split('-').map(str::to_owned);
        let (policy, epoch, seq) = (parts.next()?, parts.next()?, parts.next()?.parse().ok()?);
        let (recipe, roots) = (parts.next()?, parts.next()?);
        let mark = Mark { policy, epoch, seq: Seq(seq) };
        parts.next().is_none().then_some(Self { mark, recipe, roots })
    }

    /// True if only data came between this and `now`, and the log still has all of it.
    pub(super) fn leads_to(&self, now: &Self, floor: Seq) -> bool {
        let Mark { policy, epoch, seq } = &self.mark;
        !epoch.is_empty()
            && *epoch == now.mark.epoch
            && *policy == now.mark.policy
            && (floor..=now.mark.seq).contains(seq)
            && (&self.recipe, &self.roots) == (&now.recipe, &now.roots)
    }
}

impl fmt::Display for Tag {
    /// As a header has it: strong, since the same tag is the same bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mark: Mark { policy, epoch, seq }, recipe, roots } = self;
        write!(f, "\"{policy}-{epoch}-{seq}-{recipe}-{roots}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(policy: &str, epoch: &str, seq: u64) -> Tag {
        let mark = Mark { policy: policy.to_owned(), epoch: epoch.to_owned(), seq: Seq(seq) };
        Tag { mark, recipe: "abcd".to_owned(), roots: "ef".to_owned() }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        for tag in [tag("12ab", "e1", 7), tag("", "", 0)] {
            assert_eq!(Tag::parse(&tag.to_string()), Some(tag.clone()));
            assert_eq!(Tag::parse(&format!("{tag}, \"other\"")), Some(tag.clone()));
            assert_eq!(Tag::parse(&format!(" W/{tag} ")), Some(tag));
        }
        for text in ["", "\"\"", "*", "12ab-e1-7-abcd-ef", "\"a-b-c-d-e\"", "\"a-b-1-d-e-f\""] {
            assert_eq!(Tag::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_what_is_later_in_the_same_log_can_be_told_as_a_change() {
        let leads = |from: &Tag, to: &Tag, floor| from.leads_to(to, Seq(floor));
        let now = tag("p", "e", 7);
        assert!(leads(&tag("p", "e", 3), &now, 0) && leads(&tag("p", "e", 3), &now, 3));
        assert!(!leads(&tag("p", "e", 3), &now, 4), "retention took what came between");
        assert!(!leads(&tag("p", "e", 8), &now, 0));
        assert!(!leads(&tag("q", "e", 3), &now, 0));
        assert!(!leads(&tag("p", "f", 3), &now, 0));
        assert!(!leads(&tag("p", "", 0), &tag("p", "", 0), 0), "there is no log in it");
        for other in [
            Tag { recipe: String::new(), ..tag("p", "e", 3) },
            Tag { roots: String::new(), ..tag("p", "e", 3) },
        ] {
            assert!(!leads(&other, &now, 0));
        }
    }
}
