//! Tables of reports.

use comfy_table::{CellAlignment, Table, presets};
use voxtune_types::printable;

/// Where there is no value.
pub const NONE: &str = "–";

/// Columns as wide as their widest cell: the first and texts to the left, numbers to the right.
/// Clouds and peers may be called anything, so every cell is made printable.
#[must_use]
pub fn table(titles: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let printable = |cell: String| printable(&cell).into_owned();
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|cells| cells.into_iter().map(printable).collect()).collect();
    let is_number = |cell: &String| {
        let digit = cell.starts_with(|first: char| first.is_ascii_digit());
        digit || cell == NONE || cell.starts_with("NaN")
    };
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(titles).add_rows(&rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if index > 0 && rows.iter().all(|row| is_number(&row[index])) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f19_names_in_cells_cannot_forge_rows() {
        let rows = [vec!["ev\u{1b}[31mil\nforged".to_owned(), "1".to_owned()]];
        let text = table(&["cloud", "ms"], rows);
        assert_eq!(text.lines().nth(1), Some(r"ev\u{1b}[31mil\nforged   1"), "{text}");
    }

    #[test]
    fn texts_lie_to_the_left_and_numbers_to_the_right() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["1", "10.5 ms", "a"]), row(["a long name", NONE, "1"])];
        insta::assert_snapshot!(table(&["name", "time", "text"], rows), @"
        name            time  text
        1            10.5 ms  a
        a long name        –  1
        ");
        assert_eq!(table(&["name", "time"], []), "name  time\n");
    }
}
