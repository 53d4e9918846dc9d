//! Antialiased bicubic resizing of 8-bit RGB, bit for bit as the references do it.

use std::ops::Range;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::numerics::vector::{LANES, widest};

/// Whose fixed-point arithmetic resizing follows: the pixels differ by one or two levels in a few of a thousand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Resampling {
    /// Pillow's weights of 22 bits: open_clip, and transformers' `CLIPImageProcessorPil`.
    #[default]
    Pillow,
    /// torchvision's weights of at most 15 bits: transformers' `CLIPImageProcessor` since version 5.
    Torchvision,
}

/// One output pixel along an axis is a weighted sum of the input pixels from `start` on.
struct Axis {
    starts: Vec<usize>,
    weights: Vec<Vec<i32>>,
    bits: u32,
}

impl Axis {
    /// The weights of the output pixels in `window`, if `old` pixels become `new`.
    fn new(old: usize, new: usize, window: Range<usize>, resampling: Resampling) -> Self {
        let mut shares: Vec<_> = (0..new).map(|at| shares(old, new, at)).collect();
        let bits = match resampling {
            Resampling::Pillow => 22,
            // The largest weight of all decides, not only of those that are wanted.
            Resampling::Torchvision => {
                bits_within_i16(shares.iter().flat_map(|(_, shares)| shares).copied().fold(0.0, f64::max))
            }
        };
        let fixed = |share: f64| (share * f64::from(1 << bits)).round() as i32;
        let (starts, weights) = shares
            .drain(window)
            .map(|(start, shares)| (start, shares.into_iter().map(fixed).collect()))
            .unzip();
        Self { starts, weights, bits }
    }

    /// The input pixels that any output pixel looks at.
    fn reach(&self) -> Range<usize> {
        let end = self.starts.iter().zip(&self.weights).map(|(start, weights)| start + weights.len()).max();
        self.starts.first().copied().unwrap_or(0)..end.unwrap_or(0)
    }

    fn half(&self) -> i32 {
        1 << (self.bits - 1)
    }

    #[inline(always)]
    fn level(&self, sum: i32) -> u8 {
        (sum >> self.bits).clamp(0, 255) as u8
    }
}

/// The first input pixel that output pixel `at` looks at, and the share of each from there on. They sum to 1.
fn shares(old: usize, new: usize, at: usize) -> (usize, Vec<f64>) {
    let scale = old as f64 / new as f64;
    let stretch = scale.max(1.0); // the filter grows with the step, and so no input pixel is passed over
    let (centre, support) = ((at as f64 + 0.5) * scale, 2.0 * stretch);
    let start = (centre - support + 0.5).max(0.0) as usize;
    let end = ((centre + support + 0.5) as usize).min(old);
    let shares: Vec<f64> = (start..end).map(|at| cubic((at as f64 - centre + 0.5) / stretch)).collect();
    let sum: f64 = shares.iter().sum();
    (start, shares.into_iter().map(|share| share / sum).collect())
}

/// The most bits with which the largest weight still fits into 16 with its sign.
fn bits_within_i16(largest: f64) -> u32 {
    (0..22).take_while(|bits| ((0.5 + largest * f64::from(1 << (bits + 1))) as i32) < 1 << 15).count() as u32
}

/// The cubic convolution kernel of a = -0.5.
fn cubic(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
    } else {
        0.0
    }
}

/// Resizes to `size`, `(width, height)`, and returns the part of it in the two windows, `columns` and `rows`: the
/// RGB bytes of one row after the other. What lies outside is never computed.
pub(super) fn bicubic(
    image: &RgbImage,
    size: (usize, usize),
    columns: Range<usize>,
    rows: Range<usize>,
    resampling: Resampling,
) -> Vec<u8> {
    widest(
        #[inline(always)]
        || resize(image, size, columns, rows, resampling),
    )
}

#[inline(always)]
fn resize(
    image: &RgbImage,
    size: (usize, usize),
    columns: Range<usize>,
    rows: Range<usize>,
    resampling: Resampling,
) -> Vec<u8> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let across = Axis::new(width, size.0, columns.clone(), resampling);
    let down = Axis::new(height, size.1, rows.clone(), resampling);
    let reach = if height == size.1 { rows } else { down.reach() };
    let stride = 3 * columns.len();
    let bytes = &image.as_raw()[3 * width * reach.start..3 * width * reach.end];
    // Both references round to 8 bits between the two axes, and leave out an axis that keeps its length.
    let wide = if width == size.0 {
        let cut = |row: &[u8]| row[3 * columns.start..3 * columns.end].to_vec();
        bytes.chunks_exact(3 * width).map(cut).collect::<Vec<_>>().concat()
    } else {
        resize_rows(bytes, 3 * width, &across)
    };
    if height == size.1 {
        return wide;
    }
    let mut sums = vec![0; stride];
    let mut bytes = Vec::with_capacity(stride * down.starts.len());
    for (&start, weights) in down.starts.iter().zip(&down.weights) {
        sums.fill(down.half());
        for (row, &weight) in wide[stride * (start - reach.start)..].chunks_exact(stride).zip(weights) {
            for (sum, &byte) in sums.iter_mut().zip(row) {
                *sum += weight * i32::from(byte);
            }
        }
        bytes.extend(sums.iter().map(|&sum| down.level(sum)));
    }
    bytes
}

/// Resizes rows of so many bytes along themselves, [`LANES`] rows at once.
#[inline(always)]
fn resize_rows(bytes: &[u8], length: usize, across: &Axis) -> Vec<u8> {
    let stride = 3 * across.starts.len();
    let mut wide = vec![0; bytes.len() / length * stride];
    let mut turned = vec![[0; LANES]; length]; // byte by byte what stands there in each of the rows
    for (rows, wide) in bytes.chunks(LANES * length).zip(wide.chunks_mut(LANES * stride)) {
        for (at, row) in rows.chunks_exact(length).enumerate() {
            for (turned, &byte) in turned.iter_mut().zip(row) {
                turned[at] = byte;
            }
        }
        let pixels: &[[[u8; LANES]; 3]] = turned.as_chunks().0;
        for (pixel, (&start, weights)) in across.starts.iter().zip(&across.weights).enumerate() {
            let mut sums = [[across.half(); LANES]; 3];
            for (pixel, &weight) in pixels[start..].iter().zip(weights) {
                for (sums, bytes) in sums.iter_mut().zip(pixel) {
                    for (sum, &byte) in sums.iter_mut().zip(bytes) {
                        *sum += weight * i32::from(byte);
                    }
                }
            }
            let levels = sums.map(|sums| sums.map(|sum| across.level(sum)));
            for (at, row) in wide.chunks_exact_mut(stride).enumerate() {
                row[3 * pixel..][..3].copy_from_slice(&[levels[0][at], levels[1][at], levels[2][at]]);
            }
        }
    }
    wide
}
