//! Tensors as kernels see them: numbers one after the other in the memory of a device.

use burn::tensor::{DType, Int, Shape, Tensor, TensorData, TensorPrimitive};
use burn_cubecl::{
    BoolElement, CubeRuntime, kernel::into_contiguous, ops::numeric::empty_device_contiguous_dtype,
    tensor::CubeTensor,
};
use cubecl::prelude::*;

use super::Cube;

/// Units of a cube that work on one row together.
pub(super) const UNITS: u32 = 256;
/// Cubes side by side at most; more stand in the next row of the grid.
const SIDE: u32 = 32_768;

/// The numbers of `x` one after the other.
pub(super) fn buffer<R: CubeRuntime, B: BoolElement, const D: usize>(
    x: Tensor<Cube<R, B>, D>,
) -> CubeTensor<R> {
    into_contiguous(x.into_primitive().tensor())
}

/// As [`buffer`], of whole numbers.
pub(super) fn whole_numbers<R: CubeRuntime, B: BoolElement>(
    numbers: Vec<i32>,
    device: &R::Device,
) -> CubeTensor<R> {
    let count = numbers.len();
    let tensor =
        Tensor::<Cube<R, B>, 1, Int>::from_data(TensorData::new(numbers, [count]), (device, DType::I32));
    into_contiguous(tensor.into_primitive())
}

/// Room for a tensor of `shape` beside `x`.
pub(super) fn room<R: CubeRuntime>(x: &CubeTensor<R>, shape: Shape, dtype: DType) -> CubeTensor<R> {
    empty_device_contiguous_dtype(x.client.clone(), x.device.clone(), shape, dtype)
}

/// Room for a tensor like `x`.
pub(super) fn room_like<R: CubeRuntime>(x: &CubeTensor<R>) -> CubeTensor<R> {
    room(x, x.meta.shape().clone(), x.dtype)
}

pub(super) fn tensor<R: CubeRuntime, B: BoolElement, const D: usize>(
    x: CubeTensor<R>,
) -> Tensor<Cube<R, B>, D> {
    Tensor::from_primitive(TensorPrimitive::Float(x))
}

/// A grid with a cube for each of `rows`.
pub(super) fn by_row(rows: usize) -> (CubeCount, CubeDim) {
    let rows = rows as u32;
    let count = CubeCount::Static(rows.min(SIDE), rows.div_ceil(SIDE), 1);
    (count, CubeDim::new_1d(UNITS))
}

/// A grid with a unit for each of `count` numbers.
pub(super) fn by_number(count: usize) -> (CubeCount, CubeDim) {
    by_row(count.div_ceil(UNITS as usize))
}

/// The sum of `value` over the units of a cube.
#[cube]
pub(super) fn sum_of_cube(value: f32) -> f32 {
    let mut shared = SharedMemory::<f32>::new(256usize);
    let unit = UNIT_POS_X as usize;
    shared[unit] = value;
    sync_cube();
    let mut half = 128usize;
    while half > 0 {
        if unit < half {
            let other = shared[unit + half];
            shared[unit] += other;
        }
        sync_cube();
        half /= 2;
    }
    let total = shared[0];
    sync_cube();
    total
}

/// The largest `value` of the units of a cube.
#[cube]
pub(super) fn largest_of_cube(value: f32) -> f32 {
    let mut shared = SharedMemory::<f32>::new(256usize);
    let unit = UNIT_POS_X as usize;
    shared[unit] = value;
    sync_cube();
    let mut half = 128usize;
    while half > 0 {
        if unit < half {
            let other = shared[unit + half];
            if other > shared[unit] {
                shared[unit] = other;
            }
        }
        sync_cube();
        half /= 2;
    }
    let largest = shared[0];
    sync_cube();
    largest
}
