//! Products with an epilogue: each combination of parts against float64.

use super::*;
use crate::algorithm::default_algorithm;
use crate::error::RunError;

/// Every part of an epilogue over some rows.
struct Parts {
    scale: Vec<f32>,
    bias: Vec<f32>,
    residual: HostBuffer,
}

impl Parts {
    /// Multiples of 1/4 that are exact in every storage type, negative ones among them.
    fn new(op: &Operation, map: &KernelMap) -> Self {
        let (channels, elements) = (op.c_out as usize, lens(op, map)[2]);
        let quarters = |index: usize, salt: usize| {
            ((index.wrapping_mul(2_654_435_761) + salt) / 64 % 17) as f32 / 4.0 - 2.0
        };
        let values = |len: usize, salt| -> Vec<f32> {
            (0..len).map(|index| quarters(index, salt)).collect()
        };
        Self {
            scale: values(channels, 100),
            bias: values(channels, 2_000),
            residual: HostBuffer::from_f32(op.dtype, &values(elements, 30_000)),
        }
    }

    /// The combinations, by the bits of a number.
    fn some(&self, bits: u32) -> Epilogue<'_> {
        Epilogue {
            scale: (bits & 1 != 0).then_some(&self.scale),
            bias: (bits & 2 != 0).then_some(&self.bias),
            residual: (bits & 4 != 0).then(|| self.residual.as_elements()),
            relu: bits & 8 != 0,
        }
    }
}

#[test]
fn every_combination_of_epilogue_parts_is_computed() {
    for map in [map_of(&cloud(150)), strided_map(200, 90)] {
        for dtype in DType::ALL {
            for (c_in, c_out) in [(5, 1), (3, 7), (8, 20), (6, 33), (16, 64), (2, 300)] {
                let op = op(Direction::Forward, dtype, c_in, c_out);
                let inputs = Inputs::random(&op, &map, 11);
                let plain = inputs.reference(&op, &map);
                let parts = Parts::new(&op, &map);
                // Blocks of all widths take turns; each path meets each combination.
                for bits in 0..16 {
                    let epilogue = parts.some(bits);
                    let mut expected = plain.clone();
                    reference::finish(&op, &mut expected, &epilogue).unwrap();
                    for (number, (algorithm, simd)) in candidates(&op).enumerate() {
                        if number % 4 != bits as usize % 4 && c_out > 20 {
                            continue;
                        }
                        let found = inputs.run_finished(algorithm, simd, &op, &map, epilogue);
                        let error = worst_error(&found, &expected);
                        let id = algorithm.id();
                        assert!(
                            error <= dtype.tolerance(),
                            "{id} on {simd:?}: {op}, {bits:b}: {error:e}"
                        );
                    }
                }
            }
        }
    }
}

/// 2049 lies between two float16 values: rounding it before the residual is added gives 2046, and
/// 2047 is right.
#[test]
fn sums_are_rounded_once() {
    let map = map_of(&[Voxel::new(0, 0, 0, 0)]);
    let op = op(Direction::Forward, DType::Float16, 2, 3);
    let ones = |len, value| HostBuffer::from_f32(DType::Float16, &vec![value; len]);
    let mut weights = vec![0.0; op.weight_len()];
    weights[13 * 6..13 * 6 + 3].fill(2048.0);
    weights[13 * 6 + 3..14 * 6].fill(1.0);
    let inputs = Inputs { a: ones(2, 1.0), b: HostBuffer::from_f32(DType::Float16, &weights) };
    let residual = ones(3, -2.0);
    let epilogue = Epilogue { residual: Some(residual.as_elements()), ..Epilogue::default() };
    for (algorithm, simd) in candidates(&op) {
        let found = inputs.run_finished(algorithm, simd, &op, &map, epilogue);
        assert_eq!(found.to_f32(), [2047.0; 3], "{} on {simd:?}", algorithm.id());
    }
}

#[test]
fn what_is_not_a_number_is_not_hidden() {
    let map = map_of(&cloud(30));
    let op = op(Direction::Forward, DType::Float32, 3, 5);
    let mut inputs = Inputs::random(&op, &map, 1);
    inputs.a = HostBuffer::Float32(vec![f32::NAN; map.n_in() * 3]);
    let epilogue = Epilogue { relu: true, ..Epilogue::default() };
    for (algorithm, simd) in candidates(&op) {
        let found = inputs.run_finished(algorithm, simd, &op, &map, epilogue).to_f32();
        assert!(found.iter().all(|value| value.is_nan()), "{} on {simd:?}", algorithm.id());
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let map = map_of(&cloud(30));
    let refused = |direction, epilogue: Epilogue<'_>| {
        let op = op(direction, DType::Float16, 3, 5);
        let inputs = Inputs::random(&op, &map, 1);
        let mut out = poisoned(out_dtype(&op), lens(&op, &map)[2]);
        let (a, b) = (inputs.a.as_elements(), inputs.b.as_elements());
        let operands = Operands { a, b, out: out.as_elements_mut(), epilogue };
        default_algorithm(&op).run(&op, &map, operands).unwrap_err()
    };
    let none = Epilogue::default();
    for (scale, bias) in [(Some(&[1.0; 4][..]), None), (None, Some(&[1.0; 6][..]))] {
        let error = refused(Direction::Forward, Epilogue { scale, bias, ..none });
        assert!(matches!(error, RunError::WrongLength { expected: 5, .. }), "{error}");
    }
    let (short, wide) =
        (HostBuffer::zeros(DType::Float16, 149), HostBuffer::zeros(DType::Float32, 150));
    let error =
        refused(Direction::Forward, Epilogue { residual: Some(short.as_elements()), ..none });
    assert!(matches!(error, RunError::WrongLength { expected: 150, found: 149, .. }), "{error}");
    let error =
        refused(Direction::Forward, Epilogue { residual: Some(wide.as_elements()), ..none });
    assert!(matches!(error, RunError::WrongDType { .. }), "{error}");
    for direction in [Direction::Dgrad, Direction::Wgrad] {
        let error = refused(direction, Epilogue { relu: true, ..none });
        assert!(matches!(error, RunError::EpilogueOfGradient { .. }), "{error}");
    }
}
