//! Vectorised arithmetic, and sums with a fixed order.
//!
//! Rule: sums always have [`LANES`] lanes, whatever the width of the machine's vectors, and multiplication and
//! addition are never fused, so results are identical on every x86 and Arm machine. The functions are inlined into
//! their callers, which run inside [`vectorized`].

/// Lanes of a sum: one AVX-512 register, two of AVX2.
const LANES: usize = 16;

/// Runs `kernel` with the best vector instructions of the machine. The closure needs `#[inline(always)]`, or it may
/// be compiled without them.
#[inline(always)]
pub(crate) fn vectorized<R>(kernel: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(kernel)
}

/// e^x to within 2 units in the last place (polynomial of Cephes, S. L. Moshier); `x` is clamped to ±87. NaN
/// propagates.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// 1.5 · 2²³: adding it rounds to an integer, which is then in the lowest bits.
    const ROUNDER: f32 = 12_582_912.0;
    /// ln 2 as the sum of two numbers, of which the first has few digits.
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
    // 2^whole, assembled from its exponent.
    power * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Folds `term` of each element per lane, then the lanes.
#[inline(always)]
fn fold_lanes(x: &[f32], start: f32, term: impl Fn(f32) -> f32, fold: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let whole = x.chunks_exact(LANES);
    let rest = whole.remainder();
    for x in whole {
        for (lane, x) in lanes.iter_mut().zip(x) {
            *lane = fold(*lane, term(*x));
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = fold(*lane, term(*x));
    }
    lanes.into_iter().fold(start, fold)
}

/// Σ `term` of each pair, per lane.
#[inline(always)]
fn sum_lanes(x: &[f32], y: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (whole_x, whole_y) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let rest = whole_x.remainder().iter().zip(whole_y.remainder());
    for (x, y) in whole_x.zip(whole_y) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += term(*x, *y);
        }
    }
    for (lane, (x, y)) in lanes.iter_mut().zip(rest) {
        *lane += term(*x, *y);
    }
    lanes.into_iter().sum()
}

/// Σ x.
#[inline(always)]
pub(crate) fn sum(x: &[f32]) -> f32 {
    fold_lanes(x, 0.0, |x| x, |sum, term| sum + term)
}

/// Σ (x - center)².
#[inline(always)]
pub(crate) fn sum_squared_deviations(x: &[f32], center: f32) -> f32 {
    fold_lanes(x, 0.0, |x| (x - center) * (x - center), |sum, term| sum + term)
}

/// Σ x · y.
#[inline(always)]
pub(crate) fn dot(x: &[f32], y: &[f32]) -> f32 {
    sum_lanes(x, y, |x, y| x * y)
}

/// Σ x · (y - center).
#[inline(always)]
pub(crate) fn dot_centered(x: &[f32], y: &[f32], center: f32) -> f32 {
    sum_lanes(x, y, |x, y| x * (y - center))
}

/// The maximum of `x`, or -∞ if it is empty; NaN is ignored.
#[inline(always)]
pub(crate) fn max_value(x: &[f32]) -> f32 {
    fold_lanes(
        x,
        f32::NEG_INFINITY,
        |x| x,
        |max_value, x| if x > max_value { x } else { max_value },
    )
}

/// Statistics of a [`softmax`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct SoftmaxStats {
    /// The maximum of the scaled scores.
    pub(crate) max_value: f32,
    /// Σ e^(scaled score - maximum).
    pub(crate) sum: f32,
}

/// Replaces `x` by softmax(`x · scale`), where `scale` is positive. A NaN makes all elements NaN.
#[inline(always)]
pub(crate) fn softmax(x: &mut [f32], scale: f32) -> SoftmaxStats {
    let max_value = max_value(x) * scale;
    for x in &mut *x {
        *x = exp(*x * scale - max_value);
    }
    let sum = sum(x);
    let share = 1.0 / sum;
    for x in &mut *x {
        *x *= share;
    }
    SoftmaxStats { max_value, sum }
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
        for length in [0usize, 1, 15, 16, 17, 40] {
            let x: Vec<f32> = (0..length).map(|number| number as f32).collect();
            let sum_of = |term: fn(f32) -> f32| x.iter().copied().map(term).sum::<f32>();
            assert_eq!(sum(&x), sum_of(|x| x));
            assert_eq!(dot(&x, &x), sum_of(|x| x * x));
            assert_eq!(dot_centered(&x, &x, 2.0), sum_of(|x| x * (x - 2.0)));
            assert_eq!(sum_squared_deviations(&x, 1.0), sum_of(|x| (x - 1.0) * (x - 1.0)));
            let last = length
                .checked_sub(1)
                .map_or(f32::NEG_INFINITY, |last| last as f32);
            assert_eq!(max_value(&x), last);
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
