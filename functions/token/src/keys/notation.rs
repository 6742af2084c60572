//! The notations in which a key may be given: PEM (PKCS#8, SEC1, PKCS#1, SPKI), the line
//! that `ssh-keygen` writes for a public key (OPAL's default), and JSON Web Keys.

use std::borrow::Cow;

use base64ct::{Base64, Encoding};
use p256::pkcs8::{ObjectIdentifier, PrivateKeyInfo, SubjectPublicKeyInfoRef};
use rsa::{
    BigUint, RsaPrivateKey, RsaPublicKey,
    pkcs1::{DecodeRsaPrivateKey, DecodeRsaPublicKey},
};

use super::{Fault, PublicKey, SigningKey, VerifyingKey};

const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

impl SigningKey {
    /// Reads the one private key of a setting.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        if text.starts_with(['{', '[']) {
            return Err(Fault::NoKey);
        }
        let text = with_newlines(text);
        if ssh_lines(&text).next().is_some() {
            return Err(Fault::NotPrivate);
        }
        let mut key = None;
        for block in blocks(&text) {
            let block = block?;
            let parsed = match block.label {
                "PRIVATE KEY" => Self::from_pkcs8(&block.der()?)?,
                "EC PRIVATE KEY" => p256::SecretKey::from_sec1_der(&block.der()?)
                    .map(|key| Self::P256(key.into()))
                    .map_err(|_| Fault::Unsupported)?,
                "RSA PRIVATE KEY" => RsaPrivateKey::from_pkcs1_der(&block.der()?)
                    .map(|key| Self::Rsa(Box::new(key)))
                    .map_err(|_| Fault::Unsupported)?,
                // A private key's file often holds more than the key.
                "EC PARAMETERS" | "PUBLIC KEY" | "CERTIFICATE" => continue,
                other => return Err(misplaced(other)),
            };
            parsed.public_key().key.checked()?;
            if key.replace(parsed).is_some() {
                return Err(Fault::Several);
            }
        }
        let only_public =
            || if blocks(&text).next().is_some() { Fault::NotPrivate } else { Fault::NoKey };
        key.ok_or_else(only_public)
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, Fault> {
        let info = PrivateKeyInfo::try_from(der).map_err(|_| Fault::Damaged)?;
        match info.algorithm.oid {
            // An OCTET STRING of 32 bytes (RFC 8410 §7).
            ED25519 => match info.private_key {
                [4, 32, seed @ ..] => ed25519_compact::Seed::from_slice(seed)
                    .and_then(ed25519_compact::KeyPair::try_from_seed)
                    .map(|pair| Self::Ed25519(pair.sk))
                    .map_err(|_| Fault::Damaged),
                _ => Err(Fault::Damaged),
            },
            EC => p256::SecretKey::try_from(info)
                .map(|key| Self::P256(key.into()))
                .map_err(|_| Fault::Unsupported),
            RSA => RsaPrivateKey::try_from(info)
                .map(|key| Self::Rsa(Box::new(key)))
                .map_err(|_| Fault::Unsupported),
            _ => Err(Fault::Unsupported),
        }
    }
}

impl PublicKey {
    /// Reads the public keys of a setting, at least one.
    pub(crate) fn parse_all(text: &str) -> Result<Vec<Self>, Fault> {
        if text.starts_with(['{', '[']) {
            return Self::from_json(text);
        }
        let text = with_newlines(text);
        let mut keys = Vec::new();
        for block in blocks(&text) {
            let block = block?;
            keys.push(match block.label {
                "PUBLIC KEY" => VerifyingKey::from_spki(&block.der()?)?,
                "RSA PUBLIC KEY" => RsaPublicKey::from_pkcs1_der(&block.der()?)
                    .map(VerifyingKey::Rsa)
                    .map_err(|_| Fault::Unsupported)?,
                other => return Err(misplaced(other)),
            });
        }
        for line in ssh_lines(&text) {
            keys.push(VerifyingKey::from_ssh(line)?);
        }
        if keys.is_empty() {
            return Err(Fault::NoKey);
        }
        keys.into_iter().map(|key| key.checked().map(Self::named_by_thumbprint)).collect()
    }
}

impl VerifyingKey {
    fn from_spki(der: &[u8]) -> Result<Self, Fault> {
        let info = SubjectPublicKeyInfoRef::try_from(der).map_err(|_| Fault::Damaged)?;
        match info.algorithm.oid {
            ED25519 => ed25519_compact::PublicKey::from_slice(info.subject_public_key.raw_bytes())
                .map(Self::Ed25519)
                .map_err(|_| Fault::Damaged),
            EC => info.try_into().map(Self::P256).map_err(|_| Fault::Unsupported),
            RSA => info.try_into().map(Self::Rsa).map_err(|_| Fault::Unsupported),
            _ => Err(Fault::Unsupported),
        }
    }

    /// Reads `ssh-rsa AAAA… comment` (RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709 §4).
    fn from_ssh(line: &str) -> Result<Self, Fault> {
        let blob = line.split_whitespace().nth(1).and_then(|word| Base64::decode_vec(word).ok());
        let fields = blob.as_deref().and_then(ssh_fields).ok_or(Fault::Damaged)?;
        match fields.as_slice() {
            [b"ssh-ed25519", key] => ed25519_compact::PublicKey::from_slice(key)
                .map(Self::Ed25519)
                .map_err(|_| Fault::Damaged),
            [b"ecdsa-sha2-nistp256", b"nistp256", point] => {
                p256::ecdsa::VerifyingKey::from_sec1_bytes(point)
                    .map(Self::P256)
                    .map_err(|_| Fault::Damaged)
            }
            [b"ssh-rsa", exponent, modulus] => {
                let number = BigUint::from_bytes_be;
                RsaPublicKey::new(number(modulus), number(exponent))
                    .map(Self::Rsa)
                    .map_err(|_| Fault::Unsupported)
            }
            _ => Err(Fault::Unsupported),
        }
    }
}

/// What a PEM block that we cannot use most likely is.
fn misplaced(label: &str) -> Fault {
    match label {
        "ENCRYPTED PRIVATE KEY" => Fault::Encrypted,
        "OPENSSH PRIVATE KEY" => Fault::OpenSsh,
        "CERTIFICATE" => Fault::Certificate,
        "RSA PUBLIC KEY" => Fault::NotPrivate,
        "PRIVATE KEY" | "EC PRIVATE KEY" | "RSA PRIVATE KEY" => Fault::NotPublic,
        _ => Fault::Unsupported,
    }
}

/// Gives a key that was squeezed into one line its lines back: a written-out `\n`, or
/// OPAL's `_` (`spec/opal-protocol.md` §3.1), which base64 never holds.
fn with_newlines(text: &str) -> Cow<'_, str> {
    let text =
        if text.contains("\\n") { text.replace("\\n", "\n").into() } else { Cow::from(text) };
    if text.contains('\n') { text } else { text.replace('_', "\n").into() }
}

struct Block<'a> {
    label: &'a str,
    body: &'a str,
}

impl Block<'_> {
    fn der(&self) -> Result<Vec<u8>, Fault> {
        // Only headers hold a colon, and the ones in use are those of encryption (RFC 1421).
        if self.body.contains(':') {
            return Err(Fault::Encrypted);
        }
        let base64: String = self.body.split_whitespace().collect();
        Base64::decode_vec(&base64).map_err(|_| Fault::Damaged)
    }
}

/// The PEM blocks of a text, however its lines are broken.
fn blocks(text: &str) -> impl Iterator<Item = Result<Block<'_>, Fault>> {
    text.split("-----BEGIN ").skip(1).map(|rest| {
        let (label, rest) = rest.split_once("-----").ok_or(Fault::Damaged)?;
        let (body, end) = rest.split_once("-----END ").ok_or(Fault::Damaged)?;
        let ends = end.strip_prefix(label).is_some_and(|end| end.starts_with("-----"));
        if ends { Ok(Block { label, body }) } else { Err(Fault::Damaged) }
    })
}

fn ssh_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| line.starts_with("ssh-") || line.starts_with("ecdsa-"))
}

/// Splits an SSH key's fields, each behind its length in four bytes.
fn ssh_fields(mut blob: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Vec::new();
    while !blob.is_empty() {
        let (length, rest) = blob.split_first_chunk::<4>()?;
        let (field, rest) = rest.split_at_checked(u32::from_be_bytes(*length).try_into().ok()?)?;
        fields.push(field);
        blob = rest;
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use p256::pkcs8::LineEnding;
    use rsa::{
        pkcs1::{EncodeRsaPrivateKey, EncodeRsaPublicKey},
        pkcs8::{EncodePrivateKey, EncodePublicKey},
        rand_core::OsRng,
    };

    use super::*;
    use crate::{
        Authority, KeyError, PRIVATE_KEY, PUBLIC_KEY, Settings,
        testkeys::{self, Pair, pem},
    };

    fn private(text: &str) -> Result<Authority, KeyError> {
        Authority::new(&Settings { private_key: Some(text.to_owned()), ..Settings::default() })
    }

    fn public(text: &str) -> Result<Authority, KeyError> {
        Authority::new(&Settings { public_keys: Some(text.to_owned()), ..Settings::default() })
    }

    /// The line that `ssh-keygen` writes.
    fn ssh(fields: &[&[u8]]) -> String {
        let blob: Vec<u8> = fields
            .iter()
            .flat_map(|field| {
                [&u32::try_from(field.len()).unwrap().to_be_bytes()[..], field].concat()
            })
            .collect();
        let name = str::from_utf8(fields[0]).unwrap();
        format!("{name} {} some_body@host", Base64::encode_string(&blob))
    }

    fn ssh_of(pair: &Pair) -> String {
        match PublicKey::parse_all(&pair.public).unwrap().remove(0).key {
            VerifyingKey::Ed25519(key) => ssh(&[b"ssh-ed25519", &key[..]]),
            VerifyingKey::P256(key) => {
                let point = key.to_encoded_point(false);
                ssh(&[b"ecdsa-sha2-nistp256", b"nistp256", point.as_bytes()])
            }
            VerifyingKey::Rsa(key) => {
                use rsa::traits::PublicKeyParts;
                let modulus = [&[0], key.n().to_bytes_be().as_slice()].concat();
                ssh(&[b"ssh-rsa", &key.e().to_bytes_be(), &modulus])
            }
        }
    }

    #[test]
    fn a_key_is_the_same_key_in_every_notation() {
        for pair in testkeys::all() {
            let expected = private(&pair.private).unwrap().jwks();

            let one_line = pair.private.trim();
            let mut privates = vec![
                one_line.replace('\n', "\\n"),
                one_line.replace('\n', "_"),
                one_line.replace('\n', " "),
                one_line.replace('\n', "\r\n"),
                format!("{}{}", pair.public, pair.private),
            ];
            match SigningKey::parse(&pair.private).unwrap() {
                SigningKey::Ed25519(_) => {}
                SigningKey::P256(key) => {
                    let key = p256::SecretKey::from(&key);
                    let sec1 = key.to_sec1_pem(LineEnding::LF).unwrap().to_string();
                    // As `openssl ecparam -genkey` writes it.
                    let parameters = pem("EC PARAMETERS", b"\x06\x08*\x86H\xce=\x03\x01\x07");
                    privates.push(format!("{parameters}{sec1}"));
                    privates.push(sec1);
                }
                SigningKey::Rsa(key) => {
                    privates.push(key.to_pkcs1_pem(LineEnding::LF).unwrap().to_string());
                }
            }
            for text in privates {
                assert_eq!(private(&text).unwrap().jwks(), expected, "{}", pair.algorithm);
            }

            let mut publics =
                vec![pair.public.clone(), pair.public.trim().replace('\n', "_"), ssh_of(&pair)];
            if let VerifyingKey::Rsa(key) = &PublicKey::parse_all(&pair.public).unwrap()[0].key {
                publics.push(key.to_pkcs1_pem(LineEnding::LF).unwrap());
            }
            for text in publics {
                assert_eq!(public(&text).unwrap().jwks(), expected, "{text}");
            }
        }
    }

    #[test]
    fn several_public_keys_may_stand_one_after_the_other() {
        let pairs = testkeys::all();
        let text = format!("{}\n{}\n{}\n", pairs[0].public, ssh_of(&pairs[1]), ssh_of(&pairs[2]));
        assert_eq!(public(&text).unwrap().jwks()["keys"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn an_unusable_key_is_refused_with_the_fix_and_never_repeated() {
        let [ed25519, p256, _] = testkeys::all();
        let secret = ed25519.private.lines().nth(1).unwrap();
        let short = RsaPrivateKey::new(&mut OsRng, 1024).unwrap();
        let short_private = short.to_pkcs8_pem(LineEnding::LF).unwrap().to_string();
        let short_public = short.to_public_key().to_public_key_pem(LineEnding::LF).unwrap();
        let half = |text: &str| text.chars().take(text.len() / 2).collect::<String>();
        // Ed448's object identifier in place of Ed25519's.
        let ed448 = pem(
            "PUBLIC KEY",
            &[&b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x71\x03\x21\x00"[..], &[7; 32]].concat(),
        );
        let all_zero = pem(
            "PUBLIC KEY",
            &[&b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"[..], &[0; 32]].concat(),
        );
        let old_encryption = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----";
        let swapped_ends = ed25519.private.replace("END PRIVATE", "END PUBLIC");

        for (text, words) in [
            ("/etc/keys/private.pem", "not the name of a file"),
            (secret, "not the name of a file"),
            (r#"{"kty":"OKP"}"#, "as PEM text"),
            (&half(&ed25519.private), "cut off"),
            (&swapped_ends, "cut off"),
            (&ed25519.private.replacen('M', "!", 1), "cut off"),
            (&pem("PRIVATE KEY", b"nonsense"), "cut off"),
            (&pem("EC PRIVATE KEY", b"nonsense"), "not supported"),
            (&pem("RSA PRIVATE KEY", b"nonsense"), "not supported"),
            (&pem("DSA PRIVATE KEY", b"nonsense"), "not supported"),
            (&pem("ENCRYPTED PRIVATE KEY", b""), "passphrase"),
            (old_encryption, "passphrase"),
            (&pem("OPENSSH PRIVATE KEY", b""), "ssh-keygen -p"),
            (&ed25519.public, "holds a public key"),
            (&ssh_of(&ed25519), "holds a public key"),
            (&format!("{}{}", ed25519.private, p256.private), "several private keys"),
            (&short_private, "1024 bits"),
        ] {
            let error = private(text).err().expect(words);
            assert_eq!(error.setting(), PRIVATE_KEY);
            let told = error.to_string();
            assert!(told.starts_with("GIRASOL_AUTH_PRIVATE_KEY: "), "{told}");
            assert!(told.contains(words), "{words}: {told}");
            assert!(!told.contains(secret), "{told}");
        }
        for (text, words) in [
            ("key.pub", "not the name of a file"),
            (&half(&p256.public), "cut off"),
            (&p256.private, "openssl pkey -in key.pem -pubout"),
            (&format!("{}{}", ed25519.public, p256.private), "openssl pkey -in key.pem -pubout"),
            (&pem("CERTIFICATE", b""), "openssl x509"),
            (&short_public, "1024 bits"),
            (&ed448, "not supported"),
            (&all_zero, "damaged"),
            ("ssh-rsa AAAA", "damaged"),
            ("ssh-ed25519", "damaged"),
            (&ssh(&[b"ssh-dss", b"x"]), "not supported"),
            ("{", "not a valid JWK"),
            ("[]", "not a valid JWK"),
            (r#"{"keys":5}"#, "not a valid JWK"),
            (r#"{"kty":"OKP","crv":"Ed25519","x":"!"}"#, "not a valid JWK"),
            (r#"{"kty":"oct","k":"AAAA"}"#, "not supported"),
            (r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA","d":"AAAA"}"#, "holds a private key"),
        ] {
            let error = public(text).err().expect(words);
            assert_eq!(error.setting(), PUBLIC_KEY);
            assert!(error.to_string().contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_text_that_breaks_off_anywhere_is_refused_and_nothing_worse() {
        for pair in testkeys::all() {
            for end in 0..pair.private.trim_end().len() {
                let text: String = pair.private.chars().take(end).collect();
                // Without any text there is no key, which is allowed.
                assert_eq!(private(&text).is_err(), end > 0, "{end}");
            }
        }
    }

    #[test]
    fn openssh_lines_are_read_as_ssh_keygen_writes_them() {
        // What `ssh-keygen -y` makes of the RSA test key.
        let line = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCse9yKIzRK9b0YVl4cfJDbSrlRk3Eu9C3kCBT8KEiItFKF5K0CcfXEUCK2BSpeFnf0jPSoBGEbxnrOuFItrrii3WxpYBqD/Mzs82BUAdgFXIoNVLYu9MUoyn5GhTBweowRGqeSfY/5gnHlpkZzp3/3zM//7TBOf8udAt4TjU1BpdU73KDfjpSmtRST2GYhmcQNdJtGnKRg3T2tnTiZe2eZcbGUHmYJm3ujaYf4u5AgcMr08/DZ1nE6BHQB2sxrTe3lHNMedba9libkMAcO6a9SVcvZrav66eHcZjNW4KjP+4owIQj9xe2/FlDTF81t6FMvBv56A/wAWasfOenghZL/";
        assert_eq!(public(line).unwrap().jwks(), public(&testkeys::rsa().public).unwrap().jwks());
    }

    #[test]
    fn pkcs8_with_the_public_key_inside_is_read_too() {
        // RFC 8410 §10.3: version 2, with an attribute and the public key.
        let text = "-----BEGIN PRIVATE KEY-----
MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB
Z9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PRIVATE KEY-----";
        assert_eq!(
            private(text).unwrap().jwks()["keys"][0]["x"],
            "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE"
        );
    }
}
