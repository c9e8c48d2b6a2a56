//! Shapes as lines.

use std::collections::BTreeSet;

use crate::plan::grid::ChannelPair;
use voxtune_types::text::{lines, without_comment};
use voxtune_types::{DType, Direction, KernelSize, LayerKind};

use super::{Raw, Shapes, Tolerance};

pub(super) fn parse(bytes: &[u8], tolerance: Tolerance) -> Result<Shapes, String> {
    let mut shapes = Shapes::default();
    for (number, line) in (1..).zip(lines(bytes)) {
        let parsed = std::str::from_utf8(read_part(line))
            .map_err(|_| "expected UTF-8 text".to_owned())
            .and_then(parse_line);
        match parsed {
            Ok(None) => {}
            Ok(Some(raw)) => match raw.check() {
                Ok(shape) => shapes.shapes.push(shape),
                Err(reason) => shapes.passed_over.push(format!("line {number}: {reason}")),
            },
            Err(reason) if tolerance == Tolerance::Lines => {
                shapes.passed_over.push(format!("line {number}: {reason}"));
            }
            Err(reason) => return Err(format!("line {number}: {reason}")),
        }
    }
    Ok(shapes)
}

/// What of a line is read: neither its comment nor a device's name, which ends it.
fn read_part(line: &[u8]) -> &[u8] {
    const DEVICE: &[u8] = b" device=";
    let line = without_comment(line);
    let device = line.windows(DEVICE.len()).position(|bytes| bytes == DEVICE);
    &line[..device.unwrap_or(line.len())]
}

/// A shape; `None` for a line without one.
fn parse_line(line: &str) -> Result<Option<Raw>, String> {
    let (mut voxels, mut channels, mut groups, mut pairs) = (None, None, None, None);
    let (mut kind, mut kernel, mut stride) = (None, None, None);
    let (mut dtype, mut direction) = (None, None);
    let mut seen = BTreeSet::new();
    for field in line.split_ascii_whitespace() {
        let (name, value) = field.split_once('=').ok_or_else(|| {
            format!("`{field}`: expected fields such as voxels=126000 channels=32,64")
        })?;
        if !seen.insert(name) {
            return Err(format!("`{field}`: there is a {name} before it"));
        }
        let count = || value.parse::<usize>().map_err(|_| format!("`{field}`: expected a count"));
        match name {
            "voxels" => voxels = Some(count()?),
            "pairs" => pairs = Some(count()?),
            "channels" => channels = Some(value.parse::<ChannelPair>().map_err(text)?),
            "groups" => groups = Some(parse_groups(value)?),
            "kind" => kind = Some(value.parse::<LayerKind>().map_err(text)?),
            "kernel" => kernel = Some(parse_kernel(value)?),
            "stride" => stride = Some(parse_stride(value)?),
            "dtype" => dtype = Some(value.parse::<DType>().map_err(text)?),
            "direction" => direction = Some(value.parse::<Direction>().map_err(text)?),
            // The last field: its value may hold blanks.
            "device" => break,
            // How good the answer was that a program found: of no use here.
            "grade" => {}
            _ => {
                return Err(format!(
                    "`{field}`: expected one of voxels, channels, groups, kind, kernel, stride, \
                     dtype, direction, pairs, grade, device"
                ));
            }
        }
    }
    if seen.is_empty() {
        return Ok(None);
    }
    let lacks = |name: &str| format!("expected voxels=N and channels=C_in,C_out, found no {name}");
    Ok(Some(Raw {
        voxels: voxels.ok_or_else(|| lacks("voxels"))?,
        channels: channels.ok_or_else(|| lacks("channels"))?,
        groups: groups.unwrap_or(1),
        kind: kind.unwrap_or_default(),
        kernel: kernel.map_or_else(default_kernel, Ok)?,
        stride,
        dtype: dtype.unwrap_or(DType::Float16),
        direction,
        pairs,
    }))
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

pub(super) fn default_kernel() -> Result<KernelSize, String> {
    KernelSize::submanifold(3).map_err(text)
}

fn parse_groups(value: &str) -> Result<u32, String> {
    value.parse().map_err(|_| format!("`groups={value}`: expected a number"))
}

/// `3` or `3x3x3`.
fn parse_kernel(value: &str) -> Result<KernelSize, String> {
    match axes(value) {
        Some(extents) => KernelSize::try_from(extents).map_err(text),
        None => Err(format!("`kernel={value}`: expected an extent, or three such as 3x3x3")),
    }
}

/// `2` or `2x1x1`.
fn parse_stride(value: &str) -> Result<[u8; 3], String> {
    let malformed = || format!("`stride={value}`: expected a number, or three such as 2x1x1");
    axes(value).ok_or_else(malformed)
}

/// One number for all axes, or one for each.
fn axes(value: &str) -> Option<[u8; 3]> {
    let numbers: Vec<u8> = value.split('x').map(|one| one.parse().ok()).collect::<Option<_>>()?;
    match numbers[..] {
        [all] => Some([all; 3]),
        [x, y, z] => Some([x, y, z]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::Density;

    use super::*;

    #[test]
    fn a_journal_is_read() {
        let line = "voxels=126314 channels=32,64 kernel=3x3x3 dtype=bfloat16 direction=dgrad \
                    pairs=914200 grade=near device=NVIDIA H100 80GB HBM3 (sm_90, 132 SMs)\n";
        let shapes = parse(line.as_bytes(), Tolerance::None).unwrap();
        let shape = shapes.shapes[0];
        assert_eq!(shape.configuration.voxels, 126_314);
        assert_eq!(shape.configuration.dtype, DType::BFloat16);
        assert_eq!(shape.direction, Some(Direction::Dgrad));
        assert_eq!(shape.density, Some(Density::of(914_200, 126_314)));
        assert_eq!(shape.configuration.groups, 1);
        let depthwise = parse(b"voxels=9 channels=8,8 groups=8", Tolerance::None).unwrap();
        assert_eq!(depthwise.shapes[0].configuration.groups, 8);
        let lines = b"voxels=9 channels=8,8 kind=sparse kernel=3x1x1 stride=2x1x1 pairs=40\n\
                      voxels=9 channels=8,8 kind=transposed kernel=2\n\
                      voxels=9 channels=8,8 kind=inverse kernel=4 stride=3";
        let shapes = parse(lines, Tolerance::None).unwrap().shapes;
        let layers: Vec<String> =
            shapes.iter().map(|shape| shape.configuration.layer.to_string()).collect();
        assert_eq!(layers, ["k3x1x1 s2x1x1", "k2 s2x2x2 transposed", "k4 s3x3x3 inverse"]);
        assert!(shapes.iter().all(|shape| shape.density.is_none()));
    }

    #[test]
    fn a_field_that_means_nothing_or_stands_twice_is_refused() {
        for (line, expected) in [
            ("voxels=5 channels=3,4 dtyp=float32", "`dtyp=float32`: expected one of"),
            ("voxels=5 channels=3,4 strides=2", "`strides=2`: expected one of"),
            ("voxels=5 channels=3,4 voxels=6", "`voxels=6`: there is a voxels before it"),
        ] {
            let error = parse(line.as_bytes(), Tolerance::None).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_torn_line_costs_itself_in_a_journal_alone() {
        let torn = b"voxels=5 channels=3,4\nvoxels=7 chan\nvoxels=6 channels=3,4 # mine";
        let shapes = parse(torn, Tolerance::Lines).unwrap();
        assert_eq!((shapes.shapes.len(), shapes.passed_over.len()), (2, 1));
        let error = parse(torn, Tolerance::None).unwrap_err();
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn bad_fields_are_named() {
        for (line, mention) in [
            ("voxels=5", "channels"),
            ("channels=3,4", "voxels"),
            ("voxels=x channels=3,4", "voxels=x"),
            ("voxels=5 channels=3", "C_in,C_out"),
            ("voxels=5 channels=3,4 kernel=3x3", "3x3x3"),
            ("voxels=5 channels=3,4 dtype=float8", "float16"),
            ("voxels=5 channels=3,4 direction=up", "up"),
            ("voxels=5 channels=4,4 groups=depthwise", "groups=depthwise"),
            ("voxels=5 channels=4,4 kind=strided", "strided"),
            ("voxels=5 channels=4,4 kind=sparse stride=2x2", "2x1x1"),
        ] {
            let error = parse(line.as_bytes(), Tolerance::None).unwrap_err();
            assert!(error.contains(mention), "{line}: {error}");
        }
        // What is well said and cannot be measured is passed over, and told.
        for line in [
            "voxels=5 channels=3,4 kernel=2",
            "voxels=9000000 channels=3,4",
            "voxels=5 channels=3,4 groups=3",
            "voxels=5 channels=3,4 groups=0",
            "voxels=5 channels=3,4 stride=2",
            "voxels=5 channels=3,4 kind=sparse kernel=7",
            "voxels=5 channels=3,4 kind=sparse stride=0",
            "voxels=5 channels=3,4 kind=given",
        ] {
            let shapes = parse(line.as_bytes(), Tolerance::None).unwrap();
            assert_eq!((shapes.shapes.len(), shapes.passed_over.len()), (0, 1), "{line}");
        }
    }
}
