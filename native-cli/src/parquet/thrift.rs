//! As much of Thrift's compact protocol as says how large things are, before the parquet crate makes room for them.
//!
//! The crate believes a schema's numbers of children and a page's size, and follows nested groups as deep as they
//! go. A file that says otherwise here than what it means is at worst slow or refused there.

use anyhow::Context as _;

/// Length and mark at the end of a file.
const TAIL_BYTES: usize = 8;
const MARK: &[u8] = b"PAR1";
/// Longest description of a file.
const MAX_FOOTER_BYTES: usize = 16 << 20;
/// Most columns and groups of a schema.
const MAX_SCHEMA: u64 = 4096;
/// Most groups around a column; a list counts as two.
const MAX_DEPTH: usize = 32;
/// Most row groups.
const MAX_ROW_GROUPS: u64 = 1 << 16;
/// Deepest that structures are followed into each other.
const MAX_NESTING: u32 = 24;

// Types as the compact protocol numbers them.
const END: u8 = 0;
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;

/// What is left to read. `None` is the end, or what the protocol does not have.
#[derive(Debug, Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = left;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|taken| taken[0])
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn integer(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// Number and type of a structure's next field; `Some(None)` at its end.
    #[expect(clippy::option_option, reason = "bad, ended and next are three things")]
    fn field(&mut self, last: &mut i16) -> Option<Option<(i16, u8)>> {
        let head = self.byte()?;
        let (delta, kind) = (head >> 4, head & 15);
        if kind == END {
            return Some(None);
        }
        *last = match delta {
            0 => i16::try_from(self.integer()?).ok()?,
            delta => last.checked_add(delta.into())?,
        };
        Some(Some((*last, kind)))
    }

    /// Number and type of a list's elements. Each is at least a byte, so there can't be more than bytes are left.
    fn list(&mut self) -> Option<(u64, u8)> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        (count <= self.0.len() as u64).then_some((count, head & 15))
    }

    fn skip(&mut self, kind: u8, nesting: u32) -> Option<()> {
        if nesting == MAX_NESTING {
            return None;
        }
        match kind {
            TRUE | FALSE => Some(()),
            BYTE => self.take(1).map(drop),
            I16 | I32 | I64 => self.varint().map(drop),
            DOUBLE => self.take(8).map(drop),
            BINARY => {
                let length = self.varint()?;
                self.take(length).map(drop)
            }
            LIST | SET => {
                let (count, kind) = self.list()?;
                (0..count).try_for_each(|_| self.skip_element(kind, nesting))
            }
            MAP => {
                let count = self.varint()?;
                if count == 0 {
                    return Some(());
                }
                let kinds = self.byte()?;
                (0..count).try_for_each(|_| {
                    self.skip_element(kinds >> 4, nesting)?;
                    self.skip_element(kinds & 15, nesting)
                })
            }
            STRUCT => {
                let mut last = 0;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.skip(kind, nesting + 1)?;
                }
                Some(())
            }
            _ => None,
        }
    }

    /// In lists and maps, unlike in structures, a truth value is a byte.
    fn skip_element(&mut self, kind: u8, nesting: u32) -> Option<()> {
        self.skip(if matches!(kind, TRUE | FALSE) { BYTE } else { kind }, nesting + 1)
    }
}

/// Checks that `file` ends in a description whose schema and lists are of a size that they can be.
///
/// # Errors
/// One sentence: what is not as it has to be.
pub(super) fn check_footer(file: &[u8]) -> anyhow::Result<()> {
    let tail = file.len().checked_sub(TAIL_BYTES).map(|start| file.split_at(start));
    let (before, tail) = tail
        .filter(|(_, tail)| file.starts_with(MARK) && tail.ends_with(MARK))
        .context("it is not a Parquet file, or is cut: PAR1 is not at both of its ends")?;
    let length = u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]) as usize;
    let start = before.len().checked_sub(length);
    let start = start.context("it is cut or damaged: its description is longer than the file")?;
    anyhow::ensure!(
        length <= MAX_FOOTER_BYTES,
        "its description has {length} bytes, more than the {MAX_FOOTER_BYTES} that are read"
    );
    footer(Cursor(&before[start..])).with_context(|| {
        format!(
            "its description is damaged, or has more than {MAX_SCHEMA} columns, {MAX_DEPTH} groups around a column or \
             {MAX_ROW_GROUPS} row groups"
        )
    })
}

/// Walks over `FileMetaData` of parquet.thrift.
fn footer(mut cursor: Cursor<'_>) -> Option<()> {
    let mut last = 0;
    while let Some((id, kind)) = cursor.field(&mut last)? {
        match (id, kind) {
            (2, LIST) => schema(&mut cursor)?,
            (4, LIST) => {
                let (count, _) = Cursor(cursor.0).list()?;
                if count > MAX_ROW_GROUPS {
                    return None;
                }
                cursor.skip(kind, 0)?;
            }
            (2 | 4, _) => return None,
            _ => cursor.skip(kind, 0)?,
        }
    }
    Some(())
}

/// Walks over a list of `SchemaElement`: a tree, each group before its children.
fn schema(cursor: &mut Cursor<'_>) -> Option<()> {
    let (count, kind) = cursor.list()?;
    if kind != STRUCT || count == 0 || count > MAX_SCHEMA {
        return None;
    }
    // Children that are still to come, of each group that an element is in.
    let mut open: Vec<u64> = Vec::new();
    for index in 0..count {
        if index > 0 {
            *open.last_mut()? -= 1;
        }
        let children = schema_element(cursor)?;
        if children > count {
            return None;
        }
        open.push(children);
        while open.last() == Some(&0) {
            open.pop();
        }
        if open.len() > MAX_DEPTH {
            return None;
        }
    }
    open.is_empty().then_some(())
}

/// The number of children of a `SchemaElement`.
fn schema_element(cursor: &mut Cursor<'_>) -> Option<u64> {
    let (mut last, mut children) = (0, 0);
    while let Some((id, kind)) = cursor.field(&mut last)? {
        match (id, kind) {
            (5, I32) => children = u64::try_from(cursor.integer()?).ok()?,
            (1..=3 | 6..=9, I32) | (4, BINARY) | (10, STRUCT) | (11.., _) => cursor.skip(kind, 0)?,
            _ => return None,
        }
    }
    Some(children)
}

/// What a page's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageSize {
    /// Bytes of the header.
    pub(super) header: u64,
    /// Bytes of the content as it is stored.
    pub(super) stored: u64,
    /// Bytes of the content as it is used.
    pub(super) used: u64,
}

/// The sizes of the page at the beginning of `bytes`; `None` where there is no page.
pub(super) fn page_size(bytes: &[u8]) -> Option<PageSize> {
    let mut cursor = Cursor(bytes);
    let (mut last, mut used, mut stored) = (0, None, None);
    while let Some((id, kind)) = cursor.field(&mut last)? {
        match (id, kind) {
            (2, I32) => used = u64::try_from(cursor.integer()?).ok(),
            (3, I32) => stored = u64::try_from(cursor.integer()?).ok(),
            (1 | 4, I32) | (9.., _) => cursor.skip(kind, 0)?,
            (5..=8, STRUCT) => page_header(&mut cursor, id)?,
            _ => return None,
        }
    }
    Some(PageSize { header: (bytes.len() - cursor.0.len()) as u64, stored: stored?, used: used? })
}

/// Walks over the header of a kind of page, which is field `of` of `PageHeader`.
fn page_header(cursor: &mut Cursor<'_>, of: i16) -> Option<()> {
    let mut last = 0;
    while let Some((id, kind)) = cursor.field(&mut last)? {
        let expected = match (of, id) {
            (5, 1..=4) | (7, 1..=2) | (8, 1..=6) => kind == I32,
            (7, 3) | (8, 7) => matches!(kind, TRUE | FALSE),
            (5, 5) | (8, 8) => kind == STRUCT,
            _ => true,
        };
        if !expected {
            return None;
        }
        cursor.skip(kind, 0)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(footer: &[u8]) -> Vec<u8> {
        let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
        [MARK, footer, &length, MARK].concat()
    }

    /// A description of nothing but a schema, each element given by its number of children.
    fn described(children: &[u8]) -> Vec<u8> {
        let digit = |number: usize| (number & 0x7f).to_le_bytes()[0];
        let mut footer = vec![2 << 4 | LIST, 0xf0 | STRUCT];
        let count = children.len();
        footer.extend([digit(count) | 0x80, digit(count >> 7)]);
        for &children in children {
            // A name, then the children as a zigzag number.
            footer.extend([4 << 4 | BINARY, 1, b'x', 1 << 4 | I32, children << 1, 0]);
        }
        footer.push(0);
        file(&footer)
    }

    #[test]
    fn schemas_are_trees_of_a_bounded_depth() {
        for good in [&[0][..], &[1, 0], &[2, 1, 0, 0], &[2, 0, 1, 0]] {
            assert!(check_footer(&described(good)).is_ok(), "{good:?}");
        }
        let chain = |groups: usize| [vec![1; groups], vec![0]].concat();
        assert!(check_footer(&described(&chain(MAX_DEPTH))).is_ok());
        for bad in [&[][..], &[1], &[0, 0], &[3, 0, 0], &[1, 0, 0], &[63, 0], &chain(MAX_DEPTH + 1)] {
            assert!(check_footer(&described(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_ends_early_or_is_no_parquet_is_refused() {
        for bad in [&b""[..], b"PAR1", b"PAR1PAR1", b"PAR1....PAR2", b"{\"text\": \"a\"}"] {
            assert!(check_footer(bad).is_err(), "{bad:?}");
        }
        let good = described(&[1, 0]);
        let footer = &good[4..good.len() - TAIL_BYTES];
        for end in 0..footer.len() {
            assert!(check_footer(&file(&footer[..end])).is_err(), "{end}");
        }
        let long = [&good[..good.len() - 8], &[0xff, 0xff, 0xff, 0x7f], MARK].concat();
        assert!(check_footer(&long).unwrap_err().to_string().contains("longer than the file"));
    }

    #[test]
    fn lists_and_texts_do_not_reach_past_the_end() {
        // 2^63 row groups, a text of 2^63 bytes, and lists in lists without end.
        let huge = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1];
        let groups = [&[4 << 4 | LIST, 0xf0 | STRUCT][..], &huge].concat();
        let text = [&[6 << 4 | BINARY][..], &huge].concat();
        let nested = [vec![6 << 4 | LIST], vec![1 << 4 | LIST; 1000]].concat();
        for bad in [groups, text, nested] {
            assert!(check_footer(&file(&bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_of_pages_are_read() {
        let header =
            [1 << 4 | I32, 0, 1 << 4 | I32, 20, 1 << 4 | I32, 10, 2 << 4 | STRUCT, 1 << 4 | I32, 2, 0, 0, 99];
        assert_eq!(page_size(&header), Some(PageSize { header: 11, stored: 5, used: 10 }));
        for end in 0..11 {
            assert_eq!(page_size(&header[..end]), None, "{end}");
        }
        // A negative size, a size that is no number, a header whose count is a text.
        assert_eq!(page_size(&[2 << 4 | I32, 1, 1 << 4 | I32, 2, 0]), None);
        assert_eq!(page_size(&[2 << 4 | BINARY, 0, 1 << 4 | I32, 2, 0]), None);
        let hidden = [2 << 4 | I32, 2, 1 << 4 | I32, 2, 2 << 4 | STRUCT, 1 << 4 | BINARY, 0, 0, 0];
        assert_eq!(page_size(&hidden), None);
    }
}
