//! TLS to others.
//!
//! One rule: aws-lc-rs by name, so that nothing depends on what the process has installed; trusted are the machine's
//! authorities and those that the operator adds.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use rustls_platform_verifier::Verifier;

/// An authority that the operator gave is no certificate.
#[derive(Debug, thiserror::Error)]
#[error("a certificate of an authority cannot be used: {0}")]
pub struct CertificateError(#[from] rustls::Error);

/// The settings of all connections. Where the machine knows no authority, nobody is trusted but those added; that is told
/// in the log, and no reason not to start: an installation may never call anybody.
pub(crate) fn config(authorities: &[CertificateDer<'static>]) -> Result<Arc<ClientConfig>, CertificateError> {
    let mut added = RootCertStore::empty();
    for authority in authorities {
        added.add(authority.clone())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match Verifier::new_with_extra_roots(authorities.iter().cloned(), provider) {
        Ok(verifier) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier)),
        Err(error) => {
            tracing::warn!(%error, "the machine has no certificates of authorities: no call over TLS will succeed");
            builder.with_root_certificates(added)
        }
    };
    Ok(Arc::new(builder.with_no_client_auth()))
}
