//! Unguessable bytes and texts from the operating system's generator.

/// Random bytes, fit for secrets.
///
/// # Errors
/// When the generator cannot be seeded.
pub fn bytes<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    openssl::rand::rand_bytes(&mut bytes)?;
    Ok(bytes)
}

/// `length` random letters and digits: free of anything that a URI, a
/// properties file or SQL would want quoted.
///
/// # Errors
/// When the generator cannot be seeded.
pub fn text(length: usize) -> anyhow::Result<String> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(length);
    while text.len() < length {
        // Of 64 values two are thrown away, so that all letters are as likely.
        let [byte] = bytes::<1>()?;
        if let Some(letter) = ALPHABET.get(usize::from(byte & 63)) {
            text.push(char::from(*letter));
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_long_as_asked_plain_and_never_the_same() {
        let (one, two) = (text(32).unwrap(), text(32).unwrap());
        assert_eq!(one.len(), 32);
        assert!(one.chars().all(|letter| letter.is_ascii_alphanumeric()));
        assert_ne!(one, two);
    }
}
