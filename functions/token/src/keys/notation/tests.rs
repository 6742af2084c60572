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

fn fields(fields: &[&[u8]]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|field| [&u32::try_from(field.len()).unwrap().to_be_bytes()[..], field].concat())
        .collect()
}

/// The line that `ssh-keygen` writes.
fn ssh(all: &[&[u8]]) -> String {
    let (fields, blob) = (all, fields(all));
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

/// The block of a private key that `ssh-keygen` writes.
fn openssh(pair: &Pair) -> String {
    let secret = match SigningKey::parse(&pair.private).unwrap() {
        SigningKey::Ed25519(key) => fields(&[b"ssh-ed25519", &key.public_key()[..], &key[..]]),
        SigningKey::P256(key) => {
            let point = key.verifying_key().to_encoded_point(false);
            // A number whose first bit is set gets a zero in front; ours does not have it set.
            let number = key.to_bytes();
            fields(&[b"ecdsa-sha2-nistp256", b"nistp256", point.as_bytes(), &number])
        }
        SigningKey::Rsa(key) => {
            use rsa::traits::{PrivateKeyParts, PublicKeyParts};
            let number = |number: &rsa::BigUint| [&[0], &number.to_bytes_be()[..]].concat();
            let (n, e, d) = (number(key.n()), number(key.e()), number(key.d()));
            let (p, q) = (number(&key.primes()[0]), number(&key.primes()[1]));
            fields(&[b"ssh-rsa", &n, &e, &d, b"unused", &p, &q])
        }
    };
    let padding = [&fields(&[b"some body"])[..], &[1, 2, 3]].concat();
    openssh_block(b"none", &[&[7; 8][..], &secret, &padding].concat())
}

fn openssh_block(cipher: &[u8], secret: &[u8]) -> String {
    let head = fields(&[cipher, b"none", b""]);
    let keys = fields(&[b"public", secret]);
    pem(
        "OPENSSH PRIVATE KEY",
        &[&b"openssh-key-v1\0"[..], &head, &1_u32.to_be_bytes(), &keys].concat(),
    )
}

/// A text's bytes between the lines of its PEM.
fn der_of(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with("-----")).collect()
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
            der_of(one_line),
            Base64::encode_string(pair.private.as_bytes()),
            openssh(&pair),
            openssh(&pair).trim().replace('\n', "_"),
            Base64::encode_string(openssh(&pair).as_bytes()),
        ];
        match SigningKey::parse(&pair.private).unwrap() {
            SigningKey::Ed25519(_) => {}
            SigningKey::P256(key) => {
                let key = p256::SecretKey::from(&key);
                let sec1 = key.to_sec1_pem(LineEnding::LF).unwrap().to_string();
                // As `openssl ecparam -genkey` writes it.
                let parameters = pem("EC PARAMETERS", b"\x06\x08*\x86H\xce=\x03\x01\x07");
                privates.push(format!("{parameters}{sec1}"));
                privates.push(der_of(&sec1));
                privates.push(sec1);
            }
            SigningKey::Rsa(key) => {
                let pkcs1 = key.to_pkcs1_pem(LineEnding::LF).unwrap().to_string();
                privates.push(der_of(&pkcs1));
                privates.push(pkcs1);
            }
        }
        for text in privates {
            assert_eq!(private(&text).unwrap().jwks(), expected, "{}", pair.algorithm);
        }

        let mut publics = vec![
            pair.public.clone(),
            pair.public.trim().replace('\n', "_"),
            ssh_of(&pair),
            der_of(&pair.public),
            Base64::encode_string(pair.public.as_bytes()),
            Base64::encode_string(ssh_of(&pair).as_bytes()),
        ];
        if let VerifyingKey::Rsa(key) = &PublicKey::parse_all(&pair.public).unwrap()[0].key {
            let pkcs1 = key.to_pkcs1_pem(LineEnding::LF).unwrap();
            publics.push(der_of(&pkcs1));
            publics.push(pkcs1);
        }
        for text in publics {
            assert_eq!(public(&text).unwrap().jwks(), expected, "{text}");
        }
    }
}

#[test]
fn keys_that_are_no_pair_are_told_of_and_a_rotation_works() {
    let [old, new, _] = testkeys::all();
    for (public, warned) in [
        (new.public.clone(), false),
        (ssh_of(&new), false),
        (format!("{}{}", old.public, new.public), false),
        (old.public.clone(), true),
        (String::new(), false),
    ] {
        let authority = Authority::new(&Settings {
            private_key: Some(new.private.clone()),
            public_keys: Some(public.clone()),
            ..Settings::default()
        });
        let warning = authority.unwrap().warning();
        assert_eq!(warning.is_some(), warned, "{public}");
        assert!(warning.is_none_or(|text| text.contains("openssl pkey")));
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

    // One key's seed with another one's public half.
    let mixed = fields(&[b"ssh-ed25519", &[9; 32], &[[1; 32], [9; 32]].concat()]);

    for (text, words) in [
        ("/etc/keys/private.pem", "not the name of a file"),
        ("a-name-without-a-dot/that-could-be-base64/and/is/long", "not the name of a file"),
        (&Base64::encode_string(&[7; 48]), "not the name of a file"),
        (&der_of(&ed25519.public), "holds a public key"),
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
        (&pem("OPENSSH PRIVATE KEY", b""), "cut off"),
        (&openssh_block(b"aes256-ctr", b"x"), "ssh-keygen -p -N '' -f key"),
        (&openssh_block(b"none", &[1, 2, 3, 4, 5, 6, 7, 8]), "damaged"),
        (&openssh_block(b"none", &[&[7; 8][..], &fields(&[b"ssh-dss"])].concat()), "not supported"),
        (
            &openssh_block(b"none", &[&[7; 8][..], &fields(&[b"ssh-rsa", b"\x05"])].concat()),
            "damaged",
        ),
        (&openssh_block(b"none", &[&[7; 8][..], &mixed].concat()), "damaged"),
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
        (&der_of(&p256.private), "openssl pkey -in key.pem -pubout"),
        (&openssh(&p256), "ssh-keygen -y -f key"),
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
