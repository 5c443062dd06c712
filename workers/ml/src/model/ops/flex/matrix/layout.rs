//! Sizes of tiles, packed blocks and panels.

/// Rows of a tile.
pub(super) const TILE_ROWS: usize = 8;
/// Vectors across a tile.
pub(super) const TILE_VECTORS: usize = 3;
/// `f32` lanes of the widest vector, AVX-512's.
pub(super) const MAX_LANES: usize = 16;
/// Columns of the widest tile.
pub(super) const MAX_TILE_COLUMNS: usize = TILE_VECTORS * MAX_LANES;
/// Elements of the inner dimension that are packed into one block; a panel of a block fits a core's L1 cache.
pub(super) const BLOCK_DEPTH: usize = 256;
/// Distance between packed rows: not a power of two, so that the rows of a tile map to different cache sets.
pub(super) const ROW_STRIDE: usize = BLOCK_DEPTH + 16;

/// One packed row of a block.
pub(super) type PackedRow = [f32; ROW_STRIDE];
