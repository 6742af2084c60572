//! Packs that are wrong, made by hand.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::*;
use crate::object::{Kind, MemoryObjects, Object, ObjectId, StoreError};

const BLOB: u8 = 3;
const BY_PLACE: u8 = 6;
const BY_ID: u8 = 7;

/// A pack in the making.
struct Pack {
    bytes: Vec<u8>,
}

impl Pack {
    fn of(objects: u32) -> Self {
        let mut bytes = b"PACK\0\0\0\x02".to_vec();
        bytes.extend(objects.to_be_bytes());
        Self { bytes }
    }

    /// An object that says it has `size` bytes; where it begins.
    fn raw(&mut self, kind: u8, size: u64, base: &[u8], data: &[u8]) -> u64 {
        let start = self.bytes.len() as u64;
        let (mut byte, mut rest) = (kind << 4 | (size & 15) as u8, size >> 4);
        while rest > 0 {
            self.bytes.push(byte | 0x80);
            (byte, rest) = ((rest & 0x7f) as u8, rest >> 7);
        }
        self.bytes.push(byte);
        self.bytes.extend(base);
        let mut zlib = ZlibEncoder::new(vec![], Compression::fast());
        zlib.write_all(data).unwrap();
        self.bytes.extend(zlib.finish().unwrap());
        start
    }

    fn blob(&mut self, data: &[u8]) -> u64 {
        self.raw(BLOB, data.len() as u64, &[], data)
    }

    fn change_of(&mut self, id: &ObjectId, delta: &[u8]) -> u64 {
        self.raw(BY_ID, delta.len() as u64, id.as_bytes(), delta)
    }

    fn change_at(&mut self, base: u64, delta: &[u8]) -> u64 {
        let back = self.bytes.len() as u64 - base;
        assert!(back < 128, "one byte is enough here");
        self.raw(BY_PLACE, delta.len() as u64, &[back as u8], delta)
    }

    fn finish(mut self) -> Vec<u8> {
        let checksum = Sha1::digest(&self.bytes);
        self.bytes.extend(checksum);
        self.bytes
    }
}

/// The change of `base` that makes it `base` and `more`.
fn longer(base: &[u8], more: &[u8]) -> Vec<u8> {
    let mut delta = vec![base.len() as u8, (base.len() + more.len()) as u8, 0x90, base.len() as u8];
    delta.push(more.len() as u8);
    delta.extend(more);
    delta
}

fn blob(data: &[u8]) -> ObjectId {
    ObjectId::of(Kind::Blob, data)
}

fn read_with(bytes: &[u8], limits: Limits, objects: &mut MemoryObjects) -> Result<(), GitError> {
    let mut reader = PackReader::new(limits);
    reader.feed(bytes, objects)?;
    reader.finish()
}

fn read(bytes: &[u8]) -> Result<MemoryObjects, GitError> {
    let mut objects = MemoryObjects::default();
    read_with(bytes, Limits::default(), &mut objects).map(|()| objects)
}

fn refused(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

#[test]
fn objects_and_changes_of_them_are_put_together() {
    let mut pack = Pack::of(3);
    let base = pack.blob(b"one");
    let second = pack.change_at(base, &longer(b"one", b"two"));
    pack.change_at(second, &longer(b"onetwo", b"three"));
    let bytes = pack.finish();
    let objects = read(&bytes).unwrap();
    for data in [&b"one"[..], b"onetwo", b"onetwothree"] {
        let object = Object { kind: Kind::Blob, data: data.to_vec() };
        assert_eq!(objects.get(&blob(data)), Ok(Some(object)));
    }
    for size in 1..bytes.len() {
        let (mut reader, mut again) =
            (PackReader::new(Limits::default()), MemoryObjects::default());
        for piece in bytes.chunks(size) {
            assert_eq!(reader.finish(), Err(GitError::CutShort(STEP)));
            reader.feed(piece, &mut again).unwrap();
        }
        reader.finish().unwrap();
        assert_eq!(again, objects, "pieces of {size}");
    }
}

#[test]
fn a_base_may_be_known_before_or_come_later() {
    let (one, two) = (blob(b"one"), blob(b"onetwo"));
    let mut pack = Pack::of(4);
    // A change of a change of what comes last, by place and by id.
    let first = pack.change_of(&one, &longer(b"one", b"two"));
    pack.change_at(first, &longer(b"onetwo", b"3"));
    pack.change_of(&two, &longer(b"onetwo", b"4"));
    pack.blob(b"one");
    let objects = read(&pack.finish()).unwrap();
    assert_eq!(objects.len(), 4);
    assert!(objects.has(&blob(b"onetwo3")).unwrap() && objects.has(&blob(b"onetwo4")).unwrap());

    let mut thin = Pack::of(1);
    thin.change_of(&one, &longer(b"one", b"two"));
    let bytes = thin.finish();
    let mut objects = MemoryObjects::default();
    objects.put(one, Kind::Blob, b"one").unwrap();
    read_with(&bytes, Limits::default(), &mut objects).unwrap();
    assert!(objects.has(&two).unwrap());
    let error = read(&bytes).unwrap_err();
    assert!(matches!(&error, GitError::Missing { id, .. } if *id == one), "{error}");
    assert!(error.to_string().contains("byte 12 of the pack"), "{error}");
}

#[test]
fn changes_that_form_a_loop_are_refused_by_name() {
    let (a, b) = (blob(b"a"), blob(b"b"));
    let mut pack = Pack::of(3);
    let first = pack.change_of(&a, &longer(b"a", b"b"));
    pack.change_of(&b, &longer(b"b", b"a"));
    pack.change_at(first, &longer(b"ab", b"c"));
    let error = refused(&pack.finish());
    assert!(error.contains("loop") && error.contains("of the pack"), "{error}");
    let mut itself = Pack::of(1);
    itself.raw(BY_PLACE, 5, &[0], b"12345");
    assert!(refused(&itself.finish()).contains("not before it"));
}

#[test]
fn a_pack_that_is_cut_short_anywhere_is_no_pack() {
    let mut pack = Pack::of(2);
    let base = pack.blob(b"one");
    pack.change_at(base, &longer(b"one", b"two"));
    let bytes = pack.finish();
    for length in 0..bytes.len() {
        assert_eq!(read(&bytes[..length]), Err(GitError::CutShort(STEP)), "{length}");
    }
    let longer = [&bytes[..], b"x"].concat();
    assert!(refused(&longer).contains("after its checksum"));
}

#[test]
fn a_pack_with_a_byte_changed_anywhere_is_refused() {
    let mut pack = Pack::of(2);
    let base = pack.blob(b"some bytes");
    pack.change_at(base, &longer(b"some bytes", b" more"));
    let bytes = pack.finish();
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << bit;
            // Version 3 of 2 differs by a bit; but then the checksum is another one.
            assert!(read(&damaged).is_err(), "bit {bit} of byte {place}");
        }
    }
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert!(refused(&damaged).contains("checksum"));
}

#[test]
fn headers_that_are_none_are_refused() {
    for (bytes, why) in [
        (&b"<html><body>"[..], "does not begin"),
        (b"PACK\0\0\0\x09\0\0\0\0", "of version 9"),
        (b"PACK\0\0\0\x02\xff\xff\xff\xff", "4294967295 objects"),
    ] {
        let error = refused(bytes);
        assert!(error.contains(why), "{error}");
    }
    assert_eq!(read(&Pack::of(0).finish()).unwrap().len(), 0);
}

#[test]
fn a_zip_bomb_is_inflated_no_further_than_it_says() {
    for (size, why) in [(1_000, "more bytes than it says"), (2_000_000, "fewer bytes")] {
        let mut pack = Pack::of(1);
        pack.raw(BLOB, size, &[], &vec![0; 1_000_000]);
        let error = refused(&pack.finish());
        assert!(error.starts_with("object at byte 12 of the pack: "), "{error}");
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn sizes_are_refused_before_memory_is_taken() {
    let mut huge = Pack::of(1);
    huge.raw(BLOB, 1 << 50, &[], b"x");
    assert!(refused(&huge.finish()).contains("the limit of one object"));
    let mut change = Pack::of(2);
    let base = change.blob(b"one");
    // A change that says it makes 256 MiB.
    change.change_at(base, &[3, 0x80, 0x80, 0x80, 0x80, 1, 0x90, 3]);
    let error = refused(&change.finish());
    assert!(error.contains("the limit of one object"), "{error}");
}

#[test]
fn every_limit_is_named() {
    let mut pack = Pack::of(3);
    let base = pack.blob(b"one");
    pack.change_at(base, &longer(b"one", b"two"));
    pack.change_of(&blob(b"four"), &longer(b"four", b"five"));
    pack.bytes[11] = 4;
    pack.blob(b"four");
    let bytes = pack.finish();
    let most = Limits::default();
    for (limits, why) in [
        (Limits { pack_bytes: bytes.len() as u64 - 1, ..most }, "the pack has more than"),
        (Limits { objects: 3, ..most }, "the limit is 3"),
        (Limits { object_bytes: 8, ..most }, "the limit of one object is 8"),
        (Limits { inflated_bytes: 37, ..most }, "inflates beyond the limit, 37"),
        (Limits { waiting_bytes: 8, ..most }, "over 8 bytes"),
    ] {
        let error = read_with(&bytes, limits, &mut MemoryObjects::default()).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    // At the limits, that is: 3 and 4 bytes, and two changes with what they make, 8 + 6 and 9 + 8.
    let enough = Limits {
        pack_bytes: bytes.len() as u64,
        objects: 4,
        object_bytes: 9,
        inflated_bytes: 38,
        waiting_bytes: 9,
        ..most
    };
    read_with(&bytes, enough, &mut MemoryObjects::default()).unwrap();
}

#[test]
fn small_objects_are_too_much_together() {
    let mut pack = Pack::of(2);
    pack.blob(b"123");
    pack.blob(b"4567");
    let bytes = pack.finish();
    let limits = |inflated_bytes| Limits { inflated_bytes, ..Limits::default() };
    let mut objects = MemoryObjects::default();
    let error = read_with(&bytes, limits(6), &mut objects).unwrap_err().to_string();
    assert!(error.contains("of the pack: with it the pack inflates"), "{error}");
    assert_eq!(objects.len(), 1);
    read_with(&bytes, limits(7), &mut objects).unwrap();
}

#[test]
fn a_base_where_no_object_begins_is_refused() {
    let mut pack = Pack::of(2);
    let base = pack.blob(b"one");
    pack.change_at(base + 1, &longer(b"one", b"two"));
    let error = refused(&pack.finish());
    assert!(error.contains("at byte 13, where none begins"), "{error}");
}

#[test]
fn a_store_that_fails_ends_it() {
    struct Full;
    impl Objects for Full {
        fn get(&self, _: &ObjectId) -> Result<Option<Object>, StoreError> {
            Ok(None)
        }
        fn has(&self, _: &ObjectId) -> Result<bool, StoreError> {
            Ok(false)
        }
        fn put(&mut self, _: ObjectId, _: Kind, _: &[u8]) -> Result<(), StoreError> {
            Err(StoreError("full".to_owned()))
        }
    }
    let mut pack = Pack::of(1);
    pack.blob(b"one");
    let error = PackReader::new(Limits::default()).feed(&pack.finish(), &mut Full).unwrap_err();
    assert_eq!(error, GitError::Store(StoreError("full".to_owned())));
}
