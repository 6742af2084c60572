//! TLS with the platform's trust store, read when the first certificate is checked, and with what
//! the settings add: certificates to trust besides, and a certificate to show.
//!
//! Reading the store costs milliseconds and a megabyte; an agent that talks to plain HTTP
//! on its own machine never pays for it.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, SignatureScheme, WantsVerifier,
    client::WantsClientCert,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem, pem::PemObject},
};
use rustls_platform_verifier::Verifier;

use crate::http::HttpError;

/// One verifier a process: whoever adds no certificate shares the store that was read.
static VERIFIER: OnceLock<Arc<LazyVerifier>> = OnceLock::new();

/// Whom to trust and what to show.
#[derive(Clone)]
pub struct Tls {
    showing: Arc<ClientConfig>,
    trusting: Arc<ClientConfig>,
}

/// Files of the settings that cannot be used. Says nothing of what is in them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// One file, by its setting.
    #[error("{setting}: {path}: {reason}")]
    File {
        /// The setting.
        setting: &'static str,
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate without a key, or a key without a certificate.
    #[error("fetch_cert_file and fetch_key_file belong together: give both, or none")]
    Half,
    /// The TLS library cannot be set up.
    #[error(transparent)]
    Library(#[from] HttpError),
}

impl Tls {
    /// From PEM files: certificates to trust besides the platform's, and a certificate (with its
    /// intermediates) to show to whoever asks for one, with its key. They are read once.
    ///
    /// # Errors
    /// Names the setting and the file that cannot be used, and why.
    pub fn new(
        ca: Option<&Path>,
        certificate: Option<&Path>,
        key: Option<&Path>,
    ) -> Result<Self, TlsError> {
        let verifier = match ca {
            None => platform(),
            Some(path) => Arc::new(LazyVerifier::with(certificates("fetch_ca_file", path)?)),
        };
        let trusting = Arc::new(builder(&verifier)?.with_no_client_auth());
        let showing = match (certificate, key) {
            (None, None) => Arc::clone(&trusting),
            (Some(certificate), Some(path)) => {
                let chain = certificates("fetch_cert_file", certificate)?;
                let wrong = |reason: String| wrong("fetch_key_file", path, reason);
                let key = PrivateKeyDer::from_pem_file(path)
                    .map_err(|error| wrong(why(&error, "key")))?;
                let config = builder(&verifier)?.with_client_auth_cert(chain, key);
                Arc::new(config.map_err(|error| wrong(unusable(&error)))?)
            }
            (Some(_), None) | (None, Some(_)) => return Err(TlsError::Half),
        };
        Ok(Self { showing, trusting })
    }

    /// Shows the certificate, if there is one: for fetches.
    #[must_use]
    pub fn showing(&self) -> &Arc<ClientConfig> {
        &self.showing
    }

    /// Trusts the same and shows nothing: for the hub.
    #[must_use]
    pub fn trusting(&self) -> &Arc<ClientConfig> {
        &self.trusting
    }
}

fn wrong(setting: &'static str, path: &Path, reason: String) -> TlsError {
    TlsError::File { setting, path: path.display().to_string(), reason }
}

fn certificates(
    setting: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(pem::Error::NoItemsFound),
        read => read,
    }
    .map_err(|error| wrong(setting, path, why(&error, "certificate")))
}

fn why(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::Io(error) => format!("cannot be read: {error}"),
        pem::Error::NoItemsFound => format!("holds no {what} in PEM"),
        _ => "is not PEM".to_owned(),
    }
}

fn unusable(error: &Error) -> String {
    match error {
        Error::InconsistentKeys(_) => "is not the key of fetch_cert_file".to_owned(),
        error => format!("cannot be used with fetch_cert_file: {error}"),
    }
}

fn platform() -> Arc<LazyVerifier> {
    Arc::clone(VERIFIER.get_or_init(|| Arc::new(LazyVerifier::with(vec![]))))
}

fn builder(
    verifier: &Arc<LazyVerifier>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, HttpError> {
    // Fails only if another part of the process was first, which is as good.
    let _ = ring::default_provider().install_default();
    let builder: ConfigBuilder<ClientConfig, WantsVerifier> =
        ClientConfig::builder_with_provider(Arc::clone(&verifier.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| HttpError(error.to_string()))?;
    let verifier = Arc::clone(verifier) as Arc<dyn ServerCertVerifier>;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

/// The platform's trust, and no client certificate.
pub(crate) fn config() -> Result<ClientConfig, HttpError> {
    Ok(builder(&platform())?.with_no_client_auth())
}

/// The platform's verifier, made at its first use. It adds no rule and takes none away.
#[derive(Debug)]
struct LazyVerifier {
    provider: Arc<CryptoProvider>,
    also: Vec<CertificateDer<'static>>,
    inner: OnceLock<Result<Verifier, Error>>,
}

impl LazyVerifier {
    /// `also` is trusted besides.
    fn with(also: Vec<CertificateDer<'static>>) -> Self {
        Self { provider: Arc::new(ring::default_provider()), also, inner: OnceLock::new() }
    }

    fn inner(&self) -> Result<&Verifier, Error> {
        self.inner
            .get_or_init(|| {
                Verifier::new_with_extra_roots(self.also.clone(), Arc::clone(&self.provider))
            })
            .as_ref()
            .map_err(Clone::clone)
    }
}

impl ServerCertVerifier for LazyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.inner()?.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner()?.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner()?.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::CertificateError;

    use super::*;

    #[test]
    fn the_trust_store_is_read_at_the_first_certificate_and_strangers_are_refused() {
        let verifier = LazyVerifier::with(vec![]);
        assert!(!verifier.supported_verify_schemes().is_empty());
        assert!(verifier.inner.get().is_none());
        let nonsense = CertificateDer::from(vec![0_u8; 8]);
        let name = ServerName::try_from("example.com").unwrap();
        let error = verifier
            .verify_server_cert(&nonsense, &[], &name, &[], UnixTime::now())
            .expect_err("not a certificate");
        assert!(verifier.inner.get().is_some());
        assert!(
            matches!(
                error,
                Error::InvalidCertificate(CertificateError::BadEncoding) | Error::General(_)
            ),
            "{error:?}"
        );
    }
}
