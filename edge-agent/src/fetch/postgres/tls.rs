//! What `sslmode` means: as in PostgreSQL's own library, but that nothing is sent unencrypted to
//! a server that offers encryption and then fails at it, and that `verify-ca` looks at the name in
//! the certificate too.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::fetch::Means;

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Not at all.
    Disable,
    /// If the server can; whoever it is.
    #[default]
    Prefer,
    /// In any case; whoever the server is, unless the agent is told whom to trust
    /// (`fetch_ca_file`).
    Require,
    /// In any case, and the server shows a certificate for its name that is trusted.
    Verify,
}

/// The values of `sslmode`.
const MODES: [(&str, Mode); 6] = [
    ("disable", Mode::Disable),
    ("allow", Mode::Prefer),
    ("prefer", Mode::Prefer),
    ("require", Mode::Require),
    ("verify-ca", Mode::Verify),
    ("verify-full", Mode::Verify),
];

impl Mode {
    /// By the name it has in an address.
    pub(crate) fn named(name: &str) -> Option<Self> {
        MODES.into_iter().find(|(known, _)| *known == name).map(|(_, mode)| mode)
    }

    /// All names, for people.
    pub(crate) fn names() -> String {
        MODES.map(|(name, _)| name).join(", ")
    }

    /// What the library is told.
    pub(crate) fn negotiated(self) -> SslMode {
        match self {
            Self::Disable => SslMode::Disable,
            Self::Prefer => SslMode::Prefer,
            Self::Require | Self::Verify => SslMode::Require,
        }
    }

    /// Whom to trust and what to show.
    pub(crate) fn config(self, means: &Means) -> Result<ClientConfig, Error> {
        // Whoever says whom to trust means it, as in PostgreSQL's own library.
        if self == Self::Verify || self == Self::Require && means.files.ca.is_some() {
            return Ok((*means.tls).clone());
        }
        let provider = Arc::new(ring::default_provider());
        Ok(ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_client_cert_resolver(Arc::clone(&means.tls.client_auth_cert_resolver)))
    }
}

/// What makes TLS of a connection to a host.
pub(super) fn connector(
    config: &ClientConfig,
    host: &str,
) -> <MakeRustlsConnect as MakeTlsConnect<TcpStream>>::TlsConnect {
    let mut connect = MakeRustlsConnect::new(config.clone());
    let Ok(connect) = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut connect, host);
    connect
}

/// Takes any certificate, as `prefer` and `require` do: it keeps listeners out, not impostors.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
