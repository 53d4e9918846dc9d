//! From the numbers of a TIFF to levels of red, green and blue, as Pillow converts them.

use tiff::decoder::DecodingResult;

use super::super::ink;
use super::kind::Kind;

/// What a TIFF holds, decompressed.
#[derive(Debug)]
pub(super) struct Samples {
    pub(super) read: DecodingResult,
    /// Width and height.
    pub(super) size: (usize, usize),
    /// Of one sample.
    pub(super) bits: usize,
    pub(super) planar: bool,
}

impl Samples {
    /// Red, green and blue of each pixel, or why there are none.
    pub(super) fn levels(self, kind: Kind, palette: Option<&[u16]>) -> Result<Vec<u8>, String> {
        if kind == Kind::Clipped {
            return Ok(self.clipped()?.into_iter().flat_map(|level| [level; 3]).collect());
        }
        let (bits, pixels) = (self.bits, self.size.0 * self.size.1);
        let samples = self.upper_bytes()?;
        let each = samples.len() / pixels;
        if each < kind.samples() || samples.len() != pixels * each {
            return Err(format!("{pixels} pixels of a TIFF that has {} samples for them", samples.len()));
        }
        let pixels = samples.chunks_exact(each);
        Ok(match kind {
            Kind::Grey { white_is_zero } => {
                let (most, turned) = (u8::MAX >> (8 - bits.min(8)), if white_is_zero { 255 } else { 0 });
                pixels.flat_map(|pixel| [(pixel[0] * (255 / most)) ^ turned; 3]).collect()
            }
            Kind::Palette => {
                let palette = palette.unwrap_or_default();
                if palette.len() != 3 << bits {
                    return Err(format!("a palette of {} numbers for indices of {bits} bits", palette.len()));
                }
                let colour =
                    |plane: usize, index: u8| (palette[(plane << bits) + usize::from(index)] >> 8) as u8;
                pixels.flat_map(|pixel| [0, 1, 2].map(|plane| colour(plane, pixel[0]))).collect()
            }
            Kind::Associated => pixels.flat_map(divided).collect(),
            Kind::Ink => {
                pixels.flat_map(|inks| ink::of_light(&[0, 1, 2, 3].map(|ink| 255 - inks[ink]))).collect()
            }
            Kind::YCbCr => pixels.flat_map(colours).collect(),
            Kind::Rgb | Kind::Clipped => pixels.flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
        })
    }

    /// Grey of any number, cut to a byte.
    fn clipped(self) -> Result<Vec<u8>, String> {
        let levels: Vec<u8> = match self.read {
            DecodingResult::U16(all) => all.into_iter().map(|level| level.min(255) as u8).collect(),
            DecodingResult::I16(all) => all.into_iter().map(|level| level.clamp(0, 255) as u8).collect(),
            // Pillow has no unsigned numbers of 32 bits.
            DecodingResult::U32(all) => {
                all.into_iter().map(|level| (level as i32).clamp(0, 255) as u8).collect()
            }
            DecodingResult::I32(all) => all.into_iter().map(|level| level.clamp(0, 255) as u8).collect(),
            DecodingResult::F32(all) => match all.iter().position(|level| level.is_nan()) {
                Some(at) => return Err(format!("a TIFF whose pixel {at} is no number")),
                None => all.into_iter().map(|level| level as u8).collect(),
            },
            _ => return Err(format!("a TIFF with samples of {} bits, decoded as others", self.bits)),
        };
        match levels.len() == self.size.0 * self.size.1 {
            true => Ok(levels),
            false => {
                Err(format!("{} x {} pixels of a TIFF that has {}", self.size.0, self.size.1, levels.len()))
            }
        }
    }

    /// The upper byte of each sample, those of a pixel together.
    fn upper_bytes(self) -> Result<Vec<u8>, String> {
        let (width, height) = self.size;
        let samples = match self.read {
            DecodingResult::U8(all) if self.bits < 8 => {
                let a_byte = 8 / self.bits;
                let unpacked = |row: &[u8]| -> Vec<u8> {
                    let shift = |index: usize| (a_byte - 1 - index % a_byte) * self.bits;
                    let mask = u8::MAX >> (8 - self.bits);
                    (0..width).map(|index| row[index / a_byte] >> shift(index) & mask).collect()
                };
                all.chunks_exact(width.div_ceil(a_byte)).flat_map(unpacked).collect()
            }
            DecodingResult::U8(all) => all,
            // As it was written: Pillow takes no notice of the sign here.
            DecodingResult::I8(all) => all.into_iter().map(|sample| sample as u8).collect(),
            DecodingResult::U16(all) => all.into_iter().map(|sample| (sample >> 8) as u8).collect(),
            _ => return Err(format!("a TIFF with samples of {} bits, decoded as others", self.bits)),
        };
        let pixels = width * height;
        let planes = samples.len() / pixels;
        if !self.planar || planes * pixels != samples.len() {
            return Ok(samples);
        }
        Ok((0..samples.len()).map(|at| samples[at % planes * pixels + at / planes]).collect())
    }
}

/// Pillow's `RGBa`: colours that were multiplied by alpha, divided by it again.
fn divided(pixel: &[u8]) -> [u8; 3] {
    let alpha = u32::from(pixel[3]);
    [pixel[0], pixel[1], pixel[2]].map(|level| match alpha {
        0 => 0,
        alpha => (u32::from(level) * 255 / alpha).min(255) as u8,
    })
}

/// Of luma and chroma as JFIF defines them, in sixteen bits after the point.
fn colours(pixel: &[u8]) -> [u8; 3] {
    let [luma, blue, red] = [pixel[0], pixel[1], pixel[2]].map(i32::from);
    let (blue, red) = (blue - 128, red - 128);
    let rounded = |chroma: i32| (luma + ((chroma + (1 << 15)) >> 16)).clamp(0, 255) as u8;
    [rounded(91_881 * red), rounded(-22_554 * blue - 46_802 * red), rounded(116_130 * blue)]
}
