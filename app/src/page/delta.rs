//! Differences of losses, as colours, underlines and numbers; one scale for every arm.

/// Where one bin of the scale ends and the next begins, nats, above 0; below it is the mirror image.
pub const EDGES: [f32; 3] = [0.1, 1.0, 3.0];

/// The bin of a difference, −3 to 3; 0 is about none.
pub fn bin(delta: f32) -> i32 {
    let size = EDGES.iter().filter(|edge| delta.abs() >= **edge).count();
    let size = i32::try_from(size).unwrap_or(0);
    if delta < 0.0 { -size } else { size }
}

/// With its sign, two decimals; nothing that rounds to zero has one.
pub fn signed(value: f64) -> String {
    let text = format!("{:.2}", value.abs());
    if text == "0.00" {
        text
    } else if value < 0.0 {
        format!("\u{2212}{text}")
    } else {
        format!("+{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_symmetric() {
        assert_eq!([-9.0, -1.0, -0.05, 0.0, 0.05, 0.1, 2.9, 3.0].map(bin), [-3, -2, 0, 0, 0, 1, 2, 3]);
        assert_eq!(bin(f32::NAN), 0);
        assert_eq!([4.31, -0.12, 0.0, -0.001].map(signed), ["+4.31", "\u{2212}0.12", "0.00", "0.00"]);
    }
}
