#include "launch/data/files/parquet_module_values.h"

#include <arrow/array/array_dict.h>
#include <arrow/array/array_nested.h>
#include <arrow/array/array_primitive.h>
#include <arrow/extension_type.h>
#include <arrow/scalar.h>
#include <arrow/type_traits.h>
#include <arrow/util/float16.h>
#include <arrow/util/utf8.h>

#include <array>
#include <charconv>
#include <cmath>
#include <stdexcept>

#include "launch/data/files/parquet_module_times.h"

namespace tessera::launch {
namespace {

using Type = arrow::Type;

/// Whoever calls has looked at the type.
template <class Array>
const Array& as(const arrow::Array& array) {
  return static_cast<const Array&>(array);
}
template <class Array>
const auto& type_of(const arrow::Array& array) {
  return static_cast<const typename Array::TypeClass&>(*array.type());
}

template <class Number>
void append_number(Number number, std::string& json) {
  std::array<char, 32> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), number).ptr;
  json.append(text.data(), size_t(end - text.data()));
}

void append_real(double value, std::string& json) {
  if (!std::isfinite(value)) {
    json += "null";
    return;
  }
  const size_t begin = json.size();
  append_number(value, json);
  // Without a point it would be read as an integer.
  if (json.find_first_of(".e", begin) == std::string::npos) json += ".0";
}

void append_checked(std::string_view text, std::string& json) {
  if (!arrow::util::ValidateUTF8(text)) {
    throw std::runtime_error(
        "bytes that are no UTF-8 text; write them as text, or drop the column");
  }
  append_string(text, json);
}

/// Appends what `append` writes as a string.
template <class Append>
void append_quoted(std::string& json, const Append& append) {
  json += '"';
  append();
  json += '"';
}

template <class List>
void append_list(const arrow::Array& array, int64_t i, std::string& json) {
  const auto& list = as<List>(array);
  const int64_t begin = list.value_offset(i), end = begin + list.value_length(i);
  json += '[';
  for (int64_t element = begin; element < end; ++element) {
    if (element > begin) json += ',';
    append_value(*list.values(), element, json);
  }
  json += ']';
}

void append_map(const arrow::MapArray& map, int64_t i, std::string& json) {
  const int64_t begin = map.value_offset(i), end = begin + map.value_length(i);
  json += '[';
  for (int64_t pair = begin; pair < end; ++pair) {
    json += pair > begin ? ",[" : "[";
    append_value(*map.keys(), pair, json);
    json += ',';
    append_value(*map.items(), pair, json);
    json += ']';
  }
  json += ']';
}

bool is_media(const arrow::DataType& type) {
  return type.num_fields() == 2 && type.field(0)->name() == "bytes" &&
         type.field(1)->name() == "path" && arrow::is_base_binary_like(type.field(0)->type()->id());
}

void append_struct(const arrow::StructArray& array, int64_t i, std::string& json) {
  const arrow::DataType& type = *array.type();
  const bool media = is_media(type);
  json += '{';
  for (int field = 0; field < type.num_fields(); ++field) {
    if (field > 0) json += ',';
    append_checked(type.field(field)->name(), json);
    json += ':';
    if (media && field == 0) {
      json += "null";
    } else {
      append_value(*array.field(field), i, json);
    }
  }
  json += '}';
}

/// The decimal's own text: "12.50".
void append_decimal(const arrow::Array& array, int64_t i, std::string& json) {
  const auto scalar = array.GetScalar(i);
  if (!scalar.ok()) throw std::runtime_error(scalar.status().message());
  append_quoted(json, [&] { json += (*scalar)->ToString(); });
}

[[noreturn]] void refuse(const arrow::DataType& type) {
  throw std::runtime_error("values of the type " + type.ToString() +
                           ", which is not read; write them as text, or drop the column");
}

void append_extension(const arrow::ExtensionArray& array, int64_t i, std::string& json) {
  const auto& type = static_cast<const arrow::ExtensionType&>(*array.type());
  if (type.extension_name() != "arrow.json") refuse(type);
  append_value(*array.storage(), i, json);
}

}  // namespace

void append_string(std::string_view text, std::string& json) {
  constexpr const char* kHex = "0123456789abcdef";
  json += '"';
  size_t begin = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    json.append(text, begin, i - begin);
    begin = i + 1;
    if (c == '\n') {
      json += "\\n";
    } else if (c < 0x20) {
      json.append({'\\', 'u', '0', '0', kHex[c >> 4], kHex[c & 15]});
    } else {
      json.append({'\\', char(c)});
    }
  }
  json.append(text, begin);
  json += '"';
}

void append_value(const arrow::Array& array, int64_t i, std::string& json) {
  if (array.IsNull(i)) {
    json += "null";
    return;
  }
  const auto dated = [&](int64_t days) { append_quoted(json, [&] { append_date(days, json); }); };
  const auto timed = [&](int64_t count, arrow::TimeUnit::type unit) {
    append_quoted(json, [&] { append_time(count, unit, json); });
  };
  switch (array.type_id()) {
    case Type::BOOL:
      json += as<arrow::BooleanArray>(array).Value(i) ? "true" : "false";
      break;
    case Type::INT8:
      return append_number(as<arrow::Int8Array>(array).Value(i), json);
    case Type::INT16:
      return append_number(as<arrow::Int16Array>(array).Value(i), json);
    case Type::INT32:
      return append_number(as<arrow::Int32Array>(array).Value(i), json);
    case Type::INT64:
      return append_number(as<arrow::Int64Array>(array).Value(i), json);
    case Type::UINT8:
      return append_number(as<arrow::UInt8Array>(array).Value(i), json);
    case Type::UINT16:
      return append_number(as<arrow::UInt16Array>(array).Value(i), json);
    case Type::UINT32:
      return append_number(as<arrow::UInt32Array>(array).Value(i), json);
    case Type::UINT64:
      return append_number(as<arrow::UInt64Array>(array).Value(i), json);
    case Type::HALF_FLOAT: {
      const uint16_t bits = as<arrow::HalfFloatArray>(array).Value(i);
      return append_real(arrow::util::Float16::FromBits(bits).ToDouble(), json);
    }
    case Type::FLOAT:
      return append_real(as<arrow::FloatArray>(array).Value(i), json);
    case Type::DOUBLE:
      return append_real(as<arrow::DoubleArray>(array).Value(i), json);
    case Type::STRING:
    case Type::BINARY:
      return append_checked(as<arrow::BinaryArray>(array).GetView(i), json);
    case Type::LARGE_STRING:
    case Type::LARGE_BINARY:
      return append_checked(as<arrow::LargeBinaryArray>(array).GetView(i), json);
    case Type::STRING_VIEW:
    case Type::BINARY_VIEW:
      return append_checked(as<arrow::BinaryViewArray>(array).GetView(i), json);
    case Type::FIXED_SIZE_BINARY:
      return append_checked(as<arrow::FixedSizeBinaryArray>(array).GetView(i), json);
    case Type::DATE32:
      return dated(as<arrow::Date32Array>(array).Value(i));
    case Type::DATE64:
      return dated(as<arrow::Date64Array>(array).Value(i) / 86'400'000);
    case Type::TIME32:
      return timed(as<arrow::Time32Array>(array).Value(i),
                   type_of<arrow::Time32Array>(array).unit());
    case Type::TIME64:
      return timed(as<arrow::Time64Array>(array).Value(i),
                   type_of<arrow::Time64Array>(array).unit());
    case Type::TIMESTAMP: {
      const auto& type = type_of<arrow::TimestampArray>(array);
      const int64_t count = as<arrow::TimestampArray>(array).Value(i);
      return append_quoted(json,
                           [&] { append_timestamp(count, type.unit(), type.timezone(), json); });
    }
    case Type::LIST:
      return append_list<arrow::ListArray>(array, i, json);
    case Type::LARGE_LIST:
      return append_list<arrow::LargeListArray>(array, i, json);
    case Type::FIXED_SIZE_LIST:
      return append_list<arrow::FixedSizeListArray>(array, i, json);
    case Type::MAP:
      return append_map(as<arrow::MapArray>(array), i, json);
    case Type::STRUCT:
      return append_struct(as<arrow::StructArray>(array), i, json);
    case Type::DICTIONARY: {
      const auto& words = as<arrow::DictionaryArray>(array);
      return append_value(*words.dictionary(), words.GetValueIndex(i), json);
    }
    case Type::EXTENSION:
      return append_extension(as<arrow::ExtensionArray>(array), i, json);
    default:
      if (arrow::is_decimal(array.type_id())) return append_decimal(array, i, json);
      refuse(*array.type());
  }
}

}  // namespace tessera::launch
