//! Bounds-checked reading and writing of little-endian integers in byte slices. Never panics.

/// The input ended early, or the output is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfBounds;

/// Reads fields one after another.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their beginning.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`OutOfBounds`] if fewer are left.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], OutOfBounds> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(OutOfBounds)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// [`OutOfBounds`] if fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], OutOfBounds> {
        self.bytes(N)?.try_into().map_err(|_| OutOfBounds)
    }

    /// The next byte.
    ///
    /// # Errors
    /// [`OutOfBounds`] at the end.
    pub fn u8(&mut self) -> Result<u8, OutOfBounds> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    /// The next two bytes.
    ///
    /// # Errors
    /// [`OutOfBounds`] if fewer are left.
    pub fn u16(&mut self) -> Result<u16, OutOfBounds> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// The next four bytes.
    ///
    /// # Errors
    /// [`OutOfBounds`] if fewer are left.
    pub fn u32(&mut self) -> Result<u32, OutOfBounds> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// The next eight bytes.
    ///
    /// # Errors
    /// [`OutOfBounds`] if fewer are left.
    pub fn u64(&mut self) -> Result<u64, OutOfBounds> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// Writes fields one after another into a slice of fixed length.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// Writes into `out` from its beginning.
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out, at: 0 }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`OutOfBounds`] if they do not fit; nothing is written then.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let end = self.at.checked_add(bytes.len()).ok_or(OutOfBounds)?;
        self.out.get_mut(self.at..end).ok_or(OutOfBounds)?.copy_from_slice(bytes);
        self.at = end;
        Ok(())
    }

    /// Appends one byte.
    ///
    /// # Errors
    /// [`OutOfBounds`] if it does not fit.
    pub fn u8(&mut self, value: u8) -> Result<(), OutOfBounds> {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends two bytes.
    ///
    /// # Errors
    /// [`OutOfBounds`] if they do not fit.
    pub fn u16(&mut self, value: u16) -> Result<(), OutOfBounds> {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends four bytes.
    ///
    /// # Errors
    /// [`OutOfBounds`] if they do not fit.
    pub fn u32(&mut self, value: u32) -> Result<(), OutOfBounds> {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends eight bytes.
    ///
    /// # Errors
    /// [`OutOfBounds`] if they do not fit.
    pub fn u64(&mut self, value: u64) -> Result<(), OutOfBounds> {
        self.bytes(&value.to_le_bytes())
    }

    /// Bytes written so far.
    pub fn written_len(&self) -> usize {
        self.at
    }
}

/// The two lower-case hexadecimal digits of a byte.
pub fn hex_digits(byte: u8) -> [u8; 2] {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble };
    [digit(byte >> 4), digit(byte & 15)]
}

/// Lower-case hexadecimal digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    text.extend(bytes.iter().flat_map(|byte| hex_digits(*byte)).map(char::from));
    text
}

/// The bytes that hexadecimal digits stand for; `None` if the text is not hexadecimal.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    fn nibble(digit: u8) -> Option<u8> {
        char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok())
    }
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => Some(nibble(*high)? << 4 | nibble(*low)?),
            _ => None,
        })
        .collect()
}

/// The array of `N` bytes that hexadecimal digits stand for; `None` if they do not.
pub fn unhex_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    unhex(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reader_stops_at_the_end() {
        let mut reader = Reader::new(&[1, 0, 2]);
        assert_eq!(reader.u16(), Ok(1));
        assert_eq!(reader.u32(), Err(OutOfBounds));
        assert_eq!(reader.u8(), Ok(2));
        assert_eq!(reader.u8(), Err(OutOfBounds));
    }

    #[test]
    fn writer_refuses_what_does_not_fit() {
        let mut out = [0; 3];
        let mut writer = Writer::new(&mut out);
        assert_eq!(writer.u16(0x0201), Ok(()));
        assert_eq!(writer.u16(0x0403), Err(OutOfBounds));
        assert_eq!(writer.written_len(), 2);
        assert_eq!(out, [1, 2, 0]);
    }

    #[test]
    fn hex_round_trips() {
        assert_eq!(hex(&[0x00, 0xab, 0x0f]), "00ab0f");
        assert_eq!(unhex("00ab0F"), Some(vec![0x00, 0xab, 0x0f]));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("zz"), None);
    }
}
