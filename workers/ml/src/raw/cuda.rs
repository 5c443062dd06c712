//! The functions of NVIDIA's driver API (`libcuda`) and of its runtime compiler (NVRTC) that the device probe calls.
//!
//! Libraries are loaded by name at run time; a function that a library lacks is reported like a library that is not
//! installed. A loaded library is never unloaded, because NVIDIA's libraries start threads that would keep running
//! without their code.

use std::{
    error::Error,
    ffi::{CStr, c_char, c_int, c_uint},
    mem::ManuallyDrop,
};

use libloading::Library;

/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR` and `…_MINOR` of `cuda.h`.
const CAPABILITY: [c_int; 2] = [75, 76];
/// Size in bytes of the buffers for the strings that the driver writes: device names and PCI addresses.
const TEXT: usize = 256;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DriverError {
    /// The library or the function was not found; the message is the dynamic loader's.
    Missing(String),
    /// The function returned this `CUresult` or `nvrtcResult`, which is not 0.
    Status(c_int),
}

/// File names of the driver's library.
const DRIVERS: &[&str] = &["libcuda.so", "libcuda.so.1"];
/// File names of the runtime compiler's library, in the order in which burn tries them.
const COMPILERS: &[&str] = &["libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12"];

/// The initialised driver API.
pub(crate) struct Driver(ManuallyDrop<Library>);

/// A device that the driver has returned.
#[derive(Clone, Copy)]
pub(crate) struct DeviceHandle(c_int);

impl Driver {
    /// Loads the driver and initialises it (`cuInit`).
    pub(crate) fn init() -> Result<Self, DriverError> {
        Self::init_from(DRIVERS)
    }

    /// Loads the first of `names` that is installed and initialises it.
    fn init_from(names: &[&str]) -> Result<Self, DriverError> {
        let driver = Self(ManuallyDrop::new(load(names)?));
        // SAFETY: the type is that of `CUresult cuInit(unsigned int)` in cuda.h; 0 is the only flag it accepts.
        let status = unsafe {
            let init = function::<unsafe extern "C" fn(c_uint) -> c_int>(&driver.0, c"cuInit")?;
            init(0)
        };
        check(status)?;
        Ok(driver)
    }

    /// The newest CUDA version that the driver supports, as major and minor number.
    pub(crate) fn version(&self) -> Result<[u32; 2], DriverError> {
        let mut version = 0;
        // SAFETY: the type is that of `CUresult cuDriverGetVersion(int*)`, which writes one int to a live local.
        let status = unsafe {
            let call = function::<unsafe extern "C" fn(*mut c_int) -> c_int>(&self.0, c"cuDriverGetVersion")?;
            call(&raw mut version)
        };
        check(status)?;
        let version = version.unsigned_abs();
        Ok([version / 1000, version % 1000 / 10])
    }

    /// Number of devices that are visible to this process.
    pub(crate) fn count(&self) -> Result<u32, DriverError> {
        let mut count = 0;
        // SAFETY: the type is that of `CUresult cuDeviceGetCount(int*)`, which writes one int to a live local.
        let status = unsafe {
            let call = function::<unsafe extern "C" fn(*mut c_int) -> c_int>(&self.0, c"cuDeviceGetCount")?;
            call(&raw mut count)
        };
        check(status)?;
        Ok(count.unsigned_abs())
    }

    /// The handle of device `index`.
    pub(crate) fn device(&self, index: u32) -> Result<DeviceHandle, DriverError> {
        let mut device = 0;
        let index = c_int::try_from(index).map_err(|_| DriverError::Status(-1))?;
        // SAFETY: the type is that of `CUresult cuDeviceGet(CUdevice*, int)`; a CUdevice is an int, and one is written to
        // a live local. The driver checks the index.
        let status = unsafe {
            let call = function::<unsafe extern "C" fn(*mut c_int, c_int) -> c_int>(&self.0, c"cuDeviceGet")?;
            call(&raw mut device, index)
        };
        check(status)?;
        Ok(DeviceHandle(device))
    }

    /// The name of `device`.
    pub(crate) fn name(&self, device: DeviceHandle) -> Result<String, DriverError> {
        let mut text = [0; TEXT];
        // SAFETY: the type is that of `CUresult cuDeviceGetName(char*, int, CUdevice)`, which writes at most as many bytes
        // as the second argument says, and that is the buffer's length. The handle comes from the driver.
        let status = unsafe {
            let call = function::<unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int>(
                &self.0,
                c"cuDeviceGetName",
            )?;
            call(text.as_mut_ptr(), TEXT as c_int, device.0)
        };
        check(status)?;
        Ok(string(&text))
    }

    /// PCI address of `device`, such as `0000:17:00.0`.
    pub(crate) fn bus_id(&self, device: DeviceHandle) -> Result<String, DriverError> {
        let mut text = [0; TEXT];
        // SAFETY: as for `cuDeviceGetName`; the type is that of `CUresult cuDeviceGetPCIBusId(char*, int, CUdevice)`.
        let status = unsafe {
            let call = function::<unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int>(
                &self.0,
                c"cuDeviceGetPCIBusId",
            )?;
            call(text.as_mut_ptr(), TEXT as c_int, device.0)
        };
        check(status)?;
        Ok(string(&text))
    }

    /// Total memory of `device` in bytes.
    pub(crate) fn memory(&self, device: DeviceHandle) -> Result<u64, DriverError> {
        let mut bytes = 0usize;
        // SAFETY: the type is that of `CUresult cuDeviceTotalMem_v2(size_t*, CUdevice)`, which writes one size_t to a live
        // local. The handle comes from the driver.
        let status = unsafe {
            let call = function::<unsafe extern "C" fn(*mut usize, c_int) -> c_int>(
                &self.0,
                c"cuDeviceTotalMem_v2",
            )?;
            call(&raw mut bytes, device.0)
        };
        check(status)?;
        Ok(bytes as u64)
    }

    /// Compute capability of `device`, as major and minor number.
    pub(crate) fn capability(&self, device: DeviceHandle) -> Result<[u32; 2], DriverError> {
        let mut numbers = [0; 2];
        for (number, attribute) in numbers.iter_mut().zip(CAPABILITY) {
            // SAFETY: the type is that of `CUresult cuDeviceGetAttribute(int*, CUdevice_attribute, CUdevice)`; the
            // attribute is a C enum, which is an int, and one int is written to a live local.
            let status = unsafe {
                let call = function::<unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int>(
                    &self.0,
                    c"cuDeviceGetAttribute",
                )?;
                call(number, attribute, device.0)
            };
            check(status)?;
        }
        Ok(numbers.map(c_int::unsigned_abs))
    }
}

/// Version of the installed runtime compiler, as major and minor number.
pub(crate) fn compiler_version() -> Result<[u32; 2], DriverError> {
    compiler_version_from(COMPILERS)
}

/// Version of the runtime compiler that is the first of `names` to be installed.
fn compiler_version_from(names: &[&str]) -> Result<[u32; 2], DriverError> {
    let library = ManuallyDrop::new(load(names)?);
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the type is that of `nvrtcResult nvrtcVersion(int*, int*)`, which writes one int to each live local.
    let status = unsafe {
        let call =
            function::<unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int>(&library, c"nvrtcVersion")?;
        call(&raw mut major, &raw mut minor)
    };
    check(status)?;
    Ok([major, minor].map(c_int::unsigned_abs))
}

fn load(names: &[&str]) -> Result<Library, DriverError> {
    let mut last = String::new();
    for name in names {
        // SAFETY: loading a library runs its initialisers. The names are constants of this module: NVIDIA's
        // libraries (in tests also the C library), resolved by the dynamic loader on its search path as burn does.
        match unsafe { Library::new(*name) } {
            Ok(library) => return Ok(library),
            Err(error) => last = loader_message(&error),
        }
    }
    Err(DriverError::Missing(last))
}

/// The dynamic loader's message.
fn loader_message(error: &libloading::Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

/// The function `name` of `library`.
///
/// # Safety
/// `F` must be the type of the function, and the function must not be called after `library` is unloaded.
unsafe fn function<F: Copy>(library: &Library, name: &CStr) -> Result<F, DriverError> {
    // SAFETY: the caller guarantees that `F` is the type of the symbol.
    let symbol = unsafe { library.get::<F>(name.to_bytes_with_nul()) };
    symbol
        .map(|symbol| *symbol)
        .map_err(|error| DriverError::Missing(loader_message(&error)))
}

fn check(status: c_int) -> Result<(), DriverError> {
    match status {
        0 => Ok(()),
        status => Err(DriverError::Status(status)),
    }
}

/// The string before the first NUL byte.
fn string(text: &[c_char; TEXT]) -> String {
    let bytes: Vec<u8> = text
        .iter()
        .take_while(|byte| **byte != 0)
        .map(|byte| byte.cast_unsigned())
        .collect();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Driver, DriverError, compiler_version_from};

    fn missing<T>(result: Result<T, DriverError>) -> String {
        match result {
            Err(DriverError::Missing(message)) => message,
            Err(error) => panic!("{error:?}"),
            Ok(_) => panic!("it is not NVIDIA's library"),
        }
    }

    /// WK-1
    #[test]
    fn a_library_that_is_not_installed_is_named() {
        let message = missing(Driver::init_from(&["libno-such-driver.so"]));
        assert!(message.contains("libno-such-driver.so"), "{message}");
        let message = missing(compiler_version_from(&["libno-such-compiler.so.1"]));
        assert!(message.contains("libno-such-compiler"), "{message}");
    }

    /// WK-1: a library of that name without the functions, as a half-removed driver leaves.
    #[test]
    fn a_function_that_a_library_lacks_is_named() {
        let message = missing(Driver::init_from(&["libc.so.6"]));
        assert!(message.contains("cuInit"), "{message}");
        let message = missing(compiler_version_from(&["libc.so.6"]));
        assert!(message.contains("nvrtcVersion"), "{message}");
    }
}
