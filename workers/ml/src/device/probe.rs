//! Checks whether this machine can run CUDA, without using burn.
//!
//! burn needs three things at run time: the driver (`libcuda`), the runtime compiler (NVRTC), because kernels are
//! compiled on the machine, and the headers that the kernels include.
//!
//! Rule: whatever is missing is reported with what to do about it. The probe loads NVIDIA's libraries, which can
//! crash or hang: run it in a separate process with a deadline.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::version::Version;
use crate::raw::cuda::{Driver, DriverError, compiler_version};

/// A header that every kernel includes.
const HEADER: &str = "include/cuda_runtime.h";
/// The header of tensor core operations, which some packages leave out.
const MATRIX_HEADER: &str = "include/mma.h";

/// An NVIDIA GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CudaDevice {
    /// Its index in this process.
    pub index: u32,
    /// Its name, such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Total memory in bytes.
    pub memory_bytes: u64,
    /// Compute capability.
    pub capability: Version,
    /// PCI address; NVML uses it too.
    pub bus_id: String,
}

/// A working CUDA installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CudaFound {
    /// Newest CUDA version that the driver supports.
    pub driver: Version,
    /// Version of the runtime compiler.
    pub compiler: Version,
    /// At least one device.
    pub devices: Vec<CudaDevice>,
}

/// Why CUDA is not available; the message says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "missing", rename_all = "snake_case")]
pub enum CudaUnavailable {
    /// The driver is not installed.
    #[error(
        "the NVIDIA driver is not installed ({why}); install it, or give the container access to the device"
    )]
    Driver {
        /// Message of the dynamic loader.
        why: String,
    },
    /// The driver fails to initialise.
    #[error(
        "the NVIDIA driver does not start (CUDA error {status}: {meaning}); run `nvidia-smi` for details"
    )]
    Start {
        /// The `CUresult`.
        status: i32,
        /// Its meaning.
        meaning: String,
    },
    /// The driver shows no device.
    #[error("the NVIDIA driver shows no device; check CUDA_VISIBLE_DEVICES and the devices of the container")]
    Device,
    /// The runtime compiler is not installed.
    #[error("the CUDA runtime compiler is missing ({why}); install NVRTC of CUDA {driver} or older")]
    Compiler {
        /// Message of the dynamic loader.
        why: String,
        /// Newest CUDA version that the driver supports.
        driver: Version,
    },
    /// The compiler is newer than the driver.
    #[error(
        "the CUDA runtime compiler is of CUDA {compiler}, the driver supports {driver}; update the driver, or \
         install NVRTC of CUDA {driver} or older"
    )]
    TooNew {
        /// Version of the compiler.
        compiler: Version,
        /// Newest CUDA version that the driver supports.
        driver: Version,
    },
    /// The headers are not installed.
    #[error(
        "the CUDA headers are missing (no {header} in {looked_in}); install the CUDA toolkit's headers and set \
         CUDA_PATH to the folder that has them in its folder include"
    )]
    Headers {
        /// The missing header.
        header: String,
        /// The folders that were searched.
        looked_in: String,
    },
}

/// Checks for everything that CUDA needs.
///
/// # Errors
/// The first problem.
pub fn probe() -> Result<CudaFound, CudaUnavailable> {
    let driver = Driver::init().map_err(unavailable)?;
    let version = driver.version().map_err(unavailable)?.into();
    let devices = devices(&driver).map_err(unavailable)?;
    if devices.is_empty() {
        return Err(CudaUnavailable::Device);
    }
    let compiler = compiler_version().map_err(|error| CudaUnavailable::Compiler {
        why: match error {
            DriverError::Missing(why) => why,
            DriverError::Status(status) => format!("nvrtcVersion answers {status}"),
        },
        driver: version,
    })?;
    let compiler = compiler.into();
    check_version(compiler, version)?;
    headers(&folders(
        std::env::var_os("CUDA_PATH").map(PathBuf::from),
        Path::exists,
    ))?;
    Ok(CudaFound {
        driver: version,
        compiler,
        devices,
    })
}

fn devices(driver: &Driver) -> Result<Vec<CudaDevice>, DriverError> {
    let device = |index| {
        let device = driver.device(index)?;
        Ok(CudaDevice {
            index,
            name: driver.name(device)?,
            memory_bytes: driver.memory(device)?,
            capability: driver.capability(device)?.into(),
            bus_id: driver.bus_id(device)?,
        })
    };
    (0..driver.count()?).map(device).collect()
}

fn unavailable(error: DriverError) -> CudaUnavailable {
    match error {
        DriverError::Missing(why) => CudaUnavailable::Driver { why },
        // CUDA_ERROR_NO_DEVICE
        DriverError::Status(100) => CudaUnavailable::Device,
        DriverError::Status(status) => CudaUnavailable::Start {
            status,
            meaning: meaning(status).to_owned(),
        },
    }
}

/// The errors of `cuda.h` that initialisation can return.
fn meaning(status: i32) -> &'static str {
    match status {
        2 => "out of memory",
        3 => "not initialised",
        34 => "only a stub of the driver is installed",
        101 => "invalid device",
        803 => "library and kernel module of the driver have different versions",
        804 => "this device does not support the installed compatibility package",
        999 => "unknown error",
        _ => "see cuda.h",
    }
}

/// A driver cannot load code from a compiler that is newer than itself.
fn check_version(compiler: Version, driver: Version) -> Result<(), CudaUnavailable> {
    match compiler > driver {
        true => Err(CudaUnavailable::TooNew { compiler, driver }),
        false => Ok(()),
    }
}

/// The folders where burn searches for headers.
fn folders(chosen: Option<PathBuf>, exists: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    if let Some(chosen) = chosen {
        return vec![chosen];
    }
    let usual = [
        ("/usr/local/cuda", "/usr/local/cuda"),
        ("/opt/cuda", "/opt/cuda"),
        ("/usr/bin/nvcc", "/usr"),
    ];
    let found = usual.iter().find(|(sign, _)| exists(Path::new(sign)));
    match found {
        Some((_, folder)) => vec![PathBuf::from(folder)],
        None => usual.iter().map(|(_, folder)| PathBuf::from(folder)).collect(),
    }
}

fn headers(folders: &[PathBuf]) -> Result<(), CudaUnavailable> {
    for header in [HEADER, MATRIX_HEADER] {
        if !folders.iter().any(|folder| folder.join(header).exists()) {
            let looked: Vec<String> = folders
                .iter()
                .map(|folder| folder.display().to_string())
                .collect();
            return Err(CudaUnavailable::Headers {
                header: header.to_owned(),
                looked_in: looked.join(", "),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{
        CudaUnavailable, DriverError, HEADER, MATRIX_HEADER, Version, check_version, folders, headers,
        unavailable,
    };

    const fn version(major: u32, minor: u32) -> Version {
        Version { major, minor }
    }

    /// WK-1
    #[test]
    fn a_missing_driver_is_reported_with_advice() {
        let missing = DriverError::Missing("libcuda.so.1: cannot open shared object file".to_owned());
        let message = unavailable(missing).to_string();
        assert!(
            message.contains("libcuda.so.1") && message.contains("install"),
            "{message}"
        );
    }

    #[test]
    fn what_the_driver_answers_is_told_in_words() {
        assert_eq!(unavailable(DriverError::Status(100)), CudaUnavailable::Device);
        let message = unavailable(DriverError::Status(803)).to_string();
        assert!(message.contains("different versions"), "{message}");
        let message = unavailable(DriverError::Status(12_345)).to_string();
        assert!(message.contains("12345"), "{message}");
    }

    #[test]
    fn a_compiler_may_not_be_newer_than_the_driver() {
        assert_eq!(check_version(version(12, 8), version(13, 0)), Ok(()));
        assert_eq!(check_version(version(13, 0), version(13, 0)), Ok(()));
        let message = check_version(version(13, 1), version(13, 0))
            .expect_err("too new")
            .to_string();
        assert!(message.contains("13.1") && message.contains("13.0"), "{message}");
    }

    #[test]
    fn headers_are_looked_for_where_the_tensor_library_does() {
        assert_eq!(
            folders(Some(PathBuf::from("/a")), |_| true),
            [PathBuf::from("/a")],
            "CUDA_PATH alone"
        );
        assert_eq!(
            folders(None, |path| path == Path::new("/usr/bin/nvcc")),
            [PathBuf::from("/usr")]
        );
        assert_eq!(folders(None, |_| false).len(), 3);

        let dir = tempfile::tempdir().expect("a folder");
        let places = [dir.path().to_path_buf()];
        let message = headers(&places).expect_err("empty").to_string();
        assert!(
            message.contains("cuda_runtime.h") && message.contains("CUDA_PATH"),
            "{message}"
        );
        std::fs::create_dir(dir.path().join("include")).expect("made");
        std::fs::write(dir.path().join(HEADER), "").expect("written");
        assert!(
            matches!(headers(&places), Err(CudaUnavailable::Headers { header, .. }) if header == MATRIX_HEADER)
        );
        std::fs::write(dir.path().join(MATRIX_HEADER), "").expect("written");
        assert_eq!(headers(&places), Ok(()));
    }
}
