//! The TLS provider of a process.
//!
//! The rule: aws-lc-rs, and no other; it is installed before anything else happens, so that no library chooses by
//! itself. Where two providers are built in and none is installed, `rustls::ClientConfig::builder()` panics.

/// Makes aws-lc-rs the provider of this process. Calling it again changes nothing.
pub fn install() {
    let installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if installed.is_err() {
        // There is one provider in the build (`tests/it/architecture.rs`), so the one that was there is the same.
        tracing::trace!("the TLS provider was installed already");
    }
}
