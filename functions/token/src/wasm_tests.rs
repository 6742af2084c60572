//! What differs in WebAssembly: the randomness comes from JavaScript, and numbers are
//! 32 bits wide.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;
use crate::testkeys::{self, MASTER, NOW};

#[wasm_bindgen_test]
fn tokens_of_every_algorithm_are_minted_and_verified() {
    for pair in testkeys::all() {
        let authority = Authority::new(&Settings {
            master_token: Some("master".to_owned()),
            private_key: Some(pair.private),
            ..Settings::default()
        });
        let authority = authority.unwrap();
        let mint = || authority.mint(MASTER, b"", NOW).unwrap();
        let (first, second) = (mint(), mint());
        let claims = authority.verify(&first.token, NOW).unwrap();
        assert_eq!(claims.exp, NOW.0.div_ceil(1_000) + 365 * 24 * 60 * 60);
        assert_ne!(claims.jti, authority.verify(&second.token, NOW).unwrap().jti);
    }
}
