//! Shapes that every algorithm is checked on.

use std::fmt;

use voxtune_cuda::Algorithm;
use voxtune_cuda::model::Rates;
use voxtune_pointcloud::Generator;
use voxtune_types::{ComputeCapability, DType, Direction, KernelSize, Operation};

use super::cells::Cells;
use super::data::Fill;

/// One shape to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) op: Operation,
    pub(super) cells: Cells,
    pub(super) fill: Fill,
    /// Elements by which every operand is moved off its alignment.
    pub(super) shift: usize,
    /// Whether dgrad reads a reverse table instead of the mirror image.
    pub(super) reverse: bool,
}

/// Every algorithm on channels that are whole copies of 16 bytes, and those that have a chance on
/// others. Each combination of copy widths is an instance of its own.
pub(super) fn admits(op: &Operation, algorithm: &Algorithm) -> bool {
    let even = op.c_in.is_multiple_of(8) && op.c_out.is_multiple_of(8) && op.kernel.volume() == 27;
    if even { algorithm.applies(op) } else { has_a_chance(op, algorithm) }
}

/// Whether a race of few rows or of many on the usual Hopper has it: splits are for few. What is
/// checked does not depend on the device at hand.
pub(super) fn has_a_chance(op: &Operation, algorithm: &Algorithm) -> bool {
    let capability = ComputeCapability { major: 9, minor: 0 };
    let rates = Rates::of(capability, Rates::usual_sms(capability));
    [1_000, 5_000, 100_000].into_iter().any(|rows| algorithm.in_auto_pool(op, rows, &rates))
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {:?}", self.op, self.cells, self.fill)?;
        if self.shift > 0 {
            write!(f, ", shifted by {}", self.shift)?;
        }
        f.write_str(if self.reverse { ", with a reverse table" } else { "" })
    }
}

/// Channel counts that are no whole copies.
const ODD_CHANNELS: [u32; 13] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 20, 33];

/// `(c_in, c_out, groups)` of layers that every grouped algorithm is to compute: depthwise, and
/// several channels a group.
const GROUPS: [(u32, u32, u32); 2] = [(64, 64, 64), (64, 64, 16)];

/// Channels of groups that are no whole copies: depthwise; several outputs of an input; several
/// inputs of an output; both, few and more than an instance is compiled for.
const ODD_GROUPS: [(u32, u32, u32); 10] = [
    (7, 7, 7),
    (20, 20, 20),
    (33, 33, 33),
    (100, 100, 100),
    (10, 30, 10),
    (36, 12, 12),
    (12, 20, 4),
    (42, 84, 14),
    (50, 30, 2),
    (44, 36, 2),
];

/// No rows, one, and tiles of 64 to 512 rows less and more one.
const EDGE_ROWS: [usize; 15] = [0, 1, 2, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 513];

/// The shapes: all of them, or a few small ones that still run every instance of a family.
pub(super) fn cases(quick: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for direction in Direction::ALL {
        if quick {
            quick_cases(direction, &mut cases);
            continue;
        }
        for dtype in DType::ALL {
            layers(direction, dtype, &mut cases);
            odd_channels(direction, dtype, &mut cases);
            hard_clouds(direction, dtype, &mut cases);
            groups(direction, dtype, &mut cases);
        }
        one_hot(direction, DType::Float16, &(0..27).collect::<Vec<_>>(), &mut cases);
        let wide = Cells::Generated(Generator::Surface, 8_000);
        cases.push(case(direction, DType::Float16, (512, 512), 3, wide, Fill::Random));
    }
    cases
}

fn case(
    direction: Direction,
    dtype: DType,
    (c_in, c_out): (u32, u32),
    extent: u32,
    cells: Cells,
    fill: Fill,
) -> Case {
    let kernel = KernelSize::submanifold(extent).expect("a submanifold extent");
    let op = Operation::submanifold(direction, dtype, c_in, c_out, kernel);
    Case { op, cells, fill, shift: 0, reverse: false }
}

const fn surface(voxels: usize) -> Cells {
    Cells::Generated(Generator::Surface, voxels)
}

const fn uniform(voxels: usize) -> Cells {
    Cells::Generated(Generator::Uniform, voxels)
}

fn quick_cases(direction: Direction, cases: &mut Vec<Case>) {
    use DType::{BFloat16, Float16};
    use Fill::{Exact, Random};
    for dtype in DType::ALL {
        cases.push(case(direction, dtype, (32, 64), 3, surface(300), Exact));
    }
    for dtype in [Float16, BFloat16] {
        cases.push(case(direction, dtype, (128, 128), 3, surface(300), Exact));
    }
    let odd = case(direction, Float16, (20, 10), 3, uniform(129), Random);
    let wide = case(direction, BFloat16, (16, 8), 5, uniform(65), Random);
    cases.extend([
        case(direction, Float16, (3, 32), 3, uniform(129), Random),
        case(direction, Float16, (6, 48), 3, uniform(129), Random),
        case(direction, Float16, (13, 33), 3, uniform(129), Random),
        Case { shift: 1, reverse: true, ..odd },
        Case { shift: 1, ..wide },
        case(direction, Float16, (8, 8), 1, uniform(1), Random),
    ]);
    one_hot(direction, Float16, &[0], cases);
    for (c_in, c_out, groups) in
        [(64, 64, 64), (64, 64, 16), (20, 20, 20), (12, 20, 4), (50, 30, 2)]
    {
        let cells = surface(129);
        cases.push(in_groups(case(direction, Float16, (c_in, c_out), 3, cells, Random), groups));
    }
    for dtype in [BFloat16, DType::Float32] {
        cases.push(in_groups(case(direction, dtype, (24, 24), 3, surface(129), Exact), 24));
    }
}

/// Layers as networks have them.
fn layers(direction: Direction, dtype: DType, cases: &mut Vec<Case>) {
    use Fill::{Exact, Random};
    for pair in [(3, 32), (6, 48), (32, 32), (48, 96), (64, 128), (96, 20), (128, 128), (256, 192)]
    {
        cases.push(case(direction, dtype, pair, 3, uniform(20_000), Exact));
    }
    let pointwise = case(direction, dtype, (64, 64), 1, surface(3_000), Random);
    let shifted = case(direction, dtype, (64, 96), 3, uniform(3_000), Random);
    let odd = case(direction, dtype, (20, 12), 3, surface(3_000), Exact);
    cases.extend([
        case(direction, dtype, (48, 96), 3, surface(30_000), Random),
        case(direction, dtype, (32, 48), 5, surface(3_000), Random),
        Case { reverse: true, ..pointwise },
        Case { shift: 1, reverse: true, ..shifted },
        Case { shift: 3, ..odd },
    ]);
}

fn odd_channels(direction: Direction, dtype: DType, cases: &mut Vec<Case>) {
    for c in ODD_CHANNELS {
        let both = case(direction, dtype, (c, 43 - c), 3, uniform(1_000), Fill::Random);
        cases.push(Case { reverse: c % 2 == 0, ..both });
        cases.push(case(direction, dtype, (40, c), 3, surface(700), Fill::Random));
    }
    // Channels that splits have a chance at, of every width of copies.
    for pair in [(126, 127), (124, 116)] {
        let wide = case(direction, dtype, pair, 3, surface(700), Fill::Exact);
        cases.extend([wide, Case { shift: 1, reverse: true, ..wide }]);
    }
}

fn hard_clouds(direction: Direction, dtype: DType, cases: &mut Vec<Case>) {
    for voxels in EDGE_ROWS {
        cases.push(case(direction, dtype, (32, 64), 3, surface(voxels), Fill::Exact));
    }
    for cells in [Cells::Isolated(300), Cells::Full { edge: 8 }] {
        for fill in [Fill::Random, Fill::Exact] {
            cases.push(case(direction, dtype, (32, 64), 3, cells, fill));
        }
    }
}

fn groups(direction: Direction, dtype: DType, cases: &mut Vec<Case>) {
    use Fill::{Exact, Random};
    let of = |(c_in, c_out, groups), extent, cells, fill| {
        in_groups(case(direction, dtype, (c_in, c_out), extent, cells, fill), groups)
    };
    for shape in GROUPS {
        for fill in [Random, Exact] {
            cases.push(of(shape, 3, surface(3_000), fill));
        }
        cases.push(Case { reverse: true, ..of(shape, 3, uniform(20_000), Exact) });
        cases.push(Case { shift: 1, ..of(shape, 3, surface(700), Random) });
    }
    for shape in ODD_GROUPS {
        cases.push(of(shape, 3, surface(1_000), Random));
        cases.push(Case { shift: 1, reverse: true, ..of(shape, 3, surface(257), Exact) });
    }
    for voxels in EDGE_ROWS {
        cases.push(of((20, 20, 20), 3, surface(voxels), Exact));
    }
    for cells in [Cells::Isolated(300), Cells::Full { edge: 8 }] {
        cases.extend([of((64, 64, 64), 3, cells, Exact), of((12, 20, 4), 3, cells, Exact)]);
    }
    for extent in [1, 5] {
        cases.extend([
            of((20, 20, 20), extent, surface(700), Random),
            of((12, 20, 4), extent, surface(700), Exact),
            of((50, 30, 2), extent, surface(700), Random),
        ]);
    }
    if direction != Direction::Wgrad {
        for offset in 0..27 {
            cases.push(of((20, 20, 20), 3, surface(300), Fill::OneHot { offset }));
        }
    }
}

fn in_groups(case: Case, groups: u32) -> Case {
    Case { op: case.op.with_groups(groups), ..case }
}

/// Weights that are zero but at one offset. Weight gradients read no weights.
fn one_hot(direction: Direction, dtype: DType, offsets: &[usize], cases: &mut Vec<Case>) {
    if direction == Direction::Wgrad {
        return;
    }
    for &offset in offsets {
        let fill = Fill::OneHot { offset };
        cases.push(case(direction, dtype, (32, 32), 3, surface(300), fill));
    }
}

#[cfg(test)]
mod tests {
    use voxtune_cuda::algorithms;

    use super::*;

    #[test]
    fn every_algorithm_meets_a_case_of_either_list() {
        for quick in [false, true] {
            let cases = cases(quick);
            for algorithm in algorithms() {
                let met = cases.iter().any(|case| admits(&case.op, algorithm));
                assert!(met, "{algorithm}, quick {quick}");
            }
        }
    }

    /// Reductions of parts are compiled for one, two and four elements per thread, and each is
    /// checked.
    #[test]
    fn splits_meet_every_width() {
        for width in [1, 2, 4] {
            let any = cases(false).iter().any(|case| {
                let result = if case.op.direction == Direction::Dgrad {
                    case.op.c_in
                } else {
                    case.op.c_out
                };
                1 << result.trailing_zeros().min(2) == width
                    && algorithms()
                        .iter()
                        .any(|one| one.id().number("splits").is_some() && admits(&case.op, one))
            });
            assert!(any, "{width}");
        }
    }

    #[test]
    fn the_hard_shapes_are_there() {
        let cases = cases(false);
        let any = |wanted: &dyn Fn(&Case) -> bool| cases.iter().any(wanted);
        for c in ODD_CHANNELS {
            assert!(any(&|case| case.op.c_in == c) && any(&|case| case.op.c_out == c), "{c}");
        }
        for voxels in EDGE_ROWS {
            assert!(any(&|case| case.cells == surface(voxels)), "{voxels}");
        }
        for offset in 0..27 {
            for direction in [Direction::Forward, Direction::Dgrad] {
                let fill = Fill::OneHot { offset };
                assert!(any(&|case| case.fill == fill && case.op.direction == direction));
            }
        }
        assert!(any(&|case| case.cells == Cells::Isolated(300)));
        assert!(any(&|case| case.cells == Cells::Full { edge: 8 }));
        assert!(any(&|case| case.shift > 0 && case.reverse));
        for (c_in, c_out, groups) in GROUPS.into_iter().chain(ODD_GROUPS) {
            let of = |case: &Case| {
                (case.op.c_in, case.op.c_out, case.op.groups) == (c_in, c_out, groups)
            };
            assert!(any(&|case| of(case) && case.shift > 0), "{c_in}→{c_out} g{groups}");
        }
    }

    #[test]
    fn a_case_says_what_it_is() {
        let case = Case {
            shift: 1,
            reverse: true,
            ..case(Direction::Dgrad, DType::Float16, (20, 10), 3, uniform(129), Fill::Random)
        };
        assert_eq!(
            case.to_string(),
            "dgrad float16 20→10 k3, 129 voxels uniform, Random, shifted by 1, with a reverse table"
        );
    }
}
