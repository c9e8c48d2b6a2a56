//! What does not fit is refused in words, and nothing is written.

use super::*;
use crate::algorithm::default_algorithm;
use crate::error::RunError;

fn refusal(
    op: &Operation,
    map: &KernelMap,
    a: &HostBuffer,
    b: &HostBuffer,
    out: &mut HostBuffer,
) -> RunError {
    let before = out.clone();
    let (a, b, out_elements) = (a.as_elements(), b.as_elements(), out.as_elements_mut());
    let operands = Operands { a, b, out: out_elements, epilogue: Epilogue::default() };
    let error = default_algorithm(op).run(op, map, operands).unwrap_err();
    assert_eq!(*out, before, "{error}");
    error
}

#[test]
fn wrong_lengths_are_refused() {
    let map = map_of(&cloud(40));
    for direction in Direction::ALL {
        let op = op(direction, DType::Float16, 4, 6);
        let right = lens(&op, &map);
        for operand in 0..3 {
            for change in [-1, 1] {
                let mut lens = right;
                lens[operand] = lens[operand].checked_add_signed(change).unwrap();
                let a = HostBuffer::zeros(op.dtype, lens[0]);
                let b = HostBuffer::zeros(op.dtype, lens[1]);
                let mut out = HostBuffer::zeros(out_dtype(&op), lens[2]);
                match refusal(&op, &map, &a, &b, &mut out) {
                    RunError::WrongLength { expected, found, .. } => {
                        assert_eq!(expected, right[operand] as u128);
                        assert_eq!(found, lens[operand]);
                    }
                    other => panic!("{other}"),
                }
            }
        }
    }
}

#[test]
fn other_storage_types_are_refused() {
    let map = map_of(&cloud(40));
    for direction in Direction::ALL {
        let op = op(direction, DType::Float16, 4, 6);
        let [a, b, out] = lens(&op, &map);
        for operand in 0..3 {
            let dtype = |index, right| if index == operand { DType::BFloat16 } else { right };
            let a = HostBuffer::zeros(dtype(0, op.dtype), a);
            let b = HostBuffer::zeros(dtype(1, op.dtype), b);
            let mut out = HostBuffer::zeros(dtype(2, out_dtype(&op)), out);
            let error = refusal(&op, &map, &a, &b, &mut out);
            assert!(
                matches!(error, RunError::WrongDType { found: DType::BFloat16, .. }),
                "{error}"
            );
        }
    }
}

#[test]
fn maps_of_other_layers_are_refused() {
    let map = KernelMap::submanifold(&cloud(40), kernel(1)).unwrap();
    let op = op(Direction::Forward, DType::Float32, 2, 2);
    let [a, b, out] = lens(&op, &map).map(|len| HostBuffer::zeros(op.dtype, len));
    let error = refusal(&op, &map, &a, &b, &mut out.clone());
    assert_eq!(error, RunError::WrongMap { operation: op, expected: 27, found: 1 });
    assert_eq!(
        error.to_string(),
        "the kernel map has 1 offsets: expected the 27 of `forward float32 2→2 k3`"
    );
    assert!(reference::forward(&op, &map, &a.to_f64(), &b.to_f64()).is_err());
}

#[test]
fn broken_groups_and_empty_channels_have_no_kernel() {
    let map = map_of(&[]);
    let plain = op(Direction::Forward, DType::Float32, 4, 4);
    for op in [
        Operation { groups: 0, ..plain },
        Operation { groups: 3, ..plain },
        Operation { groups: 4, c_in: 6, ..plain },
        Operation { c_in: 0, groups: 4, ..plain },
        Operation { c_in: 0, ..plain },
        Operation { c_out: 0, ..plain },
    ] {
        assert!(algorithms().iter().all(|algorithm| !algorithm.applies(&op)));
        let empty = HostBuffer::zeros(DType::Float32, 0);
        let error = refusal(&op, &map, &empty, &empty, &mut empty.clone());
        assert!(matches!(error, RunError::NotApplicable { .. }), "{error}");
    }
}

#[test]
fn sizes_that_overflow_are_refused() {
    let map = map_of(&cloud(40));
    let op = op(Direction::Forward, DType::Float32, u32::MAX, u32::MAX);
    let empty = HostBuffer::zeros(DType::Float32, 0);
    let error = refusal(&op, &map, &empty, &empty, &mut empty.clone());
    assert!(matches!(error, RunError::NotApplicable { .. }), "{error}");
}
