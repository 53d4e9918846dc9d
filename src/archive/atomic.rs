//! Where a file goes, and how it gets there whole.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Links that are followed from one name to the next, as many as Linux does.
const MAX_LINKS: usize = 40;

/// Writes to a temporary file beside `path` and renames it, so that a reader never sees half a file and a
/// failure leaves what was there.
///
/// A link stays a link: the file that it names is replaced, and keeps its permissions. What is no plain file, such as
/// `/dev/stdout` or a pipe, is written to.
///
/// # Errors
/// [`Error::Write`] if it cannot be written, is a folder, or is a file that is marked as read-only.
///
/// # Examples
/// ```
/// use clip_adapter::{Error, archive::write_atomically};
///
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("notes.txt");
/// std::fs::write(&path, "old").unwrap();
/// let failed = write_atomically(&path, |file| {
///     file.write_all(b"half of the ").map_err(|error| Error::write(&path, error))?;
///     Err(Error::data("notes", "more", "none"))
/// });
/// assert!(failed.is_err());
/// assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
/// ```
pub fn write_atomically(path: &Path, content: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let failed = |source: io::Error| Error::write(path, source);
    match Target::of(path).map_err(failed)? {
        Target::Stream(mut stream) => {
            let mut buffer = BufWriter::new(&mut stream);
            content(&mut buffer)?;
            buffer.flush().map_err(failed)
        }
        Target::File(target, present) => {
            let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
            let mut builder = tempfile::Builder::new();
            builder.prefix(".clip-adapter-");
            #[cfg(unix)]
            {
                // Temporary files are private by default; this one becomes the user's ordinary file.
                use std::os::unix::fs::PermissionsExt;
                builder.permissions(fs::Permissions::from_mode(0o666));
            }
            let mut file = builder.tempfile_in(folder.unwrap_or(Path::new("."))).map_err(failed)?;
            let mut buffer = BufWriter::new(file.as_file_mut());
            content(&mut buffer)?;
            buffer.flush().map_err(failed)?;
            drop(buffer);
            if let Some(present) = present {
                file.as_file().set_permissions(present.permissions()).map_err(failed)?;
            }
            file.as_file().sync_all().map_err(failed)?;
            file.persist(&target).map_err(|error| failed(error.error))?;
            Ok(())
        }
    }
}

/// What a name leads to.
enum Target {
    /// A plain file, with what is known of it if it is there.
    File(PathBuf, Option<Metadata>),
    /// A device, a pipe, or an open file of this process.
    Stream(File),
}

impl Target {
    fn of(path: &Path) -> io::Result<Self> {
        let mut target = path.to_path_buf();
        for _ in 0..MAX_LINKS {
            let link = match fs::symlink_metadata(&target) {
                Ok(found) => found.is_symlink(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::File(target, None)),
                Err(error) => return Err(error),
            };
            if link && !is_descriptor(&target) {
                let named = fs::read_link(&target)?;
                target = target.parent().unwrap_or(Path::new("")).join(named);
                continue;
            }
            let found = fs::metadata(&target)?;
            return match (found.is_file() && !link, found.is_dir()) {
                (_, true) => Err(io::ErrorKind::IsADirectory.into()),
                (true, _) if found.permissions().readonly() => {
                    Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file is read-only"))
                }
                (true, _) => Ok(Self::File(target, Some(found))),
                // Of an open file what is written before stays.
                (false, _) => OpenOptions::new().append(true).open(&target).map(Self::Stream),
            };
        }
        Err(io::Error::other("too many links"))
    }
}

/// Whether a name stands for an open file of a process, which is not to be replaced by another: where `/dev/stdout`
/// leads to.
fn is_descriptor(path: &Path) -> bool {
    path.starts_with("/proc") || path.starts_with("/dev/fd")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &Path, text: &str) -> Result<()> {
        write_atomically(path, |file| {
            file.write_all(text.as_bytes()).map_err(|error| Error::write(path, error))
        })
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_the_file_that_was_named_changes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a.part", "a.tmp", ".a.safetensors", "a.safetensors~", "a.json"] {
            fs::write(at(name), "the user's own").unwrap();
        }
        let before = names(folder.path());
        put(&at("a.safetensors"), "new").unwrap();
        let mut expected = [before, vec!["a.safetensors".to_owned()]].concat();
        expected.sort();
        assert_eq!(names(folder.path()), expected);
        assert_eq!(fs::read_to_string(at("a.part")).unwrap(), "the user's own");

        // A failure leaves nothing.
        let failure = write_atomically(&at("b"), |file| {
            file.write_all(b"half").map_err(|error| Error::write("b", error))?;
            Err(Error::data("this", "more", "none"))
        });
        assert!(failure.is_err());
        assert_eq!(names(folder.path()), expected);
        assert!(matches!(put(folder.path(), "x"), Err(Error::Write { .. })));
    }

    #[test]
    fn many_writers_leave_one_whole_file_each() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let path = folder.path().join(format!("run.{writer}"));
                let shared = folder.path().join("shared");
                scope.spawn(move || {
                    for round in 0..20 {
                        let text = format!("{writer} {round}\n").repeat(2000);
                        put(&path, &text).unwrap();
                        put(&shared, &text).unwrap();
                        assert_eq!(fs::read_to_string(&path).unwrap(), text);
                    }
                });
            }
        });
        let shared = fs::read_to_string(folder.path().join("shared")).unwrap();
        let first = shared.lines().next().unwrap();
        assert!(shared.lines().count() == 2000 && shared.lines().all(|line| line == first));
        assert_eq!(names(folder.path()).len(), 9);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link_and_a_stream_is_written_to() {
        use std::io::Read;
        use std::os::unix::fs::{PermissionsExt, symlink};

        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("elsewhere")).unwrap();
        fs::write(at("elsewhere/target"), "old").unwrap();
        fs::set_permissions(at("elsewhere/target"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("elsewhere/target", at("link")).unwrap();
        symlink("link", at("link to link")).unwrap();
        symlink("elsewhere/new", at("link to nothing")).unwrap();
        symlink("round", at("round")).unwrap();
        for (link, target) in [("link", "target"), ("link to link", "target"), ("link to nothing", "new")] {
            put(&at(link), link).unwrap();
            assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink());
            assert_eq!(fs::read_to_string(at("elsewhere").join(target)).unwrap(), link);
        }
        assert_eq!(fs::metadata(at("elsewhere/target")).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(names(&at("elsewhere")), ["new", "target"]);
        assert!(matches!(put(&at("round"), "x"), Err(Error::Write { .. })));

        fs::set_permissions(at("elsewhere/new"), fs::Permissions::from_mode(0o444)).unwrap();
        assert!(matches!(put(&at("link to nothing"), "x"), Err(Error::Write { .. })));

        // A pipe: the reader gets what is written, and it stays one.
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status();
        assert!(made.is_ok_and(|status| status.success()), "no mkfifo");
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut text = String::new();
                File::open(at("pipe")).unwrap().read_to_string(&mut text).unwrap();
                text
            });
            put(&at("pipe"), "through the pipe").unwrap();
            assert_eq!(reader.join().unwrap(), "through the pipe");
        });
        assert!(!fs::metadata(at("pipe")).unwrap().is_file());
        put(Path::new("/dev/null"), "nothing").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
