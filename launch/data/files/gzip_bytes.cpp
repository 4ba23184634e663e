#include <zlib.h>

#include <vector>

#include "launch/data/files/byte_stream.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

constexpr size_t kPackedBytes = size_t{64} << 10;
constexpr int kGzipOnly = 16 + MAX_WBITS;  // as inflateInit2 wants it

class GzipBytes final : public ByteStream {
 public:
  GzipBytes(std::unique_ptr<ByteStream> packed, const std::string& path)
      : packed_(std::move(packed)), path_(path), input_(kPackedBytes) {
    if (inflateInit2(&state_, kGzipOnly) != Z_OK) fail("{}: cannot unpack gzip: no memory", path_);
  }
  ~GzipBytes() override { inflateEnd(&state_); }
  GzipBytes(const GzipBytes&) = delete;
  GzipBytes& operator=(const GzipBytes&) = delete;

  size_t read(std::span<char> out) override {
    size_t filled = 0;
    while (filled < out.size() && !ended_) filled += unpack(out.subspan(filled));
    return filled;
  }

 private:
  size_t unpack(std::span<char> out) {
    const bool no_more = !has_input();
    if (no_more && between_members_) {
      ended_ = true;
      return 0;
    }
    if (between_members_ && !begin_member()) return 0;
    state_.next_out = reinterpret_cast<Bytef*>(out.data());
    state_.avail_out = uInt(out.size());
    const int result = inflate(&state_, Z_NO_FLUSH);
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
      fail("{}: the gzip file is damaged behind {} unpacked bytes: {}", path_, unpacked_,
           state_.msg ? state_.msg : zError(result));
    }
    between_members_ = result == Z_STREAM_END;
    const size_t count = out.size() - state_.avail_out;
    unpacked_ += count;
    if (no_more && count == 0 && !between_members_) {
      fail("{}: the gzip file is cut off: {} bytes were unpacked", path_, unpacked_);
    }
    return count;
  }

  /// Whether there are packed bytes to go on with.
  bool has_input() {
    if (state_.avail_in == 0) {
      state_.next_in = reinterpret_cast<Bytef*>(input_.data());
      state_.avail_in = uInt(packed_->read(input_));
    }
    return state_.avail_in > 0;
  }

  /// Prepares for the member that begins here. False where zeros were skipped: some media write
  /// whole blocks and fill the last one up.
  bool begin_member() {
    const auto is_zero = [&] { return state_.avail_in > 0 && *state_.next_in == 0; };
    if (members_ > 0 && is_zero()) {
      for (; is_zero(); --state_.avail_in) ++state_.next_in;
      return false;
    }
    if (members_ > 0 && *state_.next_in != Bytef(kGzipMagic[0])) {
      fail("{}: behind {} unpacked bytes, something else than gzip follows", path_, unpacked_);
    }
    inflateReset(&state_);
    ++members_;
    between_members_ = false;
    return true;
  }

  const std::unique_ptr<ByteStream> packed_;
  const std::string path_;
  std::vector<char> input_;
  z_stream state_ = {};
  uint64_t unpacked_ = 0;
  uint64_t members_ = 0;
  bool between_members_ = true;
  bool ended_ = false;
};

}  // namespace

std::unique_ptr<ByteStream> gzip_bytes(std::unique_ptr<ByteStream> packed,
                                       const std::string& path) {
  return std::make_unique<GzipBytes>(std::move(packed), path);
}

}  // namespace tessera::launch
