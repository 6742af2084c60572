//! Key pairs for tests. They are public, so they protect nothing.

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use p256::pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding};
use rsa::{RsaPrivateKey, pkcs8::DecodePrivateKey};

/// A key pair as a setting gives it.
pub(crate) struct Pair {
    /// The `alg` of its tokens.
    pub(crate) algorithm: &'static str,
    /// PKCS#8 PEM.
    pub(crate) private: String,
    /// SPKI PEM.
    pub(crate) public: String,
}

/// One pair of each algorithm.
pub(crate) fn all() -> [Pair; 3] {
    [ed25519(1), p256(1), rsa()]
}

/// The Ed25519 pair whose seed is this byte, 32 times.
pub(crate) fn ed25519(byte: u8) -> Pair {
    let pair = ed25519_compact::KeyPair::from_seed(ed25519_compact::Seed::new([byte; 32]));
    let private =
        [b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20", &[byte; 32][..]];
    let public = [b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00", &pair.pk[..]];
    Pair {
        algorithm: "EdDSA",
        private: pem("PRIVATE KEY", &private.concat()),
        public: pem("PUBLIC KEY", &public.concat()),
    }
}

/// The P-256 pair whose secret number is this byte, 32 times.
pub(crate) fn p256(byte: u8) -> Pair {
    let key = p256::SecretKey::from_slice(&[byte; 32]).unwrap();
    Pair {
        algorithm: "ES256",
        private: key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string(),
        public: key.public_key().to_public_key_pem(LineEnding::LF).unwrap(),
    }
}

/// The only RSA pair; to make one takes seconds.
pub(crate) fn rsa() -> Pair {
    let key = RsaPrivateKey::from_pkcs8_pem(RSA_TEST_KEY).unwrap();
    Pair {
        algorithm: "RS256",
        private: RSA_TEST_KEY.to_owned(),
        public: key.to_public_key().to_public_key_pem(LineEnding::LF).unwrap(),
    }
}

/// A token with any payload, signed by the Ed25519 key of this byte as OPAL signs it: without
/// `kid`.
pub(crate) fn sign(byte: u8, payload: &serde_json::Value) -> String {
    sign_with(byte, &serde_json::json!({"alg": "EdDSA"}), payload)
}

/// A token with any header and payload.
pub(crate) fn sign_with(
    byte: u8,
    header: &serde_json::Value,
    payload: &serde_json::Value,
) -> String {
    let signed = format!("{}.{}", encode(header), encode(payload));
    let pair = ed25519_compact::KeyPair::from_seed(ed25519_compact::Seed::new([byte; 32]));
    let signature = pair.sk.sign(&signed, None);
    format!("{signed}.{}", Base64UrlUnpadded::encode_string(signature.as_ref()))
}

/// A part of a token.
pub(crate) fn encode(part: &serde_json::Value) -> String {
    Base64UrlUnpadded::encode_string(part.to_string().as_bytes())
}

/// A PEM block.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", Base64::encode_string(der))
}

/// Made by `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048`.
const RSA_TEST_KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQCse9yKIzRK9b0Y
Vl4cfJDbSrlRk3Eu9C3kCBT8KEiItFKF5K0CcfXEUCK2BSpeFnf0jPSoBGEbxnrO
uFItrrii3WxpYBqD/Mzs82BUAdgFXIoNVLYu9MUoyn5GhTBweowRGqeSfY/5gnHl
pkZzp3/3zM//7TBOf8udAt4TjU1BpdU73KDfjpSmtRST2GYhmcQNdJtGnKRg3T2t
nTiZe2eZcbGUHmYJm3ujaYf4u5AgcMr08/DZ1nE6BHQB2sxrTe3lHNMedba9libk
MAcO6a9SVcvZrav66eHcZjNW4KjP+4owIQj9xe2/FlDTF81t6FMvBv56A/wAWasf
OenghZL/AgMBAAECggEAFONBD2d4/zToK+jVp8x7/Fp9u7/HvqBqaEmERQ8ZzZhM
wBMz0m57jUUJFxLkERXWfAKP5EL3gZYVLDCNHyQgDvUSmmY9f8tfA7jravD4OJn+
y+N81o3kzG5NQXwCpDRq/u1D6s0S4OvnoCB1Oq9Ho3olnEAcj/0Q6tg8jZCYkQDx
vOcIE82nTHGBKaLuHJaWfbo/KZqEuAAQul4Dwi8jrxCSz6ydVixDl2iG/MtTrdiH
3Z5eo+U3X7qGZzHtXdimq7OJl7Mw0b/5AppgeARnbmJKd3fIu4o5rLLCmidxXsK6
dtRQuJXKfydkCg7lP4Nvs0Fy4d2DMA5FTr24onkb/QKBgQDWFAvs9xReOBuMYOTQ
80aYBndbR07dqnG2J3ouOiH6JqqU9Wjr7hy36oaO8rHpk8N9QcmCGvt3DagVwaUQ
gAuP31c8/BvTQFWoSnNSdKfxnB6Pg3mJyCN4S08IAehzSNeM0TiZhvwAuZAEOaU3
IMNys3Kwcs2ys/J104X3oU607QKBgQDOQqTBK7EHSWYUilzC++LamlfgedKQXE27
zAtDhhNzy9QRDFVaiR0ymMWbY9xARrT1HrdFLNIhYdxW+FERrc+Ziij1M4CQIB6N
hDnbR+1oydo/EfU6VN78CzrmNcKpzeg6adVvWrWiWcPOJCqx1bXL3WxVyq/frILn
hqp/z/i2GwKBgEnNy3a8j/cTnNu+o+Qtms7am9eKM/RTyLQl1AeP3xrgrbqBCNUd
2CTH4+/wV8nROXo7bf8+0ibvPF2TzxZrLpFBTFAoEme4LE/CqxNoSGYRjq+nggUw
TJoyTGLUVZE5MabIkpzLXqHZV389aGojD37Bwu52BdhwFUztyaffosTZAoGABy3I
oDSOF8vVMrfSHLM5pRQkJNr4mi+sQPIMHlCHUstwWRuNyPXmv0ET96GVI+OSHsnv
5Qd3VNQcICbKY4wiIpztagNd4SZNCe3lOZ2aRMBpyTItz9buX+VgKm0KlnBlOcs/
M337vmfTadRWbBQdHLhbMe05C9bsQ3SrcIFjjasCgYEAhafl53drXVePggNZMtID
qS4gM3xc5I4DQDYoMuTyEUJCflU7Hitj9eNw8AS9iaBlpQhTec5cCpU9iwFLCF9d
Y2Bp7XhCKOsg5lP0AlepYQTPNY9AEMyw9vZwX7h4RmVAnCB6l/j0QsGTQXR63JZa
rKS3Bp2jP+h1rbhRitY3x/k=
-----END PRIVATE KEY-----";

/// A moment between two seconds: 2026-11-22T01:19:20.643Z.
pub(crate) const NOW: protocol::Millis = protocol::Millis(1_795_310_360_643);

/// The test authorities' master token, as its header.
pub(crate) const MASTER: Option<&str> = Some("Bearer master");
