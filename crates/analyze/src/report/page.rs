//! A report as one HTML file.

use super::Report;

const HTML: &str = include_str!("page/page.html");
const STYLE: &[&str] = &[
    include_str!("page/theme.css"),
    include_str!("page/layout.css"),
    include_str!("page/figures.css"),
];
const SCRIPT: &[&str] = &[
    include_str!("page/base.js"),
    include_str!("page/charts.js"),
    include_str!("page/table.js"),
    include_str!("page/heat_map.js"),
    include_str!("page/caches.js"),
    include_str!("page/keys.js"),
    include_str!("page/comparisons.js"),
    include_str!("page/versions.js"),
    include_str!("page/page.js"),
];

/// The page: everything is in it, and it fetches nothing.
#[must_use]
pub fn page(report: &Report) -> String {
    let data = data(report);
    let parts = [("STYLE", STYLE.concat()), ("DATA", data), ("SCRIPT", SCRIPT.concat())];
    // Each place is filled once, from the first to the last, so that no text of a report is taken
    // for a place.
    let mut page = String::new();
    let mut rest = HTML;
    for (name, text) in parts {
        let (before, after) =
            rest.split_once(&format!("{{{{{name}}}}}")).expect("the page has its places in order");
        page.push_str(before);
        page.push_str(&text);
        rest = after;
    }
    page.push_str(rest);
    page
}

/// The report as JSON that no script element ends in, whatever its texts are.
///
/// In JSON `<`, `>` and `&` stand in strings alone, where they may be written as escapes. So may
/// the two ends of line that JSON allows in a string and scripts once did not.
fn data(report: &Report) -> String {
    let json = serde_json::to_string(report).expect("a report is what JSON can hold");
    let mut safe = String::with_capacity(json.len());
    for char in json.chars() {
        match char {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                safe.push_str(&format!("\\u{:04x}", u32::from(char)));
            }
            char => safe.push(char),
        }
    }
    safe
}
