//! Writes Parquet files from JSON, for tests.

use ::parquet::basic::{Compression, ConvertedType, Repetition};
use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::{ByteArray, Int96};
use ::parquet::file::properties::{WriterProperties, WriterVersion};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use ::parquet::schema::types::{Type, TypePtr};
use serde_json::Value;
use std::sync::Arc;

/// How a file is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) compression: Compression,
    pub(crate) dictionary: bool,
    pub(crate) version: WriterVersion,
    /// Rows of a row group.
    pub(crate) group_rows: usize,
    /// Rows of a page.
    pub(crate) page_rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            compression: Compression::SNAPPY,
            dictionary: true,
            version: WriterVersion::PARQUET_1_0,
            group_rows: 1000,
            page_rows: 1000,
        }
    }
}

/// The values of a column, with their levels.
#[derive(Default)]
struct Column<'v> {
    values: Vec<&'v Value>,
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

/// A file of `rows` in `schema`, which is a message type. Fields that a row lacks are null.
pub(crate) fn write(schema: &str, rows: &[Value], settings: &Settings) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(settings.compression)
        .set_dictionary_enabled(settings.dictionary)
        .set_writer_version(settings.version)
        .set_data_page_row_count_limit(settings.page_rows)
        .set_write_batch_size(settings.page_rows)
        .build();
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, schema.clone(), Arc::new(properties)).unwrap();
    let mut leaves = Vec::new();
    for field in schema.get_fields() {
        find_leaves(&mut vec![field.clone()], &mut leaves);
    }
    for rows in rows.chunks(settings.group_rows) {
        let mut group = writer.next_row_group().unwrap();
        for path in &leaves {
            let mut column = Column::default();
            for row in rows {
                shred(path, field_of(row, path[0].name()), (0, 0, 0), false, &mut column);
            }
            let mut writer = group.next_column().unwrap().unwrap();
            put(writer.untyped(), &column);
            writer.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
    file
}

fn find_leaves(path: &mut Vec<TypePtr>, leaves: &mut Vec<Vec<TypePtr>>) {
    let last = path.last().unwrap().clone();
    if last.is_primitive() {
        leaves.push(path.clone());
        return;
    }
    for child in last.get_fields() {
        path.push(child.clone());
        find_leaves(path, leaves);
        path.pop();
    }
}

fn field_of<'v>(value: &'v Value, name: &str) -> &'v Value {
    value.get(name).unwrap_or(&Value::Null)
}

/// Adds what of `value` is in the column at the end of `path`. Levels are those of definition, of repetition, and the
/// deepest repetition so far.
fn shred<'v>(
    path: &[TypePtr],
    value: &'v Value,
    (definition, repetition, depth): (i16, i16, i16),
    in_list: bool,
    column: &mut Column<'v>,
) {
    let mut absent = || {
        column.definition.push(definition);
        column.repetition.push(repetition);
    };
    match path[0].get_basic_info().repetition() {
        Repetition::REQUIRED => descend(path, value, (definition, repetition, depth), in_list, column),
        Repetition::OPTIONAL if value.is_null() => absent(),
        Repetition::OPTIONAL => {
            descend(path, value, (definition + 1, repetition, depth), in_list, column);
        }
        Repetition::REPEATED => match value.as_array().map(Vec::as_slice) {
            None | Some([]) => absent(),
            Some(items) => {
                for (index, item) in items.iter().enumerate() {
                    let repetition = if index == 0 { repetition } else { depth + 1 };
                    descend(path, item, (definition + 1, repetition, depth + 1), in_list, column);
                }
            }
        },
    }
}

fn descend<'v>(
    path: &[TypePtr],
    value: &'v Value,
    levels: (i16, i16, i16),
    in_list: bool,
    column: &mut Column<'v>,
) {
    let [field, below @ ..] = path else { return };
    let Some(child) = below.first() else {
        column.values.push(value);
        column.definition.push(levels.0);
        column.repetition.push(levels.1);
        return;
    };
    // A list's two inner levels are not in the JSON.
    let list = is_list(field);
    let inner = if list || in_list { value } else { field_of(value, child.name()) };
    shred(below, inner, levels, list, column);
}

fn is_list(field: &Type) -> bool {
    field.get_basic_info().converted_type() == ConvertedType::LIST
}

fn put(writer: &mut ColumnWriter<'_>, column: &Column<'_>) {
    let (definition, repetition) = (Some(&*column.definition), Some(&*column.repetition));
    let integers = || column.values.iter().map(|value| value.as_i64().unwrap());
    let floats = || {
        // JSON has no NaN: a text stands for it.
        column.values.iter().map(|value| value.as_f64().unwrap_or(f64::NAN))
    };
    match writer {
        ColumnWriter::BoolColumnWriter(writer) => {
            let values: Vec<bool> = column.values.iter().map(|value| value.as_bool().unwrap()).collect();
            writer.write_batch(&values, definition, repetition).unwrap();
        }
        ColumnWriter::Int32ColumnWriter(writer) => {
            let values: Vec<i32> = integers().map(|value| value.try_into().unwrap()).collect();
            writer.write_batch(&values, definition, repetition).unwrap();
        }
        ColumnWriter::Int64ColumnWriter(writer) => {
            let values: Vec<i64> = integers().collect();
            writer.write_batch(&values, definition, repetition).unwrap();
        }
        ColumnWriter::DoubleColumnWriter(writer) => {
            let values: Vec<f64> = floats().collect();
            writer.write_batch(&values, definition, repetition).unwrap();
        }
        ColumnWriter::ByteArrayColumnWriter(writer) => {
            let values: Vec<ByteArray> = column.values.iter().map(|value| bytes_of(value)).collect();
            writer.write_batch(&values, definition, repetition).unwrap();
        }
        ColumnWriter::Int96ColumnWriter(writer) => {
            let values: Vec<Int96> = column.values.iter().map(|_| Int96::new()).collect();
            writer.write_batch(&values, definition, repetition).unwrap();
        }
        ColumnWriter::FloatColumnWriter(_) | ColumnWriter::FixedLenByteArrayColumnWriter(_) => {
            panic!("no test writes such a column")
        }
    }
}

/// A text's bytes, or those of a list of numbers.
fn bytes_of(value: &Value) -> ByteArray {
    match value {
        Value::Array(bytes) => {
            let bytes: Vec<u8> =
                bytes.iter().map(|byte| byte.as_u64().unwrap().try_into().unwrap()).collect();
            bytes.into()
        }
        text => text.as_str().unwrap().into(),
    }
}
