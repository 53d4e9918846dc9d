//! Views of a picture that keep what it shows and change how it is drawn: this is what carries over to styles that
//! were never seen. Pictures are transparent, so shape, colours and ground change apart from one another.

use clip_adapter::input::Preprocess;
use image::RgbaImage;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// A square picture in the making: colours over a ground, and how much of each pixel is drawn on.
struct View {
    side: usize,
    rgb: Vec<[f32; 3]>,
    alpha: Vec<f32>,
}

/// Draws a view and appends it as the image tower takes it: `[3, side, side]`. With the probability `strength` it is
/// changed in every way, and else only moved a little, on white.
pub fn augmented(
    picture: &RgbaImage,
    may_flip: bool,
    strength: f64,
    preprocess: &Preprocess,
    random: &mut ChaCha8Rng,
    values: &mut Vec<f32>,
) {
    let view = if random.random_bool(strength) {
        let mut view = moved(picture, preprocess.crop, may_flip, 1.0, random);
        recolour(&mut view, random);
        on_ground(&mut view, random);
        if random.random_bool(0.3) {
            to_lines(&mut view, random);
        } else if random.random_bool(0.15) {
            to_two_tones(&mut view, random);
        }
        disturb(&mut view, random);
        view
    } else {
        let mut view = moved(picture, preprocess.crop, may_flip, 0.3, random);
        for (pixel, alpha) in view.rgb.iter_mut().zip(&view.alpha) {
            *pixel = blend([1.0; 3], *pixel, *alpha);
        }
        view
    };
    for (channel, (mean, std)) in preprocess.mean.into_iter().zip(preprocess.std).enumerate() {
        values.extend(view.rgb.iter().map(|pixel| (pixel[channel].clamp(0.0, 1.0) - mean) / std));
    }
}

fn between(low: f32, high: f32, random: &mut ChaCha8Rng) -> f32 {
    low + (high - low) * random.random::<f32>()
}

fn colour(low: f32, high: f32, random: &mut ChaCha8Rng) -> [f32; 3] {
    [(); 3].map(|()| between(low, high, random))
}

/// Turned, scaled, sheared, shifted by up to a part `reach` of the most, perhaps mirrored; colours are not yet mixed
/// with any ground.
fn moved(picture: &RgbaImage, side: usize, may_flip: bool, reach: f32, random: &mut ChaCha8Rng) -> View {
    let mut most = |low: f32, high: f32| between(reach * low, reach * high, random);
    let (sin, cos) = most(-0.2, 0.2).sin_cos();
    let (scale, aspect) = (most(-0.12, 0.18).exp(), most(-0.08, 0.08).exp());
    let shear = most(-0.08, 0.08);
    let shift = [most(-0.06, 0.06), most(-0.06, 0.06)];
    let mirror = if may_flip && random.random_bool(0.5) { -1.0 } else { 1.0 };
    let mut view =
        View { side, rgb: Vec::with_capacity(side * side), alpha: Vec::with_capacity(side * side) };
    let unit = |index: usize| (2 * index + 1) as f32 / side as f32 - 1.0; // centre of a pixel, -1..=1
    for row in 0..side {
        for column in 0..side {
            let (x, y) = (unit(column), unit(row));
            let from_x = mirror * cos * scale * aspect * x + (shear - sin * scale / aspect) * y + shift[0];
            let from_y = mirror * sin * scale * aspect * x + cos * scale / aspect * y + shift[1];
            let [red, green, blue, alpha] = sample(picture, from_x, from_y);
            let weight = 1.0 / alpha.max(1e-3);
            view.rgb.push([red * weight, green * weight, blue * weight]);
            view.alpha.push(alpha);
        }
    }
    view
}

/// Bilinear colour times alpha, and alpha, at a point of -1..=1 by -1..=1; nothing outside.
fn sample(picture: &RgbaImage, x: f32, y: f32) -> [f32; 4] {
    let (width, height) = picture.dimensions();
    let (x, y) = ((x + 1.0) / 2.0 * width as f32 - 0.5, (y + 1.0) / 2.0 * height as f32 - 0.5);
    let (left, top) = (x.floor(), y.floor());
    let mut sum = [0.0; 4];
    for (dx, dy) in [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)] {
        let (column, row) = (left + dx, top + dy);
        if column < 0.0 || row < 0.0 || column >= width as f32 || row >= height as f32 {
            continue;
        }
        let weight = (1.0 - (x - column).abs()) * (1.0 - (y - row).abs()) / 255.0;
        let [red, green, blue, alpha] = picture.get_pixel(column as u32, row as u32).0.map(f32::from);
        let drawn = weight * alpha / 255.0;
        for (sum, value) in sum.iter_mut().zip([red * drawn, green * drawn, blue * drawn, weight * alpha]) {
            *sum += value;
        }
    }
    sum
}

/// Other colours: channels mixed, saturation, contrast and brightness changed, light from one side.
fn recolour(view: &mut View, random: &mut ChaCha8Rng) {
    let mix = channel_mix(random);
    let saturation = if random.random_bool(0.2) { 0.0 } else { between(0.4, 1.5, random) };
    let (contrast, brightness) = (between(-0.4, 0.4, random).exp(), between(-0.2, 0.2, random));
    let light = if random.random_bool(0.4) { between(0.0, 0.45, random) } else { 0.0 };
    let ramp = Ramp::new(view.side, random);
    for (index, pixel) in view.rgb.iter_mut().enumerate() {
        let mixed = mix.map(|row| row[0] * pixel[0] + row[1] * pixel[1] + row[2] * pixel[2]);
        let grey = (mixed[0] + mixed[1] + mixed[2]) / 3.0;
        let shade = 1.0 + light * ramp.at(index);
        *pixel = mixed.map(|value| {
            let value = grey + (value - grey) * saturation;
            (((value - 0.5) * contrast + 0.5 + brightness) * shade).clamp(0.0, 1.0)
        });
    }
}

/// A matrix near the identity whose rows sum to 1, so that grey stays grey; often the identity itself.
fn channel_mix(random: &mut ChaCha8Rng) -> [[f32; 3]; 3] {
    let strength = if random.random_bool(0.5) { 0.4 } else { 0.0 };
    [0, 1, 2].map(|row| {
        let mut weights = [0.0; 3];
        for (column, weight) in weights.iter_mut().enumerate() {
            *weight = strength * between(-1.0, 1.0, random) + if row == column { 1.0 } else { 0.0 };
        }
        let sum = weights.iter().sum::<f32>().max(0.4);
        weights.map(|weight| weight / sum)
    })
}

/// A value that rises across the picture in some direction, from about -1 to 1.
struct Ramp {
    side: usize,
    direction: (f32, f32),
}

impl Ramp {
    fn new(side: usize, random: &mut ChaCha8Rng) -> Self {
        Self { side, direction: between(0.0, std::f32::consts::TAU, random).sin_cos() }
    }

    fn at(&self, index: usize) -> f32 {
        let unit = |index: usize| 2.0 * index as f32 / self.side as f32 - 1.0;
        self.direction.0 * unit(index % self.side) + self.direction.1 * unit(index / self.side)
    }
}

/// Puts the picture on white, on a colour, or on a gradient.
fn on_ground(view: &mut View, random: &mut ChaCha8Rng) {
    let first = if random.random_bool(0.15) { colour(0.0, 1.0, random) } else { [1.0; 3] };
    let second = if random.random_bool(0.08) { colour(0.0, 1.0, random) } else { first };
    let ramp = Ramp::new(view.side, random);
    for (index, (pixel, alpha)) in view.rgb.iter_mut().zip(&view.alpha).enumerate() {
        let part = ((ramp.at(index) + 1.0) / 2.0).clamp(0.0, 1.0);
        *pixel = blend(blend(first, second, part), *pixel, *alpha);
    }
}

fn blend(from: [f32; 3], to: [f32; 3], part: f32) -> [f32; 3] {
    [0, 1, 2].map(|channel| from[channel] + (to[channel] - from[channel]) * part)
}

fn grey(pixel: &[f32; 3]) -> f32 {
    (pixel[0] + pixel[1] + pixel[2]) / 3.0
}

/// A drawing in lines: ink where brightness or outline change (Sobel).
fn to_lines(view: &mut View, random: &mut ChaCha8Rng) {
    let brightness: Vec<f32> = view.rgb.iter().map(grey).collect();
    let mut ink = slopes(&brightness, view.side);
    for (ink, outline) in ink.iter_mut().zip(slopes(&view.alpha, view.side)) {
        *ink = ink.max(outline);
    }
    let strength = between(0.5, 2.0, random);
    let hard = random.random_bool(0.4);
    for ink in &mut ink {
        *ink = (*ink * strength).clamp(0.0, 1.0);
        if hard {
            *ink = ((*ink - 0.35) * 6.0).clamp(0.0, 1.0);
        }
    }
    if random.random_bool(0.3) {
        ink = around(&ink, view.side, |values| values.fold(0.0, f32::max));
    }
    let pen = colour(0.0, 0.3, random);
    let paper = if random.random_bool(0.7) { [1.0; 3] } else { colour(0.5, 1.0, random) };
    for (pixel, ink) in view.rgb.iter_mut().zip(ink) {
        *pixel = blend(paper, pen, ink);
    }
}

/// The length of the Sobel gradient; 0 along the border.
fn slopes(values: &[f32], side: usize) -> Vec<f32> {
    let mut slopes = vec![0.0; values.len()];
    for row in 1..side - 1 {
        for column in 1..side - 1 {
            let at = |dy: usize, dx: usize| values[(row + dy - 1) * side + column + dx - 1];
            let down = at(2, 0) + 2.0 * at(2, 1) + at(2, 2) - at(0, 0) - 2.0 * at(0, 1) - at(0, 2);
            let right = at(0, 2) + 2.0 * at(1, 2) + at(2, 2) - at(0, 0) - 2.0 * at(1, 0) - at(2, 0);
            slopes[row * side + column] = down.hypot(right);
        }
    }
    slopes
}

/// Every value replaced by something of the up to nine around it.
fn around(values: &[f32], side: usize, what: impl Fn(&mut dyn Iterator<Item = f32>) -> f32) -> Vec<f32> {
    let near = |index: usize| index.saturating_sub(1)..=(index + 1).min(side - 1);
    (0..values.len())
        .map(|index| {
            let (row, column) = (index / side, index % side);
            what(&mut near(row).flat_map(|row| near(column).map(move |column| values[row * side + column])))
        })
        .collect()
}

/// Nearly black where it is dark, nearly white where it is bright.
fn to_two_tones(view: &mut View, random: &mut ChaCha8Rng) {
    let threshold = between(0.3, 0.7, random);
    for pixel in &mut view.rgb {
        *pixel = [((grey(pixel) - threshold) * 8.0 + 0.5).clamp(0.0, 1.0); 3];
    }
}

/// Negative, blur, noise, and a patch that hides a part: each of them sometimes.
fn disturb(view: &mut View, random: &mut ChaCha8Rng) {
    let side = view.side;
    if random.random_bool(0.03) {
        view.rgb.iter_mut().flatten().for_each(|value| *value = 1.0 - *value);
    }
    if random.random_bool(0.1) {
        for channel in 0..3 {
            let plane: Vec<f32> = view.rgb.iter().map(|pixel| pixel[channel]).collect();
            let mean = |values: &mut dyn Iterator<Item = f32>| {
                let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
                sum / count
            };
            for (pixel, value) in view.rgb.iter_mut().zip(around(&plane, side, mean)) {
                pixel[channel] = value;
            }
        }
    }
    let noise = between(0.0, 0.03, random);
    for value in view.rgb.iter_mut().flatten() {
        *value += noise * between(-1.0, 1.0, random);
    }
    if random.random_bool(0.1) {
        let patch = colour(0.0, 1.0, random);
        let [width, height] = [(); 2].map(|()| random.random_range(side / 8..side * 3 / 8));
        let (left, top) = (random.random_range(0..side - width), random.random_range(0..side - height));
        for row in top..top + height {
            view.rgb[row * side + left..][..width].fill(patch);
        }
    }
}
