//! From the four inks of a print to light.

/// Pillow's RGB of the light that four inks leave, `[4]` levels of cyan, magenta, yellow and black each turned over:
/// `c k / 255`, rounded.
pub(super) fn of_light(light: &[u8]) -> [u8; 3] {
    let through = |level: u8| {
        let product = u32::from(level) * u32::from(light[3]) + 128;
        (((product >> 8) + product) >> 8) as u8
    };
    [through(light[0]), through(light[1]), through(light[2])]
}
