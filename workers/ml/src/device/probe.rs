//! Looks whether this machine can compute with CUDA, without the tensor library.
//!
//! The tensor library needs three things at run time: the driver (`libcuda`), the runtime compiler (NVRTC),
//! for it compiles its kernels on the machine, and the headers that those kernels include. Rule: what is
//! missing is said with what to do about it. The probe loads NVIDIA's libraries: run it in a process that may
//! crash or hang, with a deadline.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::driver::{self, Driver, Refusal, Version};

/// Names of the runtime compiler's library, in the order in which the tensor library tries them.
const COMPILERS: &[&str] = &["libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12"];
/// A header that every kernel includes.
const HEADER: &str = "include/cuda_runtime.h";
/// The headers of the device's matrix units, which some packages leave out.
const MATRIX_HEADER: &str = "include/mma.h";

/// An NVIDIA device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CudaDevice {
    /// Its number for this process.
    pub index: u32,
    /// Such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// All of its memory.
    pub memory_bytes: u64,
    /// What it can do ("compute capability").
    pub capability: Version,
    /// Where it is plugged in; names it for NVIDIA's management library too.
    pub bus_id: String,
}

/// What there is to compute with CUDA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CudaFound {
    /// The newest CUDA that the driver supports.
    pub driver: Version,
    /// The version of the runtime compiler.
    pub compiler: Version,
    /// At least one.
    pub devices: Vec<CudaDevice>,
}

/// Why this machine cannot compute with CUDA; the text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "missing", rename_all = "snake_case")]
pub enum NoCuda {
    /// There is no driver.
    #[error("the NVIDIA driver is not installed ({why}); install it, or give the container the device")]
    Driver {
        /// What the system's loader says.
        why: String,
    },
    /// The driver is there and does not work.
    #[error("the NVIDIA driver does not start (CUDA error {status}: {meaning}); `nvidia-smi` tells more")]
    Start {
        /// A `CUresult`.
        status: i32,
        /// In words.
        meaning: String,
    },
    /// The driver shows nothing.
    #[error(
        "the NVIDIA driver shows no device; look at CUDA_VISIBLE_DEVICES and at what the container is given"
    )]
    Device,
    /// There is no runtime compiler.
    #[error("the CUDA runtime compiler is missing ({why}); install NVRTC of CUDA {driver} or older")]
    Compiler {
        /// What the system's loader says.
        why: String,
        /// The newest CUDA that the driver supports.
        driver: Version,
    },
    /// The compiler writes code that the driver does not know.
    #[error(
        "the CUDA runtime compiler is of CUDA {compiler}, the driver supports {driver}; update the driver, or \
         install NVRTC of CUDA {driver} or older"
    )]
    TooNew {
        /// The compiler's version.
        compiler: Version,
        /// The newest CUDA that the driver supports.
        driver: Version,
    },
    /// There are no headers.
    #[error(
        "the CUDA headers are missing (no {header} in {looked_in}); install the CUDA toolkit's headers and set \
         CUDA_PATH to the folder that has them in its folder include"
    )]
    Headers {
        /// The header that is missing.
        header: String,
        /// Where it was looked for.
        looked_in: String,
    },
}

/// Looks for all that CUDA needs.
///
/// # Errors
/// The first thing that is missing.
pub fn probe() -> Result<CudaFound, NoCuda> {
    let driver = Driver::start(driver::LIBRARIES).map_err(refused)?;
    let version = driver.version().map_err(refused)?;
    let devices = devices(&driver).map_err(refused)?;
    if devices.is_empty() {
        return Err(NoCuda::Device);
    }
    let compiler = driver::compiler(COMPILERS).map_err(|refusal| NoCuda::Compiler {
        why: match refusal {
            Refusal::Missing(why) => why,
            Refusal::Status(status) => format!("nvrtcVersion answers {status}"),
        },
        driver: version,
    })?;
    fits(compiler, version)?;
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

fn devices(driver: &Driver) -> Result<Vec<CudaDevice>, Refusal> {
    let device = |index| {
        let device = driver.device(index)?;
        Ok(CudaDevice {
            index,
            name: driver.name(device)?,
            memory_bytes: driver.memory(device)?,
            capability: driver.capability(device)?,
            bus_id: driver.bus_id(device)?,
        })
    };
    (0..driver.count()?).map(device).collect()
}

fn refused(refusal: Refusal) -> NoCuda {
    match refusal {
        Refusal::Missing(why) => NoCuda::Driver { why },
        // CUDA_ERROR_NO_DEVICE
        Refusal::Status(100) => NoCuda::Device,
        Refusal::Status(status) => NoCuda::Start {
            status,
            meaning: meaning(status).to_owned(),
        },
    }
}

/// The errors of `cuda.h` that a start can end with.
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

/// A driver reads no code of a compiler newer than itself.
fn fits(compiler: Version, driver: Version) -> Result<(), NoCuda> {
    match compiler > driver {
        true => Err(NoCuda::TooNew { compiler, driver }),
        false => Ok(()),
    }
}

/// Where the tensor library looks for headers: in the first of these that is there.
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

fn headers(folders: &[PathBuf]) -> Result<(), NoCuda> {
    for header in [HEADER, MATRIX_HEADER] {
        if !folders.iter().any(|folder| folder.join(header).exists()) {
            let looked: Vec<String> = folders
                .iter()
                .map(|folder| folder.display().to_string())
                .collect();
            return Err(NoCuda::Headers {
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

    use super::{HEADER, MATRIX_HEADER, NoCuda, Refusal, Version, driver, fits, folders, headers, refused};

    const fn version(major: u32, minor: u32) -> Version {
        Version { major, minor }
    }

    /// WK-1
    #[test]
    fn a_library_that_is_not_there_is_named() {
        let Err(refusal) = driver::Driver::start(&["libno-such-driver.so"]) else {
            panic!("there is none");
        };
        let message = refused(refusal).to_string();
        assert!(
            message.contains("libno-such-driver.so") && message.contains("install"),
            "{message}"
        );
        let refusal = driver::compiler(&["libno-such-compiler.so.1"]).expect_err("there is none");
        assert!(matches!(refusal, Refusal::Missing(why) if why.contains("libno-such-compiler")));
    }

    /// WK-1: a library of that name without the functions, as a half-removed driver leaves.
    #[test]
    fn a_library_without_the_functions_is_no_driver() {
        let Err(refusal) = driver::Driver::start(&["libc.so.6"]) else {
            panic!("the C library is no driver");
        };
        let message = refused(refusal).to_string();
        assert!(message.contains("cuInit"), "{message}");
        let refusal = driver::compiler(&["libc.so.6"]).expect_err("nor a compiler");
        assert!(matches!(refusal, Refusal::Missing(why) if why.contains("nvrtcVersion")));
    }

    #[test]
    fn what_the_driver_answers_is_told_in_words() {
        assert_eq!(refused(Refusal::Status(100)), NoCuda::Device);
        let message = refused(Refusal::Status(803)).to_string();
        assert!(message.contains("different versions"), "{message}");
        let message = refused(Refusal::Status(12_345)).to_string();
        assert!(message.contains("12345"), "{message}");
    }

    #[test]
    fn a_compiler_may_not_be_newer_than_the_driver() {
        assert_eq!(fits(version(12, 8), version(13, 0)), Ok(()));
        assert_eq!(fits(version(13, 0), version(13, 0)), Ok(()));
        let message = fits(version(13, 1), version(13, 0))
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

        let room = tempfile::tempdir().expect("a folder");
        let places = [room.path().to_path_buf()];
        let message = headers(&places).expect_err("empty").to_string();
        assert!(
            message.contains("cuda_runtime.h") && message.contains("CUDA_PATH"),
            "{message}"
        );
        std::fs::create_dir(room.path().join("include")).expect("made");
        std::fs::write(room.path().join(HEADER), "").expect("written");
        assert!(matches!(headers(&places), Err(NoCuda::Headers { header, .. }) if header == MATRIX_HEADER));
        std::fs::write(room.path().join(MATRIX_HEADER), "").expect("written");
        assert_eq!(headers(&places), Ok(()));
    }
}
