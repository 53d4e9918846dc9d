//! Which TIFFs Pillow 13 reads, and as what (`OPEN_INFO` in TiffImagePlugin.py).

use super::{PALETTE, Tags, Y_CB_CR};

/// How samples become levels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// Grey of 1, 2, 4 or 8 bits over the whole range.
    Grey { white_is_zero: bool },
    /// Grey of more bits, or of numbers with a sign or a fraction, which is clipped to 0..=255.
    Clipped,
    /// Indices into a table of colours.
    Palette,
    /// Red, green and blue, and what is not looked at.
    Rgb,
    /// Red, green and blue that were multiplied by the alpha that follows.
    Associated,
    /// Cyan, magenta, yellow and black.
    Ink,
    /// Luma and two of chroma.
    YCbCr,
}

impl Kind {
    pub(super) fn of(tags: &Tags) -> Option<Self> {
        let colours = tags.samples.checked_sub(tags.extra.len())?;
        // Beyond the first, extra samples of no meaning alone.
        let nothing_more = tags.extra.iter().skip(1).all(|extra| *extra == 0);
        let alpha = tags.extra.first().copied();
        Some(match (tags.photometric, tags.format, tags.bits, colours, alpha) {
            (0 | 1, 1, 1 | 2 | 4 | 8, 1, None) | (1, 2, 8, 1, None) | (Y_CB_CR, 1, 8, 1, None) => {
                Self::Grey { white_is_zero: tags.photometric == 0 }
            }
            (1, 1, 8, 1, Some(0 | 2)) if nothing_more => Self::Grey { white_is_zero: false },
            (0 | 1, 1, 16, 1, None) | (1, 2, 16, 1, None) => Self::Clipped,
            (1, 1 | 2, 32, 1, None) | (0 | 1, 3, 32, 1, None) => Self::Clipped,
            (2, 1, 8 | 16, 3 | 4, None) => Self::Rgb,
            (2, 1, 8 | 16, 3, Some(0 | 2 | 999)) if nothing_more => Self::Rgb,
            (2, 1, 8 | 16, 3, Some(1)) if nothing_more && !tags.planar => Self::Associated,
            (PALETTE, 1, 1 | 2 | 4 | 8, 1, None) | (PALETTE, 1, 8, 1, Some(0 | 2)) => Self::Palette,
            (5, 1, 8 | 16, 4, None) => Self::Ink,
            (5, 1, 8, 4, Some(0)) if nothing_more => Self::Ink,
            (Y_CB_CR, 1, 8, 3, None) => Self::YCbCr,
            _ => return None,
        })
    }

    /// How many samples of a pixel are looked at.
    pub(super) fn samples(self) -> usize {
        match self {
            Self::Grey { .. } | Self::Clipped | Self::Palette => 1,
            Self::Rgb | Self::YCbCr => 3,
            Self::Associated | Self::Ink => 4,
        }
    }
}
