use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

use super::*;
use crate::write;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A member as only somebody who means harm would write it.
fn raw(path: &[u8], kind: EntryType, size: u64, data: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path);
    header.set_entry_type(kind);
    header.set_size(size);
    if kind == EntryType::GNUSparse {
        header.as_gnu_mut().unwrap().set_real_size(size);
    }
    header.set_cksum();
    let mut member = header.as_bytes().to_vec();
    member.extend_from_slice(data);
    member.resize(member.len().div_ceil(512) * 512, 0);
    member
}

fn archive_of(members: &[Vec<u8>]) -> Vec<u8> {
    let mut all = members.concat();
    all.extend_from_slice(&[0; 1024]);
    gzip(&all)
}

fn file(path: &str, text: &str) -> Vec<u8> {
    raw(path.as_bytes(), EntryType::Regular, text.len() as u64, text.as_bytes())
}

fn fault(bytes: &[u8]) -> ArchiveError {
    read(bytes, &Limits::default()).unwrap_err()
}

#[test]
fn what_is_written_is_read() {
    let long = format!("{}x.rego", "folder/".repeat(30));
    let files: Files = [("a.rego", "package a"), (".manifest", "{}"), (long.as_str(), "ü")]
        .map(|(path, text)| (path.to_owned(), text.to_owned()))
        .into();
    let bytes = write(files.iter().map(|(path, text)| (path.as_str(), text.as_bytes()))).unwrap();
    assert_eq!(read(&bytes, &Limits::default()).unwrap(), files);
    let again = write(files.iter().map(|(path, text)| (path.as_str(), text.as_bytes()))).unwrap();
    assert_eq!(bytes, again);
}

#[test]
fn paths_are_relative_however_they_begin() {
    let bytes = archive_of(&[
        raw(b"./", EntryType::Directory, 0, b""),
        raw(b"b/", EntryType::Directory, 0, b""),
        file("/data.json", "{}"),
        file("./b/x.rego", "package b"),
        raw(b"pax", EntryType::XGlobalHeader, 0, b""),
    ]);
    let files = read(&bytes, &Limits::default()).unwrap();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["b/x.rego", "data.json"]);
}

#[test]
fn a_path_that_is_not_plain_is_named() {
    for path in ["../x", "a/../../x", "a//b", "//x", "a/./b", "a\nb", ".."] {
        for kind in [EntryType::Regular, EntryType::Directory] {
            let bytes = archive_of(&[raw(path.as_bytes(), kind, 0, b"")]);
            let error = read_wanted(&bytes, &Limits::default(), &|_| false).unwrap_err();
            assert_eq!(error.member.as_deref(), Some(path));
            assert!(matches!(error.fault, Fault::Path(_)), "{error}");
        }
    }
    let bytes = archive_of(&[raw(b"a\xff", EntryType::Regular, 0, b"")]);
    assert!(matches!(fault(&bytes).fault, Fault::Path(_)));
}

#[test]
fn links_and_devices_are_named_even_if_they_are_not_wanted() {
    for (kind, word) in [
        (EntryType::Symlink, "symbolic link"),
        (EntryType::Link, "hard link"),
        (EntryType::Char, "device"),
        (EntryType::Fifo, "pipe"),
        (EntryType::GNUSparse, "sparse"),
    ] {
        let bytes = archive_of(&[raw(b"x.rego", kind, 0, b"")]);
        let error = read_wanted(&bytes, &Limits::default(), &|_| false).unwrap_err();
        assert!(error.to_string().starts_with("member `x.rego`: it is a"), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn the_same_path_twice_is_refused() {
    let bytes = archive_of(&[file("/a.rego", "package a"), file("./a.rego", "package b")]);
    let error = fault(&bytes);
    assert_eq!((error.member.as_deref(), error.fault), (Some("./a.rego"), Fault::Twice));
}

#[test]
fn what_is_not_text_is_refused_only_if_it_is_wanted() {
    let bytes = archive_of(&[raw(b"p.wasm", EntryType::Regular, 2, b"\xff\xfe"), file("a", "x")]);
    assert_eq!(fault(&bytes), ArchiveError::of("p.wasm", Fault::NotText));
    let files = read_wanted(&bytes, &Limits::default(), &|path| path == "a").unwrap();
    assert_eq!(files.len(), 1);
}

#[test]
fn a_bomb_is_refused_and_the_limit_named() {
    let limits = Limits { inflated_bytes: 1 << 20, ..Limits::default() };
    let bomb = gzip(&vec![0; 8 << 20]);
    assert!(bomb.len() < 10_000);
    let error = read(&bomb, &limits).unwrap_err();
    assert_eq!(error, ArchiveError::whole(Fault::Inflated(1 << 20)));
    assert_eq!(Problem::from(error).status, 413);
    // A member whose name is that long, which `tar` keeps while it reads.
    let name = vec![b'n'; 8 << 20];
    let bytes = archive_of(&[raw(b"@", EntryType::GNULongName, name.len() as u64, &name)]);
    assert_eq!(read(&bytes, &limits).unwrap_err().fault, Fault::Inflated(1 << 20));
}

#[test]
fn limits_of_files_are_named() {
    let two = archive_of(&[file("a", "12345"), file("b", "12345")]);
    let with = |limits: Limits| read(&two, &limits).unwrap_err().fault;
    let all = Limits::default();
    assert_eq!(with(Limits { files: 1, ..all }), Fault::TooMany(1));
    assert_eq!(with(Limits { text_bytes: 9, ..all }), Fault::Total(9));
    assert_eq!(with(Limits { file_bytes: 4, ..all }), Fault::File { bytes: 5, limit: 4 });
    assert_eq!(with(Limits { path_bytes: 0, ..all }), Fault::Path(0));
    assert!(
        read(&two, &Limits { files: 2, text_bytes: 10, file_bytes: 5, path_bytes: 1, ..all })
            .is_ok()
    );
}

#[test]
fn a_size_that_is_only_claimed_costs_nothing() {
    for size in [1 << 33, u64::MAX / 2] {
        let bytes = archive_of(&[raw(b"a.rego", EntryType::Regular, size, b"x")]);
        assert!(matches!(fault(&bytes).fault, Fault::File { .. } | Fault::Damaged(_)));
    }
}

#[test]
fn every_cut_and_every_wrong_byte_is_an_error_or_the_same_files() {
    let whole = archive_of(&[file("a.rego", "package a"), file("b/data.json", "{}")]);
    let files = read(&whole, &Limits::default()).unwrap();
    for end in 0..whole.len() {
        let cut = read(&whole[..end], &Limits::default());
        assert!(matches!(cut.unwrap_err().fault, Fault::Damaged(_)), "{end}");
    }
    for at in 0..whole.len() {
        let mut wrong = whole.clone();
        wrong[at] ^= 0x20;
        // The header of gzip has bytes that mean nothing here.
        if let Ok(read) = read(&wrong, &Limits::default()) {
            assert_eq!(read, files, "{at}");
        }
    }
}

#[test]
fn no_archive_at_all_is_told_what_one_is() {
    for bytes in [&b""[..], b"package a", b"{}"] {
        let error = fault(bytes);
        assert!(error.to_string().contains("tar in gzip"), "{error}");
        assert_eq!(Problem::from(error).status, 422);
    }
    assert!(write([("../x", &b""[..])]).is_err());
    let mut builder = Builder::new(vec![]);
    builder.finish().unwrap();
    assert_eq!(
        read(&gzip(&builder.into_inner().unwrap()), &Limits::default()).unwrap(),
        Files::new()
    );
}
