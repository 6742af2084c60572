//! TLS with the platform's trust store, read when the first certificate is checked.
//!
//! Reading the store costs milliseconds and a megabyte; an agent that talks to plain HTTP
//! on its own machine never pays for it.

use std::sync::{Arc, OnceLock};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use rustls_platform_verifier::Verifier;

use crate::http::HttpError;

/// One verifier a process: the client and the websocket share the store they read.
static VERIFIER: OnceLock<Arc<LazyVerifier>> = OnceLock::new();

/// A configuration without client certificates.
pub(crate) fn config() -> Result<ClientConfig, HttpError> {
    let provider = Arc::new(ring::default_provider());
    // Fails only if another part of the process was first, which is as good.
    let _ = ring::default_provider().install_default();
    let verifier = VERIFIER.get_or_init(|| {
        Arc::new(LazyVerifier { provider: Arc::clone(&provider), inner: OnceLock::new() })
    });
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| HttpError(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(verifier) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    Ok(config)
}

/// The platform's verifier, made at its first use. It adds no rule and takes none away.
#[derive(Debug)]
struct LazyVerifier {
    provider: Arc<CryptoProvider>,
    inner: OnceLock<Result<Verifier, Error>>,
}

impl LazyVerifier {
    fn inner(&self) -> Result<&Verifier, Error> {
        self.inner
            .get_or_init(|| Verifier::new(Arc::clone(&self.provider)))
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
        let provider = Arc::new(ring::default_provider());
        let verifier = LazyVerifier { provider, inner: OnceLock::new() };
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
