//! Cosines and sines of rotary positions for one forward pass.
//!
//! Rule: they depend on the positions alone and are computed once per pass, for all blocks.

use burn::tensor::{Tensor, backend::Backend};

use super::config::rope::Rope;
use crate::parameters::matrix;

/// Cosines and sines of the positions of `n` tokens, each `[n, size / 2]`.
#[derive(Clone, Debug)]
pub(super) struct Rotation<B: Backend> {
    pub(super) cosines: Tensor<B, 2>,
    pub(super) sines: Tensor<B, 2>,
}

impl<B: Backend> Rotation<B> {
    /// The rotation of heads of `size` elements at `positions`.
    pub(super) fn new(rope: &Rope, size: usize, positions: &[u32], device: &B::Device) -> Self {
        let [cosines, sines] = angles(rope, size, positions);
        let shape = [positions.len(), size / 2];
        Self {
            cosines: matrix(cosines, shape, device),
            sines: matrix(sines, shape, device),
        }
    }
}

/// Cosines and sines, row by row.
fn angles(rope: &Rope, size: usize, positions: &[u32]) -> [Vec<f32>; 2] {
    let (first, last) = match (positions.iter().min(), positions.iter().max()) {
        (Some(first), Some(last)) => (*first, *last),
        _ => return [Vec::new(), Vec::new()],
    };
    let frequencies = rope.frequencies(size, last as usize + 1);
    let attention_factor = rope.attention_factor();
    let turned = |position: u32, turn: fn(f32) -> f32| -> Vec<f32> {
        let angle = |frequency: &f32| turn(position as f32 * frequency) * attention_factor;
        frequencies.iter().map(angle).collect()
    };
    [f32::cos as fn(f32) -> f32, f32::sin].map(|turn| {
        // The rows of a batch share most positions, so each angle is computed once where that is less work.
        if ((last - first) as usize) < positions.len() {
            let table: Vec<Vec<f32>> = (first..=last).map(|position| turned(position, turn)).collect();
            positions
                .iter()
                .flat_map(|position| table[(position - first) as usize].iter().copied())
                .collect()
        } else {
            positions
                .iter()
                .flat_map(|position| turned(*position, turn))
                .collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::rope::Scaling;

    #[test]
    fn shared_and_scattered_positions_have_the_same_angles() {
        let rope = Rope {
            base: 100.0,
            scaling: Scaling::None,
        };
        let [shared, _] = angles(&rope, 4, &[3, 4, 5, 3, 4, 5]);
        let [scattered, sines] = angles(&rope, 4, &[5, 3000]);
        assert_eq!(shared[4..6], scattered[..2]);
        assert!((sines[2] - 3000f32.sin()).abs() < 1e-6);
        assert_eq!(angles(&rope, 4, &[]), [Vec::<f32>::new(), Vec::new()]);
    }
}
