#include "launch/report/tensorboard.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>

#include "runtime/core/error.h"
#include "runtime/io/folder.h"

namespace tessera::launch {
namespace {

constexpr std::string_view kNamePrefix = "events.out.tfevents.";

/// CRC-32C (Castagnoli), reflected.
constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0);
    table[byte] = crc;
  }
  return table;
}

/// As TFRecord stores it: turned and shifted, so that a CRC of bytes that hold CRCs is a good one.
uint32_t masked_crc(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = crc_table();
  uint32_t crc = ~0u;
  for (const char byte : bytes) crc = kTable[(crc ^ uint8_t(byte)) & 0xff] ^ (crc >> 8);
  return std::rotr(~crc, 15) + 0xa282ead8u;
}

/// Little-endian, whatever the machine is.
template <class Unsigned>
std::string fixed(Unsigned value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof value; ++i) bytes += char(value >> (8 * i) & 0xff);
  return bytes;
}

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += char((value & 0x7f) | 0x80);
  return bytes + char(value);
}

// The fields of protobuf's wire format.
enum class Wire { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

std::string field_key(int number, Wire wire) { return varint(uint64_t(number) << 3 | int(wire)); }

std::string integer_field(int number, int64_t value) {
  return field_key(number, Wire::kVarint) + varint(uint64_t(value));
}
std::string double_field(int number, double value) {
  return field_key(number, Wire::kFixed64) + fixed(std::bit_cast<uint64_t>(value));
}
std::string float_field(int number, float value) {
  return field_key(number, Wire::kFixed32) + fixed(std::bit_cast<uint32_t>(value));
}
/// A string, or a message in a message.
std::string bytes_field(int number, std::string_view bytes) {
  return field_key(number, Wire::kBytes) + varint(bytes.size()) + std::string(bytes);
}

// Numbers of the fields, from TensorFlow's event.proto, summary.proto and tensor.proto.
namespace event {
constexpr int kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;
}
namespace summary {
constexpr int kValue = 1, kTag = 1, kSimpleValue = 2, kTensor = 8, kMetadata = 9;
constexpr int kPluginData = 1, kPluginName = 1;
}  // namespace summary
namespace tensor {
constexpr int kDtype = 1, kShape = 2, kStringValue = 8, kDimension = 2, kSize = 1;
constexpr int kString = 7;  // a dtype
}  // namespace tensor
constexpr int kSessionStatus = 1, kSessionStart = 1;

std::string summary_field(std::string_view tag, const std::string& value) {
  return bytes_field(event::kSummary,
                     bytes_field(summary::kValue, bytes_field(summary::kTag, tag) + value));
}

std::string record(std::string_view data) {
  const std::string length = fixed(uint64_t(data.size()));
  return length + fixed(masked_crc(length)) + std::string(data) + fixed(masked_crc(data));
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 && name[0] ? name : "host";
}

void remove_event_files(const std::string& folder) {
  for (const std::string& name : io::names_in(folder)) {
    if (name.starts_with(kNamePrefix)) io::remove_all(folder + "/" + name);
  }
}

}  // namespace

double system_clock_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

TensorBoardFile::TensorBoardFile(const std::string& folder, int64_t resumed_step, WallClock clock)
    : clock_(std::move(clock)), file_(begin(folder, resumed_step)) {
  bool written = write_event(0, bytes_field(event::kFileVersion, "brain.Event:2"));
  if (resumed_step > 0) {
    // Values of this step and later ones, in files before this one, no longer count.
    const std::string start = integer_field(kSessionStatus, kSessionStart);
    written = written && write_event(resumed_step + 1, bytes_field(event::kSessionLog, start));
  }
  if (!written) fail("cannot write {}: the disk may be full", path());
}

io::AppendFile TensorBoardFile::begin(const std::string& folder, int64_t resumed_step) const {
  io::make_folders(folder);
  if (resumed_step == 0) remove_event_files(folder);
  // tensorboard reads the files of a folder in the order of their names.
  const std::string stem = fmt::format("{}/{}{:010}.{}.{}", folder, kNamePrefix, int64_t(clock_()),
                                       host_name(), ::getpid());
  for (int start = 0;; ++start) {
    if (auto file = io::AppendFile::make(fmt::format("{}.{}", stem, start))) {
      return std::move(*file);
    }
  }
}

bool TensorBoardFile::scalar(std::string_view tag, int64_t step, double value) {
  return write_event(step, summary_field(tag, float_field(summary::kSimpleValue, float(value))));
}

bool TensorBoardFile::text(std::string_view tag, int64_t step, std::string_view text) {
  const std::string plugin = bytes_field(summary::kPluginName, "text");
  const std::string shape = bytes_field(tensor::kDimension, integer_field(tensor::kSize, 1));
  return write_event(
      step,
      summary_field(
          tag, bytes_field(summary::kTensor, integer_field(tensor::kDtype, tensor::kString) +
                                                 bytes_field(tensor::kShape, shape) +
                                                 bytes_field(tensor::kStringValue, text)) +
                   bytes_field(summary::kMetadata, bytes_field(summary::kPluginData, plugin))));
}

bool TensorBoardFile::write_event(int64_t step, const std::string& what) {
  // A field of the value 0 is left out, as protobuf does it.
  const std::string number = step == 0 ? "" : integer_field(event::kStep, step);
  return file_.append(record(double_field(event::kWallTime, clock_()) + number + what));
}

}  // namespace tessera::launch
