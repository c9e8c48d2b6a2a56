//! Reading a cubin: its machine code, apart from what a compiler writes around it.

use object::LittleEndian;
use object::elf::{FileHeader64, SHT_NOBITS};
use object::read::elf::{FileHeader as _, SectionHeader as _};
use xxhash_rust::xxh3::Xxh3;

/// Hash of the machine code and constants of a cubin, an ELF file of 64 bits; `None` if it is none.
///
/// Sections named `.text.*` and `.nv.constant*` count, in file order, with their names. Notes,
/// symbol tables and file names do not, so that a rebuild elsewhere gives the same hash.
pub(super) fn machine_code_hash(elf: &[u8]) -> Option<u64> {
    let header = FileHeader64::<LittleEndian>::parse(elf).ok()?;
    let sections = header.sections(LittleEndian, elf).ok()?;
    let (mut hasher, mut code_sections) = (Xxh3::new(), 0);
    for section in sections.iter() {
        let name = sections.section_name(LittleEndian, section).ok()?;
        let is_code = name.starts_with(b".text.");
        if is_code || name.starts_with(b".nv.constant") {
            // A section that takes no room in the file has no code; no compiler writes one.
            (section.sh_type(LittleEndian) != SHT_NOBITS).then_some(())?;
            hasher.update(name);
            hasher.update(section.data(LittleEndian, elf).ok()?);
            code_sections += usize::from(is_code);
        }
    }
    (code_sections > 0).then(|| hasher.digest())
}

/// Hash of a text of PTX; `None` if it is none, or the driver would not see its end.
pub(super) fn ptx_hash(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let is_ptx = text.lines().any(|line| line.starts_with(".version "));
    (is_ptx && !text.contains('\0')).then(|| xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: &[u8] = b"\0.names\0.text.k\0.note\0";

    /// An ELF file with a section of names, one of code and one more.
    fn elf(code: &[u8], note: &[u8]) -> Vec<u8> {
        let sections: [(u32, &[u8]); 3] = [(1, NAMES), (8, code), (16, note)];
        // Of 64 bits, little-endian, version 1.
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(64, 0);
        // The first section of a file is none.
        let mut headers = vec![0_u8; 64];
        for (name, contents) in sections {
            let mut header = [0_u8; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            // A table of names, or what a program defines.
            header[4] = if name == 1 { 3 } else { 1 };
            header[0x18..0x20].copy_from_slice(&(file.len() as u64).to_le_bytes());
            header[0x20..0x28].copy_from_slice(&(contents.len() as u64).to_le_bytes());
            headers.extend(header);
            file.extend(contents);
        }
        let table = file.len() as u64;
        file[0x28..0x30].copy_from_slice(&table.to_le_bytes());
        file[0x3a..0x3c].copy_from_slice(&64_u16.to_le_bytes());
        file[0x3c..0x3e].copy_from_slice(&4_u16.to_le_bytes());
        file[0x3e..0x40].copy_from_slice(&1_u16.to_le_bytes());
        file.extend(headers);
        file
    }

    proptest! {
        /// Damage to code changes the hash and damage to notes does not; whatever else is damaged,
        /// reading ends.
        #[test]
        fn damage_to_code_alone_is_seen(
            code in prop::collection::vec(any::<u8>(), 1..200),
            note in prop::collection::vec(any::<u8>(), 1..50),
            place in any::<prop::sample::Index>(),
            flip in 1..=u8::MAX,
        ) {
            let sound = elf(&code, &note);
            let mut file = sound.clone();
            let place = place.index(file.len());
            file[place] ^= flip;
            let (hash, damaged) = (machine_code_hash(&sound), machine_code_hash(&file));
            let code_at = 64 + NAMES.len();
            let note_at = code_at + code.len();
            if (code_at..note_at).contains(&place) {
                prop_assert!(damaged.is_some() && damaged != hash);
            } else if (note_at..note_at + note.len()).contains(&place) {
                prop_assert_eq!(damaged, hash);
            }
        }

        /// The hash is that of names and contents, whatever the file around them.
        #[test]
        fn names_and_contents_make_the_hash(
            code in prop::collection::vec(any::<u8>(), 0..200),
            note in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let mut hasher = Xxh3::new();
            hasher.update(b".text.k");
            hasher.update(&code);
            prop_assert_eq!(machine_code_hash(&elf(&code, &note)), Some(hasher.digest()));
        }
    }

    #[test]
    fn only_code_counts() {
        let base = machine_code_hash(&elf(b"code", b"note")).unwrap();
        assert_eq!(machine_code_hash(&elf(b"code", b"another")), Some(base));
        assert_ne!(machine_code_hash(&elf(b"codf", b"note")), Some(base));
    }

    #[test]
    fn ptx_is_text_with_a_version_and_an_end() {
        let text = b"//\n.version 9.0\n.target sm_80\n";
        assert!(ptx_hash(text).is_some());
        assert_ne!(ptx_hash(text), ptx_hash(b"//\n.version 9.0\n.target sm_90\n"));
        assert_eq!(ptx_hash(b".target sm_80\n"), None);
        assert_eq!(ptx_hash(b".version 9.0\n\0"), None);
        assert_eq!(ptx_hash(b".version 9.0\n\xff"), None);
    }

    #[test]
    fn a_truncated_or_foreign_file_is_refused() {
        let file = elf(b"code", b"note");
        for length in 0..file.len() {
            assert_eq!(machine_code_hash(&file[..length]), None, "{length}");
        }
        assert_eq!(machine_code_hash(&[0x41; 4096]), None);
    }
}
