//! What fetchers share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::http::{self, HttpError};
use crate::net::{Proxies, Reach, Refused, Tls, TlsError};
use crate::settings::{FetchSettings, Secret};

/// Bytes of JSON that one fetch brings at most, unless the settings say otherwise.
const MAX_BYTES: usize = 64 << 20;

/// Where to connect, how, and how much to bring.
#[derive(Clone)]
pub struct Means {
    /// Where they may connect to.
    pub reach: Arc<Reach>,
    /// TLS as the settings have it: whom to trust, what to show.
    pub tls: Arc<rustls::ClientConfig>,
    /// An HTTP client made of the two; it follows no redirects. Whoever uses it asks
    /// [`Means::check_http`] first.
    pub http: reqwest::Client,
    /// Bytes of JSON that one fetch may bring.
    pub max_bytes: usize,
    /// The time one fetch may take.
    pub timeout: Duration,
    /// The files behind [`Means::tls`], for libraries that make TLS of them by themselves.
    pub files: TlsFiles,
    /// The proxies that the client uses.
    pub proxies: Arc<Proxies>,
}

/// Files of the settings, in PEM. They were read and found good before.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// Certificates to trust besides the platform's.
    pub ca: Option<PathBuf>,
    /// The certificate to show.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// Why there are no means to fetch with.
#[derive(Debug, thiserror::Error)]
pub enum MeansError {
    /// A rule of `fetch_allow` or `fetch_deny` cannot be read.
    #[error("{0}")]
    Rules(String),
    /// A file of the settings cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The client cannot be set up.
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl Means {
    /// With the platform's trust store, and nothing refused or allowed but what always is.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn standard(timeout: Duration) -> Result<Self, HttpError> {
        let proxies = Arc::new(Proxies::new(None));
        Self::with(Arc::default(), http::tls_config()?, proxies, MAX_BYTES, timeout)
    }

    /// As the settings have it.
    ///
    /// # Errors
    /// Names the setting that cannot be followed.
    pub fn new(settings: &FetchSettings, tls: &Tls, timeout: Duration) -> Result<Self, MeansError> {
        let reach = Reach::new(&settings.allow, &settings.deny).map_err(MeansError::Rules)?;
        let proxy = settings.proxy.as_ref().map(Secret::expose);
        let proxies = Arc::new(Proxies::new(proxy));
        let tls = Arc::clone(tls.showing());
        let files = TlsFiles {
            ca: settings.ca_file.clone(),
            certificate: settings.cert_file.clone(),
            key: settings.key_file.clone(),
        };
        let means = Self::with(Arc::new(reach), tls, proxies, settings.max_bytes, timeout)?;
        Ok(Self { files, ..means })
    }

    /// The same with other limits of reach.
    ///
    /// # Errors
    /// The client cannot be set up.
    pub fn reaching(&self, reach: Reach) -> Result<Self, HttpError> {
        let (tls, proxies) = (Arc::clone(&self.tls), Arc::clone(&self.proxies));
        let means = Self::with(Arc::new(reach), tls, proxies, self.max_bytes, self.timeout)?;
        Ok(Self { files: self.files.clone(), ..means })
    }

    /// Whether [`Means::http`] may be asked for this address; names that it resolves itself are
    /// looked at again when it does.
    ///
    /// # Errors
    /// It may not.
    pub fn check_http(&self, url: &Url) -> Result<(), Refused> {
        if self.proxies.carry(url) {
            self.reach.check_unresolved(url)
        } else {
            self.reach.check(url)
        }
    }

    fn with(
        reach: Arc<Reach>,
        tls: Arc<rustls::ClientConfig>,
        proxies: Arc<Proxies>,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<Self, HttpError> {
        let config = rustls::ClientConfig::clone(&tls);
        let http = http::fetching_client(Arc::clone(&reach), config, &proxies, timeout)?;
        Ok(Self { reach, tls, http, max_bytes, timeout, files: TlsFiles::default(), proxies })
    }
}
