//! Shapes as JSON.

use crate::plan::grid::ChannelPair;
use serde::Deserialize;
use voxtune_types::{DType, Direction, KernelSize, LayerKind};

use super::text::default_kernel;
use super::{Raw, Shapes};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    voxels: usize,
    channels: [u32; 2],
    groups: Option<u32>,
    kind: Option<LayerKind>,
    kernel: Option<Extent>,
    stride: Option<Extent>,
    dtype: Option<DType>,
    direction: Option<Direction>,
    pairs: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Extent {
    Cubic(u32),
    Axes([u8; 3]),
}

pub(super) fn parse(bytes: &[u8]) -> Result<Shapes, String> {
    let rows: Vec<Row> = serde_json::from_slice(bytes).map_err(|error| {
        format!("expected a JSON array of objects with voxels and channels: {error}")
    })?;
    let mut shapes = Shapes::default();
    for (number, row) in (1..).zip(rows) {
        match row.raw().and_then(Raw::check) {
            Ok(shape) => shapes.shapes.push(shape),
            Err(reason) => shapes.passed_over.push(format!("item {number}: {reason}")),
        }
    }
    Ok(shapes)
}

impl Row {
    fn raw(self) -> Result<Raw, String> {
        let Self { voxels, channels: [c_in, c_out], dtype, direction, pairs, .. } = self;
        let Self { groups, kind, kernel, stride, .. } = self;
        let stride = match stride {
            None => None,
            Some(Extent::Axes(axes)) => Some(axes),
            Some(Extent::Cubic(all)) => {
                let step = u8::try_from(all).map_err(|_| format!("stride {all}: expected 1 to 8"));
                Some([step?; 3])
            }
        };
        let kernel = match kernel {
            None => default_kernel(),
            Some(Extent::Cubic(extent)) => {
                KernelSize::cubic(extent).map_err(|error| error.to_string())
            }
            Some(Extent::Axes(axes)) => {
                KernelSize::try_from(axes).map_err(|error| error.to_string())
            }
        };
        // The one place that knows which channels there are.
        let channels: ChannelPair =
            format!("{c_in},{c_out}").parse().map_err(|error| format!("{error}"))?;
        let dtype = dtype.unwrap_or(DType::Float16);
        let (groups, kind) = (groups.unwrap_or(1), kind.unwrap_or_default());
        let kernel = kernel?;
        Ok(Raw { voxels, channels, groups, kind, kernel, stride, dtype, direction, pairs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_optional_and_typos_are_not() {
        let shapes = parse(
            br#"[{"voxels": 5, "channels": [3, 4], "kernel": [5, 5, 5], "dtype": "float32",
                  "direction": "wgrad", "pairs": 40},
                 {"voxels": 5, "channels": [8, 4], "kernel": 1, "groups": 4},
                 {"voxels": 5, "channels": [0, 4]},
                 {"voxels": 5, "channels": [8, 4], "kind": "sparse", "kernel": [3, 1, 1],
                  "stride": [2, 1, 1]},
                 {"voxels": 5, "channels": [8, 4], "kind": "inverse", "kernel": 2, "stride": 2}]"#,
        )
        .unwrap();
        assert_eq!(shapes.shapes.len(), 4);
        let layer = |number: usize| shapes.shapes[number].configuration.layer.to_string();
        assert_eq!((layer(2), layer(3)), ("k3x1x1 s2x1x1".into(), "k2 s2x2x2 inverse".into()));
        assert_eq!(shapes.shapes[0].configuration.layer.kernel.volume(), 125);
        assert_eq!(shapes.shapes[1].configuration.dtype, DType::Float16);
        assert_eq!(shapes.shapes[1].configuration.groups, 4);
        assert!(shapes.passed_over[0].starts_with("item 3"), "{shapes:?}");
        let error = parse(br#"[{"voxel": 5, "channels": [3, 4]}]"#).unwrap_err();
        assert!(error.contains("voxel"), "{error}");
    }
}
