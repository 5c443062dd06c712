//! The operations on backends that compile their kernels at run time (CubeCL): CUDA, and Vulkan for tests.
//!
//! The composed forms do, for the backend fuses their small steps into few kernels; what it cannot fuse, or what
//! the processor would have to work out and send over, has a kernel of its own here. Such a kernel enters the
//! stream of operations as a custom one, in the place where it was asked for.

use burn::tensor::{DType, Shape, Tensor, TensorPrimitive};
use burn_cubecl::{
    BoolElement, CubeBackend, CubeRuntime, ops::numeric::empty_device_contiguous_dtype, tensor::CubeTensor,
};
use burn_fusion::{
    Fusion, FusionBackend, FusionRuntime, get_client,
    stream::{Operation, OperationStreams},
};
use burn_ir::{CustomOpIr, HandleContainer, OperationIr, TensorIr};
use cubecl::prelude::*;

use super::{
    Dropout, HeadLosses, HeadWanted, TransformerGradients, TransformerOps,
    dropout::{GROUP, HALF},
    head,
};
use crate::failure::Failure;

/// Scores that a device works on at once, at most (1 GiB).
const SCORES: usize = 1 << 28;

type Cube<R, B> = CubeBackend<R, f32, i32, B>;

impl<R: CubeRuntime, B: BoolElement> TransformerOps for Fusion<Cube<R, B>> {
    fn dropout_factors(
        [rows, columns]: [usize; 2],
        dropout: Dropout,
        device: &Self::Device,
    ) -> Tensor<Self, 2> {
        let client = get_client::<Cube<R, B>>(device);
        let shape = Shape::new([rows, columns]);
        let output = TensorIr::uninit(client.create_empty_handle(), shape, DType::F32);
        let described = CustomOpIr::new("dropout_factors", &[], std::slice::from_ref(&output));
        let operation = Factors::<R, B> {
            dropout,
            output,
            device: device.clone(),
            of: std::marker::PhantomData,
        };
        let outputs = client.register(
            OperationStreams::default(),
            OperationIr::Custom(described),
            operation,
        );
        let [factors] = <[_; 1]>::try_from(outputs).expect("one output was described");
        Tensor::from_primitive(TensorPrimitive::Float(factors))
    }
}

impl<R: CubeRuntime, B: BoolElement> TransformerGradients for Fusion<Cube<R, B>> {
    fn head_losses(
        states: Tensor<Self, 2>,
        head: Tensor<Self, 2>,
        tokens: &[i32],
        wanted: HeadWanted,
    ) -> Result<HeadLosses<Self>, Failure> {
        head::losses(&states, &head, tokens, wanted, SCORES)
    }
}

/// [`TransformerOps::dropout_factors`] in the stream.
struct Factors<R: CubeRuntime, B: BoolElement> {
    dropout: Dropout,
    output: TensorIr,
    device: R::Device,
    of: std::marker::PhantomData<B>,
}

impl<R: CubeRuntime, B: BoolElement> std::fmt::Debug for Factors<R, B> {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Factors")
            .field("dropout", &self.dropout)
            .finish_non_exhaustive()
    }
}

impl<R: CubeRuntime, B: BoolElement> Operation<<Cube<R, B> as FusionBackend>::FusionRuntime>
    for Factors<R, B>
{
    fn execute(
        &self,
        handles: &mut HandleContainer<
            <<Cube<R, B> as FusionBackend>::FusionRuntime as FusionRuntime>::FusionHandle,
        >,
    ) {
        let factors = factors::<R>(self.output.shape.clone(), self.dropout, &self.device);
        handles.register_float_tensor::<Cube<R, B>>(&self.output.id, factors);
    }
}

/// The factors of a matrix of `shape`.
fn factors<R: CubeRuntime>(shape: Shape, dropout: Dropout, device: &R::Device) -> CubeTensor<R> {
    let client = R::client(device);
    let count = shape.num_elements();
    let output = empty_device_contiguous_dtype(client.clone(), device.clone(), shape, DType::F32);
    let units = count.div_ceil(GROUP) * HALF;
    let dim = CubeDim::new(&client, units);
    let cubes = cubecl::calculate_cube_count_elemwise(&client, units, dim);
    let [low, high] = dropout.words();
    factors_kernel::launch::<R>(
        &client,
        cubes,
        dim,
        output.clone().into_array_arg(),
        low,
        high,
        dropout.threshold(),
        dropout.scale(),
    );
    output
}

/// Each unit draws the two words of one counter: see [`super::dropout`], whose masks these are.
#[cube(launch)]
fn factors_kernel(output: &mut Array<f32>, key_low: u32, key_high: u32, threshold: u32, scale: f32) {
    let counter = ABSOLUTE_POS;
    let place = counter / 16 * 32 + counter % 16;
    if place < output.len() {
        let third = 0x1BD1_1BDAu32 ^ key_low ^ key_high;
        let mut x = counter as u32 + key_low;
        let mut y = key_high;
        mix(&mut x, &mut y, 13u32);
        mix(&mut x, &mut y, 15u32);
        mix(&mut x, &mut y, 26u32);
        mix(&mut x, &mut y, 6u32);
        x += key_high;
        y += third + 1u32;
        mix(&mut x, &mut y, 17u32);
        mix(&mut x, &mut y, 29u32);
        mix(&mut x, &mut y, 16u32);
        mix(&mut x, &mut y, 24u32);
        x += third;
        y += key_low + 2u32;
        mix(&mut x, &mut y, 13u32);
        mix(&mut x, &mut y, 15u32);
        mix(&mut x, &mut y, 26u32);
        mix(&mut x, &mut y, 6u32);
        x += key_low;
        y += key_high + 3u32;
        mix(&mut x, &mut y, 17u32);
        output[place] = kept(x, threshold, scale);
        if place + 16 < output.len() {
            output[place + 16] = kept(y, threshold, scale);
        }
    }
}

/// A round of Threefry.
#[cube]
fn mix(x: &mut u32, y: &mut u32, turn: u32) {
    *x += *y;
    *y = ((*y << turn) | (*y >> (32u32 - turn))) ^ *x;
}

#[cube]
fn kept(word: u32, threshold: u32, scale: f32) -> f32 {
    let mut factor = scale;
    if word < threshold {
        factor = 0.0f32;
    }
    factor
}
