//! The keys of WarpConvNet's `benchmark_cache_generic.msgpack`: layers that a user's networks have
//! met.
//!
//! The file is a map whose `namespaces` hold pairs of a key and what was measured. A key of a
//! sparse convolution is a map tagged `"__t__": "SCC"`. It has classes of its rows (`li`, `lo`),
//! channels (`ci`, `co`), kernel volume (`kv`) and storage type (`dt`). Later releases add more.
//! Times and algorithms are another library's and are passed over.

use std::collections::BTreeMap;

use crate::plan::grid::ChannelPair;
use serde::Deserialize;
use serde::de::IgnoredAny;
use voxtune_pointcloud::MAX_VOXELS;
use voxtune_types::{DType, KernelSize, LayerKind};

use super::{Raw, Shapes};

#[derive(Deserialize)]
struct File {
    namespaces: BTreeMap<String, Vec<(Key, IgnoredAny)>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Key {
    Layer(LayerKey),
    /// Another operation's.
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct LayerKey {
    #[serde(rename = "__t__")]
    tag: String,
    lo: u32,
    ci: u32,
    co: u32,
    kv: u32,
    #[serde(default)]
    dt: String,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Shapes, String> {
    let file: File = rmp_serde::from_slice(bytes).map_err(|error| {
        format!("expected a cache of WarpConvNet's, a map with namespaces: {error}")
    })?;
    let mut shapes = Shapes::default();
    for (namespace, pairs) in &file.namespaces {
        for (number, (key, _)) in (1..).zip(pairs) {
            let Key::Layer(key) = key else { continue };
            if key.tag != "SCC" {
                continue;
            }
            match key.raw().and_then(Raw::check) {
                Ok(shape) => shapes.shapes.push(shape),
                Err(reason) => {
                    shapes.passed_over.push(format!("{namespace} {number}: {reason}"));
                }
            }
        }
    }
    Ok(shapes)
}

impl LayerKey {
    fn raw(&self) -> Result<Raw, String> {
        let Self { lo, ci, co, kv, dt, .. } = self;
        let extent = match kv {
            1 => 1,
            27 => 3,
            125 => 5,
            _ => return Err(format!("kernel volume {kv}: expected 1, 27 or 125")),
        };
        let channels: ChannelPair = format!("{ci},{co}").parse().map_err(|e| format!("{e}"))?;
        // "float16", or "torch.float16" where it did not know the type.
        let dtype: DType =
            dt.rsplit('.').next().unwrap_or_default().parse().map_err(|e| format!("{e}"))?;
        let kernel = KernelSize::submanifold(extent).map_err(|error| error.to_string())?;
        let voxels = rows_of_class(*lo)?;
        // A namespace says the direction in ways that have changed between releases, so all are
        // measured: training meets all three.
        let (kind, stride, direction, pairs) = (LayerKind::Submanifold, None, None, None);
        Ok(Raw { voxels, channels, groups: 1, kind, kernel, stride, dtype, direction, pairs })
    }
}

/// A row count in the middle of a class. Classes are `⌈log₁₀ N⌉` in late releases, 4 at least, and
/// `⌈log₂ N⌉` in early ones. Below 10 it is the former: layers of 512 voxels are not worth tuning.
fn rows_of_class(class: u32) -> Result<usize, String> {
    const LAST_DECADE: u32 = 9;
    const LAST_OCTAVE: u32 = 40;
    if class > LAST_OCTAVE {
        return Err(format!("class {class} of rows: expected at most {LAST_OCTAVE}"));
    }
    let base = if class <= LAST_DECADE { 10.0_f64 } else { 2.0 };
    let rows = base.powf(f64::from(class) - 0.5).round() as usize;
    // The class that holds the largest clouds reaches beyond them.
    let first = base.powi(class as i32 - 1) as usize;
    Ok(if first < MAX_VOXELS { rows.clamp(1, MAX_VOXELS) } else { rows })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn file(keys: &[Value]) -> Vec<u8> {
        let pairs: Vec<Value> = keys
            .iter()
            .map(|key| json!([key, [{"__t__": "T", "d": ["mask_gemm", {"tile": 3}, 0.25]}]]))
            .collect();
        let namespaces = json!({"AB_gather_scatter": pairs, "empty": []});
        let file = json!({"namespaces": namespaces, "timestamp": 1.5, "version": 17.0});
        rmp_serde::to_vec(&file).unwrap()
    }

    fn layer(lo: u32, kv: u32, dt: &str) -> Value {
        json!({"__t__": "SCC", "li": lo, "lo": lo, "ci": 32, "co": 64, "kv": kv, "dt": dt,
               "sm": [9, 0], "conv_stride": {"__t__": "T", "d": [1, 1, 1]}})
    }

    #[test]
    fn keys_become_shapes() {
        let bytes = file(&[
            layer(6, 27, "float16"),
            layer(17, 125, "torch.bfloat16"),
            layer(7, 1, "float32"),
            layer(6, 8, "float16"),
            layer(6, 27, "float64"),
            layer(60, 27, "float16"),
            json!({"__t__": "T", "d": [1, "x"]}),
            json!("a text"),
        ]);
        let shapes = parse(&bytes).unwrap();
        let found: Vec<(usize, usize, DType)> = shapes
            .shapes
            .iter()
            .map(|shape| shape.configuration)
            .map(|one| (one.voxels, one.layer.kernel.volume(), one.dtype))
            .collect();
        assert_eq!(
            found,
            [
                (316_228, 27, DType::Float16),
                (92_682, 125, DType::BFloat16),
                (MAX_VOXELS, 1, DType::Float32)
            ]
        );
        assert_eq!(shapes.passed_over.len(), 3, "{shapes:?}");
        assert!(shapes.passed_over[0].starts_with("AB_gather_scatter 4: kernel volume 8"));
    }

    #[test]
    fn what_is_cut_off_anywhere_is_an_error() {
        let bytes = file(&[layer(6, 27, "float16")]);
        assert_eq!(parse(&bytes).unwrap().shapes.len(), 1);
        assert!((0..bytes.len()).all(|len| parse(&bytes[..len]).is_err()));
    }
}
