//! Capacity classes: frames of about as many voxels share a graph.

use crate::voxels::Room;

/// Voxels of the smallest class.
const SMALLEST: usize = 1024;
/// Capacities are multiples of so many rows.
const ROUNDING: usize = 256;

/// The class of a number in steps of √2 from the smallest one up.
fn capacity_of(step: u32) -> usize {
    let capacity = SMALLEST as f64 * 2.0_f64.powf(f64::from(step) / 2.0);
    (capacity.round() as usize).next_multiple_of(ROUNDING)
}

/// The room of the smallest class that holds so many voxels, or of a class so many steps above.
/// Algorithms are chosen for the geometric mean of what falls into a class.
pub(super) fn room_for(rows: usize, steps_up: u32) -> Room {
    let step = (0..).find(|&step| capacity_of(step) >= rows).unwrap_or(u32::MAX);
    let capacity = capacity_of(step.saturating_add(steps_up));
    Room { expected: (capacity as f64 / 2.0_f64.powf(0.25)).round() as usize, capacity }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_what_falls_into_it_and_little_more() {
        assert_eq!(room_for(0, 0).capacity, 1_024);
        assert_eq!(room_for(1_024, 0).capacity, 1_024);
        assert_eq!(room_for(1_025, 0).capacity, 1_536);
        assert_eq!(room_for(1_025, 1).capacity, 2_048);
        for rows in [3_000, 10_000, 79_745, 135_000, 914_000] {
            let room = room_for(rows, 0);
            assert!(room.capacity >= rows && room.capacity as f64 <= rows as f64 * 1.43 + 256.0);
            assert!(room.expected <= room.capacity);
            let up = room_for(rows, 2).capacity as f64 / room.capacity as f64;
            assert!((1.9..2.1).contains(&up), "{up}");
        }
    }
}
