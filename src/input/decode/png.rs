//! PNGs whose end is missing.

use std::borrow::Cow;

const MAGIC: &[u8; 8] = b"\x89PNG\r\n\x1a\n";

/// The last chunk of every PNG, which is empty.
const END: &[u8; 12] = b"\0\0\0\0IEND\xaeB`\x82";

/// Bytes of a chunk beside its data: length and name before, checksum after.
const AROUND: usize = 12;

/// A PNG with its end: where a file breaks off after the picture, in the checksum of its data or before its last
/// chunk, all readers open it, Pillow among them. Where the picture itself breaks off, it is refused as before.
pub(super) fn closed(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.starts_with(MAGIC) {
        return Cow::Borrowed(bytes);
    }
    let mut at = MAGIC.len();
    while let Some(header) = bytes.get(at..at + 8) {
        let kind = &header[4..];
        let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
        match bytes.len().checked_sub(at + AROUND).is_some_and(|rest| length <= rest) {
            true if kind == b"IEND" => return Cow::Borrowed(bytes),
            true => at += AROUND + length,
            // The chunk that breaks off: what there is of its data becomes all of it.
            false if kind == b"IDAT" => {
                let data = &bytes[at + 8..bytes.len().min(at + 8 + length)];
                let mut closed = bytes[..at].to_vec();
                closed.extend((data.len() as u32).to_be_bytes());
                closed.extend(kind);
                closed.extend(data);
                closed.extend(checksum(&closed[at + 4..]).to_be_bytes());
                closed.extend(END);
                return Cow::Owned(closed);
            }
            false => break,
        }
    }
    // Between chunks, or in one after the data.
    Cow::Owned([&bytes[..at.min(bytes.len())], END.as_slice()].concat())
}

/// CRC-32, as in appendix D of the PNG specification.
fn checksum(bytes: &[u8]) -> u32 {
    let shift = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| shift(crc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_last_chunk() {
        assert_eq!(checksum(b"IEND").to_be_bytes(), END[8..]);
    }

    #[test]
    fn only_what_breaks_off_is_closed() {
        let whole = [MAGIC.as_slice(), END].concat();
        assert!(matches!(closed(&whole), Cow::Borrowed(_)));
        for length in MAGIC.len()..whole.len() {
            assert_eq!(*closed(&whole[..length]), whole, "{length} bytes");
        }
        assert_eq!(*closed(b"GIF89a"), *b"GIF89a");
    }
}
