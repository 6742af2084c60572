//! What PostgreSQL sends on a replication connection: the frames of the stream, and in them the
//! messages of the `pgoutput` plug-in, protocol version 1, values as text.
//!
//! A pure decoder: bytes in, messages out. It never looks at what a value means, and bytes that
//! are not what the documentation says ("Logical Replication Message Formats") are an error.

use std::fmt;

/// A place in the write-ahead log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lsn(pub(crate) u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// One frame of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'b> {
    /// A message of the plug-in.
    Data(&'b [u8]),
    /// Nothing new up to here; whether the server wants to hear from us.
    Keepalive { end: Lsn, reply: bool },
}

/// A message of the plug-in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// What follows is one transaction; its commit is there.
    Begin { commit: Lsn },
    /// The transaction is whole; the stream goes on at `end`.
    Commit { end: Lsn },
    /// What a table looks like from here on.
    Relation(Relation),
    /// A row is new.
    Insert { relation: u32, new: Tuple },
    /// A row is other.
    Update { relation: u32, old: Option<Old>, new: Tuple },
    /// A row is gone.
    Delete { relation: u32, old: Old },
    /// All rows of some tables are gone.
    Truncate { relations: Vec<u32> },
    /// Something that changes no row.
    Other,
}

/// A table as a message describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relation {
    pub(crate) id: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
}

/// A column as a message describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// The number of its type.
    pub(crate) kind: u32,
}

/// A row's values, one for each column.
pub(crate) type Tuple = Vec<Cell>;

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Null,
    /// A large value that is stored beside the row and was not changed, so it is not sent.
    Unchanged,
    Text(String),
}

/// A row as it was before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Old {
    /// All values are there; otherwise only those that identify the row, and the others are
    /// null whatever they were.
    pub(crate) is_full: bool,
    pub(crate) tuple: Tuple,
}

/// The bytes are not what they should be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream of changes cannot be read: {0}")]
pub(crate) struct Malformed(&'static str);

impl<'b> Frame<'b> {
    /// Reads the content of one `CopyData` message.
    pub(crate) fn read(bytes: &'b [u8]) -> Result<Self, Malformed> {
        let mut bytes = Bytes(bytes);
        match bytes.u8()? {
            b'w' => {
                // Where it begins, where the log ends, and the time.
                bytes.take(24)?;
                Ok(Self::Data(bytes.0))
            }
            b'k' => {
                let end = bytes.lsn()?;
                bytes.take(8)?;
                Ok(Self::Keepalive { end, reply: bytes.u8()? != 0 })
            }
            _ => Err(Malformed("a frame of an unknown kind")),
        }
    }
}

impl Message {
    /// Reads one message.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut bytes = Bytes(bytes);
        Ok(match bytes.u8()? {
            b'B' => Self::Begin { commit: bytes.lsn()? },
            b'C' => {
                bytes.take(9)?;
                Self::Commit { end: bytes.lsn()? }
            }
            b'R' => Self::Relation(bytes.relation()?),
            b'I' => {
                let relation = bytes.u32()?;
                match bytes.u8()? {
                    b'N' => Self::Insert { relation, new: bytes.tuple()? },
                    _ => return Err(Malformed("a new row without its values")),
                }
            }
            b'U' => {
                let relation = bytes.u32()?;
                let (old, mark) = match bytes.u8()? {
                    mark @ (b'K' | b'O') => (Some(bytes.old(mark)?), bytes.u8()?),
                    mark => (None, mark),
                };
                if mark != b'N' {
                    return Err(Malformed("a changed row without its values"));
                }
                Self::Update { relation, old, new: bytes.tuple()? }
            }
            b'D' => {
                let relation = bytes.u32()?;
                match bytes.u8()? {
                    mark @ (b'K' | b'O') => Self::Delete { relation, old: bytes.old(mark)? },
                    _ => return Err(Malformed("a deleted row without its key")),
                }
            }
            b'T' => {
                let count = bytes.u32()?;
                bytes.take(1)?;
                let relations = (0..count).map(|_| bytes.u32()).collect::<Result<_, _>>()?;
                Self::Truncate { relations }
            }
            // Where it came from, a type's name, a message of a program.
            b'O' | b'Y' | b'M' => Self::Other,
            _ => return Err(Malformed("a message of an unknown kind")),
        })
    }
}

/// What is left to be read.
pub(super) struct Bytes<'b>(pub(super) &'b [u8]);

impl<'b> Bytes<'b> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'b [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed("it ends too early"))
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    fn lsn(&mut self) -> Result<Lsn, Malformed> {
        self.array().map(u64::from_be_bytes).map(Lsn)
    }

    /// Text up to a zero.
    pub(super) fn text(&mut self) -> Result<String, Malformed> {
        let end =
            self.0.iter().position(|&byte| byte == 0).ok_or(Malformed("a text has no end"))?;
        let text = utf8(self.take(end)?)?;
        self.take(1)?;
        Ok(text)
    }

    fn relation(&mut self) -> Result<Relation, Malformed> {
        let (id, schema, name) = (self.u32()?, self.text()?, self.text()?);
        // What identifies a row is asked of the catalog.
        self.take(1)?;
        let count = self.u16()?;
        let mut columns = vec![];
        for _ in 0..count {
            self.take(1)?;
            columns.push(Column { name: self.text()?, kind: self.u32()? });
            self.take(4)?;
        }
        Ok(Relation { id, schema, name, columns })
    }

    fn old(&mut self, mark: u8) -> Result<Old, Malformed> {
        Ok(Old { is_full: mark == b'O', tuple: self.tuple()? })
    }

    fn tuple(&mut self) -> Result<Tuple, Malformed> {
        let count = self.u16()?;
        (0..count).map(|_| self.cell()).collect()
    }

    fn cell(&mut self) -> Result<Cell, Malformed> {
        Ok(match self.u8()? {
            b'n' => Cell::Null,
            b'u' => Cell::Unchanged,
            b't' => {
                let length = self.u32()?;
                let length = usize::try_from(length).map_err(|_| Malformed("a value too long"))?;
                Cell::Text(utf8(self.take(length)?)?)
            }
            _ => return Err(Malformed("a value of an unknown kind")),
        })
    }
}

/// The connection asks for UTF-8.
fn utf8(bytes: &[u8]) -> Result<String, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed("a text is not UTF-8"))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message's bytes from what they are: numbers as they stand, texts with their bytes.
    fn bytes(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    fn text(value: &str) -> Vec<u8> {
        let length = u32::try_from(value.len()).unwrap();
        [&b"t"[..], &length.to_be_bytes(), value.as_bytes()].concat()
    }

    #[test]
    fn a_transaction_begins_and_is_committed() {
        let lsn = 0x0000_0001_016b_3748_u64.to_be_bytes();
        let begin = bytes(&[b"B", &lsn, &[0; 8], &[0, 0, 2, 0]]);
        let Message::Begin { commit } = Message::read(&begin).unwrap() else { panic!() };
        assert_eq!(commit.to_string(), "1/16B3748");
        let commit = bytes(&[b"C", &[0], &[0; 8], &lsn, &[0; 8]]);
        assert_eq!(Message::read(&commit), Ok(Message::Commit { end: Lsn(0x1_016b_3748) }));
    }

    #[test]
    fn a_table_is_described() {
        let message = bytes(&[
            b"R\0\0\x40\x01public\0users\0d\0\x02",
            b"\x01id\0\0\0\0\x17\xff\xff\xff\xff",
            b"\0name\0\0\0\0\x19\xff\xff\xff\xff",
        ]);
        let columns = [("id", 23), ("name", 25)]
            .map(|(name, kind)| Column { name: name.to_owned(), kind })
            .to_vec();
        let (schema, name) = ("public".to_owned(), "users".to_owned());
        let relation = Relation { id: 0x4001, schema, name, columns };
        assert_eq!(Message::read(&message), Ok(Message::Relation(relation)));
    }

    #[test]
    fn rows_come_change_and_go() {
        let row = bytes(&[b"\0\x03", &text("7"), b"n", b"u"]);
        let cells = vec![Cell::Text("7".to_owned()), Cell::Null, Cell::Unchanged];
        let key = bytes(&[b"\0\x01", &text("é")]);
        let old = |is_full| Old { is_full, tuple: vec![Cell::Text("é".to_owned())] };
        let table = b"\0\0\0\x05";
        for (message, expected) in [
            (
                bytes(&[b"I", table, b"N", &row]),
                Message::Insert { relation: 5, new: cells.clone() },
            ),
            (
                bytes(&[b"U", table, b"N", &row]),
                Message::Update { relation: 5, old: None, new: cells.clone() },
            ),
            (
                bytes(&[b"U", table, b"K", &key, b"N", &row]),
                Message::Update { relation: 5, old: Some(old(false)), new: cells.clone() },
            ),
            (
                bytes(&[b"U", table, b"O", &key, b"N", &row]),
                Message::Update { relation: 5, old: Some(old(true)), new: cells.clone() },
            ),
            (bytes(&[b"D", table, b"K", &key]), Message::Delete { relation: 5, old: old(false) }),
            (
                bytes(&[b"T\0\0\0\x02\0", table, b"\0\0\0\x06"]),
                Message::Truncate { relations: vec![5, 6] },
            ),
            (bytes(&[b"Y", table, b"public\0mood\0"]), Message::Other),
        ] {
            assert_eq!(Message::read(&message), Ok(expected));
        }
    }

    #[test]
    fn a_frame_is_data_or_a_sign_of_life() {
        let data = bytes(&[b"w", &[0; 24], b"Bx"]);
        assert_eq!(Frame::read(&data), Ok(Frame::Data(b"Bx")));
        let alive = bytes(&[b"k", &9_u64.to_be_bytes(), &[0; 8], &[1]]);
        assert_eq!(Frame::read(&alive), Ok(Frame::Keepalive { end: Lsn(9), reply: true }));
        assert!(Frame::read(b"x").is_err() && Frame::read(b"").is_err());
    }

    #[test]
    fn what_is_cut_off_anywhere_or_is_no_text_is_an_error() {
        let row = bytes(&[b"\0\x02", &text("7"), &text("seven")]);
        let whole = bytes(&[b"U\0\0\0\x05O", &row, b"N", &row]);
        assert!(Message::read(&whole).is_ok());
        for end in 0..whole.len() {
            assert!(Message::read(&whole[..end]).is_err(), "{end} bytes");
        }
        for wrong in [&b"?"[..], b"I\0\0\0\x05K", b"I\0\0\0\x05N\0\x01t\0\0\0\x01\xff"] {
            assert!(Message::read(wrong).is_err(), "{wrong:?}");
        }
        let endless = b"I\0\0\0\x05N\0\x01t\xff\xff\xff\xff";
        assert!(Message::read(endless).is_err());
    }
}
