//! Software prefetch of cache lines.

/// Hints the CPU to load the cache line of `data[index]` into its L1 cache. `index` may be out of bounds: nothing is
/// read. A no-op on architectures other than x86-64, whose hardware prefetchers have to do.
#[inline(always)]
pub(crate) fn prefetch(data: &[f32], index: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

        let address = data.as_ptr().wrapping_add(index);
        // SAFETY: PREFETCHT0 is a hint: it has no architectural effect and never faults, whatever the address is.
        // It belongs to SSE, which every x86-64 processor has.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (data, index);
}

#[cfg(test)]
mod tests {
    use super::prefetch;

    #[test]
    fn any_index_is_accepted() {
        let data = [1.0; 4];
        for index in [0, 3, 4, 1 << 40, usize::MAX] {
            prefetch(&data, index);
        }
        prefetch(&[], 7);
        assert_eq!(data, [1.0; 4]);
    }
}
