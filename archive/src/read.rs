//! Reads an archive that somebody sent.

use std::collections::BTreeMap;
use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use protocol::opal::policy::Files;
use protocol::{Problem, limits};
use tar::{Archive, Entry, EntryType};

/// What an archive may be. Over one of them it is refused, not cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole archive when it is inflated, headers and unwanted files included.
    pub inflated_bytes: usize,
    /// Bytes of all wanted files together.
    pub text_bytes: usize,
    /// Bytes of one wanted file.
    pub file_bytes: usize,
    /// Wanted files.
    pub files: usize,
    /// Bytes of a member's path.
    pub path_bytes: usize,
}

impl Default for Limits {
    /// Whatever can be a policy can be read.
    fn default() -> Self {
        Self {
            inflated_bytes: 64 << 20,
            text_bytes: limits::MAX_POLICY_BYTES,
            file_bytes: limits::MAX_POLICY_FILE_BYTES,
            files: limits::MAX_POLICY_FILES,
            path_bytes: limits::MAX_PATH_BYTES,
        }
    }
}

/// Why an archive is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{fault}", .member.as_ref().map(|member| format!("member `{member}`: ")).unwrap_or_default())]
pub struct ArchiveError {
    /// The member at which it was found, as its path is written; none if it is the archive itself.
    pub member: Option<String>,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with an archive or a member, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not tar in gzip, or is cut short, or a checksum is wrong.
    #[error(
        "the archive is damaged, or not tar in gzip: {0}; make it again, for instance with `opa build`"
    )]
    Damaged(String),
    /// It inflates to more than that.
    #[error("the archive inflates to more than {0} bytes, which is the limit; leave files out")]
    Inflated(usize),
    /// The wanted files are together larger than that.
    #[error("the files have together more than {0} bytes, which is the limit; leave files out")]
    Total(usize),
    /// More wanted files than that.
    #[error("there are more than {0} files, which is the limit; leave files out")]
    TooMany(usize),
    /// One file of so many bytes, and the limit.
    #[error("it has {bytes} bytes, the limit of one file is {limit}")]
    File {
        /// How many it says that it has.
        bytes: u64,
        /// How many it may have.
        limit: usize,
    },
    /// A path that leads out of the archive, or is not plain.
    #[error("a path has no `..`, empty segment or control character, and at most {0} bytes")]
    Path(usize),
    /// Something other than a file or a folder.
    #[error("it is a {0}; only files and folders are read, put the file itself in")]
    Kind(&'static str),
    /// Two of the same path.
    #[error("it is there twice; which of the two counts cannot be told")]
    Twice,
    /// Not text.
    #[error("it is not UTF-8 text")]
    NotText,
    /// The files cannot be written.
    #[error("the archive cannot be written: {0}")]
    Unwritten(String),
}

impl ArchiveError {
    fn of(member: &str, fault: Fault) -> Self {
        Self { member: Some(member.to_owned()), fault }
    }

    pub(crate) fn whole(fault: Fault) -> Self {
        Self { member: None, fault }
    }

    fn damaged(error: &io::Error) -> Self {
        Self::whole(Fault::Damaged(error.to_string()))
    }
}

impl From<ArchiveError> for Problem {
    /// 413 over a limit, 422 for everything else.
    fn from(error: ArchiveError) -> Self {
        let detail = format!("archive: {error}");
        match error.fault {
            Fault::Inflated(_) | Fault::Total(_) | Fault::TooMany(_) | Fault::File { .. } => {
                Self::too_large(detail)
            }
            Fault::Unwritten(_) => Self::internal(detail),
            _ => Self::invalid(detail),
        }
    }
}

/// Every file of an archive, all of which must be text.
///
/// # Errors
/// See [`read_wanted`].
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Files, ArchiveError> {
    read_wanted(bytes, limits, &|_| true)
}

/// The files of an archive whose path is wanted, which must be text; the others are not read.
/// Paths are relative: one `/` or `./` at the beginning is left out, as `opa build` and `tar`
/// write them.
///
/// # Errors
/// What [`Fault`] lists. Paths and kinds are checked of unwanted members too: who sends one
/// that climbs out is not to be trusted with the others.
pub fn read_wanted(
    bytes: &[u8],
    limits: &Limits,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Files, ArchiveError> {
    let inflated =
        Bounded { inner: MultiGzDecoder::new(bytes), left: limits.inflated_bytes, is_over: false };
    let mut archive = Archive::new(inflated);
    let files = members(&mut archive, limits, wanted);
    let mut inflated = archive.into_inner();
    // What stands behind the end mark has to be inflated, too: the checksum is behind it.
    let end = io::copy(&mut inflated, &mut io::sink());
    if inflated.is_over {
        return Err(ArchiveError::whole(Fault::Inflated(limits.inflated_bytes)));
    }
    let files = files?;
    end.map_err(|error| ArchiveError::damaged(&error))?;
    Ok(files)
}

fn members(
    archive: &mut Archive<Bounded<MultiGzDecoder<&[u8]>>>,
    limits: &Limits,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Files, ArchiveError> {
    // With none for what is there but not wanted.
    let mut found: BTreeMap<String, Option<String>> = BTreeMap::new();
    let (mut count, mut total) = (0_usize, 0_usize);
    for member in archive.entries().map_err(|error| ArchiveError::damaged(&error))? {
        let mut member = member.map_err(|error| ArchiveError::damaged(&error))?;
        let written = String::from_utf8_lossy(&member.path_bytes()).into_owned();
        let is_file = match member.header().entry_type() {
            EntryType::Regular => !written.ends_with('/'),
            EntryType::Directory => false,
            // What holds for the whole archive, such as the commit it was made of.
            EntryType::XGlobalHeader => continue,
            other => return Err(ArchiveError::of(&written, Fault::Kind(kind(other)))),
        };
        let path = plain(&written, is_file, limits.path_bytes)
            .ok_or_else(|| ArchiveError::of(&written, Fault::Path(limits.path_bytes)))?;
        if !is_file {
            continue;
        }
        let text = if wanted(path) {
            count += 1;
            if count > limits.files {
                return Err(ArchiveError::whole(Fault::TooMany(limits.files)));
            }
            let text = text(&mut member, &written, limits)?;
            total = total.saturating_add(text.len());
            if total > limits.text_bytes {
                return Err(ArchiveError::whole(Fault::Total(limits.text_bytes)));
            }
            Some(text)
        } else {
            None
        };
        if found.insert(path.to_owned(), text).is_some() {
            return Err(ArchiveError::of(&written, Fault::Twice));
        }
    }
    Ok(found.into_iter().filter_map(|(path, text)| Some((path, text?))).collect())
}

/// A member's path as it counts; none if it is not plain.
fn plain(written: &str, is_file: bool, limit: usize) -> Option<&str> {
    let path = written.strip_prefix("./").or_else(|| written.strip_prefix('/')).unwrap_or(written);
    let path = if is_file { path } else { path.trim_end_matches('/') };
    if !is_file && matches!(path, "" | ".") {
        return Some(path);
    }
    let is_plain = |segment: &str| {
        !matches!(segment, "" | "." | "..") && !segment.chars().any(char::is_control)
    };
    // A path that is not UTF-8 has this character in the place of what is not.
    let is_text = !path.contains(char::REPLACEMENT_CHARACTER);
    (path.len() <= limit && is_text && path.split('/').all(is_plain)).then_some(path)
}

fn text(
    member: &mut Entry<'_, impl Read>,
    written: &str,
    limits: &Limits,
) -> Result<String, ArchiveError> {
    let (bytes, limit) = (member.size(), limits.file_bytes);
    // Before anything is kept for it: an archive may state any size.
    if usize::try_from(bytes).map_or(true, |bytes| bytes > limit) {
        return Err(ArchiveError::of(written, Fault::File { bytes, limit }));
    }
    let mut text = vec![];
    member.read_to_end(&mut text).map_err(|error| ArchiveError::damaged(&error))?;
    if u64::try_from(text.len()).ok() != Some(bytes) {
        return Err(ArchiveError::of(written, Fault::Damaged("it is cut short".to_owned())));
    }
    String::from_utf8(text).map_err(|_| ArchiveError::of(written, Fault::NotText))
}

fn kind(of: EntryType) -> &'static str {
    match of {
        EntryType::Symlink => "symbolic link",
        EntryType::Link => "hard link",
        EntryType::GNUSparse => "sparse file",
        EntryType::Char | EntryType::Block => "device",
        EntryType::Fifo => "pipe",
        _ => "member of an unknown kind",
    }
}

/// Reads so many bytes; asked for more, it fails rather than to look like an end.
struct Bounded<R> {
    inner: R,
    left: usize,
    is_over: bool,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read) {
            Some(left) => self.left = left,
            None => {
                self.is_over = true;
                return Err(io::Error::other("too much"));
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
