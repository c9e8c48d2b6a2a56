//! Colours of classes.

/// The colour of a class, as red, green and blue. Hues are a golden angle apart, so that classes of
/// near numbers differ, each light and dark in turn.
pub(crate) fn colour(class: u32) -> [u8; 3] {
    /// The part of a circle that leaves the largest gaps, however many hues there are.
    const GOLDEN: f64 = 0.618_033_988_749_895;
    let hue = 6.0 * (f64::from(class) * GOLDEN).fract();
    let value = if class.is_multiple_of(2) { 255.0 } else { 170.0 };
    // From 0 to 1 and back along the circle, for each of the three.
    let part = |shift: f64| ((hue + shift).rem_euclid(6.0) - 3.0).abs() - 1.0;
    [0.0, 4.0, 2.0].map(|shift| (value * part(shift).clamp(0.0, 1.0)) as u8)
}
