//! Records how this build was made and, for the wheel, builds `csrc/` with `CMake` into `OUT_DIR`.
//!
//! Environment read: `PYO3_PYTHON` (maturin sets it) names the interpreter that `pylm._native` is built for.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // target/<profile>/build/<package>/out: cargo names only the inherited profile elsewhere
    let profile = out
        .ancestors()
        .nth(3)
        .and_then(Path::file_name)
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    println!("cargo:rustc-env=PYLM_PROFILE={profile}");
    println!("cargo:rerun-if-env-changed=PYO3_PYTHON");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../csrc");
    println!("cargo:rerun-if-changed=../CMakeLists.txt");
    if env::var_os("CARGO_FEATURE_NATIVE").is_some() {
        build_native(&out, &profile);
    }
}

fn build_native(out: &Path, profile: &str) {
    let python = env::var("PYO3_PYTHON").unwrap_or_else(|_| "python3".into());
    let pybind11 = run_text(Command::new(&python).args(["-m", "pybind11", "--cmakedir"]));
    let stage = out.join("pylm");
    // a module left by another interpreter's build would be packed beside this one's
    let _ = fs::remove_dir_all(&stage);
    let build = out.join("cmake");
    let kind = if profile == "quick" || profile == "debug" { "RelWithDebInfo" } else { "Release" };
    run(Command::new("cmake")
        .args(["-S", "..", "-B"])
        .arg(&build)
        .arg(format!("-DCMAKE_BUILD_TYPE={kind}"))
        .arg(format!("-DPYLM_PROFILE={profile}"))
        .arg(format!("-DPython_EXECUTABLE={python}"))
        .arg(format!("-Dpybind11_DIR={}", pybind11.trim())));
    let jobs = env::var("NUM_JOBS").unwrap_or_else(|_| "2".into());
    run(Command::new("cmake").arg("--build").arg(&build).args(["--parallel", &jobs]));
    run(Command::new("cmake").arg("--install").arg(&build).arg("--prefix").arg(&stage));
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?} did not start: {error}"));
    assert!(status.success(), "{command:?} failed: {status}");
}

fn run_text(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} did not start: {error}"));
    assert!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a path in UTF-8")
}
