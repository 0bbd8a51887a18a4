//! Pages of listings.

use crate::codec::{hex, unhex};
use crate::kms::KmsError;
use crate::kms::check::Check;

/// Which part of a listing is asked for.
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// Entries at most.
    pub limit: Option<u32>,
    /// Where the last page ended: its `next_marker`.
    pub marker: Option<String>,
}

/// A part of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// Where the next page begins; `None` if this was the last.
    pub next_marker: Option<String>,
}

/// Entries of a page unless asked otherwise, and at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageSize {
    /// Unless asked otherwise.
    pub(crate) usual: u32,
    /// At most.
    pub(crate) max: u32,
}

impl PageRequest {
    pub(crate) fn check(&self) -> Result<(), KmsError> {
        Check::default().page(self.limit, self.marker.as_deref()).finish()
    }

    /// Cuts the page out of all entries, which come with their ids in rising order. Entries that
    /// appear or vanish between two pages move no other entry.
    pub(crate) fn cut<T>(
        &self,
        size: PageSize,
        all: impl Iterator<Item = (String, T)>,
    ) -> Result<Page<T>, KmsError> {
        let after = match &self.marker {
            Some(marker) => Some(parse_marker(marker)?),
            None => None,
        };
        let limit = usize::try_from(self.limit.unwrap_or(size.usual).min(size.max)).unwrap_or(1);
        let mut rest =
            all.filter(|(id, _)| after.as_ref().is_none_or(|after| id > after)).peekable();
        let (mut entries, mut last) = (Vec::new(), String::new());
        while entries.len() < limit
            && let Some((id, entry)) = rest.next()
        {
            entries.push(entry);
            last = id;
        }
        let next_marker = rest.peek().map(|_| hex(last.as_bytes()));
        Ok(Page { entries, next_marker })
    }
}

fn parse_marker(marker: &str) -> Result<String, KmsError> {
    unhex(marker).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| {
        KmsError::InvalidMarker { message: format!("Could not deserialize token '{marker}'") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_and_end() {
        let all = || (0..5).map(|n| (format!("id{n}"), n));
        let size = PageSize { usual: 2, max: 3 };
        let mut request = PageRequest::default();
        let mut seen = Vec::new();
        loop {
            let page = request.cut(size, all()).unwrap();
            seen.push(page.entries);
            request.marker = page.next_marker;
            if request.marker.is_none() {
                break;
            }
        }
        assert_eq!(seen, [vec![0, 1], vec![2, 3], vec![4]]);
        request = PageRequest { limit: Some(9), marker: Some("zz".to_owned()) };
        assert!(matches!(request.cut(size, all()), Err(KmsError::InvalidMarker { .. })));
        request.marker = None;
        assert_eq!(request.cut(size, all()).unwrap().entries.len(), 3);
    }
}
