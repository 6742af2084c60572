//! What the git code adds to the Worker: the bodies and names of those functions in the built
//! WebAssembly that are git's by their names.
//!
//! Nothing has to be built twice for that. Constants are not counted, and neither is what the
//! compiler has put into functions of others; what others use besides, such as the decompressor,
//! is counted as if it were git's alone.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::bench::report::{Figure, Report};
use crate::bench::worker::{gzipped, kib, modules};

/// The crate, and what is in the Worker for its sake.
const GIT: [&str; 5] = ["git::", "flate2::", "miniz_oxide::", "crc32fast::", "sha1::"];
/// The Durable Object around it.
const OBJECT: &str = "repository::";

pub(super) async fn measure(report: &mut Report) -> Result<()> {
    let (mut git, mut both) = (Vec::new(), Vec::new());
    for file in modules()? {
        let wasm = fs::read(&file)?;
        for (name, body) in functions(&wasm).context("reading the built WebAssembly")? {
            let is_git = GIT.iter().any(|path| has(name, path));
            for (is, all) in [(is_git, &mut git), (is_git || has(name, OBJECT), &mut both)] {
                if is {
                    all.extend_from_slice(name.as_bytes());
                    all.extend_from_slice(body);
                }
            }
        }
    }
    if git.is_empty() {
        bail!("no function of the built Worker is git's by its name: was it built without names?");
    }
    for (name, bytes, target) in [
        ("wasm by the git code, gzipped", git, Some(250.0)),
        ("wasm by the git code and its Durable Object, gzipped", both, None),
    ] {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("functions");
        fs::write(&file, bytes)?;
        let figure = Figure::new(name, kib(gzipped(&file).await?), "KiB");
        report.add(match target {
            Some(target) => figure.target(target),
            None => figure,
        });
    }
    Ok(())
}

/// True if a name has a path that begins so, as `<git::Look as Debug>::fmt` has `git::`.
fn has(name: &str, path: &str) -> bool {
    name.match_indices(path).any(|(at, _)| {
        let before = name.get(..at).and_then(|before| before.chars().next_back());
        before.is_none_or(|it| !it.is_alphanumeric() && it != '_' && it != ':')
    })
}

/// Names and bodies of the functions of a module.
fn functions(wasm: &[u8]) -> Option<Vec<(&str, &[u8])>> {
    let mut rest = Bytes(wasm.get(8..)?);
    let (mut imported, mut bodies, mut names) = (0_u32, Vec::new(), BTreeMap::new());
    while !rest.0.is_empty() {
        let kind = rest.byte()?;
        let mut section = rest.sized()?;
        match kind {
            0 if section.sized()?.0 == b"name" => {
                while !section.0.is_empty() {
                    let (kind, mut part) = (section.byte()?, section.sized()?);
                    for _ in 0..if kind == 1 { part.number()? } else { 0 } {
                        let index = part.number()?;
                        names.insert(index, std::str::from_utf8(part.sized()?.0).ok()?);
                    }
                }
            }
            2 => imported = imports(section)?,
            10 => {
                for _ in 0..section.number()? {
                    bodies.push(section.sized()?.0);
                }
            }
            _ => {}
        }
    }
    let named = (imported..).zip(bodies);
    Some(named.map(|(at, body)| (names.get(&at).copied().unwrap_or(""), body)).collect())
}

/// How many functions a module imports; their numbers come before those of its own.
fn imports(mut section: Bytes<'_>) -> Option<u32> {
    let mut functions = 0;
    for _ in 0..section.number()? {
        section.sized()?;
        section.sized()?;
        match section.byte()? {
            0 => functions += 1,
            // A table or a memory: its kind if it is a table, then its limits.
            kind @ (1 | 2) => {
                if kind == 1 {
                    section.byte()?;
                }
                let has_most = section.byte()? & 1 == 1;
                section.number()?;
                if has_most {
                    section.number()?;
                }
                continue;
            }
            // A global: its type, and whether it changes.
            3 => {
                section.byte()?;
                section.byte()?;
                continue;
            }
            // A tag: an attribute before its type.
            4 => {
                section.byte()?;
            }
            _ => return None,
        }
        section.number()?;
    }
    Some(functions)
}

/// What is left to read.
struct Bytes<'w>(&'w [u8]);

impl<'w> Bytes<'w> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// LEB128.
    fn number(&mut self) -> Option<u32> {
        let mut number = 0;
        for shift in (0..32).step_by(7) {
            let byte = self.byte()?;
            number |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// So many bytes as the number before them says.
    fn sized(&mut self) -> Option<Self> {
        let length = usize::try_from(self.number()?).ok()?;
        let (sized, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Bytes(sized))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_of_a_module_are_read_with_their_names() {
        let section = |kind: u8, body: &[u8]| [&[kind, body.len() as u8], body].concat();
        // A function and a memory are imported, two functions are its own.
        let imports = section(2, b"\x02\x01e\x01f\x00\x00\x01e\x01m\x02\x00\x01");
        let code = section(10, b"\x02\x02\x00\x0b\x03\x00\x01\x0b");
        let names = section(0, b"\x04name\x00\x02\x01n\x01\x0f\x02\x01\x06git::a\x02\x04core");
        let wasm = [&b"\0asm\x01\0\0\0"[..], &imports, &code, &names].concat();
        let read = functions(&wasm).unwrap();
        assert_eq!(read, [("git::a", &b"\x00\x0b"[..]), ("core", b"\x00\x01\x0b")]);
        assert_eq!(functions(&wasm[..wasm.len() - 1]), None);
    }

    #[test]
    fn a_name_is_gits_by_the_begin_of_a_path_in_it() {
        for (name, expected) in [
            ("git::look::Look::end", true),
            ("<git::Look as core::fmt::Debug>::fmt", true),
            ("core::ptr::drop_in_place<[git::Object]>", true),
            ("digit::x", false),
            ("router::git::x", false),
        ] {
            assert_eq!(has(name, "git::"), expected, "{name}");
        }
    }
}
