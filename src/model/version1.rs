//! Files of the format `clip-adapter/1`, in which a model within a model was a file within the file (`guard`), or its
//! metadata stood in a list (`ensemble`). They are turned into the present format when they are opened.

use serde::Deserialize;
use serde_json::{Value, json};

use super::saved::MAX_DEPTH;
use super::section;
use crate::archive::{Archive, ArchiveWriter};
use crate::error::Result;

pub(super) const FORMAT: &str = "clip-adapter/1";

/// The tensor of plain bytes that was a guarded method's own file.
const INNER: &str = "inner";

/// What an ensemble kept of a member beside its parameters.
#[derive(Deserialize)]
struct Member {
    settings: Value,
    found: Value,
}

/// The same model in the present format, in memory.
pub(super) fn upgraded(archive: Archive) -> Result<Archive> {
    let mut writer = ArchiveWriter::new(section::FORMAT);
    copy(&archive, "", MAX_DEPTH, &mut writer)?;
    Archive::from_bytes(archive.path(), writer.into_bytes()?)
}

/// Writes a model's metadata and tensors with a prefix before their names. The texts are the whole file's.
fn copy(archive: &Archive, prefix: &str, depth: usize, to: &mut ArchiveWriter<'_>) -> Result<()> {
    archive.require_format(FORMAT)?;
    let method = archive.text("method")?;
    let of_file = ["format", "fingerprint", "class_names", "prompts", "logit_scale"];
    for (key, value) in archive.metadata() {
        let shared = of_file.contains(&key.as_str());
        let of_members = method == "ensemble" && key == "found"; // which is taken apart below
        if key != "format" && !of_members && (prefix.is_empty() || !shared) {
            to.text(format!("{}{key}", if shared { "" } else { prefix }), value);
        }
    }
    for name in archive.names().filter(|name| prefix.is_empty() || *name != section::TEXT) {
        if name == INNER {
            let Some(depth) = depth.checked_sub(1) else {
                let expected = format!("models within models at most {MAX_DEPTH} deep");
                return Err(archive.malformed(INNER, expected, "one more"));
            };
            let inner = Archive::from_bytes(archive.path(), archive.bytes(INNER)?)?;
            copy(&inner, &format!("{prefix}{INNER}."), depth, to)?;
        } else {
            let (values, shape) = archive.floats_of_any_shape(name)?;
            to.floats(format!("{prefix}{name}"), &shape, &values);
        }
    }
    if method == "ensemble" {
        let settings: Value = archive.json("settings")?;
        let members: Vec<Member> = archive.json("found")?;
        for (at, Member { settings: of_member, found }) in members.into_iter().enumerate() {
            let key = |key: &str| format!("{prefix}member.{at}.{key}");
            to.text(key("method"), settings["method"].as_str().unwrap_or_default());
            to.text(key("settings"), of_member);
            to.text(key("found"), found);
        }
        to.text(format!("{prefix}found"), json!(null));
    }
    Ok(())
}
