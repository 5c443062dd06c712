//! The few functions of NVIDIA's driver and of its runtime compiler (NVRTC) that [`super::probe`] asks.
//!
//! Rule: the only unsafe code of the probe. Libraries are loaded by name at run time; a function that a library
//! lacks is an error like a library that is not there. A loaded library is never unloaded: NVIDIA's start
//! threads that would run on without their code.
#![expect(
    unsafe_code,
    reason = "the driver is a C library; each call says why it is sound"
)]

use std::{
    error::Error,
    ffi::{CStr, c_char, c_int, c_uint},
    fmt,
    mem::ManuallyDrop,
};

use libloading::Library;
use serde::{Deserialize, Serialize};

/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR` and `…_MINOR` of `cuda.h`.
const CAPABILITY: [c_int; 2] = [75, 76];
/// Bytes of the texts that the driver writes: device names and PCI addresses.
const TEXT: usize = 256;

/// A version in two numbers: of CUDA, or of what a device can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// Before the dot.
    pub major: u32,
    /// After the dot.
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}.{}", self.major, self.minor)
    }
}

/// Why the driver did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The library, or a function in it, is not there.
    Missing(String),
    /// A function gave this `CUresult` or `nvrtcResult` instead of 0.
    Status(c_int),
}

/// The driver, started.
pub(super) struct Driver(ManuallyDrop<Library>);

impl Driver {
    /// Loads the first of `names` that is there and starts it (`cuInit`).
    pub(super) fn start(names: &[&str]) -> Result<Self, Refusal> {
        let driver = Self(ManuallyDrop::new(load(names)?));
        // SAFETY: the type is that of `CUresult cuInit(unsigned int)` in cuda.h; 0 is the only flag it takes.
        let status = unsafe {
            let start = function::<unsafe extern "C" fn(c_uint) -> c_int>(&driver.0, c"cuInit")?;
            start(0)
        };
        accepted(status)?;
        Ok(driver)
    }

    /// The newest CUDA that it supports.
    pub(super) fn version(&self) -> Result<Version, Refusal> {
        let mut version = 0;
        // SAFETY: `CUresult cuDriverGetVersion(int*)`, which writes one int.
        let status = unsafe {
            let ask = function::<unsafe extern "C" fn(*mut c_int) -> c_int>(&self.0, c"cuDriverGetVersion")?;
            ask(&raw mut version)
        };
        accepted(status)?;
        let version = version.unsigned_abs();
        Ok(Version {
            major: version / 1000,
            minor: version % 1000 / 10,
        })
    }

    /// How many devices it shows.
    pub(super) fn count(&self) -> Result<u32, Refusal> {
        let mut count = 0;
        // SAFETY: `CUresult cuDeviceGetCount(int*)`, which writes one int.
        let status = unsafe {
            let ask = function::<unsafe extern "C" fn(*mut c_int) -> c_int>(&self.0, c"cuDeviceGetCount")?;
            ask(&raw mut count)
        };
        accepted(status)?;
        Ok(count.unsigned_abs())
    }

    /// The handle of device `index`.
    pub(super) fn device(&self, index: u32) -> Result<c_int, Refusal> {
        let mut device = 0;
        let index = c_int::try_from(index).map_err(|_| Refusal::Status(-1))?;
        // SAFETY: `CUresult cuDeviceGet(CUdevice*, int)`; a CUdevice is an int, and one is written.
        let status = unsafe {
            let ask = function::<unsafe extern "C" fn(*mut c_int, c_int) -> c_int>(&self.0, c"cuDeviceGet")?;
            ask(&raw mut device, index)
        };
        accepted(status)?;
        Ok(device)
    }

    /// The name of `device`.
    pub(super) fn name(&self, device: c_int) -> Result<String, Refusal> {
        let mut text = [0; TEXT];
        // SAFETY: `CUresult cuDeviceGetName(char*, int, CUdevice)` writes at most as many bytes as it is told,
        // with a zero at the end.
        let status = unsafe {
            let ask = function::<unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int>(
                &self.0,
                c"cuDeviceGetName",
            )?;
            ask(text.as_mut_ptr(), TEXT as c_int, device)
        };
        accepted(status)?;
        Ok(words(&text))
    }

    /// Where `device` is plugged in, such as `0000:17:00.0`.
    pub(super) fn bus_id(&self, device: c_int) -> Result<String, Refusal> {
        let mut text = [0; TEXT];
        // SAFETY: as `cuDeviceGetName`: `CUresult cuDeviceGetPCIBusId(char*, int, CUdevice)`.
        let status = unsafe {
            let ask = function::<unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int>(
                &self.0,
                c"cuDeviceGetPCIBusId",
            )?;
            ask(text.as_mut_ptr(), TEXT as c_int, device)
        };
        accepted(status)?;
        Ok(words(&text))
    }

    /// Bytes of memory of `device`.
    pub(super) fn memory(&self, device: c_int) -> Result<u64, Refusal> {
        let mut bytes = 0usize;
        // SAFETY: `CUresult cuDeviceTotalMem_v2(size_t*, CUdevice)`, which writes one size_t.
        let status = unsafe {
            let ask = function::<unsafe extern "C" fn(*mut usize, c_int) -> c_int>(
                &self.0,
                c"cuDeviceTotalMem_v2",
            )?;
            ask(&raw mut bytes, device)
        };
        accepted(status)?;
        Ok(bytes as u64)
    }

    /// What `device` can do ("compute capability").
    pub(super) fn capability(&self, device: c_int) -> Result<Version, Refusal> {
        let mut numbers = [0; 2];
        for (number, attribute) in numbers.iter_mut().zip(CAPABILITY) {
            // SAFETY: `CUresult cuDeviceGetAttribute(int*, CUdevice_attribute, CUdevice)`; the attribute is an
            // enum of C, an int, and one int is written.
            let status = unsafe {
                let ask = function::<unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int>(
                    &self.0,
                    c"cuDeviceGetAttribute",
                )?;
                ask(number, attribute, device)
            };
            accepted(status)?;
        }
        let [major, minor] = numbers.map(c_int::unsigned_abs);
        Ok(Version { major, minor })
    }
}

/// The version of the runtime compiler that is the first of `names` to be there.
pub(super) fn compiler(names: &[&str]) -> Result<Version, Refusal> {
    let library = ManuallyDrop::new(load(names)?);
    let (mut major, mut minor) = (0, 0);
    // SAFETY: `nvrtcResult nvrtcVersion(int*, int*)`, which writes both.
    let status = unsafe {
        let ask =
            function::<unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int>(&library, c"nvrtcVersion")?;
        ask(&raw mut major, &raw mut minor)
    };
    accepted(status)?;
    let [major, minor] = [major, minor].map(c_int::unsigned_abs);
    Ok(Version { major, minor })
}

/// Names of the driver's library.
pub(super) const LIBRARIES: &[&str] = &["libcuda.so", "libcuda.so.1"];

fn load(names: &[&str]) -> Result<Library, Refusal> {
    let mut last = String::new();
    for name in names {
        // SAFETY: loading runs the library's initialisers. These are names of NVIDIA's libraries, looked up where
        // the system's loader looks; the tensor library loads the same ones the same way.
        match unsafe { Library::new(*name) } {
            Ok(library) => return Ok(library),
            Err(error) => last = told(&error),
        }
    }
    Err(Refusal::Missing(last))
}

/// What the system's loader says.
fn told(error: &libloading::Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

/// The function `name`.
///
/// # Safety
/// `F` must be its type.
unsafe fn function<F: Copy>(library: &Library, name: &CStr) -> Result<F, Refusal> {
    // SAFETY: the caller's promise; the library stays loaded while it is borrowed.
    let symbol = unsafe { library.get::<F>(name.to_bytes_with_nul()) };
    symbol
        .map(|symbol| *symbol)
        .map_err(|error| Refusal::Missing(told(&error)))
}

fn accepted(status: c_int) -> Result<(), Refusal> {
    match status {
        0 => Ok(()),
        status => Err(Refusal::Status(status)),
    }
}

/// The text before the first zero.
fn words(text: &[c_char; TEXT]) -> String {
    let bytes: Vec<u8> = text
        .iter()
        .take_while(|byte| **byte != 0)
        .map(|byte| byte.cast_unsigned())
        .collect();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}
