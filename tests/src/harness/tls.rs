//! An authority of one test, and a server's certificate by it.
//!
//! The rule: nobody trusts it but who is given its file.

use std::path::PathBuf;

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};

/// Certificates in a folder that ends with this value.
pub struct Authority {
    folder: tempfile::TempDir,
    /// The server's certificate, PEM.
    pub certificate: String,
    /// Its key, PEM.
    pub key: String,
}

impl Authority {
    /// For a server of these names or addresses.
    ///
    /// # Panics
    /// With the reason, when they cannot be made.
    #[must_use]
    pub fn of(names: &[&str]) -> Self {
        let made = Self::make(names);
        made.unwrap_or_else(|error| panic!("certificates for {names:?}: {error}"))
    }

    fn make(names: &[&str]) -> Result<Self, Box<dyn std::error::Error>> {
        let (authority, issuer) = root()?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("ca.pem"), authority.pem())?;
        Ok(Self {
            folder,
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    /// The file with the authority's certificate.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }
}

fn root() -> Result<(Certificate, Issuer<'static, KeyPair>), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = parameters.self_signed(&key)?;
    Ok((certificate, Issuer::new(parameters, key)))
}
