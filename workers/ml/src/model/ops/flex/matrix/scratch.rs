//! Buffers for packed blocks that threads reuse between products: new memory would be zeroed first, which takes as
//! long as filling it.

use std::{
    cell::Cell,
    ops::{Deref, DerefMut},
};

/// An element type of scratch buffers.
pub(super) trait ScratchElement: Copy + 'static {
    /// Value of new elements.
    const INITIAL: Self;

    /// Exchanges the buffer of this thread for `with`.
    fn swap_buffer(with: Vec<Self>) -> Vec<Self>;
}

macro_rules! scratch_element {
    ($kind:ty, $fresh:expr) => {
        impl ScratchElement for $kind {
            const INITIAL: Self = $fresh;

            fn swap_buffer(with: Vec<Self>) -> Vec<Self> {
                thread_local!(static BUFFER: Cell<Vec<$kind>> = const { Cell::new(Vec::new()) });
                BUFFER.replace(with)
            }
        }
    };
}

scratch_element!(f32, 0.0);
scratch_element!(super::layout::PackedRow, [0.0; super::layout::ROW_STRIDE]);

/// A buffer with arbitrary content, returned to its thread when dropped.
pub(super) struct Scratch<T: ScratchElement> {
    data: Vec<T>,
    count: usize,
}

impl<T: ScratchElement> Scratch<T> {
    /// A buffer of `count` elements of any value.
    pub(super) fn new(count: usize) -> Self {
        let mut data = T::swap_buffer(Vec::new());
        if data.len() < count {
            data.resize(count, T::INITIAL);
        }
        Self { data, count }
    }
}

impl<T: ScratchElement> Deref for Scratch<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.data[..self.count]
    }
}

impl<T: ScratchElement> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.data[..self.count]
    }
}

impl<T: ScratchElement> Drop for Scratch<T> {
    fn drop(&mut self) {
        let ours = std::mem::take(&mut self.data);
        let kept = T::swap_buffer(Vec::new());
        // Another buffer may have been returned meanwhile; the longer one is kept.
        T::swap_buffer(if kept.len() > ours.len() { kept } else { ours });
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
