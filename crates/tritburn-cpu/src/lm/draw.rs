//! Random choice of the next token.

use super::argmax::{choose, first_largest};
use crate::error::{CpuError, area, expect_len};
use crate::parallel;

/// `ids[t]`: a column drawn from `softmax(logits[t] / temperature)`, by the Gumbel-max trick (Gumbel 1954;
/// Maddison, Tarlow and Minka, arXiv 1411.0030): that of the largest `logit + temperature · g` with Gumbel noise
/// `g`, the lowest if several. A row's noise depends on its seed and position alone. A row that holds NaN gives
/// `columns`, which is no index.
///
/// `draws` has three words for each row: the bits of its temperature, an f32 (0 takes the largest logit), and two
/// words of seed. `logits` is `[T, columns]`, `positions` `[T]`.
///
/// # Errors
/// [`CpuError::EmptyRow`] if `columns` is zero, [`CpuError::Length`] if an operand has another length,
/// [`CpuError::TooLarge`] for indices that do not fit u32.
///
/// # Examples
///
/// ```
/// let logits = [0.5, 2.0, 1.0, 0.5, 2.0, 1.0];
/// // The largest of the first row; one of the second, at temperature 1.
/// let draws = [0, 0, 0, 1.0f32.to_bits(), 7, 0];
/// let mut ids = [0; 2];
/// tritburn_cpu::draw(&logits, 3, &draws, &[0, 0], &mut ids)?;
/// assert_eq!(ids[0], 1);
/// assert!(ids[1] < 3);
/// # Ok::<(), tritburn_cpu::CpuError>(())
/// ```
pub fn draw(
    logits: &[f32],
    columns: usize,
    draws: &[u32],
    positions: &[u32],
    ids: &mut [u32],
) -> Result<(), CpuError> {
    let rows = ids.len();
    expect_len("draws", draws.len(), area(rows, 3)?)?;
    expect_len("positions", positions.len(), rows)?;
    let parallel = parallel::worth_it(logits.len().saturating_mul(8));
    choose(logits, columns, parallel, ids, |row, logits| {
        let draw = &draws[3 * row..][..3];
        let temperature = f32::from_bits(draw[0]);
        let logits = logits.iter().copied();
        if temperature > 0.0 {
            let key = row_key(draw[1], draw[2], positions[row]);
            let noise = (0..).map(|column| temperature * gumbel(key, column));
            first_largest(logits.zip(noise).map(|(logit, noise)| logit + noise))
        } else {
            first_largest(logits)
        }
    })
}

/// A word that depends on all bits of `x` (the function `lowbias32` of Chris Wellons' hash prospector).
fn mixed(x: u32) -> u32 {
    let a = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
    let b = (a ^ (a >> 15)).wrapping_mul(0x846C_A68B);
    b ^ (b >> 16)
}

/// What the noise of a row depends on.
fn row_key(low: u32, high: u32, position: u32) -> u32 {
    mixed(position ^ mixed(low ^ mixed(high)))
}

/// Standard Gumbel noise of a column, `-ln(-ln u)` for a uniform u of 23 bits between 0 and 1.
fn gumbel(key: u32, column: u32) -> f32 {
    let word = mixed(mixed(column ^ key).wrapping_add(key));
    let uniform = ((word >> 9) as f32 + 0.5) * (1.0 / 8_388_608.0);
    -(-uniform.ln()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_draw_by_themselves_and_as_often_as_likely() {
        let (logits, temperature, rows) = ([0.0f32, 1.0, 2.0, f32::NEG_INFINITY], 0.7f32, 20_000);
        let all: Vec<f32> = (0..rows).flat_map(|_| logits).collect();
        let draws: Vec<u32> = (0..rows)
            .flat_map(|_| [temperature.to_bits(), 3, 4])
            .collect();
        let positions: Vec<u32> = (0..rows as u32).collect();
        let mut ids = vec![0; rows];
        draw(&all, 4, &draws, &positions, &mut ids).unwrap();
        let weights = logits.map(|logit| f64::from(logit / temperature).exp());
        for (id, weight) in weights.into_iter().enumerate() {
            let count = ids.iter().filter(|&&drawn| drawn == id as u32).count() as f64;
            let expected = weight / weights.iter().sum::<f64>() * rows as f64;
            assert!(
                (count - expected).abs() <= 5.0 * expected.sqrt(),
                "{id}: {count}, {expected}"
            );
        }
        let mut alone = [0];
        for row in [0, 17, rows - 1] {
            draw(&logits, 4, &draws[..3], &positions[row..=row], &mut alone).unwrap();
            assert_eq!(alone[0], ids[row]);
        }
    }

    #[test]
    fn the_largest_and_what_is_no_number() {
        let logits = [1.0, 3.0, 3.0, 0.0, f32::NAN, 9.0];
        let mut ids = [7; 2];
        let hot = 5.0f32.to_bits();
        draw(&logits, 3, &[0, 1, 2, hot, 1, 2], &[4, 4], &mut ids).unwrap();
        assert_eq!(ids, [1, 3]);
        let error = draw(&logits, 3, &[0; 5], &[4, 4], &mut ids);
        assert!(matches!(error, Err(CpuError::Length { .. })), "{error:?}");
    }
}
