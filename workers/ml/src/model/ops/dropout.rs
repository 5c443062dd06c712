//! Dropout (Srivastava et al., 2014) whose mask is a function of a key and the index of an element.
//!
//! Rule: the mask is never stored; backward passes recompute it. It comes from a counter-based generator,
//! Threefry-2x32 with 13 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), so it is the
//! same for every number of threads, every backend and every machine.

/// Elements are processed in groups: the first half uses the generator's first words, the other half its second
/// words.
pub(crate) const GROUP: usize = 32;
pub(crate) const HALF: usize = GROUP / 2;

/// The dropout of one matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Probability that an element is dropped, at least 0 and below 1; the others are scaled by `1 / (1 -
    /// probability)`.
    pub probability: f64,
    /// Key of the mask; matrices with the same key have the same mask.
    pub key: u64,
}

impl Dropout {
    /// Factor of the elements that are not dropped.
    #[must_use]
    pub fn scale(&self) -> f32 {
        (1.0 / (1.0 - self.probability)) as f32
    }

    /// Random words below it drop their element.
    #[must_use]
    pub fn threshold(&self) -> u32 {
        (self.probability * 4_294_967_296.0) as u32
    }

    /// The generator's key.
    #[must_use]
    pub fn words(&self) -> [u32; 2] {
        [self.key as u32, (self.key >> 32) as u32]
    }

    /// Fills `factors` with the factors of the elements from index `start`: 0 or [`Dropout::scale`].
    #[inline(always)]
    pub fn factors(&self, start: usize, factors: &mut [f32]) {
        let (threshold, scale, key) = (self.threshold(), self.scale(), self.words());
        let (mut group, mut skip) = (start / GROUP, start % GROUP);
        let mut rest = factors;
        let mut whole = [0f32; GROUP];
        while !rest.is_empty() {
            words(key, group as u64, threshold, scale, &mut whole);
            let count = (GROUP - skip).min(rest.len());
            let (now, later) = std::mem::take(&mut rest).split_at_mut(count);
            now.copy_from_slice(&whole[skip..skip + count]);
            (rest, group, skip) = (later, group + 1, 0);
        }
    }
}

/// The factors of one group.
#[inline(always)]
fn words(key: [u32; 2], group: u64, threshold: u32, scale: f32, factors: &mut [f32; GROUP]) {
    let base = group * HALF as u64;
    let (low, high) = factors.split_at_mut(HALF);
    for (lane, (low, high)) in low.iter_mut().zip(high).enumerate() {
        // `base` is a multiple of HALF, so adding the lane never carries.
        let [first, second] = threefry(key, [base as u32 | lane as u32, (base >> 32) as u32]);
        *low = if first < threshold { 0.0 } else { scale };
        *high = if second < threshold { 0.0 } else { scale };
    }
}

/// Threefry-2x32-13.
#[inline(always)]
fn threefry(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    let keys = [key[0], key[1], 0x1BD1_1BDA ^ key[0] ^ key[1]];
    let [mut x, mut y] = [counter[0].wrapping_add(keys[0]), counter[1].wrapping_add(keys[1])];
    macro_rules! rounds {
        ($($turn:literal)*) => {$(
            x = x.wrapping_add(y);
            y = y.rotate_left($turn) ^ x;
        )*};
    }
    macro_rules! inject {
        ($number:literal) => {
            x = x.wrapping_add(keys[$number % 3]);
            y = y.wrapping_add(keys[($number + 1) % 3].wrapping_add($number));
        };
    }
    rounds!(13 15 26 6);
    inject!(1);
    rounds!(17 29 16 24);
    inject!(2);
    rounds!(13 15 26 6);
    inject!(3);
    rounds!(17);
    [x, y]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test vectors of the authors' library Random123.
    #[test]
    fn the_generator_gives_the_known_answers() {
        assert_eq!(threefry([0, 0], [0, 0]), [0x9d1c_5ec6, 0x8bd5_0731]);
        assert_eq!(
            threefry([u32::MAX, u32::MAX], [u32::MAX, u32::MAX]),
            [0xfd36_d048, 0x2d17_272c]
        );
        assert_eq!(
            threefry([0x1319_8a2e, 0x0370_7344], [0x243f_6a88, 0x85a3_08d3]),
            [0xba3e_4725, 0xf27d_669e]
        );
    }

    #[test]
    fn any_piece_of_the_mask_is_a_piece_of_the_whole() {
        let dropout = Dropout {
            probability: 0.3,
            key: 0xdead_beef_0123_4567,
        };
        let mut whole = vec![0.0; 1000];
        dropout.factors(0, &mut whole);
        for (start, end) in [(0, 1), (31, 33), (5, 999), (64, 96), (999, 1000)] {
            let mut piece = vec![9.0; end - start];
            dropout.factors(start, &mut piece);
            assert_eq!(piece, whole[start..end]);
        }
    }

    #[test]
    fn the_asked_share_is_dropped_and_keys_differ() {
        let mask = |probability, key| {
            let mut mask = vec![0.0; 100_000];
            Dropout { probability, key }.factors(0, &mut mask);
            mask
        };
        for probability in [0.0, 0.05, 0.5] {
            let mask = mask(probability, 7);
            let apply_dropout = mask.iter().filter(|factor| **factor == 0.0).count() as f64 / 1e5;
            assert!((apply_dropout - probability).abs() < 0.006, "{apply_dropout}");
            let mean = mask.iter().sum::<f32>() / 1e5;
            assert!((mean - 1.0).abs() < 0.02, "{mean}");
        }
        assert_ne!(mask(0.5, 7), mask(0.5, 8));
        assert_ne!(mask(0.5, 7), mask(0.5, 7 << 32));
    }
}
