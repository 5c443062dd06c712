//! What trainings can be computed on, as an operator and as workers see it (WK-1).
//!
//! NVIDIA's libraries are not on most machines. Where a test needs them to answer, the C compiler makes libraries of
//! their names with the functions that the probe asks; they show that the answers are read rightly, not that a GPU
//! computes.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use tests::harness::app::program;

/// What the stub of the driver gives, as C.
struct Driver {
    init: i32,
    version: i32,
    devices: i32,
}

const GOOD: Driver = Driver {
    init: 0,
    version: 13_000,
    devices: 2,
};

/// Makes `libcuda.so.1` in `folder`.
fn driver(
    folder: &Path,
    Driver {
        init,
        version,
        devices,
    }: &Driver,
) {
    let source = format!(
        r#"#include <stddef.h>
        #include <string.h>
        int cuInit(unsigned flags) {{ return flags == 0 ? {init} : 1; }}
        int cuDriverGetVersion(int *version) {{ *version = {version}; return 0; }}
        int cuDeviceGetCount(int *count) {{ *count = {devices}; return 0; }}
        int cuDeviceGet(int *device, int index) {{ *device = 40 + index; return index < {devices} ? 0 : 101; }}
        int cuDeviceGetName(char *name, int length, int device) {{
            strncpy(name, device == 40 ? "Stub A" : "Stub B", length); return 0; }}
        int cuDeviceGetPCIBusId(char *name, int length, int device) {{
            strncpy(name, "0000:17:00.0", length); return device < 40; }}
        int cuDeviceTotalMem_v2(size_t *bytes, int device) {{ *bytes = (size_t)(device - 39) << 30; return 0; }}
        int cuDeviceGetAttribute(int *value, int attribute, int device) {{
            *value = attribute == 75 ? 9 : attribute == 76 ? 0 : -1; return device < 40; }}"#
    );
    library(folder, "libcuda.so.1", &source);
}

/// Makes `libnvrtc.so.13` in `folder`.
fn compiler(folder: &Path, major: u32, minor: u32) {
    let source = format!(
        "int nvrtcVersion(int *major, int *minor) {{ *major = {major}; *minor = {minor}; return 0; }}"
    );
    library(folder, "libnvrtc.so.13", &source);
}

fn headers(folder: &Path) {
    fs::create_dir_all(folder.join("include")).expect("made");
    for name in ["cuda_runtime.h", "mma.h"] {
        fs::write(folder.join("include").join(name), "").expect("written");
    }
}

fn library(folder: &Path, name: &str, source: &str) {
    let file = folder.join("stub.c");
    fs::write(&file, source).expect("written");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&folder.join(name), &file])
        .status();
    assert!(made.expect("a C compiler is there").success());
}

/// `anneal devices` with `words`, which finds NVIDIA's things in `folder` alone.
fn devices(folder: &Path, words: &[&str]) -> Output {
    Command::new(program())
        .arg("devices")
        .args(words)
        .env("LD_LIBRARY_PATH", folder)
        .env("CUDA_PATH", folder)
        .output()
        .expect("the binary is built")
}

fn survey(folder: &Path) -> Value {
    let output = devices(folder, &["--json"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The driver's own files tell whether this machine has one.
#[test]
fn a_machine_is_told_that_the_driver_is_missing_just_when_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = devices(folder.path(), &[]);
    assert!(
        output.status.success(),
        "nothing is wrong with a machine without a GPU"
    );
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("cpu"), "{said}");
    assert_eq!(
        said.contains("the NVIDIA driver is not installed"),
        !Path::new("/dev/nvidiactl").exists(),
        "{said}"
    );
}

#[test]
fn the_processor_is_checked_on_demand() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = devices(folder.path(), &["--check", "cpu"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("logits of Llama in f32") && said.contains("cpu computes rightly"),
        "{said}"
    );
    let output = devices(folder.path(), &["--check", "gpu"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cuda:0"));
}

#[test]
fn what_a_driver_shows_is_read_device_by_device() {
    let folder = tempfile::tempdir().expect("a folder");
    driver(folder.path(), &GOOD);
    compiler(folder.path(), 12, 8);
    headers(folder.path());
    let found = &survey(folder.path())["cuda"]["Ok"];
    assert_eq!(found["driver"], serde_json::json!({"major": 13, "minor": 0}));
    assert_eq!(found["compiler"], serde_json::json!({"major": 12, "minor": 8}));
    let second = &found["devices"][1];
    assert_eq!(
        (&second["index"], &second["name"]),
        (&Value::from(1), &Value::from("Stub B"))
    );
    assert_eq!(second["memory_bytes"], Value::from(2u64 << 30));
    assert_eq!(second["capability"], serde_json::json!({"major": 9, "minor": 0}));
    assert_eq!(second["bus_id"], "0000:17:00.0");
    let said = devices(folder.path(), &[]).stdout;
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.contains("cuda:1  Stub B, 2.0 GiB, compute capability 9.0"),
        "{said}"
    );
}

/// Half of an installation, in every way that one meets: each is a message, none a crash.
#[test]
fn what_is_missing_is_said_one_thing_after_the_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = |what: &str| {
        let found = survey(folder.path());
        assert_eq!(found["cuda"]["Err"]["missing"], what, "{found}");
    };
    driver(folder.path(), &Driver { init: 100, ..GOOD });
    missing("device");
    driver(folder.path(), &Driver { init: 803, ..GOOD });
    missing("start");
    driver(folder.path(), &Driver { devices: 0, ..GOOD });
    missing("device");
    driver(folder.path(), &GOOD);
    missing("compiler");
    compiler(folder.path(), 13, 1);
    missing("too_new");
    compiler(folder.path(), 13, 0);
    missing("headers");
    headers(folder.path());
    assert!(survey(folder.path())["cuda"]["Ok"].is_object());
}

/// A build without CUDA says so, and what to do; a build with it says what is missing here.
#[test]
fn a_gpu_that_cannot_be_used_is_a_message_and_no_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = devices(folder.path(), &["--check", "cuda:0"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("CUDA") && !said.contains("panicked"), "{said}");
}
