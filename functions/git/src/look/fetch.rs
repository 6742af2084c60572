//! How does a pack come out of an answer?

use crate::checkout::Blobs;
use crate::error::{GitError, printable};
use crate::limits::Limits;
use crate::object::{ObjectId, Objects};
use crate::pack::PackReader;
use crate::packet::{DELIMITER, FLUSH, Packet, push_line, text};

use super::{AGENT, check_said};

/// What the server is asked, for messages.
pub(super) const STEP: &str = "fetch";
/// Lines before the pack: one for a commit whose history is cut off there, in fact.
const MAX_LINES: usize = 1_000;

/// The third request, and its answer so far.
#[derive(Debug)]
pub(super) struct Fetch {
    limits: Limits,
    section: Section,
    lines: usize,
    pack: PackReader,
    blobs: Blobs,
}

/// Where the answer is. It has sections, of which the last is the pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    /// Before the name of one.
    Name,
    /// In one that does not matter here.
    Other,
    Pack,
    Over,
}

// === impl Fetch ===

impl Fetch {
    pub(super) fn new(limits: Limits) -> Self {
        let (section, pack) = (Section::Name, PackReader::new(limits));
        Self { limits, section, lines: 0, pack, blobs: Blobs::All }
    }

    /// Which files must have come.
    pub(super) fn blobs(&self) -> Blobs {
        self.blobs
    }

    /// Forgets an answer that has begun; the request's body.
    pub(super) fn begin(
        &mut self,
        want: &ObjectId,
        have: Option<&ObjectId>,
        filter: bool,
        limits: &Limits,
    ) -> Vec<u8> {
        *self = Self::new(self.limits);
        let mut body = vec![];
        push_line(&mut body, "command=fetch");
        push_line(&mut body, &format!("agent={AGENT}"));
        body.extend_from_slice(DELIMITER);
        push_line(&mut body, "no-progress");
        push_line(&mut body, "ofs-delta");
        if let Some(have) = have {
            push_line(&mut body, "thin-pack");
            push_line(&mut body, &format!("shallow {have}"));
        }
        push_line(&mut body, "deepen 1");
        if filter {
            self.blobs = Blobs::NotLarge;
            // From this size on they are left out.
            let size = limits.file_bytes.saturating_add(1);
            push_line(&mut body, &format!("filter blob:limit={size}"));
        }
        push_line(&mut body, &format!("want {want}"));
        if let Some(have) = have {
            push_line(&mut body, &format!("have {have}"));
        }
        push_line(&mut body, "done");
        body.extend_from_slice(FLUSH);
        body
    }

    pub(super) fn packet(
        &mut self,
        packet: Packet<'_>,
        objects: &mut dyn Objects,
    ) -> Result<(), GitError> {
        match (self.section, packet) {
            (Section::Pack, Packet::Data(data)) => match data.split_first() {
                Some((1, pack)) => self.pack.feed(pack, objects),
                // What it is doing.
                Some((2, _)) | None => self.line(),
                Some((3, said)) => Err(GitError::Said(printable(said))),
                Some((band, _)) => Err(GitError::Protocol(format!("band {band} in its pack"))),
            },
            (Section::Pack, Packet::Flush) => {
                self.section = Section::Over;
                Ok(())
            }
            (Section::Name, Packet::Data(data)) => {
                let line = text(data);
                check_said(line)?;
                self.section = match line {
                    b"packfile" => Section::Pack,
                    b"acknowledgments" | b"shallow-info" | b"wanted-refs" => Section::Other,
                    other => {
                        let name = printable(other);
                        return Err(GitError::Protocol(format!("a section `{name}`")));
                    }
                };
                self.line()
            }
            (Section::Other, Packet::Data(data)) => {
                check_said(text(data))?;
                self.line()
            }
            (Section::Other, Packet::Delimiter) => {
                self.section = Section::Name;
                Ok(())
            }
            (_, mark) => {
                let section = self.section;
                let reason = match mark {
                    Packet::Data(_) => "more after its pack".to_owned(),
                    mark => format!("{mark:?} where {section:?} was to be"),
                };
                Err(GitError::Protocol(reason))
            }
        }
    }

    pub(super) fn end(&self, is_between: bool) -> Result<(), GitError> {
        if self.section != Section::Over || !is_between {
            return Err(GitError::CutShort(STEP));
        }
        self.pack.finish()
    }

    fn line(&mut self) -> Result<(), GitError> {
        self.lines += 1;
        if self.lines > MAX_LINES {
            return Err(GitError::Limit(format!(
                "the git server says more than {MAX_LINES} lines besides its pack, the limit"
            )));
        }
        Ok(())
    }
}
