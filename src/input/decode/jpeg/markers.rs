//! Where a JPEG's parts begin: what a decoder needs to know before it starts, and does not say.

use std::borrow::Cow;

const START: u8 = 0xd8;
const END: u8 = 0xd9;
const SCAN: u8 = 0xda;
const RESTART: u8 = 0xd0; // to 0xd7: one of eight in turn, after each interval of a scan

/// The markers of a file.
#[derive(Debug, PartialEq)]
pub(super) struct Markers {
    /// How many scans make the picture: one, or several that refine it.
    pub(super) scans: usize,
    /// The most components that a scan interleaves.
    pub(super) interleaved: usize,
    /// Whether the file says where the picture ends.
    pub(super) ended: bool,
    /// Where each scan's restart markers are, and where the scan ends.
    restarts: Vec<(Vec<usize>, usize)>,
}

impl Markers {
    /// Walks from marker to marker, up to the end of the picture.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut markers = Self { scans: 0, interleaved: 0, ended: false, restarts: Vec::new() };
        let mut at = 2;
        while let Some((place, marker)) = next(bytes, at) {
            at = place + 2;
            match marker {
                END => return Self { ended: true, ..markers },
                SCAN => {
                    let mut restarts = Vec::new();
                    let components = bytes.get(at + 2).copied().map_or(0, usize::from);
                    markers.interleaved = markers.interleaved.max(components);
                    at = after_segment(bytes, at);
                    while let Some((place, marker)) = next(bytes, at) {
                        if !is_restart(marker) {
                            break;
                        }
                        restarts.push(place);
                        at = place + 2;
                    }
                    markers.scans += 1;
                    let end = next(bytes, at).map_or(bytes.len(), |(place, _)| place);
                    markers.restarts.push((restarts, end));
                    at = end;
                }
                START | 0x01 => {}
                marker if is_restart(marker) => {}
                _ => at = after_segment(bytes, at),
            }
        }
        markers
    }

    /// The file with each restart marker where libjpeg takes it to be.
    ///
    /// The markers count from 0 to 7. Where one is missing or twice there, libjpeg (`jpeg_resync_to_restart` in
    /// jdmarker.c) decides by the next one: one or two ahead, and what lies between is lost and left grey; one or two
    /// behind, and it is skipped with what follows it; any other is taken for the one that was expected. None where two
    /// are missing in a row, of which the decoder makes another picture than libjpeg.
    pub(super) fn resynchronised<'a>(&self, bytes: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let mut kept: Cow<'a, [u8]> = Cow::Borrowed(&[]);
        let mut from = 0; // what is before this is in `kept`, or left out
        for (restarts, end) in &self.restarts {
            let mut expected = 0;
            for (index, &place) in restarts.iter().enumerate() {
                let ahead = (bytes[place + 1] - RESTART).wrapping_sub(expected) % 8;
                match ahead {
                    1 => {
                        kept.to_mut().extend_from_slice(&bytes[from..place]);
                        kept.to_mut().extend([0xff, RESTART + expected]);
                        from = place;
                        expected += 2;
                    }
                    2 => return None,
                    6 | 7 => {
                        kept.to_mut().extend_from_slice(&bytes[from..place]);
                        from = restarts.get(index + 1).copied().unwrap_or(*end);
                    }
                    _ => expected += 1,
                }
                expected %= 8;
            }
        }
        if from == 0 {
            return Some(Cow::Borrowed(bytes));
        }
        kept.to_mut().extend_from_slice(&bytes[from..]);
        Some(kept)
    }
}

/// The next marker at or after a place; in the data of a scan a zero follows each byte that looks like one.
fn next(bytes: &[u8], from: usize) -> Option<(usize, u8)> {
    let rest = bytes.get(from..)?;
    let pairs = rest.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff))?;
    Some((from + pairs, rest[pairs + 1]))
}

/// Where the segment ends whose length is at a place.
fn after_segment(bytes: &[u8], at: usize) -> usize {
    let length = bytes.get(at..at + 2).map_or(2, |length| u16::from_be_bytes([length[0], length[1]]));
    at + usize::from(length)
}

fn is_restart(marker: u8) -> bool {
    (RESTART..START).contains(&marker)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture whose scan has restart markers of these numbers, each after a byte of its own.
    fn file(numbers: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xff, START, 0xff, 0xe0, 0, 4, 0xff, END, 0xff, SCAN, 0, 2];
        for (index, number) in numbers.iter().enumerate() {
            bytes.extend([index as u8 + 1, 0xff, RESTART + number]);
        }
        bytes.extend([0xff, 0, 0x77, 0xff, END]);
        bytes
    }

    fn resynchronised(numbers: &[u8]) -> Vec<u8> {
        let bytes = file(numbers);
        let found = Markers::of(&bytes).resynchronised(&bytes).unwrap().into_owned();
        found[12..found.len() - 5].to_vec()
    }

    #[test]
    fn the_end_is_found_behind_what_only_looks_like_it() {
        let bytes = file(&[0, 1]);
        let markers = Markers::of(&bytes);
        assert_eq!((markers.scans, markers.ended), (1, true));
        assert_eq!(markers.restarts, [(vec![13, 16], bytes.len() - 2)]);
        assert!(!Markers::of(&bytes[..bytes.len() - 1]).ended);
    }

    #[test]
    fn restart_markers_in_turn_stay_as_they_are() {
        let bytes = file(&[0, 1, 2, 3, 4, 5, 6, 7, 0, 1]);
        assert!(matches!(Markers::of(&bytes).resynchronised(&bytes), Some(Cow::Borrowed(_))));
    }

    #[test]
    fn a_lost_marker_leaves_an_empty_interval() {
        let found = resynchronised(&[0, 2]);
        assert_eq!(found, [1, 0xff, 0xd0, 2, 0xff, 0xd1, 0xff, 0xd2]);
        let two = file(&[0, 3]);
        assert_eq!(Markers::of(&two).resynchronised(&two), None);
    }

    #[test]
    fn a_marker_of_the_past_goes_with_its_data_and_a_far_one_counts() {
        assert_eq!(resynchronised(&[0, 1, 0, 2]), [1, 0xff, 0xd0, 2, 0xff, 0xd1, 3, 0xff, 0xd2]);
        assert_eq!(resynchronised(&[0, 5, 2]), [1, 0xff, 0xd0, 2, 0xff, 0xd5, 3, 0xff, 0xd2]);
    }
}
