//! Rows of Parquet files, as JSON.
//!
//! The parquet crate's record API makes them. It believes what a file says of sizes, so `thrift` and `pages` look at
//! these before anything is sized by them.

mod pages;
mod thrift;

use ::parquet::basic::{ConvertedType, LogicalType, Repetition, Type as PhysicalType};
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use ::parquet::record::reader::{ReaderIter, TreeBuilder};
use ::parquet::record::{Field, Row};
use ::parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type, TypePtr};
use anyhow::Context as _;
use bytes::Bytes;
use codingspot_tasks::json::Json;
use pages::{Budget, RowGroup};
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Once};

/// How much of a file is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Most rows.
    pub(crate) rows: usize,
    /// Most bytes of a row: those of its texts, and a few for every other value.
    pub(crate) row_bytes: usize,
    /// Most bytes of all rows, and of all pages once unpacked.
    pub(crate) bytes: u64,
}

/// The rows of a file, in order; nothing follows an error.
pub(crate) struct Rows {
    file: Bytes,
    metadata: ParquetMetaData,
    columns: SchemaDescPtr,
    limits: Limits,
    budget: Arc<Budget>,
    group: Option<ReaderIter>,
    next_group: usize,
    /// Rows so far, and their bytes.
    count: usize,
    bytes: u64,
    ended: bool,
}

impl Rows {
    /// Begins to read `file`: of its columns those `wanted`, or all.
    ///
    /// # Errors
    /// It is no Parquet file, or damaged, or has more rows than are read, or columns of other types than text, whole
    /// numbers, floating-point numbers and truth values, lists and groups of these.
    pub(crate) fn open(file: Vec<u8>, wanted: Option<&[&str]>, limits: Limits) -> anyhow::Result<Self> {
        thrift::check_footer(&file)?;
        let file = Bytes::from(file);
        guarded(|| {
            let metadata = ParquetMetaDataReader::new()
                .parse_and_finish(&file)
                .context("its description can't be read")?;
            let groups = metadata.row_groups();
            let total = groups
                .iter()
                .try_fold(0_usize, |total, group| total.checked_add(usize::try_from(group.num_rows()).ok()?));
            let rows = total.filter(|&rows| rows <= limits.rows);
            anyhow::ensure!(rows.is_some(), "it has more than the {} rows that are read", limits.rows);
            let said = metadata.file_metadata().num_rows();
            anyhow::ensure!(
                rows.and_then(|rows| i64::try_from(rows).ok()) == Some(said),
                "it is damaged: it says that it has {said} rows, and its parts have another number"
            );
            let root = metadata.file_metadata().schema_descr().root_schema();
            let mut fields = root.get_fields().to_vec();
            fields.retain(|field| wanted.is_none_or(|wanted| wanted.contains(&field.name())));
            fields.iter().try_for_each(|field| check_type(field, field.name()))?;
            let root = Type::group_type_builder(root.name()).with_fields(fields).build()?;
            let columns = Arc::new(SchemaDescriptor::new(Arc::new(root)));
            let budget = Arc::new(Budget::new(limits.bytes));
            Ok(Self {
                file: file.clone(),
                metadata,
                columns,
                limits,
                budget,
                group: None,
                next_group: 0,
                count: 0,
                bytes: 0,
                ended: false,
            })
        })
    }

    fn read(&mut self) -> anyhow::Result<Option<Json>> {
        let row = loop {
            if let Some(row) = self.group.as_mut().and_then(Iterator::next) {
                break row.with_context(|| format!("row {} can't be read", self.count + 1))?;
            }
            let Some(metadata) = self.metadata.row_groups().get(self.next_group) else { return Ok(None) };
            self.next_group += 1;
            let group = RowGroup { file: &self.file, metadata, budget: &self.budget };
            // Row by row, so that what is unpacked for each can be counted.
            let rows = TreeBuilder::new().with_batch_size(1).as_iter(Arc::clone(&self.columns), &group);
            self.group = Some(rows.with_context(|| format!("row {} can't be read", self.count + 1))?);
        };
        self.budget.next_row();
        self.count += 1;
        let left = usize::try_from(self.limits.bytes - self.bytes).unwrap_or(usize::MAX);
        let mut left = self.limits.row_bytes.min(left);
        let before = left;
        let row = object(row, "", &mut left).map_err(|refusal| match refusal {
            Refusal::Long => anyhow::anyhow!(
                "row {} is too long: more than {} bytes in a row, or {} in all",
                self.count,
                self.limits.row_bytes,
                self.limits.bytes
            ),
            Refusal::Value { column, problem } => {
                anyhow::anyhow!("column {column}, row {}: {problem}", self.count)
            }
        })?;
        self.bytes += (before - left) as u64;
        Ok(Some(row))
    }
}

impl Iterator for Rows {
    type Item = anyhow::Result<Json>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = guarded(|| self.read()).transpose();
        self.ended = !matches!(row, Some(Ok(_)));
        row
    }
}

/// The rows of `file` as JSON lines, each with all of its fields in their order.
pub(crate) fn json_lines(file: Vec<u8>, limits: Limits) -> anyhow::Result<String> {
    let mut text = String::new();
    for (row, number) in Rows::open(file, None, limits)?.zip(1_usize..) {
        text.push_str(&serde_json::to_string(&row?)?);
        text.push('\n');
        anyhow::ensure!(
            text.len() as u64 <= limits.bytes,
            "its first {number} rows are more than the {} bytes that are read",
            limits.bytes
        );
    }
    Ok(text)
}

/// What `read` comes to; that it panics is an error like others. The crate checks much, but not all: on damaged files
/// it takes slices out of range, and it has asserts where schemas are of no known form.
fn guarded<T>(read: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    thread_local! {
        static READING: Cell<bool> = const { Cell::new(false) };
    }
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !READING.try_with(Cell::get).unwrap_or(false) {
                report(info);
            }
        }));
    });
    READING.set(true);
    // What `read` borrows is not used again after an error.
    let outcome = panic::catch_unwind(AssertUnwindSafe(read));
    READING.set(false);
    outcome.unwrap_or_else(|_panic| {
        Err(anyhow::anyhow!("it is damaged, or of a form that is not read: its parts contradict each other"))
    })
}

/// Refuses columns whose values have no JSON, or whose rows the record API can't put together.
fn check_type(field: &TypePtr, path: &str) -> anyhow::Result<()> {
    let info = field.get_basic_info();
    let converted = info.converted_type();
    if let Type::PrimitiveType { physical_type, .. } = field.as_ref() {
        let annotated = match info.logical_type_ref() {
            None
            | Some(
                LogicalType::String
                | LogicalType::Enum
                | LogicalType::Json
                | LogicalType::Integer(_)
                | LogicalType::Unknown,
            ) => true,
            Some(_) => false,
        };
        let known = match physical_type {
            PhysicalType::BOOLEAN | PhysicalType::FLOAT | PhysicalType::DOUBLE => true,
            PhysicalType::INT32 => matches!(
                converted,
                ConvertedType::NONE
                    | ConvertedType::INT_8
                    | ConvertedType::INT_16
                    | ConvertedType::INT_32
                    | ConvertedType::UINT_8
                    | ConvertedType::UINT_16
                    | ConvertedType::UINT_32
            ),
            PhysicalType::INT64 => {
                matches!(converted, ConvertedType::NONE | ConvertedType::INT_64 | ConvertedType::UINT_64)
            }
            PhysicalType::BYTE_ARRAY => matches!(
                converted,
                ConvertedType::NONE | ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON
            ),
            PhysicalType::INT96 | PhysicalType::FIXED_LEN_BYTE_ARRAY => false,
        };
        let named = info.logical_type_ref().map_or_else(|| converted.to_string(), |kind| format!("{kind:?}"));
        anyhow::ensure!(
            annotated && known,
            "column {path} is of the type {physical_type} ({named}); expected text, numbers, truth values, or lists and \
             groups of these"
        );
        return Ok(());
    }
    let children = field.get_fields();
    let sound = match converted {
        ConvertedType::LIST => {
            children.len() == 1 && children[0].get_basic_info().repetition() == Repetition::REPEATED
        }
        ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE => false,
        _ => !children.is_empty(),
    };
    anyhow::ensure!(
        sound,
        "column {path} is a map, or an empty group; expected lists and groups with fields"
    );
    children.iter().try_for_each(|child| check_type(child, &format!("{path}.{}", child.name())))
}

/// Why a row has no JSON.
enum Refusal {
    Long,
    Value { column: String, problem: String },
}

/// Bytes that a value other than a text counts for.
const VALUE_BYTES: usize = 8;

fn spend(left: &mut usize, bytes: usize) -> Result<(), Refusal> {
    *left = left.checked_sub(bytes).ok_or(Refusal::Long)?;
    Ok(())
}

fn object(row: Row, path: &str, left: &mut usize) -> Result<Json, Refusal> {
    let mut fields = Vec::with_capacity(row.len());
    for (name, field) in row.into_columns() {
        spend(left, name.len())?;
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        fields.push((name, value(field, &path, left)?));
    }
    Ok(Json::Object(fields))
}

fn value(field: Field, column: &str, left: &mut usize) -> Result<Json, Refusal> {
    let refuse =
        |problem: &str| Err(Refusal::Value { column: column.to_owned(), problem: problem.to_owned() });
    let integer = |value: i128| Ok(Json::Integer(value));
    let float = |value: f64| {
        if value.is_finite() {
            Ok(Json::Float(value))
        } else {
            refuse(&format!("{value}, which JSON does not have"))
        }
    };
    spend(left, VALUE_BYTES)?;
    match field {
        Field::Null => Ok(Json::Null),
        Field::Bool(value) => Ok(Json::Bool(value)),
        Field::Byte(value) => integer(value.into()),
        Field::Short(value) => integer(value.into()),
        Field::Int(value) => integer(value.into()),
        Field::Long(value) => integer(value.into()),
        Field::UByte(value) => integer(value.into()),
        Field::UShort(value) => integer(value.into()),
        Field::UInt(value) => integer(value.into()),
        Field::ULong(value) => integer(value.into()),
        Field::Float(value) => float(value.into()),
        Field::Double(value) => float(value),
        Field::Str(text) => {
            spend(left, text.len())?;
            Ok(Json::Text(text))
        }
        Field::Bytes(bytes) => {
            spend(left, bytes.len())?;
            match bytes.as_utf8() {
                Ok(text) => Ok(text.into()),
                Err(_) => refuse("bytes that are no UTF-8"),
            }
        }
        Field::Group(row) => object(row, column, left),
        Field::ListInternal(list) => {
            let values = list.elements().iter().map(|field| value(field.clone(), column, left));
            values.collect::<Result<_, _>>().map(Json::List)
        }
        Field::Float16(_)
        | Field::Decimal(_)
        | Field::Date(_)
        | Field::TimeMillis(_)
        | Field::TimeMicros(_)
        | Field::TimestampMillis(_)
        | Field::TimestampMicros(_)
        | Field::MapInternal(_) => refuse(&format!("a value that has no JSON: {field}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parquet_file::{Settings, write};
    use ::parquet::basic::Compression;
    use ::parquet::file::properties::WriterVersion;
    use serde_json::{Value, json};

    const LIMITS: Limits = Limits { rows: 100, row_bytes: 10_000, bytes: 100_000 };

    const SCHEMA: &str = "message rows {
        required binary text (UTF8);
        optional int64 number;
        optional double share;
        optional boolean flag;
        optional int32 small (INTEGER(8, true));
        optional group choices (LIST) { repeated group list { optional binary element (UTF8); } }
        optional group targets {
            optional group choices (LIST) { repeated group list { optional binary item (UTF8); } }
            optional group labels (LIST) { repeated group list { optional int32 element; } }
        }
        optional group pairs (LIST) { repeated group list {
            optional group element { required binary name (UTF8); optional int64 value; } } }
        optional group grid (LIST) { repeated group list {
            optional group element (LIST) { repeated group list { optional int32 element; } } } }
    }";

    fn sample() -> Vec<Value> {
        vec![
            json!({"text": "a \"quoted\"\nline", "number": -5, "share": 0.1, "flag": true, "small": -1,
                "choices": ["x", "y", "x"], "targets": {"choices": ["p", "q"], "labels": [1, 0]},
                "pairs": [{"name": "n", "value": 1}, {"name": "m", "value": null}], "grid": [[1, 2], [], [3]]}),
            json!({"text": "", "number": null, "share": null, "flag": null, "small": null, "choices": null,
                "targets": null, "pairs": null, "grid": null}),
            json!({"text": "ümläut 🦀", "number": i64::MAX, "share": 1e300, "flag": false, "small": 127,
                "choices": [], "targets": {"choices": null, "labels": []}, "pairs": [], "grid": [[], [null]]}),
            json!({"text": "last", "number": 0, "share": -0.5, "flag": true, "small": 0,
                "choices": ["z", null], "targets": {"choices": ["r"], "labels": [1]},
                "pairs": [{"name": "o", "value": 7}], "grid": [[4]]}),
        ]
    }

    fn rows(file: Vec<u8>, limits: Limits) -> anyhow::Result<Vec<Value>> {
        let text = json_lines(file, limits)?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    fn error(file: Vec<u8>, limits: Limits) -> String {
        format!("{:#}", rows(file, limits).unwrap_err())
    }

    fn every_setting() -> Vec<Settings> {
        let mut all = Vec::new();
        for compression in [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::ZSTD(::parquet::basic::ZstdLevel::default()),
        ] {
            for dictionary in [false, true] {
                for group_rows in [1, 3, 100] {
                    // Pages of one list each in groups of three.
                    let page_rows = if group_rows == 3 { 1 } else { 1000 };
                    all.push(Settings {
                        compression,
                        dictionary,
                        group_rows,
                        page_rows,
                        ..Settings::default()
                    });
                }
            }
        }
        all
    }

    #[test]
    fn rows_come_back_as_they_were_written() {
        for settings in every_setting() {
            let file = write(SCHEMA, &sample(), &settings);
            assert_eq!(rows(file, LIMITS).unwrap(), sample(), "{settings:?}");
        }
        // Pages of the second version say what they hold more strictly.
        let second =
            Settings { version: WriterVersion::PARQUET_2_0, dictionary: true, ..Settings::default() };
        let schema = "message rows { optional group choices (LIST) { repeated group list { optional binary element (UTF8); } } }";
        let lists: Vec<Value> = (0..50).map(|i| json!({"choices": vec!["a"; i % 4]})).collect();
        assert_eq!(rows(write(schema, &lists, &second), LIMITS).unwrap(), lists);
        assert_eq!(rows(write(SCHEMA, &[], &Settings::default()), LIMITS).unwrap(), [] as [Value; 0]);
    }

    #[test]
    fn fields_keep_their_order_and_columns_can_be_chosen() {
        let schema = "message rows { required int32 b; required binary text (UTF8); required int96 when; }";
        let file = write(
            "message rows { required int32 b; required int32 a; }",
            &[json!({"a": 1, "b": 2})],
            &Settings::default(),
        );
        assert_eq!(json_lines(file, LIMITS).unwrap(), "{\"b\":2,\"a\":1}\n");
        let file = write(schema, &[json!({"b": 1, "text": "t", "when": 0})], &Settings::default());
        let chosen: Vec<Json> = Rows::open(file.clone(), Some(&["text", "ids"]), LIMITS)
            .unwrap()
            .collect::<anyhow::Result<_>>()
            .unwrap();
        assert_eq!(chosen, [Json::object([("text", "t".into())])]);
        assert!(error(file, LIMITS).contains("column when is of the type INT96"));
    }

    #[test]
    fn what_has_no_json_is_named_by_column_and_row() {
        let settings = Settings::default();
        let rows = [json!({"a": {"b": "x"}}), json!({"a": {"b": [255, 254]}})];
        let file = write("message rows { required group a { required binary b; } }", &rows, &settings);
        assert_eq!(error(file, LIMITS), "column a.b, row 2: bytes that are no UTF-8");
        let file = write("message rows { required double x; }", &[json!({"x": "NaN"})], &settings);
        assert_eq!(error(file, LIMITS), "column x, row 1: NaN, which JSON does not have");
        for (kind, said) in [
            ("required int32 d (DECIMAL(5, 2));", "column d is of the type INT32 (Decimal"),
            ("required int32 d (DATE);", "column d is of the type INT32 (Date"),
            ("required int64 t (TIMESTAMP(NANOS, true));", "column t is of the type INT64 (Timestamp"),
            (
                "optional group m (MAP) { repeated group kv { required binary key (UTF8); optional int32 value; } }",
                "column m is a map",
            ),
        ] {
            let file = write(&format!("message rows {{ {kind} }}"), &[], &settings);
            assert!(error(file.clone(), LIMITS).contains(said), "{}", error(file, LIMITS));
        }
    }

    #[test]
    fn compressions_and_encodings_without_bounds_are_refused() {
        let schema = "message rows { required binary text (UTF8); }";
        let rows: Vec<Value> = (0..9).map(|i| json!({"text": format!("text {i}")})).collect();
        let gzip = Settings {
            compression: Compression::GZIP(::parquet::basic::GzipLevel::default()),
            ..Settings::default()
        };
        let said = error(write(schema, &rows, &gzip), LIMITS);
        assert!(said.contains("column text is compressed with GZIP") && said.contains("ZSTD"), "{said}");
        let delta =
            Settings { version: WriterVersion::PARQUET_2_0, dictionary: false, ..Settings::default() };
        let said = error(write(schema, &rows, &delta), LIMITS);
        assert!(said.contains("column text is encoded as DELTA"), "{said}");
    }

    #[test]
    fn limits_hold() {
        let schema = "message rows { required binary text (UTF8); }";
        let lines = |count: usize, bytes: usize| -> Vec<Value> {
            (0..count).map(|i| json!({"text": format!("{i:0bytes$}")})).collect()
        };
        let plain = Settings { compression: Compression::SNAPPY, dictionary: false, ..Settings::default() };
        let file = |count, bytes| write(schema, &lines(count, bytes), &plain);
        assert_eq!(rows(file(100, 10), LIMITS).unwrap().len(), 100);
        assert!(error(file(101, 10), LIMITS).contains("more than the 100 rows"));
        assert!(error(file(1, 10_000), LIMITS).contains("row 1 is too long"));
        // Nothing is unpacked that is larger than all that is read.
        assert!(error(file(90, 9_000), LIMITS).contains("unpacks to more bytes than are read"));
        // One text in a dictionary, many times: small pages, long rows.
        let same: Vec<Value> = (0..100).map(|_| json!({"text": "x".repeat(5_000)})).collect();
        let dictionary = Settings { dictionary: true, ..plain };
        let said = error(write(schema, &same, &dictionary), LIMITS);
        assert!(said.contains("100000 in all"), "{said}");
        // The same in one list.
        let schema = "message rows { optional group l (LIST) { repeated group list { optional binary element (UTF8); } } }";
        let mut list = vec![json!("x"); 3_000];
        list[0] = json!("x".repeat(500_000));
        let large = Limits { rows: 10, row_bytes: 1 << 30, bytes: 1 << 30 };
        let said = error(write(schema, &[json!({"l": list})], &dictionary), large);
        assert!(said.contains("column l.list.element has 3000 values in the pages of row 1"), "{said}");
    }

    /// A generator of its own, so that a failure comes back: xorshift64.
    fn draw(state: &mut u64) -> usize {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        usize::try_from(*state >> 11).unwrap()
    }

    #[test]
    fn damaged_files_are_errors_or_rows_and_never_an_end_of_the_program() {
        let (mut read, mut refused) = (0, 0);
        let mut state = 0x9e37_79b9_7f4a_7c15;
        for settings in every_setting().into_iter().filter(|settings| settings.group_rows == 3) {
            let whole = write(SCHEMA, &sample(), &settings);
            let mut try_out = |file: Vec<u8>| match rows(file, LIMITS) {
                Ok(_) => read += 1,
                Err(_) => refused += 1,
            };
            for end in (0..whole.len()).step_by(13) {
                try_out(whole[..end].to_vec());
            }
            for place in (0..whole.len()).step_by(5) {
                let mut file = whole.clone();
                file[place] ^= 1 << (draw(&mut state) % 8);
                try_out(file);
            }
            for _ in 0..200 {
                let mut file = whole.clone();
                for _ in 0..=draw(&mut state) % 4 {
                    let place = draw(&mut state) % file.len();
                    file[place] = draw(&mut state).to_le_bytes()[0];
                }
                try_out(file);
            }
        }
        // Both happen, so that it was not the first look that refused all.
        assert!(read > 100 && refused > 1000, "{read} read, {refused} refused");
    }

    #[test]
    fn panics_are_errors_and_only_those_of_reading_are_quiet() {
        let caught = guarded(|| -> anyhow::Result<()> { panic!("a slice out of range") });
        assert!(caught.unwrap_err().to_string().contains("damaged"));
        assert_eq!(guarded(|| Ok(7)).unwrap(), 7);
    }
}
