//! Arithmetic that compiles to vector instructions, and sums of a fixed order.
//!
//! Rule: a sum runs in [`LANES`] lanes whatever the machine's vectors are, and no product is fused with a sum,
//! so that the same numbers come out of every x86 and Arm machine. Functions are inlined into their callers,
//! which run inside [`vectorised`].

/// Lanes of a sum: one AVX-512 register, two of AVX2.
const LANES: usize = 16;

/// Runs `kernel` compiled for the best vector instructions that the machine has. Write the closure with
/// `#[inline(always)]`, else it may be compiled for the least of them.
#[inline(always)]
pub(crate) fn vectorised<R>(kernel: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(kernel)
}

/// e^x to within 2 units in the last place (Cephes' polynomial, S. L. Moshier); beyond ±87 that of ±87.
/// Not-a-number stays.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// 1.5 · 2²³: adding it rounds to an integer, which then stands in the lowest bits.
    const ROUNDER: f32 = 12_582_912.0;
    /// ln 2 in two pieces, the first with few digits.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let x = x.clamp(-87.0, 87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let whole = shifted - ROUNDER;
    let rest = x - whole * LN_2[0] - whole * LN_2[1];
    let mut power = 1.987_569_1e-4;
    power = power * rest + 1.398_2e-3;
    power = power * rest + 8.333_452e-3;
    power = power * rest + 4.166_579_6e-2;
    power = power * rest + 1.666_666_5e-1;
    power = power * rest + 0.5;
    let power = power * rest * rest + rest + 1.0;
    // 2^whole, put together from its exponent.
    power * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Folds `terms` of `x` lane by lane, then the lanes.
macro_rules! folded {
    ($start:expr, $first:ident, $($other:ident),*; $term:expr; $fold:expr) => {{
        let mut lanes = [$start; LANES];
        let fold = $fold;
        let term = $term;
        let whole = $first.len() / LANES * LANES;
        let (first, first_rest) = $first.split_at(whole);
        $(let ($other, other_rest) = $other[..$first.len()].split_at(whole);)*
        $(let mut others = $other.chunks_exact(LANES);)*
        for first in first.chunks_exact(LANES) {
            $(let Some(other) = others.next() else { break };)*
            for lane in 0..LANES {
                lanes[lane] = fold(lanes[lane], term(first[lane] $(, { let $other = &other; $other[lane] })*));
            }
        }
        for lane in 0..first_rest.len() {
            lanes[lane] = fold(lanes[lane], term(first_rest[lane] $(, { let $other = &other_rest; $other[lane] })*));
        }
        lanes.into_iter().fold($start, fold)
    }};
}

/// Σ x.
#[inline(always)]
pub(crate) fn sum(x: &[f32]) -> f32 {
    folded!(0.0, x,; |x: f32| x; |sum: f32, term: f32| sum + term)
}

/// Σ (x - centre)².
#[inline(always)]
pub(crate) fn squares(x: &[f32], centre: f32) -> f32 {
    folded!(0.0, x,; |x: f32| (x - centre) * (x - centre); |sum: f32, term: f32| sum + term)
}

/// Σ x · y.
#[inline(always)]
pub(crate) fn dot(x: &[f32], y: &[f32]) -> f32 {
    folded!(0.0, x, y; |x: f32, y: f32| x * y; |sum: f32, term: f32| sum + term)
}

/// Σ x · (y - centre).
#[inline(always)]
pub(crate) fn dot_centred(x: &[f32], y: &[f32], centre: f32) -> f32 {
    folded!(0.0, x, y; |x: f32, y: f32| x * (y - centre); |sum: f32, term: f32| sum + term)
}

/// The greatest of `x`, and -∞ of nothing; not-a-number is passed over.
#[inline(always)]
pub(crate) fn greatest(x: &[f32]) -> f32 {
    folded!(f32::NEG_INFINITY, x,; |x: f32| x; |greatest: f32, term: f32| if term > greatest { term } else { greatest })
}

/// What [`softmax`] divided by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Softmax {
    /// The greatest scaled score.
    pub(crate) greatest: f32,
    /// Σ e^(scaled score - greatest).
    pub(crate) sum: f32,
}

/// `x` ← softmax(`x · scale`) (`scale` above 0). Not-a-number anywhere makes all of them so.
#[inline(always)]
pub(crate) fn softmax(x: &mut [f32], scale: f32) -> Softmax {
    let greatest = greatest(x) * scale;
    for x in &mut *x {
        *x = exp(*x * scale - greatest);
    }
    let sum = sum(x);
    let share = 1.0 / sum;
    for x in &mut *x {
        *x *= share;
    }
    Softmax { greatest, sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_right_to_the_last_digits() {
        for step in -870_000..=870_000 {
            let x = step as f32 * 1e-4;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) / exact - 1.0).abs();
            assert!(error < 2.4e-7, "e^{x} is off by {error}");
        }
        assert!(exp(f32::NAN).is_nan());
        assert_eq!(exp(f32::NEG_INFINITY), exp(-87.0));
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn sums_take_every_number_once() {
        for length in [0, 1, 15, 16, 17, 40] {
            let x: Vec<f32> = (0..length).map(|number| number as f32).collect();
            let sum_of = |term: fn(f32) -> f32| x.iter().copied().map(term).sum::<f32>();
            assert_eq!(sum(&x), sum_of(|x| x));
            assert_eq!(dot(&x, &x), sum_of(|x| x * x));
            assert_eq!(dot_centred(&x, &x, 2.0), sum_of(|x| x * (x - 2.0)));
            assert_eq!(squares(&x, 1.0), sum_of(|x| (x - 1.0) * (x - 1.0)));
            let last = length
                .checked_sub(1)
                .map_or(f32::NEG_INFINITY, |last| last as f32);
            assert_eq!(greatest(&x), last);
        }
    }

    #[test]
    fn softmax_is_of_all_or_nothing() {
        let mut x = [1.0, 3.0, 2.0];
        softmax(&mut x, 0.5);
        assert!((x.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((x[1] / x[0] - 1f32.exp()).abs() < 1e-5);
        let mut x = [1.0, f32::NAN, 2.0];
        softmax(&mut x, 1.0);
        assert!(x.iter().all(|x| x.is_nan()));
    }
}
