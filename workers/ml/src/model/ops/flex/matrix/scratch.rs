//! Memory for pieces of matrices that a thread keeps from one product to the next: fresh memory would be
//! cleared first, which costs as much as filling it.

use std::{
    cell::Cell,
    ops::{Deref, DerefMut},
};

/// A kind of number that a thread keeps memory for.
pub(super) trait Kept: Copy + 'static {
    /// What fresh memory holds.
    const FRESH: Self;

    /// Exchanges the memory that this thread keeps.
    fn exchange(with: Vec<Self>) -> Vec<Self>;
}

macro_rules! kept {
    ($kind:ty, $fresh:expr) => {
        impl Kept for $kind {
            const FRESH: Self = $fresh;

            fn exchange(with: Vec<Self>) -> Vec<Self> {
                thread_local!(static KEPT: Cell<Vec<$kind>> = const { Cell::new(Vec::new()) });
                KEPT.replace(with)
            }
        }
    };
}

kept!(f32, 0.0);
kept!(super::pack::Row, [0.0; super::pack::PITCH]);

/// Numbers left over from earlier use, given back at the end.
pub(super) struct Scratch<T: Kept> {
    numbers: Vec<T>,
    count: usize,
}

impl<T: Kept> Scratch<T> {
    /// `count` numbers of any value.
    pub(super) fn new(count: usize) -> Self {
        let mut numbers = T::exchange(Vec::new());
        if numbers.len() < count {
            numbers.resize(count, T::FRESH);
        }
        Self { numbers, count }
    }
}

impl<T: Kept> Deref for Scratch<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.numbers[..self.count]
    }
}

impl<T: Kept> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.numbers[..self.count]
    }
}

impl<T: Kept> Drop for Scratch<T> {
    fn drop(&mut self) {
        let ours = std::mem::take(&mut self.numbers);
        let kept = T::exchange(Vec::new());
        // Another may have been given back meanwhile: the longer one stays.
        T::exchange(if kept.len() > ours.len() { kept } else { ours });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_kept_and_two_at_once_are_apart() {
        let mut first = Scratch::<f32>::new(4);
        first.fill(1.0);
        let mut second = Scratch::<f32>::new(8);
        second.fill(2.0);
        assert_eq!(*first, [1.0; 4]);
        drop(second);
        drop(first);
        assert_eq!(*Scratch::<f32>::new(6), [2.0; 6], "the longer one was kept");
        assert_eq!(Scratch::<f32>::new(10).len(), 10);
    }
}
