// Tells what a file holds: kinds of files that have rows, by name, and other formats, by how they
// begin. Those are refused with a cure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tessera::launch {

enum class FileKind { kJson, kCsv, kText, kParquet };

/// The kind that a user names: json, csv, text or parquet; none for "". Error for any other name.
std::optional<FileKind> file_kind(std::string_view ds_type);
std::string_view name_of(FileKind kind);

/// The kind that the name of a file tells, without .gz or .zst; none for an unknown extension.
std::optional<FileKind> kind_by_name(std::string_view path);

/// The extension without .gz or .zst, in lower case: ".csv" for "A.CSV.gz".
std::string inner_extension(std::string_view path);

inline constexpr std::string_view kParquetMagic = "PAR1";
inline constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

enum class TextEncoding { kUtf8, kUtf16Little, kUtf16Big };
/// The byte order mark tells; without one, zeros at every second place mean UTF-16. Error for
/// UTF-32.
TextEncoding encoding_of(std::string_view head, const std::string& path);

/// Error that names the format and the cure where `head`, which begins a file, is no text.
void refuse_other_formats(std::string_view head, const std::string& path);

/// The text without a UTF-8 byte order mark. Error naming `path` and the cure when the bytes are no
/// UTF-8 text but UTF-16 or a file format that is known by its first bytes.
std::string_view plain_text(std::string_view bytes, const std::string& path);

}  // namespace tessera::launch
