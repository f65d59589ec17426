//! The rows for people.

use comfy_table::{Table, presets};

use crate::row::Row;

/// Rows as a Markdown table, one column for each peer that any row has.
pub fn table(rows: &[Row]) -> String {
    let mut peers: Vec<&str> = rows
        .iter()
        .flat_map(|row| row.peers_us.keys().map(String::as_str))
        .collect();
    peers.sort_unstable();
    peers.dedup();
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let fixed = [
        "suite", "op", "format", "x", "tokens", "out x in", "kernel", "us", "+-", "GB/s", "TOPS",
    ];
    let header = fixed.into_iter().map(String::from);
    let peer_columns = peers.iter().map(|peer| format!("{peer} us"));
    table.set_header(header.chain(peer_columns).chain(["speed-up".into()]));
    for row in rows {
        let cells = [
            row.suite.clone(),
            row.op.clone(),
            row.format.clone(),
            row.activations.clone(),
            row.m.to_string(),
            format!("{} x {}", row.n, row.k),
            row.kernel_name().to_string(),
            format!("{:.2}", row.us),
            format!("{:.2}", row.spread_us),
            format!("{:.0}", row.weight_bytes_per_s * 1e-9),
            format!("{:.3}", row.tops),
        ];
        let times = peers.iter().map(|peer| {
            row.peers_us
                .get(*peer)
                .map_or("-".into(), |us| format!("{us:.1}"))
        });
        let speed_up = row
            .dense_us()
            .map_or("-".into(), |dense| format!("{:.2}", dense / row.us));
        table.add_row(cells.into_iter().chain(times).chain([speed_up]));
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::table;
    use crate::row::tests::row;

    #[test]
    fn a_peer_that_one_row_lacks_leaves_a_dash() {
        let mut rows = vec![row(1, 64, 10.0), row(2, 64, 40.0)];
        rows[1].peers_us.remove("cublas_bf16");
        let text = table(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[0].contains("burn_dense_bf16 us") && lines[0].contains("cublas_bf16 us"));
        assert!(lines[2].contains("2.00") && !lines[2].contains(" - "));
        assert!(lines[3].contains(" - ") && lines[3].contains("0.75"));
    }
}
