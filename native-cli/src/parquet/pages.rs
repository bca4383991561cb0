//! Pages that are looked at before they are unpacked, and again before their values are.

use super::thrift::page_size;
use ::parquet::basic::{Compression, Encoding, Type as PhysicalType};
use ::parquet::bloom_filter::Sbbf;
use ::parquet::column::page::{Page, PageMetadata, PageReader};
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::metadata::RowGroupMetaData;
use ::parquet::file::reader::{ChunkReader, Length, RowGroupReader, SerializedPageReader};
use ::parquet::record::reader::RowIter;
use ::parquet::schema::types::Type;
use bytes::Bytes;
use bytes::buf::{Buf as _, Reader};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Most values of a column inside lists that are unpacked for one row.
const MAX_ROW_VALUES: u64 = 1 << 22;
/// Most bytes that texts inside lists may come to for one row: a page can name a long text often.
const MAX_ROW_COPIES: u64 = 1 << 30;

/// What may still be unpacked, and at which row reading is.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: AtomicU64,
    row: AtomicU64,
}

impl Budget {
    pub(super) fn new(bytes: u64) -> Self {
        Self { bytes: AtomicU64::new(bytes), row: AtomicU64::new(0) }
    }

    /// Says that a row was read.
    pub(super) fn next_row(&self) {
        self.row.fetch_add(1, Ordering::Relaxed);
    }

    fn check(&self, bytes: u64) -> Result<()> {
        if bytes > self.bytes.load(Ordering::Relaxed) {
            return Err(refused("it unpacks to more bytes than are read"));
        }
        Ok(())
    }

    fn spend(&self, bytes: u64) -> Result<()> {
        self.check(bytes)?;
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        Ok(())
    }
}

fn refused(reason: impl Into<String>) -> ParquetError {
    ParquetError::General(reason.into())
}

/// The bytes of a file, for one column: no page begins that is larger than what may still be unpacked.
#[derive(Debug)]
struct Chunks {
    file: Bytes,
    budget: Arc<Budget>,
    /// Where the content of the last page begins: the crate asks for it, too, after it has looked ahead at a header.
    content: Mutex<Option<u64>>,
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.file.len() as u64
    }
}

impl ChunkReader for Chunks {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        let place = usize::try_from(start).ok().filter(|&place| place <= self.file.len());
        let place = place.ok_or_else(|| refused("a page begins after the end of the file"))?;
        let bytes = self.file.slice(place..);
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        if content.take() != Some(start) {
            let size = page_size(&bytes).ok_or_else(|| refused("a page has no valid header"))?;
            self.budget.check(size.used)?;
            // An empty page's content begins where the next header does, which has to be looked at.
            *content = (size.stored > 0).then_some(start + size.header);
        }
        Ok(bytes.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        self.file.get_bytes(start, length)
    }
}

/// A row group whose pages are checked.
pub(super) struct RowGroup<'a> {
    pub(super) file: &'a Bytes,
    pub(super) metadata: &'a RowGroupMetaData,
    pub(super) budget: &'a Arc<Budget>,
}

impl RowGroupReader for RowGroup<'_> {
    fn metadata(&self) -> &RowGroupMetaData {
        self.metadata
    }

    fn num_columns(&self) -> usize {
        self.metadata.num_columns()
    }

    fn get_column_page_reader(&self, i: usize) -> Result<Box<dyn PageReader>> {
        let column = self.metadata.column(i);
        let name = column.column_path().string();
        // What GZIP unpacks to is known only afterwards; the others are not in this build.
        if !matches!(
            column.compression(),
            Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::ZSTD(_)
        ) {
            return Err(refused(format!(
                "column {name} is compressed with {}; expected ZSTD, SNAPPY or none",
                column.compression()
            )));
        }
        let chunks =
            Chunks { file: self.file.clone(), budget: Arc::clone(self.budget), content: Mutex::new(None) };
        let rows = usize::try_from(self.metadata.num_rows())?;
        Ok(Box::new(Pages {
            inner: SerializedPageReader::new(Arc::new(chunks), column, rows, None)?,
            budget: Arc::clone(self.budget),
            repeated: column.column_descr().max_rep_level() > 0,
            texts: column.column_type() == PhysicalType::BYTE_ARRAY,
            name,
            longest: 0,
            row: 0,
            values: 0,
        }))
    }

    fn get_column_bloom_filter(&self, _i: usize) -> Option<&Sbbf> {
        None
    }

    fn get_row_iter(&self, projection: Option<Type>) -> Result<RowIter<'_>> {
        RowIter::from_row_group(projection, self)
    }
}

/// The pages of a column, each checked before its values are unpacked.
struct Pages {
    inner: SerializedPageReader<Chunks>,
    budget: Arc<Budget>,
    name: String,
    /// Whether it is inside a list, so that one row may take any number of its values.
    repeated: bool,
    texts: bool,
    /// Longest text of its dictionary.
    longest: u64,
    row: u64,
    /// Values of the pages that were read since `row`.
    values: u64,
}

impl Pages {
    fn check(&mut self, page: &Page) -> Result<()> {
        let (bytes, count) = (page.buffer().len() as u64, u64::from(page.num_values()));
        self.budget.spend(bytes)?;
        let name = &self.name;
        if page.is_dictionary_page() {
            // Of the types that are read, every value of a dictionary has at least a byte.
            if count > bytes {
                return Err(refused(format!(
                    "column {name} has a dictionary of {count} values in {bytes} bytes"
                )));
            }
            self.longest = if self.texts { longest_text(page.buffer()) } else { 0 };
            return Ok(());
        }
        let of_dictionary = match page.encoding() {
            Encoding::PLAIN | Encoding::RLE => false,
            Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => true,
            other => {
                return Err(refused(format!(
                    "column {name} is encoded as {other}; expected PLAIN, RLE or RLE_DICTIONARY"
                )));
            }
        };
        if self.repeated {
            let row = self.budget.row.load(Ordering::Relaxed);
            if self.row != row {
                (self.row, self.values) = (row, 0);
            }
            self.values += count;
            let copies = if of_dictionary { self.values.saturating_mul(self.longest) } else { 0 };
            if self.values > MAX_ROW_VALUES || copies > MAX_ROW_COPIES {
                return Err(refused(format!(
                    "column {name} has {} values in the pages of row {}, which are more than are read, or of more bytes",
                    self.values,
                    row + 1
                )));
            }
        }
        Ok(())
    }
}

/// The longest of the texts in a dictionary: a length of four bytes before each.
fn longest_text(mut dictionary: &[u8]) -> u64 {
    let mut longest = 0;
    while let Some((length, rest)) = dictionary.split_first_chunk() {
        let length = u32::from_le_bytes(*length);
        longest = longest.max(u64::from(length));
        dictionary = rest.get(length as usize..).unwrap_or_default();
    }
    longest
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.inner.get_next_page()?;
        if let Some(page) = &page {
            self.check(page)?;
        }
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.inner.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.inner.at_record_boundary()
    }
}
