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

/// Folds `term` of each number lane by lane, then the lanes.
#[inline(always)]
fn folded(x: &[f32], start: f32, term: impl Fn(f32) -> f32, fold: impl Fn(f32, f32) -> f32) -> f32 {
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

/// Σ `term` of each pair, lane by lane.
#[inline(always)]
fn summed(x: &[f32], y: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
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
    folded(x, 0.0, |x| x, |sum, term| sum + term)
}

/// Σ (x - centre)².
#[inline(always)]
pub(crate) fn squares(x: &[f32], centre: f32) -> f32 {
    folded(x, 0.0, |x| (x - centre) * (x - centre), |sum, term| sum + term)
}

/// Σ x · y.
#[inline(always)]
pub(crate) fn dot(x: &[f32], y: &[f32]) -> f32 {
    summed(x, y, |x, y| x * y)
}

/// Σ x · (y - centre).
#[inline(always)]
pub(crate) fn dot_centred(x: &[f32], y: &[f32], centre: f32) -> f32 {
    summed(x, y, |x, y| x * (y - centre))
}

/// The greatest of `x`, and -∞ of nothing; not-a-number is passed over.
#[inline(always)]
pub(crate) fn greatest(x: &[f32]) -> f32 {
    folded(
        x,
        f32::NEG_INFINITY,
        |x| x,
        |greatest, x| if x > greatest { x } else { greatest },
    )
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
        for length in [0usize, 1, 15, 16, 17, 40] {
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
