//! Real excerpts of nvdisasm's output, and small made-up ones for control flow.

use super::*;

const ONE_COMMIT: &str = include_str!("fixtures/one_commit.sass");
const COMMIT_IN_EACH_PATH: &str = include_str!("fixtures/commit_in_each_path.sass");
const REGISTERS_IN_USE: &str = include_str!("fixtures/registers_in_use.sass");

/// A disassembly of lines such as `LDSM R4, [R0] | R0v R4^`, and of labels such as `.L:`.
fn listing(lines: &[&str]) -> String {
    const REGISTERS: usize = 16;
    let ones: String = (0..REGISTERS).map(|i| char::from(b'0' + (i % 10) as u8)).collect();
    let tens: String = (0..REGISTERS).map(|i| if i < 10 { ' ' } else { '1' }).collect();
    let mut text = format!(
        "\t.section\t.text.kernel,\"ax\",@progbits\n // |    {tens} |\n // | #  {ones} | # 0 |\n"
    );
    let mut address = 0;
    for line in lines {
        let (code, registers) = line.split_once(" | ").unwrap_or((line, ""));
        if code.ends_with(':') {
            text.push_str(&format!("{code} // +....+\n"));
            continue;
        }
        let mut columns = [b' '; REGISTERS];
        for one in registers.split_whitespace() {
            let (name, mark) = one.split_at(one.len() - 1);
            columns[name[1..].parse::<usize>().unwrap()] = mark.as_bytes()[0];
        }
        let columns = String::from_utf8(columns.to_vec()).unwrap();
        text.push_str(&format!("/*{address:04x}*/ {code} ; // | 1  {columns} | 1 v |\n"));
        address += 16;
    }
    text
}

/// Address and verb of each hazard.
fn found(lines: &[&str]) -> Vec<String> {
    hazards(&listing(lines)).unwrap().iter().map(ToString::to_string).collect()
}

const LOAD: &str = "LDSM.16.M88.4 R4, [R0] | R0v R4^ R5^ R6^ R7^";
const PRODUCT: &str =
    "HGMMA.64x8x16.F32 R8, R4, gdesc[UR4], R8 | R4v R5v R6v R7v R8x R9x R10x R11x";
const LAST: &str =
    "HGMMA.64x8x16.F32 R8, R4, gdesc[UR4], R8, gsb0 | R4v R5v R6v R7v R8x R9x R10x R11x";
const DUMMY: &str = "HGMMA.64x8x16.F16 RZ, gdesc[URZ], RZ, !UPT, gsb0";
const WAIT_ALL: &str = "WARPGROUP.DEPBAR.LE gsb0, 0x0";
const WAIT_ONE: &str = "WARPGROUP.DEPBAR.LE gsb0, 0x1";
const READ_SUM: &str = "STS [R0], R8 | R0v R8v";

#[test]
fn the_kernel_of_today_is_right() {
    assert_eq!(hazards(ONE_COMMIT), Ok(Vec::new()));
}

#[test]
fn a_commit_in_each_path_overwrites_what_products_read() {
    let found = hazards(COMMIT_IN_EACH_PATH).unwrap();
    let text: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(
        text.contains(
            &"wgmma_gemm+0xe60: LDSM.16.M88.4 R56, [R10] writes R56 while HGMMA.64x32x16.F32 R40, \
              R56, gdesc[UR4].tnspB, R40 at 0xd30 may be pending"
                .to_owned()
        ),
        "{text:#?}"
    );
    // Sums are touched behind waits for all only.
    assert!(text.iter().all(|one| one.contains(" writes R5") || one.contains(" writes R6")));
}

#[test]
fn registers_of_their_own_may_stay_in_flight() {
    assert_eq!(hazards(REGISTERS_IN_USE), Ok(Vec::new()));
    // It is right by the wait for all but one group: one more in flight, and a buffer is loaded
    // early.
    let waits =
        REGISTERS_IN_USE.replace("WARPGROUP.DEPBAR.LE gsb0, 0x1", "WARPGROUP.DEPBAR.LE gsb0, 0x2");
    assert!(!hazards(&waits).unwrap().is_empty());
}

#[test]
fn a_wait_retires_all_but_the_latest_groups() {
    assert_eq!(found(&[LOAD, PRODUCT, LAST, WAIT_ALL, LOAD, READ_SUM]), [""; 0]);
    assert_eq!(found(&[LOAD, LAST, DUMMY, WAIT_ONE, LOAD]), [""; 0]);
    let early = found(&[LOAD, LAST, WAIT_ONE, LOAD]);
    assert_eq!(
        early,
        ["kernel+0x30: LDSM.16.M88.4 R4, [R0] writes R4 while HGMMA.64x8x16.F32 R8, R4, \
          gdesc[UR4], R8, gsb0 at 0x10 may be pending"]
    );
    let reads = found(&[LOAD, LAST, READ_SUM]);
    assert!(reads[0].contains("STS [R0], R8 reads R8 while"), "{reads:?}");
    // A group that nobody has closed is not waited for.
    assert_eq!(found(&[LOAD, PRODUCT, WAIT_ALL, LOAD]).len(), 1);
    // Reading what a product reads is harmless.
    assert_eq!(found(&[LOAD, LAST, "STS [R0], R4 | R0v R4v"]), [""; 0]);
}

#[test]
fn products_follow_each_other_onto_the_same_sums_alone() {
    assert_eq!(found(&[LOAD, PRODUCT, PRODUCT, LAST, WAIT_ALL]), [""; 0]);
    let shifted = "HGMMA.64x8x16.F32 R9, gdesc[UR4], R9, gsb0 | R9x R10x R11x R12x";
    assert_eq!(found(&[LOAD, LAST, shifted]).len(), 1);
    let of_sums = "HGMMA.64x8x16.F32 R12, R8, gdesc[UR4], R12, gsb0 | R8v R9v R12x R13x";
    assert!(found(&[LOAD, LAST, of_sums])[0].contains("reads R8"));
}

#[test]
fn what_is_predicated_is_certain_of_nothing() {
    assert_eq!(found(&[LOAD, LAST, "@P0 WARPGROUP.DEPBAR.LE gsb0, 0x0", LOAD]).len(), 1);
    let dummy = format!("@!P0 {DUMMY}");
    assert_eq!(found(&[LOAD, LAST, &dummy, WAIT_ONE, LOAD]).len(), 1);
    let load = format!("@P0 {LOAD}");
    assert!(found(&[LOAD, LAST, &load])[0].contains("LDSM"));
}

#[test]
fn loops_carry_products_to_their_start() {
    let body = |wait| [".L_0:", wait, LOAD, LAST, "@P0 BRA `(.L_0)", WAIT_ALL, READ_SUM];
    assert_eq!(found(&body(WAIT_ALL)), [""; 0]);
    assert_eq!(found(&body(WAIT_ONE)).len(), 1);
}

/// The least certain of all ways counts.
#[test]
fn ways_meet_with_what_any_of_them_leaves_pending() {
    let over = [LOAD, LAST, "@P0 BRA `(.L_0)", WAIT_ALL, ".L_0:", LOAD];
    assert_eq!(found(&over).len(), 1);
    let around =
        [LOAD, LAST, "BRA `(.L_1)", ".L_0:", LOAD, "EXIT", ".L_1:", WAIT_ALL, "BRA `(.L_0)"];
    assert_eq!(found(&around), [""; 0]);
    let never = [LOAD, LAST, WAIT_ALL, "EXIT", LAST, LOAD];
    assert_eq!(found(&never), [""; 0]);
    let uniform = [LOAD, LAST, "BRA UP0, `(.L_0)", LOAD, ".L_0:", "EXIT"];
    assert_eq!(found(&uniform).len(), 1);
}

#[test]
fn threads_that_have_parted_meet_where_bssy_says() {
    let met = ["BSSY B0, `(.L_0)", LOAD, LAST, WAIT_ALL, "BSYNC B0", ".L_0:", LOAD];
    assert_eq!(found(&met), [""; 0]);
    let far = ["BSSY B0, `(.L_0)", LOAD, LAST, "BSYNC B0", WAIT_ALL, "EXIT", ".L_0:", LOAD];
    assert_eq!(found(&far).len(), 1);
}

#[test]
fn functions_return_behind_their_calls() {
    let call = |wait| {
        [LOAD, LAST, "CALL.REL.NOINC `(f)", LOAD, "EXIT", "f:", wait, "RET.REL.NODEC R12 `(kernel)"]
    };
    // A call is not known to come back by its function alone, so what was pending before it counts.
    assert_eq!(found(&call(WAIT_ALL)).len(), 1);
    assert_eq!(found(&call("NOP")).len(), 1);
}

/// Nothing that is not understood passes.
#[test]
fn what_cannot_be_followed_is_an_error() {
    let error = |lines: &[&str]| hazards(&listing(lines)).unwrap_err();
    assert!(error(&[LAST, "WARPGROUP.DEPBAR.LE gsb1, 0x0"]).contains("unknown form"));
    assert!(error(&[LAST, &LAST.replace("gsb0", "gsb1")]).contains("not gsb0"));
    assert!(error(&[LAST, "BRA `(.L_9)"]).contains(".L_9, which is nowhere"));
    assert!(error(&[LAST, "BRX R2"]).contains("unnamed place"));
    assert!(error(&[LAST, "BSYNC B3"]).contains("no BSSY names"));
    assert!(error(&[]).contains("no instructions"));
    assert!(error(&["MOV R1, R2 | R1?"]).contains("cannot be read: /*0000*/ MOV"));
    let headless = listing(&[LAST]).replace('#', " ");
    assert!(hazards(&headless).unwrap_err().contains("cannot be read"));
    // Kernels without products have nothing to be wrong about.
    assert_eq!(found(&["BRX R2"]), [""; 0]);
}

/// Numbers of registers have up to three digits, one above the other.
#[test]
fn columns_are_numbered_by_their_header() {
    let wide =
        listing(&[LOAD, LAST, LOAD]).replace("// |    ", "// |    1111111111111111 |\n // |    ");
    let text = hazards(&wide).unwrap()[0].to_string();
    assert!(text.contains("writes R104"), "{text}");
}
