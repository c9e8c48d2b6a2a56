//! Decoders against made-up and mutated bytes: `cargo bench -p voxtune-tests --bench fuzz --
//! 1000000`.
//!
//! Each execution takes a sound file and mutates it: bytes changed, inserted, deleted, copied, cut
//! off, numbers replaced by extreme ones. It corrects the checksum of a cache or a pack so that the
//! decoder behind it is reached, and decodes. A finding is a panic, an abort, a cache or a profile
//! that decodes and then encodes to other bytes, or a kernel of a pack that is listed and not
//! found. Runs are repeatable: the seed is the second argument.
#![deny(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the output is the point")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use voxtune::{Arch, DType, Device, FrameProfile, KernelSize, SparseTensor, Tensor, Voxel, Voxels};
use voxtune_cache::{decode_decisions, decode_evidence, encode_decisions, encode_evidence};
use voxtune_pack::{Header, Kernel, Pack};
use voxtune_pointcloud::{FileOptions, load_file};
use xxhash_rust::xxh3::xxh3_64;

/// A decoder with the files that its inputs are made from.
struct Target {
    name: &'static str,
    seeds: Vec<Vec<u8>>,
    /// Of a hundred executions.
    share: usize,
    run: fn(&mut Vec<u8>, &Path) -> Result<(), String>,
}

const ARCH: Arch = Arch::sm(9, 0);
/// Bytes before those that the checksum of a cache covers, and where the checksum is.
const HEAD: usize = 19;
const CHECKSUM: std::ops::Range<usize> = 11..19;
/// The same of a pack.
const PACK_HEAD: usize = 24;
const PACK_CHECKSUM: std::ops::Range<usize> = 16..24;

fn main() {
    // Cargo adds an argument of its own.
    let mut numbers = std::env::args().skip(1).filter_map(|text| text.parse::<u64>().ok());
    let executions = numbers.next().unwrap_or(100_000);
    let seed = numbers.next().unwrap_or(1);
    let folder = tempfile::tempdir().expect("a folder for clouds");
    let targets = targets();
    let mut random = SmallRng::seed_from_u64(seed);
    let start = Instant::now();
    let mut counts = vec![0_u64; targets.len()];
    for _ in 0..executions {
        let mut draw = random.random_range(0..100);
        let number = targets
            .iter()
            .position(|target| match draw < target.share {
                true => true,
                false => {
                    draw -= target.share;
                    false
                }
            })
            .expect("shares make up a hundred");
        let target = &targets[number];
        let mut bytes = target.seeds[random.random_range(0..target.seeds.len())].clone();
        for _ in 0..random.random_range(1..=4) {
            mutate(&mut bytes, &mut random);
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(&mut bytes, folder.path())));
        let finding = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(finding)) => Some(finding),
            Err(_) => Some("it panicked".to_owned()),
        };
        if let Some(finding) = finding {
            let path = std::env::temp_dir().join(format!("finding-{}", target.name));
            std::fs::write(&path, &bytes).expect("the finding is kept");
            panic!("{}: {finding}; its bytes are in {}", target.name, path.display());
        }
        counts[number] += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    for (target, count) in targets.iter().zip(&counts) {
        println!("{:<12} {count} executions", target.name);
    }
    println!("no finding in {executions} executions with seed {seed}, {seconds:.0} s");
}

fn targets() -> Vec<Target> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/cache/tests/fixtures");
    let fixture = |name: &str| std::fs::read(fixtures.join(name)).expect("fixtures are there");
    vec![
        Target {
            name: "decisions",
            seeds: vec![fixture("v1/sm_90.msgpack"), fixture("v2/sm_90.msgpack")],
            share: 30,
            run: |bytes, _| {
                repair_checksum(bytes);
                let Ok(found) = decode_decisions(bytes, "sm_90.msgpack") else { return Ok(()) };
                let encoded = encode_decisions(ARCH, &found).map_err(|error| error.to_string())?;
                let again = decode_decisions(&encoded, "sm_90.msgpack").ok();
                same(bytes, &encoded, again == Some(found))
            },
        },
        Target {
            name: "evidence",
            seeds: ["v1", "v2", "v3"]
                .map(|version| fixture(&format!("{version}/sm_90.evidence.msgpack")))
                .to_vec(),
            share: 30,
            run: |bytes, _| {
                repair_checksum(bytes);
                let Ok(found) = decode_evidence(bytes, "sm_90.evidence.msgpack") else {
                    return Ok(());
                };
                let encoded = encode_evidence(ARCH, &found).map_err(|error| error.to_string())?;
                let again = decode_evidence(&encoded, "sm_90.evidence.msgpack").ok();
                same(bytes, &encoded, again == Some(found))
            },
        },
        Target {
            name: "packs",
            seeds: vec![pack(&[70, 900, 900, 5]), pack(&[300_000, 40])],
            share: 25,
            run: |bytes, _| {
                if bytes.len() >= PACK_HEAD {
                    let checksum = xxh3_64(&bytes[PACK_HEAD..]).to_le_bytes();
                    bytes[PACK_CHECKSUM].copy_from_slice(&checksum);
                }
                let Ok(pack) = Pack::decode(bytes.clone(), "sm_90.kernels") else { return Ok(()) };
                let kernels: Vec<Kernel> = pack.kernels().cloned().collect();
                for (place, kernel) in kernels.iter().enumerate() {
                    let defines: Vec<(&str, u32)> = kernel
                        .defines
                        .iter()
                        .map(|(name, value)| (name.as_str(), *value))
                        .collect();
                    let found = pack.find(&kernel.source, &defines, kernel.hopper);
                    if found.is_none_or(|found| found > place) {
                        return Err("a kernel is not found".to_owned());
                    }
                    if pack.read(place).is_ok_and(|code| code.is_empty()) {
                        return Err("a kernel has no code".to_owned());
                    }
                }
                Ok(())
            },
        },
        Target {
            name: "profiles",
            seeds: vec![profile(&[3]), profile(&[40, 900])],
            share: 5,
            run: |bytes, _| {
                let Ok(found) = FrameProfile::from_bytes(bytes) else { return Ok(()) };
                // A first frame would go by it.
                drop(found.expected_counts());
                let again = FrameProfile::from_bytes(&found.to_bytes());
                match again == Ok(found) {
                    true => Ok(()),
                    false => Err("its bytes say something else".to_owned()),
                }
            },
        },
        cloud("ply", PLY.as_bytes().to_vec(), |bytes, folder| load(bytes, folder, "cloud.ply")),
        cloud("pcd", PCD.as_bytes().to_vec(), |bytes, folder| load(bytes, folder, "cloud.pcd")),
        cloud("npy", npy(), |bytes, folder| load(bytes, folder, "cloud.npy")),
        cloud("bin", vec![0; 64], |bytes, folder| load(bytes, folder, "cloud.bin")),
        cloud("npz", b"PK\x03\x04".repeat(20), |bytes, folder| load(bytes, folder, "cloud.npz")),
    ]
}

/// Of a level below so many voxels, and maps within and between both.
fn profile(rows: &[i32]) -> Vec<u8> {
    let device = Device::cpu_with_threads(1).expect("the host is a device");
    let kernel = KernelSize::cubic(3).expect("3 is an extent");
    let frames = rows.iter().map(|&rows| {
        let cells = (0..rows).map(|x| Voxel::new(0, x, 0, 0)).collect();
        let voxels = Voxels::new(&device, cells).expect("cells are distinct");
        let features = Tensor::zeros(&device, DType::Float16, voxels.len(), 4);
        SparseTensor::new(voxels, features.expect("memory")).expect("a row a voxel")
    });
    let network = |input: &SparseTensor| {
        input.voxels().kernel_map(kernel)?;
        input.voxels().strided(kernel, [2; 3])
    };
    FrameProfile::of(frames, network).expect("frames of one kind").to_bytes()
}

/// A pack of kernels of these sizes, half of each of bytes that compress badly.
fn pack(sizes: &[usize]) -> Vec<u8> {
    let header = Header {
        target: ARCH.to_string(),
        capability: (9, 0),
        cuda_version: 13_000,
        minimum_driver: 13_000,
        compiler: 1,
        decisions: Some(2),
        pruned: 3,
    };
    let mut random = SmallRng::seed_from_u64(0);
    let kernel = |(number, &size): (u32, &usize)| {
        let mut code = vec![0x5A; size];
        random.fill(&mut code[..size.min(2000) / 2]);
        let defines = vec![("ROWS".to_owned(), number), ("COLS".to_owned(), 64)];
        let (source, hash) = ("mask_gemm.cu".to_owned(), u64::from(number));
        let kernel =
            Kernel { source, defines, hopper: false, source_hash: hash, kernel_hash: hash };
        (kernel, code)
    };
    let kernels: Vec<_> = (0..).zip(sizes).map(kernel).collect();
    voxtune_pack::encode(&header, &kernels).expect("these kernels make a pack")
}

fn cloud(
    name: &'static str,
    seed: Vec<u8>,
    run: fn(&mut Vec<u8>, &Path) -> Result<(), String>,
) -> Target {
    Target { name, seeds: vec![seed], share: 2, run }
}

const PLY: &str = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\n\
                   property float z\nend_header\n0 0 0\n1 0 0\n0.5 2 3\n";

const PCD: &str = "VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 2\nHEIGHT 1\n\
                   POINTS 2\nDATA ascii\n0 0 0\n1 2 3\n";

/// A version 1.0 array of two points.
fn npy() -> Vec<u8> {
    let header =
        format!("{:<117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend([0; 24]);
    bytes
}

fn load(bytes: &mut Vec<u8>, folder: &Path, name: &str) -> Result<(), String> {
    let path = folder.join(name);
    std::fs::write(&path, &*bytes).map_err(|error| error.to_string())?;
    // Any error will do; what is loaded has voxels.
    match load_file(&path, &FileOptions::default()) {
        Ok(cells) if cells.is_empty() => Err("a cloud without voxels".to_owned()),
        _ => Ok(()),
    }
}

/// Makes the checksum right.
fn repair_checksum(bytes: &mut [u8]) {
    if bytes.len() >= HEAD {
        let checksum = xxh3_64(&bytes[HEAD..]).to_be_bytes();
        bytes[CHECKSUM].copy_from_slice(&checksum);
    }
}

/// What decodes is in canonical form; what an earlier version says is still said in today's.
fn same(bytes: &[u8], encoded: &[u8], means_the_same: bool) -> Result<(), String> {
    const VERSION: &[u8] = b"\xA7version";
    let version = |bytes: &[u8]| {
        let at = bytes.windows(VERSION.len()).position(|window| window == VERSION)?;
        bytes.get(at + VERSION.len()).copied()
    };
    if version(bytes) == version(encoded) && bytes != encoded {
        return Err("it encodes to other bytes".to_owned());
    }
    if means_the_same { Ok(()) } else { Err("what it encodes to says something else".to_owned()) }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut SmallRng) {
    /// Heads of large MessagePack values and ends of ranges.
    const EXTREMES: [&[u8]; 8] = [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\x7f\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xfe",
        b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
        b"99999999999",
        b"-1",
    ];
    if bytes.is_empty() {
        bytes.push(random.random());
        return;
    }
    let at = random.random_range(0..bytes.len());
    match random.random_range(0..7) {
        0 => bytes[at] ^= 1 << random.random_range(0..8),
        1 => bytes[at] = random.random(),
        2 => bytes.insert(at, random.random()),
        3 => drop(bytes.remove(at)),
        4 => bytes.truncate(at),
        5 => {
            let end = (at + random.random_range(1..=16)).min(bytes.len());
            let part = bytes[at..end].to_vec();
            let to = random.random_range(0..=bytes.len());
            drop(bytes.splice(to..to, part));
        }
        _ => {
            let extreme = EXTREMES[random.random_range(0..EXTREMES.len())];
            let end = (at + extreme.len()).min(bytes.len());
            drop(bytes.splice(at..end, extreme.iter().copied()));
        }
    }
}
