//! How the cubes of a stack divide a product.

use crate::prepack::TILE_COLS;

/// A cube's share of a product of one token: strips of 16 weight rows, whose columns its warps divide.
///
/// Strip `i` of cube `c` of `C` is `c + i·C`. Group `g` of `G` groups of warps multiplies strips `g, g + G, …`;
/// warp `w` of `W` of a group takes tiles `w, w + W, …` of 128 columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Share {
    /// Strips of the matrix; of a pair of matrices, those of one.
    pub strips: usize,
    /// Matrices, one above the other: 2 for gate and up, whose strips of one number go to one cube.
    pub matrices: usize,
    /// Column tiles.
    pub tiles: usize,
    /// Strips of a cube, of all matrices: those past the end are skipped.
    pub per_cube: usize,
    /// Groups of warps.
    pub groups: usize,
    /// Warps of a group.
    pub warps: usize,
    /// Whether a layer's words are copied to shared memory while the layer before it runs. Otherwise warps load
    /// them to registers when their phase begins.
    pub staged: bool,
}

impl Share {
    /// Divides `matrices` matrices of `rows` rows each between `cubes` cubes of `warps` warps.
    pub fn new(rows: usize, cols: usize, matrices: usize, cubes: usize, warps: usize) -> Self {
        let (strips, tiles) = (rows.div_ceil(16), cols.div_ceil(TILE_COLS));
        let per_cube = matrices * strips.div_ceil(cubes);
        let of = |groups: usize| Self {
            strips,
            matrices,
            tiles,
            per_cube,
            groups,
            warps: warps / groups,
            staged: false,
        };
        // Of two equal ones, that whose warps multiply two strips by the codes that they load.
        let groups = [1, 2, 4, 8]
            .into_iter()
            .filter(|&g| warps.is_multiple_of(g) && g <= per_cube);
        let best = groups
            .map(of)
            .min_by_key(|share| (share.slots(), share.per_group().abs_diff(2)));
        best.unwrap_or(of(1))
    }

    /// Strips of a group.
    pub const fn per_group(&self) -> usize {
        self.per_cube.div_ceil(self.groups)
    }

    /// Column tiles of a warp.
    pub const fn rounds(&self) -> usize {
        self.tiles.div_ceil(self.warps)
    }

    /// Words of shared memory for the words of a layer.
    pub const fn staged_words(&self) -> usize {
        match self.staged {
            true => self.slots() * 32 * self.groups * self.warps * 4,
            false => 0,
        }
    }

    /// Accumulators of a strip: products that wait for each other take longer than those that do not.
    pub const fn chains(&self) -> usize {
        match self.per_group() {
            1 => 4,
            2 => 2,
            _ => 1,
        }
    }

    /// Pieces of 16 rows and 128 columns that a warp multiplies.
    pub const fn slots(&self) -> usize {
        self.per_group() * self.rounds()
    }

    /// Pairs of rows of one matrix that a cube has.
    pub const fn pairs(&self) -> usize {
        8 * self.per_cube / self.matrices
    }

    /// Words of shared memory for the sums of a cube's warps.
    pub const fn sum_words(&self) -> usize {
        self.per_cube * self.warps * 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_has_one_warp() {
        for (rows, cols, matrices) in [
            (3840, 2560, 1),
            (2560, 6912, 1),
            (6912, 2560, 2),
            (64, 128, 1),
        ] {
            for (cubes, warps) in [
                (132, 16),
                (114, 16),
                (108, 16),
                (46, 16),
                (8, 16),
                (1, 16),
                (3, 8),
            ] {
                let share = Share::new(rows, cols, matrices, cubes, warps);
                let mut seen = vec![0; share.strips * matrices * share.tiles];
                for cube in 0..cubes {
                    for warp in 0..share.groups * share.warps {
                        let (group, member) = (warp / share.warps, warp % share.warps);
                        for slot in 0..share.slots() {
                            let (round, j) = (slot / share.per_group(), slot % share.per_group());
                            let (i, tile) =
                                (group + share.groups * j, member + round * share.warps);
                            let strip = cube + i / matrices * cubes;
                            if i < share.per_cube && strip < share.strips && tile < share.tiles {
                                seen[(i % matrices * share.strips + strip) * share.tiles + tile] +=
                                    1;
                            }
                        }
                    }
                }
                assert!(seen.iter().all(|&n| n == 1), "{share:?} of {cubes}");
            }
        }
    }

    #[test]
    fn the_products_of_bitnet_2b_are_balanced() {
        let slots = |rows, cols, matrices| Share::new(rows, cols, matrices, 132, 16).slots();
        let found = [
            (3840, 2560, 1),
            (2560, 2560, 1),
            (6912, 2560, 2),
            (2560, 6912, 1),
        ];
        assert_eq!(
            found.map(|(rows, cols, n)| slots(rows, cols, n)),
            [3, 3, 10, 7]
        );
    }
}
