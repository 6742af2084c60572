//! Does any pack, good or bad, break its reader?

use git::pack::PackReader;
use git::{GitError, Kind, MemoryObjects, Object, ObjectId, Objects as _, StoreError};
use sha1::{Digest as _, Sha1};

use crate::{Choices, LIMITS};

/// The bytes as a pack, whole and cut where the first byte says.
pub fn pack(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else { return };
    compare(bytes, usize::from(*cut) + 1);
}

/// A pack with good compression and a good checksum, of objects that the bytes choose: what the
/// other target would have to find by chance.
pub fn made_pack(data: &[u8]) {
    let mut choices = Choices(data);
    let Some(cut) = choices.byte() else { return };
    let (mut body, mut starts, mut ids) = (vec![], vec![], vec![ObjectId::of(Kind::Blob, b"")]);
    while let Some(kind) = choices.byte() {
        if starts.len() == 60 {
            break;
        }
        let (Some(chosen), Some(content)) = (choices.byte(), choices.bytes(60)) else { break };
        let start = body.len() as u64 + 12;
        // Mostly the true size, and a kind that exists.
        let size = if kind & 0x70 == 0x70 { usize::from(chosen) } else { content.len() };
        let code = [1, 2, 3, 4, 6, 6, 7, 7, 3, 6, 7, 0, 5, 6, 7, 3][usize::from(kind & 15)];
        head(&mut body, code, size);
        match code {
            6 => {
                let place = match starts.get(usize::from(chosen) % (starts.len() + 1)) {
                    Some(place) => *place,
                    None => u64::from(chosen),
                };
                distance(&mut body, start.wrapping_sub(place));
            }
            7 => body.extend(ids[usize::from(chosen) % ids.len()].as_bytes()),
            _ => ids.push(ObjectId::of(kind_of(code), content)),
        }
        store(&mut body, content);
        starts.push(start);
    }
    let mut bytes = b"PACK\0\0\0\x02".to_vec();
    bytes.extend((starts.len() as u32).to_be_bytes());
    bytes.extend(body);
    let checksum = Sha1::digest(&bytes);
    bytes.extend(checksum);
    compare(&bytes, usize::from(cut) + 1);
}

/// zlib's frame around bytes that are not compressed; a compressor would take most of the time.
fn store(out: &mut Vec<u8>, content: &[u8]) {
    let length = content.len() as u16;
    out.extend([0x78, 0x01, 0x01]);
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend(content);
    let (mut low, mut high) = (1_u32, 0_u32);
    for byte in content {
        low = (low + u32::from(*byte)) % 65_521;
        high = (high + low) % 65_521;
    }
    out.extend((high << 16 | low).to_be_bytes());
}

fn kind_of(code: u8) -> Kind {
    match code {
        1 => Kind::Commit,
        2 => Kind::Tree,
        4 => Kind::Tag,
        _ => Kind::Blob,
    }
}

fn head(out: &mut Vec<u8>, code: u8, size: usize) {
    let (mut byte, mut rest) = (code << 4 | (size & 15) as u8, size >> 4);
    while rest > 0 {
        out.push(byte | 0x80);
        (byte, rest) = ((rest & 0x7f) as u8, rest >> 7);
    }
    out.push(byte);
}

fn distance(out: &mut Vec<u8>, mut back: u64) {
    let mut bytes = vec![(back & 0x7f) as u8];
    while back > 0x7f {
        back = (back >> 7) - 1;
        bytes.push((back & 0x7f) as u8 | 0x80);
    }
    out.extend(bytes.iter().rev());
}

/// A store that knows one object, and looks at what it is given.
#[derive(Clone, Debug, PartialEq)]
struct Store(MemoryObjects);

impl git::Objects for Store {
    fn get(&self, id: &ObjectId) -> Result<Option<Object>, StoreError> {
        self.0.get(id)
    }

    fn has(&self, id: &ObjectId) -> Result<bool, StoreError> {
        self.0.has(id)
    }

    fn put(&mut self, id: ObjectId, kind: Kind, data: &[u8]) -> Result<(), StoreError> {
        assert_eq!(id, ObjectId::of(kind, data), "an id is worked out");
        assert!(data.len() <= LIMITS.object_bytes, "limits hold");
        self.0.put(id, kind, data)
    }
}

fn compare(bytes: &[u8], cut: usize) {
    let mut known = MemoryObjects::default();
    known.put(ObjectId::of(Kind::Blob, b""), Kind::Blob, b"").unwrap();
    let (mut whole, mut pieces) = (Store(known.clone()), Store(known));
    let first = read([bytes].into_iter(), &mut whole);
    let second = read(bytes.chunks(cut), &mut pieces);
    match (&first, &second) {
        // One over the limit for all bytes is refused before the objects in it are looked at.
        (Err(GitError::Limit(_)), Err(_)) => {}
        // Damage may show in another way, but in the same object.
        (Err(GitError::Object { object, .. }), Err(GitError::Object { object: same, .. })) => {
            assert_eq!(object, same, "pieces of {cut}");
        }
        _ => {
            assert_eq!(first, second, "pieces of {cut}");
            assert_eq!(whole, pieces, "pieces of {cut}");
        }
    }
}

fn read<'d>(pieces: impl Iterator<Item = &'d [u8]>, objects: &mut Store) -> Result<(), GitError> {
    let mut reader = PackReader::new(LIMITS);
    for piece in pieces {
        reader.feed(piece, objects)?;
    }
    reader.finish()
}
