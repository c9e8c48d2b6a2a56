//! Tables of reports.

use comfy_table::{CellAlignment, Table, presets};
use voxtune_types::printable;

/// Where there is no value.
pub const NONE: &str = "–";

/// Columns as wide as their widest cell: texts to the left, numbers to the right.
/// Clouds and peers may be called anything, so every cell is made printable.
#[must_use]
pub fn table(titles: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    layout(titles, &printable_cells(rows))
}

/// The same on a page of this width. What does not fit side by side becomes, until it does:
///
/// 1. headings of rows that agree in them: the first columns, as far as they are texts
/// 2. pairs of titles and values, one row below the other
///
/// The last column, if it is a text such as an algorithm's name, may stick out: the printer of the
/// table breaks its line there.
#[must_use]
pub fn table_within(
    titles: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
    width: usize,
) -> String {
    let rows = printable_cells(rows);
    let whole = layout(titles, &rows);
    if fits(&whole, width) || titles.len() < 2 {
        return whole;
    }
    let is_text = |column: usize| !is_numeric(&rows, column);
    let texts = (0..titles.len() - 1).take_while(|&column| is_text(column)).count();
    let sticks_out = usize::from(is_text(titles.len() - 1));
    let fits_below = |headings: usize, sticks_out: usize| {
        let indent = if headings == 0 { 0 } else { INDENT };
        let within = headings..titles.len() - sticks_out;
        let cells: Vec<Vec<String>> = rows.iter().map(|row| row[within.clone()].to_vec()).collect();
        within.is_empty() || fits(&layout(&titles[within], &cells), width.saturating_sub(indent))
    };
    let headings = (0..=texts)
        .find(|&headings| fits_below(headings, 0))
        .or_else(|| (0..=texts).find(|&headings| fits_below(headings, sticks_out)));
    match headings {
        Some(headings) => below_headings(titles, &rows, headings),
        None => pairs(titles, &rows, texts, width),
    }
}

/// How far rows stand in below their heading.
const INDENT: usize = 2;

fn printable_cells(rows: impl IntoIterator<Item = Vec<String>>) -> Vec<Vec<String>> {
    let printable = |cell: String| printable(&cell).into_owned();
    rows.into_iter().map(|cells| cells.into_iter().map(printable).collect()).collect()
}

fn fits(text: &str, width: usize) -> bool {
    text.lines().all(|line| line.chars().count() <= width)
}

fn is_numeric(rows: &[Vec<String>], column: usize) -> bool {
    let is_number = |cell: &String| {
        // What begins with a number need not be one, such as a layer's channels.
        let digit = cell.starts_with(|first: char| first.is_ascii_digit()) && !cell.contains('→');
        digit || cell == NONE || cell.starts_with("NaN")
    };
    rows.iter().all(|row| is_number(&row[column]))
}

fn layout(titles: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(titles).add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if is_numeric(rows, index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}

/// Rows below the cells that they agree in.
fn below_headings(titles: &[&str], rows: &[Vec<String>], headings: usize) -> String {
    let indent = if headings == 0 { 0 } else { INDENT };
    let cells: Vec<Vec<String>> = rows.iter().map(|row| row[headings..].to_vec()).collect();
    let body = layout(&titles[headings..], &cells);
    let mut lines = body.lines();
    let mut text = String::new();
    let mut add = |indent: usize, line: &str| {
        text.extend(std::iter::repeat_n(' ', indent));
        text.push_str(line);
        text.push('\n');
    };
    if headings > 0 {
        add(0, &titles[..headings].join("  "));
    }
    add(indent, lines.next().unwrap_or_default());
    let mut last: &[String] = &[];
    for (row, line) in rows.iter().zip(lines) {
        let heading = &row[..headings];
        if heading != last {
            add(0, &heading.join("  "));
            last = heading;
        }
        add(indent, line);
    }
    text
}

/// Each row as its texts and, below them, as many pairs of title and value as fit a line.
fn pairs(titles: &[&str], rows: &[Vec<String>], texts: usize, width: usize) -> String {
    let mut text = titles[..texts].join("  ") + "\n";
    for row in rows {
        text.push_str(&row[..texts].join("  "));
        text.push('\n');
        let mut line = String::new();
        for (title, value) in titles[texts..].iter().zip(&row[texts..]) {
            let pair = format!("  {title} {value}");
            if !line.is_empty() && line.chars().count() + pair.chars().count() > width {
                text.push_str(&line);
                text.push('\n');
                line.clear();
            }
            line.push_str(&pair);
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
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

    fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
        cells.map(str::to_owned).to_vec()
    }

    #[test]
    fn texts_lie_to_the_left_and_numbers_to_the_right() {
        let rows = [row(["1", "10.5 ms", "a"]), row(["a long name", NONE, "1"])];
        insta::assert_snapshot!(table(&["name", "time", "text"], rows), @"
        name            time  text
        1            10.5 ms  a
        a long name        –  1
        ");
        assert_eq!(table(&["name", "time"], []), "name  time\n");
    }

    #[test]
    fn what_does_not_fit_a_page_stands_below_its_heading() {
        let titles = ["cloud", "layer", "best ms", "default ms", "algorithm"];
        let rows = || {
            [
                row(["street", "32→64", "0.25", "0.5", "tiled:rows=128:cols=64"]),
                row(["street", "32→64", "0.5", "0.5", "plain"]),
                row(["street", "64→64", "10.5", NONE, "plain"]),
            ]
        };
        let wide = table_within(&titles, rows(), 80);
        assert_eq!(wide, table(&titles, rows()));
        // The last column may stick out.
        insta::assert_snapshot!(table_within(&titles, rows(), 40), @"
        cloud   layer  best ms  default ms  algorithm
        street  32→64     0.25         0.5  tiled:rows=128:cols=64
        street  32→64      0.5         0.5  plain
        street  64→64     10.5           –  plain
        ");
        insta::assert_snapshot!(table_within(&titles, rows(), 30), @"
        cloud
          layer  best ms  default ms  algorithm
        street
          32→64     0.25         0.5  tiled:rows=128:cols=64
          32→64      0.5         0.5  plain
          64→64     10.5           –  plain
        ");
        insta::assert_snapshot!(table_within(&titles, rows(), 23), @"
        cloud  layer
          best ms  default ms  algorithm
        street  32→64
             0.25         0.5  tiled:rows=128:cols=64
              0.5         0.5  plain
        street  64→64
             10.5           –  plain
        ");
    }

    #[test]
    fn many_numbers_stand_behind_their_titles() {
        let titles = ["network", "cloud", "first ms", "wall ms", "p95", "largest", "launches"];
        let rows = [row(["spunet", "street", "12.5", "0.25", "0.5", "1.5", "128"])];
        let text = table_within(&titles, rows, 40);
        insta::assert_snapshot!(text, @"
        network  cloud
        spunet  street
          first ms 12.5  wall ms 0.25  p95 0.5
          largest 1.5  launches 128
        ");
    }
}
