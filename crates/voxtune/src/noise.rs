//! Values that depend on a seed and a place alone, as the host computes them.

use crate::Noise;

/// The value at a flat index; `noise.cu` computes the same, to the bit.
pub(crate) fn value(noise: Noise, seed: u64, index: u64) -> f32 {
    let value = uniform(seed, index);
    match noise {
        Noise::Uniform => value,
        Noise::Integers if value < -0.875 => -1.0,
        Noise::Integers if value >= 0.875 => 1.0,
        Noise::Integers => 0.0,
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014) of a counter, as a number in [-1, 1).
fn uniform(seed: u64, index: u64) -> f32 {
    let mut bits = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^= bits >> 31;
    // 24 bits fill a float32's mantissa exactly, so nothing here rounds.
    (bits >> 40) as f32 / (1 << 23) as f32 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Device, Tensor};

    /// The first outputs of SplitMix64 seeded with 0, as its authors' reference code prints them.
    #[test]
    fn the_generator_is_splitmix64() {
        let top = |bits: u64| (bits >> 40) as f32 / (1 << 23) as f32 - 1.0;
        let known = [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F];
        for (index, bits) in known.into_iter().enumerate() {
            assert_eq!(uniform(0, index as u64), top(bits));
        }
    }

    #[test]
    fn noise_fills_its_range_evenly() {
        let values: Vec<f32> = (0..10_000).map(|index| uniform(7, index)).collect();
        assert!(values.iter().all(|value| (-1.0..1.0).contains(value)));
        let mean = values.iter().sum::<f32>() / 10_000.0;
        let square = values.iter().map(|value| value * value).sum::<f32>() / 10_000.0;
        assert!(mean.abs() < 0.03 && (square - 1.0 / 3.0).abs() < 0.02, "{mean} {square}");
    }

    #[test]
    fn integers_are_few_and_small() {
        let values: Vec<f32> = (0..10_000).map(|index| value(Noise::Integers, 7, index)).collect();
        assert!(values.iter().all(|value| [-1.0, 0.0, 1.0].contains(value)));
        let ones = values.iter().filter(|value| **value != 0.0).count();
        assert!((1_100..1_400).contains(&ones), "{ones}");
    }

    #[test]
    fn a_tensor_takes_shapes_one_after_the_other() {
        let device = Device::cpu_with_threads(1).unwrap();
        let mut tensor = Tensor::empty(&device, DType::Float32).unwrap();
        for (dtype, rows) in [(DType::Float16, 70), (DType::Float32, 3), (DType::Float16, 70)] {
            tensor.reshape(&device, dtype, rows, 5).unwrap();
            tensor.fill_noise(&device, Noise::Uniform, 9).unwrap();
            let new = Tensor::noise(&device, dtype, rows, 5, Noise::Uniform, 9).unwrap();
            assert_eq!((tensor.rows(), tensor.channels(), tensor.dtype()), (rows, 5, dtype));
            assert_eq!(tensor.to_f32().unwrap(), new.to_f32().unwrap());
        }
    }
}
