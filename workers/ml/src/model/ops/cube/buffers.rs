//! Contiguous device buffers of tensors, launch grids, and reductions within a cube.

use burn::tensor::{DType, Int, Shape, Tensor, TensorData, TensorPrimitive};
use burn_cubecl::{
    BoolElement, CubeBackend, CubeRuntime, kernel::into_contiguous,
    ops::numeric::empty_device_contiguous_dtype, tensor::CubeTensor,
};
use cubecl::prelude::*;

/// A CubeCL backend with the float and integer types that this crate uses.
pub(super) type Cube<R, B> = CubeBackend<R, f32, i32, B>;

/// Units of a cube, which process one row together.
pub(super) const CUBE_UNITS: u32 = 256;
/// Maximum number of cubes in a row of the grid.
const MAX_GRID_WIDTH: u32 = 32_768;

/// The elements of `x` as a contiguous buffer.
pub(super) fn contiguous<R: CubeRuntime, B: BoolElement, const D: usize>(
    x: Tensor<Cube<R, B>, D>,
) -> CubeTensor<R> {
    into_contiguous(x.into_primitive().tensor())
}

/// As [`contiguous`], for integers.
pub(super) fn int_buffer<R: CubeRuntime, B: BoolElement>(
    numbers: Vec<i32>,
    device: &R::Device,
) -> CubeTensor<R> {
    let count = numbers.len();
    let tensor =
        Tensor::<Cube<R, B>, 1, Int>::from_data(TensorData::new(numbers, [count]), (device, DType::I32));
    into_contiguous(tensor.into_primitive())
}

/// An uninitialised tensor of `shape` on the device of `x`.
pub(super) fn empty<R: CubeRuntime>(x: &CubeTensor<R>, shape: Shape, dtype: DType) -> CubeTensor<R> {
    empty_device_contiguous_dtype(x.client.clone(), x.device.clone(), shape, dtype)
}

/// An uninitialised tensor like `x`.
pub(super) fn empty_like<R: CubeRuntime>(x: &CubeTensor<R>) -> CubeTensor<R> {
    empty(x, x.meta.shape().clone(), x.dtype)
}

pub(super) fn tensor<R: CubeRuntime, B: BoolElement, const D: usize>(
    x: CubeTensor<R>,
) -> Tensor<Cube<R, B>, D> {
    Tensor::from_primitive(TensorPrimitive::Float(x))
}

/// A grid with one cube per row.
pub(super) fn grid_per_row(rows: usize) -> (CubeCount, CubeDim) {
    let rows = rows as u32;
    let count = CubeCount::Static(rows.min(MAX_GRID_WIDTH), rows.div_ceil(MAX_GRID_WIDTH), 1);
    (count, CubeDim::new_1d(CUBE_UNITS))
}

/// A grid with one unit per element.
pub(super) fn grid_per_element(count: usize) -> (CubeCount, CubeDim) {
    grid_per_row(count.div_ceil(CUBE_UNITS as usize))
}

/// The sum of `value` over the units of a cube.
#[cube]
pub(super) fn cube_sum(value: f32) -> f32 {
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

/// The maximum of `value` over the units of a cube.
#[cube]
pub(super) fn cube_max(value: f32) -> f32 {
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
